"""What the bench has seen, as rows that the tables of `docs/concepts/reliability.md` are made of.

A row is recorded where the environment names a file for it (`BRADLEY_FAULTS_SEEN`); an ordinary test run writes none.
"""

import json
import os
from pathlib import Path
from typing import Any

SEEN = "BRADLEY_FAULTS_SEEN"


def record(number: str, fault: str, expected: str, seen: Any) -> None:
    """Add a row; of two with the same number and fault the later one counts.

    Args:
        number: of the fault, such as C1, or of the goal, such as G1; rows are ordered by it.
        fault: what is done to the run; of a goal, what is measured.
        expected: what it has to do; of a goal, the figure to reach.
        seen: what it did, in words or as a `Tally`.
    """
    place = os.environ.get(SEEN)
    if place:
        row = {"number": number, "fault": fault, "expected": expected, "seen": str(seen)}
        with open(place, "a", encoding="utf-8") as file:  # one write of one line: several processes may record
            file.write(json.dumps(row) + "\n")


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a file that count, in the order of their numbers."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    last = {(row["number"], row["fault"]): row for row in rows}
    return sorted(last.values(), key=lambda row: (row["number"][0], int(row["number"].split(",")[0][1:]), row["fault"]))
