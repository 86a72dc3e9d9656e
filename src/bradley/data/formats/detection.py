"""Detection of the columns of a file: the answers, the label and the prompt, from what the first rows hold."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from ...errors import DataError
from ..rows import Row
from .agreement import Beside
from .answers import (
    ANSWER,
    Given,
    family_of,
    find_families,
    find_lists,
    find_named,
    find_polar,
    of_paths,
)
from .base import FUNCTION, Refused, option
from .beside import beside_fixed, beside_label, beside_names
from .checks import CHOSEN, REJECTED, check_beside, check_held, check_named, check_prompt
from .choice import choose_label, find_likely, next_step, taken
from .exchanges import find_turn
from .fixed import watch_fixed, watch_pair
from .identifiers import late_identifiers
from .labelled import Columns, reading_of
from .labels import Label, Verdict
from .layout import Layout, Path, at_path, covered, named, words
from .measures import check_measures, measures_inside, truths_agree
from .pairs import PREFERENCE
from .preference import find_several, inner_prompt, pair_reading, several_reading
from .prompts import Prompt, find_prompt
from .ranked import check_order
from .reading import Reading
from .refusals import refusal, step_labels, steps_refused, unscorable
from .repeats import repeated
from .strengths import check_signs
from .ties import check_ties, new_ties
from .turned import ALWAYS, AS_COLUMNS, check_counted, check_turned
from .votes import check_votes
from .watch import Watch, agreeing, prefers
from .weights import check_probability, equal_weights, of_annotations
from .words import decisive, polarity, sense


class Undecided(DataError):
    """The rows seen so far leave the meaning of a label open; further rows may decide."""


def find_reading(
    rows: Sequence[Row], narrow: str, columns: Mapping[str, str], name: str, judged: bool = True
) -> tuple[Reading | None, Watch | None, Beside | None]:
    """Return the reading of a file with answers and a label, or with a prompt in parts; None for other files.

    Args:
        rows: first rows, with renamed columns.
        narrow: the format that fits by its keys, "" for none.
        columns: the user's names of columns.
        name: name of the file, for messages.
        judged: False for rows to score, which need no label.

    Returns:
        The reading, and what also holds for a reading by fixed columns: the watch over labels of later rows, and the
        check of the columns beside two answers that the user named.

    Raises:
        Undecided: more rows are needed.
        DataError: the columns cannot be told, or must not be read as they are.
    """
    layout = Layout(rows)
    given = _named_by_hand(columns)
    try:
        if given is not None:
            return _by_hand(layout, given, columns) if judged else (_preference(layout, columns), None, None)
        if narrow == "preference" and "label" not in columns:
            reading = _preference(layout, columns)
            if reading is not None and judged:
                reading.against = beside_fixed("preference", {*reading.unread.known, "source"})
            return reading, watch_pair(layout) if judged else None, None
        if judged and "label" not in columns:
            check_signs(rows, narrow)
            if narrow == "votes":
                check_votes(rows)
            if narrow == "ranked":
                check_order(rows)
        if narrow and "label" not in columns and not (narrow == "ranked" and _not_ranked(layout)):
            return None, watch_fixed(layout, narrow), None
        return (*_any(layout, columns), None) if judged else (_unjudged(layout, columns), None, None)
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


def _by_hand(
    layout: Layout, given: Given, columns: Mapping[str, str]
) -> tuple[Reading | None, Watch | None, Beside | None]:
    """Return the reading of two answers named by the user: by the label beside them, or else as named."""
    check_held(layout)
    prompt = find_prompt(layout, given.answers.paths, given.answers.stem, _wanted(columns, "prompt"))
    check_prompt(layout, prompt, given.answers.paths, by_hand=columns.get("prompt", ""))
    check_turned(layout, taken(prompt, given), ALWAYS)
    label, others = choose_label(layout, given, prompt, columns, strict=not _decisive(given))
    if label is not None and "probability" in columns:
        raise Refused(
            f"{label.name} may be the label, and {columns['probability']} is named as the probability",
            f"if {columns['chosen']} is preferred with this probability: {option('ignore', *map(named, label.paths))}; "
            f"or use {FUNCTION}",
        )
    if label is not None and (given.answers.marks or not _polar(given)):
        watch = _as_labelled(layout, given, label, taken(prompt, given), others)
        return _read_by(layout, prompt, given, label, others), watch, None
    watch = _as_named(layout, given, prompt, columns, label, columns["chosen"])
    against = beside_names(
        given.answers, given.answers.paths.index(CHOSEN), _known(prompt, given), strict=not _decisive(given)
    )
    return _preference(layout, columns), watch, against


def _known(prompt: Prompt, given: Given) -> set[Path]:
    """Return the columns that a reading of a better and a worse answer reads, or knows as no label."""
    return {*taken(prompt, given), *((key,) for key in (*PREFERENCE.fields, *PREFERENCE.no_labels, "id", "source"))}


def _as_labelled(layout: Layout, given: Given, label: Label, known: Collection[Path], others: Sequence[Label]) -> Watch:
    """Return the watch over rows read by a label: by columns that agreed with the label, and by new ties.

    Args:
        known: columns that hold answers and parts of the prompt.
        others: other labels of the answers.
    """
    read = {*known, *given.answers.paths, *label.paths, *label.own_columns}
    every = [*agreeing(label), new_ties(layout, label, read), *measures_inside(layout.rows, label, given.entries)]
    every += truths_agree(label, others) + equal_weights(layout, of_annotations(layout, label))
    every += late_identifiers(label, given.answers, layout.rows)

    def check(later: Layout) -> None:
        if label.kind == "choice":
            check_turned(later, read, AS_COLUMNS, late=True)
            check_probability(later, label, read)
        else:
            check_measures(later, label, read)
            check_counted(later, read, late=True)

    return Watch(layout.rows, given.answers, read, check, every)


def _read_by(layout: Layout, prompt: Prompt, given: Given, label: Label, others: Sequence[Label]) -> Reading:
    """Return the reading of answers by a label, with the check of columns that begin later."""
    columns = _columns(layout, prompt, given, label)
    known = {*columns.paths, *given.answers.names, *(path for other in others for path in other.paths)}
    # A column such as worst, beside the best of several answers, is no label and is named.
    worse = [
        Label((path,), "choice", None, 2)
        for path in layout.of_kind("text", "number", "bool")
        if sense(words(path)) == -1 and not covered(path, known) and any(layout.columns[path])
    ]
    beside = [*others, *worse]
    reading = reading_of(columns, beside)
    reading.against = beside_label(
        given.answers, {*columns.paths, *given.answers.names, *label.own_columns}, layout.columns, beside
    )
    return reading


def _as_named(
    layout: Layout,
    given: Given,
    prompt: Prompt,
    columns: Mapping[str, str],
    label: Label | None,
    better: str,
) -> Watch:
    """Return the watch over a pair of answers of which one is the better by its name.

    Args:
        label: label that prefers the better answer in the first rows; None for none.
        better: name of the better answer, for messages.

    Raises:
        Refused: a label that does not always prefer the better answer.
    """
    check_ties(layout, taken(prompt, given))
    check_turned(layout, taken(prompt, given), ALWAYS)
    place = given.answers.paths.index(CHOSEN) if CHOSEN in given.answers.paths else 0
    every = [prefers(label, place, better)] if label else []
    for row in layout.rows:
        for holds in every:
            holds(row)

    def check(later: Layout) -> None:
        check_beside(later)
        check_turned(later, taken(prompt, given), ALWAYS, late=True)
        check_ties(later, taken(prompt, given))
        found, _ = choose_label(later, given, prompt, columns, strict=not _decisive(given), before=layout)
        if found is not None and (label is None or found.paths != label.paths):
            hint = f"if {better} is the better answer of every row: {option('ignore', *map(named, found.paths))}"
            if len(found.paths) == 1:
                hint = f"name the label: {option('columns.label', found.name)}; {hint}"
            raise Refused(f"{found.name} may be the label of {given.shown}", f"{hint}; or use {FUNCTION}")

    used = taken(prompt, given) | set(label.paths if label else ())
    return Watch(layout.rows, given.answers, used, check, every)


def _polar(given: Given) -> bool:
    """Return True for names of which one is called good or bad."""
    return any(polarity(named(name)) is not None for name in given.answers.names)


def _decisive(given: Given) -> bool:
    """Return True for names of which one can mean nothing but the better or the worse answer."""
    return any(decisive(named(name)) for name in given.answers.names)


def _wanted(columns: Mapping[str, str], key: str) -> Path | None:
    """Return the path of a column that the user named; None for none."""
    return (key,) if key in columns else None


def _preference(layout: Layout, columns: Mapping[str, str]) -> Reading | None:
    """Return the reading of chosen and rejected with a prompt in parts; None if `preference` reads the rows alone."""
    check_held(layout)
    check_named(layout)
    check_beside(layout)
    prompt = find_prompt(layout, (CHOSEN, REJECTED), (), _wanted(columns, "prompt") or _own_prompt(layout))
    if not prompt.paths and (inner := inner_prompt(layout)):
        return pair_reading(replace(prompt, question=inner[0]), CHOSEN, REJECTED, inner[1])
    if prompt.paths in ((), (("prompt",),)) and not prompt.several:
        if _own_prompt(layout) is None or "prompt" in columns:
            check_prompt(layout, prompt, (CHOSEN, REJECTED), by_hand=columns.get("prompt", ""))
        return None
    # A question beside whole conversations that hold the question adds nothing.
    if layout.kinds.get(CHOSEN) == "turns" and all(repeated(layout, path, [CHOSEN]) for path in prompt.paths):
        return None
    return pair_reading(prompt, CHOSEN, REJECTED)


def _own_prompt(layout: Layout) -> Path | None:
    """Return the column prompt, if any row has one that is filled."""
    path = ("prompt",)
    return path if path in layout.columns and any(layout.columns[path]) else None


def _not_ranked(layout: Layout) -> bool:
    """Return True for rows with `completions` that are no ranking of texts under content."""
    lists = [row.get("completions") for row in layout.rows if row.get("completions")]
    entries = [entry for value in lists if isinstance(value, list) for entry in value]
    contents = sum(isinstance(entry, dict) and "content" in entry for entry in entries)
    prompts = sum("prompt" in row for row in layout.rows)
    return bool(entries) and (contents * 2 < len(entries) or prompts * 2 < len(layout.rows))


def _any(layout: Layout, columns: Mapping[str, str]) -> tuple[Reading, Watch | None]:
    """Return the reading of rows that no format of fixed columns fits.

    Raises:
        Refused: no answers, no label, or several of either that nothing tells apart.
    """
    # Two worse answers beside a label are no pair.
    if "label" not in columns and (several := find_several(layout)):
        return _against_several(layout, *several, columns)
    unlabelled: list[Given] = []
    likely: list[tuple[Label, str]] = []
    for group in (find_named(layout), find_families(layout), find_lists(layout)):
        found: list[tuple[Reading, Watch]] = []
        for given in group:
            prompt = find_prompt(layout, given.answers.paths, given.answers.stem, _wanted(columns, "prompt"))
            label, others = choose_label(layout, given, prompt, columns)
            if label is not None:
                _check_steps(layout, given, label)
                check_prompt(layout, prompt, given.answers.paths, label.paths, columns.get("prompt", ""))
                reading = _read_by(layout, prompt, given, label, others)
                found.append((reading, _as_labelled(layout, given, label, taken(prompt, given), others)))
            else:
                unlabelled.append(given)
                labels = find_likely(layout, given, prompt, others)
                used = taken(prompt, given)
                likely += [(one, next_step(layout, labels, given.answers, used)) for one in labels]
        if len(found) == 1:
            return found[0]
        if found:
            shown = " or ".join(reading.rule for reading, _ in found)
            raise Refused(f"the answers may be read in several ways: {shown}", f"choose with {FUNCTION}")
    if polar := find_polar(layout):
        return _by_names(layout, polar, columns)
    names = dict.fromkeys(label.name for label, _ in likely)
    raise refusal(layout, unlabelled, list(names), likely[0][1] if likely else "")


def _by_names(layout: Layout, polar: tuple[Path, Path], columns: Mapping[str, str]) -> tuple[Reading, Watch]:
    """Return the reading of a better and a worse answer by their names, if no label beside them says otherwise."""
    given = of_paths(polar, polar, None)
    prompt = find_prompt(layout, polar, (), _wanted(columns, "prompt"))
    if "prompt" in columns:
        check_prompt(layout, prompt, polar, by_hand=columns["prompt"])
    label, _ = choose_label(layout, given, prompt, columns, strict=not _decisive(given))
    reading = pair_reading(prompt, *polar)
    reading.against = beside_names(given.answers, 0, _known(prompt, given), strict=not _decisive(given))
    return reading, _as_named(layout, given, prompt, columns, label, named(polar[0]))


def _against_several(
    layout: Layout, chosen: Path, rejected: tuple[Path, ...], columns: Mapping[str, str]
) -> tuple[Reading, Watch]:
    """Return the reading of one better answer and several worse ones by their names, with the checks of one pair."""
    check_named(layout)
    check_beside(layout)
    prompt = find_prompt(layout, (chosen, *rejected), (), _wanted(columns, "prompt"))
    check_prompt(layout, prompt, (chosen, *rejected), by_hand=columns.get("prompt", ""))
    reading = several_reading(prompt, chosen, rejected)
    given = of_paths((chosen, rejected[0]), (chosen, rejected[0]), None)
    used = {*_known(prompt, given), *rejected}
    reading.against = beside_names(given.answers, 0, used, strict=False)
    return reading, watch_pair(layout, used)


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
