"""Compute the figures of a run during training, and define the schema of all events.

Every event has `kind` and `step`; all kinds except `start` have `episode` and `epoch`, too.

    start     once: `config`, the resolved settings, and `data/<split>/<part>_tokens_<figure>`
    train     `train/rm/<name>` of a step, `train_window/rm/<name>` of the last steps
    eval      `set`, `eval/<set>/rm/<name>`
    samples   `set`, `rows`: a few comparisons with texts and scores, see `samples.py`
    timing    seconds by phase, rates, memory; never reproducible, see `timing.py`
    scores    `set`, `chosen`, `rejected`: distributions of scores, see `distributions.py`
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from ..data.plan import Totals
from ..errors import UserError
from ..evaluate.benchmarks import TAG, headlines
from ..losses import Targets, Term, bradley_terry

Event = dict[str, Any]
"""Fields of an event by key, as JSON values."""


class StepSums:
    """Sums over the micro-batches of a step, or of several steps, divided only when read.

    Each figure has a unit, and is divided by the total of the unit. The objective's terms, and the terms' own metrics,
    name their unit. `nll` is divided by judgment weight; all other figures are divided by the number of decided
    judgments, without ties.

    A mean of means never occurs. No figure depends on the cut into micro-batches or on a short last micro-batch.

    Figures of added micro-batches stay on the device until a figure is read, or until `settle`.

    Args:
        totals: of the step; None for an empty sum.
    """

    # Tensors under way are no part of `vars`, which is JSON in checkpoints and in exchanges between processes.
    __slots__ = ("__dict__", "_pending")

    def __init__(self, totals: Totals | None = None) -> None:
        self._pending: list[tuple[list[tuple[str, str]], Tensor]] = []
        self.sums: dict[str, float] = {}
        self.units: dict[str, str] = {}
        self.totals: dict[str, float] = {"decided": 0.0, **(totals._asdict() if totals else {})}

    @classmethod
    def from_json(cls, known: Mapping[str, dict[str, Any]]) -> Self:
        """Return sums with the given attributes, as from `vars`."""
        sums = cls()
        vars(sums).update(known)
        return sums

    def add(self, terms: Mapping[str, Term], scores: Tensor, targets: Targets, beta: float) -> Self:
        """Add a micro-batch: the terms of the objective, and figures of the judgments.

        Args:
            terms: of the objective, by name.
            scores: [R] of the responses.
            targets: J judgments of the scores.
            beta: scale of the score difference.

        Raises:
            UserError: two metrics share a name, or a metric takes a reserved name.
        """
        scores, decided = scores.detach(), targets.probability != 0.5
        rows = [("nll", "judgment_weight", bradley_terry(scores, targets, beta=beta).sum)]
        # Masked, not picked: to learn the number of picked entries, the host would wait for the GPU.
        figures = _of_judgments(scores, targets, beta)
        rows += [(name, "decided", row.where(decided, 0.0).sum()) for name, row in figures.items()]
        rows += [(f"term/{name}", term.unit, term.sum) for name, term in terms.items()]
        rows += [(name, term.unit, value) for term in terms.values() for name, value in term.metrics.items()]
        _stop_if_repeated([name for name, _, _ in rows])
        # float64 keeps small shares visible in sums over long windows.
        values = torch.stack([decided.sum().double(), *(value.detach().double() for _, _, value in rows)])
        self._pending.append(([(name, unit) for name, unit, _ in rows], values))
        return self

    @staticmethod
    def settle(parts: "Sequence[StepSums]") -> None:
        """Fetch the figures of added micro-batches from the device: one transfer, on which the host waits, for all."""
        pending = [(sums, *each) for sums in parts for each in sums._pending]
        if not pending:
            return
        values = iter(torch.cat([each for *_, each in pending]).tolist())
        for sums, names, _ in pending:
            sums._pending = []
            sums.totals["decided"] += next(values)
            for name, unit in names:
                sums.units[name] = unit
                sums.sums[name] = sums.sums.get(name, 0.0) + next(values)

    def merge(self, others: "Iterable[StepSums]") -> Self:
        """Add the sums and totals of other steps or micro-batches."""
        others = list(others)
        self.settle([self, *others])
        for other in others:
            self.units |= other.units
            for mine, theirs in ((self.sums, other.sums), (self.totals, other.totals)):
                for name, value in theirs.items():
                    mine[name] = mine.get(name, 0.0) + value
        return self

    def mean(self, name: str) -> float:
        """Return a figure: the sum over the total of the figure's unit."""
        self.settle([self])
        return self.sums[name] / self.totals[self.units[name]]

    @property
    def loss(self) -> float:
        """Value of the objective: the sum over terms of (sum / total of the term's unit)."""
        return sum(self.mean(name) for name in self._terms())

    def figures(self, prefix: str) -> Event:
        """Return the means under `<prefix>/rm/<name>`, without figures whose total is 0."""
        # A single term equals the loss, and would only repeat it.
        single = self._terms() if len(self._terms()) == 1 else []
        names = [name for name in self.sums if name not in single and self.totals[self.units[name]]]
        return {f"{prefix}/rm/loss": self.loss, **{f"{prefix}/rm/{name}": self.mean(name) for name in names}}

    def _terms(self) -> list[str]:
        self.settle([self])
        return [name for name in self.sums if name.startswith("term/")]


