"""One run, from a configuration to a folder with the model and its report."""

import importlib.util
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..config import SYNTHETIC, Config, Section, as_list
from ..console import Console
from ..errors import BradleyError, DiskError, RunFolderError
from ..evaluate.length import length_rule
from ..evaluate.summary import summarize
from ..files import write_text
from ..hub import check_hub
from ..model.normalization import measure
from ..model.reward import compute_name
from ..model.store import add_normalization, load_model
from ..records import ScoredComparison
from ..report.run_folder import read_lines
from ..score import score_store
from .build import Prepared, Rows, default_cache, make_job, prepare
from .evaluation import SELECTION, Evaluator, percent, write_rows
from .loop import fit
from .record import announce, describe_run, show_samples, worst_examples

SANITY: dict[str, dict[str, Any]] = {
    "data": {"limit": 64, "eval_limit": 64},
    "train": {"max_steps": 4, "epochs": 1.0, "batch_size": 16, "stop_after": 0},
    "eval": {"every": 2, "train_probe": 16},
    "log": {"every": 1},
    "hub": {"push": "", "private": False},
}
"""What `--sanity` changes: every stage runs, on 64 comparisons, in seconds; such a model is uploaded nowhere."""


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


def train(
    config: Config,
    *,
    train: Rows | None = None,
    valid: Rows | None = None,
    test: Rows | None = None,
    eval_sets: Mapping[str, Rows] | None = None,
    output: Path | None = None,
    progress: str = "quiet",
    sanity: bool = False,
    source: str = "",
) -> Run:
    """Train, evaluate and report one reward model.

    Args:
        train, valid, test: rows or comparisons in memory, instead of the files that the configuration names.
        eval_sets: named evaluation sets in memory, beside or instead of those in `data.eval_sets`.
        output: the run folder, which must not hold a run yet; by default `runs/<time>`.
        progress: `bar`, `quiet` or `json`, all on stderr.
        sanity: run every stage on 64 comparisons, in seconds.
        source: the configuration as it was given, kept as `config.toml`.

    Raises:
        BradleyError: bad input, each kind with its exit code; a folder is only made once everything has been checked.
    """
    console = Console(progress)
    began = time.perf_counter()
    folder = output or Path("runs") / time.strftime("%Y%m%d-%H%M%S")
    refuse_used(folder)
    check_hub(config.hub.push, config.hub.private)
    config = with_sanity(config) if sanity else config
    rows = {"train": train, "valid": valid, "test": test, "eval_sets": eval_sets}
    prepared = prepare(config, rows, default_cache())
    announce(prepared, console)
    claim(folder)
    describe_run(prepared, folder, source)
    job = make_job(prepared, folder, console)
    with torch.random.fork_rng():
        outcome = fit(job)
    model = job.checkpoints.publish(folder / "model")
    show_samples(job.evaluator, console)
    final, shown = final_figures(prepared, job.evaluator, folder, model)
    results = {
        "best": {"step": job.evaluator.best_step, "metric": config.train.select_by},
        "steps": outcome.steps,
        "stopped": outcome.reason,
        "seconds": round(time.perf_counter() - began, 1),
        "parameters": sum(p.numel() for p in prepared.built.model.parameters()),
        **final,
    }
    write_text(folder / "results.json", json.dumps(results, indent=2) + "\n")
    write_text(folder / "examples.json", json.dumps(worst_examples(prepared, shown)) + "\n")
    write_pages(folder, console)
    upload(folder, config, console)
    return Run(folder, results)


def upload(folder: Path, config: Config, console: Console) -> None:
    """Export a finished run and push it to the Hub, where the settings name a repository.

    Raises:
        BradleyError: as `publish`; the run is complete, and the hint says how to try again.
    """
    name, private = config.hub.push, config.hub.private
    if not name:
        return
    from ..export.publish import publish

    try:
        url = publish(folder, name, private=private, trust_remote_code=config.model.trust_remote_code)
    except BradleyError as error:
        raise type(error)(
            f"the run in {folder} is complete, but not uploaded: {error.message}",
            f"type `bradley export {folder} DIR --push {name}{' --private' if private else ''}` to try again",
        ) from error
    console.say(f"hub          {url}")


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


def refuse_used(folder: Path) -> None:
    """Raise `RunFolderError` for a folder that is not empty: a run is never overwritten."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunFolderError(f"{folder} already holds files", "give another --output, or remove it")


def claim(folder: Path) -> None:
    """Make the folder this run's own; of several runs that found it free, one gets it.

    Raises:
        RunFolderError: another run was first.
        DiskError: it cannot be made.
    """
    try:
        (folder / "checkpoints").mkdir(parents=True)
    except FileExistsError:
        raise RunFolderError(f"{folder} was taken by another run meanwhile", "give another --output") from None
    except OSError as error:
        raise DiskError(f"{folder} cannot be made: {error.strerror}", "give another --output") from error


def with_sanity(config: Config) -> Config:
    """The configuration with the changes of `SANITY`."""
    changes: dict[str, Section] = {
        name: getattr(config, name).model_copy(update=values) for name, values in SANITY.items()
    }
    if SYNTHETIC in as_list(config.data.train):
        synthetic = config.data.synthetic.model_copy(update={"comparisons": 400})
        changes["data"] = changes["data"].model_copy(update={"synthetic": synthetic})
    return config.model_copy(update=changes)


def write_pages(folder: Path, console: Console) -> None:
    """Plots and the report; without matplotlib the numbers stand without figures, and a line says how to get them."""
    if importlib.util.find_spec("matplotlib") is None:
        console.say('no figures and no report.html: they need `pip install "bradley[report]"`')
        return
    from ..report.page import plot_run, write_report

    plot_run(folder)
    write_report(folder)
