"""What the canonical order of sums costs: steps of it and of DDP in turn, by the same processes on the same model.

    torchrun --standalone --nproc_per_node 2 benchmarks/canonical_cost.py configs/quickstart.toml [--tokens 500]

Give it an idle machine. Prints seconds per step of both, their ratio, and how many gradients the tree kept at most.
"""

import argparse
import time
from pathlib import Path
from statistics import median

import torch

from bradley.config.load import load_config
from bradley.data.plan import Step
from bradley.model.engine.batch import collate
from bradley.training.build import Prepared, default_cache, prepare
from bradley.training.distributed.ddp import DDP
from bradley.training.distributed.process_group import open_group
from bradley.training.distributed.reproducible import Reproducible
from bradley.training.distributed.strategy import Strategy
from bradley.training.metrics import StepSums
from bradley.training.objective import objective


def take_step(prepared: Prepared, strategy: Strategy, step: Step) -> tuple[float, int]:
    """Seconds of an optimizer step, and the gradients that were kept at most between two micro-batches."""
    config, store, plan = prepared.config, prepared.train, prepared.plan
    losses, totals, kept = objective(config.loss), plan.totals(step), 0
    weights = store.judgment_weights(config.loss.weight_by)
    began = time.perf_counter()
    for number, chosen in strategy.share(plan, step):
        batch = collate(store, chosen, weights).to(prepared.built.model.device)
        scores = strategy.forward(batch)
        terms = {name: loss(scores, batch.targets) for name, loss in losses.items()}
        torch.stack([term.sum / getattr(totals, term.unit) for term in terms.values()]).sum().backward()
        strategy.collect(number, StepSums().add(terms, scores, batch.targets, config.loss.beta))
        kept = max(
            kept, len(strategy.part_gradients) + len(strategy.spare) + 1 if isinstance(strategy, Reproducible) else 1
        )
    strategy.reduce()
    strategy.clip(config.optim.max_grad_norm)
    prepared.optimizer.step()
    prepared.optimizer.zero_grad(set_to_none=True)
    return time.perf_counter() - began, kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--steps", type=int, default=20, help="of each kind")
    parser.add_argument("--tokens", default="0", help="of a micro-batch; less makes more of them")
    options = parser.parse_args()
    config = load_config(options.config, {"train.micro_batch_tokens": options.tokens})
    with open_group(config.parallel, config.train.device) as group:
        prepared = prepare(config, {}, default_cache(), group=group)
        teams = {
            "canonical": Reproducible(group, prepared.built.model, config.parallel.parts),
            "ddp": DDP(group, prepared.built.model),
        }
        seconds: dict[str, list[float]] = {name: [] for name in teams}
        kept = pieces = 0
        for number in range(1, options.steps + 2):  # the first warms up
            step = prepared.plan.step(number)
            for name, strategy in teams.items():
                took, part_gradients = take_step(prepared, strategy, step)
                seconds[name] += [took] if number > 1 else []
                kept, pieces = max(kept, part_gradients), max(pieces, len(step.micro_batches))
        if group.is_main:
            ratios = [a / b for a, b in zip(seconds["canonical"], seconds["ddp"], strict=True)]
            parts = min(pieces, config.parallel.parts)
            print(", ".join(f"{name} {median(values):.3f} s/step" for name, values in seconds.items()))
            low, high = (sorted(ratios)[int(share * (len(ratios) - 1))] for share in (0.25, 0.75))
            print(f"ratio {median(ratios):.3f} (quartiles {low:.3f} to {high:.3f})")
            print(f"{pieces} micro-batches in up to {parts} parts; the main process held {kept} gradients, DDP holds 1")


if __name__ == "__main__":
    main()
