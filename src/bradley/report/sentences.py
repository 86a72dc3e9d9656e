"""Verdicts in words: an accuracy against chance, against response length, and against the scores of the source."""

from ..evaluate.length import length_rule
from ..runs.reader import Json
from .filters import number, percent, points

DEGENERATE = "Degenerate: every score difference is the same, whatever the responses say."


def against_chance(accuracy: Json) -> str:
    """Accuracy against a coin, as a sentence."""
    # Only the whole interval on a side of 0.5 decides: the value alone would call noise better than chance.
    if accuracy["low"] > 0.5:
        return "Better than chance."
    if accuracy["high"] < 0.5:
        return "Worse than chance: check whether preferred and other responses are swapped somewhere."
    return f"Cannot be told from chance with {number(accuracy['clusters'])} prompts."


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
