"""Evaluate during training: score every set, keep rows of step 0, best and last, select the best step, and stop."""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..common.files import write_text
from ..common.text import percent_interval
from ..config import Eval, Loss, Train
from ..data.token_store import TokenStore
from ..errors import DivergedError
from ..evaluate.benchmarks import benchmark_figures
from ..evaluate.summary import summarize
from ..model.reward import ScoreModel
from ..records import ScoredComparison
from ..runs.layout import INTERPOLATED, PROBE, SELECTION, rows_file
from ..scoring.core import Alone, Sharing, score_store
from .distributed.strategy import Strategy
from .interpolation import missed, note, point, reason_to_stop
from .metrics import Event, eval_figures
from .progress import EVALUATOR_FIELDS
from .tracking.distributions import distributions
from .tracking.samples import Chosen, sample_rows


class Verdict(NamedTuple):
    """Decisions of an evaluation.

    Attributes:
        events: kind and fields of events to write: for each set figures, samples and score distributions.
        facts: figures stored with the checkpoint.
        improved: True if this is the best checkpoint up to now.
        stop: reason to stop training here; '' to continue.
        line: a line for the screen.
    """

    events: list[tuple[str, Event]]
    facts: dict[str, Any]
    improved: bool
    stop: str
    line: str


class Evaluator:
    """Evaluator of named stores, with memory of the best step on `valid`.

    Without a validation set nothing is selected: the newest step counts as the best.

    Args:
        stores: by set name.
        settings: section `train` of the configuration.
        loss: section `loss`, for beta and judgment weights.
        folder: for the scored rows, `RUN/eval`.
        samples: by set, the comparisons shown with texts and scores at every evaluation.

    Attributes:
        summaries: figures by label ("best", "last") and set; `shown` likewise, with the rows of the samples.
        best_step, best: the best step and the figures deciding the rank; `best` is None before the first evaluation.
        stop_best, waited: the best figure for early stopping, and evaluations since.
        interpolation: memory of the watch for interpolation, see `interpolation`.
        first_rows: SHA-256 of the files with the rows of step 0, by name; later evaluations do not replace these files.
    """

    def __init__(
        self,
        stores: dict[str, TokenStore],
        settings: Train,
        loss: Loss,
        folder: Path,
        samples: Mapping[str, Chosen] | None = None,
    ) -> None:
        self.stores = stores
        self.settings = settings
        self.loss = loss
        self.folder = folder
        self.samples = samples or {}
        self.summaries: dict[str, dict[str, dict[str, Any]]] = {"best": {}, "last": {}}
        self.shown: dict[str, dict[str, list[dict[str, Any]]]] = {"best": {}, "last": {}}
        self.best_step = 0
        self.best: list[float] | None = None
        self.stop_best: float | None = None
        self.waited = 0
        self.first_rows: dict[str, str] = {}
        self.interpolation: dict[str, Any] = {}

    def run(
        self,
        model: ScoreModel,
        step: int,
        strategy: Strategy | None = None,
        tell: Callable[[str], None] | None = None,
        epoch: float = 0.0,
    ) -> Verdict:
        """Score every set with the present weights; of several processes, only the main process writes rows.

        Args:
            model: of the run.
            step: optimizer steps taken.
            strategy: shares the scoring among processes; None: this process alone.
            tell: takes a line about the progress before every micro-batch; None for no lines.
            epoch: passes over the training comparisons.

        Raises:
            DivergedError: a score is not finite.
            StopRequested: the process was asked to stop.
        """
        budget = self.settings.micro_batch_tokens
        # Every process gets all rows, hence all processes reach the same verdict without another exchange.
        rows = {
            name: score_store(model, store, budget, _Told(strategy or Alone(), name, tell) if tell else strategy)
            for name, store in self.stores.items()
        }
        figures = {name: self._summary(name, scored, step) for name, scored in rows.items()}
        shown = {name: sample_rows(chosen, rows[name]) for name, chosen in self.samples.items()}
        improved = self._improves(figures.get(SELECTION))
        self.interpolation = note(self.interpolation, self.settings, figures.get(PROBE, {}), step, epoch)
        labels = [*(["step-0"] if step == 0 else []), *(["best"] if improved else []), "last"]
        for label in labels:
            for name, scored in rows.items() if strategy is None or strategy.group.is_main else ():
                digest = write_rows(self.folder / rows_file(name, label), scored)
                if label == "step-0":
                    self.first_rows = dict(sorted({**self.first_rows, rows_file(name, label): digest}.items()))
            self.summaries[label], self.shown[label] = figures, shown
        self.best_step = step if improved else self.best_step
        events = [
            event
            for name in rows
            for event in _events(name, figures[name], rows[name], shown.get(name, []), self._interpolated(name))
        ]
        best = improved and self.settings.select_by != "last"
        return Verdict(events, _facts(figures), improved, self._stop(figures, step), _line(step, figures, best))

    def state(self) -> dict[str, Any]:
        """Return the memory of selection and stopping as JSON values."""
        return {name: getattr(self, name) for name in EVALUATOR_FIELDS}

    def restore(self, known: Mapping[str, Any]) -> None:
        """Continue from the result of `state`."""
        # A checkpoint of an earlier version has no memory of interpolation.
        for name in EVALUATOR_FIELDS:
            setattr(self, name, known.get(name, {}) if name == "interpolation" else known[name])

    def unreached(self) -> str:
        """Return a sentence if the plan ended before `train.past_interpolation` ended the run; '' otherwise."""
        return missed(self.interpolation, self.settings, self.summaries["last"].get(PROBE, {}))

    def _interpolated(self, name: str) -> Event:
        """Return the field with the step of the interpolation point, for the probe of a run past interpolation."""
        if name != PROBE or not self.settings.past_interpolation:
            return {}
        # Known some evaluations after the step; every later line repeats the step, for whoever draws the lines.
        return {INTERPOLATED: (point(self.interpolation) or {}).get("step")}

    def _stop(self, figures: dict[str, dict[str, Any]], step: int) -> str:
        if reason := reason_to_stop(self.interpolation, self.settings):
            return reason
        if self._out_of_patience(figures.get(SELECTION), step):
            return f"no improvement in {self.settings.patience} evaluations"
        return ""

    def _summary(self, name: str, rows: list[ScoredComparison], step: int) -> dict[str, Any]:
        stop_unless_finite(name, rows, step)
        return summary_of(rows, self.loss)

    def _improves(self, summary: dict[str, Any] | None) -> bool:
        if summary is None or self.settings.select_by == "last":
            return True
        accuracy, nll = _or_nothing(summary["accuracy"]["value"]), summary["nll"]
        rank = [-nll, accuracy] if self.settings.select_by == "nll" else [accuracy, -nll]
        # Strictly better only: on equal figures the earlier, less trained step stays the best.
        better = self.best is None or rank > self.best
        if better:
            self.best = rank
        return better

    def _out_of_patience(self, summary: dict[str, Any] | None, step: int) -> bool:
        metric = self.settings.early_stopping
        if metric == "off" or summary is None or step == 0:
            return False
        # `best` moves with any gain, `stop_best` only with a gain of `min_delta`. Otherwise endless tiny gains would
        # never stop a run.
        value = -summary["nll"] if metric == "nll" else _or_nothing(summary["accuracy"]["value"])
        if self.stop_best is None or value > self.stop_best + self.settings.min_delta:
            self.stop_best, self.waited = value, 0
        else:
            self.waited += 1
        return self.waited >= self.settings.patience


