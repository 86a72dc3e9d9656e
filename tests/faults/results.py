"""What the bench has seen, as rows that the table of `docs/concepts/reliability.md` is made of.

A row is recorded where the environment names a file for it (`BRADLEY_FAULTS_SEEN`); an ordinary test run writes none.
"""

import json
import os
from pathlib import Path
from typing import Any

SEEN = "BRADLEY_FAULTS_SEEN"


def record(number: str, fault: str, expected: str, seen: Any) -> None:
    """Add a row.

    Args:
        number: of the fault, such as C1; rows are ordered by it.
        seen: the result in words; a `Tally` says its own.
    """
    place = os.environ.get(SEEN)
    if not place:
        return
    row = {"number": number, "fault": fault, "expected": expected, "seen": str(seen)}
    rows = [old for old in read(Path(place)) if (old["number"], old["fault"]) != (number, fault)]
    Path(place).write_text("".join(json.dumps(each) + "\n" for each in [*rows, row]), encoding="utf-8")


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a file, or none."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
