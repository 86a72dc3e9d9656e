"""One run, from a configuration to a folder with the model and its report. Read `train` as a list of verbs."""

import contextlib
import importlib.util
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ..common import signals
from ..common.console import Console
from ..common.files import sweep, write_text
from ..config import SYNTHETIC, Config, Section, as_list
from ..errors import BradleyError, UserError
from ..export.hub import check_hub
from ..records import ScoredComparison
from ..runs.claim import Claim, claim
from ..runs.layout import EXAMPLES, RESULTS
from ..runs.run import Run, read_results
from ..runs.status import reported
from .announce import announce, describe_run, show_samples, worst_examples
from .build import Prepared, Rows, default_cache, make_job, prepare
from .checks import check_data
from .distributed.consistency import check_same, code_hash
from .distributed.process_group import ProcessGroup, open_group
from .distributed.rank_watch import log_apart, watched
from .job import Job
from .loop import Outcome, fit
from .progress import Progress
from .publish import final_figures, publish_best, score_test
from .resume import begin, compare, restore
from .saver import check_disk

SANITY: dict[str, dict[str, Any]] = {
    "data": {"limit": 64, "eval_limit": 64},
    "train": {"max_steps": 4, "epochs": 1.0, "batch_size": 16, "stop_after": 0},
    "eval": {"every": 2, "train_probe": 16},
    "log": {"every": 1},
    "hub": {"push": "", "private": False},
}
"""What `--sanity` changes: every stage runs, on 64 comparisons, in seconds; such a model is uploaded nowhere."""


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
    resume: bool = False,
    allow_change: Sequence[str] = (),
) -> Run:
    """Train, evaluate and report one reward model.

    Args:
        train, valid, test: rows or comparisons in memory, instead of the files that the configuration names.
        eval_sets: named evaluation sets in memory, beside or instead of those in `data.eval_sets`.
        output: the run folder, which must not hold a run yet; by default `runs/<time>`.
        progress: `bar`, `quiet` or `json`, all on stderr.
        sanity: run every stage on 64 comparisons, in seconds.
        source: the configuration as it was given, kept as `config.toml`.
        resume: go on with the run in `output`, if there is one, from its newest whole checkpoint; a run that has ended
            is given back as it is.
        allow_change: names of settings, or of other parts of the record `run.json`, that may differ from what was
            begun.

    Raises:
        BradleyError: bad input, each kind with its exit code; a folder is only made once everything has been checked.
        Preempted: asked to stop by a signal or `train.time_limit`; what was trained is saved.
    """
    if resume and output is None:
        raise UserError("resume = True needs the folder of the run", "give it as output")
    hub, config = config.hub, with_sanity(config) if sanity else config
    rows = {"train": train, "valid": valid, "test": test, "eval_sets": eval_sets}
    with open_group(config.parallel, config.train.device) as group:
        console = Console(progress if group.is_main else "quiet")
        folder = run_folder(output, group)
        check_same(group, {"configuration": config.model_dump(mode="json"), "code": code_hash()})
        with (
            signals.listening(config.train.time_limit),
            claim(folder, config, group, resume=resume, say=console.warn) as claimed,
        ):
            group.on_main(lambda: check_hub(hub.push, hub.private))
            claimed.resume_locked()
            if claimed.ended:
                console.say(f"nothing to do: the run in {folder} has ended")
                return Run(folder, group.from_main(lambda: read_results(folder).results))
            prepared = prepare(config, rows, default_cache(), claimed.threads, group)
            check_data(prepared.stores, prepared.renderer, group)
            if group.is_main:
                announce(prepared, console)
            changed = compare(prepared, claimed.record, allow_change)
            claimed.begin()
            with underway(prepared, folder):
                job = make_job(prepared, folder, console, claimed.lock)
                results = train_prepared(prepared, job, claimed, changed, source)
                group.on_main(lambda: show(folder, config, console))
                claimed.done()  # before the status says that all is done
        return Run(folder, results)


def run_folder(output: Path | None, group: ProcessGroup) -> Path:
    """Return the folder of the run, the same in every process; by default one named by the main process's clock."""
    return Path(group.from_main(lambda: str(output or Path("runs") / time.strftime("%Y%m%d-%H%M%S"))))


@contextlib.contextmanager
def underway(prepared: Prepared, folder: Path) -> Iterator[None]:
    """Keep `status.json` of a run for the time of the block, one log for each further process, and one first cause.

    Raises:
        UserError: a process that has to write into the run folder does not see the folder.
        BradleyError: the first failure of any process.
    """
    group = prepared.strategy.group
    prepared.strategy.check_folder(folder)
    log_apart(folder, group)
    with reported(folder) if group.is_main else contextlib.nullcontext(), group.first_cause():
        yield


