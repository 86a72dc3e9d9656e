"""Evaluations, comparisons, temperatures and power as text for a terminal."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..common.text import visible
from ..evaluate.length import length_rule
from ..evaluate.temperature import temperature_verdict, temperature_warnings
from .figure_text import DASH, Cells, Figure, number_span, percent, plain, point_span, signed, span, sureness, table
from .sentences import (
    IDENTICAL,
    WORSE,
    covered,
    power_command,
    without_repeats,
    worse_than_chance,
    worst_by_chance,
)
from .shortcut_tables import benchmark_table, probe_table, shortcut_table, style_table

LONGEST = 40
"""Most characters of a name in a table."""


def show_evaluation(name: str, found: Mapping[str, Any]) -> str:
    """Format the evaluation of a set: the main figures, then a table for each slice.

    Args:
        name: name of the set.
        found: result of `evaluation`.
    """
    summary = found["summary"]
    head = f"{_name(name)}: {summary['comparisons']:,} comparisons, {summary['prompts']:,} prompts"
    if summary["truncated"]:
        head += f", {summary['truncated']:,} truncated"
    lines = [head, *_aligned([("  " + title, text) for title, text in _main_figures(found)])]
    for title, values in without_repeats(found["slices"]).items():
        lines += ["", *_slice_table(title, values, found)]
    if found["writers"]:
        lines += ["", *_writer_table(found["writers"])]
    lines += _of_texts(found)
    worse = [f"{WORSE[0].lower()}{WORSE[1:-1]}"] if worse_than_chance(summary["accuracy"]) else []
    return "\n".join([*lines, *_warnings([*worse, *found["warnings"]])])


def _of_texts(found: Mapping[str, Any]) -> list[str]:
    """Tables of the figures that need texts, or a benchmark."""
    lines: list[str] = []
    if found.get("shortcuts"):
        lines += ["", *shortcut_table(found["shortcuts"]), "", *style_table(found["style"])]
    if found.get("probes"):
        lines += ["", *probe_table(list(found["probes"].values()))]
    if found["summary"].get("benchmark"):
        lines += ["", *benchmark_table(found["summary"]["benchmark"])]
    return lines


def show_comparison(found: Mapping[str, Any]) -> str:
    """Format a comparison of models: accuracies, then every pair.

    Args:
        found: result of `compare`.
    """
    models = [
        (_name(name), percent(one), span(one), _number(one["n"]), _number(one["clusters"]), _seeds(one))
        for name, one in found["models"].items()
    ]
    lines = [f"{found['items']:,} comparisons, the same for all models", ""]
    lines += table([("model", "accuracy", "95 %", "judgments", "prompts", "seeds"), *models])
    for pair in found["pairs"]:
        lines += ["", *_pair(pair, found["tests"], found["models"])]
    return "\n".join(lines)


def show_temperature(found: Mapping[str, Any]) -> str:
    """Format a temperature with the figures before and after.

    Args:
        found: result of `temperature_figures`.
    """
    rows: list[Cells] = [("", "before", "after (cross-fitted)", "change")]
    for key, title in (("nll", "NLL"), ("brier", "Brier score"), ("ece", "ECE, debiased")):
        change = found["change"].get(key)
        ends = [number_span(found[when][key]) for when in ("before", "after")]
        rows.append((title, *ends, number_span(change, sign=True) if change else ""))
    interval = "" if found["low"] is None else f" [{found['low']:.3g}, {found['high']:.3g}]"
    return "\n".join(
        [
            f"temperature {found['temperature']:.4g}{interval}, {found['n']:,} judgments of "
            f"{found['clusters']:,} prompts",
            f"P(a better than b) = sigmoid({found['scale']:.6g} * (score(a) - score(b))); {temperature_verdict(found)}",
            "",
            *table(rows),
            *_warnings(temperature_warnings(found)),
        ]
    )


def show_power(found: Mapping[str, Any]) -> str:
    """Format the number of pairs that a difference needs.

    Args:
        found: result of `pairs_needed`.
    """
    effect = "" if found["design_effect"] == 1 else f", design effect {found['design_effect']:g}"
    lines = [
        f"to tell {100 * found['accuracy']:g} % from {100 * (found['accuracy'] + found['difference']):g} % with "
        f"{100 * found['power']:g} % power at {100 * found['confidence']:g} % confidence{effect}:",
        f"  two different sets   {found['unpaired']:,} pairs in each",
    ]
    for one in found["paired"]:
        what = f"the same pairs, if the models differ on {100 * one['discordant']:.3g} % of them"
        lines.append(f"  {what}   {one['pairs']:,} pairs")
    if found["design_effect"] == 1:
        lines.append("  counted for a pair a prompt; several pairs of a prompt say less: add --design-effect")
    else:
        lines.append(
            "  the design effect of `bradley evaluate` is for different sets, of `bradley compare` for the same pairs"
        )
    return "\n".join(lines)


def _main_figures(found: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """Yield names and texts of the main figures."""
    summary, figures = found["summary"], found["figures"]
    accuracy = summary["accuracy"]
    naive = {"low": accuracy["naive_low"], "high": accuracy["naive_high"]}
    yield (
        "accuracy",
        f"{percent(accuracy)} {span(accuracy)}  n = {accuracy['n']:,} of {accuracy['clusters']:,} prompts "
        f"(as if independent: {span(naive)})",
    )
    if worst := found["worst"]:
        share = worst["by_chance"]
        by_chance = "" if share is None else f"; {worst_by_chance(worst, f'{100 * share:.1f} %')}"
        yield (
            "worst tag",
            f"{percent(worst['accuracy'])} {span(worst['accuracy'])}  {_name(worst['tag'])} = {_name(worst['value'])}"
            f"{by_chance}",
        )
    rule, length = length_rule(summary)
    if length and found["lengths"]:
        yield (
            rule,
            f"{percent(length)} {span(length)}  by {found['lengths']}; model minus rule "
            + point_span(summary["above_length"]),
        )
    yield "equal scores", percent(figures["tie_rate"])
    if (scale := found["calibration"]["scale"]) != 1.0:
        yield "P(a over b)", f"sigmoid({scale:.6g} * score difference)"
    yield "NLL", f"{number_span(figures['nll'])}  chance {math.log(2):.4f}"
    yield "Brier score", f"{number_span(figures['brier'])}  chance 0.2500"
    yield "AUROC", number_span(figures["auroc"])
    yield "margin", _spread(figures)
    yield "scores", "; ".join(f"{side} {_range(one)}" for side, one in found["scores"].items())
    yield "ECE", _calibration(found["calibration"])
    for key, title in RANKING.items():
        if key in found["ranking"]:
            yield title, number_span(found["ranking"][key])
    yield "can show", _power(found["power"])


RANKING = {
    "pair_accuracy": "pairs, K > 2",
    "top1": "top-1",
    "auc": "AUC in prompt",
    "kendall_tau_b": "Kendall tau-b",
    "ndcg": "NDCG",
    "mrr": "MRR",
    "spread": "spread in prompt",
}
"""Figures of comparisons with three or more responses, with titles."""


def _spread(figures: Mapping[str, Any]) -> str:
    if figures["margin"]["value"] is None:
        return DASH
    quantiles = ", ".join(f"{name} {signed(one['value'])}" for name, one in figures["margin_quantiles"].items())
    return f"{number_span(figures['margin'], sign=True)}, std {plain(figures['margin_std']['value'], 3)}; {quantiles}"


def _range(one: Mapping[str, Any]) -> str:
    return DASH if one["min"] is None else f"{signed(one['min'])} to {signed(one['max'])}, median {signed(one['p50'])}"


def _calibration(found: Mapping[str, Any]) -> str:
    debiased, mass, width = found["debiased"], found["equal_mass"], found["equal_width"]
    if debiased["value"] is None:
        return DASH
    here = " (the temperature was fitted on these rows)" if found["fitted_here"] else ""
    return (
        f"{number_span(debiased)} debiased{here}, {sureness(found['overconfidence'])}; in 15 bins of equal mass "
        f"{mass['ece']:.4f}, equal width {width['ece']:.4f} (a calibrated model at this n: {mass['calibrated']:.4f}, "
        f"{width['calibrated']:.4f})"
    )


def _power(found: Mapping[str, Any]) -> str:
    if found["unpaired"] is None:
        return "no difference: too few prompts"
    effect = "" if found["design_effect"] is None else f"; design effect {found['design_effect']:.2f}"
    return f"a difference of {100 * found['unpaired']:.1f} points to another set of this size (80 % power){effect}"


def _slice_table(title: str, values: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    unit = f" in {found['lengths']}" if title == "length" and found["lengths"] else ""
    n = found["summary"]["accuracy"]["n"]
    part = covered(values, n)
    rows = [(f"by {_name(title)}{unit}", "n", "prompts", "accuracy", "95 %", "NLL", "margin")]
    for value, one in values.items():
        accuracy, nll, margin = one["accuracy"], one["nll"]["value"], one["margin"]["value"]
        rows.append(
            (
                f"  {_name(value)}",
                _number(accuracy["n"]),
                _number(accuracy["clusters"]),
                percent(accuracy),
                span(accuracy),
                DASH if nll is None else f"{nll:.3f}",
                DASH if margin is None else signed(margin),
            )
        )
    return [*table(rows), *([] if part is None else [f"  known for {part:,} of {n:,} judgments"])]


def _writer_table(writers: Mapping[str, Any]) -> list[str]:
    rows = [("by writer of the response", "n", "wins, labels", "wins, scores", "expected", "excess", "95 %")]
    for name, one in writers.items():
        excess = one["excess"]
        rows.append(
            (
                f"  {_name(name)}",
                _number(excess["n"]),
                percent(one["observed"]),
                percent(one["chosen"]),
                percent(one["expected"]),
                DASH if excess["value"] is None else f"{100 * excess['value']:+.1f}",
                DASH if excess["low"] is None else f"[{100 * excess['low']:+.1f}, {100 * excess['high']:+.1f}]",
            )
        )
    return table(rows)


def _pair(pair: Mapping[str, Any], tests: int, models: Mapping[str, Any]) -> list[str]:
    """Lines about a pair of models."""
    lines = [f"{_name(pair['b'])} minus {_name(pair['a'])}"]
    lines += _aligned([(f"  {title}", text) for title, text in _pair_figures(pair, tests, models)])
    for key in ("gained", "lost"):
        if pair["changed"][key]["largest"]:
            lines += ["", *_changed_table(key, pair)]
    for tag, values in without_repeats(pair["by_tag"]).items():
        cells = [(f"  by {_name(tag)}", "n", "prompts", "points", "95 %")]
        for value, one in values.items():
            ends = DASH if one["low"] is None else f"[{100 * one['low']:+.1f}, {100 * one['high']:+.1f}]"
            difference = DASH if one["value"] is None else f"{100 * one['value']:+.1f}"
            cells.append((f"    {_name(value)}", _number(one["n"]), _number(one["clusters"]), difference, ends))
        lines += ["", *table(cells)]
    return lines


def _pair_figures(pair: Mapping[str, Any], tests: int, models: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and texts of the figures of a pair of models."""
    accuracy, smallest, changed = pair["accuracy"], pair["smallest_difference"], pair["changed"]
    rows = [("accuracy", f"{point_span(accuracy)}, p = {_p(accuracy['p'])}{_holm(accuracy, tests)}")]
    if pair["identical"]:
        rows.insert(0, ("scores", IDENTICAL))
    boot = pair["bootstrap"]
    if boot["low"] is not None:
        rows.append(("bootstrap", f"[{100 * boot['low']:+.1f}, {100 * boot['high']:+.1f}]"))
    if pair["mcnemar"]:
        one = pair["mcnemar"]
        rows.append(("McNemar, exact", f"p = {_p(one['p'])}, {one['gained']} gained and {one['lost']} lost"))
    if seeds := pair["seeds"]:
        for key, title in (("over_seeds", "over seeds"), ("both", "seeds and prompts")):
            rows.append((title, point_span(seeds[key]) if seeds[key] else "unknown: one seed on a side"))
    if pair["nll"]:
        rows.append(("NLL", f"{number_span(pair['nll'], sign=True)}  lower is better"))
        rows.append(("ECE", f"{number_span(pair['ece'], sign=True)}  lower is better; 15 bins of equal width"))
    if smallest["paired"] is not None:
        least = f"paired {100 * smallest['paired']:.1f} points, unpaired {100 * smallest['unpaired']:.1f} points"
        rows.append(("can show", f"{least} (80 % power)"))
    if pair["discordant"] is not None:
        effect = DASH if pair["design_effect"] is None else f"{pair['design_effect']:.2f}"
        share = f"{100 * pair['discordant']:.1f} % of the judgments"
        rows.append(("discordant", f"{share}; design effect of the paired difference {effect}"))
    if command := power_command(pair, models):
        rows.append(("for 1 point", f"count pairs: {command}"))
    counts = [changed[key]["judgments"] for key in ("gained", "lost")]
    rows.append(("changed", f"{counts[0]:,} judgments gained, {counts[1]:,} lost, {changed['same']:,} the same"))
    return rows


