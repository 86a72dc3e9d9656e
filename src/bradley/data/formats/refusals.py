"""Refusals of files that hold no pairs, or none that can be told: each speaks of the columns of this file."""

import re
from collections import Counter
from collections.abc import Sequence

from ..rows import quoted
from .answers import ANSWER, Given, mostly_spoken
from .base import FUNCTION, Refused, option
from .labels import said_of, values_of
from .layout import LONG, Layout, Path, is_spoken, named, texts_of, words
from .meanings import LISTED as LETTERED
from .measures import inside_of
from .parts import may_be_input, may_be_part, may_hold_words
from .prompts import ABOUT, QUESTION
from .ratings import number_of
from .words import FAULTS, LABEL, SCHOOL, is_empty, polarity, truth_in

STEP = {"step", "steps", "process"}
RATED = {
    "label",
    "labels",
    "rating",
    "score",
    "helpfulness",
    "thumbs",
    "kto",
    "tag",
    "quality",
    "correctness",
    "overall",
}
LISTED = re.compile(r"""\[\s*(\{|array\(|["'])""")
"""Beginning of a list of objects or of texts that is written as text."""
SEVERAL = '{"prompt": ..., "chosen": "...", "rejected": ["...", "..."]}'
LOW_BEST = FAULTS | SCHOOL
"""Words in the name of numbers of which the lowest may be the best."""
MOST_NAMED = 12
MOST_VALUES = 4


def refusal(layout: Layout, unlabelled: Sequence[Given], likely: Sequence[str], step: str) -> Refused:
    """Return the error for a file without a reading.

    Args:
        unlabelled: answers that were found, each without a label.
        likely: names of columns that may be labels.
        step: the hint about these columns; "" for none.
    """
    if worse := _worse_alone(layout):
        return worse
    without_label = _without_label(layout, unlabelled, likely, step)
    for found in (_token_ids(layout), _steps(layout), without_label, _alone(layout)):
        if found is not None:
            return found
    if two := _two_texts(layout):
        first, second = map(named, two)
        return Refused(f"{first} and {second} may be the answers; {described(layout)}", _by_hand(two))
    hint = "name the better and the worse answer: --data.columns.chosen NAME --data.columns.rejected NAME"
    message = f"no column holds answers to compare; {described(layout)}"
    return Refused(message, f"{hint}; or use {FUNCTION}")


def unscorable(layout: Layout) -> Refused:
    """Return the error for rows to score without answers."""
    if found := _token_ids(layout):
        return found
    hint = "name the prompt and the answer: --data.columns.prompt NAME --data.columns.response NAME"
    message = f"no column holds answers to score; {described(layout)}"
    return Refused(message, f"{hint}; or use {FUNCTION}")