def eval_figures(name: str, summary: Mapping[str, Any]) -> Event:
    """Return an evaluation as event fields `eval/<name>/rm/...`.

    Args:
        name: of the set.
        summary: from `evaluate.summarize`. Missing figures are None; `calibration_bins` is a list. The headline
            figures of a benchmark are `benchmark_<figure>`, each with `_low` and `_high`.
    """
    accuracy, margin, lengths = summary["accuracy"], summary["margin"], summary["length_difference"]
    rows = {
        "accuracy": accuracy["value"],
        "accuracy_low": accuracy["low"],
        "accuracy_high": accuracy["high"],
        "loss": summary["nll"],
        "nll": summary["nll"],
        "chosen_rewards": summary["chosen_reward"],
        "chosen_rewards_std": summary["chosen_reward_std"],
        "rejected_rewards": summary["rejected_reward"],
        "rejected_rewards_std": summary["rejected_reward_std"],
        "max_abs_score": summary["max_abs_score"],
        "reward_margin": margin["mean"],
        **{f"reward_margin_{key}": margin[key] for key in ("std", "p05", "p50", "p95")},
        "negative_share": margin["negative_share"],
        "mean_probability": summary["mean_probability"],
        "share_above_99": summary["share_above_99"],
        "auroc": summary["auroc"],
        "ece": summary["calibration"]["ece"],
        "length_correlation": summary["length_correlation"],
        "margin_length_correlation": summary["margin_length_correlation"],
        "length_difference": lengths["mean"],
        "length_difference_std": lengths["std"],
        "ties": summary["tie_rate"],
        "judgments": summary["judgments"],
        "calibration_bins": summary["calibration"]["bins"],
        **_benchmark(summary),
    }
    return {f"eval/{name}/rm/{key}": value for key, value in rows.items()}


def _benchmark(summary: Mapping[str, Any]) -> Event:
    """Return the headline figures of a benchmark; empty for other sets, whose lines stay as they are."""
    found = headlines(summary[TAG]) if TAG in summary else []
    ends = {"": "value", "_low": "low", "_high": "high"}
    return {f"{TAG}_{key}{end}": figure[part] for key, figure in found for end, part in ends.items()}


def length_fields(report: Mapping[str, Any]) -> Event:
    """Return the lengths of every split as `data/<split>/<part>_tokens_<figure>`, from the data report."""
    return {
        f"data/{name}/{part}_tokens_{figure}": value
        for name, split in report["splits"].items()
        for part in ("prompt", "response", "total")
        for figure, value in split["tokens"][part].items()
    }


def _stop_if_repeated(names: list[str]) -> None:
    taken = ("loss", "lr", "lr_head", "grad_norm")
    repeated = next((name for name in names if names.count(name) > 1 or name in taken), None)
    if repeated is not None:
        raise UserError(f"two figures of a train line are called {repeated}", "rename the metric of your loss term")


def _of_judgments(scores: Tensor, targets: Targets, beta: float) -> dict[str, Tensor]:
    """Return an entry per judgment, ties included, under the name of each averaged figure."""
    # float64 from here on: the difference of two large, close float32 scores keeps its digits in all sums.
    chosen, rejected = scores[targets.better].double(), scores[targets.worse].double()
    margin = chosen - rejected
    probability = torch.sigmoid(beta * margin)
    return {
        "accuracy": (margin > 0).double() + 0.5 * (margin == 0),
        "chosen_rewards": chosen,
        "rejected_rewards": rejected,
        "reward_margin": margin,
        "mean_probability": probability,
        "share_above_99": (probability > 0.99).double(),
    }
