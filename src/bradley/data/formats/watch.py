"""Watch over all rows of a file: what the first rows said of the label has to hold for every later row.

Detection reads the first rows. A column that is empty there, or always says the same, may turn out as a label later.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ...records import Comparison, Rejected
from ..rows import Row, RowPlace, on_one_line, quoted
from .agreement import Beside
from .base import FUNCTION, ReadingInDoubt, Refused, option
from .labels import Answers, Label, Verdict
from .layout import LONG, Layout, Path, leaves, marks_of, words
from .suspects import WORTH
from .turned import QUESTIONS, check_notes

MOST_VALUES = 12
"""Most different values of a column that is watched; a column with more is no label."""
EACH = 2
"""Rows kept for each value: a value that repeats is another sign than a value that does not."""
MOST_PATHS = 400
"""Most columns that are watched."""


class Watch:
    """Columns of a file that are not read, and the values seen in them.

    A row with a new value is kept. The kept rows of a column are checked as the first rows of the file were.

    Attributes:
        beside: other numbers of the answers that are not read, in words.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        answers: Answers,
        used: Iterable[Path],
        check: Callable[[Layout], None] | None = None,
        every: Sequence[Callable[[Row], None]] = (),
    ) -> None:
        """Begin with the first rows, which were checked together.

        Args:
            rows: first rows of the file.
            answers: names of the answers.
            used: columns that are read.
            check: raises `Refused` for rows with a label that the reading does not have; None for no check.
            every: functions that raise `Refused` for a row that contradicts the reading.
        """
        self.answers, self.used, self.check, self.every = answers, frozenset(used), check, tuple(every)
        self.beside = ""
        self.done: set[Path] = set(self.used)
        self.seen: dict[Path, dict[Any, int]] = {}
        self.kept: dict[Path, list[Row]] = {}
        for row in rows:
            self._news(row)

    def look(self, row: Row) -> None:
        """Check a row.

        Raises:
            Refused: a label that the reading does not have, or a row that contradicts the reading.
        """
        for check in self.every:
            check(row)
        check_notes(row, self.used)
        if self.check is None:
            return
        for path in self._news(row):
            self.check(Layout([self._about(path, kept) for kept in self.kept[path]]))

    def _news(self, row: Row) -> list[Path]:
        """Return the columns in which the row has a value that is new, or seen for the second time."""
        news = []
        for key, value in row.items():
            path = (str(key),)
            if path in self.done or value is None or value == "":
                continue
            entries = leaves(value, path) if isinstance(value, dict) else ((path, value),)
            news += [inner for inner, found in entries if self._is_new(inner, found, row)]
        return news

    def _is_new(self, path: Path, value: Any, row: Row) -> bool:
        """Count the value of a column; return True for a value that is new, or seen for the second time."""
        if path in self.done or value is None or value in ("", []):
            return False
        if path not in self.seen and (len(self.seen) >= MOST_PATHS or not self._may_matter(path, value)):
            # Objects keyed by ids have new columns in every row.
            if len(self.done) < MOST_PATHS * MOST_VALUES:
                self.done.add(path)
            return False
        seen = self.seen.setdefault(path, {})
        known = value if isinstance(value, str | int | float) else quoted(value)
        if (count := seen.get(known, 0)) >= EACH:
            return False
        seen[known] = count + 1
        if len(seen) > MOST_VALUES:
            self.done.add(path)
            self.kept.pop(path, None)
            return False
        self.kept.setdefault(path, []).append(row)
        return True

    def _may_matter(self, path: Path, value: Any) -> bool:
        """Return True for a column that may say something of the judgments: any but a column of long texts."""
        return not isinstance(value, str) or len(value) <= LONG or bool(set(words(path)) & (WORTH | QUESTIONS))

    def _about(self, path: Path, row: Row) -> Row:
        """Return a row with the columns that are read, a column, and the columns of either side."""
        top, stem = path[0], _stem(path)
        return {
            key: value
            for key, value in row.items()
            if key == top or any(used[0] == key for used in self.used) or _beside((str(key),), value, stem)
        }


def watched(watch: Watch | None, against: Beside | None, row: Row, result: Comparison | Rejected, at: RowPlace) -> None:
    """Check a row, and the columns beside the judgment of the row.

    Raises:
        ReadingInDoubt: the row says that the reading of the file is wrong.
    """
    try:
        if watch is not None:
            watch.look(row)
        if against is not None:
            against.look(row, result)
    except Refused as error:
        place = f"{on_one_line(at.name)}, row {at.row}"
        message = f"{place}: {error.message}; the first rows do not show this"
        raise ReadingInDoubt(message, error.hint) from None


def _stem(path: Path) -> tuple[str, ...]:
    """Return the words of a name without the marks of a side."""
    return tuple(word for word in words(path) if not marks_of(word))


def _beside(path: Path, value: Any, stem: tuple[str, ...]) -> bool:
    """Return True for a column of the same name with another mark, and for a text about a side, such as model_a."""
    own = _stem(path)
    return own == stem or (isinstance(value, str) and own != words(path))


def agreeing(label: Label) -> list[Callable[[Row], None]]:
    """Return the checks that columns which said the same in the first rows do not differ later."""
    return [_agrees(label, other) for other in label.agreeing]


def _agrees(label: Label, other: Label) -> Callable[[Row], None]:
    def check(row: Row) -> None:
        first, second = label.read and label.read(row), other.read and other.read(row)
        if isinstance(first, Verdict) and isinstance(second, Verdict) and first.merits != second.merits:
            hint = f"use {FUNCTION}"
            if len(label.paths) == 1 and len(other.paths) == 1 and "*" not in label.name + other.name:
                lines = " or ".join(option("columns.label", one.name) for one in (label, other))
                hint = f"name the label: {lines}; or {hint}"
            raise Refused(f"{label.name} and {other.name} differ, and agreed in the first rows", hint)

    return check


def prefers(label: Label, place: int, shown: str) -> Callable[[Row], None]:
    """Return the check that a label prefers the answer at a place in every row with a label.

    Args:
        shown: name of the answer, for messages.
    """

    def check(row: Row) -> None:
        verdict = label.read(row) if label.read else None
        if verdict is None:
            return
        merits = verdict.merits if isinstance(verdict, Verdict) else ()
        if not merits or any(merits[place] <= other for n, other in enumerate(merits) if n != place):
            raise Refused(
                f"{label.name} does not always prefer {shown}",
                f"read the label in a function of your own: {FUNCTION}",
            )

    return check
