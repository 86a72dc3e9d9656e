"""Verdicts in words: an accuracy against chance, length, source scores and other slices; the plan of a comparison."""

from collections.abc import Mapping
from typing import Any, TypeVar

from ..evaluate.length import length_rule
from ..runs.reader import Json
from .filters import number, percent, points

Slice = TypeVar("Slice")
PLANNED = 0.01
"""Difference of accuracies for which a comparison proposes `bradley power`."""
ORDERED = ("length", "turns", "strength")
"""Slices whose values have an order of their own; others begin with the least accurate value."""
IDENTICAL = "identical; the interval has a width only because the models could differ on unseen prompts"
"""Verdict on the scores of two models that are equal."""
WORSE = "Worse than chance: check whether preferred and other responses are swapped somewhere."
DEGENERATE = "Degenerate: every score difference is the same, whatever the responses say."


def against_chance(accuracy: Json) -> str:
    """Accuracy against a coin, as a sentence."""
    # Only the whole interval on a side of 0.5 decides: the value alone would call noise better than chance.
    if accuracy["low"] > 0.5:
        return "Better than chance."
    if worse_than_chance(accuracy):
        return WORSE
    return f"Cannot be told from chance with {number(accuracy['clusters'])} prompts."


def worse_than_chance(accuracy: Json) -> bool:
    """Return True for an accuracy whose whole interval is below a coin."""
    return accuracy["high"] is not None and bool(accuracy["high"] < 0.5)


def worst_by_chance(worst: Json, share: str) -> str:
    """Accuracy to expect of the worst slice by chance alone, given in words as `share`."""
    value, chance = worst["accuracy"]["value"], worst["by_chance"]
    verdict = "" if chance is None or value < chance else ", so no value stands out as worse"
    return f"were all {worst['of']} equally good, the worst would still show about {share} by chance{verdict}"


def covered(values: Mapping[str, Json], n: int) -> int | None:
    """Count the judgments of a slice that leaves out some of the `n` judgments of a set; None if all are covered."""
    known = sum(one["accuracy"]["n"] for one in values.values())
    return known if known < n else None


def without_repeats(slices: Mapping[str, Mapping[str, Slice]]) -> dict[str, Mapping[str, Slice]]:
    """Leave out the slice `source` if a tag divides the set alike, known by equal figures of the parts.

    Example:
        without_repeats({"set": {"a": 0.5, "b": 0.7}, "source": {"x": 0.7, "y": 0.5}})  # {"set": ...}
    """
    kept = dict(slices)
    parts = {name: sorted(map(repr, values.values())) for name, values in slices.items() if name not in ORDERED}
    source = parts.pop("source", None)
    if source in parts.values():
        del kept["source"]
    return kept


def power_command(pair: Mapping[str, Any], models: Mapping[str, Any]) -> str:
    """Command for the number of pairs that show a difference of `PLANNED` between models like those of `pair`.

    Args:
        pair: entry of `pairs` of a comparison.
        models: accuracies by name.

    Returns:
        A line to type; "" if the figures leave no room for such a difference.
    """
    known, discordant = [models[pair[side]]["value"] for side in ("a", "b")], pair["discordant"]
    if None in known or discordant is None:
        return ""
    # As typed: a rounded number may leave the range of the command.
    accuracy, share = float(f"{min(known):.4g}"), float(f"{discordant:.4g}")
    if not 0 < accuracy <= 1 - PLANNED or share < PLANNED:
        return ""
    effect = pair["design_effect"]
    options = f"--accuracy {accuracy:g} --difference {PLANNED:g} --discordant {share:g}"
    return f"bradley power {options}" + (f" --design-effect {effect:.3g}" if effect else "")


def against_length(figures: Json) -> list[str]:
    """Accuracy against the better length rule, as a list of at most one sentence."""
    gain = figures.get("above_length")
    if not gain or gain["value"] is None:
        return []
    span = f"{points(gain['value'])} points, 95 % interval {points(gain['low'])} to {points(gain['high'])}"
    rule = f"“{length_rule(figures)[0]}”"
    if gain["low"] > 0:
        return [f"Better than {rule} ({span})."]
    if gain["high"] < 0:
        return [f"Worse than {rule} ({span})."]
    return [f"Cannot be told from {rule} ({span})."]


def against_ceiling(figures: Json) -> list[str]:
    """Agreement of the source scores with the labels, as a list of at most one sentence."""
    ceiling = figures.get("ceiling")
    if not ceiling or ceiling["value"] is None:
        return []
    return [f"The source's own scores agree with {percent(ceiling['value'])} of these labels."]
