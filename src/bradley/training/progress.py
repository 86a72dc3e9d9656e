"""Progress of a run: the state kept in a checkpoint beside weights and optimizer; no step is lost or done twice."""

from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from ..data.plan import Plan, Step
from .metrics import Event, StepSums

EVALUATOR_FIELDS = ("best_step", "best", "stop_best", "waited", "summaries", "shown", "first_rows", "interpolation")
"""Attributes of an evaluator saved in a checkpoint."""


@dataclass
class Position:
    """Position of a run in the plan.

    Attributes:
        step: optimizer steps taken.
        episode: judgments trained on.
        epoch: passes over the training comparisons.
        seen: comparisons trained on.
    """

    step: int = 0
    episode: int = 0
    epoch: float = 0.0
    seen: int = 0

    def move(self, step: Step, plan: Plan) -> None:
        """Count a finished step."""
        self.step = step.number
        self.episode += plan.judgments_in(step)
        self.seen += len(step.comparisons)
        # Divided anew from the exact count: adding fractions at every step would gather rounding.
        self.epoch = self.seen / len(plan)

    def event(self, kind: str, fields: Event) -> Event:
        """Build an event at this position."""
        return {"kind": kind, "step": self.step, "episode": self.episode, "epoch": self.epoch, **fields}


@dataclass
class Progress:
    """State of a run between two steps.

    Attributes:
        position: place in the plan.
        evaluated: True if the evaluation at this position, if any, is done.
        stop: reason for ending the training here; '' to continue.
        window: sums of the last steps, for the windowed figures.
        gradient_flow: state of the check of gradients, see `GradientFlow.state`.
        guard: state of the check for failed steps, see `Guard.state`.
        writers: position of each writer, see `Writers.sync`.
        seconds: seconds spent on the run up to the last save, earlier processes included.
    """

    position: Position = field(default_factory=Position)
    evaluated: bool = False
    stop: str = ""
    window: deque[StepSums] = field(default_factory=deque)
    gradient_flow: dict[str, Any] = field(default_factory=dict)
    guard: dict[str, Any] = field(default_factory=dict)
    writers: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def begun(self) -> bool:
        """True after the first checkpoint of the run."""
        # Only a save fills `writers`; on the main process every save does, because the metrics file has a position.
        return bool(self.writers)

    def to_json(self) -> dict[str, Any]:
        """Return the state as JSON values; JSON keeps every number exactly."""
        # The names `place` and `movement` are those of older checkpoints, which must stay readable.
        return {
            "place": asdict(self.position),
            "window": [vars(sums) for sums in self.window],
            "evaluated": self.evaluated,
            "stop": self.stop,
            "movement": self.gradient_flow,
            "guard": self.guard,
            "writers": self.writers,
            "seconds": self.seconds,
        }

    @classmethod
    def from_json(cls, known: dict[str, Any]) -> Self:
        """Rebuild the progress from the result of `to_json`."""
        known = dict(known)
        position, flow = Position(**known.pop("place")), known.pop("movement")
        window = deque(StepSums.from_json(sums) for sums in known.pop("window"))
        return cls(position=position, gradient_flow=flow, window=window, **known)
