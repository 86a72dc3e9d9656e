"""Run training from a configuration to a folder with the model and a report. Read `train` as a list of verbs."""

import contextlib
import importlib.util
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from ..common import signals
from ..common.console import Console
from ..common.files import sweep, write_text
from ..config import SYNTHETIC, Config, Hub, Section, as_list
from ..errors import BradleyError, UserError
from ..export.hub import check_hub
from ..launch import heartbeat
from ..records import ScoredComparison
from ..runs.claim import Claim, claim
from ..runs.layout import EXAMPLES, REPORT, RESULTS
from ..runs.run import read_results
from ..runs.status import reported
from .announce import announce, describe_run, show_samples, worst_examples
from .build import Prepared, Rows, default_cache, make_job, prepare
from .checkpoints.store import OURS
from .checks import check_data
from .distributed.consistency import check_same, code_hash
from .distributed.process_group import ProcessGroup, open_group
from .distributed.rank_watch import log_apart, watched
from .interpolation import point
from .job import Job
from .loop import Outcome, fit
from .progress import Progress
from .publish import diagnostic_result, final_figures, publish_best, score_test
from .results import Run
from .resume import begin, compare, restore
from .saver import check_disk

SANITY: dict[str, dict[str, Any]] = {
    "data": {"limit": 64, "eval_limit": 64},
    "train": {"max_steps": 4, "epochs": 1.0, "batch_size": 16, "stop_after": 0},
    "eval": {"every": 2, "train_probe": 16},
    "log": {"every": 1},
}
"""Settings changed by `--sanity`: every stage runs on 64 comparisons, in seconds."""


# A notebook may have switched gradients off.
@torch.inference_mode(False)
@torch.enable_grad()
def train(
    config: Config,
    *,
    train: Rows | None = None,
    valid: Rows | None = None,
    test: Rows | None = None,
    eval_sets: Mapping[str, Rows] | None = None,
    output: Path | None = None,
    progress: Literal["bar", "quiet", "json"] = "quiet",
    sanity: bool = False,
    sanity_push: bool = False,
    source: str = "",
    resume: bool = False,
    allow_change: Sequence[str] = (),
) -> Run:
    """Train, evaluate and report a reward model; see `bradley.train` for an example.

    Args:
        config: settings of the run.
        sanity_push: upload the model of a sanity run to `hub.push` too.
        source: text of the configuration file as given, kept as `config.toml`; '' without a file.
        train, valid, test, eval_sets, output, progress, sanity, resume, allow_change: as for `bradley.train`.

    Raises:
        BradleyError: bad input, each kind with a separate exit code; no folder is made before every check has passed.
        Preempted: the process was asked to stop by a signal or `train.time_limit`; the training state is saved.
    """
    if resume and output is None:
        raise UserError("resume = True needs the folder of the run", "give it as output")
    hub, config = config.hub, with_sanity(config, push=sanity_push) if sanity else config
    rows = {"train": train, "valid": valid, "test": test, "eval_sets": eval_sets}
    heartbeat.set_limit(config.parallel.hang_seconds)
    # A stop signal at any moment of a training that has neither finished nor failed ends as `Preempted`. From here on a
    # signal is a request, looked at where stopping is safe, and at once where this process waits for a network.
    # Cheap refusals come first, the lock before anything slow, and the folder of a new run after every check.
    with signals.listening(config.train.time_limit), open_group(config.parallel, config.train.device) as group:
        console = Console(progress if group.is_main else "quiet")
        folder = run_folder(output, group)
        # Machines with unlike settings or code would train different models, or wait for each other without end.
        check_same(group, {"configuration": config.model_dump(mode="json"), "code": code_hash()})
        with claim(folder, config, group, resume=resume, say=console.warn) as claimed:
            # A wrong token for the Hub must show now, not after hours of training; `sanity` keeps this check.
            group.on_main(lambda: check_hub(hub.push, hub.private, console.say))
            claimed.resume_locked()
            if claimed.ended:
                console.say(f"nothing to do: the run in {folder} has ended")
                group.on_main(lambda: None if (folder / REPORT).exists() else draw(folder, config, console))
                return Run(folder, group.from_main(lambda: read_results(folder).results))
            prepared = prepare(config, rows, default_cache(), claimed.threads, group, console)
            check_data(prepared.stores, prepared.renderer, group)
            if group.is_main:
                announce(prepared, console)
            changed = compare(prepared, claimed.record, allow_change)
            claimed.begin()
            with underway(prepared, folder):
                job = make_job(prepared, folder, console, claimed.lock)
                results = train_prepared(prepared, job, claimed, changed, source)
                group.on_main(lambda: show(folder, config, console))
                # Before `underway` writes the status `done`: afterwards nothing in the folder may change.
                claimed.done()
        return Run(folder, results, prepared.splits)


