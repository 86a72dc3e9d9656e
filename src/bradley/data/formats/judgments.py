"""Labels of one value in each row, which name a side or a tie: a word, a number, a comparison, or the name of a model.

A label with bare numbers counts from 0 or from 1; the numbers of the first rows decide.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ..rows import Row, quoted
from .identifiers import by_identifiers
from .labels import (
    ABOUT,
    BETTER,
    DETAILS,
    MOST_VALUES,
    PAIR,
    Answers,
    Label,
    Reader,
    Unknown,
    Verdict,
    base_of,
    mixed,
    said_of,
    side_marks,
    values_of,
)
from .layout import LONG, MARKS, Layout, Path, at_path, named, words
from .names import NEUTRAL, ORDINALS, names_content, of_one_side, unclear
from .words import COMPARED, LABEL, MEASURES, PEOPLE, SCORE, STRENGTH, TIE, sense

MOST_UNCLEAR = 6
"""Most different values of a column that is called a label and is not understood; a column with more is another."""


def scalar(layout: Layout, path: Path, answers: Answers, wanted: bool) -> Label | None:
    """Return the label of a column with one value in each row; None if the column holds no label."""
    if layout.kinds[path] not in ("text", "number", "bool", "mixed"):
        return None
    return by_identifiers(layout, path, answers, wanted, _by_place(layout, path, answers, wanted))


def _by_place(layout: Layout, path: Path, answers: Answers, wanted: bool) -> Label | None:
    """Return the label of a column that names the place of an answer, or repeats a text of one side; None for none."""
    values = [value for value in layout.columns[path] if value is not None and value != ""]
    if not values:
        return None
    by_name = wanted or bool(LABEL & set(words(path)))
    if by_name and any(isinstance(value, str) and len(value) > LONG for value in values):
        return by_names_of_models(layout, path, answers, by_name, wanted)
    if not all(isinstance(value, str | int | float) and len(str(value)) <= LONG for value in values):
        return None
    counts = Counter(str(value) for value in values)
    parts = set(words(path))
    # Columns about the row hold letters and small numbers too, and mean no side.
    about = not by_name and parts & ABOUT and not parts & set(answers.stem)
    if not wanted and (parts & DETAILS or about):
        return None
    if label := _of_one_side(path, answers, values):
        return label
    if by_name and (doubt := _doubt(path, answers, values, wanted)):
        return Label((path,), "choice", None, 0, len(parts - NEUTRAL - set(answers.stem)), doubt)
    if label := by_names_of_models(layout, path, answers, by_name, wanted):
        return label
    numbers = layout.kinds[path] == "number"
    if (len(counts) > MOST_VALUES and not numbers) or (len(answers.names) > 2 and sense(words(path)) < 1):
        return None
    said = [said_of(value, answers) for value in values]
    aspects = len(set(words(path)) - NEUTRAL - set(answers.stem))
    several = len(answers.names) > 2 or answers.number > 2
    tier = 2 if not by_name else 1 if several else 0
    label = Label((path,), "choice", None, tier, aspects, shown=lambda row: _shown(at_path(row, path)))
    if not by_name and (None in said or any(meant.side is None for meant in said if meant)):
        likely = _may_be_label(path, values, answers)
        return replace(label, problem=f"{named(path)} may be a label: {values_of(counts)}") if likely else None
    if tier == 2 and (problem := unclear(path, answers.stem, side_marks(answers), wanted)):
        return replace(label, problem=f"{named(path)} {problem}: {values_of(counts)}")
    if not wanted and names_content(words(path)):
        problem = f"{named(path)} may be the answer to a question, or say who wrote which answer: {values_of(counts)}"
        return replace(label, problem=problem)
    if sense(words(path)) == -1 and any(_compares(value) for value in values):
        return replace(label, problem=f"{named(path)} names the worse answer, and compares: {values_of(counts)}")
    if tier == 2 and parts & SCORE:
        return replace(label, problem=f"{named(path)} may be a mark of the quality: {values_of(counts)}")
    if None in said:
        unknown = f"{named(path)} has values that name no side: {values_of(counts)}"
        numbers = not any(isinstance(value, str) for value in values)
        return replace(label, problem=unknown) if numbers or 2 <= len(counts) <= MOST_UNCLEAR else None
    digits = {meant.digit for meant in said if meant and meant.digit is not None}
    if mixed(said):
        return replace(label, problem=f"{named(path)} names sides by words, and by numbers too: {values_of(counts)}")
    if not digits:
        # Of response_b in front of response_a, first may be meant as the first column of the file.
        placed = _is_turned(layout, answers) and bool({word for value in counts for word in words((value,))} & ORDINALS)
        shown = _numbered(path, answers, None) if placed else label.shown
        return replace(label, read=_choice(path, answers, None), shown=shown)
    if any(isinstance(value, bool) for value in values):
        return replace(label, problem=f"{named(path)} holds {values_of(counts)}, and names no side")
    base, undecided = base_of(digits, answers.number or len(answers.names))
    if several and len(digits) == 1:
        base, undecided = None, True
    if base is None:
        problem = f"{named(path)} may count from 0 or from 1: {values_of(counts)}"
        return replace(label, problem=problem, undecided=undecided)
    return replace(label, read=_choice(path, answers, base), shown=_numbered(path, answers, base))


def _is_turned(layout: Layout, answers: Answers) -> bool:
    """Return True for answers whose columns stand in another order in the file than their marks."""
    order = [place for place, path in enumerate(layout.columns) if path in answers.paths]
    columns = list(layout.columns)
    return bool(answers.marks) and [columns[place] for place in order] != list(answers.paths)


def _compares(value: Any) -> bool:
    """Return True for a text that says which answer is the better one, such as A>B and "A is better"."""
    return isinstance(value, str) and bool(COMPARED.search(value) or set(words((value,))) & BETTER)


def _numbered(path: Path, answers: Answers, base: int | None) -> Callable[[Row], str]:
    """Return the function that shows a label with the answer that is named: `1 = response_b`, `first = response_a`.

    Args:
        base: number of the first answer; None for words such as first.
    """

    def shown(row: Row) -> str:
        value = at_path(row, path)
        said, text = said_of(value, answers), _shown(value)
        side = None
        if said is not None and base is None:
            side = said.side if said.side != TIE else None
        elif said is not None and base is not None and said.digit is not None and said.side is None:
            side = said.digit - base
        if side is None or not text:
            return text
        return f"{text} = {named(answers.names[side]) if 0 <= side < len(answers.names) else f'answer {side + 1}'}"

    return shown


def _doubt(path: Path, answers: Answers, values: list[Any], wanted: bool) -> str:
    """Return the reason why the name of a label may mean the worse answer, or one side alone; "" for none."""
    parts, marks = set(words(path)), side_marks(answers)
    said = [said_of(value, answers) for value in values]
    most = max(answers.number, len(answers.names), 2)
    sides = bool(said) and all(meant and (meant.side is not None or (meant.digit or 0) <= most) for meant in said)
    shown = values_of(Counter(map(str, values)))
    if sides and set(values) <= {0, 1} and len(answers.names) == 2 and parts & marks:
        return f"{named(path)} holds 0 and 1, and names one side: {shown}"
    if sides and (reason := unclear(path, answers.stem, marks, wanted)):
        return f"{named(path)} {reason}: {shown}"
    if parts & STRENGTH and not any(isinstance(value, str) for value in values):
        return f"{named(path)} says how strong a preference is, and names no side: {shown}"
    return ""


def _may_be_label(path: Path, values: list[Any], answers: Answers) -> bool:
    """Return True for two to four different values that are words or numbers for a side, or truth values."""
    counts, parts = set(map(str, values)), set(words(path))
    repeats = len(counts) < len(values) or len(values) < 3
    # Numbers on both sides of zero are the strength of a preference.
    signed = [value for value in values if isinstance(value, int | float) and value]
    if len(signed) == len([value for value in values if value]) and signed and min(signed) < 0 < max(signed):
        return True
    if not 2 <= len(counts) <= 4 or not repeats or ((ABOUT | MEASURES) & parts and not parts & set(answers.stem)):
        return False
    said = [said_of(value, PAIR) for value in values]
    return all(meant and (meant.side is not None or (meant.digit or 0) <= 2) for meant in said)


def _of_one_side(path: Path, answers: Answers, values: list[Any]) -> Label | None:
    """Return the label of truth values under a name with the mark of one side, such as a_is_better."""
    parts, clear = set(words(path)), of_one_side(words(path), BETTER, side_marks(answers), answers.stem)
    if not clear or len(answers.names) != 2 or not all(value in (0, 1) for value in values):
        return None
    marks = [answers.marks, ("a", "b"), *(order[:2] for order in MARKS.values())]
    sides = {pair.index(word) for pair in marks for word in parts if word in pair}
    if len(sides) != 1:
        return None
    (side,) = sides

    def read(row: Row) -> Verdict | Unknown | None:
        value = at_path(row, path)
        if value is None or value == "":
            return None
        if value not in (0, 1):
            return Unknown(quoted(value), doubt=True)
        first = float(bool(value) == (side == 0))
        return Verdict((first, 1.0 - first))

    label = Label((path,), "choice", read, 0, shown=lambda row: _shown(at_path(row, path)))
    if any(mark.isdecimal() for mark in parts & set(answers.marks)):
        return replace(label, read=None, problem=f"{named(path)} names a side by a number, or counts annotators")
    return label


def _shown(value: Any) -> str:
    """Return a value of a label as a text for counts."""
    return "" if value is None or value == "" else quoted(value, str)[:40]


def _choice(path: Path, answers: Answers, base: int | None) -> Reader:
    """Return the function that reads a label of one value."""
    sides = answers.number or len(answers.names)
    worse = sense(words(path)) == -1
    known: dict[Any, Verdict | Unknown | None] = {}

    def read(row: Row) -> Verdict | Unknown | None:
        value = at_path(row, path)
        if value is None or value == "":
            return None
        if not isinstance(value, str | int | float):
            return Unknown(quoted(value))
        if (type(value), value) not in known:
            known[type(value), value] = _verdict(value)
        return known[type(value), value]

    def _verdict(value: Any) -> Verdict | Unknown | None:
        said = said_of(value, answers)
        if said is None:
            return Unknown(quoted(value), doubt=not isinstance(value, str))
        side = said.side
        if side is None:
            side = None if base is None or said.digit is None or isinstance(value, bool) else said.digit - base
            if side is None or not 0 <= side < sides:
                return Unknown(quoted(value), doubt=True)
        if side == TIE:
            return Verdict((0.0,) * sides)
        merits = [float(place == side) for place in range(sides)]
        return Verdict(tuple(1.0 - merit for merit in merits) if worse else tuple(merits), said.strength)

    return read


def by_names_of_models(layout: Layout, path: Path, answers: Answers, by_name: bool, wanted: bool) -> Label | None:
    """Return the label of a column that repeats a text of one side, such as the name of a model, or an answer."""
    meant = sense(words(path))
    if layout.kinds[path] != "text" or (meant == -1 and len(answers.names) != 2):
        return None
    groups = _texts_of_sides(layout, path, answers)
    readers = [(paths, _equal(path, paths, answers, worse=meant == -1)) for paths in groups]
    rows = [row for row in layout.rows if at_path(row, path) not in (None, "")]
    told = [(read, [read(row) for row in rows], paths) for paths, read in readers]
    told = [one for one in told if any(map(_decided, one[1]))]
    # A text that is one of the answers in some rows alone is a label that nobody understands.
    found = [one for one in told if not any(isinstance(verdict, Unknown) for verdict in one[1])]
    aspects = len(set(words(path)) - NEUTRAL - set(answers.stem))
    label = Label((path,), "choice", None, 0 if by_name else 2, aspects)
    if not by_name:
        return replace(label, problem=f"{named(path)} holds the name of one side") if found else None
    if not found:
        long = told and any(len(at_path(row, path)) > LONG for row in rows)
        return replace(label, problem=f"{named(path)} is a text of the answers in some rows alone") if long else None
    if any(verdicts != found[0][1] for _, verdicts, _ in found):
        return replace(label, problem=f"{named(path)} holds names that stand on both sides in several columns")
    if reason := unclear(path, answers.stem, side_marks(answers), wanted):
        return replace(label, problem=f"{named(path)} {reason}")
    read = found[0][0]

    def shown(row: Row) -> str:
        verdict = read(row)
        if not isinstance(verdict, Verdict):
            return ""
        # The counts are of the answers that the label names, the worse ones under a name such as loser.
        return named(answers.names[verdict.merits.index(float(meant == 1))]) if 1.0 in verdict.merits else "tie"

    sources = tuple(one for *_, paths in found for one in paths if one not in answers.paths)
    return replace(label, read=read, shown=shown, sources=sources)


def _texts_of_sides(layout: Layout, path: Path, answers: Answers) -> list[tuple[Path, ...]]:
    """Return the columns with a text for each answer: the answers, and columns such as model_a and model_b."""
    count = len(answers.names)
    families = [family for family in layout.families if len(family.paths) == count and path not in family.paths]
    # The names of two judges are no names of the sides.
    groups = [family.paths for family in families if not PEOPLE & set(family.stem)]
    every = [answers.paths, *(paths for paths in groups if paths != answers.paths)]
    return [paths for paths in every if len(paths) == count and all(layout.kinds.get(one) == "text" for one in paths)]


def _decided(verdict: Verdict | Unknown | None) -> bool:
    """Return True for a verdict that is no tie."""
    return isinstance(verdict, Verdict) and len(set(verdict.merits)) > 1


def _equal(path: Path, paths: Sequence[Path], answers: Answers, worse: bool) -> Reader:
    """Return the function that reads a label equal to a value of one side, the better or the worse one."""

    def read(row: Row) -> Verdict | Unknown | None:
        value = at_path(row, path)
        if value is None or value == "":
            return None
        same = [float(at_path(row, one) == value) for one in paths]
        if sum(same) == 1.0:
            return Verdict(tuple(1.0 - one for one in same) if worse else tuple(same))
        said = said_of(value, answers)
        return Verdict((0.0,) * len(paths)) if said and said.side == TIE else Unknown(quoted(value))

    return read
