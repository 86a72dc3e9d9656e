"""Preview of a run: schedule, tokens saved by sharing prompts, and estimated time."""

import math
import time
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import torch

from ..common.console import Console
from ..config import Config
from ..data.load import load_splits
from ..data.plan import Plan
from ..data.render import Renderer
from ..data.schedule import PEER_PAIRS, longest_comparison, peer_tokens, schedule
from ..data.token_store import TokenStore, build_store
from ..data.tokenizer import make_tokenizer
from ..model.cost import load_on
from ..model.engine.batch import collate
from ..model.reward import ScoreModel
from ..training.build import Prepared, default_cache, prepare
from ..training.evaluation import steps_between

TIMED = 6
"""Number of timed micro-batches, spread over the first steps."""
PROCESSES = (1, 2, 4, 8)
"""Numbers of processes with a forecast of their load balance."""


def estimate_run(config: Config, *, timing: bool = True) -> dict[str, Any]:
    """Compute the schedule of a run as plain values; see `show`.

    Args:
        config: settings of the run.
        timing: True runs a few micro-batches to estimate seconds.

    Raises:
        BradleyError: any error stopping the run before the first step.
    """
    # The run's own preparation, so that the forecast is the plan of the run and no second computation of it.
    made = prepare(config, {}, default_cache(), console=Console())
    plan = replace(made.plan, num_steps=config.train.stop_after or made.plan.num_steps)
    known, peers = schedule(plan, PROCESSES), peer_tokens(made.train, config.seed)
    return {
        "engine": made.engine,
        "steps": plan.num_steps,
        "steps_per_epoch": plan.steps_per_epoch,
        "batch_size": plan.batch_size,
        "micro_batch_tokens": plan.limit.tokens,
        "comparisons": len(plan),
        "judgments": int(plan.judgments.sum()),
        "schedule": {**known._asdict(), "busy": {str(n): share for n, share in known.busy.items()}},
        "tokens": {"once": len(made.train.tokens), **peers._asdict()},
        "promised_speed_up": peers.padded / (known.tokens * len(plan) / known.comparisons),
        "longest": longest_comparison(plan, made.train),
        "grouping": grouping(made),
        "seconds": seconds(made, known.cost) if timing else None,
    }


def show(found: dict[str, Any]) -> str:
    """Format the result of `estimate_run` as lines."""
    known, tokens = found["schedule"], found["tokens"]
    per_step = f"{known['micro_batches'] / found['steps']:.1f} in a step ({known['fewest']} to {known['most']})"
    busy = ", ".join(f"{100 * share:.1f} % of {n}" for n, share in known["busy"].items())
    lines = [
        ("data", f"{found['comparisons']:,} comparisons, {found['judgments']:,} judgments"),
        ("engine", found["engine"]),
        ("steps", f"{found['steps']:,} of {found['batch_size']} comparisons, {found['steps_per_epoch']:,} per epoch"),
        ("micro-batches", f"{known['micro_batches']:,}, {per_step}, the largest of {known['largest']:,} tokens"),
        ("tokens", f"{known['tokens']:,} in the run, padding included; of one pass over the data:"),
        ("", f"{tokens['once']:,} with each prompt once"),
        ("", f"{tokens['responses']:,} with its prompt before every response"),
        ("", f"{tokens['pairs']:,} as pairs, both sides in full"),
        ("", f"{tokens['padded']:,} as pairs in random order, {PEER_PAIRS} at a time, padded"),
        ("speed-up", f"{found['promised_speed_up']:.2f} over the last of these, as far as tokens tell"),
        ("grouping", _grouping_line(found["grouping"], found["judgments"])),
        ("busy", f"{busy} processes; lower train.micro_batch_tokens where that is too little"),
        ("longest", "{id}: {responses} responses of up to {longest_response:,} tokens".format(**found["longest"])),
        ("time", _time_line(found["seconds"])),
    ]
    return "\n".join(f"{name:<14} {text}" for name, text in lines)


