"""What a run writes while it trains: one event schema, and the writers that take it.

`metrics.jsonl` holds only what the configuration decides, so two runs of one config write the same bytes; seconds,
rates and memory go to `timing.jsonl` under the same step.
"""

import json
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from ..errors import DiskError
from ..losses import Targets

Event = dict[str, Any]
NAMES = ("accuracy", "chosen_rewards", "rejected_rewards", "reward_margin", "mean_probability", "share_above_99")


class StepSums:
    """Sums over the micro-batches of one optimizer step, or of several steps; divided once, when they are read.

    `loss` and `nll` are divided by the judgment weight of the steps, everything else by the number of decided judgments
    (ties aside). A mean of means never occurs, so no figure depends on how a step was cut or on a short last one.
    """

    def __init__(self) -> None:
        self.sums: dict[str, float] = dict.fromkeys((*NAMES, "loss", "nll"), 0.0)
        self.decided = 0.0
        self.weight = 0.0

    def add(self, scores: Tensor, targets: Targets, beta: float) -> None:
        """Add the judgments of one micro-batch. `scores` [R] without gradient."""
        decided = targets.probability != 0.5
        chosen, rejected = scores[targets.better[decided]].double(), scores[targets.worse[decided]].double()
        margin = chosen - rejected
        probability = torch.sigmoid(beta * margin)
        rows = {
            "accuracy": (margin > 0).double() + 0.5 * (margin == 0),
            "chosen_rewards": chosen,
            "rejected_rewards": rejected,
            "reward_margin": margin,
            "mean_probability": probability,
            "share_above_99": (probability > 0.99).double(),
        }
        totals = torch.stack([row.sum() for row in rows.values()]).tolist()
        for name, total in zip(rows, totals, strict=True):
            self.sums[name] += total
        self.decided += float(decided.sum())

    def add_loss(self, loss: float, nll: float, weight: float) -> None:
        """Add the loss and the plain NLL of a whole step, both per unit of its judgment weight `weight`."""
        self.sums["loss"] += loss * weight
        self.sums["nll"] += nll * weight
        self.weight += weight

    def merge(self, others: "deque[StepSums]") -> Self:
        """Add the sums of other steps."""
        for other in others:
            for name, value in other.sums.items():
                self.sums[name] += value
            self.decided += other.decided
            self.weight += other.weight
        return self

    def figures(self, prefix: str) -> Event:
        """The means, under `<prefix>/rm/<name>`; figures of decided judgments are left out where there are none."""
        rows = {name: self.sums[name] / self.weight for name in ("loss", "nll")}
        if self.decided:
            rows |= {name: self.sums[name] / self.decided for name in NAMES}
        return {f"{prefix}/rm/{name}": value for name, value in rows.items()}


def eval_figures(name: str, summary: Mapping[str, Any]) -> Event:
    """One evaluation as event fields `eval/<name>/rm/...`, from `evaluate.summarize`."""
    accuracy, margin = summary["accuracy"], summary["margin"]
    rows = {
        "accuracy": accuracy["value"],
        "accuracy_low": accuracy["low"],
        "accuracy_high": accuracy["high"],
        "loss": summary["nll"],
        "nll": summary["nll"],
        "chosen_rewards": summary["chosen_reward"],
        "rejected_rewards": summary["rejected_reward"],
        "reward_margin": margin["mean"],
        **{f"reward_margin_{key}": margin[key] for key in ("p05", "p50", "p95")},
        "mean_probability": summary["mean_probability"],
        "share_above_99": summary["share_above_99"],
        "ties": summary["tie_rate"],
        "judgments": summary["judgments"],
    }
    return {f"eval/{name}/rm/{key}": value for key, value in rows.items()}


class JsonLines:
    """A file of one JSON object per line, flushed after each, so that a plot can be made of a run that is under way."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("x", encoding="utf-8")

    def write(self, event: Event) -> None:
        """Append one event.

        Raises:
            DiskError: the line could not be written; training must not go on unlogged.
        """
        try:
            self._file.write(json.dumps(event) + "\n")
            self._file.flush()
        except OSError as error:
            raise DiskError(f"{self._file.name} could not be written: {error.strerror}", "free some space") from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()
