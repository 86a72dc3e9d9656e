"""The events of a run as lines over one of four axes."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...errors import UserError

Event = Mapping[str, Any]
AXES = {
    "step": "step",
    "episode": "episode (judgments seen)",
    "epoch": "epoch",
    "minutes": "minutes since the start",
}
"""What figures of training can be drawn over, and how the axis is labelled."""


class Series(NamedTuple):
    """A line to draw: x and y of equal length, in order of the step."""

    x: list[float]
    y: list[float]


class Curves:
    """The figures of a run over the axis `x`, one of `AXES`.

    Args:
        events: lines of `metrics.jsonl`.
        timing: lines of `timing.jsonl`, for `minutes` alone. A step between two of them lies between their times; a
            step after the last one has no time yet and is left out.

    Raises:
        UserError: `x` is no axis, or nothing says where on it the steps lie.
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
        """Where `step` lies on the axis; None where that is not known."""
        return self._places.get(step)

    def series(self, kind: str, key: str) -> Series:
        """The finite values of one figure of the events of one kind."""
        values = finite_by_step(self.events, kind, key)
        steps = [step for step in sorted(values) if step in self._places]
        return Series([self._places[step] for step in steps], [values[step] for step in steps])

    def names(self, kind: str, prefix: str) -> list[str]:
        """What follows `prefix` in the keys of the events of one kind, in order of first appearance."""
        keys = dict.fromkeys(key for event in self.events if event["kind"] == kind for key in event)
        return [key.removeprefix(prefix) for key in keys if key.startswith(prefix)]


def finite_by_step(events: Sequence[Event], kind: str, key: str) -> dict[int, float]:
    """One figure by step, where it is a finite number."""
    return {event["step"]: float(event[key]) for event in events if event["kind"] == kind and finite(event.get(key))}


def main_set(events: Sequence[Event]) -> str:
    """The set whose curve stands beside the train curve: `valid`, or the first other one where there is no `valid`."""
    names = [event["set"] for event in events if event["kind"] == "eval"]
    others = [name for name in names if name != "train_probe"]
    return "valid" if "valid" in names or not others else str(others[0])


def finite(value: object) -> bool:
    """Whether `value` is a number that can be drawn."""
    return isinstance(value, int | float) and math.isfinite(value)


def _places(events: Sequence[Event], x: str) -> dict[int, float]:
    return {event["step"]: float(event[x]) for event in events if finite(event.get(x))}


def _minutes(events: Sequence[Event], timing: Sequence[Event]) -> dict[int, float]:
    seconds = {0: 0.0} if timing else {}
    for line in timing:  # the last step has a second line, after its evaluation
        seconds.setdefault(line["step"], float(line["seconds_since_start"]))
    known = sorted(seconds)
    steps = [step for step in {event["step"] for event in events} if known and step <= known[-1]]
    places = np.interp(steps, known, [seconds[step] / 60 for step in known]) if steps else []
    return dict(zip(steps, map(float, places), strict=True))
