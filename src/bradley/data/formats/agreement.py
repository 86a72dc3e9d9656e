"""Columns beside the judgment of a row, which agree with the judgment in every row, or stop the load.

The reading of a file chooses the judgment. Another column with the name of a label, of a tie or of votes is no label of
the reading, but a column that says something else puts the reading in doubt.
"""

from collections import Counter
from collections.abc import Collection, Iterator
from typing import Any

from ...records import Comparison, Rejected
from ..rows import Row, quoted
from .base import FUNCTION, Refused, option
from .labels import Answers
from .layout import Path, at_path, covered, leaves, marks_of, named, words
from .meanings import (
    LISTED,
    PAIRED,
    WORST,
    Meanings,
    hidden_meanings,
    is_label_name,
    may_mean,
    meanings_of,
    number_of_side,
)
from .names import speaks_against
from .scores import COUNT, is_open_fact, worth_alone, worth_of_side
from .ties import is_no_strength, is_open_tie, is_strength_name, is_tie, is_tie_name
from .words import LABEL, TIE, is_empty, sense, truth_in

SHOWN = 12
"""Characters of the end of a judge's text that a refusal quotes."""
MOST_NAMES = 5_000
"""Most names of columns that are remembered."""
OPEN = ("no_judgment", "missing_score")
"""Reasons of rows without a judgment, beside which a label of another column would be lost."""


