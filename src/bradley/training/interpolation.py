"""Training past interpolation: note the evaluation at which the train probe is fitted, and the epoch of the end.

The memory is a dictionary of JSON values, saved in every checkpoint:

count   evaluations in a row with the figure at the threshold or above
step, epoch, value   the interpolation point: the first of these evaluations; absent while there is none
held    epoch at which the row was as long as asked for; absent before
now     epoch of the latest evaluation
"""

from collections.abc import Mapping
from typing import Any

from ..config import Train

SLACK = 1e-9
"""Tolerance of a comparison of epochs, which are quotients."""
Memory = dict[str, Any]
"""Memory of the watch, see the module."""


def note(known: Memory, settings: Train, probe: Mapping[str, Any], step: int, epoch: float) -> Memory:
    """Return the memory after an evaluation.

    Args:
        known: memory before; empty at the start.
        settings: section `train`.
        probe: summary of the train probe; empty without a probe.
        step, epoch: position of the evaluation.
    """
    if not settings.past_interpolation:
        return {}
    if "held" in known:
        return {**known, "now": epoch}
    value = figure(settings, probe)
    if value < settings.past_interpolation:
        return {"count": 0, "now": epoch}
    begun = {"step": step, "epoch": epoch, "value": value} if not known.get("count") else known
    found = {**begun, "count": known.get("count", 0) + 1, "now": epoch}
    return {**found, "held": epoch} if found["count"] >= settings.interpolation_hold else found


def figure(settings: Train, probe: Mapping[str, Any]) -> float:
    """Return the probe's figure of `interpolation_by`; 0 without a decided judgment, never enough to stop."""
    return float(probe.get(settings.interpolation_by) or 0.0)


def last_epoch(known: Memory, settings: Train) -> float:
    """Return the epoch at which a run that has held the threshold ends."""
    held = float(known["held"])
    return held * settings.interpolation_times if settings.interpolation_times else held + settings.interpolation_epochs


def point(known: Memory) -> Memory | None:
    """Return step, epoch and value of the interpolation point; None unless the threshold was held."""
    return {key: known[key] for key in ("step", "epoch", "value")} if "held" in known else None


def reason_to_stop(known: Memory, settings: Train) -> str:
    """Return the reason to end the run at the latest evaluation; '' to continue."""
    if "held" not in known or known["now"] < last_epoch(known, settings) - SLACK:
        return ""
    return f"{_reached(known, settings)}; trained to epoch {known['now']:.4g}"


def missed(known: Memory, settings: Train, probe: Mapping[str, Any]) -> str:
    """Return a sentence if the plan ended before the run was past interpolation; '' otherwise, or if not asked for."""
    if not settings.past_interpolation or reason_to_stop(known, settings):
        return ""
    if "held" in known:
        return f"{_reached(known, settings)}; epoch {last_epoch(known, settings):.4g} was to be the last"
    value = f"the train probe is at {figure(settings, probe):.6g}"
    if known.get("count"):
        return f"train.past_interpolation = {settings.past_interpolation:g} was not held for long enough: {value}"
    return f"train.past_interpolation = {settings.past_interpolation:g} was not reached: {value}"


def _reached(known: Memory, settings: Train) -> str:
    return (
        f"train.past_interpolation = {settings.past_interpolation:g} was reached at step {known['step']}, epoch "
        f"{known['epoch']:.4g}: the train probe was at {known['value']:.6g}"
    )
