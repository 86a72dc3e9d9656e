"""A few optimizer steps of a tiny model by a team, without anything else of a run."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from bradley.common.seeds import seed_for
from bradley.model.engine.batch import collate
from bradley.training.distributed.full_tensors import full_tensor
from bradley.training.distributed.process_group import ProcessGroup
from bradley.training.distributed.strategy import Strategy
from bradley.training.metrics import StepSums
from bradley.training.optim import make_optimizer, set_rates
from tests.training.jobs import job

MakeTeam = Callable[[ProcessGroup, Any], Strategy]


class Trained(NamedTuple):
    """Figures and gradient norm of each step, the weights after the last, and what made them."""

    figures: list[dict[str, float]]
    norms: list[float]
    weights: dict[str, torch.Tensor]


def take_steps(group: ProcessGroup, make_team: MakeTeam, settings: Any, count: int, **job_fields: Any) -> Trained:
    """Train for `count` steps, as the loop does."""
    with tempfile.TemporaryDirectory() as folder:
        made = job(Path(folder) / "run", settings, **job_fields)
    strategy = make_team(group, made.model)
    optimizer = make_optimizer(made.model, settings.optim)
    figures, norms = [], []
    for number in range(1, count + 1):
        step = made.plan.step(number)
        totals = made.plan.totals(step)
        set_rates(optimizer, number, made.plan.num_steps, settings.optim)
        for piece, chosen in strategy.share(made.plan, step):
            batch = collate(made.store, chosen, made.weights)
            torch.manual_seed(seed_for(settings.seed, "dropout", number, piece))
            scores = strategy.forward(batch)
            terms = {name: loss(scores, batch.targets) for name, loss in made.losses.items()}
            torch.stack([term.sum / getattr(totals, term.unit) for term in terms.values()]).sum().backward()
            sums = StepSums()
            sums.add(terms, scores, batch.targets, settings.loss.beta)
            strategy.collect(piece, sums)
        figures.append(StepSums(totals).merge(strategy.reduce()).figures("train"))
        norms.append(strategy.clip(settings.optim.max_grad_norm))
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return Trained(figures, norms, {name: full_tensor(w).detach().clone() for name, w in made.model.named_parameters()})