def _changed_table(key: str, pair: Mapping[str, Any]) -> list[str]:
    """Judgments gained or lost with the largest change of the margin; an id is unique within its source alone."""
    rows: list[Cells] = [(f"  {key}, margin by model", "source", _name(pair["a"]), _name(pair["b"]))]
    for one in pair["changed"][key]["largest"]:
        margins = [signed(one[margin]) for margin in ("margin_a", "margin_b")]
        rows.append((f"    {_name(one['id'])}", _name(one["source"]) or DASH, *margins))
    return table(rows)


def _holm(accuracy: Figure, tests: int) -> str:
    return "" if tests < 2 else f" ({_p(accuracy['p_holm'])} after Holm's correction for {tests} tests)"


def _p(value: float | None) -> str:
    if value is None:
        return "unknown"
    return "below 0.0001" if value < 0.0001 else f"{value:.4f}"


def _seeds(one: Mapping[str, Any]) -> str:
    return ", ".join(f"{100 * value:.1f}" for value in one["seeds"]) if one["seeds"] else "1"


def _warnings(warnings: Sequence[str]) -> list[str]:
    return ["", *(f"note: {visible(line)}" for line in warnings)] if warnings else []


def _name(value: str) -> str:
    text = visible(str(value))
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def _number(value: int) -> str:
    return f"{value:,}"


def _aligned(rows: Sequence[tuple[str, str]]) -> list[str]:
    """Lines of a name and a text, the texts below each other."""
    width = max(len(name) for name, _ in rows)
    return [f"{name:<{width}}  {text}" for name, text in rows]
