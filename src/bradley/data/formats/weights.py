"""Weights of annotations, such as the trust in an annotator: every annotation is one vote, so all weights are equal."""

from collections.abc import Callable, Sequence

from ..rows import Row
from .base import FUNCTION, Refused, option
from .labels import Label
from .layout import Layout, Path, at_path, leaves, named, words
from .ratings import is_known

WEIGHTS = {"trust", "weight", "weights", "reliability", "credibility", "trustworthiness"}
"""Words in the name of a number that says how much an annotation counts."""
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
