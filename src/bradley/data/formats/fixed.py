"""Watch over the columns beside a format of fixed columns, and beside a better and a worse answer by their names."""

from collections.abc import Callable, Collection, Sequence

from ..rows import Row, quoted
from .answers import Given, find_lists
from .base import FUNCTION, Refused
from .beside import SIDES
from .checks import CHOSEN, REJECTED, check_beside, check_named
from .labels import PAIR, Label
from .layout import Layout, Path
from .measures import check_agreement, check_measures, inside_of, measures_inside, own_path, truths_agree
from .ratings import FEWEST_ROWS, is_known, is_missing, listed, missing_marks, span_of
from .ties import check_ties
from .turned import ALWAYS, AS_COLUMNS, check_turned
from .votes import ANNOTATORS
from .watch import Watch
from .weights import equal_weights

PAIRS = ("hh", "ids", "rewardbench2")
"""Formats of fixed columns with a chosen and a rejected side, besides `preference`."""
NUMBERS = {"ranked": ("rank", "score"), "ultrafeedback": ("overall_score", "fine-grained_score")}
"""Format of fixed columns -> numbers of a completion, the first of which is read."""
PROMPT, COMPLETIONS = ("prompt",), ("completions",)


def watch_fixed(layout: Layout, format: str) -> Watch:
    """Return the watch over columns beside a format of fixed columns that turn the answers round.

    Raises:
        Refused: such a column among the first rows.
    """
    if format in PAIRS:
        check_named(layout)
        check_beside(layout)
        return watch_pair(layout)
    read = {PROMPT, *(SIDES[format].names if format in SIDES else ())}
    marks = _no_missing_marks(layout.rows, format)
    found = _numbers(layout, format)
    if found is None:
        check_turned(layout, read, AS_COLUMNS)
        weighed = equal_weights(layout, [(key,) for key in ANNOTATORS]) if format == "multipref" else []
        every = [*weighed, *marks]
        return Watch(layout.rows, PAIR, (), lambda later: check_turned(later, read, AS_COLUMNS, late=True), every)
    given, label = found
    others = [other for other in given.inner if other is not label]
    free = [path for path in layout.columns if path != COMPLETIONS]
    others += [one for path in free if (one := listed(layout, path, given.answers, False))]
    inside = inside_of(layout.rows, given.entries, COMPLETIONS)
    check_measures(layout, label, {COMPLETIONS}, {path: inside[path] for path in inside if path != own_path(label)})
    check_turned(layout, read, AS_COLUMNS)
    check_agreement(layout.rows, label, others)

    def check(later: Layout) -> None:
        check_measures(later, label, {COMPLETIONS})
        check_turned(later, read, AS_COLUMNS, late=True)

    every = [*marks, *measures_inside(layout.rows, label, given.entries), *truths_agree(label, others)]
    watch = Watch(layout.rows, PAIR, (), check, every)
    watch.beside = _not_read(layout.rows, format, label, others)
    return watch


def _not_read(rows: Sequence[Row], format: str, label: Label, others: Sequence[Label]) -> str:
    """Name the numbers of the answers that are not read; "" for none.

    A rank and a score of `ranked` are both read. UltraFeedback's second number is read only where the first is absent.
    """
    first, second = NUMBERS[format]
    read = {label.name, *(f"completions.*.{key}" for key in ((first, second) if format == "ranked" else (first,)))}
    names = [other.name for other in others if other.name not in read]
    name = f"completions.*.{second}"
    names += [name] if name not in {*names, *read} and any(_known(row, second) for row in rows) else []
    return f"not read as the label: {', '.join(names)}" if names else ""


def _no_missing_marks(rows: Sequence[Row], format: str) -> list[Callable[[Row], None]]:
    """Return the check that no number of a completion marks a missing one, after a look at the first rows.

    Raises:
        Refused: such a number among the first rows.
    """
    spans = {}
    # A few rows, made by hand, may as well have a single score below zero.
    for key in NUMBERS.get(format, ()) if len(rows) >= FEWEST_ROWS else ():
        path, meant = (*COMPLETIONS, key), "ranks" if key == "rank" else "scores"
        numbers = [number for row in rows for number in _known(row, key)]
        if problem := missing_marks(path, numbers, meant):
            raise Refused(problem, f"make such a number null in {FUNCTION}")
        spans[key] = span_of(path, numbers, meant)

    def check(row: Row) -> None:
        for key, span in spans.items():
            if is_missing(numbers := _known(row, key), span):
                problem = f"completions.{key} holds {quoted(numbers)}, of which one may mark a missing number"
                raise Refused(problem, f"make such a number null in {FUNCTION}")

    return [check] if spans else []


def _known(row: Row, key: str) -> list[float]:
    """Return the numbers of the completions of a row under a key."""
    entries = row.get(COMPLETIONS[0])
    values = [entry.get(key) for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    return [value for value in values if is_known(value)]


def _numbers(layout: Layout, format: str) -> tuple[Given, Label] | None:
    """Return the completions of a format of fixed columns, and the numbers that are read; None for other formats."""
    for given in find_lists(layout) if format in NUMBERS else ():
        by_key = {label.paths[0][-1]: label for label in given.inner if len(label.paths[0]) == 3}
        own = [by_key[key] for key in NUMBERS[format] if key in by_key]
        if given.answers.paths == (COMPLETIONS,) and own:
            return given, own[0]
    return None


def watch_pair(layout: Layout, used: Collection[Path] = (CHOSEN, REJECTED)) -> Watch:
    """Return the watch over labels beside a better and a worse answer.

    Raises:
        Refused: such a label among the first rows.
    """
    answers = set(used)

    def check(later: Layout) -> None:
        check_named(later)
        check_beside(later)
        check_turned(later, answers, ALWAYS, late=True)
        check_ties(later, answers)

    check_ties(layout, answers)
    check_turned(layout, answers, ALWAYS)
    return Watch(layout.rows, PAIR, answers, check)
