"""One run, from a configuration to a folder with the model and its report."""

import contextlib
import importlib.util
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ..common import disk, signals
from ..common.console import Console
from ..common.files import disk_errors, make_folder, sweep, sync, write_text
from ..config import SYNTHETIC, Config, Hub, Section, as_list
from ..errors import BradleyError, Preempted, RunFolderError, UserError
from ..export.hub import check_hub
from ..model.folder.save_load import rendering_hashes
from ..records import ScoredComparison
from ..runs.checkpoints import steps_in
from ..runs.lock import RunLock, busy, holder, run_lock
from ..runs.record import is_finished, read_record
from ..runs.run import Run, read_results
from ..runs.starts import count_start, forget_starts
from ..runs.status import reported
from .announce import announce, describe_run, show_samples, worst_examples
from .build import Prepared, Rows, default_cache, make_job, prepare
from .checkpoints.identity import trained_on
from .distributed.consistency import check_same, code_hash
from .distributed.process_group import open_group
from .distributed.rank_watch import log_apart, watched
from .job import Job
from .loop import fit
from .progress import Progress
from .publish import final_figures, publish_best, score_test
from .resume import begin, compare, go_on
from .saver import check_disk

SANITY: dict[str, dict[str, Any]] = {
    "data": {"limit": 64, "eval_limit": 64},
    "train": {"max_steps": 4, "epochs": 1.0, "batch_size": 16, "stop_after": 0},
    "eval": {"every": 2, "train_probe": 16},
    "log": {"every": 1},
    "hub": {"push": "", "private": False},
}
"""What `--sanity` changes: every stage runs, on 64 comparisons, in seconds; such a model is uploaded nowhere."""
WAIT_SECONDS = 90.0
"""How long a run that goes on waits for a process of another machine that has its folder, and may be dead."""


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
    rows, held = {"train": train, "valid": valid, "test": test, "eval_sets": eval_sets}, list[RunLock]()
    with open_group(config.parallel, config.train.device) as group:
        console = Console(progress if group.is_main else "quiet")
        folder = Path(group.from_main(lambda: str(output or Path("runs") / time.strftime("%Y%m%d-%H%M%S"))))
        check_same(group, {"configuration": config.model_dump(mode="json"), "code": code_hash()})
        record, ended = group.from_main(lambda: begun(folder, config, hub, resume=resume))
        with contextlib.ExitStack() as stack:
            stack.enter_context(signals.listening(config.train.time_limit))
            stack.enter_context(preempted(folder))
            if record and not ended:
                group.on_main(lambda: held.append(take_again(folder, stack, console)))
                record, ended = group.from_main(lambda: begun(folder, config, hub, resume=resume))  # as it is now
            if ended:
                console.say(f"nothing to do: the run in {folder} has ended")
                return Run(folder, group.from_main(lambda: read_results(folder).results))
            threads = record["identity"]["threads"]["number"] if record else 0
            prepared = prepare(config, rows, default_cache(), threads, group)
            check_data(prepared)
            if group.is_main:
                announce(prepared, console)
            changed = group.from_main(lambda: compare(prepared, record, allow_change) if record else {})
            if not record:
                group.on_main(lambda: held.append(take(folder, stack, console, again=resume)))
            prepared.strategy.check_folder(folder)
            log_apart(folder, group)
            if group.is_main:
                stack.enter_context(reported(folder))
            stack.enter_context(group.first_cause())
            job = make_job(prepared, folder, console)
            job.checkpoints.still_ours = held[0].check if held else job.checkpoints.still_ours
            results = train_prepared(prepared, job, source, record, changed)
            group.on_main(lambda: show(folder, config, console))
            group.on_main(lambda: forget_starts(folder))  # while the status does not yet say that all is done
        return Run(folder, results)


def begun(folder: Path, config: Config, hub: Hub, *, resume: bool) -> tuple[dict[str, Any] | None, bool]:
    """The record of what was begun in a folder, if a run may go on with it, and whether that has ended.

    Raises:
        BradleyError: a folder that is not free, or not fit to go on in; a Hub that would not take the model.
    """
    record = read_record(folder) if resume else None
    if not resume:
        refuse_used(folder)
    check_hub(hub.push, hub.private)
    return record, record is not None and is_finished(folder, config)


def check_data(prepared: Prepared) -> None:
    """Raise `UserError` where the processes have read other data, or with another tokenizer."""
    stores = {"train": prepared.train, **prepared.evals}
    if prepared.strategy.group.size > 1:
        hashes = {name: trained_on(store) for name, store in stores.items()}
        check_same(prepared.strategy.group, {"data": hashes, "tokenizer": rendering_hashes(prepared.renderer)})


def take(folder: Path, stack: contextlib.ExitStack, console: Console, *, again: bool) -> RunLock:
    """Make a folder this run's own until the stack ends. Raises `RunFolderError` where another run was first."""
    claim(folder, again=again)
    lock = stack.enter_context(run_lock(folder, say=console.warn))
    refuse_begun(folder)
    stack.enter_context(counted(folder))
    return lock


