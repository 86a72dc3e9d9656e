"""The training loop. Read this file first: everything else is built around the step in `fit`.

plan            comparisons, micro-batches and divisors of every step, fixed before the first step
strategy        sharing of a step among processes: one process, DDP, FSDP2, or a sum in a fixed order
guard           check between gradient and optimizer: non-finite numbers, divergence, exhausted memory
gradient_flow   check that every trained weight learns
evaluator       scores of the evaluation sets, selection of the best step, early stopping
saver           checkpoints: at every evaluation, on schedule, and after a stop request
progress        state of the run between two steps, saved in every checkpoint
"""

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
    """End of a run.

    Attributes:
        steps: number of the last step.
        reason: reason for the end, in words.
        facts: skipped steps and divergence, see `Guard.facts`.
    """

    steps: int
    reason: str
    facts: Event


def fit(job: Job, progress: Progress | None = None) -> Outcome:
    """Train to the last step or to an early stop; evaluate at step 0, on schedule, and at the last step.

    All processes of a run call `fit` together.

    Args:
        job: everything built for the run; model and optimizer are trained in place.
        progress: state of a resumed run, matching the job's model and optimizer; None for a new run.

    Returns:
        The last step, the reason for the end, and the facts of the guard.

    Raises:
        DivergedError: a non-finite loss or gradient, before any update with the gradient; or the run has diverged.
        OutOfMemoryError: memory ran out.
        CheckpointError: no gradient reaches a trained weight, although scores depend on the weight.
        DiskError: a checkpoint cannot be written; earlier checkpoints are whole.
        Preempted: the process was asked to stop; a checkpoint of the last whole step is on the disk.
    """
    config, plan, strategy, group = job.config, job.plan, job.strategy, job.strategy.group
    progress = progress or Progress()
    position, window = progress.position, progress.window
    # `stop_after` shortens the run, not the plan: rates and evaluations follow all steps of the plan. A stopped run is
    # therefore the beginning of the full run, bit for bit.
    num_steps = config.train.stop_after or plan.num_steps
    eval_every = steps_between(config.eval, plan.num_steps)
    gradient_flow = GradientFlow(job.model, num_steps, plan.num_steps, config.optim, progress.gradient_flow)
    replay = Replay(job.model, job.losses, job.store, job.weights, plan, config.seed)
    guard = make_guard(job, replay, progress)
    # Contexts close in reverse order. `saving_when_asked` writes a checkpoint as it closes, and needs writers and timer
    # still open. Processes other than the main process write into no file: lines would mix.
    with contextlib.ExitStack() as stack:
        writers = stack.enter_context(
            open_writers(job.folder, config, progress.writers) if group.is_main else contextlib.nullcontext(Writers({}))
        )
        timer = stack.enter_context(
            contextlib.closing(Timer(job.model.device, config.log.gpu_seconds, progress.seconds))
        )
        saver = Saver(job, progress, gradient_flow, guard, writers, timer)
        write = writers.write
        # Once per run: a resumed run keeps the event of its beginning in the output files.
        if not progress.begun:
            write({"kind": "start", "step": 0, "config": config.model_dump(mode="json"), **job.lengths})
        bar = stack.enter_context(job.console.progress(num_steps, "training"))
        bar.advance(position.step)
        stack.enter_context(saver.saving_when_asked())
        stack.enter_context(guard.memory_guard.explained())

        # The largest micro-batch may come late in a run. Tried here, a budget above the memory of the GPU fails within
        # seconds, before any work is lost.
        if job.model.device.type == "cuda" and position.step < num_steps and not progress.stop:
            job.console.say(
                f"memory       {probe(replay, job.optimizer, strategy.gradients, config, guard.memory_guard)}"
            )
        while True:
            # Evaluation is at the top, not after the step: step 0, later steps and resumed runs take the same path.
            # A run stopped after a step and before its evaluation makes up for the evaluation when resumed.
            is_due = position.step in (0, num_steps) or position.step % eval_every == 0
            if is_due and not progress.evaluated:
                evaluate(job, progress, saver, writers, timer)
            if progress.stop or position.step >= num_steps:
                break
            # ---------------------------------------------------------------------------------------------------------
            # one optimizer step: loss = sum over terms of (sum over the whole step) / (total of the term's unit)

            # Step and learning rates are pure functions of seed and step number. A resumed run needs no state of a data
            # loader or of a scheduler.
            step = plan.step(position.step + 1)
            # Divisors of the whole step, known before the first forward pass, let each micro-batch run backward at
            # once. Means of micro-batches would let the cut decide how much a judgment counts.
            totals = plan.totals(step)
            rates = set_rates(job.optimizer, step.number, plan.num_steps, config.optim)
            timer.count(plan.load.sizes, step.micro_batches)
            # `share` sends a heartbeat per micro-batch, and looks for stop requests. A request ends the step before the
            # optimizer moves; the checkpoint then holds the step before.
            for number, comparisons in strategy.share(plan, step):
                # Noted before memory is taken: an out-of-memory error names these comparisons, and the guard runs them
                # again if the step fails.
                guard.enter(step, number, comparisons)
                with timer.phase("data"):
                    batch = collate(job.store, comparisons, job.weights).to(job.model.device)
                # Dropout depends on run, step and micro-batch alone. With a single seed per run, another number of
                # processes, a resume, or a replay of a failed step would draw other masks.
                torch.manual_seed(seed_for(config.seed, "dropout", step.number, number))
                with timer.phase("forward"):
                    # Through the strategy, not the model: DDP sums gradients only after a forward pass of its wrapper.
                    scores = strategy.forward(batch)
                    terms = {name: loss(scores, batch.targets) for name, loss in job.losses.items()}
                    part = share_of_step(terms.values(), totals)
                # A backward pass per micro-batch frees the activations. Memory depends on the largest micro-batch, not
                # on the batch size; the gradients add up to the gradient of the step.
                with timer.phase("backward"):
                    part.backward()  # type: ignore[no-untyped-call]
                # Figures stay separate per micro-batch: `reduce` returns them in the order of the step, from whichever
                # process. Another order would round the sums differently.
                strategy.collect(number, StepSums().add(terms, scores, batch.targets, config.loss.beta))
            # From here on every process knows the figures of the whole step, hence all processes decide alike. A
            # process deciding alone would leave the others waiting in the next collective call.
            with timer.phase("reduce"):
                sums = StepSums(totals).merge(strategy.reduce())
            # Clip the summed gradient: clipping per micro-batch would let the cut change the direction of the step.
            # Clipping precedes the guard, because the guard needs the norm. A non-finite norm spoils all gradients, but
            # then the guard lets none of them reach the weights.
            norm = strategy.clip(config.optim.max_grad_norm)
            # The guard precedes the optimizer: after an update with a NaN, weights and moments stay NaN, and so does
            # every later checkpoint.
            moves = guard.allows(step, sums, norm)
            if moves:
                with timer.phase("optimizer"):
                    job.optimizer.step()
                # Only here are both visible: weights after the update, and gradients before their removal. The batch is
                # a callable, because very few steps are due for a check.
                for line in gradient_flow.look(step.number, functools.partial(job.last_batch, step)):
                    job.console.say(line)
            else:
                # Without an update every weight would look idle: a check due now moves to the next step.
                gradient_flow.wait(step.number)
                for line in guard.passed_over():
                    job.console.say(line)
            # None, not zeros: the optimizer skips a weight without gradient, but decays a weight with gradient 0. On
            # a single GPU, None also frees the memory before an evaluation.
            job.optimizer.zero_grad(set_to_none=True)
            # ---------------------------------------------------------------------------------------------------------
            strategy.watchdog.step()
            # No stop request is raised between the optimizer's step and this line. Weights and step number of a
            # checkpoint therefore always agree.
            position.move(step, plan)
            progress.evaluated = False
            # Figures of a skipped step may be NaN: a single NaN would spoil the windowed means of many steps, and JSON
            # has no NaN.
            if moves:
                window.append(sums)
            # A loop, not `maxlen`: the window may come from a checkpoint, with a larger `log.window` than now.
            while len(window) > config.log.window:
                window.popleft()
            # Steps with an evaluation are logged too: train and eval figures then exist at the same step.
            if step.number in (1, num_steps) or 0 in (step.number % config.log.every, step.number % eval_every):
                if moves:
                    write(position.event("train", train_figures(sums, window, rates, norm)))
                write(position.event("timing", timer.read()))
            bar.advance(1, loss=sums.loss, lr=rates["lr"])
            # Last, for the same reason as in `evaluate`: the checkpoint counts on the lines of this step.
            saver.save_on_schedule()
        # The last evaluation and the last checkpoint follow the last event inside the loop. Without this event, their
        # seconds would be missing.
        write(position.event("timing", timer.read()))
    return Outcome(position.step, progress.stop or ending(job), guard.facts())