class Beside:
    """Check that columns beside the judgment agree with the judgment.

    Every column has ways to read the cells, such as places from 0 or from 1. A way that contradicts the judgment of a
    row is left out for all later rows, and a column without any way stops the load.
    """

    def __init__(
        self,
        answers: Answers,
        used: Collection[Path],
        *,
        entries: str = "",
        late: bool = False,
        counted: bool = False,
        strict: bool = False,
        readable: Collection[Path] = (),
        ties: bool = False,
    ) -> None:
        """Begin without rows.

        Args:
            answers: names of the answers in the order of the responses.
            used: columns that are read or known; a column inside such a column is not looked at.
            entries: column with a list of objects, one for each answer; "" for none.
            late: True if a label beside a row without a judgment is a contradiction too.
            counted: True if numbers under the name of a tie may be counts of votes.
            strict: True if nothing but the user says which answer is better, so that columns of every name count.
            readable: columns that may be read in place of the label that is read.
            ties: True if a label that names an answer contradicts a tie.
        """
        self.answers, self.used, self.entries, self.late = answers, set(used), entries, late
        self.listed: Path = answers.paths[0] if len(answers.paths) == 1 else (entries,) if entries else ()
        self.counted, self.strict, self.readable, self.ties = counted, strict, set(readable), ties or late
        self.left: dict[tuple[Path, str], set[str]] = {}
        self.margins = {"of the better answer", "of the first answer", "of the second answer"}
        self.names: dict[Path, tuple[bool, bool, bool, bool]] = {}
        self.places: dict[Path, bool] = {}
        self.equal: Counter[str] = Counter()

    def look(self, row: Row, result: Comparison | Rejected) -> None:
        """Check a row beside the comparison of the row.

        Raises:
            Refused: a column that contradicts the judgment.
        """
        if isinstance(result, Rejected) and not (self.ties and result.reason in OPEN):
            return
        cells = list(self._cells(row))
        # Most rows have nothing beside. A margin below zero may come of a probability.
        if not cells and not self.entries and row.get("margin") is None and not _has_margin(result):
            return
        by_name = self.answers.better is not None
        best, bottom = _best(result, self.answers), _bottom(result)
        if isinstance(result, Comparison) and not by_name and not self._has_every_answer(row, len(result.responses)):
            return
        count = len(result.responses) if isinstance(result, Comparison) and not by_name else 2
        numbers: dict[tuple[str, ...], dict[int, tuple[Path, float, bool]]] = {}
        worths: dict[tuple[str, ...], dict[int, tuple[Path, float, Any]]] = {}
        for path, value in cells:
            meanings, ties, sided, strength = self._name(path)
            if strength and best and is_no_strength(value):
                self._refuse(path, value)
            alone = worth_alone(path, value) if best and by_name and not sided else None
            contradicts = alone is not None and alone != 0.5 and (alone > 0.5) != (best == {self.answers.better})
            if contradicts or (sided and is_open_fact(path, value) and best):
                self._refuse(path, value)
            if sided and (worth := worth_of_side(path, value)):
                worths.setdefault(worth[0], {})[worth[1]] = (path, worth[2], value)
                continue
            told_tie = ties and not self.late and best and not (self.counted and type(value) is int)
            if told_tie and (is_tie(value) or is_open_tie(path, value)):
                self._refuse(path, value)
            if not meanings:
                hidden = hidden_meanings(path, value, self.answers, count, self.strict)
                self._hold(path, value, hidden, best, bottom, count)
                continue
            if best and not self.late and _are_equal(value, count):
                self.equal[named(path)] += 1
            if told := number_of_side(path, value, self.answers):
                numbers.setdefault(told[0], {})[told[1]] = (path, value, told[2])
            if told is None or len(numbers[told[0]]) == 1:
                found = meanings_of(path, value, row, self.answers, count)
                self._hold(path, value, found, best, bottom, count)
        self._check_numbers(numbers if count == 2 else {}, best)
        self._check_worths(worths, best)
        self._check_margin(row, result, best)
        if self.entries and isinstance(result, Comparison):
            self._check_entries(row, result)

    def _cells(self, row: Row) -> Iterator[tuple[Path, Any]]:
        """Yield the cells that are not read."""
        for key, value in row.items():
            if (path := (str(key),)) in self.used or value is None or value in ("", []):
                continue
            entries = leaves(value, path) if isinstance(value, dict) else ((path, value),)
            yield from ((inner, found) for inner, found in entries if not covered(inner, self.used))

    def _has_every_answer(self, row: Row, count: int) -> bool:
        """Return False for a row of which absent answers were left out, so that places mean other answers."""
        if len(self.answers.names) > 2 and self.answers is not LISTED:
            return len(self.answers.names) == count
        listed = at_path(row, self.listed) if self.listed else None
        return not isinstance(listed, list) or len(listed) == count

    def _name(self, path: Path) -> tuple[bool, bool, bool, bool]:
        """Return True for the name of a label, of a tie, with a word such as chosen, and of a strength."""
        if path not in self.names:
            sided = self.answers.better is not None and bool(set(words(path)) & set(PAIRED.marks))
            strength = is_strength_name(path)
            found = (may_mean(path, self.answers), is_tie_name(path, self.answers.stem), sided, strength)
            if len(self.names) >= MOST_NAMES:
                return found
            self.names[path] = found
        return self.names[path]

    def _hold(
        self,
        path: Path,
        value: Any,
        found: tuple[str, Meanings] | None,
        best: set[int] | None,
        bottom: set[int],
        count: int,
    ) -> None:
        """Keep the ways to read a column that agree with the judgment; raise `Refused` if none is left."""
        if found is None:
            return
        kind, meanings = found
        agreeing = {
            way
            for way, place in meanings.items()
            if (place in bottom if way.endswith(WORST) and best else self._agrees(place, best, count))
        }
        key = (path, kind)
        self.left[key] = self.left.get(key, agreeing) & agreeing
        if kind == "number" and count > 2:
            # Only the number before the first place, or of the last one, shows where the count begins.
            self.places[path] = self.places.get(path, False) or float(value) in (0, count)
        if not self.left[key]:
            self._refuse(path, value if kind != "verdict" else str(value).rstrip()[-SHOWN:])

    def counted_from(self) -> str:
        """Say from which number columns count that name one of several answers, where no row shows the beginning."""
        told = []
        for path in [path for path, shown in self.places.items() if not shown]:
            ways = {way.split(",")[0] for way in self.left.get((path, "number"), ()) if way.startswith("from ")}
            told += [f"{named(path)} agrees if counted {' or '.join(sorted(ways))}"] if ways else []
        return ", ".join(told)

    def says_equal(self) -> str:
        """Say which columns hold equal numbers for the answers of a row that the judgment tells apart."""
        names = ", ".join(f"{name} ({rows:,} rows)" for name, rows in self.equal.items())
        return f"equal for the answers: {names}" if names else ""

    def _agrees(self, place: int, best: set[int] | None, count: int) -> bool:
        """Return True for a place among the best answers, and for a tie beside a tie."""
        if best is None:
            return not self.ties or place == TIE
        return (place in best) if place != TIE else count > 2

    def _check_numbers(
        self, numbers: dict[tuple[str, ...], dict[int, tuple[Path, float, bool]]], best: set[int] | None
    ) -> None:
        """Raise `Refused` for votes or ranks of the two sides that prefer the other side."""
        for sides in numbers.values():
            # A rank below the best one, of the better answer alone, asks what the other answer has.
            alone = sides.get(self.answers.better) if self.answers.better is not None and len(sides) == 1 else None
            if alone is not None and alone[2] and alone[1] > 1 and best == {self.answers.better}:
                self._refuse(alone[0], alone[1])
            if len(sides) != 2 or not best:
                continue
            (_, first, ranks), (path, second, _) = sides[0], sides[1]
            place = int((second < first) if ranks else (second > first))
            if first != second and place not in best:
                self._refuse(path, second, [sides[0][0], path])
            if first == second and not self.late:
                self.equal[" and ".join(named(sides[side][0]) for side in (0, 1))] += 1

    def _check_worths(
        self, worths: dict[tuple[str, ...], dict[int, tuple[Path, float, Any]]], best: set[int] | None
    ) -> None:
        """Raise `Refused` for what is said of chosen and rejected, or of one of the two, and prefers the other."""
        for rest, sides in worths.items() if best else ():
            if rest[0] == COUNT and len(sides) < len(PAIRED.marks):
                continue
            chosen, rejected = (sides[side][1] if side in sides else 0.5 for side in (0, 1))
            if rest[0] == COUNT and chosen == rejected:
                self.equal[" and ".join(named(sides[side][0]) for side in (0, 1))] += 1
            # A probability below a half makes the rejected answer the better one.
            right = best == {self.answers.better}
            if chosen != rejected and (chosen > rejected) != right:
                told = [sides[side] for side in sorted(sides)]
                self._refuse(told[-1][0], told[-1][2], [path for path, *_ in told])

    def _check_margin(self, row: Row, result: Comparison | Rejected, best: set[int] | None) -> None:
        """Raise `Refused` for a margin with a sign that fits no rule for all rows."""
        if not isinstance(result, Comparison) or not best:
            return
        if not self.late:
            if self.answers.better is not None and any((judgment.margin or 0.0) < 0.0 for judgment in result.judgments):
                raise Refused(
                    f"margin is {quoted(row.get('margin'))}, below zero for the better answer",
                    f"if the better answer is right, leave out the margins: {option('ignore', 'margin')}; "
                    f"or use {FUNCTION}",
                )
            return
        margin = row.get("margin")
        if isinstance(margin, bool) or not isinstance(margin, int | float) or not margin or len(result.responses) != 2:
            return
        fits = {
            "of the better answer": margin > 0,
            "of the first answer": (margin > 0) == (0 in best),
            "of the second answer": (margin > 0) == (1 in best),
        }
        self.margins = {way for way in self.margins if fits[way]}
        if not self.margins:
            raise Refused(
                "margin has signs that fit neither the better answer nor the difference of the two answers",
                f"leave out the margins: {option('ignore', 'margin')}; or use {FUNCTION}",
            )

    def _check_entries(self, row: Row, result: Comparison) -> None:
        """Raise `Refused` for truth values of the answers by which a worse answer is a better one."""
        entries = row.get(self.entries)
        if not isinstance(entries, list) or len(entries) != len(result.responses):
            return
        if not all(isinstance(entry, dict) for entry in entries):
            return
        for key in dict.fromkeys(str(key) for entry in entries for key in entry):
            path = (self.entries, key)
            if path in self.used or not set(words((key,))) & LABEL:
                continue
            told = [False if is_empty(entry.get(key)) else truth_in(entry.get(key)) for entry in entries]
            meant = sense(words((key,)))
            if None in told or meant == 0 or not is_label_name((key,), LISTED):
                continue
            merits = [value is (meant == 1) for value in told]
            if any(merits[j.worse] and not merits[j.better] for j in result.judgments if j.probability > 0.5):
                self._refuse(path, told)

    def _refuse(self, path: Path, value: Any, paths: Collection[Path] = ()) -> None:
        """Raise `Refused` for a column that contradicts the judgment."""
        names = list(map(named, paths or [path]))
        shown = " and ".join(names)
        if self.answers.better is not None:
            better, worse = (named(name) for name in by_worth(self.answers))
            message = f"{shown} beside {better} and {worse} may be a label, and contradicts {better}: {quoted(value)}"
            hints = [f"if {better} is the better answer of every row: {option('ignore', *names)}"]
        else:
            message = f"{shown} may be a label, and contradicts the judgment that is read: {quoted(value)}"
            hints = [f"if {shown} says nothing against the judgment: {option('ignore', *names)}"]
        marked = all(map(marks_of, self.answers.marks)) and bool(self.answers.marks)
        asked = self.strict and marked and not speaks_against(words(path))
        if len(names) == 1 and sense(words(path)) == 1 and (path in self.readable or asked):
            hints.insert(0, f"if {shown} names the better answer: {option('columns.label', shown)}")
        raise Refused(message, f"{'; '.join(hints)}; or use {FUNCTION}")


