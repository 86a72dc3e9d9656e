"""The training loop. Read this file first: everything else is built around the step in `fit`."""

import math
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..config import Config
from ..console import Console
from ..data.plan import Plan, Step
from ..data.render import Renderer
from ..data.store import TokenStore
from ..errors import DivergedError
from ..losses import Loss, bradley_terry
from ..model.batch import collate
from ..model.reward import RewardModel
from ..seeds import seed_for
from .checkpoint import Checkpoints
from .evaluation import Evaluator
from .metrics import JsonLines, StepSums
from .optim import learning_rate
from .timing import Timer


@dataclass
class Job:
    """Everything a training run needs, built by `build.py`.

    Attributes:
        losses: the objective, a sum of these.
        store: the training comparisons; `weights` [J] are their effective judgment weights.
    """

    config: Config
    folder: Path
    model: RewardModel
    renderer: Renderer
    optimizer: torch.optim.Optimizer
    losses: list[Loss]
    store: TokenStore
    weights: np.ndarray
    plan: Plan
    evaluator: Evaluator
    checkpoints: Checkpoints
    console: Console


@dataclass
class Outcome:
    """How a run ended: the last step, and why it stopped there."""

    steps: int
    reason: str


def fit(job: Job) -> Outcome:
    """Train to the end of the plan or to an early stop; evaluates at step 0, on schedule, and at the last step.

    Raises:
        DivergedError: a loss or gradient that is not finite. The optimizer has not moved on it.
    """
    config, plan = job.config, job.plan
    metrics, timing = JsonLines(job.folder / "metrics.jsonl"), JsonLines(job.folder / "timing.jsonl")
    window: deque[StepSums] = deque(maxlen=config.log.window)
    eval_every = config.eval.every or math.ceil(plan.num_steps / 10)
    timer = Timer(job.model.device)
    episode, seen, epoch, outcome = 0, 0, 0.0, Outcome(0, "every step of the plan")

    def evaluate(step: int) -> bool:
        with timer.phase("evaluate"):
            verdict = job.evaluator.run(job.model, step)
        for event in verdict.events:
            metrics.write({"kind": "eval", "step": step, "episode": episode, "epoch": epoch, **event})
        with timer.phase("checkpoint"):
            job.checkpoints.save(step, job.model, job.renderer, verdict.facts, best=verdict.improved)
        job.console.say(verdict.line)
        return verdict.stop

    evaluate(0)
    with job.console.progress(plan.num_steps, "training") as bar:
        for step in plan.steps():
            # ---------------------------------------------------------------------------------------------------------
            # one optimizer step: loss = sum over terms of (sum over the whole step) / (total of the term's unit)
            sums = StepSums()
            totals = plan.totals(step)
            rate = learning_rate(step.number, plan.num_steps, config.optim)
            for group in job.optimizer.param_groups:
                group["lr"] = rate
            loss, nll = 0.0, 0.0
            for number, chosen in enumerate(step.micro_batches):
                with timer.phase("data"):
                    batch = collate(job.store, chosen, job.weights).to(job.model.device)
                torch.manual_seed(seed_for(config.seed, "dropout", step.number, number))
                with timer.phase("forward", tokens=batch):
                    scores = job.model(batch)
                    terms = [term(scores, batch.targets) for term in job.losses]
                    part = torch.stack([term.sum / getattr(totals, term.unit) for term in terms]).sum()
                stop_unless_finite(float(part.detach()), "loss", step, chosen, job.store)
                with timer.phase("backward"):
                    part.backward()  # type: ignore[no-untyped-call]
                plain = bradley_terry(scores.detach(), batch.targets, beta=config.loss.beta)
                loss, nll = loss + float(part.detach()), nll + float(plain.sum) / totals.judgment_weight
                sums.add(scores.detach(), batch.targets, config.loss.beta)
            norm = clip(job.model, config.optim.max_grad_norm)
            stop_unless_finite(norm, "gradient", step, step.comparisons, job.store)
            with timer.phase("optimizer"):
                job.optimizer.step()
                job.optimizer.zero_grad(set_to_none=True)
            # ---------------------------------------------------------------------------------------------------------
            sums.add_loss(loss, nll, totals.judgment_weight)
            window.append(sums)
            episode += plan.judgments_in(step)
            seen += len(step.comparisons)
            epoch = seen / len(job.store)
            outcome.steps = step.number
            last = step.number == plan.num_steps
            if step.number % config.log.every == 0 or step.number == 1 or last:
                place = {"step": step.number, "episode": episode, "epoch": epoch}
                rates = {"train/rm/lr": rate, "train/rm/grad_norm": norm}
                windowed = StepSums().merge(window).figures("train_window")
                metrics.write({"kind": "train", **place, **sums.figures("train"), **rates, **windowed})
                timing.write({"step": step.number, **timer.read()})
            bar.advance(1, loss=loss, lr=rate)
            if (last or step.number % eval_every == 0) and evaluate(step.number) and not last:
                outcome.reason = f"no improvement in {config.train.patience} evaluations"
                break
    timing.write({"step": outcome.steps, **timer.read()})
    metrics.close()
    timing.close()
    return outcome


def clip(model: torch.nn.Module, max_norm: float) -> float:
    """Scale gradients down to `max_norm` (0: leave them) and return their norm before that."""
    limit = max_norm if max_norm > 0 else float("inf")
    return float(torch.nn.utils.clip_grad_norm_(model.parameters(), limit))


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
