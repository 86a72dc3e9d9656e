"""Finished runs: `Run`, read from a run folder."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..common.text import percent_interval
from ..evaluate.length import length_rule
from ..records import ScoredComparison
from .layout import EVAL, MODEL, REPORT, RESULTS, SELECTION, rows_file
from .reader import read_lines


@dataclass(frozen=True)
class Run:
    """Finished run, as returned by `bradley.train`.

    Attributes:
        folder: the run folder.
        results: content of `results.json`: final figures of every evaluation set in `sets`, the best step in `best`.

    Example:
        run = bradley.train("configs/quickstart.toml", output="runs/x", sanity=True)
        print(run.summary())
        scores = [row.scores for row in run.rows("valid")]
        model = bradley.RewardModel.from_pretrained(run.model)
    """

    folder: Path
    results: dict[str, Any]

    @property
    def model(self) -> Path:
        """Folder of the best model."""
        return self.folder / MODEL

    def rows(self, name: str = SELECTION, label: str = "best") -> list[ScoredComparison]:
        """Read the scored rows of an evaluation set.

        Args:
            name: of the evaluation set: `valid`, `train_probe`, `test`, or a name in `data.eval_sets`.
            label: `step-0`, `best` or `last`; the test set has only `best`.

        Raises:
            FileNotFoundError: the set was not evaluated at this label.
            DataError: a row is broken; the message names file and line.
        """
        return read_rows(self.folder, name, label)

    def summary(self) -> str:
        """Format the result in a few lines: accuracy with interval, ceiling if known, length rule, model, report."""
        name = self.results["headline"]
        figures = self.results["sets"].get(name)
        lines = self._figures(name, figures) if figures else [("accuracy", "no evaluation set, so nothing is known")]
        lines += [("model", f"{self.model}  ({self.results['compute']})"), ("report", str(self.folder / REPORT))]
        return "\n".join(f"{name:<12} {text}" for name, text in lines)

    def _figures(self, name: str, figures: dict[str, Any]) -> list[tuple[str, str]]:
        # The better of two trivial rules, longer or shorter wins: a model below this line has learned less than length.
        rule, accuracy = length_rule(figures)
        return [
            ("accuracy", interval(figures["accuracy"]) + f"  on {name}, best step {self.results['best']['step']}"),
            *([("ceiling", interval(figures["ceiling"]) + "  (the data's own scores)")] if figures["ceiling"] else []),
            (rule, interval(accuracy) if accuracy else "-"),
            ("nll", f"{figures['nll']:.4f}  (chance {math.log(2):.4f})"),
            *(
                [("degenerate", "every score difference is the same, whatever the responses say")]
                if figures.get("degenerate")
                else []
            ),
        ]


def interval(figure: dict[str, Any]) -> str:
    """Format an accuracy with the 95 % interval clustered by prompt: `71.3 % [68.0, 74.5], n = 812 of 400 prompts`."""
    return f"{percent_interval(figure)}, n = {figure['n']} of {figure['clusters']} prompts"


def read_results(folder: Path) -> Run:
    """Read a finished run from the run folder.

    Raises:
        FileNotFoundError: the run has not ended.
    """
    return Run(folder, json.loads((folder / RESULTS).read_text(encoding="utf-8")))


def read_rows(folder: Path, name: str, label: str) -> list[ScoredComparison]:
    """Read the scored rows of an evaluation in a run folder; raises as `Run.rows`."""
    return list(read_lines(folder / EVAL / rows_file(name, label), ScoredComparison.from_json))
