"""Figures: pure functions from tables to matplotlib figures."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bradley.errors import UserError
from bradley.evaluate.judgments import judgment_table
from bradley.records import ScoredComparison
from bradley.report.style import BLUE, MUTED, ORANGE, PANEL_SIZE, figure_style, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Event = Mapping[str, Any]


class Gap(NamedTuple):
    """Train-probe accuracy minus validation accuracy at one step, with its 95 % interval."""

    step: int
    value: float
    low: float
    high: float


class Series(NamedTuple):
    """A line to draw: x and y of equal length, in order of x."""

    steps: list[int]
    values: list[float]


def training_figure(events: Sequence[Event]) -> "Figure":
    """Four panels over the step: loss, accuracy, learning rate, gradient norm before clipping.

    `events` are lines of `metrics.jsonl`. Train curves are the windowed figures, with each batch's own value faint
    behind; the evaluation curve is `valid`, or the first other set where there is no `valid`.
    """
    with figure_style():
        figure = new_figure((2 * PANEL_SIZE[0], 2 * PANEL_SIZE[1]))
        for axis, draw in zip(figure.subplots(2, 2).flat, PANELS.values(), strict=True):
            draw(axis, events)
    return figure


def training_panels(events: Sequence[Event]) -> dict[str, "Figure"]:
    """The panels of `training_figure`, one figure each, by name: for pages that a phone shows too."""
    figures = {}
    with figure_style():
        for name, draw in PANELS.items():
            figures[name] = new_figure(PANEL_SIZE)
            draw(figures[name].subplots(), events)
    return figures


def gap_points(events: Sequence[Event]) -> list[Gap]:
    """The overfitting gap at every step that evaluated both `train_probe` and `valid`, or the set in its place.

    The two sets share no prompt, so their errors are independent and the interval of the difference follows from the
    two intervals by MOVER (Zou and Donner 2008). Its ends are nan where an interval is missing.
    """
    probe, other = _evaluations(events, "train_probe"), _evaluations(events, _main_set(events))
    return [_gap(step, probe[step], other[step]) for step in sorted(probe.keys() & other.keys())]


def gap_figure(events: Sequence[Event]) -> "Figure":
    """Overfitting gap, train-probe accuracy minus validation accuracy, in points over the step, with its 95 % band.

    Raises:
        UserError: no step evaluated both sets.
    """
    points = gap_points(events)
    if not points:
        raise UserError(
            "no step evaluated both train_probe and valid: no gap to draw", "set eval.train_probe, e.g. 256"
        )
    steps = [point.step for point in points]
    with figure_style():
        figure = new_figure(PANEL_SIZE)
        axis = figure.subplots()
        low, high = [100 * point.low for point in points], [100 * point.high for point in points]
        axis.fill_between(steps, low, high, color=ORANGE, alpha=0.15, linewidth=0)
        axis.plot(steps, [100 * point.value for point in points], color=ORANGE, marker="o", markersize=3)
        axis.axhline(0.0, color=MUTED, linestyle="--", linewidth=1)
        _titles(axis, "Overfitting gap, 95 % band", "step", "train − valid accuracy, points")
    return figure


def score_figure(rows: Sequence[ScoredComparison]) -> "Figure":
    """Histogram of the scores of preferred and of other responses, one count per decided judgment and side."""
    table = judgment_table(rows)
    sides = {"preferred": table.chosen[table.decided], "other": table.rejected[table.decided]}
    return _histogram(sides, "Scores by label", "score", "judgments")


def response_lengths(rows: Sequence[ScoredComparison]) -> dict[str, list[int]]:
    """Response tokens of the preferred and of the other side of each decided judgment, for `length_figure`."""
    pairs = [(row.response_tokens, judgment) for row in rows for judgment in row.judgments if not judgment.tie]
    return {"preferred": [n[j.better] for n, j in pairs], "other": [n[j.worse] for n, j in pairs]}


def length_figure(lengths: Mapping[str, Sequence[int]]) -> "Figure":
    """Histogram of token counts, one outline per name; at most two names."""
    sides = {name: np.asarray(counts) for name, counts in lengths.items()}
    return _histogram(sides, "Response lengths", "tokens", "judgments")


def _draw_loss(axis: "Axes", events: Sequence[Event]) -> None:
    _curves(axis, events, "loss")
    _titles(axis, "Loss", "step", "nats")


def _draw_accuracy(axis: "Axes", events: Sequence[Event]) -> None:
    from matplotlib.ticker import PercentFormatter

    _curves(axis, events, "accuracy")
    axis.axhline(0.5, color=MUTED, linestyle="--", linewidth=1)
    axis.text(0.99, 0.5, "chance, 0.5", color=MUTED, ha="right", va="bottom", transform=axis.get_yaxis_transform())
    axis.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    _titles(axis, "Accuracy", "step", "")


def _draw_rate(axis: "Axes", events: Sequence[Event]) -> None:
    axis.plot(*_series(events, "train", "train/rm/lr"), color=BLUE)
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:.1e}".replace("e-0", "e-") if value else "0")
    axis.set_ylim(bottom=0.0)
    _titles(axis, "Learning rate", "step", "")


def _draw_norm(axis: "Axes", events: Sequence[Event]) -> None:
    norms = _series(events, "train", "train/rm/grad_norm")
    axis.plot(*norms, color=BLUE, linewidth=1)
    if norms.values and min(norms.values) > 0 and max(norms.values) >= 100 * min(norms.values):
        axis.set_yscale("log")
    else:
        axis.set_ylim(bottom=0.0)
    _titles(axis, "Gradient norm before clipping", "step", "")


PANELS = {"loss": _draw_loss, "accuracy": _draw_accuracy, "lr": _draw_rate, "grad_norm": _draw_norm}


def _curves(axis: "Axes", events: Sequence[Event], figure: str) -> None:
    """Train and evaluation curves of one figure, labelled at their ends."""
    name = _main_set(events)
    batch = _series(events, "train", f"train/rm/{figure}")
    window = _series(events, "train", f"train_window/rm/{figure}")
    held_out = _series(events, "eval", f"eval/{name}/rm/{figure}")
    if window.steps:
        axis.plot(*batch, color=BLUE, linewidth=0.8, alpha=0.3)
    train = window if window.steps else batch
    axis.plot(*train, color=BLUE)
    axis.plot(*held_out, color=ORANGE, marker="o", markersize=3)
    _label_ends(axis, [("train", train, BLUE), (name, held_out, ORANGE)])


def _label_ends(axis: "Axes", lines: Sequence[tuple[str, Series, str]]) -> None:
    """Write each name right of the end of its line, far enough apart to read."""
    low, high = axis.get_ylim()
    ends = sorted(((line.values[-1] - low) / (high - low), name, colour) for name, line, colour in lines if line.values)
    places = [end for end, _, _ in ends]
    if len(places) == 2 and places[1] - places[0] < (apart := 0.08):
        middle = sum(places) / 2
        places = [middle - apart / 2, middle + apart / 2]
    for place, (_, name, colour) in zip(places, ends, strict=True):
        axis.text(1.015, place, name, color=colour, va="center", transform=axis.transAxes)


def _histogram(sides: Mapping[str, Any], title: str, x: str, y: str) -> "Figure":
    assert len(sides) <= 2, "two colours, so two sides"
    drawn = {name: values for name, values in sides.items() if len(values)}
    with figure_style():
        figure = new_figure(PANEL_SIZE)
        axis = figure.subplots()
        bins = np.histogram_bin_edges(np.concatenate([*drawn.values()]) if drawn else [], bins=40).tolist()
        for row, ((name, values), colour) in enumerate(zip(drawn.items(), (BLUE, ORANGE), strict=False)):
            axis.hist(values, bins, color=colour, alpha=0.25, histtype="stepfilled", linewidth=0)
            axis.hist(values, bins, color=colour, histtype="step", linewidth=1.2)
            label = f"{name}, mean {f'{np.mean(values):.3g}'.replace('-', '−')}"
            axis.text(0.99, 0.97 - 0.08 * row, label, color=colour, ha="right", va="top", transform=axis.transAxes)
        axis.margins(y=0.25)  # room for the names
        _titles(axis, title, x, y)
    return figure


def _titles(axis: "Axes", title: str, x: str, y: str) -> None:
    axis.set_title(title)
    axis.set_xlabel(x)
    axis.set_ylabel(y)
    axis.tick_params(length=0)


def _series(events: Sequence[Event], kind: str, key: str) -> Series:
    """The finite values of one figure over the step."""
    points = {event["step"]: event[key] for event in events if event["kind"] == kind and _finite(event.get(key))}
    steps = sorted(points)
    return Series(steps, [float(points[step]) for step in steps])


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _main_set(events: Sequence[Event]) -> str:
    names = [event["set"] for event in events if event["kind"] == "eval"]
    others = [name for name in names if name != "train_probe"]
    return "valid" if "valid" in names or not others else str(others[0])


def _evaluations(events: Sequence[Event], name: str) -> dict[int, tuple[float, float, float]]:
    """Accuracy and its interval by step."""
    key = f"eval/{name}/rm/accuracy"
    mean, low, high = (dict(zip(*_series(events, "eval", key + end), strict=True)) for end in ("", "_low", "_high"))
    return {step: (value, low.get(step, math.nan), high.get(step, math.nan)) for step, value in mean.items()}


def _gap(step: int, probe: tuple[float, float, float], valid: tuple[float, float, float]) -> Gap:
    below = math.hypot(probe[0] - probe[1], valid[2] - valid[0])
    above = math.hypot(probe[2] - probe[0], valid[0] - valid[1])
    value = probe[0] - valid[0]
    return Gap(step, value, value - below, value + above)
