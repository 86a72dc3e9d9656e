"""The training loop. Read this file first: everything else is built around the step in `fit`."""

import contextlib
import functools
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from ..common.seeds import seed_for
from ..model.engine.batch import collate
from .evaluation import steps_between
from .guards.culprits import Replay
from .guards.gradient_flow import GradientFlow
from .guards.nonfinite import Guard
from .guards.out_of_memory import probe
from .job import Job
from .metrics import Event, StepSums
from .objective import share_of_step
from .optim import set_rates
from .progress import Progress
from .saver import Saver
from .tracking import Writers, open_writers
from .tracking.timing import Timer


@dataclass(frozen=True)
class Outcome:
    """How a run ended: the last step, why it stopped there, and what went wrong on the way, see `Guard.facts`."""

    steps: int
    reason: str
    facts: Event


def fit(job: Job, progress: Progress | None = None) -> Outcome:
    """Train to the last step or to an early stop; evaluates at step 0, on schedule, and at the last step.

    Args:
        progress: where the model and the optimizer of the job are, if not at the beginning.

    Raises:
        DivergedError: a loss or gradient that is not finite, on which the optimizer has not moved; or a run that has
            diverged.
        OutOfMemoryError: memory ran out.
        CheckpointError: a trained weight that scores depend on, and that no gradient reaches.
        Preempted: the process was asked to stop. A checkpoint of the last whole step is written.
    """
    config, plan, strategy, group, progress = (
        job.config,
        job.plan,
        job.strategy,
        job.strategy.group,
        progress or Progress(),
    )
    position, window = progress.position, progress.window
    num_steps = config.train.stop_after or plan.num_steps
    eval_every = steps_between(config.eval, plan.num_steps)
    gradient_flow = GradientFlow(job.model, num_steps, plan.num_steps, config.optim, progress.gradient_flow)
    replay = Replay(job.model, job.losses, job.store, job.weights, plan, config.seed)
    heartbeat = strategy.watchdog.heartbeat
    guard = Guard(
        config,
        replay,
        progress.guard,
        exchange=group.all_of,
        rank=group.rank,
        runs_alone=strategy.runs_alone,
        heartbeat=heartbeat,
    )
    with contextlib.ExitStack() as stack:
        writers = stack.enter_context(
            open_writers(job.folder, config, progress.writers) if group.is_main else contextlib.nullcontext(Writers({}))
        )
        timer = stack.enter_context(
            contextlib.closing(Timer(job.model.device, config.log.gpu_seconds, progress.seconds))
        )
        saver = Saver(job, progress, gradient_flow, guard, writers, timer)
        write = writers.write
        if not progress.begun:
            write({"kind": "start", "step": 0, "config": config.model_dump(mode="json"), **job.lengths})
        bar = stack.enter_context(job.console.progress(num_steps, "training"))
        bar.advance(position.step)
        stack.enter_context(saver.saving_when_asked())
        stack.enter_context(guard.memory_guard.explained())

        def evaluate() -> None:
            with timer.phase("evaluate"):
                verdict = job.evaluator.run(job.model, position.step, strategy)
            for kind, fields in verdict.events:
                write(position.event(kind, fields))
            progress.evaluated, progress.stop = True, verdict.stop
            saver.save(verdict.facts, best=verdict.improved)
            job.console.say(verdict.line)

        if job.model.device.type == "cuda" and position.step < num_steps and not progress.stop:
            job.console.say(
                f"memory       {probe(replay, job.optimizer, job.strategy.gradients, config, guard.memory_guard)}"
            )
        while True:
            evaluated_here = position.step in (0, num_steps) or position.step % eval_every == 0
            if evaluated_here and not progress.evaluated:
                evaluate()
            if progress.stop or position.step >= num_steps:
                break
            # ---------------------------------------------------------------------------------------------------------
            # one optimizer step: loss = sum over terms of (sum over the whole step) / (total of the term's unit)
            step = plan.step(position.step + 1)
            totals = plan.totals(step)
            rates = set_rates(job.optimizer, step.number, plan.num_steps, config.optim)
            timer.count(plan.load.sizes, step.micro_batches)
            for piece, chosen in strategy.share(plan, step):
                guard.enter(step, piece, chosen)
                with timer.phase("data"):
                    batch = collate(job.store, chosen, job.weights).to(job.model.device)
                torch.manual_seed(seed_for(config.seed, "dropout", step.number, piece))
                with timer.phase("forward"):
                    scores = strategy.forward(batch)
                    terms = {name: loss(scores, batch.targets) for name, loss in job.losses.items()}
                    part = share_of_step(terms.values(), totals)
                with timer.phase("backward"):
                    part.backward()  # type: ignore[no-untyped-call]
                strategy.collect(piece, StepSums().add(terms, scores, batch.targets, config.loss.beta))
            with timer.phase("reduce"):
                sums = StepSums(totals).merge(strategy.reduce())
            norm = strategy.clip(config.optim.max_grad_norm)
            moves = guard.allows(step, sums, norm)
            if moves:
                with timer.phase("optimizer"):
                    job.optimizer.step()
                for line in gradient_flow.look(step.number, functools.partial(job.last_batch, step)):
                    job.console.say(line)
            else:
                gradient_flow.wait(step.number)
                job.console.say(guard.passed_over())
            job.optimizer.zero_grad(set_to_none=True)
            # ---------------------------------------------------------------------------------------------------------
            strategy.watchdog.step()
            position.move(step, plan)
            progress.evaluated = False
            if moves:
                window.append(sums)
            while len(window) > config.log.window:
                window.popleft()
            if step.number in (1, num_steps) or 0 in (step.number % config.log.every, step.number % eval_every):
                if moves:
                    write(position.event("train", train_figures(sums, window, rates, norm)))
                write(position.event("timing", timer.read()))
            bar.advance(1, loss=sums.loss, lr=rates["lr"])
            saver.save_on_schedule()
        write(position.event("timing", timer.read()))
    return Outcome(position.step, progress.stop or ending(job), guard.facts())


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
