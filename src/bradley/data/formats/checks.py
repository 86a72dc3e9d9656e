"""Checks of the columns of a file before a reading is chosen: what would be misread or lost without a word."""

from collections import Counter
from collections.abc import Iterator, Sequence

from ..rows import Row, quoted
from .answers import NAMES, rating
from .base import FUNCTION, Refused, option
from .labels import ABOUT, DETAILS, PAIR, said_of, values_of
from .layout import LONG, Family, Layout, Path, covered, is_spoken, leaves, named, texts_of, words
from .meanings import LISTED, PLURAL, REFERENCE
from .parts import is_sentence
from .prompts import Prompt
from .repeats import repeated
from .words import AGREES, DISAGREES, LABEL, MEASURES, NO, RANK, REMARKS, YES, sense

CHOSEN, REJECTED = ("chosen",), ("rejected",)
MOST_SIDES = 3
"""Most different values of a label beside chosen and rejected: two sides and a tie."""
MOST_WORDS = 6
"""Most different words of a column that may be a label which nobody understands."""
MOST_SCALE = 12
"""Most different whole numbers of such a column."""


def check_prompt(
    layout: Layout, prompt: Prompt, answers: Sequence[Path], label: Sequence[Path] = (), by_hand: str = ""
) -> None:
    """Raise `Refused` for a column of texts that may be the prompt, or a part beside the prompt that the user named.

    Args:
        by_hand: column that the user named as the prompt; "" for none.
    """
    if (prompt.shown and not by_hand) or any(layout.kinds.get(path) in ("turns", "mixed") for path in answers):
        return
    used = {*answers, *label, *prompt.paths}
    likely = [path for path in layout.of_kind("text") if not covered(path, used) and _may_be_prompt(path, layout)]
    if by_hand:
        likely = [path for path in likely if not any(repeated(layout, path, [part]) for part in prompt.paths)]
    if likely:
        names = ", ".join(map(named, likely[:4]))
        if by_hand:
            raise Refused(
                f"{by_hand} is named as the prompt, and {names} may be part of the prompt as well",
                f"leave out on purpose: {option('ignore', *map(named, likely))}; or put the texts into the prompt: "
                f"{FUNCTION}",
            )
        raise Refused(
            f"no column is known as the prompt, and {names} may be it",
            f"name it: {option('columns.prompt', named(likely[0]))}; if there is none: "
            f"{option('ignore', *map(named, likely))}",
        )


