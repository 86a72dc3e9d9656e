"""Detection of the columns of a file: the answers, the label and the prompt, from what the first rows hold."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...common.text import and_more
from ...errors import DataError
from ...records import Comparison, Rejected
from ..rows import Row, RowPlace
from .annotations import find_annotations
from .answers import (
    ANSWER,
    Given,
    family_of,
    find_families,
    find_lists,
    find_named,
    find_polar,
    of_paths,
    whole,
)
from .base import Format
from .checks import CHOSEN, REJECTED, check_beside, check_held, check_named, check_prompt
from .exchanges import find_turn
from .labelled import Columns, exchanges, reading_of
from .labels import Label, Verdict
from .layout import Layout, Path, at_path, named, texts_of, words
from .messages import normal
from .pairs import PREFERENCE, convert_preference
from .prompts import Prompt, find_prompt, repeated
from .ratings import find_labels
from .reading import Reading
from .refusals import FUNCTION, Refused, refusal, step_labels, steps_refused, unscorable
from .unread import Unread
from .words import polarity

FEWEST_AGAINST = 4
"""Fewest rows in which a label and the scores of the sides differ throughout, before the label is doubted."""


class Undecided(DataError):
    """The rows seen so far leave the meaning of a label open; further rows may decide."""


def find_reading(
    rows: Sequence[Row], narrow: str, columns: Mapping[str, str], name: str, judged: bool = True
) -> Reading | None:
    """Return the reading of a file with answers and a label, or with a prompt in parts; None for other files.

    Args:
        rows: first rows, with renamed columns.
        narrow: the format that fits by its keys, "" for none.
        columns: the user's names of columns.
        name: name of the file, for messages.
        judged: False for rows to score, which need no label.

    Raises:
        Undecided: more rows are needed.
        DataError: the columns cannot be told, or must not be read as they are.
    """
    layout = Layout(rows)
    given = _named_by_hand(columns)
    try:
        if given is not None:
            return _by_hand(layout, given, columns) if judged else _preference(layout, columns)
        if narrow == "preference" and "label" not in columns:
            return _preference(layout, columns)
        if narrow and "label" not in columns and not (narrow == "ranked" and _not_ranked(layout)):
            return None
        return _any(layout, columns) if judged else _unjudged(layout, columns)
    except Refused as error:
        kind = Undecided if error.undecided else DataError
        raise kind(f"{name}: {error.message}", error.hint) from None


def _named_by_hand(columns: Mapping[str, str]) -> Given | None:
    """Return the answers that the user named as chosen and rejected; None unless both are named."""
    if not {"chosen", "rejected"} <= set(columns):
        return None
    names = tuple(tuple(columns[side].split(".")) for side in ("chosen", "rejected"))
    paths, family = dict(zip(names, (CHOSEN, REJECTED), strict=True)), family_of(names)
    # A label counts in the order of the names, whichever of the two the user calls chosen.
    order = family.paths if family else names
    return of_paths(tuple(paths[name] for name in order), order, family)


def _by_hand(layout: Layout, given: Given, columns: Mapping[str, str]) -> Reading | None:
    """Return the reading of two answers named by the user: by the label beside them, or else as named."""
    check_held(layout)
    prompt = find_prompt(layout, given.answers.paths, given.answers.stem, _wanted(columns, "prompt"))
    check_prompt(layout, prompt, given.answers.paths)
    label, others = _label(layout, given, prompt, columns, strict=not _polar(given.answers.names))
    if label is None:
        return _preference(layout, columns)
    if given.answers.marks or not _polar(given.answers.names):
        return reading_of(_columns(layout, prompt, given, label), others)
    # Names such as good and bad say themselves which is better; only a label that says otherwise is in the way.
    if label.read and all(_says_first(label.read(row)) for row in layout.rows):
        return _preference(layout, columns)
    raise Refused(
        f"{label.name} does not always prefer {columns['chosen']}, which data.columns names as chosen",
        f"read the label in a function of your own: {FUNCTION}",
    )


def _polar(names: Sequence[Path]) -> bool:
    """Return True for names of which one is called good or bad."""
    return any(polarity(named(name)) is not None for name in names)


def _says_first(verdict: object) -> bool:
    """Return True for a verdict for the first answer, or none."""
    return verdict is None or (isinstance(verdict, Verdict) and verdict.merits[0] > max(verdict.merits[1:]))


def _wanted(columns: Mapping[str, str], key: str) -> Path | None:
    """Return the path of a column that the user named; None for none."""
    return (key,) if key in columns else None


def _wanted_label(layout: Layout, columns: Mapping[str, str]) -> Path | None:
    """Return the path of the label that the user named; None for none. A path into lists is a column of its own."""
    if "label" not in columns:
        return None
    name = columns["label"]
    path = tuple(name.split("."))
    return (name,) if "." not in name else path if path in layout.columns else ("label",)


def _preference(layout: Layout, columns: Mapping[str, str]) -> Reading | None:
    """Return the reading of chosen and rejected with a prompt in parts; None if `preference` reads the rows alone."""
    check_held(layout)
    check_named(layout)
    check_beside(layout)
    prompt = find_prompt(layout, (CHOSEN, REJECTED), (), _wanted(columns, "prompt") or _own_prompt(layout))
    if prompt.paths in ((), (("prompt",),)) and not prompt.several:
        if _own_prompt(layout) is None:
            check_prompt(layout, prompt, (CHOSEN, REJECTED))
        return None
    # A question beside whole conversations that hold the question adds nothing.
    if layout.kinds.get(CHOSEN) == "turns" and all(repeated(layout, path, [CHOSEN]) for path in prompt.paths):
        return None
    return pair_reading(prompt, CHOSEN, REJECTED)


def _own_prompt(layout: Layout) -> Path | None:
    """Return the column prompt, if any row has one that is filled."""
    path = ("prompt",)
    return path if path in layout.columns and any(layout.columns[path]) else None


def pair_reading(prompt: Prompt, chosen: Path, rejected: Path) -> Reading:
    """Return the reading of a better and a worse answer, with a prompt in parts."""
    keys = tuple(dict.fromkeys(path[0] for path in (*prompt.paths, chosen, rejected)))

    def convert(row: Row, at: RowPlace) -> Comparison | Rejected:
        if prompt.several and (found := _in_lists(prompt, row, (chosen, rejected), at)):
            return found if isinstance(found, Rejected) else convert_preference({**row, **found}, at)
        begun = prompt.begun(row)
        sides = [normal(at_path(row, path)) for path in (chosen, rejected)]
        sides = [begun + side if isinstance(side, str) and not side.startswith(begun) else side for side in sides]
        new = {"prompt": prompt.value(row), "chosen": sides[0], "rejected": sides[1]}
        if new["prompt"] is None:
            new |= _continued(*sides)
        return convert_preference({**row, **new}, at)

    fields = tuple(dict.fromkeys((*PREFERENCE.fields, *keys)))
    shape = Format(
        fields, PREFERENCE.matches, convert, PREFERENCE.looks, no_labels=PREFERENCE.no_labels, own_id=PREFERENCE.own_id
    )
    shown = prompt.shown or "what both answers begin with"
    begins = f", answers begin with {named(prompt.steps)}" if prompt.steps else ""
    rule = f"prompt <- {shown}{begins}, chosen <- {named(chosen)}, rejected <- {named(rejected)}"
    unread = Unread({*fields, *PREFERENCE.no_labels, "id"}, paths=(*prompt.paths, chosen, rejected))
    return Reading("preference", shape, rule, unread=unread, answers=(chosen, rejected))


def _in_lists(prompt: Prompt, row: Row, paths: Sequence[Path], at: RowPlace) -> Row | Rejected | None:
    """Return prompt and sides of a row with a list of questions, and a list of replies for each side; None for none."""
    questions = texts_of(at_path(row, prompt.question)) if prompt.question else None
    replies = [texts_of(at_path(row, path)) for path in paths]
    if questions is None or None in replies:
        return None
    if beside := prompt.beside(row):
        raise at.fault(f"{beside} beside a list of questions", "a prompt in messages")
    found = exchanges(questions, [texts or [] for texts in replies], at)
    if isinstance(found, Rejected):
        return found
    parts = (found[0], *found[1])
    written = [[{"role": turn.role, "content": turn.content} for turn in part] for part in parts]
    return dict(zip(("prompt", "chosen", "rejected"), written, strict=True))


def _continued(chosen: Any, rejected: Any) -> Row:
    """Return prompt, chosen and rejected if one side is a whole conversation, and the other is a last turn alone."""
    for one, other, names in ((chosen, rejected, ("chosen", "rejected")), (rejected, chosen, ("rejected", "chosen"))):
        if whole(one) and not whole(other) and one[-1].get("role") == "assistant" and other:
            last = other if isinstance(other, list) else [{"role": "assistant", "content": other}]
            return {"prompt": one[:-1], names[0]: one[-1:], names[1]: last}
    return {}


def _not_ranked(layout: Layout) -> bool:
    """Return True for rows with `completions` that are no ranking of texts under content."""
    lists = [row.get("completions") for row in layout.rows if row.get("completions")]
    entries = [entry for value in lists if isinstance(value, list) for entry in value]
    contents = sum(isinstance(entry, dict) and "content" in entry for entry in entries)
    prompts = sum("prompt" in row for row in layout.rows)
    return bool(entries) and (contents * 2 < len(entries) or prompts * 2 < len(layout.rows))


def _any(layout: Layout, columns: Mapping[str, str]) -> Reading:
    """Return the reading of rows that no format of fixed columns fits.

    Raises:
        Refused: no answers, no label, or several of either that nothing tells apart.
    """
    unlabelled: list[Given] = []
    likely: list[Path] = []
    for group in (find_named(layout), find_families(layout), find_lists(layout)):
        found = []
        for given in group:
            prompt = find_prompt(layout, given.answers.paths, given.answers.stem, _wanted(columns, "prompt"))
            label, others = _label(layout, given, prompt, columns)
            if label is not None:
                _check_steps(layout, given, label)
                check_prompt(layout, prompt, given.answers.paths, label.paths)
                found.append(reading_of(_columns(layout, prompt, given, label), others))
            else:
                unlabelled.append(given)
                likely += [path for other in others if other.problem and len(other.paths) == 1 for path in other.paths]
        if len(found) == 1:
            return found[0]
        if found:
            shown = " or ".join(reading.rule for reading in found)
            raise Refused(f"the answers may be read in several ways: {shown}", f"choose with {FUNCTION}")
    if polar := find_polar(layout):
        prompt = find_prompt(layout, polar, (), _wanted(columns, "prompt"))
        return pair_reading(prompt, *polar)
    raise refusal(layout, unlabelled, list(dict.fromkeys(likely)))


def _unjudged(layout: Layout, columns: Mapping[str, str]) -> Reading:
    """Return the reading of answers without a label.

    Raises:
        Refused: no answers, or several columns of answers that nothing tells apart.
    """
    for group in (find_families(layout), find_lists(layout)):
        wanted = _wanted(columns, "prompt")
        asked = [(given, find_prompt(layout, given.answers.paths, given.answers.stem, wanted)) for given in group]
        found = [(given, prompt) for given, prompt in asked if prompt.paths or given.conversation or len(asked) == 1]
        # Beside a list of answers, any list of texts looks like answers, such as addresses.
        found = [(given, prompt) for given, prompt in found if _named_answers(given)] or found
        if len(found) == 1:
            given, prompt = found[0]
            return reading_of(_columns(layout, prompt, given, None), ())
        if found:
            shown = " or ".join(given.shown for given, _ in found)
            raise Refused(f"the answers may be {shown}", f"choose with {FUNCTION}")
    if polar := find_polar(layout):
        return pair_reading(find_prompt(layout, polar, (), _wanted(columns, "prompt")), *polar)
    raise unscorable(layout)


def _named_answers(given: Given) -> bool:
    """Return True for answers in columns whose names say so."""
    return any(ANSWER & set(words(path)) for path in given.answers.paths)


def _check_steps(layout: Layout, given: Given, label: Label) -> None:
    """Raise `Refused` for a list of texts that are the steps of one answer, with a truth value for each step."""
    path = given.answers.paths[0]
    if given.answers.names or label.kind != "truth" or label.paths[0][:1] == path[:1] or layout.kinds[path] != "texts":
        return
    texts, labels = ([value for row in layout.rows if (value := at_path(row, one))] for one in (path, label.paths[0]))
    if step_labels(texts, labels):
        raise steps_refused([path, label.paths[0]])


def _columns(layout: Layout, prompt: Prompt, given: Given, label: Label | None) -> Columns:
    """Return the columns of a file, with the number of the judged exchange and the strengths of the label."""
    turn, first = find_turn(layout, given)
    strengths = {
        verdict.strength
        for row in layout.rows
        if label and label.read and isinstance(verdict := label.read(row), Verdict)
    }
    return Columns(prompt, given, label, turn, first, graded=max(strengths, default=0) > 1)


def _label(
    layout: Layout, given: Given, prompt: Prompt, columns: Mapping[str, str], strict: bool = False
) -> tuple[Label | None, list[Label]]:
    """Return the label of the answers, and the other columns that may be labels.

    Args:
        strict: True to raise an error for a column that may be a label by its values alone.

    Raises:
        Refused: several labels that nothing tells apart, or a label that is not understood.
    """
    used = {*prompt.paths, *given.answers.paths}
    wanted = _wanted_label(layout, columns)
    if given.inner and wanted is None:
        order = sorted(given.inner, key=lambda label: (label.tier, label.aspects))
        first, *rest = order
        same = [label for label in rest if (label.tier, label.aspects) == (first.tier, first.aspects)]
        return _checked(layout, [first, *same]), [label for label in rest if label not in same]
    found = find_labels(layout, given.answers, used, wanted)
    found += find_annotations(layout, given.answers, used, wanted)
    found = [replace(label, tier=0) if wanted else label for label in found]
    for tier in (0, 1, 2):
        here = [label for label in found if label.tier == tier]
        good = [label for label in here if label.read and not label.problem]
        if good:
            fewest = min(label.aspects for label in good)
            label = _checked(layout, [label for label in good if label.aspects == fewest])
            _check_scores(layout, label, found)
            return label, [other for other in found if other is not label]
        if bad := [label for label in here if label.problem and (tier == 0 or strict)]:
            raise _unread_label(bad, given)
    if wanted is not None:
        raise Refused(f"{columns['label']} names no side of {given.shown}", f"correct the data, or use {FUNCTION}")
    return None, found


def _checked(layout: Layout, labels: list[Label]) -> Label:
    """Return the first of several labels, if all say the same; raise `Refused` otherwise."""
    first = labels[0]
    readers = [label.read for label in labels if label.read]
    if all(len({read(row) for read in readers}) == 1 for row in layout.rows):
        return first
    names = and_more([label.name for label in labels], 4)
    hint = f"name it: --data.columns.label {labels[0].name}" if len(first.paths) == 1 and "*" not in first.name else ""
    raise Refused(
        f"several columns may be the label: {names}", f"{hint}, or use {FUNCTION}" if hint else f"use {FUNCTION}"
    )


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


def _unread_label(labels: Sequence[Label], given: Given) -> Refused:
    """Return the error for columns that may be labels and are not understood."""
    problems = "; ".join(label.problem for label in labels)
    names = ",".join(label.name for label in labels)
    undecided = all(label.undecided for label in labels)
    hint = f"read the label in a function of your own: {FUNCTION}"
    # A column with the name of a label must not be left out lightly: the first answer would count as the better one.
    if all(label.tier == 2 for label in labels):
        names = names.replace(", ", ",")
        hint = f"if none is a label: --data.ignore {names}; or {hint}"
        if len(labels[0].paths) == 1:
            hint = f"name the label: --data.columns.label {labels[0].name}; or, {hint}"
    return Refused(f"the answers are {given.shown}, and {problems}", hint, undecided)