def _are_equal(value: Any, count: int) -> bool:
    """Return True for a list of equal numbers, one for each answer."""
    return (
        isinstance(value, list)
        and len(value) == count
        and all(isinstance(one, int | float) and not isinstance(one, bool) and one == value[0] for one in value)
    )


def _has_margin(result: Comparison | Rejected) -> bool:
    """Return True for a comparison with a margin."""
    return isinstance(result, Comparison) and any(judgment.margin is not None for judgment in result.judgments)


def _best(result: Comparison | Rejected, answers: Answers) -> set[int] | None:
    """Return the places of the answers that beat another and are beaten by none; None without a preference."""
    decided = [j for j in result.judgments if j.probability > 0.5] if isinstance(result, Comparison) else []
    if not decided:
        return None
    best = {judgment.better for judgment in decided} - {judgment.worse for judgment in decided}
    # The responses stand with the better answer by name first; several chosen answers stand before the rejected ones.
    if answers.better is not None:
        return {answers.better if 0 in best else 1 - answers.better}
    return best


def _bottom(result: Comparison | Rejected) -> set[int]:
    """Return the places of the answers that beat none, and are beaten by another."""
    decided = [j for j in result.judgments if j.probability > 0.5] if isinstance(result, Comparison) else []
    return {judgment.worse for judgment in decided} - {judgment.better for judgment in decided}


def by_worth(answers: Answers) -> tuple[Path, ...]:
    """Return the names of two answers with the better one by name first."""
    return answers.names if answers.better == 0 else answers.names[::-1]
