"""`Run`: a finished run, read from its folder."""

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


def interval(figure: dict[str, Any]) -> str:
    """`71.3 % [68.0, 74.5], n = 812 of 400 prompts`: an accuracy with its 95 % interval, clustered by prompt."""
    return f"{percent_interval(figure)}, n = {figure['n']} of {figure['clusters']} prompts"


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, and the content of `results.json`."""

    folder: Path
    results: dict[str, Any]

    @property
    def model(self) -> Path:
        """The folder of the best model."""
        return self.folder / MODEL

    def rows(self, name: str = SELECTION, label: str = "best") -> list[ScoredComparison]:
        """The scored rows of one evaluation set at `step-0`, `best` or `last`."""
        return read_rows(self.folder, name, label)

    def summary(self) -> str:
        """The result in a few lines: accuracy with its interval, the ceiling if known, the length rule, the report."""
        name = self.results["headline"]
        figures = self.results["sets"].get(name)
        lines = self._figures(name, figures) if figures else [("accuracy", "no evaluation set, so nothing is known")]
        lines += [("model", f"{self.model}  ({self.results['compute']})"), ("report", str(self.folder / REPORT))]
        return "\n".join(f"{name:<12} {text}" for name, text in lines)

    def _figures(self, name: str, figures: dict[str, Any]) -> list[tuple[str, str]]:
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


def read_results(folder: Path) -> Run:
    """A run that has ended."""
    return Run(folder, json.loads((folder / RESULTS).read_text(encoding="utf-8")))


def read_rows(folder: Path, name: str, label: str) -> list[ScoredComparison]:
    """The scored rows of one evaluation of a run folder."""
    return list(read_lines(folder / EVAL / rows_file(name, label), ScoredComparison.from_json))