def grouping(made: Prepared) -> dict[str, Any]:
    """Count comparisons, judgments and tokens of an epoch under the other value of `data.group_by`, same engine."""
    config = made.config
    # Tokens count as the engine runs them: shared prompts promise more than an engine with padding can save.
    other = "none" if config.data.group_by == "prompt" else "prompt"
    rows = load_splits(config.data.model_copy(update={"group_by": other}), config.seed).train
    renderer = Renderer(make_tokenizer(config.model, rows), config.render, causal=made.renderer.causal)
    store = build_store(rows, renderer, training=True, cache=default_cache())
    return {
        "group_by": other,
        "comparisons": len(store),
        "judgments": len(store.better),
        "tokens": int(load_on(made.built.model, store).tokens.sum(dtype=np.int64)),
        "tokens_now": int(made.plan.load.tokens.sum(dtype=np.int64)),
    }


def seconds(made: Prepared, cost: float) -> dict[str, float]:
    """Estimate the seconds of training and evaluation on this machine from a few micro-batches of the first steps.

    Args:
        made: prepared run.
        cost: cost of all training steps, in token equivalents of matrix products.
    """
    rates = time_micro_batches(made.built.model, made.train, made.plan)
    model, every = made.built.model, steps_between(made.config.eval, made.plan.num_steps)
    evaluations = 1 + math.ceil((made.config.train.stop_after or made.plan.num_steps) / every)
    scored = sum(float(load_on(model, split).cost.sum()) for split in made.evals.values()) * evaluations
    scored += float(load_on(model, made.test).cost.sum()) if made.test else 0.0
    return {"train": cost * rates["train"], "evaluate": scored * rates["evaluate"]}


def time_micro_batches(model: ScoreModel, store: TokenStore, plan: Plan) -> dict[str, float]:
    """Measure seconds per unit of cost, forward and backward (`train`) and forward alone (`evaluate`)."""
    first = [micro_batch for step in islice(plan.steps(), TIMED) for micro_batch in step.micro_batches]
    timed = [first[int(k)] for k in np.linspace(0, len(first) - 1, min(TIMED, len(first)))]
    weights = store.judgment_weights("pair")
    spent = {"train": 0.0, "evaluate": 0.0}
    # The first micro-batch runs twice and counts once: its first time includes compilation and the first use of memory.
    for number, micro_batch in enumerate([timed[0], *timed]):
        batch = collate(store, micro_batch, weights).to(model.device)
        for kind in spent:
            began = time.perf_counter()
            with torch.set_grad_enabled(kind == "train"):
                scores = model(batch)
                if kind == "train":
                    # Any function of the scores will do: the cost of a loss beside the backbone is nothing.
                    scores.square().sum().backward()
            # Reading a number waits for the device; CUDA would otherwise return before the work is done.
            float(scores.detach().sum())
            spent[kind] += (time.perf_counter() - began) * (number > 0)
    model.zero_grad()
    cost = sum(float(plan.load.cost[micro_batch].sum()) for micro_batch in timed)
    return {kind: took / cost for kind, took in spent.items()}


def _grouping_line(other: dict[str, Any], judgments: int) -> str:
    # Tokens per judgment, because the two ways may keep different numbers of judgments.
    change = 100 * (other["tokens"] / other["judgments"] / (other["tokens_now"] / judgments) - 1)
    return (
        f"data.group_by = {other['group_by']} would make {other['comparisons']:,} comparisons of "
        f"{other['tokens']:,} tokens ({change:+.1f} % for each judgment)"
    )


def _time_line(known: dict[str, float] | None) -> str:
    if known is None:
        return "not estimated"
    train, evaluate = rough_duration(known["train"]), rough_duration(known["evaluate"])
    return f"about {train} of training and {evaluate} of evaluation on this machine"


def rough_duration(seconds: float) -> str:
    """Format a rough time: `42 s`, `12 min`, `3.4 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
