"""Finished runs: `Run`, read from a run folder."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..common.json_files import read_json
from ..common.text import and_more, percent_interval
from ..errors import UserError
from ..evaluate.length import length_rule
from ..records import ScoredComparison
from .checks import refuse_damaged
from .layout import EVAL, MODEL, REPORT, RESULTS, SELECTION, rows_file
from .reader import read_scored
from .shapes import FinalResults
from .status import read_status


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
            UserError: the set was not evaluated at this label.
            CheckpointError: the file is missing, or has changed since the end of the run.
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
        ceiling = figures.get("ceiling")
        return [
            ("accuracy", interval(figures["accuracy"]) + f"  on {name}, best step {self.results['best']['step']}"),
            *([("ceiling", interval(ceiling) + "  (the data's own scores)")] if ceiling else []),
            (rule, interval(accuracy) if accuracy else "-"),
            ("nll", "-" if figures["nll"] is None else f"{figures['nll']:.4f}  (chance {math.log(2):.4f})"),
            *(
                [("degenerate", "every score difference is the same, whatever the responses say")]
                if figures.get("degenerate")
                else []
            ),
        ]


def interval(figure: dict[str, Any]) -> str:
    """Format an accuracy with the 95 % interval clustered by prompt: `71.3 % [68.0, 74.5], n = 812 of 400 prompts`."""
    return f"{percent_interval(figure)}, n = {figure['n']} of {figure.get('clusters', 0)} prompts"


def read_results(folder: Path) -> Run:
    """Read a finished run from the run folder.

    Raises:
        CheckpointError: `results.json` is missing, broken, or has changed since the end of the run.
    """
    # Silent about a run without hashes: `is_finished` has said so.
    refuse_damaged(folder, read_status(folder), RESULTS, say=lambda _: None)
    return Run(folder, read_json(folder / RESULTS, FinalResults, hint="go on with --resume, which makes it again"))


def read_rows(folder: Path, name: str, label: str) -> list[ScoredComparison]:
    """Read the scored rows of an evaluation in a run folder; raises as `Run.rows`."""
    path = folder / EVAL / rows_file(name, label)
    status = read_status(folder)
    # Before the existence: a file that was written and is gone is damage, no wrong name.
    refuse_damaged(folder, status, f"{EVAL}/{path.name}")
    if not path.exists() or path.parent != folder / EVAL:
        known = sorted(each.stem for each in (folder / EVAL).glob("*-*.jsonl"))
        raise UserError(
            f"{folder} holds no scored rows of {name!r} at {label!r}, only {and_more(known, 8) or 'none'}",
            "give the name of an evaluation set, and step-0, best or last",
        )
    return read_scored(path)