def train_prepared(
    prepared: Prepared, job: Job, claimed: Claim, changed: Mapping[str, Any], source: str
) -> dict[str, Any]:
    """Train in a claimed folder, from the beginning or from the newest checkpoint, and publish the best model.

    Args:
        changed: differences from the run of the record, all allowed.
        source: the configuration as given.

    Returns:
        The content of `results.json`.
    """
    began = time.perf_counter()
    progress = begin_or_resume(prepared, job, claimed.record, changed)
    before = progress.seconds
    prepared.strategy.group.on_main(lambda: check_disk(job, begun=progress.begun))
    prepared.strategy.group.on_main(lambda: describe_run(prepared, job.folder, source))
    outcome = run_loop(job, progress)
    test = publish(prepared, job)
    return finish(prepared, job, outcome, test, began - before)


def begin_or_resume(
    prepared: Prepared, job: Job, record: Mapping[str, Any] | None, changed: Mapping[str, Any]
) -> Progress:
    """Bring the job to the newest checkpoint of the recorded run; without one, write the record of a new run."""
    group = prepared.strategy.group
    group.on_main(lambda: sweep(job.folder))
    progress = restore(prepared, job, record, changed) if record else None
    if progress is None:
        group.on_main(lambda: begin(prepared, job.folder))
    return progress or Progress()


def run_loop(job: Job, progress: Progress) -> Outcome:
    """Run the training loop under the watchdog, with the caller's random state left alone."""
    with torch.random.fork_rng(), watched(job.strategy, job.folder, job.config.parallel.hang_seconds):
        return fit(job, progress)


def publish(prepared: Prepared, job: Job) -> list[ScoredComparison] | None:
    """Make `model/` of the best checkpoint and score the test split with it; None without a test split."""
    job.strategy.group.on_main(lambda: publish_best(job, prepared))
    show_samples(job.evaluator, job.console)
    with watched(job.strategy, job.folder, job.config.parallel.hang_seconds):
        return score_test(prepared, job)


def finish(
    prepared: Prepared, job: Job, outcome: Outcome, test: list[ScoredComparison] | None, began: float
) -> dict[str, Any]:
    """Write the results of a run that has ended, and return them in every process.

    Args:
        began: start of the run on the clock of `time.perf_counter`, as if earlier processes had run just before.
    """
    about = {"steps": outcome.steps, "stopped": outcome.reason, **outcome.facts}

    def write() -> dict[str, Any]:
        about["seconds"] = round(time.perf_counter() - began, 1)
        return write_results(prepared, job, about, test)

    results: dict[str, Any] = job.strategy.group.from_main(write)
    return results


def show(folder: Path, config: Config, console: Console) -> None:
    """Make what is shown of a run that has ended: its pages, and its model on the Hub."""
    write_pages(folder, console)
    upload(folder, config, console)


def write_results(
    prepared: Prepared, job: Job, about: Mapping[str, Any], test: list[ScoredComparison] | None
) -> dict[str, Any]:
    """Write `results.json` and `examples.json` of a run that has ended, and return the first.

    Args:
        about: how it ended, and what it took.
        test: rows of the test split, if there is one.
    """
    final, shown = final_figures(prepared, job.evaluator, job.folder, test)
    results = {
        "best": {"step": job.evaluator.best_step, "metric": prepared.config.train.select_by},
        **about,
        "parameters": sum(p.numel() for p in prepared.built.model.parameters()),
        **final,
    }
    write_text(job.folder / RESULTS, json.dumps(results, indent=2) + "\n")
    write_text(job.folder / EXAMPLES, json.dumps(worst_examples(prepared, shown)) + "\n")
    return results


def upload(folder: Path, config: Config, console: Console) -> None:
    """Export a finished run and push it to the Hub, where the settings name a repository.

    Raises:
        BradleyError: as `publish_run`; the run is complete, and the hint says how to try again.
    """
    name, private = config.hub.push, config.hub.private
    if not name:
        return
    from ..export.hub import publish_run

    try:
        url = publish_run(folder, name, private=private, trust_remote_code=config.model.trust_remote_code)
    except BradleyError as error:
        raise type(error)(
            f"the run in {folder} is complete, but not uploaded: {error.message}",
            f"type `bradley export {folder} DIR --push {name}{' --private' if private else ''}` to try again",
        ) from error
    console.say(f"hub          {url}")


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
