"""What a run came to: its folder, its figures, and the best model on every set."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..evaluate.length import length_rule
from ..evaluate.summary import summarize
from ..model.normalization import measure
from ..model.reward import compute_name
from ..model.store import add_normalization, load_model
from ..records import ScoredComparison
from ..report.run_folder import read_lines
from ..score import score_store
from .build import Prepared
from .evaluation import SELECTION, Evaluator, percent, write_rows


def interval(figure: dict[str, Any]) -> str:
    """`71.3 % [68.0, 74.5], n = 812 of 400 prompts`: an accuracy with its 95 % interval, clustered by prompt."""
    return f"{percent(figure)}, n = {figure['n']} of {figure['clusters']} prompts"


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, and the content of `results.json`."""

    folder: Path
    results: dict[str, Any]

    @property
    def model(self) -> Path:
        """The folder of the best model."""
        return self.folder / "model"

    def rows(self, name: str = SELECTION, label: str = "best") -> list[ScoredComparison]:
        """The scored rows of one evaluation set at `step-0`, `best` or `last`."""
        return read_rows(self.folder, name, label)

    def summary(self) -> str:
        """The result in a few lines: accuracy with its interval, the ceiling if known, the length rule, the report."""
        name = self.results["headline"]
        figures = self.results["sets"].get(name)
        lines = self._figures(name, figures) if figures else [("accuracy", "no evaluation set, so nothing is known")]
        lines += [("model", f"{self.model}  ({self.results['compute']})"), ("report", str(self.folder / "report.html"))]
        return "\n".join(f"{name:<12} {text}" for name, text in lines)

    def _figures(self, name: str, figures: dict[str, Any]) -> list[tuple[str, str]]:
        rule, accuracy = length_rule(figures)
        return [
            ("accuracy", interval(figures["accuracy"]) + f"  on {name}, best step {self.results['best']['step']}"),
            *([("ceiling", interval(figures["ceiling"]) + "  (the data's own scores)")] if figures["ceiling"] else []),
            (rule, interval(accuracy) if accuracy else "-"),
            ("nll", f"{figures['nll']:.4f}  (chance {math.log(2):.4f})"),
        ]


def read_run(folder: Path) -> Run:
    """A run that has ended."""
    return Run(folder, json.loads((folder / "results.json").read_text(encoding="utf-8")))


def final_figures(
    prepared: Prepared, evaluator: Evaluator, folder: Path, model: Path
) -> tuple[dict[str, Any], dict[str, list[ScoredComparison]]]:
    """The figures of the best model on every set, and the rows of the set that is reported first.

    The test split is read here, once, with the best model loaded back from its folder. The first set before it, `valid`
    where there is one, becomes the unit of the scores in that folder.
    """
    sets, last = dict(evaluator.summaries["best"]), evaluator.summaries["last"]
    headline = SELECTION if SELECTION in sets else next(iter(sets), "test")
    shown = {name: read_rows(folder, name, "best") for name in (headline,) if name in sets}
    if headline in shown:
        add_normalization(model, measure(headline, prepared.evals[headline], shown[headline]))
    if prepared.test is not None:
        device = str(prepared.built.model.device)
        trusted, engine = prepared.config.model.trust_remote_code, prepared.built.engine.name
        scorer = load_model(model, device, trust_remote_code=trusted, engine=engine).model
        rows = score_store(scorer, prepared.test, prepared.config.train.micro_batch_tokens)
        write_rows(folder / "eval" / "test-best.jsonl", rows)
        loss = prepared.config.loss
        sets["test"] = summarize(rows, beta=loss.beta, weight_by=loss.weight_by)
        headline, shown = "test", {**shown, "test": rows}
    return {"headline": headline, "compute": compute_name(prepared.built.model), "sets": sets, "last": last}, shown


def read_rows(folder: Path, name: str, label: str) -> list[ScoredComparison]:
    """The scored rows of one evaluation of a run folder."""
    return list(read_lines(folder / "eval" / f"{name}-{label}.jsonl", ScoredComparison.from_json))
