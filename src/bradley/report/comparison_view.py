"""Content of the page of a comparison: models and paired differences as plain values, with every verdict in words."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..records import Comparison, Message
from ..runs.reader import Json
from .figure_tables import Kind, Table, figure_table
from .filters import THIN, number, p_value, percent, points
from .scale import accuracy_scale, difference_scale
from .sentences import IDENTICAL, power_command, without_repeats

LEVEL = 0.05
"""Largest p-value, adjusted for the number of pairs, of models that are told apart."""
MOST_NAMED = 3
"""Most models whose names stand in the title."""
MEANINGS: dict[str, tuple[str, Kind]] = {
    "accuracy": ("paired difference in points, clustered t interval", "points"),
    "bootstrap": ("the same difference with the interval of a cluster bootstrap", "points"),
    "nll": ("paired difference of the negative log-likelihood, in nats; below 0 is better", "signed"),
    "ece": ("difference of the calibration error in points, 15 bins of equal width; below 0 is better", "points"),
}
OVER_SEEDS = "spread over the seeds, these prompts as given (Welch)"
BOTH = "spread over seeds and over prompts: another seed on other prompts"


def comparison_context(comparison: Mapping[str, Any], texts: Mapping[str, Comparison] | None) -> Json:
    """Collect the variables of the template.

    Args:
        comparison: see `evaluate.compare.compare`.
        texts: comparisons by id; None without texts.
    """
    models, pairs = comparison["models"], comparison["pairs"]
    accuracies = [(name, "model", one, percent(one["value"])) for name, one in models.items()]
    differences = [(_title(pair), "model", pair["accuracy"], _label(pair["accuracy"])) for pair in pairs]
    several = len(pairs) > 1
    return {
        "title": f"Comparison of {', '.join(models) if len(models) <= MOST_NAMED else f'{len(models)} models'}",
        "items": comparison["items"],
        "models": models,
        "seeds": {name: _seeds(one["seeds"]) for name, one in models.items() if one["seeds"]},
        "accuracies": accuracies,
        "accuracy_scale": accuracy_scale(list(models.values())),
        "differences": differences,
        "difference_scale": difference_scale([pair["accuracy"] for pair in pairs]),
        "several": several,
        "tests": comparison["tests"],
        "verdicts": [verdict(pair, comparison["tests"]) for pair in pairs],
        "pairs": [_pair(pair, comparison, texts) for pair in pairs],
    }


def verdict(pair: Json, tests: int) -> str:
    """Difference of two models in a sentence; over several pairs the adjusted p-value decides."""
    one, a, b = pair["accuracy"], pair["a"], pair["b"]
    if one["value"] is None:
        return f"{a} and {b}: no judgment prefers a response, and there is nothing to compare."
    if one["clusters"] < 2:
        return f"{a} and {b}: all judgments share one prompt, and the difference says nothing about other prompts."
    span = f"{points(one['value'])} points, 95 % interval {points(one['low'])} to {points(one['high'])}, "
    span += f"p {_p(one['p'])}" + (f", adjusted for {tests} pairs {_p(one['p_holm'])}" if tests > 1 else "")
    if not _apart(one):
        return f"{b} and {a} cannot be told apart ({span})."
    return f"{b} is {'better' if one['value'] > 0 else 'worse'} than {a} ({span})."


def _apart(one: Json) -> bool:
    """Return True for a difference that is no chance, at a level of 5 % over all pairs."""
    if one["p_holm"] is not None:
        return bool(one["p_holm"] < LEVEL)
    # Differences that are all equal have no t test, but an exact interval.
    return bool(one["low"] > 0 or one["high"] < 0)


def _p(p: float | None) -> str:
    """Write a p-value after the letter p: `= 0.012`, `< 0.001`."""
    text = p_value(p)
    return text if text.startswith("<") else f"= {text}"


def _title(pair: Json) -> str:
    return f"{pair['b']} minus {pair['a']}"


def _label(one: Json) -> str:
    return f"{points(one['value'])}, p {_p(one['p_holm'])}"


def _pair(pair: Json, comparison: Mapping[str, Any], texts: Mapping[str, Comparison] | None) -> Json:
    """Everything about a pair of models."""
    return {
        "a": pair["a"],
        "b": pair["b"],
        "title": _title(pair),
        "verdict": verdict(pair, comparison["tests"]),
        "accuracy": pair["accuracy"],
        "mcnemar": pair["mcnemar"] or {"p": None},
        "table": _table(pair),
        "sentences": [*_identical(pair), *_mcnemar(pair), *_over_seeds(pair), *_smallest(pair)],
        "command": power_command(pair, comparison["models"]),
        "tags": [_tag(name, values) for name, values in without_repeats(pair["by_tag"]).items()],
        "changed": _changed(pair, texts),
        "same": pair["changed"]["same"],
    }


def _table(pair: Json) -> Table:
    shown: dict[str, tuple[str, Kind, Json | None]] = {
        name if name in ("accuracy", "bootstrap") else name.upper(): (about, kind, pair[name])
        for name, (about, kind) in MEANINGS.items()
    }
    if seeds := pair["seeds"]:
        shown["over seeds"] = (OVER_SEEDS, "points", seeds["over_seeds"])
        shown["seeds and prompts"] = (BOTH, "points", seeds["both"])
    return figure_table("", shown)


def _identical(pair: Json) -> list[str]:
    return [f"The scores are {IDENTICAL}."] if pair["identical"] else []


def _mcnemar(pair: Json) -> list[str]:
    test = pair["mcnemar"]
    if not test:
        return []
    return [
        f"McNemar's exact test: {number(test['gained'])} judgments are right only with {pair['b']}, "
        f"{number(test['lost'])} only with {pair['a']}; p {_p(test['p'])}."
    ]


def _over_seeds(pair: Json) -> list[str]:
    seeds = pair["seeds"]
    if not seeds:
        return []
    told = f"Seeds: {number(seeds['a'])} of {pair['a']}, {number(seeds['b'])} of {pair['b']}"
    if seeds["over_seeds"] is None:
        return [f"{told}. The spread over seeds is unknown: at least two seeds of each model have to differ."]
    return [f"{told}. The accuracy of a model is the mean over its seeds."]


def _smallest(pair: Json) -> list[str]:
    power, discordant, effect = pair["smallest_difference"], pair["discordant"], pair["design_effect"]
    if power["paired"] is None:
        return ["The smallest difference that these items can show is unknown."]
    sure = f"{100 * power['power']:g}{THIN}% power, {100 * power['confidence']:g}{THIN}% confidence"
    found = [
        f"The smallest difference that these items can show is {_size(power['paired'])} points ({sure}); two sets of "
        f"other items would need {_size(power['unpaired'])} points."
    ]
    if discordant is not None:
        shown = "unknown" if effect is None else f"{effect:.2f}"
        found.append(
            f"Discordant: one model alone is right on {percent(discordant)} of the judgments. The design effect of the "
            f"paired difference is {shown}."
        )
    return found


def _size(share: float | None) -> str:
    return points(share).removeprefix("+")


def _tag(name: str, values: Mapping[str, Json]) -> Json:
    """Paired differences by value of a tag, the lowest first."""
    rows = sorted(values.items(), key=lambda row: (row[1]["value"] is None, row[1]["value"] or 0.0, row[0]))
    return {"tag": name, "rows": rows, "scale": difference_scale([one for _, one in rows])}


def _seeds(accuracies: Sequence[float]) -> str:
    return ", ".join(percent(value) for value in accuracies)


def _changed(pair: Json, texts: Mapping[str, Comparison] | None) -> list[Json]:
    """Judgments right with one model alone: name of the model, count, and those with the largest change."""
    sides = (("gained", pair["b"], pair["a"]), ("lost", pair["a"], pair["b"]))
    return [
        {
            "right": right,
            "wrong": wrong,
            "judgments": pair["changed"][side]["judgments"],
            "largest": [{**item, **_texts(item, texts or {})} for item in pair["changed"][side]["largest"]],
        }
        for side, right, wrong in sides
    ]


def _texts(item: Json, texts: Mapping[str, Comparison]) -> Json:
    """Prompt and responses of a changed item; empty if its texts are unknown."""
    known = texts.get(item["id"])
    # Ids are unique within a source alone.
    if known is None or (item["source"] and known.source and item["source"] != known.source):
        return {}
    first = known.judgments[0]
    single = len(known.responses) == 2 and not first.tie
    names = {first.better: "preferred by the label", first.worse: "other response"} if single else {}
    order = [first.better, first.worse] if single else range(len(known.responses))
    responses = [
        {"name": names.get(place, f"response {place + 1}"), "messages": _turns(known.responses[place].messages)}
        for place in order
    ]
    return {"prompt": _turns(known.prompt), "responses": responses}


def _turns(messages: Sequence[Message]) -> list[Json]:
    return [{"role": message.role, "content": message.content} for message in messages]