def described(layout: Layout) -> str:
    """Say which columns the first rows have: kinds, and values of columns with few values: `label (A 9, B 11)`."""
    found = [f"{named(path)} ({_holds(layout, path)})" for path in layout.columns]
    more = len(found) - MOST_NAMED
    names = ", ".join(found[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "") or "none"
    rows = "row" if len(layout.rows) == 1 else f"{len(layout.rows)} rows"
    return f"the columns of the first {rows} are {names}"


def _holds(layout: Layout, path: Path) -> str:
    """Return the values of a column with few, or the kind of the column."""
    values = [value for value in layout.columns[path] if value is not None]
    short = [quoted(value, str) for value in values if isinstance(value, str | int | float) and len(str(value)) <= LONG]
    counts = Counter(short)
    if values and len(short) == len(values) and len(counts) <= MOST_VALUES and len(counts) < len(values):
        return ", ".join(f"{value} {count:,}" for value, count in sorted(counts.items()))
    kinds = {"turns": "messages", "objects": "list of objects", "texts": "list of texts", "null": "empty"}
    return kinds.get(layout.kinds[path], layout.kinds[path])


def _token_ids(layout: Layout) -> Refused | None:
    """Return the refusal of token ids of another tokenizer."""
    lists = [path for path in layout.of_kind("numbers") if _ids(layout, path)]
    if len(lists) < 2 or any(
        layout.kinds[path] in ("text", "turns") and set(words(path)) & ANSWER for path in layout.columns
    ):
        return None
    names = ", ".join(named(path) for path in lists[:6])
    return Refused(
        f"{names} hold token ids of another tokenizer, and no text",
        f"decode them to text with that tokenizer first, such as in a function for {FUNCTION}",
    )


def _ids(layout: Layout, path: Path) -> bool:
    """Return True for lists of whole numbers from 0 on."""
    lists = [value for value in layout.columns[path] if isinstance(value, list)]
    return all(isinstance(entry, int) and entry >= 0 for value in lists for entry in value)


def _steps(layout: Layout) -> Refused | None:
    """Return the refusal of labels for the steps of one answer."""
    named_steps = [path for path in layout.columns if STEP & set(words(path))]
    lists = [path for path in layout.of_kind("bools", "numbers") if set(words(path)) & LABEL]
    texts = [path for path in layout.of_kind("texts") if _like_steps(layout, path, lists)]
    found = [*texts, *lists] if texts and lists else named_steps
    return steps_refused(found) if found else None


def steps_refused(found: Sequence[Path]) -> Refused:
    """Return the refusal of columns with labels for the steps of one answer."""
    return Refused(
        f"{', '.join(named(path) for path in found[:4])} hold labels for the steps of one answer; "
        "bradley compares whole answers to one prompt",
        f"make pairs of answers in a function of your own: {FUNCTION}",
    )


def _like_steps(layout: Layout, path: Path, labels: Sequence[Path]) -> bool:
    """Return True for a list of texts with as many labels beside it in every row."""
    return any(
        all(
            len(texts or []) == len(label or [])
            for texts, label in zip(layout.columns[path], layout.columns[other], strict=True)
        )
        for other in labels
    )


def step_labels(texts: Sequence[Sequence[object]], labels: Sequence[Sequence[object]]) -> bool:
    """Return True for lists of texts that are the steps of one answer.

    Labels of steps are true up to the first wrong step in every row; texts of steps begin with the word step.
    """
    if all(str(entry).lstrip().lower().startswith("step") for texts_ in texts for entry in texts_):
        return True
    return all(list(row) == sorted(row, key=lambda value: not value) for row in labels)


def _without_label(layout: Layout, unlabelled: Sequence[Given], likely: Sequence[str], step: str) -> Refused | None:
    """Return the refusal of answers without a label, or of one answer in each row."""
    if unlabelled and (numbers := _numbers_as_texts(layout, unlabelled[0])):
        return numbers
    several = [given for given in unlabelled if len(given.answers.names) > 1]
    if several:
        first, second = map(named, several[0].answers.names[:2])
        shown, line = several[0].shown, f"{option('columns.chosen', first)} {option('columns.rejected', second)}"
        if likely:
            may_be = _may_be(likely)
            return Refused(f"{shown} hold the answers, and {may_be}; {described(layout)}", step)
        return Refused(
            f"{shown} hold the answers, and no column says which is better; {described(layout)}",
            f"if {first} is the better answer in every row: {line}; or use {FUNCTION}",
        )
    single = [path for path in layout.of_kind("text", "turns") if set(words(path)) & ANSWER]
    rated = [path for path in layout.of_kind("number", "bool") if set(words(path)) & (RATED | LABEL)]
    if unlabelled:
        shown = unlabelled[0].shown
        if best := _better_beside(layout, unlabelled[0]):
            line = f"{option('columns.chosen', best)} {option('columns.rejected', shown)}"
            return Refused(
                f"{shown} holds answers without a label, and {best} another answer; {described(layout)}",
                f"if {best} is better than all of {shown} in every row: {line}; or use {FUNCTION}",
            )
        if inner := _inside(layout, unlabelled[0]):
            return Refused(
                f"{shown} holds the answers, and no rank, score or label for each is understood: {inner}",
                f"read the better answer off in a function of your own: {FUNCTION}",
            )
        if may_be := _may_be([name for name in likely if set(words((name,))) & LOW_BEST]):
            return Refused(f"{shown} holds the answers, and {may_be}; {described(layout)}", step)
        return Refused(
            f"{shown} holds the answers, and no rank, score or label for each; {described(layout)}",
            f"name the label: --data.columns.label NAME; or use {FUNCTION}",
        )
    if listed := [path for path in layout.columns if _lists_answers(layout, path)]:
        return Refused(
            f"{named(listed[0])} holds several texts in each row, in a form that is not read; {described(layout)}",
            f"compare the answers of a row in a function of your own: {FUNCTION}",
        )
    if len(single) == 1 or (single and rated):
        beside = f", with {', '.join(map(named, rated[:4]))}" if rated else ""
        return Refused(
            f"one answer in each row ({named(single[0])}{beside}): bradley compares answers to one prompt",
            f"pair the rows of one prompt in a function of the whole file: {FUNCTION} (see the guide to your data)",
        )
    return None


def _numbers_as_texts(layout: Layout, given: Given) -> Refused | None:
    """Return the refusal of lists with a number or a truth value for each answer that are written as text."""
    counts = [len(given.get(row)) for row in layout.rows]
    for path in layout.of_kind("texts"):
        lists = [texts_of(value) or [] for value in layout.columns[path]]
        cells = [text for texts in lists for text in texts if not is_empty(text)]
        told = [text for text in cells if number_of(text) is not None or truth_in(text) is not None]
        as_many = all(len(texts) in (0, count) for texts, count in zip(lists, counts, strict=True))
        if path not in given.answers.paths and as_many and told and 2 * len(told) > len(cells):
            example = quoted(next(filter(None, lists)))
            what = "numbers" if number_of(told[0]) is not None else "truth values"
            plain = told[0] if what == "numbers" else str(truth_in(told[0])).lower()
            return Refused(
                f"{given.shown} hold{'' if given.answers.names else 's'} the answers, and "
                f"{named(path)} holds {what} written as text, such as {example}",
                f"write {what} without quotes in {named(path)}, such as {plain}; or use {FUNCTION}",
            )
    return None


def _may_be(names: Sequence[str]) -> str:
    """Say that columns may be the label, and which of them may hold numbers with the lowest as the best."""
    low = [name for name in names if set(words((name,))) & LOW_BEST]
    lower = f", and lower numbers may be better in {', '.join(low)}" if low else ""
    return f"{', '.join(names)} may be the label{lower}" if names else ""


def _inside(layout: Layout, given: Given) -> str:
    """Name the columns with few short values inside the objects of the answers, with the values; "" for none."""
    found = []
    for path, values in inside_of(layout.rows, given.entries, (*given.answers.paths[0], "*")).items():
        short = [value for value in values if isinstance(value, int | float) or not is_spoken(value)]
        counts = Counter(map(str, short))
        if len(short) == len(values) and 1 < len(counts) < len(values):
            found.append(f"{named(path)} ({values_of(counts)})")
    return " and ".join(found[:MOST_VALUES])


def _two_texts(layout: Layout) -> tuple[Path, Path] | None:
    """Return the only two columns of texts that may be answers, under names that nobody knows; None for others."""
    texts = [path for path in layout.of_kind("text", "turns") if not set(words(path)) & {*QUESTION, *RATED}]
    told = [path for path in texts if mostly_spoken(layout, path) and _may_answer(path)]
    return (told[0], told[1]) if len(told) == 2 else None


def _may_answer(path: Path) -> bool:
    """Return True for a name that is neither a label's nor the name of a part of a prompt."""
    return may_hold_words(path[-1]) and not may_be_part(path[-1]) and not may_be_input(path[-1])


def _by_hand(two: tuple[Path, Path]) -> str:
    """Return the hint to name two answers."""
    first, second = map(named, two)
    line = f"{option('columns.chosen', first)} {option('columns.rejected', second)}"
    return f"if {first} is the better answer in every row, or a column says which one is: {line}; or use {FUNCTION}"


def _lists_answers(layout: Layout, path: Path) -> bool:
    """Return True for several answers in each row: objects in a list, or a list written as text."""
    values = [value for value in layout.columns[path] if value]
    if layout.kinds[path] == "objects":
        return bool(set(words(path)) & ANSWER) and any(len(value) > 1 for value in values)
    texts = [value.strip() for value in values if isinstance(value, str)]
    return bool(texts) and len(texts) == len(values) and all(LISTED.match(text) and text[-1] == "]" for text in texts)


def _better_beside(layout: Layout, given: Given) -> str:
    """Return the name of a text that its name calls the better answer, beside a list of texts; "" for none."""
    if len(given.answers.paths) != 1 or layout.kinds.get(given.answers.paths[0]) != "texts":
        return ""
    better = [path for path in layout.of_kind("text") if polarity(named(path)) == 1]
    told = [path for path in better if not any(said_of(value, LETTERED) for value in layout.columns[path])]
    return named(told[0]) if len(told) == 1 else ""


def _worse_alone(layout: Layout) -> Refused | None:
    """Return the refusal of several columns of worse answers, such as rejected_1 and rejected_2; None for none."""
    for family in layout.families:
        worse = all(polarity(named(path)) == 0 and layout.kinds[path] in ("text", "turns") for path in family.paths)
        if worse and family.kind == "digit":
            better = [path for path in layout.of_kind("text", "turns") if polarity(named(path)) == 1]
            beside = f" beside {named(better[0])}" if len(better) == 1 else ""
            return Refused(
                f"{', '.join(map(named, family.paths[:4]))} hold several worse answers{beside}",
                f"put the worse answers of a row into one list, as in {SEVERAL}, in a function of your own: {FUNCTION}",
            )
    return None


def _alone(layout: Layout) -> Refused | None:
    """Return the refusal of prompts without answers."""
    prompts = [
        path
        for path in layout.of_kind("text", "turns")
        if set(words(path)) & set(QUESTION) and not set(words(path)) & ABOUT
    ]
    answers = [
        path
        for path in layout.columns
        if set(words(path)) & ANSWER and layout.kinds[path] in ("text", "turns", "objects")
    ]
    # Two texts under other names may be the answers.
    others = [path for path in layout.of_kind("text", "turns") if path not in prompts and len(path[-1]) < LONG]
    answers += others if any(set(family.paths) <= set(others) for family in layout.families) else []
    if not prompts or any(path not in prompts for path in answers) or _two_texts(layout):
        return None
    return Refused(
        f"{named(prompts[0])} holds prompts without answers: bradley trains on answers that were compared",
        f"give rows with two answers and a label, or make such rows with {FUNCTION}",
    )
