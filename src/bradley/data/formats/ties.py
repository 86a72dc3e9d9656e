"""Columns that say of a row that neither answer is better, such as is_tie beside a label."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import Any

from ..rows import Row, quoted
from .base import FUNCTION, Refused, option
from .labels import Answers, Label, Unknown, Verdict, values_of
from .layout import LONG, Layout, Path, at_path, covered, named, words
from .words import (
    BESIDE_TIES,
    FILLER,
    LABEL,
    MEASURES,
    NO_WINNER,
    REMARKS,
    SCORE,
    STRENGTH,
    TIES,
    is_empty,
    is_open,
    truth_in,
)

CLEAR = {
    *(
        "tie",
        "ties",
        "tied",
        "draw",
        "draws",
        "bothbad",
        "bothgood",
        "undecided",
        "undecidable",
        "indifferent",
        "indifference",
    ),
    *("indistinguishable", "indistinct", "tieflag", "tossup", "nopref", "nopreference"),
}
"""Words for a tie that mean nothing else in the name of a column."""
ALIKE = {"equal", "equally", "same", "both", "neither", "even", "equivalent"}
"""Words for a tie unless the name says what is equal, such as same_model."""
BESIDE = {
    *("is", "was", "are", "were", "a", "bad", "good", "quality", "flag", "sides", "answers", "responses", "wrong"),
    *("poor", "fine", "unacceptable", "acceptable", "equally", "about", "roughly", "nearly", "approximately"),
}
"""Words beside the word for a tie."""
OPEN = (
    *NO_WINNER,
    {"no", "pref"},
    {"no", "diff"},
    {"toss", "up"},
    {"cannot", "decide"},
    {"can", "not", "decide"},
    {"cannot", "tell"},
    {"no", "decision"},
)
"""Sets of words that say in the name of a column that no answer is better."""
STRONG = STRENGTH | {"confidence", "gap"}
"""Words in the name of a column that says how much better the better answer is; `how_much` says the same."""
NONE = {"none", "negligible", "zero", "nil", "nothing", "no", "indifferent", "insignificant", "identical"}
"""Words by which no answer is better, under the name of a strength."""
OF_OTHERS = MEASURES | REMARKS | SCORE - {"overall", "quality"}
"""Words that make of such a name the name of another thing, such as score_gap and time_gap."""


def is_tie_name(path: Path, stem: Collection[str] = ()) -> bool:
    """Return True for the name of a column that says that a row is a tie.

    Args:
        stem: words of the names of the answers, or of other columns of the label.
    """
    parts = set(words(path[-1:]))
    if any(said <= parts and parts - said <= BESIDE for said in OPEN):
        return True
    if parts & CLEAR:
        return parts - CLEAR <= BESIDE | FILLER | LABEL | set(stem) | ALIKE
    return bool(parts & ALIKE) and parts - ALIKE <= BESIDE | LABEL


def is_tie(value: Any) -> bool | None:
    """Return True for yes, and for a word for a tie, in the column of ties; False for no and an empty cell.

    Any other cell gives None.
    """
    if is_empty(value):
        return False
    if (truth := truth_in(value)) is not None or not isinstance(value, str) or len(value) > LONG:
        return truth
    parts = set(words((value,)))
    if parts in NO_WINNER:
        return True
    ties = TIES | CLEAR | ALIKE
    known = parts & ties and parts <= ties | BESIDE_TIES | {"not", "a"}
    return not parts & {"no", "not"} if known else None


def is_open_tie(path: Path, value: Any) -> bool:
    """Return True for a cell that is neither yes, no nor a word for a tie, under a name that means ties alone."""
    parts = set(words(path[-1:]))
    certain = (parts & CLEAR and parts <= CLEAR | BESIDE | LABEL) or any(said <= parts for said in OPEN)
    return bool(certain) and is_tie(value) is None and is_open(value)


def is_strength_name(path: Path) -> bool:
    """Return True for the name of a column that says how much better the better answer is."""
    parts = set(words(path[-1:]))
    return bool(parts & STRONG or parts >= {"how", "much"}) and not parts & OF_OTHERS


def is_no_strength(value: Any) -> bool:
    """Return True for a strength by which no answer is better: 0, "none" and words for a tie."""
    if isinstance(value, str):
        low = value.strip().lower()
        return low in NONE or (truth_in(low) is None and bool(is_tie(low)))
    return isinstance(value, int | float) and not isinstance(value, bool) and value == 0


def check_strengths(row: Row, paths: Iterable[Path], label: Label) -> None:
    """Raise `Refused` for a strength by which no answer is better, beside a label that names the better one.

    Args:
        paths: columns with a strength.
    """
    for path in paths:
        if is_no_strength(value := at_path(row, path)):
            verdict = label.read(row) if label.read else None
            if isinstance(verdict, Verdict) and len(set(verdict.merits)) > 1:
                raise Refused(
                    f"{named(path)} says that no answer is better ({quoted(value)}), and {label.name} names one",
                    f"if {label.name} is right: {option('ignore', named(path))}; or use {FUNCTION}",
                )


def strengths_beside(layout: Layout, label: Label, used: set[Path]) -> list[Path]:
    """Return the columns with a strength beside a label that names one answer; none beside another label."""
    taken = used | set(label.paths)
    found = [path for path in layout.columns if is_strength_name(path) and not covered(path, taken)]
    return found if label.kind == "choice" else []


def check_open_ties(layout: Layout, used: set[Path], stem: Collection[str] = (), counted: bool = False) -> None:
    """Raise `Refused` for a column with the name of ties, and with cells that are neither yes nor no.

    Args:
        used: columns that hold answers and parts of the prompt.
        stem: words of the names of the answers.
        counted: True if numbers may be counts of votes.
    """
    for path, values in layout.columns.items():
        if covered(path, used) or not is_tie_name(path, stem) or (counted and layout.kinds[path] == "number"):
            continue
        told = Counter(str(value) for value in values if not is_empty(value))
        known = any(is_tie(value) for value in values)
        # Under a name such as both, words of which one is yes, or a word for a tie, say whether a row is a tie.
        if any(is_open_tie(path, one) or (known and is_tie(one) is None and is_open(one)) for one in values):
            raise Refused(
                f"{named(path)} may say that rows are ties, and holds more than yes and no: {values_of(told)}",
                f"if {named(path)} says nothing of the answers: {option('ignore', named(path))}; or use {FUNCTION}",
            )


def tie_columns(layout: Layout, used: set[Path], stem: Collection[str] = ()) -> tuple[Path, ...]:
    """Return the columns that say by name, and by truth values in every row, that a row is a tie."""
    return tuple(
        path
        for path, values in layout.columns.items()
        if is_tie_name(path, stem) and not covered(path, used) and all(is_tie(value) is not None for value in values)
    )


def with_ties(layout: Layout, label: Label, used: set[Path], answers: Answers) -> Label:
    """Return a label by which the rows that another column calls a tie are ties.

    Args:
        used: columns that hold answers and parts of the prompt.
    """
    check_open_ties(layout, used | set(label.paths), answers.stem, label.kind == "votes")
    # Beside counts of votes, a number is the count of the votes for a tie.
    paths = tuple(
        path
        for path in tie_columns(layout, used | set(label.paths), answers.stem)
        if label.kind != "votes" or layout.kinds[path] == "bool"
    )
    if counts := tie_counts(layout, label, used, answers):
        return _with_counts(label, counts)
    read = label.read
    tied_label = _with_ties(label, paths, answers) if paths and read is not None else label
    strengths = strengths_beside(layout, label, used)
    for row in layout.rows if strengths else ():
        check_strengths(row, strengths, tied_label)
    return tied_label


def tie_counts(layout: Layout, label: Label, used: set[Path], answers: Answers) -> tuple[Path, ...]:
    """Return the columns with the votes for a tie beside the votes for each of two answers."""
    if label.kind != "votes" or len(label.paths) != 2 or any(layout.kinds.get(one) != "number" for one in label.paths):
        return ()
    taken = used | set(label.paths)
    return tuple(
        path
        for path in layout.of_kind("number")
        if not covered(path, taken) and is_tie_name((_uncounted(path),), answers.stem)
    )


def _uncounted(path: Path) -> str:
    """Return the last name of a path without the words that say that something was counted."""
    return "_".join(word for word in words(path[-1:]) if word not in {"n", "num", "number", "count", "counts", "of"})


def _with_counts(label: Label, counts: tuple[Path, ...]) -> Label:
    """Return a label of votes in which every vote for a tie is half a vote for each of the two answers."""
    read = label.read
    if read is None:
        return label

    def counted(row: Row) -> Verdict | Unknown | None:
        verdict, cells = read(row), [at_path(row, path) for path in counts]
        if not isinstance(verdict, Verdict):
            return verdict
        if odd := [cell for cell in cells if cell is not None and (isinstance(cell, str | bool | list) or cell < 0)]:
            return Unknown(quoted(odd[0]), doubt=True)
        half = sum(cell or 0 for cell in cells) / 2
        return verdict._replace(merits=tuple(merit + half for merit in verdict.merits))

    return replace(label, paths=(*label.paths, *counts), read=counted)


def _with_ties(label: Label, paths: tuple[Path, ...], answers: Answers) -> Label:
    """Return a label by which the rows that these columns call a tie are ties."""
    read = label.read
    if read is None:
        return label

    def tied(row: Row) -> Verdict | Unknown | None:
        cells = [at_path(row, path) for path in paths]
        if unclear := [cell for cell in cells if is_tie(cell) is None]:
            return Unknown(quoted(unclear[0]), doubt=True)
        verdict = read(row)
        if not any(map(is_tie, cells)):
            return verdict
        # The label of a tie may be empty.
        count = len(verdict.merits) if isinstance(verdict, Verdict) else answers.number
        return Verdict((1.0,) * count) if count else verdict

    def shown(row: Row) -> str:
        return "tie" if any(is_tie(at_path(row, path)) for path in paths) else label.shown(row)

    return replace(label, paths=(*label.paths, *paths), read=tied, shown=shown)


def check_ties(layout: Layout, used: set[Path]) -> None:
    """Raise `Refused` for rows that are ties by a column, beside answers that are read by their names."""
    check_open_ties(layout, used)
    for path in tie_columns(layout, used):
        if any(map(is_tie, layout.columns[path])):
            raise Refused(
                f"{named(path)} says that rows are ties, and the names of the answers say which one is better",
                f"if {named(path)} says nothing of the answers: {option('ignore', named(path))}; or use {FUNCTION}",
            )


def new_ties(layout: Layout, label: Label, used: set[Path]) -> Callable[[Row], None]:
    """Return the check that no row is a tie by a column that the first rows do not have, or by a strength."""
    known = {key for row in layout.rows for key in row}
    strengths = strengths_beside(layout, label, used)

    def check(row: Row) -> None:
        if strengths:
            check_strengths(row, strengths, label)
        for key in row.keys() - known:
            path = (str(key),)
            if is_tie_name(path) and (is_tie(row[key]) or is_open_tie(path, row[key])):
                hint = f"put such a row among the first rows, or use {FUNCTION}"
                raise Refused(f"{named(path)} says that the row is a tie: {quoted(row[key])}", hint)

    return check