def run_folder(output: Path | None, group: ProcessGroup) -> Path:
    """Return the folder of the run, the same in every process; by default one named by the main process's clock."""
    return Path(group.from_main(lambda: str(output or Path("runs") / time.strftime("%Y%m%d-%H%M%S"))))


@contextlib.contextmanager
def underway(prepared: Prepared, folder: Path) -> Iterator[None]:
    """Keep `status.json` and the logs of the other processes, and raise the first failure, inside a `with` block.

    Raises:
        UserError: a process with files to write into the run folder does not see the folder.
        BradleyError: the first failure of any process.
    """
    group = prepared.strategy.group
    # The status is outermost: an error of another process becomes the first cause before the status names a failure.
    prepared.strategy.check_folder(folder)
    log_apart(folder, group)
    with reported(folder) if group.is_main else contextlib.nullcontext(), group.first_cause():
        yield


def train_prepared(
    prepared: Prepared, job: Job, claimed: Claim, changed: Mapping[str, Any], source: str
) -> dict[str, Any]:
    """Train in a claimed folder, from the beginning or from the newest checkpoint, and publish the best model.

    Args:
        prepared: checked data, model and plan.
        job: the training job of this folder.
        claimed: claim on the folder.
        changed: differences from the recorded run, all allowed.
        source: text of the configuration file as given.

    Returns:
        The content of `results.json`.
    """
    began = time.perf_counter()
    progress = begin_or_resume(prepared, job, claimed.record, changed)
    before = progress.seconds
    # A disk too small for the checkpoints must show before the first step, not after hours at the first save.
    prepared.strategy.group.on_main(lambda: check_disk(job, begun=progress.begun))
    prepared.strategy.group.on_main(lambda: describe_run(prepared, job.folder, source))
    # The loop seeds torch for every micro-batch, and a caller of `bradley.train` may draw random numbers afterwards.
    with torch.random.fork_rng(), watched(job.strategy, job.folder, job.config.parallel.hang_seconds):
        outcome = fit(job, progress)
    test = publish(prepared, job)
    return finish(prepared, job, outcome, test, began - before)


def begin_or_resume(
    prepared: Prepared, job: Job, record: Mapping[str, Any] | None, changed: Mapping[str, Any]
) -> Progress:
    """Restore the job from the newest checkpoint of the recorded run; without a checkpoint, begin a new run."""
    group = prepared.strategy.group
    # Swept under the lock: without the lock, the sweep would remove the drafts of a living process.
    group.on_main(lambda: sweep(job.folder, OURS))
    progress = restore(prepared, job, record, changed) if record else None
    if progress is None:
        group.on_main(lambda: begin(prepared, job.folder))
    return progress or Progress()


def publish(prepared: Prepared, job: Job) -> list[ScoredComparison] | None:
    """Publish the best checkpoint as `model/`, and score the test split with this model.

    Returns:
        Rows of the test split; None without a test split.
    """
    # Without the watchdog: the other processes make no progress while the main process copies, loads and scores.
    job.strategy.group.on_main(lambda: publish_best(job, prepared))
    show_samples(job.evaluator, job.console)
    with watched(job.strategy, job.folder, job.config.parallel.hang_seconds):
        return score_test(prepared, job)


