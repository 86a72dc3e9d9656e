"""Run folders as objects: every file read on first use, and a finished run in a few lines."""

import math
from collections.abc import Sequence
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

from ..common.json_files import check_shape, read_json
from ..common.signatures import CARD
from ..common.text import and_more, cut_middle, percent_interval, visible
from ..errors import BradleyError, UserError
from ..evaluate.length import length_rule
from ..records import ScoredComparison, replaced
from .checks import refuse_damaged
from .layout import (
    CONFIG,
    DATA_REPORT,
    ENVIRONMENT,
    EVAL,
    EVAL_DISTRIBUTIONS,
    EVAL_SAMPLES,
    EXAMPLES,
    METRICS,
    MODEL,
    REPORT,
    RESULTS,
    SELECTION,
    TIMING,
    rows_file,
)
from .reader import (
    OTHER_LINES,
    Json,
    read_data_report,
    read_distributions,
    read_events,
    read_optional,
    read_samples,
    read_scored,
    read_timing,
)
from .shapes import Example, FinalResults, Results, Settings
from .status import read_status

AGAIN = "go on with --resume, which makes it again"
"""Hint for a damaged `results.json`."""
PARTS = (CONFIG, ENVIRONMENT, DATA_REPORT, RESULTS, EXAMPLES, METRICS, TIMING, EVAL)
SET_HEAD = ("set", "accuracy with 95 % interval by prompt", "nll", "rule of length")
LONGEST_NAME = 300
"""Most characters of a name or an error in the short form of a run."""


class RunFolder:
    """Run folder, of a finished or a running run. Each part is read on first use; a missing part is empty.

    `bradley.Run` is a `RunFolder` that also gives model and data.

    Args:
        folder: the run folder.
        results: content of `results.json`, if known.

    Attributes:
        folder: the run folder.
    """

    def __init__(self, folder: Path, results: Json | None = None) -> None:
        self.folder = folder
        self._checked = False
        if results is not None:
            self.results = results

    @property
    def model(self) -> Path:
        """Folder of the best model."""
        return self.folder / MODEL

    @cached_property
    def results(self) -> Json:
        """Content of `results.json`: final figures of every evaluation set in `sets`, the best step in `best`."""
        return read_optional(self._part(RESULTS), Results, {})

    @cached_property
    def config(self) -> Json:
        """Content of `config.json`: every setting of the run."""
        return read_optional(self._part(CONFIG), Settings, {})

    @cached_property
    def environment(self) -> Json:
        """Content of `environment.json`: versions, device, engine."""
        return read_optional(self._part(ENVIRONMENT), Json, {})

    @cached_property
    def data_report(self) -> Json:
        """Content of `data_report.json`: use of every row and token, by split."""
        return read_data_report(self._part(DATA_REPORT))

    @cached_property
    def events(self) -> list[Json]:
        """Lines of `metrics.jsonl`, each with a `kind` ("train" or "eval") and a `step`, in order of step."""
        return read_events(self._part(METRICS))

    @cached_property
    def timing(self) -> list[Json]:
        """Lines of `timing.jsonl`, each with at least `step` and `seconds_since_start`."""
        return read_timing(self._part(TIMING))

    @cached_property
    def distributions(self) -> list[Json]:
        """Lines of `eval/distributions.jsonl`: `step`, `set`, and histograms of `chosen` and `rejected`."""
        return read_distributions(self._part(f"{EVAL}/{EVAL_DISTRIBUTIONS}"))

    @cached_property
    def samples(self) -> list[Json]:
        """Lines of `eval/samples.jsonl`: `step`, `set`, and `rows`, comparisons with texts and scores."""
        return read_samples(self._part(f"{EVAL}/{EVAL_SAMPLES}"))

    @cached_property
    def evals(self) -> dict[str, list[ScoredComparison]]:
        """Scored rows by file name without ending, such as "valid-best"."""
        paths = sorted(path for path in self._part(EVAL).glob("*.jsonl") if path.name not in OTHER_LINES)
        return {path.stem: read_scored(path) for path in paths}

    @cached_property
    def examples(self) -> list[Json]:
        """Entries of `examples.json`, the largest error first."""
        return read_optional(self._part(EXAMPLES), list[Example], [])

    def rows(self, name: str = SELECTION, label: str = "best") -> list[ScoredComparison]:
        """Read the scored rows of an evaluation set, with the factor of the loss, and of a fitted temperature.

        A temperature belongs to the published model, so rows of other labels than `best` have the factor of the loss.

        Args:
            name: of the evaluation set: `valid`, `train_probe`, `test`, or a name in `data.eval_sets`.
            label: `step-0`, `best` or `last`; the test set has only `best`.

        Raises:
            UserError: the set was not evaluated at this label.
            CheckpointError: the file is missing, or has changed since the end of the run.
            DataError: a row is broken; the message names file and line.
        """
        rows = read_rows(self.folder, name, label)
        beta = self.config.get("loss", {}).get("beta", 1.0)
        there = label == "best" and (self.folder / MODEL / CARD).exists()
        card = read_json(self._part(f"{MODEL}/{CARD}"), dict[str, Any]) if there else {}
        fitted = card.get("temperature") or {}
        scale, known = fitted.get("scale", beta), fitted.get("set_sha256", "")
        if beta == scale == 1.0 and not known:
            return rows
        return [replaced(row, beta=beta, scale=scale, fitted_on=known) for row in rows]

    def summary(self) -> str:
        """Format the result in a few lines: accuracy with interval, ceiling if known, length rule, model, report.

        Raises:
            CheckpointError: `results.json` is damaged.
        """
        return "\n".join(f"{name:<12} {text}" for name, text in self._lines())

    def __repr__(self) -> str:
        """Format folder and result on one line, such as `<Run runs/x: accuracy 71.3 % [68.0, 74.5], n = ...>`."""
        name = visible(cut_middle(str(self.folder), LONGEST_NAME))
        return f"<{type(self).__name__} {name}: {self._short()}>"

    def _repr_html_(self) -> str:
        """Format the result as two tables for a notebook: the lines of `summary`, and figures of every set."""
        try:
            lines, sets = self._lines(), self._final()["sets"] if self.results else {}
        except BradleyError as error:
            return _html_table([("run", str(self.folder)), ("error", error.message)])
        figures = [_set_row(name, each) for name, each in sets.items()]
        return _html_table([("run", str(self.folder)), *lines]) + (_html_table(figures, SET_HEAD) if figures else "")

    def _short(self) -> str:
        try:
            name, text = self._lines()[0]
        except BradleyError as error:
            return visible(cut_middle(error.message, LONGEST_NAME))
        return f"{name} {text}"

    def _lines(self) -> list[tuple[str, str]]:
        """Names and texts of the lines of `summary`, the most telling first."""
        if not self.results:
            last = self.events[-1]["step"] if (self.folder / METRICS).is_file() and self.events else 0
            return [("unfinished", f"at step {last}, without results")]
        results = self._final()
        name = results["headline"]
        figures = results["sets"].get(name)
        lines = self._figures(name, figures) if figures else [("accuracy", "no evaluation set, so nothing is known")]
        if found := results.get("diagnostic"):
            lines.append(("diagnostic", f"{found['name']} on {found['set']}: {found['text']}"))
        lines.append(("model", f"{self.model}  ({results['compute']})"))
        # Without matplotlib there is no report.
        return [*lines, *([("report", str(self.folder / REPORT))] if (self.folder / REPORT).is_file() else [])]

    def _final(self) -> Json:
        """Results with every value that the summary needs."""
        final: Json = check_shape(self.results, FinalResults, self.folder / RESULTS, hint=AGAIN)
        return final

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

    def _part(self, name: str) -> Path:
        """Path of a file or folder of the run, unchanged since the end of the run."""
        if not self._checked:
            refuse_damaged(self.folder, read_status(self.folder), name)
        return self.folder / name

    def read_all(self) -> None:
        """Read every part; raises as `read_run`."""
        if not (self.folder / METRICS).is_file():
            raise UserError(
                f"{self.folder} is not a run folder: it has no metrics.jsonl",
                "give the folder that `bradley train` wrote, such as runs/NAME",
            )
        refuse_damaged(self.folder, read_status(self.folder), *PARTS)
        self._checked = True
        for name, each in vars(RunFolder).items():
            if isinstance(each, cached_property):
                getattr(self, name)


