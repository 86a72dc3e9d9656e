"""Faulty rows: rows of the wrong shape, counted by reason before the run stops or goes on without them.

`Rejected` rows have the right shape and unusable content. A faulty row breaks its format: a missing key, a null, an
unknown role. One such row may be an accident, and all rows together show a mistaken format: hence the count comes
before the decision.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypedDict

from ..errors import DataError
from ..records import Rejected
from .rows import CORRECT, RowFault, on_one_line

MOST_FAULTS_ALONE = 1000
"""Faulty rows at the beginning of a file, without a usable row between, after which the file is given up."""
MOST_REASONS = 100
"""Most reasons counted apart; further reasons are counted together."""
MOST_LINES = 8
"""Most lines of an error about faulty rows."""
ROWS_NAMED = 3
"""Most rows named for a reason."""
NEARLY_ALL = 0.9
"""Share of the rows of a file with the same fault from which the error speaks of the file."""
OTHERS = "another fault"
DROP = "--data.faulty drop"
ANOTHER_SHAPE = "the rows have another shape: name the columns with data.columns, or use --data.format module:function"
VALUES = (
    # Faults that differ in a value alone are one reason.
    (re.compile(r"'[^']*'|\"[^\"]*\""), "..."),
    (re.compile(r"(?<![\w.])-?\d[\d.,]*(e[+-]?\d+)?(?!\w)"), "..."),
    (re.compile(r"^the keys .*"), "other keys"),
    (re.compile(r"^the roles .*"), "roles in another order"),
)
"""Patterns of values in the description of a fault, and their replacements."""
MOST_CHARACTERS = 160
"""Most characters of a reason."""


@dataclass(frozen=True, slots=True)
class Faulty(Rejected):
    """Row of the wrong shape.

    Attributes:
        message, hint: message and hint of the error that the row raised.
    """

    message: str = ""
    hint: str = ""


def counted(error: DataError, row: int, count_faults: bool = True) -> Faulty:
    """Return the fault of row number `row`; raise the error itself unless `count_faults`."""
    if not count_faults:
        raise error
    if isinstance(error, RowFault):
        reason = f"{_without_values(error.found)}, wanted {error.wanted}"[:MOST_CHARACTERS]
        detail = f"found {error.found}, wanted {error.wanted}"
        return Faulty(row, reason, detail, error.message, error.hint)
    # Other errors name the file, and perhaps the row, before the first colon.
    detail = error.message.partition(": ")[2] or error.message
    return Faulty(row, _without_values(detail)[:MOST_CHARACTERS], detail, error.message, error.hint)


def _without_values(text: str) -> str:
    """Replace the values in the description of a fault."""
    for pattern, instead in VALUES:
        text = pattern.sub(instead, text)
    return text


class Reason(TypedDict):
    """Faulty rows of a file with the same reason: their number, the first rows, and the first fault."""

    count: int
    rows: list[int]
    detail: str
    message: str
    hint: str


@dataclass(slots=True)
class FileFaults:
    """Faulty rows of a file, by reason; plain JSON values.

    Attributes:
        file: name of the file, for messages.
        rows: rows read, faulty or not.
        whole: False if reading was given up before the end of the file.
    """

    file: str
    rows: int = 0
    whole: bool = True
    reasons: dict[str, Reason] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Number of faulty rows."""
        return sum(reason["count"] for reason in self.reasons.values())

    def add(self, fault: Faulty) -> str:
        """Count a faulty row, and return the reason under which the row was counted."""
        # A fault may quote a value in a way that no pattern knows: the table stays bounded.
        name = fault.reason if fault.reason in self.reasons or len(self.reasons) < MOST_REASONS else OTHERS
        first = Reason(count=0, rows=[], detail=fault.detail, message=fault.message, hint=fault.hint)
        reason = self.reasons.setdefault(name, first)
        reason["count"] += 1
        if len(reason["rows"]) < ROWS_NAMED:
            reason["rows"].append(fault.row)
        return name


def faults_error(files: Iterable[FileFaults], first: DataError | None = None) -> DataError:
    """Return the error about all faulty rows, a line for each file and reason.

    If nearly every row of a file has the same fault, the error speaks of the file: the format is mistaken, and no row
    needs a correction.

    Args:
        files: files with at least one faulty row.
        first: error that ended the reading of the last file; None for files read to the end.
    """
    found = [(file, reason) for file in files for reason in sorted(file.reasons.values(), key=lambda r: -r["count"])]
    lines = [_line(file, reason) for file, reason in found[:MOST_LINES]]
    if more := found[MOST_LINES:]:
        lines.append(f"{sum(reason['count'] for _, reason in more):,} more faulty rows, for {len(more):,} more reasons")
    hints = dict.fromkeys([*([first.hint] if first else []), *_hints(found)])
    return DataError([*(first.lines if first else []), *lines], "; ".join(hints))


def _line(file: FileFaults, reason: Reason) -> str:
    """Describe a reason in a file."""
    name, first = on_one_line(file.file), reason["rows"][0]
    if reason["count"] == 1:
        return reason["message"]
    such = f"such as row {first}: {reason['detail']}"
    rows = f"{file.rows:,} rows" if file.whole else f"the first {file.rows:,} rows"
    if _nearly_all(file, reason):
        return f"{name}: {reason['count']:,} of {rows} have the same fault, {such}"
    places = ", ".join(f"{row:,}" for row in reason["rows"])
    more = " and more" if reason["count"] > len(reason["rows"]) else ""
    return f"{name}: {reason['count']:,} of {rows} (rows {places}{more}), {such}"


def _nearly_all(file: FileFaults, reason: Reason) -> bool:
    """Return True if nearly every row of a file has the same fault."""
    return reason["count"] > 1 and reason["count"] >= NEARLY_ALL * file.rows


def _hints(found: list[tuple[FileFaults, Reason]]) -> Iterator[str]:
    """Yield the next steps: of each fault with a hint of its own, of a mistaken file, and of single rows."""
    for file, reason in found[:MOST_LINES]:
        if reason["hint"] != CORRECT:
            yield reason["hint"]
        elif _nearly_all(file, reason):
            yield ANOTHER_SHAPE
        else:
            yield CORRECT if len(found) == 1 and reason["count"] == 1 else "correct or remove the rows"
    if not all(_nearly_all(file, reason) for file, reason in found):
        yield f"or leave faulty rows out: {DROP}"