def take_again(folder: Path, stack: contextlib.ExitStack, console: Console) -> RunLock:
    """Make the folder of a run that goes on this process's own until the stack ends, and count the start at once:
    whatever ends the process next may end it every time.
    """
    lock = stack.enter_context(run_lock(folder, WAIT_SECONDS, console.warn))
    stack.enter_context(counted(folder))
    return lock


def show(folder: Path, config: Config, console: Console) -> None:
    """What is made of a run that has ended: its pages, and its model on the Hub."""
    write_pages(folder, console)
    upload(folder, config, console)


@contextlib.contextmanager
def preempted(folder: Path) -> Iterator[None]:
    """Give a request to stop before the first step, or after the last, its exit code: nothing was to be saved."""
    try:
        yield
    except signals.StopRequested as asked:
        raise Preempted(
            f"stopped by {asked} outside of training, where nothing is lost; the run folder is {folder}",
            "the same command with --resume goes on",
        ) from asked


@contextlib.contextmanager
def counted(folder: Path) -> Iterator[None]:
    """Starts are counted until one of them ends as it should, which being asked to stop is too, or being refused."""
    count_start(folder, max(steps_in(folder / "checkpoints"), default=None))
    try:
        yield
    except (Preempted, signals.StopRequested, UserError):
        forget_starts(folder)
        raise
    forget_starts(folder)


def train_prepared(
    prepared: Prepared,
    job: Job,
    source: str,
    record: Mapping[str, Any] | None,
    changed: Mapping[str, Any],
) -> dict[str, Any]:
    """Train in a folder that is this process's own, from its beginning or from where `record` was left.

    Args:
        changed: what differs from the run of the record, and may.

    Returns:
        The content of `results.json`.
    """
    began = time.perf_counter()
    config, group, folder, console = prepared.config, prepared.strategy.group, job.folder, job.console
    group.on_main(lambda: sweep(folder))
    progress = go_on(prepared, job, record, changed, console) if record else None
    if progress is None:
        group.on_main(lambda: begin(prepared, folder))
        progress = Progress()
    before = progress.seconds
    group.on_main(lambda: check_disk(job, begun=progress.begun))
    group.on_main(lambda: describe_run(prepared, folder, source))
    with torch.random.fork_rng(), watched(job.strategy, folder, config.parallel.hang_seconds):
        outcome = fit(job, progress)
    group.on_main(lambda: publish_best(job, prepared))
    show_samples(job.evaluator, console)
    with watched(job.strategy, folder, config.parallel.hang_seconds):
        test = score_test(prepared, job)
    about = {"steps": outcome.steps, "stopped": outcome.reason, **outcome.facts}

    def finish() -> dict[str, Any]:
        about["seconds"] = round(before + time.perf_counter() - began, 1)
        return write_results(prepared, job, about, test)

    results: dict[str, Any] = group.from_main(finish)
    return results


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
    write_text(job.folder / "results.json", json.dumps(results, indent=2) + "\n")
    write_text(job.folder / "examples.json", json.dumps(worst_examples(prepared, shown)) + "\n")
    return results


def upload(folder: Path, config: Config, console: Console) -> None:
    """Export a finished run and push it to the Hub, where the settings name a repository.

    Raises:
        BradleyError: as `publish`; the run is complete, and the hint says how to try again.
    """
    name, private = config.hub.push, config.hub.private
    if not name:
        return
    from ..export.hub import publish

    try:
        url = publish(folder, name, private=private, trust_remote_code=config.model.trust_remote_code)
    except BradleyError as error:
        raise type(error)(
            f"the run in {folder} is complete, but not uploaded: {error.message}",
            f"type `bradley export {folder} DIR --push {name}{' --private' if private else ''}` to try again",
        ) from error
    console.say(f"hub          {url}")


def refuse_used(folder: Path) -> None:
    """Raise `RunFolderError` for a folder that is not empty: a run is never overwritten. Who writes it is named."""
    if owner := holder(folder):
        raise busy(folder, owner)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunFolderError(f"{folder} already holds files", "give another --output, or remove it")


def refuse_begun(folder: Path) -> None:
    """Raise `RunFolderError` for a folder in which another process has begun a run since this one looked."""
    if read_record(folder) is not None:
        raise RunFolderError(f"{folder} was taken by another run meanwhile", "give another --output")


def claim(folder: Path, *, again: bool = False) -> None:
    """Make the folder this run's own; of several runs that found it free, one gets it.

    Args:
        again: whether it may be one that an earlier process had claimed, and then not got as far as a record.

    Raises:
        RunFolderError: another run was first.
        DiskError: it cannot be made.
    """
    with disk_errors(folder, "made"):
        make_folder(folder)
        try:
            disk.mkdir(folder / "checkpoints")
        except FileExistsError:
            if not again:
                raise RunFolderError(f"{folder} was taken by another run meanwhile", "give another --output") from None
        sync(folder)


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
