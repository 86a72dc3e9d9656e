"""Choice of the label: one column among all that may say which answer is better, or a refusal in words."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ...common.text import and_more
from .annotations import find_annotations
from .answers import Given
from .base import FUNCTION, Refused, option
from .judgments import scalar
from .labels import Answers, Label, Verdict, said_of, values_of
from .layout import MARKS, Layout, Path, covered, named, texts_of, words
from .measures import check_agreement, check_measures, inside_of, own_path
from .names import ASPECTS, names_content, speaks_against, strange
from .prompts import Prompt
from .raters import with_raters
from .ratings import listed
from .scores import beside_names, per_side
from .suspects import find_suspects
from .ties import tie_columns, with_ties
from .turned import AS_COLUMNS, FOR_WORSE, check_counted, check_turned
from .weights import check_probability
from .words import FAULTS, LABEL, SCHOOL, WORSE, sense

PLACES = {"top", "bottom", "shown", "displayed", "position", "1", "2", "0"}
"""Words for the place at which an answer was shown, beside left and first."""
NAMED = ("probability", "weight", "margin")
"""Columns about a preference that the user may name."""
MOST_OFFERED = 4
"""Most labels of which a message prints the line to type."""
FEWEST_AGAINST = 4
"""Fewest rows in which a label and the scores of the sides differ throughout, before the label is doubted."""


def wanted_label(layout: Layout, columns: Mapping[str, str]) -> Path | None:
    """Return the path of the label that the user named; None for none. A path into lists is a column of its own."""
    if "label" not in columns:
        return None
    name = columns["label"]
    path = tuple(name.split("."))
    return (name,) if "." not in name else path if path in layout.columns else ("label",)


def find_labels(layout: Layout, answers: Answers, used: set[Path], wanted: Path | None = None) -> list[Label]:
    """Return every column that may be the label of the answers.

    Args:
        used: columns that hold answers and parts of the prompt.
        wanted: the column that the user named as the label; other columns are not looked at.
    """
    found = []
    families = [family for family in layout.families if not any(covered(path, used) for path in family.paths)]
    families += beside_names(layout, answers, used)
    # A named column with a twin for the other answer is read together with the twin, not as an index.
    families = [family for family in families if wanted is None or wanted in family.paths]
    found = [label for family in families if (label := per_side(layout, family, answers, wanted is not None))]
    # A column that says whether a row is a tie names no side.
    taken = {path for label in found for path in label.paths} | set(tie_columns(layout, used, answers.stem))
    for path in layout.columns:
        if covered(path, used | taken) or (wanted is not None and path[: len(wanted)] != wanted):
            continue
        if (label := scalar(layout, path, answers, wanted is not None)) or (
            label := listed(layout, path, answers, wanted is not None)
        ):
            found.append(label)
    return found


def choose_label(
    layout: Layout,
    given: Given,
    prompt: Prompt,
    columns: Mapping[str, str],
    strict: bool = False,
    before: Layout | None = None,
) -> tuple[Label | None, list[Label]]:
    """Return the label of the answers, and the other columns that may be labels.

    Args:
        strict: True to raise an error for every column that may be a label, understood or not.
        before: first rows, if the rows are later ones.

    Raises:
        Refused: several labels that nothing tells apart, or a label that is not understood.
    """
    # A column that the user named for another use is no label.
    used = taken(prompt, given) | {(key,) for key in columns if key in NAMED}
    wanted = wanted_label(layout, columns)
    if given.inner and wanted is None:
        order = sorted(given.inner, key=lambda label: (label.tier, label.aspects))
        first, *rest = order
        same = [label for label in rest if (label.tier, label.aspects) == (first.tier, first.aspects)]
        label = with_ties(layout, _checked(layout, [first, *same]), used, given.answers)
        inside = inside_of(layout.rows, given.entries, first.paths[0][: first.paths[0].index("*")])
        check_measures(layout, first, used, {path: inside[path] for path in inside if path != own_path(first)})
        check_counted(layout, used | set(label.paths))
        free = [path for path in layout.columns if not covered(path, used)]
        lists = [one for path in free if (one := listed(layout, path, given.answers, False))]
        check_agreement(layout.rows, first, [*rest, *lists])
        return label, [*(label for label in rest if label not in same), *lists]
    found = find_labels(layout, given.answers, used, wanted)
    found += find_annotations(layout, given.answers, used, wanted)
    found = with_raters(layout, given.answers, used, wanted, found)
    found = [replace(label, tier=0) if wanted else label for label in found]
    for tier in (0, 1, 2):
        here = [label for label in found if label.tier == tier]
        good = _of_the_best([label for label in here if label.read and not label.problem], given.answers)
        if good:
            if wanted is None and (whole := _of_the_whole(good, here)):
                raise _unread_label(layout, [*whole, *(_doubted(label) for label in good)], given, used)
            fewest = min(label.aspects for label in good)
            label = _checked(layout, [label for label in good if label.aspects == fewest])
            _check_scores(layout, label, found)
            # Values by which the label names an answer are no second label.
            used = used | label.own_columns
            if label.kind == "choice":
                _check_placed(layout, label, given.answers, used)
                _check_object(layout, label, used)
                check_turned(layout, used | set(label.paths), AS_COLUMNS)
                check_probability(layout, label, used)
            else:
                check_measures(layout, label, used)
                check_counted(layout, used | set(label.paths))
            beside = [
                other for other in found if other.paths != label.paths and not set(other.paths) <= label.own_columns
            ]
            if wanted is not None:
                beside += _not_wanted(layout, given.answers, used | set(label.paths))
            # Two sets of scores may differ as raters do.
            check_agreement(layout.rows, label, [other for other in beside if other.kind in ("ranks", "truth")])
            label = with_ties(layout, label, used, given.answers)
            return label, [other for other in beside if not set(other.paths) <= set(label.paths)]
        if bad := [label for label in here if label.problem and (tier == 0 or strict)]:
            read = used | {path for label in bad for path in label.paths}
            also = _not_wanted(layout, given.answers, read) if wanted is not None else []
            raise _unread_label(layout, bad, given, used, also)
    if wanted is not None:
        # A label that begins after the first rows is read once a row shows the values.
        empty = all(value in (None, "", []) for value in layout.columns.get(wanted, []))
        told = Counter(str(value) for value in layout.columns.get(wanted, []) if value not in (None, "", []))
        held = f", and holds {values_of(told)}" if told else ""
        hint = f"read the label in a function of your own: {FUNCTION}"
        raise Refused(f"{columns['label']} names no side of {given.shown}{held}", hint, undecided=empty)
    if strict and (suspects := find_suspects(layout, given.answers, used, marks=True, before=before)):
        raise _unread_label(layout, suspects, given, used)
    return None, found


def _not_wanted(layout: Layout, answers: Answers, used: set[Path]) -> list[Label]:
    """Return the columns that may be labels as well beside the one that the user named, to be named in the report.

    Args:
        used: columns that are read.
    """
    found = find_labels(layout, answers, used) + find_annotations(layout, answers, used, None)
    known = {path for label in found for path in label.paths}
    suspects = find_suspects(layout, answers, used) if len(answers.names) > 1 else []
    found += [label for label in suspects if not known & set(label.paths)]
    # Judges may differ from the label of the user, and contradict nothing.
    return [Label(label.paths, "scores", None, 2, label.aspects) for label in found]


def _of_the_whole(good: Sequence[Label], here: Sequence[Label]) -> list[Label]:
    """Return the labels that may be the verdict about the whole, if every label that is read names an aspect."""
    if any(not set(words(path)) & ASPECTS for label in good for path in label.paths):
        return []
    others = [label for label in here if label.problem and label.kind == "choice"]
    return [label for label in others if not any(set(words(path)) & ASPECTS for path in label.paths)]


def _doubted(label: Label) -> Label:
    """Return the label of an aspect with the reason why it is not read."""
    return replace(label, problem=f"{label.name} may be the label of an aspect alone")


def _check_object(layout: Layout, label: Label, used: set[Path]) -> None:
    """Raise `Refused` for a word such as worse beside the label in the same object, which may be the question."""
    outer = label.paths[0][:-1]
    for path in layout.columns if outer else ():
        if path[:-1] != outer or covered(path, used | set(label.paths)):
            continue
        texts = [value for value in layout.columns[path] if isinstance(value, str)]
        if any(FOR_WORSE & set(words((text,))) for text in texts):
            raise Refused(
                f"{named(path)} may say that {label.name} names the worse answer: {values_of(Counter(texts))}",
                f"if the label names the better answer: {option('ignore', named(path))}; or use {FUNCTION}",
            )


def _of_the_best(labels: list[Label], answers: Answers) -> list[Label]:
    """Return the labels without those of the worst of three or more answers, unless no other is left."""
    best = [label for label in labels if all(sense(words(path)) == 1 for path in label.paths)]
    return best if best and (answers.number or len(answers.names)) != 2 else labels


def taken(prompt: Prompt, given: Given) -> set[Path]:
    """Return the columns that hold answers and parts of the prompt, under the published names as well."""
    # A path into an object stays in its place after the user has named the path.
    return {*prompt.paths, *given.answers.paths, *given.answers.names}


def _checked(layout: Layout, labels: list[Label]) -> Label:
    """Return the first of several labels, if all say the same; raise `Refused` otherwise."""
    first = labels[0]
    readers = [label.read for label in labels if label.read]
    if all(len({read(row) for read in readers}) == 1 for row in layout.rows):
        return replace(first, agreeing=(*first.agreeing, *(label for label in labels[1:] if label.read)))
    names = and_more([label.name for label in labels], 4)
    hint = f"use {FUNCTION}"
    if len(first.paths) == 1 and "*" not in first.name:
        lines = [
            option("columns.label", label.name) for label in labels if len(label.paths) == 1 and "*" not in label.name
        ]
        hint = f"name the one that decides: {' or '.join(lines[:MOST_OFFERED])}; or {hint}"
    raise Refused(f"several columns may be the label: {names}", hint)


def _check_scores(layout: Layout, label: Label, found: Sequence[Label]) -> None:
    """Raise `Refused` if a label of bare numbers says the opposite of the scores of the two sides in every row."""
    if label.kind != "choice" or any(word.isalpha() for row in layout.rows for word in [label.shown(row)]):
        return
    for scores in (other for other in found if other.kind in ("scores", "votes") and other.read and other.tier == 1):
        pairs = [(label.read(row), scores.read(row)) for row in layout.rows if label.read and scores.read]
        told = [
            (one.merits[0] - one.merits[1]) * (two.merits[0] - two.merits[1])
            for one, two in pairs
            if isinstance(one, Verdict) and isinstance(two, Verdict) and len(one.merits) == len(two.merits) == 2
        ]
        told = [agreement for agreement in told if agreement]
        if len(told) >= FEWEST_AGAINST and all(agreement < 0 for agreement in told):
            raise Refused(
                f"{label.name}, counted from the first answer, says the opposite of {scores.name} in every row",
                f"read the one that is right in a function of your own: {FUNCTION}",
            )


def _check_placed(layout: Layout, label: Label, answers: Answers, used: set[Path]) -> None:
    """Raise `Refused` for columns such as left and right that say which answer stood there, beside a label.

    The label may name the place at which an answer was shown, and not the column of the answer.
    """
    if len(answers.names) != 2:
        return
    for path, column in layout.columns.items():
        places = [word for word in words(path) if any(word in order[:2] for order in MARKS.values()) or word in PLACES]
        values = [value for value in column if value is not None and value != ""]
        if covered(path, used | set(label.paths)) or not places or not values:
            continue
        said = [said_of(value, answers) if isinstance(value, str) else None for value in values]
        if all(meant and meant.side in (0, 1) for meant in said):
            raise Refused(
                f"{named(path)} may say which answer stood at the place that {label.name} names: "
                f"{values_of(Counter(map(str, values)))}",
                f"if the label names the answers as the columns do: {option('ignore', named(path))}; or use {FUNCTION}",
            )


def _unread_label(
    layout: Layout, labels: Sequence[Label], given: Given, used: set[Path], also: Sequence[Label] = ()
) -> Refused:
    """Return the error for columns that may be labels and are not understood.

    Args:
        also: further columns that may be labels, beside the one that the user named.
    """
    problems = "; ".join(label.problem for label in labels)
    if where := _names_in(layout, labels[0], given):
        problems += f"; {where} holds the names"
    problems += f"; {', '.join(label.name for label in also)} may be labels as well" if also else ""
    undecided = all(label.undecided for label in labels)
    hint = next_step(layout, labels, given.answers, used)
    return Refused(f"the answers are {given.shown}, and {problems}", hint, undecided)


def _names_in(layout: Layout, label: Label, given: Given) -> str:
    """Return the column beside the answers with the values of a label, such as names of models; "" for none."""
    values = {value for value in layout.columns.get(label.paths[0], []) if isinstance(value, str) and value}
    if len(label.paths) > 1 or not values:
        return ""
    path = given.answers.paths[0]
    columns = inside_of(layout.rows, given.entries, (*path, "*"))
    for other in layout.of_kind("texts"):
        if other != path:
            columns[other] = [entry for value in layout.columns[other] for entry in texts_of(value) or []]
    return next((named(one) for one, told in columns.items() if values <= set(filter(_is_text, told))), "")


def _is_text(value: object) -> bool:
    """Return True for a text."""
    return isinstance(value, str)


def next_step(layout: Layout, labels: Sequence[Label], answers: Answers, used: set[Path]) -> str:
    """Return the hint about columns that may be labels; a line is printed only if the line reads them, or none is one.

    Args:
        used: columns that hold answers and parts of the prompt.
    """
    steps = [f"read the label in a function of your own: {FUNCTION}"]
    # A column with the name of a label must not be left out lightly: the first answer would count as the better one.
    told = {word for label in labels for path in label.paths for word in words(path)}
    if all(label.tier == 2 for label in labels) and not told & (LABEL | WORSE):
        names = [named(path) for label in labels for path in label.paths]
        steps.insert(0, f"if none is a label: {option('ignore', *names)}")
    first = labels[0]
    parts = words(first.paths[0])
    if len(first.paths) == 1 and not speaks_against(parts) and _read_by_name(layout, first.paths[0], answers, used):
        # Values and unknown words do not say whether the better or the worse answer is named.
        unknown = first.tier == 2 or strange(parts, answers.stem) or names_content(parts)
        asked = f"if {first.name} names the better answer" if unknown else "name the label"
        steps.insert(0, f"{asked}: {option('columns.label', first.name)}")
    marks = [
        named(label.paths[0]) for label in labels if may_be_low(label) and not speaks_against(words(label.paths[0]))
    ]
    if len(marks) == len(labels) == 1:
        steps.insert(0, f"if the highest number is the best: {option('columns.label', marks[0])}")
    return "; or, ".join(steps)


def may_be_low(label: Label) -> bool:
    """Return True for numbers of the answers under the name of a fault or a school mark: the lowest may be the best."""
    return label.kind == "scores" and "*" not in label.name and bool(set(words(label.paths[0])) & (FAULTS | SCHOOL))


def _read_by_name(layout: Layout, path: Path, answers: Answers, used: set[Path]) -> bool:
    """Return True for a column that is read as a label which names an answer, once the user names the column."""
    found = find_labels(layout, answers, used, path) + find_annotations(layout, answers, used, path)
    # Numbers of each answer are read as the higher the better, and name no answer.
    names = all(label.kind in ("choice", "truth") and label.paths == (path,) for label in found)
    return bool(found) and names and all(label.read and not label.problem for label in found)


def find_likely(layout: Layout, given: Given, prompt: Prompt, others: Sequence[Label]) -> list[Label]:
    """Return the columns that may be the label of answers without one, each with a single path.

    Args:
        others: columns that were looked at, and are no label as they stand.
    """
    found = [label for label in others if label.problem and (len(label.paths) == 1 or may_be_low(label))]
    known = {label.paths for label in found}
    if len(given.answers.names) > 1:
        suspects = find_suspects(layout, given.answers, taken(prompt, given))
        # A column such as best may mark some rows alone.
        marking = find_suspects(layout, given.answers, taken(prompt, given), marks=True)
        suspects += [one for one in marking if one not in suspects and LABEL & set(words(one.paths[0]))]
        found += [label for label in suspects if label.paths not in known]
    return found
