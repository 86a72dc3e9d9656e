"""Training curves: loss, accuracy, learning rate, gradient norm, rewards, terms of the objective, overfitting gap."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from ...errors import UserError
from .curves import Curves, Event, Series, finite_by_step, main_set
from .drawing import MINUS, label_ends, line_looks, panel_grid, single, titles
from .style import BLUE, GREEN, MUTED, ORANGE, figure_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TERM = "rm/term/"
"""Prefix of the logged terms of the objective."""


def training_figure(events: Sequence[Event], x: str = "step", timing: Sequence[Event] = ()) -> "Figure":
    """Draw four panels: loss, accuracy, learning rate, gradient norm before clipping.

    Train curves are the windowed figures, with the values of single steps faint behind. The evaluation curve is
    `valid`, or the first other set of a run without `valid`.

    Args:
        events: lines of `metrics.jsonl`.
        x: axis, an entry of `curves.AXES`.
        timing: lines of `timing.jsonl`, needed for `minutes`.

    Raises:
        UserError: `x` is no axis, or the run has no values of `x`.
    """
    curves = Curves(events, x, timing)
    with figure_style():
        figure, axes = panel_grid(len(PANELS))
        for axis, draw in zip(axes, PANELS.values(), strict=True):
            draw(axis, curves)
    return figure


def training_panels(events: Sequence[Event]) -> dict[str, "Figure"]:
    """Draw the panels of `training_figure` over the step as single figures, by name, for narrow screens too."""
    curves = Curves(events)
    return {name: single(draw, curves) for name, draw in PANELS.items()}


def rewards_figure(events: Sequence[Event], x: str = "episode", timing: Sequence[Event] = ()) -> "Figure":
    """Draw six panels: accuracy, loss, margin, chosen reward, rejected reward, learning rate.

    Panels show train and held-out curves; the two rewards share a scale. Arguments and errors as for
    `training_figure`.
    """
    curves = Curves(events, x, timing)
    with figure_style():
        figure, (accuracy, loss, margin, chosen, rejected, rate) = panel_grid(6, columns=3)
        rejected.sharey(chosen)
        sides = {"chosen_rewards": chosen, "rejected_rewards": rejected}
        lines = {name: _draw_curves(axis, curves, name) for name, axis in sides.items()}
        # Labels come once both rewards are drawn, because each panel widens the scale of the other.
        for name, axis in sides.items():
            label_ends(axis, lines[name])
            _finish(axis, name.replace("_", " ").capitalize(), curves, "mean score")
        _draw_accuracy(accuracy, curves)
        _draw_loss(loss, curves)
        label_ends(margin, _draw_curves(margin, curves, "reward_margin"))
        _finish(margin, "Reward margin", curves, f"chosen {MINUS} rejected score")
        _draw_rate(rate, curves)
    return figure


def has_rewards(events: Sequence[Event]) -> bool:
    """Return True if any event logs rewards."""
    return any(key.endswith("rm/chosen_rewards") for event in events for key in event)


def term_names(events: Sequence[Event]) -> list[str]:
    """Names of the logged terms of the objective, `train/rm/term/<name>`."""
    return Curves(events).names("train", f"train/{TERM}")


def terms_figure(events: Sequence[Event], x: str = "step", timing: Sequence[Event] = ()) -> "Figure":
    """Draw the share of each term in the loss. Arguments and errors as for `training_figure`."""
    curves = Curves(events, x, timing)
    return single(_draw_terms, curves)


class Gap(NamedTuple):
    """Train-probe accuracy minus validation accuracy at a step, with the 95 % interval."""

    step: int
    value: float
    low: float
    high: float


def gap_figure(events: Sequence[Event], x: str = "step", timing: Sequence[Event] = ()) -> "Figure":
    """Draw the overfitting gap, train-probe minus validation accuracy, in percentage points with a 95 % band.

    Arguments as for `training_figure`.

    Raises:
        UserError: no step evaluated both sets, or the run has no values of `x`.
    """
    points = gap_points(events)
    if not points:
        raise UserError(
            "no step evaluated both train_probe and valid: no gap to draw", "set eval.train_probe, e.g. 256"
        )
    return single(_draw, points, Curves(events, x, timing))


def gap_points(events: Sequence[Event]) -> list[Gap]:
    """Overfitting gap at every step with evaluations of both `train_probe` and `valid`, or of the main set.

    The two sets share no prompt, and their errors are independent. The interval of the difference follows from the two
    intervals by MOVER (Zou and Donner 2008). The ends are nan if an interval is missing.
    """
    probe, other = _evaluations(events, "train_probe"), _evaluations(events, main_set(events))
    return [_gap(step, probe[step], other[step]) for step in sorted(probe.keys() & other.keys())]


def _draw_loss(axis: "Axes", curves: Curves) -> None:
    label_ends(axis, _draw_curves(axis, curves, "loss"))
    _finish(axis, "Loss", curves, "nats")


def _draw_accuracy(axis: "Axes", curves: Curves) -> None:
    from matplotlib.ticker import PercentFormatter

    lines = _draw_curves(axis, curves, "accuracy")
    axis.axhline(0.5, color=MUTED, linestyle="--", linewidth=1)
    axis.text(0.99, 0.5, "chance, 0.5", color=MUTED, ha="right", va="bottom", transform=axis.get_yaxis_transform())
    axis.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    label_ends(axis, lines)
    _finish(axis, "Accuracy", curves, "ranked as labelled")


def _draw_rate(axis: "Axes", curves: Curves) -> None:
    """Draw the learning rate, and the rate of the head if the head has a rate of its own."""
    rate, head = (curves.series("train", f"train/rm/{name}") for name in ("lr", "lr_head"))
    axis.plot(*rate, color=BLUE)
    if head.x:
        axis.plot(*head, color=GREEN)
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:.1e}".replace("e-0", "e-") if value else "0")
    axis.set_ylim(bottom=0.0)
    if head.x:
        label_ends(axis, [("backbone", rate, BLUE), ("head", head, GREEN)])
    _finish(axis, "Learning rate", curves, "")


def _draw_norm(axis: "Axes", curves: Curves) -> None:
    norms = curves.series("train", "train/rm/grad_norm")
    axis.plot(*norms, color=BLUE, linewidth=1)
    # A few spikes would flatten the rest of a linear axis; a logarithm needs norms above 0.
    if norms.y and min(norms.y) > 0 and max(norms.y) >= 100 * min(norms.y):
        axis.set_yscale("log")
    else:
        axis.set_ylim(bottom=0.0)
    _finish(axis, "Gradient norm before clipping", curves, "L2 norm")


PANELS = {"loss": _draw_loss, "accuracy": _draw_accuracy, "lr": _draw_rate, "grad_norm": _draw_norm}
"""Panels of `training_figure`, in order."""


def _draw_terms(axis: "Axes", curves: Curves) -> None:
    lines = []
    for name, look in zip(curves.names("train", f"train/{TERM}"), line_looks(), strict=False):
        line = _windowed(curves, f"{TERM}{name}")
        axis.plot(*line, **look)
        lines.append((name, line, look["color"]))
    axis.axhline(0.0, color=MUTED, linestyle="--", linewidth=1)
    label_ends(axis, lines)
    _finish(axis, "Terms of the objective", curves, "part of the train loss, nats")


def _finish(axis: "Axes", title: str, curves: Curves, y: str) -> None:
    """Set title and axis labels of a panel, and mark the interpolation point."""
    titles(axis, title, curves.label, y)
    if (place := curves.interpolated) is None:
        return
    axis.axvline(place, color=MUTED, linestyle=":", linewidth=1)
    axis.text(place, 0.98, " interpolated", color=MUTED, va="top", rotation=90, transform=axis.get_xaxis_transform())


def _draw_curves(axis: "Axes", curves: Curves, figure: str) -> list[tuple[str, Series, str]]:
    """Draw the train and the held-out curve of a figure, and return both for `label_ends`."""
    batch, train = curves.series("train", f"train/rm/{figure}"), _windowed(curves, f"rm/{figure}")
    held_out = curves.series("eval", f"eval/{curves.held_out}/rm/{figure}")
    # Without a logged window both are the same line, and the faint copy would only thicken the curve.
    if train != batch:
        axis.plot(*batch, color=BLUE, linewidth=0.8, alpha=0.3)
    axis.plot(*train, color=BLUE)
    axis.plot(*held_out, color=ORANGE, marker="o", markersize=3)
    return [("train", train, BLUE), (curves.held_out, held_out, ORANGE)]


def _windowed(curves: Curves, key: str) -> Series:
    """Windowed means of a train figure, or the values of single steps if no window was logged."""
    window = curves.series("train", f"train_window/{key}")
    return window if window.x else curves.series("train", f"train/{key}")


def _draw(axis: "Axes", points: Sequence[Gap], curves: Curves) -> None:
    placed = [(place, point) for point in points if (place := curves.place(point.step)) is not None]
    x = [place for place, _ in placed]
    low, high = [100 * point.low for _, point in placed], [100 * point.high for _, point in placed]
    axis.fill_between(x, low, high, color=ORANGE, alpha=0.15, linewidth=0)
    axis.plot(x, [100 * point.value for _, point in placed], color=ORANGE, marker="o", markersize=3)
    axis.axhline(0.0, color=MUTED, linestyle="--", linewidth=1)
    _finish(axis, "Overfitting gap, 95 % band", curves, f"train {MINUS} valid accuracy, points")


def _evaluations(events: Sequence[Event], name: str) -> dict[int, tuple[float, float, float]]:
    """Accuracy of a set and ends of the interval, by step."""
    key = f"eval/{name}/rm/accuracy"
    mean, low, high = (finite_by_step(events, "eval", key + end) for end in ("", "_low", "_high"))
    return {step: (value, low.get(step, math.nan), high.get(step, math.nan)) for step, value in mean.items()}


def _gap(step: int, probe: tuple[float, float, float], valid: tuple[float, float, float]) -> Gap:
    """Difference of two accuracies, each (value, low, high), with the MOVER interval."""
    # The lower end of a difference combines the lower side of the first term with the upper side of the second.
    below = math.hypot(probe[0] - probe[1], valid[2] - valid[0])
    above = math.hypot(probe[2] - probe[0], valid[0] - valid[1])
    value = probe[0] - valid[0]
    return Gap(step, value, value - below, value + above)
