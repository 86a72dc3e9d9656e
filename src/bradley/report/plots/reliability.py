"""Reliability diagram: judgments predicted with 80 % probability should be right in 80 % of cases."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..details import filled
from ..filters import number
from .style import BLUE, GRID, MUTED, PANEL_SIZE, figure_style, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


NARROW = 0.03
"""Width of a bin up to which the count of the bin does not fit above."""
Bin = Mapping[str, Any]
"""Entry of `bins` of `evaluate.calibration`."""


def reliability_figure(calibration: Mapping[str, Any], title: str = "Calibration", kind: str = "ECE") -> "Figure":
    """Draw accuracy over confidence of each bin with the diagonal, and below the number of judgments in each bin.

    The shaded strip of a bin is the error of the bin; the ECE averages this error over judgments.

    Args:
        calibration: `ece` and `bins`, see `evaluate.calibration`, of any number and width; with `calibrated`, the ECE
            of a perfectly calibrated model, as in `evaluate.ece`.
        title: title of the figure; the ECE is added.
        kind: name of the ECE in the title, such as `ECE of equal-mass bins`.
    """
    bins = calibration["bins"]
    with figure_style():
        figure = new_figure((PANEL_SIZE[0], 1.35 * PANEL_SIZE[1]))
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        # Empty bins have no mean to draw, but belong to the counts below.
        _draw_accuracy(above, [entry for entry in bins if filled(entry)])
        if calibration.get("calibrated") is not None:
            note = f"a calibrated model: ECE {calibration['calibrated']:.3f}"
            above.text(0.99, 0.13, note, color=MUTED, ha="right", va="bottom", transform=above.transAxes)
        _draw_counts(below, bins)
        ece = "" if calibration["ece"] is None else f", {kind} {calibration['ece']:.3f}"
        above.set_title(f"{title}{ece}")
    return figure


def _draw_accuracy(axis: "Axes", bins: Sequence[Bin]) -> None:
    from matplotlib.ticker import PercentFormatter

    confidence, accuracy = [entry["confidence"] for entry in bins], [entry["accuracy"] for entry in bins]
    axis.plot([0.5, 1.0], [0.5, 1.0], color=MUTED, linestyle="--", linewidth=1)
    axis.text(0.99, 0.03, "dashed: calibrated", color=MUTED, ha="right", va="bottom", transform=axis.transAxes)
    axis.vlines(confidence, confidence, accuracy, color=BLUE, alpha=0.25, linewidth=6)
    axis.plot(confidence, accuracy, color=BLUE, marker="o", markersize=4)
    axis.set_ylim(min([0.45, *(value - 0.05 for value in accuracy)]), 1.03)
    axis.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axis.set_ylabel("ranked as labelled")
    axis.tick_params(length=0)


def _draw_counts(axis: "Axes", bins: Sequence[Bin]) -> None:
    from matplotlib.ticker import PercentFormatter

    middles = [(entry["low"] + entry["high"]) / 2 for entry in bins]
    counts = [entry["n"] for entry in bins]
    axis.bar(middles, counts, width=[0.88 * (entry["high"] - entry["low"]) for entry in bins], color=GRID)
    # Bins of equal mass are narrow where judgments are many, and their counts would overlap.
    wide = [entry["high"] - entry["low"] > NARROW for entry in bins]
    for middle, count in [pair for pair, fits in zip(zip(middles, counts, strict=True), wide, strict=True) if fits]:
        axis.annotate(
            number(count), (middle, count), (0, 1), textcoords="offset points", ha="center", color=MUTED, size=7
        )
    axis.margins(y=0.35)
    axis.set_xlim(0.49, 1.01)
    axis.set_yticks([])
    axis.grid(visible=False)
    axis.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axis.set_ylabel("judgments")
    axis.set_xlabel("confidence of the model")
    axis.tick_params(length=0)
