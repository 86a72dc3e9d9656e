"""Columns of numbered annotators, such as annotator_1 and annotator_2, each with a word for a side."""

from collections.abc import Sequence

from ..rows import Row, quoted
from .labels import Answers, Label, Unknown, Verdict, said_of
from .layout import Family, Layout, Path, at_path, covered, named
from .ratings import number_of
from .words import LABEL, PEOPLE, TIE, sense


def with_raters(
    layout: Layout, answers: Answers, used: set[Path], wanted: Path | None, found: Sequence[Label]
) -> list[Label]:
    """Return labels with the columns of numbered annotators read together; each word is a vote.

    Args:
        used: columns that hold answers and parts of the prompt.
        wanted: the column that the user named as the label.
        found: labels of single columns, of which those of annotators are left out.
    """
    families = [family for family in layout.families if _are_raters(layout, family, answers, used)]
    families = [family for family in families if wanted is None or wanted in family.paths]
    # The widest family: annotator_1 to annotator_3 are also two families of two.
    families.sort(key=lambda family: -len(family.paths))
    labels = [_label(family, answers) for family in families[:1]]
    read = {path for label in found if len(label.paths) > 1 and label.read for path in label.paths}
    labels += _unread(layout, answers, used | read | {path for label in labels for path in label.paths}, wanted)
    taken = {path for label in labels for path in label.paths}
    return [*labels, *(label for label in found if not taken & set(label.paths))]


def _unread(layout: Layout, answers: Answers, used: set[Path], wanted: Path | None) -> list[Label]:
    """Return the numbers and truth values of numbered annotators, of which nothing says the meaning."""
    families = [
        family
        for family in layout.families
        if set(family.stem) & PEOPLE or (set(family.stem) & LABEL and family.kind == "digit")
        if not any(covered(path, used) for path in family.paths)
        and (wanted is None or wanted in family.paths)
        and _are_numbers([value for path in family.paths for value in layout.columns[path]])
    ]
    families.sort(key=lambda family: -len(family.paths))
    return [Label(family.paths, "votes", None, 0, problem=_problem(family)) for family in families[:1]]


def _problem(family: Family) -> str:
    """Say that the numbers of annotators are not understood."""
    return f"{', '.join(map(named, family.paths))} hold numbers of annotators, which name no side"


def _are_numbers(values: Sequence[object]) -> bool:
    """Return True for truth values, and for numbers that may be places of two answers and a tie."""
    told = [value for value in values if value is not None and value != ""]
    numbers = {number_of(value) for value in told}
    return bool(told) and numbers <= {-1.0, 0.0, 1.0, 2.0} and len(numbers) > 1


def _are_raters(layout: Layout, family: Family, answers: Answers, used: set[Path]) -> bool:
    """Return True for columns of annotators whose values are words for a side or a tie."""
    parts = set(family.stem)
    if not answers.names or not parts & (PEOPLE | LABEL) or sense(family.stem) < 1:
        return False
    if any(covered(path, used) for path in family.paths):
        return False
    values = [value for path in family.paths for value in layout.columns[path] if value is not None and value != ""]
    said = [said_of(value, answers) for value in values if isinstance(value, str)]
    return len(said) == len(values) > 0 and all(meant and meant.side is not None for meant in said)


def _label(family: Family, answers: Answers) -> Label:
    """Return the label of a row: the votes of all annotators, a tie half for each side."""
    count = len(answers.names)

    def read(row: Row) -> Verdict | Unknown | None:
        support, voted = [0.0] * count, False
        for path in family.paths:
            value = at_path(row, path)
            if value is None or value == "":
                continue
            meant = said_of(value, answers)
            if meant is None or meant.side is None:
                return Unknown(quoted(value))
            voted = True
            for place in range(count) if meant.side == TIE else [meant.side]:
                support[place] += 1 / count if meant.side == TIE else 1.0
        return Verdict(tuple(support)) if voted else None

    return Label(family.paths, "votes", read, 0 if set(family.stem) & LABEL else 1)