def read_run(folder: Path | str) -> RunFolder:
    """Read every part of a run folder; see `bradley.read_run`."""
    run = RunFolder(Path(folder))
    run.read_all()
    return run


def read_results(folder: Path) -> RunFolder:
    """Read the results of a finished run.

    Raises:
        CheckpointError: `results.json` is missing, broken, or has changed since the end of the run.
    """
    # Silent about a run without hashes: `is_finished` has said so.
    refuse_damaged(folder, read_status(folder), RESULTS, say=lambda _: None)
    return RunFolder(folder, read_json(folder / RESULTS, FinalResults, hint=AGAIN))


def read_rows(folder: Path, name: str, label: str) -> list[ScoredComparison]:
    """Read the scored rows of an evaluation in a run folder; raises as `RunFolder.rows`."""
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


def interval(figure: dict[str, Any]) -> str:
    """Format an accuracy with the 95 % interval clustered by prompt: `71.3 % [68.0, 74.5], n = 812 of 400 prompts`."""
    return f"{percent_interval(figure)}, n = {figure['n']} of {figure.get('clusters', 0)} prompts"


def _set_row(name: str, figures: dict[str, Any]) -> list[str]:
    """Cells of an evaluation set in the table for a notebook."""
    rule, accuracy = length_rule(figures)
    nll = "-" if figures["nll"] is None else f"{figures['nll']:.4f}"
    return [name, interval(figures["accuracy"]), nll, f"{rule}: {percent_interval(accuracy) if accuracy else '-'}"]


def _html_table(rows: Sequence[Sequence[str]], head: Sequence[str] = ()) -> str:
    """Format cells as an HTML table; every cell is escaped, since names may come from data."""
    lines = ["".join(f"<td>{escape(visible(cell))}</td>" for cell in row) for row in rows]
    top = f"<tr>{''.join(f'<th>{escape(name)}</th>' for name in head)}</tr>" if head else ""
    return f"<table>{top}{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"