def evaluate(job: Job, progress: Progress, saver: Saver, writers: Writers, timer: Timer) -> None:
    """Score the evaluation sets with the present weights, write the events, and save a checkpoint.

    Raises:
        DivergedError: a score is not finite.
        DiskError: the checkpoint cannot be written.
        StopRequested: the process was asked to stop; the evaluation counts as not made.
    """
    position = progress.position
    with timer.phase("evaluate"):
        verdict = job.evaluator.run(job.model, position.step, job.strategy, job.console.ticker(), position.epoch)
    # Events before the checkpoint: a resume cuts the output files at the sizes noted in the checkpoint. Events written
    # later would be lost.
    for kind, fields in verdict.events:
        writers.write(position.event(kind, fields))
    # The verdict before the checkpoint: a run resumed from here would otherwise evaluate again, or train past an early
    # stop.
    progress.evaluated, progress.stop = True, verdict.stop
    saver.save(verdict.facts, best=verdict.improved)
    job.console.say(verdict.line)


def make_guard(job: Job, replay: Replay, progress: Progress) -> Guard:
    """Return the guard of a run, with the memory of a resumed run."""
    strategy = job.strategy
    # The guard runs the micro-batches of a failed step again, to name comparisons. Without heartbeats meanwhile, the
    # watchdog would end the process in the middle of the search.
    heartbeat = strategy.watchdog.heartbeat
    return Guard(
        job.config,
        replay,
        progress.guard,
        exchange=strategy.group.all_of,
        rank=strategy.group.rank,
        runs_alone=strategy.runs_alone,
        heartbeat=heartbeat,
    )


def train_figures(sums: StepSums, window: Iterable[StepSums], rates: dict[str, float], norm: float) -> Event:
    """Return the fields of a `train` event: figures of the step, learning rates, gradient norm, and windowed figures.

    Args:
        sums: of the step.
        window: sums of the last steps, this step included.
        rates: learning rates by name.
        norm: gradient norm of the step, before clipping.
    """
    return {
        **sums.figures("train"),
        **{f"train/rm/{name}": rate for name, rate in rates.items()},
        "train/rm/grad_norm": norm,
        **StepSums().merge(window).figures("train_window"),
    }


def ending(job: Job) -> str:
    """Return the reason for the end of a run without early stop, and the missed `train.past_interpolation`, if any."""
    stopped = job.config.train.stop_after
    reason = f"train.stop_after = {stopped}" if stopped else "every step of the plan"
    return "; ".join(filter(None, [reason, job.evaluator.unreached()]))
