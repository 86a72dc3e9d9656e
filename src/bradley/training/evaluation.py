"""Evaluation while training: every named set, rows kept at step 0, best and last, and the verdict on selection."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..config import Loss, Train
from ..data.store import TokenStore
from ..errors import DivergedError
from ..evaluate.summary import summarize
from ..files import write_text
from ..model.reward import RewardModel
from ..records import ScoredComparison
from ..score import score_store
from .metrics import Event, eval_figures

SELECTION = "valid"
"""The set that selects the best checkpoint; every other set is only reported."""


class Verdict(NamedTuple):
    """What one evaluation decided.

    Attributes:
        events: one per set, for `metrics.jsonl`.
        facts: figures that go with the checkpoint.
        improved: whether this is the best checkpoint so far.
        stop: whether patience has run out.
        line: one line for the screen.
    """

    events: list[Event]
    facts: dict[str, Any]
    improved: bool
    stop: bool
    line: str


class Evaluator:
    """Evaluates named stores and remembers which step was best on `valid`.

    Without a validation set nothing is selected: the newest step counts as the best.
    """

    def __init__(self, stores: dict[str, TokenStore], settings: Train, loss: Loss, folder: Path) -> None:
        self.stores = stores
        self.settings = settings
        self.loss = loss
        self.folder = folder
        self.summaries: dict[str, dict[str, dict[str, Any]]] = {"best": {}, "last": {}}
        self.best_step = 0
        self._best: tuple[float, float] | None = None
        self._stop_best: float | None = None
        self._waited = 0

    def run(self, model: RewardModel, step: int) -> Verdict:
        """Score every set with the model as it stands."""
        rows = {
            name: score_store(model, store, self.settings.micro_batch_tokens) for name, store in self.stores.items()
        }
        figures = {name: self._summary(name, scored, step) for name, scored in rows.items()}
        improved = self._improves(figures.get(SELECTION))
        labels = [*(["step-0"] if step == 0 else []), *(["best"] if improved else []), "last"]
        for label in labels:
            for name, scored in rows.items():
                write_rows(self.folder / f"{name}-{label}.jsonl", scored)
        self.summaries["last"] = figures
        if improved:
            self.summaries["best"], self.best_step = figures, step
        stop = self._out_of_patience(figures.get(SELECTION), step)
        events = [{"set": name, **eval_figures(name, summary)} for name, summary in figures.items()]
        return Verdict(events, _facts(figures), improved, stop, _line(step, figures, improved))

    def _summary(self, name: str, rows: list[ScoredComparison], step: int) -> dict[str, Any]:
        stop_unless_finite(name, rows, step)
        return summarize(rows, beta=self.loss.beta, weight_by=self.loss.weight_by)

    def _improves(self, summary: dict[str, Any] | None) -> bool:
        if summary is None:
            return True
        accuracy, nll = _or_nothing(summary["accuracy"]["value"]), summary["nll"]
        key = (-nll, accuracy) if self.settings.select_by == "nll" else (accuracy, -nll)
        better = self._best is None or key > self._best
        if better:
            self._best = key
        return better

    def _out_of_patience(self, summary: dict[str, Any] | None, step: int) -> bool:
        metric = self.settings.early_stopping
        if metric == "off" or summary is None or step == 0:
            return False
        value = -summary["nll"] if metric == "nll" else _or_nothing(summary["accuracy"]["value"])
        if self._stop_best is None or value > self._stop_best + self.settings.min_delta:
            self._stop_best, self._waited = value, 0
        else:
            self._waited += 1
        return self._waited >= self.settings.patience


def stop_unless_finite(name: str, rows: Sequence[ScoredComparison], step: int) -> None:
    """Raise `DivergedError` naming the first comparison whose score is not a number."""
    bad = next((row.id for row in rows if not all(map(math.isfinite, row.scores))), None)
    if bad is not None:
        raise DivergedError(
            f"evaluation at step {step}: a score of {name} comparison {bad} is not finite",
            "lower optim.lr; the checkpoints before this step are whole",
        )


def write_rows(path: Path, rows: Sequence[ScoredComparison]) -> None:
    """Scored rows as JSON lines, whole or not at all."""
    write_text(path, "".join(json.dumps(row.to_json()) + "\n" for row in rows))


def _facts(figures: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        name: {"accuracy": summary["accuracy"]["value"], "nll": summary["nll"], "judgments": summary["judgments"]}
        for name, summary in figures.items()
    }


def percent(accuracy: dict[str, Any]) -> str:
    """`71.3 % [68.0, 74.5]`: an accuracy with its 95 % interval, or a dash where no judgment is decided."""
    if accuracy["value"] is None:
        return "-"
    value, low, high = (100 * accuracy[key] for key in ("value", "low", "high"))
    return f"{value:.1f} % [{low:.1f}, {high:.1f}]"


def _or_nothing(value: float | None) -> float:
    return -math.inf if value is None else value


def _line(step: int, figures: dict[str, dict[str, Any]], improved: bool) -> str:
    parts = [f"{name} accuracy {percent(s['accuracy'])} nll {s['nll']:.4f}" for name, s in figures.items()]
    return f"step {step:>6}  " + "  |  ".join(parts) + ("  (best so far)" if improved else "")