def finish(
    prepared: Prepared, job: Job, outcome: Outcome, test: list[ScoredComparison] | None, began: float
) -> dict[str, Any]:
    """Write the results of an ended run, and return the results in every process.

    Args:
        prepared: checked data, model and plan.
        job: the ended job.
        outcome: end of the training loop.
        test: rows of the test split; None without a test split.
        began: start of the run on the clock of `time.perf_counter`, as if earlier processes had run just before.
    """
    about = {"steps": outcome.steps, "stopped": outcome.reason, **outcome.facts}

    def write() -> dict[str, Any]:
        about["seconds"] = round(time.perf_counter() - began, 1)
        return write_results(prepared, job, about, test)

    results: dict[str, Any] = job.strategy.group.from_main(write)
    return results


def show(folder: Path, config: Config, console: Console) -> None:
    """Make the report of an ended run, and upload the model to the Hub if asked to."""
    # The pages come first: a failed upload must not cost the report.
    draw(folder, config, console)
    upload(folder, config, console)


def draw(folder: Path, config: Config, console: Console) -> None:
    """Write plots and report, unless `log.figures` is off."""
    if config.log.figures:
        write_pages(folder, console)


def write_results(
    prepared: Prepared, job: Job, about: Mapping[str, Any], test: list[ScoredComparison] | None
) -> dict[str, Any]:
    """Write `results.json` and `examples.json` of an ended run, and return the content of `results.json`.

    Args:
        prepared: checked data, model and plan.
        job: the ended job.
        about: steps, reason of the end, seconds, and the guard's facts.
        test: rows of the test split; None without a test split.
    """
    final, shown = final_figures(prepared, job.evaluator, job.folder, test)
    results = {
        "best": {"step": job.evaluator.best_step, "metric": prepared.config.train.select_by},
        **about,
        **({"interpolation": point(job.evaluator.interpolation)} if prepared.config.train.past_interpolation else {}),
        "parameters": sum(p.numel() for p in prepared.built.model.parameters()),
        **final,
        **diagnostic_result(prepared.config.data, final),
    }
    write_text(job.folder / RESULTS, json.dumps(results, indent=2) + "\n")
    write_text(job.folder / EXAMPLES, json.dumps(worst_examples(prepared, shown)) + "\n")
    return results


def upload(folder: Path, config: Config, console: Console) -> None:
    """Export a finished run and push the model to the Hub, if `hub.push` names a repository.

    Raises:
        BradleyError: as `publish_run`; the run is complete, and the hint gives the command to try again.
    """
    name, private = config.hub.push, config.hub.private
    if not name:
        return
    from ..export.hub import publish_run

    try:
        url = publish_run(
            folder, name, private=private, trust_remote_code=config.model.trust_remote_code, say=console.say
        )
    except BradleyError as error:
        raise type(error)(
            f"the run in {folder} is complete, but not uploaded: {error.message}",
            f"type `bradley export {folder} DIR --push {name}{' --private' if private else ''}` to try again",
        ) from error
    console.say(f"hub          {url}")


def with_sanity(config: Config, *, push: bool = False) -> Config:
    """Return the configuration with the changes in `SANITY`; the upload is left out unless `push`."""
    changes: dict[str, Section] = {
        name: getattr(config, name).model_copy(update=values) for name, values in SANITY.items()
    }
    # A rehearsal of a file that names a repository would replace the published model by one of four steps.
    if not push:
        changes["hub"] = Hub()
    # `data.limit` draws its sample after composing: the default of 4,000 comparisons would be composed for 64.
    if SYNTHETIC in as_list(config.data.train):
        synthetic = config.data.synthetic.model_copy(update={"comparisons": 400})
        changes["data"] = changes["data"].model_copy(update={"synthetic": synthetic})
    return config.model_copy(update=changes)


def write_pages(folder: Path, console: Console) -> None:
    """Write plots and report; without matplotlib, print the command to install matplotlib instead."""
    if importlib.util.find_spec("matplotlib") is None:
        console.say('no figures and no report.html: they need `pip install "bradley[report]"`')
        return
    from ..report.page import plot_run, write_report

    plot_run(folder)
    write_report(folder)
