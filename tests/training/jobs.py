"""A training job on a few random comparisons, for tests of the loop."""

import json
from pathlib import Path
from typing import Any

import torch

from bradley.common.console import Console
from bradley.config import Config, Render
from bradley.data.plan import make_plan
from bradley.data.render import Renderer
from bradley.data.token_store import build_store
from bradley.model.cost import limit_for, load_on
from bradley.training.checkpoints.store import Checkpoints
from bradley.training.distributed.build import copies
from bradley.training.distributed.process_group import ProcessGroup
from bradley.training.evaluation import Evaluator
from bradley.training.job import Job
from bradley.training.loop import fit
from bradley.training.objective import objective
from bradley.training.optim import make_optimizer
from tests.helpers import LLAMA, changed, comparisons, tiny_model, tokenizer_for

ROWS = [*comparisons(18), *comparisons(6, responses=4, seed=5)]
VALID = comparisons(9, seed=7)
TOKENIZER = tokenizer_for(ROWS)


def config(seed: int = 0, **sections: Any) -> Config:
    base: dict[str, Any] = {
        "model": {"config": LLAMA, "tokenizer": "train"},
        "train": {"batch_size": 8, "max_steps": 6, "micro_batch_tokens": 600},
        "optim": {"lr": 1e-3, "warmup": 1},
        "eval": {"every": 2},
        "log": {"every": 1, "window": 3},
    }
    return Config(seed=seed, **changed(base, **sections))


def job(folder: Path, settings: Config | None = None, model: dict[str, Any] = LLAMA, **fields: Any) -> Job:
    settings = settings or config()
    (folder / "eval").mkdir(parents=True)
    network = tiny_model(
        model, TOKENIZER, settings.seed, precision=settings.model.precision, dropout=settings.model.dropout
    )
    renderer = Renderer(TOKENIZER, Render(max_tokens=200), causal=network.causal)
    store = build_store(ROWS, renderer, training=True)
    plan = make_plan(
        store,
        load_on(network, store),
        limit_for(network, settings.train.micro_batch_tokens),
        batch_size=settings.train.batch_size,
        seed=settings.seed,
        max_steps=settings.train.max_steps,
        weight_by=settings.loss.weight_by,
    )
    stores = {"valid": build_store(VALID, renderer, training=False)}
    made = {
        "config": settings,
        "folder": folder,
        "model": network,
        "renderer": renderer,
        "optimizer": make_optimizer(network, settings.optim),
        "losses": objective(settings.loss),
        "store": store,
        "weights": store.judgment_weights(settings.loss.weight_by),
        "plan": plan,
        "evaluator": Evaluator(stores, settings.train, settings.loss, folder / "eval"),
        "checkpoints": Checkpoints(folder / "checkpoints"),
        "console": Console("quiet"),
        "strategy": copies(ProcessGroup(), settings.parallel, network),
    }
    return Job(**{**made, **fields})


def one_step_gradient(folder, budget, **loss):
    """The gradient of the first step, read off a plain gradient-descent update."""
    settings = config(
        train={"micro_batch_tokens": budget, "max_steps": 1},
        optim={"lr": 1.0, "warmup": 0, "schedule": "constant", "max_grad_norm": 0},
        loss=loss,
    )
    made = job(folder, settings)
    before = [p.detach().clone() for p in made.model.parameters()]
    made.optimizer = torch.optim.SGD([{"params": list(made.model.parameters()), "name": "backbone"}], lr=1.0)
    fit(made)
    pieces = len(made.plan.step(1).micro_batches)
    return torch.cat([(a - b.detach()).flatten() for a, b in zip(before, made.model.parameters(), strict=True)]), pieces


def lines(folder, name="metrics.jsonl"):
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]
