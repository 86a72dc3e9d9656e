"""Shortcuts, style control and probes as tables for a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from .figure_text import DASH, Cells, number_span, percent, point_span, span, table

TITLES = {
    "longer": "longer",
    "more_list_items": "more list items",
    "more_headers": "more headers",
    "more_bold": "more bold",
    "more_code_blocks": "more code blocks",
    "refuses": "refuses",
    "more_overlap": "more words of the prompt",
}
"""Shortcuts in words."""


def shortcut_table(found: Mapping[str, Any]) -> list[str]:
    """Lines about the shortcuts of a set: what each predicts alone, and the accuracy where each agrees or disagrees.

    Args:
        found: result of `evaluate.shortcuts.shortcuts`.
    """
    rows: list[Cells] = [("shortcut", "alone", "equal", "agrees", "n", "disagrees", "n", "gap")]
    for name, one in found["rules"].items():
        agrees, disagrees = one["agrees"], one["disagrees"]
        rows.append(
            (
                f"  {TITLES.get(name, name)}",
                f"{percent(one['alone'])} {span(one['alone'])}",
                DASH if one["equal_share"] is None else f"{100 * one['equal_share']:.0f} %",
                percent(agrees),
                f"{agrees['n']:,}",
                percent(disagrees),
                f"{disagrees['n']:,}",
                point_span(one["gap"]),
            )
        )
    matched = found["length_matched"]
    return [
        *table(rows),
        f"  score for 100 more {found['unit']}, same prompt  {number_span(found['slope'], sign=True)}",
        f"  accuracy at matched lengths  {percent(matched)} {span(matched)}  n = {matched['n']:,}",
    ]


def style_table(found: Mapping[str, Any]) -> list[str]:
    """Lines about style control: the taste of labels and model, and the accuracy without style.

    Args:
        found: result of `evaluate.style.style`.
    """
    rows: list[Cells] = [("style, logits for one deviation", "labels", "model", "excess of the model")]
    for name, one in found["features"].items():
        known = [one[key] for key in ("label", "probability", "excess")]
        rows.append((f"  {name.replace('_', ' ')}", *(number_span(figure, sign=True) for figure in known)))
    controlled = found["controlled_accuracy"]
    return [
        *table(rows),
        f"  accuracy with style held fixed  {percent(controlled)} {span(controlled)}, "
        f"change {point_span(found['controlled_change'])}; style alone {percent(found['style_alone'])}",
    ]


def probe_table(probes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lines about the probes: change of the score, drop in accuracy, changed decisions.

    Args:
        probes: results of `evaluate.probes.probe_effects`.
    """
    rows: list[Cells] = [("probe", "wanted", "responses", "score change", "accuracy drop", "changed decisions")]
    for one in probes:
        rows.append(
            (
                f"  {one['probe'].replace('_', ' ')}",
                one["expected"],
                f"{one['responses']:,}",
                number_span(one["score_change"], sign=True),
                point_span(one["accuracy_drop"]),
                percent(one["changed_decisions"]),
            )
        )
    return table(rows)


def benchmark_table(found: Mapping[str, Any]) -> list[str]:
    """Lines about a benchmark: each figure under the name of its scheme.

    Args:
        found: result of a suite of `evaluate.benchmarks`.
    """
    rows: list[Cells] = [(found["benchmark"], "scheme", "value", "95 %", "n")]
    for one in found["figures"]:
        rows.append((f"  {one['name']}", one["scheme"], percent(one), span(one), f"{one['n']:,}"))
    return table(rows)
