"""Figures of distributions: token counts of a split, scores and response lengths by side, scores over the steps."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...evaluate.judgments import judgment_table
from ...evaluate.moments import QUANTILES
from ...records import ScoredComparison
from .curves import Curves, Event, Series
from .drawing import label_ends, panel_grid, short, single, titles
from .style import BLUE, MUTED, ORANGE, figure_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOOKS = {"prompt": MUTED, "chosen": BLUE, "rejected": ORANGE}
"""Colours by part of a text."""
Histograms = Mapping[str, Mapping[str, Any]]
"""Histogram by part of a text: `edges` [B + 1] and `counts` [B]."""
Distribution = Mapping[str, Any]
"""Line of `eval/distributions.jsonl`."""


def split_histograms(data_report: Mapping[str, Any]) -> dict[str, Histograms]:
    """Histograms of token counts by split; splits without a counted text are left out."""
    found = {
        name: (split.get("tokens") or {}).get("histograms") or {}
        for name, split in (data_report.get("splits") or {}).items()
    }
    return {name: histograms for name, histograms in found.items() if _drawn(histograms)}


def token_lengths_figure(splits: Mapping[str, Histograms], title: str = "Tokens, {split}") -> "Figure":
    """Draw the token counts of prompts, chosen and rejected responses: a panel per split, an outline per part.

    Heights are shares of the texts of a part per token of width, because the bins of two parts differ.

    Args:
        splits: histograms by name of the split.
        title: title of a panel, with `{split}` for the name.
    """
    with figure_style():
        figure, axes = panel_grid(len(splits))
        for axis, (name, histograms) in zip(axes, splits.items(), strict=True):
            _draw_tokens(axis, histograms, title.format(split=name))
    return figure


def score_figure(rows: Sequence[ScoredComparison]) -> "Figure":
    """Draw a histogram of preferred and of other scores, with a count per decided judgment and side."""
    table = judgment_table(rows)
    sides = {"preferred": table.chosen[table.decided], "other": table.rejected[table.decided]}
    return single(_draw_sides, sides, "Scores by label", "score")


def response_lengths(rows: Sequence[ScoredComparison]) -> dict[str, list[int]]:
    """Response tokens of the preferred and of the other side of each decided judgment, for `length_figure`."""
    pairs = [(row.response_tokens, judgment) for row in rows for judgment in row.judgments if not judgment.tie]
    return {"preferred": [n[j.better] for n, j in pairs], "other": [n[j.worse] for n, j in pairs]}


def length_figure(lengths: Mapping[str, Sequence[int]]) -> "Figure":
    """Draw a histogram of token counts, an outline per name; at most two names."""
    sides = {name: np.asarray(counts) for name, counts in lengths.items()}
    return single(_draw_sides, sides, "Response lengths", "tokens")


def distribution_sets(lines: Sequence[Distribution]) -> list[str]:
    """Names of the sets in `lines`: `valid` first, `train_probe` last, others by name."""
    order = {"valid": 0, "train_probe": 2}
    return sorted({line["set"] for line in lines}, key=lambda name: (order.get(name, 1), name))


def distributions_figure(
    lines: Sequence[Distribution],
    events: Sequence[Event],
    x: str = "step",
    timing: Sequence[Event] = (),
    sets: Sequence[str] = (),
) -> "Figure":
    """Draw chosen and rejected scores over the step, a panel per set: median, middle half, middle nine tenths.

    Args:
        lines: lines of `eval/distributions.jsonl`, with quantiles or a histogram of each side.
        events, x, timing: as for `training_figure`, for the positions of the steps.
        sets: names of the sets to draw; all sets by default.

    Raises:
        UserError: `x` is no axis, or the run has no values of `x`.
    """
    curves = Curves(events, x, timing)
    names = list(sets) or distribution_sets(lines)
    with figure_style():
        figure, axes = panel_grid(len(names))
        for axis, name in zip(axes, names, strict=True):
            _draw_quantiles(axis, [line for line in lines if line["set"] == name], curves, name)
    return figure


def quantiles(side: Mapping[str, Any]) -> list[float]:
    """Read the five `QUANTILES` of a side of a line: as given, else computed from `edges` [B + 1] and `counts` [B].

    A histogram holds only the number of values in a bin. Values are taken to be spread evenly over the bin.
    """
    if all(name in side for name in QUANTILES):
        return [float(side[name]) for name in QUANTILES]
    counts, edges = np.asarray(side["counts"], dtype=np.float64), np.asarray(side["edges"], dtype=np.float64)
    below = np.concatenate([[0.0], np.cumsum(counts)]) / counts.sum()
    return [float(np.interp(share, below, edges)) for share in QUANTILES.values()]


def _drawn(histograms: Histograms) -> dict[str, Mapping[str, Any]]:
    """Histograms with at least a single text, in the order of `LOOKS`."""
    return {part: histograms[part] for part in LOOKS if part in histograms and sum(histograms[part]["counts"])}


def _draw_tokens(axis: "Axes", histograms: Histograms, title: str) -> None:
    from matplotlib.ticker import PercentFormatter

    for row, (part, histogram) in enumerate(_drawn(histograms).items()):
        counts, edges = np.asarray(histogram["counts"], dtype=np.float64), np.asarray(histogram["edges"])
        density = counts / counts.sum() / np.diff(edges)
        axis.stairs(density, edges, color=LOOKS[part], fill=True, alpha=0.15)
        axis.stairs(density, edges, color=LOOKS[part], linewidth=1.2)
        axis.text(0.99, 0.97 - 0.08 * row, part, color=LOOKS[part], ha="right", va="top", transform=axis.transAxes)
    axis.yaxis.set_major_formatter(PercentFormatter(1.0))
    axis.set_xlim(left=0.0)
    axis.set_ylim(bottom=0.0)
    titles(axis, title, "tokens", "share of texts per token")


def _draw_sides(axis: "Axes", sides: Mapping[str, Any], title: str, x: str) -> None:
    assert len(sides) <= 2, "two colours, so two sides"
    drawn = {name: values for name, values in sides.items() if len(values)}
    # Both sides share their bins: with separate bins equal heights would mean different counts per token or score.
    bins = np.histogram_bin_edges(np.concatenate([*drawn.values()]) if drawn else [], bins=40).tolist()
    for row, ((name, values), colour) in enumerate(zip(drawn.items(), (BLUE, ORANGE), strict=False)):
        axis.hist(values, bins, color=colour, alpha=0.25, histtype="stepfilled", linewidth=0)
        axis.hist(values, bins, color=colour, histtype="step", linewidth=1.2)
        label = f"{name}, mean {short(np.mean(values))}"
        axis.text(0.99, 0.97 - 0.08 * row, label, color=colour, ha="right", va="top", transform=axis.transAxes)
    axis.margins(y=0.25)  # room for the names
    titles(axis, title, x, "judgments")


def _draw_quantiles(axis: "Axes", lines: Sequence[Distribution], curves: Curves, name: str) -> None:
    # A side without a judgment has only empty bins, and so no quantiles to draw.
    ordered = sorted(lines, key=lambda line: int(line["step"]))
    placed = [(place, line) for line in ordered if (place := curves.place(line["step"])) is not None]
    medians = []
    for side, colour in (("chosen", BLUE), ("rejected", ORANGE)):
        points = [(place, quantiles(line[side])) for place, line in placed if sum(line[side]["counts"])]
        x = [place for place, _ in points]
        p05, p25, p50, p75, p95 = ([spread[i] for _, spread in points] for i in range(len(QUANTILES)))
        axis.fill_between(x, p05, p95, color=colour, alpha=0.12, linewidth=0)
        axis.fill_between(x, p25, p75, color=colour, alpha=0.25, linewidth=0)
        axis.plot(x, p50, color=colour, marker="o", markersize=3)
        medians.append((side, Series(x, p50), colour))
    label_ends(axis, medians)
    titles(axis, f"Scores of {name}: median, 50 %, 90 %", curves.label, "score")
