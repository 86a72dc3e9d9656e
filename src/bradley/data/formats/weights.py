"""Weights of annotations, such as the trust in an annotator: every annotation is one vote, so all weights are equal."""

from collections.abc import Callable, Sequence

from ..rows import Row
from .base import FUNCTION, Refused, option
from .labels import Label
from .layout import Layout, Path, at_path, covered, leaves, named, words
from .ratings import is_known
from .scores import names_probability

WEIGHTS = {"trust", "weight", "weights", "reliability", "credibility", "trustworthiness"}
"""Words in the name of a number that says how much an annotation counts."""
OF_ROWS = {"weight", "weights", "importance", "weighting"}
BESIDE_WEIGHT = OF_ROWS | {
    *("sample", "loss", "example", "row", "instance", "training", "train", "pair", "comparison", "item", "record"),
    *("label", "vote", "votes", "judge", "judgment", "judgement", "preference", "confidence", "trust", "quality"),
    *("annotation", "annotator", "annotators", "rater", "raters", "worker", "human", "data", "the", "of", "per"),
}
"""Words in the name of a number that says how much a row counts; the column `weight` itself is read."""
MOST_SHOWN = 4


def equal_weights(layout: Layout, paths: Sequence[Path]) -> list[Callable[[Row], None]]:
    """Return the check that all annotations of a file have the same weight, after a look at the first rows.

    Args:
        paths: columns with a list of annotations.

    Raises:
        Refused: weights that differ among the first rows.
    """
    told: dict[Path, set[float]] = {}

    def check(row: Row) -> None:
        for path in paths:
            value = at_path(row, path)
            for entry in value if isinstance(value, list) else ():
                for inner, number in leaves(entry, path) if isinstance(entry, dict) else ():
                    if set(words(inner[-1:])) & WEIGHTS and is_known(number) and not isinstance(number, bool):
                        _same(told, inner, number)

    for row in layout.rows:
        check(row)
    return [check] if paths else []


def check_weights(layout: Layout, used: set[Path]) -> None:
    """Raise `Refused` for weights of rows that differ, under another name than the one that is read.

    Args:
        used: columns that are read.
    """
    for path, values in layout.columns.items():
        parts = set(words(path[-1:]))
        if path == ("weight",) or not parts & OF_ROWS or not parts <= BESIDE_WEIGHT or covered(path, used):
            continue
        told = {value for value in values if is_known(value) and not isinstance(value, bool)}
        if len(told) > 1:
            shown = ", ".join(f"{one:g}" for one in sorted(told)[:MOST_SHOWN])
            raise Refused(
                f"{named(path)} may be the weight of a row, and is not read: {shown}",
                f"to read the weights: {option('columns.weight', named(path))}; if every row counts alike: "
                f"{option('ignore', named(path))}; or use {FUNCTION}",
            )


def check_probability(layout: Layout, label: Label, used: set[Path]) -> None:
    """Raise `Refused` for a probability beside a label that names an answer, which would count as certain."""
    for path, values in layout.columns.items():
        told = {value for value in values if is_known(value) and not isinstance(value, bool)}
        if not names_probability(path) or covered(path, used | set(label.paths)):
            continue
        if told and 0 <= min(told) < 1 and max(told) <= 1:
            shown = ", ".join(f"{one:g}" for one in sorted(told)[:MOST_SHOWN])
            raise Refused(
                f"{named(path)} beside {label.name} may be the probability of the label, and is not read: {shown}",
                f"if {label.name} is certain in every row: {option('ignore', named(path))}; or use {FUNCTION}",
            )


def of_annotations(layout: Layout, label: Label) -> list[Path]:
    """Return the columns of a label that hold lists of annotations."""
    return [path for path in label.paths if label.kind == "votes" and layout.kinds.get(path) == "objects"]


def _same(told: dict[Path, set[float]], path: Path, number: float) -> None:
    """Remember the weight of an annotation; raise `Refused` for a second weight."""
    seen = told.setdefault(path, set())
    seen.add(number)
    if len(seen) > 1:
        values = ", ".join(f"{one:g}" for one in sorted(seen)[:MOST_SHOWN])
        raise Refused(
            f"{named(path)} gives annotations different weights ({values}), and every annotation is one vote",
            f"if every annotation counts alike: {option('ignore', named(path))}; or use {FUNCTION}",
        )
