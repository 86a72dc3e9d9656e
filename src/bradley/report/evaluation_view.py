"""Content of the page of an evaluation: each set as plain values for the template, with every verdict in words."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..evaluate.evaluation import FITTED_HERE
from ..evaluate.length import length_rule
from ..evaluate.temperature import temperature_verdict
from ..runs.reader import Json
from .figure_tables import KINDS, Kind, Section, Table, figure_table, section, words
from .filters import THIN, number, percent, points, span, three
from .scale import Scale, accuracy_scale
from .sentences import (
    DEGENERATE,
    ORDERED,
    against_ceiling,
    against_chance,
    against_length,
    covered,
    without_repeats,
    worst_by_chance,
)

SLICES = {
    "length": "mean length of the two responses",
    "turns": "messages of the prompt",
    "strength": "strength of the judgment, in units of the source",
    "source": "origin of the rows",
}
"""Meaning of the slices that are no tag."""
FIGURES: dict[str, tuple[str, Kind]] = {
    "accuracy": ("decided judgments ranked as labelled, equal scores counting one half", "percent"),
    "tie_rate": ("decided judgments with equal scores", "percent"),
    "nll": ("negative log-likelihood of a judgment, in nats; a coin has 0.693", "three"),
    "brier": ("squared error of the probability; a coin has 0.250", "three"),
    "margin": ("score of the preferred minus score of the other response", "signed"),
    "auroc": ("how often a preferred response outscores the other response of any prompt", "three"),
    "margin_std": ("standard deviation of the margin", "number"),
}
RANKING: dict[str, tuple[str, Kind]] = {
    "pair_accuracy": ("pairs of a comparison in the order of the labels", "percent"),
    "top1": ("comparisons whose highest score belongs to a best response", "percent"),
    "auc": ("how often a good response outscores a bad one, where labels have two levels", "three"),
    "kendall_tau_b": ("rank correlation of scores and labels, ties corrected", "signed"),
    "ndcg": ("discounted cumulative gain, 1 for the labelled order", "three"),
    "mrr": ("mean reciprocal rank of the best response", "three"),
    "spread": ("standard deviation of the scores within a comparison", "number"),
}
TEMPERATURE: dict[str, tuple[str, Kind]] = {
    "nll": ("negative log-likelihood, in nats", "three"),
    "brier": ("squared error of the probability", "three"),
    "ece": ("debiased calibration error", "three"),
}
MEANINGS = {
    "longer": "the longer response wins",
    "refuses": "the response that refuses wins",
    "length_matched": "accuracy where the lengths differ by at most a tenth",
    "slope": "change of the score for 100 more tokens (or words, see unit), between responses to one prompt",
    "accuracy": "decided judgments ranked as labelled",
    "controlled_accuracy": "accuracy of the scores without what style explains",
    "controlled_change": "accuracy without style minus accuracy, in points",
    "style_alone": "accuracy of style without the scores",
    "coefficient": "weight of the score beside style, in logits for one standard deviation",
}
ABOUT = {
    "benchmark": "Figures by the published rule of the benchmark; headline figures come first.",
    "shortcuts": "A shortcut is a rule on the surface of two responses. Alone: accuracy of “more of the feature wins”. "
    "Agrees and disagrees: accuracy of the model where the shortcut names the better and the worse response. Gap: the "
    "first minus the second, about 0 for a model blind to the feature.",
    "style": "Weight of each feature of style in logits, for one standard deviation. Label: taste of the labels. "
    "Choice: taste of the scores. Excess: taste of the model's probabilities beyond the taste of the labels.",
}
"""Explanation of each part that is shown as plain tables."""
KNOWN = {
    *("summary", "figures", "worst", "slices", "writers", "ranking", "scores", "calibration", "power", "warnings"),
    *("temperature", "counts", "lengths"),
}
"""Parts of an evaluation with a place of their own on the page."""
UNREAD = "Shortcuts and style were not measured: these need the texts of the responses."


def set_context(name: str, found: Mapping[str, Any]) -> Json:
    """Collect the variables of the template for the set `name`, except its figures.

    Args:
        found: see `evaluate.evaluation.evaluation`; further keys are shown as tables.
    """
    summary = found["summary"]
    rows = _rivals(summary, found["worst"])
    return {
        "name": name,
        "accuracy": summary["accuracy"],
        "sentences": sentences(found),
        "rows": [(label, kind, one, percent(one["value"])) for label, kind, one in rows],
        "scale": accuracy_scale([one for _, _, one in rows]),
        "slices": [_slice(tag, values, found) for tag, values in without_repeats(found["slices"]).items()],
        "tables": _tables(found),
        "bins": found["calibration"]["equal_mass"]["bins"],
        "sections": [(key, ABOUT.get(key, ""), _section(key, found[key])) for key in _further(found)],
        "facts": facts_of(summary, found.get("counts", {})),
    }


def overview(sets: Mapping[str, Mapping[str, Any]]) -> tuple[Scale, list[Any]]:
    """Axis and rows of the chart of all sets."""
    accuracies = {name: found["summary"]["accuracy"] for name, found in sets.items()}
    rows = [(name, "model", one, percent(one["value"])) for name, one in accuracies.items()]
    return accuracy_scale(list(accuracies.values())), rows


def sentences(found: Mapping[str, Any]) -> list[str]:
    """Verdicts on a set in words, the most telling first."""
    summary = found["summary"]
    if summary["accuracy"]["value"] is None:
        return [_sentence(text) for text in found["warnings"]]
    return [
        *([DEGENERATE] if summary["degenerate"] else []),
        against_chance(summary["accuracy"]),
        *(against_length(summary) if lengths_known(summary) else [LENGTHS_UNKNOWN]),
        *against_ceiling(summary),
        *_worst(found["worst"], summary["accuracy"]),
        *_calibration(found["calibration"]),
        _power(found["power"]),
        *([] if found.keys() & {"shortcuts", "style"} else [UNREAD]),
        *(_sentence(text) for text in found["warnings"]),
    ]


LENGTHS_UNKNOWN = "No response is longer than its rival, or lengths are unknown: “longer wins” says nothing."


def lengths_known(summary: Json) -> bool:
    """Return True if the responses of at least one judgment differ in length."""
    difference = summary["length_difference"]
    return bool(difference["mean"] or difference["std"])


def _rivals(summary: Json, worst: Json | None) -> list[tuple[str, str, Json]]:
    """Rows of the chart beside the verdict: (name, class, accuracy)."""
    rows = [("this model", "model", summary["accuracy"])]
    if worst:
        rows.append((f"worst {worst['tag']}: {worst['value']}", "model", worst["accuracy"]))
    rule, length = length_rule(summary)
    if length and length["value"] is not None and lengths_known(summary):
        rows.append((rule, "rival", length))
    if summary["ceiling"]:
        rows.append(("the source's own scores (ceiling)", "rival", summary["ceiling"]))
    return rows


def _worst(worst: Json | None, accuracy: Json) -> list[str]:
    if not worst:
        return []
    one = worst["accuracy"]
    chance = f"; {worst_by_chance(worst, percent(worst['by_chance']))}"
    return [
        f"Worst {worst['tag']}: “{worst['value']}” with {percent(one['value'])} (95 % interval {span(one)}, "
        f"{number(one['n'])} judgments), beside {percent(accuracy['value'])} over all"
        f"{chance if worst['by_chance'] is not None else ''}."
    ]


def _calibration(calibration: Json) -> list[str]:
    error, bias = calibration["debiased"], calibration["overconfidence"]
    if error["value"] is None:
        return []
    off = f"Its probabilities are off by {_points(error['value'])} points (debiased ECE, 95 % interval "
    off += f"{_points(error['low'])} to {_points(error['high'])})"
    if bias["low"] is None:
        return [f"{off}."]
    if bias["low"] > 0 and _points(bias["value"]) != "0.0":
        return [f"{off}: it is too sure, by {_points(bias['value'])} points."]
    if bias["high"] < 0 and _points(-bias["value"]) != "0.0":
        return [f"{off}: it is not sure enough, by {_points(-bias['value'])} points."]
    return [f"{off}; there is no evidence of being too sure or not sure enough."]


def _power(power: Json) -> str:
    if power["unpaired"] is None:
        return "The smallest difference that this set can show is unknown."
    return (
        f"Another model, measured on another set of this size, has to differ by {_points(power['unpaired'])} points to "
        f"be told apart ({100 * power['power']:g}{THIN}% power, {100 * power['confidence']:g}{THIN}% confidence)."
    )


def _points(share: float | None) -> str:
    """Format the size of a difference in percentage points."""
    return points(share).removeprefix("+")


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _slice(tag: str, values: Mapping[str, Json], found: Mapping[str, Any]) -> Json:
    """Table of a slice: the least accurate value first, unless the values have an order."""
    rows = list(values.items())
    if tag not in ORDERED:
        rows.sort(key=lambda row: (row[1]["accuracy"]["value"] is None, row[1]["accuracy"]["value"] or 0.0, row[0]))
    scale = accuracy_scale([one["accuracy"] for _, one in rows])
    meaning = SLICES.get(tag, "tag of the rows")
    if tag == "length" and found["lengths"]:
        meaning += f", in {found['lengths']}"
    n = found["summary"]["accuracy"]["n"]
    if (part := covered(values, n)) is not None:
        meaning += f"; known for {number(part)} of {number(n)} judgments"
    return {
        "tag": tag,
        "meaning": meaning,
        "rows": rows,
        "scale": scale,
        "ordered": tag in ORDERED,
    }


def _tables(found: Mapping[str, Any]) -> list[tuple[str, str, Table]]:
    """Tables of the parts with a place of their own: (title, explanation, table)."""
    figures = {name: (about, kind, found["figures"][name]) for name, (about, kind) in FIGURES.items()}
    quantiles = found["figures"]["margin_quantiles"].items()
    margins: Any = {
        f"margin, {name}": (f"{int(name[1:])} % of the margins lie below, bootstrap interval", "signed", one)
        for name, one in quantiles
    }
    tables = [
        ("Figures", "", figure_table("", {words(key): one for key, one in (figures | margins).items()})),
        ("Calibration", _calibration_note(found["calibration"]), _calibration_table(found["calibration"])),
    ]
    if temperature := found.get("temperature"):
        tables.append(("Temperature", _temperature_note(temperature), _temperature_table(temperature)))
    if ranking := found["ranking"]:
        table = figure_table("", {words(key): (*RANKING[key], ranking.get(key)) for key in RANKING})
        tables.append(("Order of three and more responses", _ranking_note(ranking), table))
    if found["writers"]:
        note = (
            "Win rate of each writer by the labels (observed), by the scores (chosen), and expected from the model's "
        )
        note += "probabilities. Excess: chosen minus observed, in points; above 0, the model favours the writer."
        kinds: dict[str, Kind] = KINDS | {"excess": "points"}
        tables.append(("Writers", note, section({"writers": found["writers"]}, {}, kinds).tables[0]))
    return tables


def _calibration_note(calibration: Json) -> str:
    return (
        f"Probabilities are sigmoid({calibration['scale']:g} × difference of the scores). A binned error is above 0 "
        "even for a perfectly calibrated model; the debiased error takes that excess off."
        + (f" Read with care: {FITTED_HERE}." if calibration.get("fitted_here") else "")
    )


def _calibration_table(calibration: Json) -> Table:
    rows: dict[str, tuple[str, Kind, Json | None]] = {
        "debiased ECE": (
            "mean distance of confidence and accuracy, the excess of the bins taken off",
            "three",
            calibration["debiased"],
        ),
        "overconfidence": ("mean confidence minus accuracy, in points", "points", calibration["overconfidence"]),
    }
    n, clusters = calibration["overconfidence"]["n"], calibration["overconfidence"]["clusters"]
    for key in ("equal_width", "equal_mass"):
        one, shared = calibration[key], {"low": None, "high": None, "n": n, "clusters": clusters}
        name = f"ECE in bins of {words(key)}"
        about = f"{len(one['bins'])} bins, expected calibration error, the excess of the bins included"
        rows[name] = (about, "three", {"value": one["ece"], **shared})
        about = f"a perfectly calibrated model at this n; 95 % of such models lie below {three(one['calibrated_high'])}"
        rows[f"{name}, calibrated"] = (about, "three", {"value": one["calibrated"], **shared})
    return figure_table("", rows)


def _temperature_note(one: Json) -> str:
    ends = "unknown" if one["low"] is None else f"{one['low']:.3g} to {one['high']:.3g}"
    fitted = f" on {one['set']}" if one["set"] else ""
    return (
        f"Temperature {one['temperature']:.3g} (95 % interval {ends}), fitted{fitted} to {number(one['n'])} judgments "
        f"on {number(one['clusters'])} prompts: probabilities become sigmoid({one['scale']:.3g} × difference of the "
        f"scores); {temperature_verdict(one)}. Figures after the fit are cross-fitted."
    )


def _temperature_table(one: Json) -> Table:
    rows: dict[str, tuple[str, Kind, Json | None]] = {
        f"{words(key)} {when}": (about, "signed" if when == "change" else kind, one[when].get(key))
        for key, (about, kind) in TEMPERATURE.items()
        for when in ("before", "after", "change")
    }
    return figure_table("", rows)


def _ranking_note(ranking: Json) -> str:
    left = ranking["left_out"]
    return (
        f"{number(ranking['comparisons'])} comparisons of three or more responses; left out: "
        f"{number(left['two_responses'])} of two responses, {number(left['no_decided_judgment'])} without a decided "
        "judgment. Each comparison counts once."
    )


def _further(found: Mapping[str, Any]) -> list[str]:
    """Parts without a place of their own, a benchmark first."""
    return sorted((key for key in found if key not in KNOWN and found[key]), key=lambda key: (key != "benchmark", key))


def _section(key: str, values: Any) -> Section:
    return section(values if isinstance(values, Mapping) else {key: values}, MEANINGS)


def facts_of(summary: Json, counts: Mapping[str, int]) -> Sequence[tuple[str, str]]:
    """Counts of a set, for the line under its title; `counts` holds the rows read."""
    names = ("comparisons", "judgments", "prompts", "ties_labelled", "truncated")
    read = [("rows read", number(counts["rows"]))] if "rows" in counts else []
    return [*read, *((words(name), number(summary[name])) for name in names)]