def _may_be_prompt(path: Path, layout: Layout) -> bool:
    """Return True for a column of texts of several words that rarely repeat."""
    texts = [value for value in layout.columns[path] if isinstance(value, str) and value.strip()]
    several = sum(map(is_sentence, texts))
    unlike = len(set(texts)) >= max(2, len(texts) * 2 // 3)
    return unlike and several * 2 >= len(layout.rows) and not set(words(path)) & REMARKS


def check_named(layout: Layout) -> None:
    """Raise `Refused` for a column that calls the rejected answer the better one in some rows."""
    for path in layout.of_kind("text"):
        values = {value.strip().lower() for value in layout.columns[path] if isinstance(value, str) and value}
        # Under a name such as loser, a column of rejected alone says the same as the names of the answers.
        if values == {"rejected"} and sense([word for word in words(path) if word != "rejected"]) == -1:
            continue
        if "rejected" in values and values <= {"chosen", "rejected"}:
            raise Refused(
                f"{named(path)} holds {' and '.join(sorted(values))}: rejected is not always the worse answer",
                f"read the two by this label in a function of your own: {FUNCTION}; or, if chosen is the better answer "
                f"of every row: {option('ignore', named(path))}",
            )


def check_beside(layout: Layout) -> None:
    """Raise `Refused` for a column with the name and the values of a label beside chosen and rejected."""
    _check_sides(layout)
    for path in layout.columns:
        values = [value for value in layout.columns[path] if value is not None and value != ""]
        # The words of the two sides themselves, as in chosen_rank, name no label.
        parts = set(words(path)) - {"chosen", "rejected"}
        judges = (parts & (LABEL | AGREES | DISAGREES) or parts == {"y"}) and not parts & DETAILS
        if not judges or layout.kinds[path] not in ("text", "number", "bool"):
            continue
        shown = Counter(str(value) for value in values)
        said = [said_of(value, PAIR) for value in values]
        sides = 2 <= len(shown) <= MOST_SIDES and all(meant and (meant.digit or 0) <= 2 for meant in said)
        if sides or _says_yes_and_no(values) or _unknown_label(parts, values):
            raise Refused(
                f"{named(path)} beside chosen and rejected may be a label: {values_of(shown)}",
                f"if chosen is the better answer of every row: {option('ignore', named(path))}; or use {FUNCTION}",
            )


def _check_sides(layout: Layout) -> None:
    """Raise `Refused` for ranks or labels of two sides, such as rank_a and rank_b, that differ from row to row."""
    for family in layout.families:
        if len(family.paths) != 2 or not set(family.stem) & (RANK | LABEL) or {"chosen", "rejected"} & set(family.stem):
            continue
        told = [[layout.columns[path][n] for path in family.paths] for n in range(len(layout.rows))]
        numbers = [row for row in told if all(isinstance(value, int | float) for value in row)]
        if len({first > second for first, second in numbers if first != second}) == 2:
            names = list(map(named, family.paths))
            raise Refused(
                f"{' and '.join(names)} beside chosen and rejected prefer now one side and now the other",
                f"if chosen is the better answer of every row: {option('ignore', *names)}; or use {FUNCTION}",
            )


def _unknown_label(parts: set[str], values: Sequence[object]) -> bool:
    """Return True for a few repeated words or whole numbers under the name of a label, which nobody understands."""
    different = set(map(str, values))
    # The answer to a question, counts and categories of reasons are no labels.
    if not parts & (LABEL - REFERENCE) or parts & (PLURAL | MEASURES | ABOUT | REMARKS) - {"labels", "label"}:
        return False
    numbers = all(isinstance(value, int | float) and value == int(value) for value in values if value == value)
    texts = all(isinstance(value, str) and len(value) <= LONG for value in values)
    most = MOST_SCALE if numbers else MOST_WORDS
    return (numbers or texts) and 2 <= len(different) <= most and len(different) < len(values)


def _says_yes_and_no(values: Sequence[object]) -> bool:
    """Return True for truth values or words of agreement of both kinds, and for numbers on both sides of zero."""
    numbers = [value for value in values if isinstance(value, int | float)]
    if len(numbers) == len(values) and numbers and min(numbers) < 0 < max(numbers):
        return True
    said = {str(value).strip().lower() for value in values}
    return len(said) > 1 and said <= YES | NO


def _holds(layout: Layout, family: Family, texts: Sequence[object]) -> bool:
    """Return True for columns that hold all of the texts: a column that was mapped out of an object stays there."""
    told = [value for path in family.paths for value in layout.columns[path]]
    return all(text in told for text in texts)


def check_held(layout: Layout) -> None:
    """Raise `Refused` if chosen and rejected hold labels or names of other columns in place of answers."""
    _check_places(layout)
    if found := named_in(layout):
        raise _held(found, next(value for value in layout.columns[CHOSEN] if value not in (None, "", [])))
    held = [value for path in (CHOSEN, REJECTED) for value in layout.columns.get(path, [])]
    # Places of the answers, such as 0 and 1, are labels too.
    texts = [str(value) if isinstance(value, int) else value for value in held if value not in (None, "", [])]
    if not texts or any(is_spoken(value) for value in texts):
        return
    names = {named(path).lower() for path in layout.columns}
    families = [
        family
        for family in layout.families
        if rating(layout, family) > 0
        and not {CHOSEN, REJECTED} & set(family.paths)
        and not _holds(layout, family, texts)
    ]
    if all(value.lower() in names for value in texts):
        found = "names of other columns"
    elif families:
        found = f"labels beside {', '.join(named(path) for path in families[0].paths[:4])}"
    else:
        return
    raise _held(found, texts[0])


def _check_places(layout: Layout) -> None:
    """Raise `Refused` for places such as second in chosen, beside a list of answers in rejected."""
    told = [value for value in layout.columns.get(CHOSEN, []) if value not in (None, "", [])]
    lists = [texts_of(value) or [] for value in layout.columns.get(REJECTED, [])]
    places = [said_of(value, LISTED) if isinstance(value, str) else None for value in told]
    if any(is_spoken(text) for texts in lists for text in texts) and places and None not in places:
        raise Refused(
            f"chosen holds places of answers in rejected, such as {quoted(told[0])}, and no answers",
            f"name the column of the places alone: --data.columns.label NAME; or use {FUNCTION}",
        )


def _held(found: str, example: object) -> Refused:
    """Return the error for labels in place of answers."""
    return Refused(
        f"chosen and rejected hold {found}, such as {quoted(example)}, and no answers",
        f"read the answers by this label: {option('columns.label', 'chosen')} {option('ignore', 'rejected')}",
    )


def named_in(layout: Layout) -> str:
    """Return what chosen and rejected name, if most rows have an answer under each name beside; "" for texts.

    The names are identifiers in a list of objects or in a list beside the answers, or fields of an object of answers.
    """
    rows = [row for row in layout.rows if all(isinstance(row.get(path[0]), str) for path in (CHOSEN, REJECTED))]
    counts = Counter(found for row in rows for found in {*_names_of_answers(row)})
    most = counts.most_common(1)
    return most[0][0] if most and 2 * most[0][1] > len(rows) else ""


def _names_of_answers(row: Row) -> Iterator[str]:
    """Yield what chosen or rejected of a row names; nothing for two texts."""
    both = {row[path[0]].strip().casefold() for path in (CHOSEN, REJECTED)}
    lists = {key: value for key, value in row.items() if isinstance(value, list) and len(value) > 1}
    for key, value in lists.items():
        entries = [dict(leaves(entry)) for entry in value if isinstance(entry, dict)]
        for path in dict.fromkeys(path for entry in entries for path in entry):
            if NAMES & set(words(path[-1:])) and both & set(map(_folded, (entry.get(path) for entry in entries))):
                yield f"values of {named((key, '*', *path))}"
        if NAMES & set(words((key,))) and len(lists) > 1 and both & set(map(_folded, value)):
            yield f"values of {named((key,))}"
    for key, value in row.items():
        if isinstance(value, dict) and both & {_folded(inner) for inner, text in value.items() if is_spoken(text)}:
            yield f"names of fields of {named((key,))}"


def _folded(value: object) -> str:
    """Return a text without blanks around, in small letters; any other value as text."""
    return str(value).strip().casefold()
