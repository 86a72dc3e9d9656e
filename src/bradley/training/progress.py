"""How far a run is: what a checkpoint keeps besides weights and optimizer, so that nothing is lost or done twice."""

from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from ..data.plan import Plan, Step
from .metrics import Event, StepSums

EVALUATOR_FIELDS = ("best_step", "best", "stop_best", "waited", "summaries", "shown")
"""Attributes of an evaluator that a resumed run needs."""


@dataclass
class Position:
    """Where a run is: optimizer steps taken, judgments trained on, passes over the training comparisons."""

    step: int = 0
    episode: int = 0
    epoch: float = 0.0
    seen: int = 0

    def move(self, step: Step, plan: Plan) -> None:
        """Count a step that is done."""
        self.step = step.number
        self.episode += plan.judgments_in(step)
        self.seen += len(step.comparisons)
        self.epoch = self.seen / len(plan)

    def event(self, kind: str, fields: Event) -> Event:
        """An event of this place."""
        return {"kind": kind, "step": self.step, "episode": self.episode, "epoch": self.epoch, **fields}


@dataclass
class Progress:
    """The state of a run between two of its steps.

    Attributes:
        position: steps taken.
        evaluated: the evaluation that is due at this place, if one is, has been made.
        stop: why training ends here; '' where it goes on.
        window: sums of the last steps, for the windowed figures.
        gradient_flow: what is known of weights that move, see `GradientFlow.state`.
        guard: what is known of steps that went wrong, see `Guard.state`.
        writers: how far each writer is.
        seconds: spent on the run before this process.
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
        """Whether something has been written of the run."""
        return bool(self.writers)

    def to_json(self) -> dict[str, Any]:
        """As values of JSON, which keeps every number exactly."""
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
        """What `to_json` gave."""
        known = dict(known)
        position, flow = Position(**known.pop("place")), known.pop("movement")
        window = deque(StepSums.from_json(sums) for sums in known.pop("window"))
        return cls(position=position, gradient_flow=flow, window=window, **known)
