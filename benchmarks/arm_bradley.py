"""The arm of `train_vs_trl.py` that is bradley: the whole product from configuration to loop, in turns.

python benchmarks/arm_bradley.py FOLDER
"""

import contextlib
import math
import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path

from trial import read_trial
from turns import Gate

from bradley.common.console import Console
from bradley.data.plan import Plan, Step
from bradley.model.engine.batch import collate
from bradley.training.build import make_job, prepare
from bradley.training.job import Job
from bradley.training.loop import fit


class GateClosed(Exception):
    """The parent has seen enough."""


@dataclass(frozen=True)
class GatedPlan(Plan):
    """A plan that gives out a step when it is this arm's turn, and counts the one before as done."""

    gate: Gate

    def step(self, number: int) -> Step:
        """A step of the plan. Raises `GateClosed` when the parent wants no more."""
        before = super().step(number - 1) if number > 1 else None
        done = (self.judgments_in(before), self.tokens_in(before)) if before else (0, 0)
        if not self.gate.passed(*done):
            raise GateClosed
        return super().step(number)

    def tokens_in(self, step: Step) -> int:
        """Tokens of a step, each prompt once."""
        return int(self.load.sizes.tokens[step.comparisons].sum())


def gated(plan: Plan, gate: Gate) -> GatedPlan:
    """The same plan behind a gate."""
    return GatedPlan(**{field.name: getattr(plan, field.name) for field in fields(plan)}, gate=gate)


def run_largest(job: Job) -> None:
    """Forward and backward of the micro-batch with most tokens: the memory that it asks for is there in each turn."""
    plan = job.plan
    whole = range(1, math.ceil(len(plan) / plan.batch_size) + 1)
    pieces = (piece for number in whole for piece in plan.step(number).micro_batches)
    largest = max(pieces, key=lambda piece: int(plan.load.sizes.tokens[piece].sum()))
    scores = job.model(collate(job.store, largest, job.weights).to(job.model.device))
    scores.square().sum().backward()
    job.optimizer.zero_grad(set_to_none=True)


def first_steps(plan: Plan, count: int) -> list[list[int]]:
    """The comparisons of the first steps."""
    return [plan.step(number).comparisons.tolist() for number in range(1, count + 1)]


def main() -> None:
    """Train until the parent has seen enough."""
    trial = read_trial(sys.argv[1])
    gate = Gate(trial.device)
    prepared = prepare(trial.config(), {}, trial.path("cache"))
    folder = Path(trial.folder) / "run"
    for part in ("checkpoints", "eval"):
        (folder / part).mkdir(parents=True)
    job = make_job(prepared, folder, Console("quiet"))
    gate.answers["steps"] = lambda message: {"steps": first_steps(job.plan, message["count"])}
    run_largest(job)
    with contextlib.suppress(GateClosed):
        fit(replace(job, plan=gated(job.plan, gate)))


if __name__ == "__main__":
    main()
