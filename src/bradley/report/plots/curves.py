"""Events of a run as curves over step, episode, epoch or minutes."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...errors import UserError
from ...runs.layout import INTERPOLATED

Event = Mapping[str, Any]
AXES = {
    "step": "step",
    "episode": "episode (judgments seen)",
    "epoch": "epoch",
    "minutes": "minutes since the start",
}
"""Axes of training figures: name -> label."""


LARGEST = 1e100
"""Largest number drawn."""


class Series(NamedTuple):
    """Points of a curve: x and y of equal length, ordered by step."""

    x: list[float]
    y: list[float]


class Curves:
    """Curves of a run over the axis `x`.

    Args:
        events: lines of `metrics.jsonl`.
        x: axis, an entry of `AXES`.
        timing: lines of `timing.jsonl`, needed for `minutes` alone. Times of steps between two lines are interpolated.
            A step after the last line has no time yet and is left out.

    Attributes:
        label: label of the axis.
        held_out: name of the set drawn beside the train curve.

    Raises:
        UserError: `x` is no axis, or the run has no values of `x`.
    """

    def __init__(self, events: Sequence[Event], x: str = "step", timing: Sequence[Event] = ()) -> None:
        if x not in AXES:
            raise UserError(f"{x!r} is no axis of a run, wanted one of {', '.join(AXES)}", "give --x step")
        self.events = events
        self.label = AXES[x]
        self.held_out = main_set(events)
        self._places = _minutes(events, timing) if x == "minutes" else _places(events, x)
        if events and not self._places:
            raise UserError(f"the run does not say at which {x} its steps lie", "give --x step")

    def place(self, step: int) -> float | None:
        """Position of `step` on the axis; None if unknown."""
        return self._places.get(step)

    def series(self, kind: str, key: str) -> Series:
        """Finite values of the figure `key` in events of a kind, `train` or `eval`."""
        values = finite_by_step(self.events, kind, key)
        steps = [step for step in sorted(values) if step in self._places]
        return Series([self._places[step] for step in steps], [values[step] for step in steps])

    @property
    def interpolated(self) -> float | None:
        """Position of the interpolation point on the axis; None for a run without."""
        steps = finite_by_step(self.events, "eval", INTERPOLATED).values()
        return next((self.place(int(step)) for step in steps), None)

    def names(self, kind: str, prefix: str) -> list[str]:
        """Ends of all keys beginning with `prefix` in events of a kind, in order of first appearance."""
        keys = dict.fromkeys(key for event in self.events if event["kind"] == kind for key in event)
        return [key.removeprefix(prefix) for key in keys if key.startswith(prefix)]


def finite_by_step(events: Sequence[Event], kind: str, key: str) -> dict[int, float]:
    """Finite values of the figure `key` by step, in events of a kind."""
    return {event["step"]: float(event[key]) for event in events if event["kind"] == kind and finite(event.get(key))}


def main_set(events: Sequence[Event]) -> str:
    """Name of the set drawn beside the train curve: `valid`, or else the first set other than `train_probe`."""
    names = [event["set"] for event in events if event["kind"] == "eval"]
    others = [name for name in names if name != "train_probe"]
    return "valid" if "valid" in names or not others else str(others[0])


def finite(value: object) -> bool:
    """Return True if `value` is a finite number, small enough for the arithmetic of an axis."""
    return isinstance(value, int | float) and math.isfinite(value) and abs(value) <= LARGEST


def _places(events: Sequence[Event], x: str) -> dict[int, float]:
    return {event["step"]: float(event[x]) for event in events if finite(event.get(x))}


def _minutes(events: Sequence[Event], timing: Sequence[Event]) -> dict[int, float]:
    """Minutes since the start by step, interpolated between lines of `timing.jsonl`."""
    seconds = {0: 0.0} if timing else {}
    # The last step has a second line, after its evaluation: `setdefault` keeps the time of the step alone.
    for line in timing:
        seconds.setdefault(line["step"], float(line["seconds_since_start"]))
    known = sorted(seconds)
    # `np.interp` would repeat the last known time for later steps and draw a vertical line.
    steps = [step for step in {event["step"] for event in events} if known and step <= known[-1]]
    places = np.interp(steps, known, [seconds[step] / 60 for step in known]) if steps else []
    return dict(zip(steps, map(float, places), strict=True))