class _Told:
    """Division of micro-batches among processes, with a line about the progress before every micro-batch."""

    def __init__(self, sharing: Sharing, name: str, tell: Callable[[str], None]) -> None:
        self.sharing, self.name, self.tell = sharing, name, tell
        self.join = sharing.join

    def numbers(self, cost: np.ndarray) -> Iterator[int]:
        """Yield the numbers of this process's micro-batches."""
        for done, number in enumerate(self.sharing.numbers(cost)):
            self.tell(
                f"evaluating   {self.name}: {done:,} micro-batches of this process are scored, {len(cost):,} in all"
            )
            yield number


def steps_between(settings: Eval, num_steps: int) -> int:
    """Return the steps between evaluations of a run: the setting, or a tenth of the run."""
    return settings.every or math.ceil(num_steps / 10)


def summary_of(rows: Sequence[ScoredComparison], loss: Loss) -> dict[str, Any]:
    """Compute the figures of an evaluation set, and for the rows of a benchmark its own figures as `benchmark`."""
    return {**summarize(rows, beta=loss.beta, weight_by=loss.weight_by), **benchmark_figures(rows)}


def stop_unless_finite(name: str, rows: Sequence[ScoredComparison], step: int) -> None:
    """Check the scores of an evaluated set.

    Raises:
        DivergedError: names the first comparison with a non-finite score.
    """
    bad = next((row.id for row in rows if not all(map(math.isfinite, row.scores))), None)
    if bad is not None:
        raise DivergedError(
            f"evaluation at step {step}: a score of {name} comparison {bad} is not finite",
            "lower optim.lr; the checkpoints before this step are whole",
        )


def write_rows(path: Path, rows: Sequence[ScoredComparison]) -> str:
    """Write scored rows as JSON lines, whole or not at all, and return the SHA-256 of the file."""
    text = "".join(json.dumps(row.to_json()) + "\n" for row in rows)
    write_text(path, text)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _events(
    name: str, summary: dict[str, Any], rows: Sequence[ScoredComparison], shown: list[dict[str, Any]], more: Event
) -> Iterator[tuple[str, Event]]:
    """Yield the events of a set; no samples if none are shown, no distribution if no judgment is decided.

    Args:
        more: further fields of the event `eval`.
    """
    yield "eval", {"set": name, **eval_figures(name, summary), **more}
    if spread := distributions(rows):
        yield "scores", {"set": name, **spread}
    if shown:
        yield "samples", {"set": name, "rows": shown}


def _facts(figures: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        name: {
            "accuracy": summary["accuracy"]["value"],
            "low": summary["accuracy"]["low"],
            "high": summary["accuracy"]["high"],
            "nll": summary["nll"],
            "judgments": summary["judgments"],
        }
        for name, summary in figures.items()
    }


def _or_nothing(value: float | None) -> float:
    # A set of ties alone has no accuracy, and must lose against every other evaluation.
    return -math.inf if value is None else value


def _line(step: int, figures: dict[str, dict[str, Any]], improved: bool) -> str:
    parts = [
        f"{name} accuracy {percent_interval(summary['accuracy'])} nll {summary['nll']:.4f}"
        + (" DEGENERATE" if summary["degenerate"] else "")
        for name, summary in figures.items()
    ]
    return f"step {step:>6}  " + "  |  ".join(parts) + ("  (best so far)" if improved else "")
