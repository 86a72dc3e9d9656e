"""Cleaned copies: the rows of a set without the faults that a policy names, and a list of every row left out.

Rows are copied, not comparisons: reading the copy gives the comparisons that remain. An id made from the name and the
place of a row is made anew. Rows that are no comparison stay, unless the policy names `unusable`.
"""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..common.files import write_file
from ..common.signals import check as check_stopping
from ..common.text import nearest
from ..data.rows import Foreign
from ..data.sources.benchmarks import PREFIX
from ..errors import DataError, UserError
from .audit import Audited
from .rows import RowSet

LIKELY_WRONG, UNUSABLE = "likely-wrong", "unusable"
NEEDS = {
    "near": "leave out --no-near",
    "same-tokens": "add --model.tokenizer or --model.path",
    "shared": "add --against FILE",
}
"""Findings that an audit may lack, and what gives each."""
NAMES = (
    "exact",
    "near",
    "contradictions",
    "intransitive",
    "identical",
    "same-tokens",
    "empty",
    "shared",
    LIKELY_WRONG,
    UNUSABLE,
)
"""Names of a policy. `exact` and `near` keep the first row of each group; every other name drops all rows at fault."""
SUFFIX = ".jsonl"


def parse_policy(text: str) -> dict[str, float]:
    """Read a policy such as `exact,contradictions,likely-wrong=0.02`.

    Returns:
        Share by name: 1 for all rows at fault.

    Raises:
        UserError: an unknown name, a share of another name than `likely-wrong`, or no share of this name.

    Example:
        parse_policy("exact,likely-wrong=0.02")  # {"exact": 1.0, "likely-wrong": 0.02}
    """
    policy: dict[str, float] = {}
    for part in filter(None, (word.strip() for word in text.split(","))):
        name, equals, share = part.partition("=")
        if name not in NAMES:
            guess = nearest(name, NAMES)
            raise UserError(
                f"--drop {name} is no finding", f"did you mean {guess}?" if guess else f"choose of {', '.join(NAMES)}"
            )
        if bool(equals) != (name == LIKELY_WRONG):
            wanted = f"{name}=0.02" if name == LIKELY_WRONG else name
            raise UserError(f"--drop {part} {'has a' if equals else 'needs the'} share of the rows", f"write {wanted}")
        policy[name] = _share(share) if equals else 1.0
    return policy


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = float("nan")
    if not 0.0 < share < 1.0:
        raise UserError(f"--drop {LIKELY_WRONG}={text} is no share above 0 and below 1", f"write {LIKELY_WRONG}=0.02")
    return share


def removed_path(target: Path) -> Path:
    """Name of the list of removed rows beside a cleaned file."""
    return target.with_suffix(f".removed{SUFFIX}")


def check_output(target: Path) -> None:
    """Raise `UserError` for an output of another suffix, and for a file that exists; no file is written over."""
    if target.suffix != SUFFIX:
        raise UserError(f"{target} is not a kind of file that can be written", f"give a name that ends in {SUFFIX}")
    for path in (target, removed_path(target)):
        if path.exists() or path.is_symlink():
            raise UserError(f"{path} exists", "give another name, or remove it")


def check_copyable(rows: RowSet, policy: Mapping[str, float], has: Mapping[str, bool]) -> None:
    """Raise `UserError` before an audit whose rows cannot be copied, or that will lack a finding of the policy.

    Args:
        has: whether the audit will have a finding of `NEEDS`, by name.
    """
    for name, hint in NEEDS.items():
        if name in policy and not has[name]:
            raise UserError(f"--drop {name} names a finding that this audit does not have", hint)
    for source in rows.sources:
        if source.given.startswith(PREFIX):
            raise UserError(f"{source.given} is a benchmark, whose rows are not copied", "leave out --write")
        if ":" in rows.settings.of_source(source.given, source.name).format_of():
            message = "--write copies the rows of files, and a function of data.format makes other rows of them"
            raise UserError(message, "write the rows of the function to a file, and audit the file")


def write_cleaned(audited: Audited, target: Path, policy: Mapping[str, float]) -> dict[str, Any]:
    """Write the rows that a policy leaves, and beside them the removed rows with their reasons.

    Each line of the list of removed rows holds `file`, `number` of the row in the file, `id`, `reasons` and the `row`.

    Args:
        audited: the audit of the rows.
        target: the cleaned file; must not exist.
        policy: result of `parse_policy`.

    Returns:
        `path` and `removed_path`; `kept` and `removed`, counts of rows; `reasons`, removed rows by reason: a row
        with two faults counts for both.

    Raises:
        UserError: an output that exists or has another suffix.
        DataError: a row with a value that JSON cannot hold, or files that changed since they were audited.
        DiskError: a file could not be written; each file is whole or absent.
    """
    check_output(target)
    rows, reasons = audited.rows, reasons_of(audited, policy)
    unusable = {(part, number): reason for part, number, reason in rows.unusable} if UNUSABLE in policy else {}
    counts: Counter[str] = Counter()

    def copy(kept: BinaryIO, removed: BinaryIO) -> None:
        number = 0
        for part, source in enumerate(rows.sources):
            for place, row in rows.rows_of(part):
                check_stopping()
                known = number < len(rows) and rows.columns.part[number] == part and rows.numbers[number] == place
                why = reasons.get(number, []) if known else []
                if not known and (part, place) in unusable:
                    why = [f"{UNUSABLE}: {unusable[part, place]}"]
                if why:
                    about = {"file": source.name, "number": place, "id": rows.id(number) if known else None}
                    removed.write(_line({**about, "reasons": why, "row": row}, source.name, place))
                    counts.update({"removed": 1, **{reason.partition(":")[0]: 1 for reason in why}})
                else:
                    kept.write(_line(row, source.name, place))
                    counts["kept"] += 1
                number += known
        if number != len(rows):
            raise DataError(f"{rows.name} changed while it was audited", "audit the rows again")

    def fill(kept: BinaryIO) -> None:
        write_file(removed_path(target), lambda removed: copy(kept, removed))

    write_file(target, fill)
    return {
        "path": str(target),
        "removed_path": str(removed_path(target)),
        "kept": counts.pop("kept", 0),
        "removed": counts.pop("removed", 0),
        "reasons": dict(counts),
    }


def reasons_of(audited: Audited, policy: Mapping[str, float]) -> dict[int, list[str]]:
    """Reasons to remove a comparison, by number, in the order of the policy."""
    found: dict[int, list[str]] = {}
    for name, share in policy.items():
        if name == UNUSABLE:
            continue
        numbers = audited.ranking.worst(share).drop if name == LIKELY_WRONG else audited.findings[name].drop
        for number in np.asarray(numbers).tolist():
            found.setdefault(number, []).append(name)
    return found


def _line(row: Any, file: str, number: int) -> bytes:
    """Write a row as a line of JSON."""
    try:
        text = json.dumps(row, ensure_ascii=False, default=_refuse)
    except TypeError as error:
        raise DataError(f"{file}, row {number}: {error}, which JSON cannot hold", "leave out --write") from error
    try:
        return text.encode() + b"\n"
    # Half of a surrogate pair has no form in UTF-8, and an escape in JSON.
    except UnicodeEncodeError:
        return json.dumps(row).encode() + b"\n"


def _refuse(value: Any) -> Any:
    raise TypeError(value.kind if isinstance(value, Foreign) else type(value).__name__)
