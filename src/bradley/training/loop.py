"""The training loop. Read this file first: everything else is built around the step in `fit`."""

import contextlib
import functools
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from ..config import Config
from ..console import Console
from ..data.plan import Plan, Step
from ..data.render import Renderer
from ..data.store import TokenStore
from ..errors import DivergedError
from ..losses import Loss
from ..model.batch import Batch, collate
from ..model.reward import ScoreModel
from ..seeds import seed_for
from .checkpoint import Checkpoints
from .evaluation import Evaluator, steps_between
from .keeper import Keeper
from .metrics import Event, StepSums
from .movement import Movement
from .optim import set_rates
from .parallel.team import Team
from .progress import Progress
from .timing import Timer
from .writers import Writers, open_writers


@dataclass
class Job:
    """Everything a training run needs, built by `build.py`.

    Attributes:
        team: the processes that train the model.
        losses: the objective, a sum of these, each with its weight in it.
        store: the training comparisons; `weights` [J] are their effective judgment weights.
        lengths: token figures of every split, as fields of the first event.
    """

    config: Config
    folder: Path
    model: ScoreModel
    renderer: Renderer
    optimizer: torch.optim.Optimizer
    losses: dict[str, Loss]
    store: TokenStore
    weights: np.ndarray
    plan: Plan
    evaluator: Evaluator
    checkpoints: Checkpoints
    console: Console
    team: Team
    lengths: Event = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """How a run ended: the last step, and why it stopped there."""

    steps: int
    reason: str


def fit(job: Job, progress: Progress | None = None) -> Outcome:
    """Train to the last step or to an early stop; evaluates at step 0, on schedule, and at the last step.

    Args:
        progress: where the model and the optimizer of the job are, if not at the beginning.

    Raises:
        DivergedError: a loss or gradient that is not finite. The optimizer has not moved on it.
        CheckpointError: a trained weight that scores depend on, and that no gradient reaches.
        Preempted: the process was asked to stop. A checkpoint of the last whole step is written.
    """
    config, plan, team, group, progress = job.config, job.plan, job.team, job.team.group, progress or Progress()
    place, window = progress.place, progress.window
    num_steps = config.train.stop_after or plan.num_steps
    eval_every = steps_between(config.eval, plan.num_steps)
    movement = Movement(job.model, num_steps, plan.num_steps, config.optim, progress.movement)
    with contextlib.ExitStack() as stack:
        writers = stack.enter_context(
            open_writers(job.folder, config, progress.writers) if group.is_main else contextlib.nullcontext(Writers({}))
        )
        timer = stack.enter_context(
            contextlib.closing(Timer(job.model.device, config.log.gpu_seconds, progress.seconds))
        )
        keeper = Keeper(job, progress, movement, writers, timer)
        write = writers.write
        if not progress.begun:
            write({"kind": "start", "step": 0, "config": config.model_dump(mode="json"), **job.lengths})
        bar = stack.enter_context(job.console.progress(num_steps, "training"))
        bar.advance(place.step)
        stack.enter_context(keeper.saving_when_asked())

        def evaluate() -> None:
            with timer.phase("evaluate"):
                verdict = job.evaluator.run(job.model, place.step, team)
            for kind, fields in verdict.events:
                write(place.event(kind, fields))
            progress.evaluated, progress.stop = True, verdict.stop
            keeper.save(verdict.facts, best=verdict.improved)
            job.console.say(verdict.line)

        while True:
            evaluated_here = place.step in (0, num_steps) or place.step % eval_every == 0
            if evaluated_here and not progress.evaluated:
                evaluate()
            if progress.stop or place.step >= num_steps:
                break
            # ---------------------------------------------------------------------------------------------------------
            # one optimizer step: loss = sum over terms of (sum over the whole step) / (total of the term's unit)
            step = plan.step(place.step + 1)
            totals = plan.totals(step)
            rates = set_rates(job.optimizer, step.number, plan.num_steps, config.optim)
            timer.count(plan.load.sizes, step.micro_batches)
            for piece, chosen in team.share(plan, step):
                with timer.phase("data"):
                    batch = collate(job.store, chosen, job.weights).to(job.model.device)
                torch.manual_seed(seed_for(config.seed, "dropout", step.number, piece))
                with timer.phase("forward"):
                    scores = team.forward(batch)
                    terms = {name: loss(scores, batch.targets) for name, loss in job.losses.items()}
                    part = torch.stack([term.sum / getattr(totals, term.unit) for term in terms.values()]).sum()
                stop_unless_finite(float(part.detach()), "loss", step, chosen, job.store)
                with timer.phase("backward"):
                    part.backward()  # type: ignore[no-untyped-call]
                team.collect(piece, StepSums().add(terms, scores, batch.targets, config.loss.beta))
            with timer.phase("reduce"):
                sums = StepSums(totals).merge(team.reduce())
            norm = team.clip(config.optim.max_grad_norm)
            stop_unless_finite(norm, "gradient", step, step.comparisons, job.store)
            with timer.phase("optimizer"):
                job.optimizer.step()
            for line in movement.look(step.number, functools.partial(last_batch, job, step)):
                job.console.say(line)
            job.optimizer.zero_grad(set_to_none=True)
            # ---------------------------------------------------------------------------------------------------------
            team.watchdog.step()
            place.move(step, plan)
            progress.evaluated = False
            window.append(sums)
            while len(window) > config.log.window:
                window.popleft()
            if step.number in (1, num_steps) or 0 in (step.number % config.log.every, step.number % eval_every):
                write(place.event("train", train_figures(sums, window, rates, norm)))
                write(place.event("timing", timer.read()))
            bar.advance(1, loss=sums.loss, lr=rates["lr"])
            keeper.save_on_schedule()
        write(place.event("timing", timer.read()))
    return Outcome(place.step, progress.stop or ending(job))


def last_batch(job: Job, step: Step) -> Batch:
    """The last micro-batch of a step, whichever process has run it."""
    return collate(job.store, step.micro_batches[-1], job.weights).to(job.model.device)


def train_figures(sums: StepSums, window: Iterable[StepSums], rates: dict[str, float], norm: float) -> Event:
    """The fields of a train line: the step's own figures, its learning rates and gradient norm, and the windowed."""
    return {
        **sums.figures("train"),
        **{f"train/rm/{name}": rate for name, rate in rates.items()},
        "train/rm/grad_norm": norm,
        **StepSums().merge(window).figures("train_window"),
    }


def ending(job: Job) -> str:
    """Why a run ended that nothing stopped, and what it was to reach and has not."""
    stopped = job.config.train.stop_after
    reason = f"train.stop_after = {stopped}" if stopped else "every step of the plan"
    return "; ".join(filter(None, [reason, job.evaluator.unreached()]))


def stop_unless_finite(value: float, what: str, step: Step, chosen: np.ndarray, store: TokenStore) -> None:
    """Raise `DivergedError` naming the step and its comparisons; the optimizer has not moved yet."""
    if np.isfinite(value):
        return
    names = [store.info[int(i)].id for i in chosen]
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    raise DivergedError(
        f"the {what} of step {step.number} is {value}; the optimizer has not moved; comparisons: {shown}",
        "lower optim.lr, or look at these comparisons; the checkpoints before this step are whole",
    )
