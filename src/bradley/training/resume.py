"""Resume a run: compare the run with the record in the folder, and restore model, optimizer and evaluations."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ..common.files import remove_inside
from ..model.folder.card import read_card
from ..model.folder.safety import check_intruders
from ..model.folder.weights import read_tensors, tensors_to_save
from ..runs.layout import EVAL, METRICS, METRICS_CSV, RUN_MARKS, STATE, TENSORBOARD, TEST, TIMING
from ..runs.record import refuse_trained, write_record
from .build import Prepared
from .checkpoints.identity import check_identity, identity, parents, shown
from .checkpoints.state import Saved, check_rows, hash_first_rows, read_saved, restore_rows
from .distributed.full_tensors import load_optimizer, spread_tensors
from .job import Job
from .progress import Progress
from .tracking import check_written

WRITTEN = (METRICS, METRICS_CSV, TIMING, EVAL, TENSORBOARD)
"""Output of a process that ended before the first checkpoint, removed when the run begins again."""
PLAN = ("data", "seed", "render", "train.batch_size", "train.epochs", "train.max_steps")
"""Settings and fields of the identity, or leading parts of names, with an influence on the comparisons in each step."""


def compare(prepared: Prepared, record: Mapping[str, Any] | None, allowed: Sequence[str]) -> dict[str, Any]:
    """Check that a resume continues the same run.

    Args:
        prepared: checked data, model and plan.
        record: content of `run.json`; None for a new run.
        allowed: names that may differ, see `check_identity`.

    Returns:
        The allowed differences from the record; {} for a new run.

    Raises:
        UserError: as `check_identity`, in every process.
    """

    def differences() -> dict[str, Any]:
        exact = prepared.config.checkpoint.exact
        return check_identity(record["identity"], identity_of(prepared), allowed, exact=exact) if record else {}

    found: dict[str, Any] = prepared.strategy.group.from_main(differences)
    return found


def restore(prepared: Prepared, job: Job, record: Mapping[str, Any], changed: Mapping[str, Any]) -> Progress | None:
    """Restore a job from the newest whole checkpoint of the run folder.

    The main process reads the weights and sends every other process the weights or a shard. Optimizer shards are read
    by the processes needing the shards.

    Args:
        prepared: checked data, model and plan.
        job: the training job.
        record: content of `run.json`.
        changed: differences from the record, all allowed.

    Returns:
        The progress at the checkpoint; None if no checkpoint was ever written.

    Raises:
        CheckpointError: checkpoints were written, and no checkpoint is whole; or lines written before the checkpoint
            have changed.
    """
    strategy, network, console = job.strategy, job.model.network, job.console
    weights: dict[str, Tensor] = {}

    def find() -> list[Any] | None:
        found = job.checkpoints.newest()
        if found is None:
            return None
        # Hashes show damage, not intent: a folder from elsewhere may hold pickles or code with correct hashes.
        check_intruders(found.folder)
        trusted = prepared.config.model.trust_remote_code
        weights.update(read_tensors(network, found.folder, read_card(found.folder), remote_code=trusted))
        saved = read_saved(found.folder)
        # Before the first change: a refused resume leaves every file as found.
        saved = check_outputs(prepared, job, found.folder, saved)
        restore_rows(found.folder, job.evaluator.folder)
        write_record(job.folder, identity_of(prepared), [*record["starts"], {"step": found.step, "changed": changed}])
        return [found.step, *saved]

    known = strategy.group.from_main(find)
    if known is None:
        strategy.group.on_main(lambda: refuse_trained(job.folder))
        return None
    step, saved = known[0], Saved(*known[1:])
    folder = job.checkpoints.path(step) / STATE
    spread_tensors(tensors_to_save(network), weights, strategy.group)
    # The optimizer's state may need twice the memory of the weights, so the copy of the weights must go first.
    weights.clear()
    # The state of one kind of optimizer means nothing to another kind.
    if "optim.name" not in changed:
        fill = functools.partial(strategy.load_optimizer, folder)
        load_optimizer(job.model, job.optimizer, saved.optimizer, fill)
    job.evaluator.restore(saved.evaluator)
    console.say(f"resumed      after step {step} of {job.plan.num_steps}: step-{step:06d}, the newest whole")
    for name, (old, new) in changed.items():
        console.say(f"changed      {name}: {shown(old)}, now {shown(new)}; from here on another run than was begun")
    say_what_changes(changed, step, job)
    return Progress.from_json(saved.progress)


def check_outputs(prepared: Prepared, job: Job, checkpoint: Path, saved: Saved) -> Saved:
    """Check that the run itself has written the lines and rows to continue after, and return the state to restore.

    A checkpoint of an earlier version has no hashes: the files are taken as they are, with a message, and hashed.

    Raises:
        CheckpointError, RunFolderError: as `check_written` and `check_rows`.
    """
    check_written(job.folder, saved.progress["writers"])
    if not saved.hashed:
        job.console.warn(
            f"{checkpoint} was written by an earlier version, without hashes of metrics and scored rows: these files "
            "are taken as they are"
        )
        return saved._replace(evaluator={**saved.evaluator, "first_rows": hash_first_rows(job.evaluator.folder)})
    sets = [*job.evaluator.stores, *([TEST] if prepared.test is not None else [])]
    check_rows(checkpoint, job.evaluator.folder, saved.evaluator["first_rows"], sets)
    return saved


def begin(prepared: Prepared, folder: Path) -> None:
    """Write the record of a new run, and remove the output of an earlier attempt without a checkpoint."""
    # The writers of a new run create new files, and refuse to start if a file of the name exists.
    remove_inside(folder, WRITTEN, RUN_MARKS)
    write_record(folder, identity_of(prepared), [{"step": 0, "changed": {}}])


def say_what_changes(changed: Mapping[str, Any], step: int, job: Job) -> None:
    """Print the less obvious consequences of changed settings for a run resumed after `step`."""
    if any(set(PLAN) & set(parents(name)) for name in changed):
        into = step / job.plan.steps_per_epoch
        job.console.say(
            f"changed      the plan: step {step + 1} of {job.plan.num_steps} is next, {into:.2f} epochs into the new "
            "order; episodes and epochs are counted on from the old one"
        )
    if "optim.name" in changed:
        name = job.config.optim.name
        job.console.say(f"changed      the optimizer: {name} begins without what the old one had gathered")


def identity_of(prepared: Prepared) -> dict[str, dict[str, Any]]:
    """Compute the identity of a prepared run."""
    test = {"test": prepared.test} if prepared.test is not None else {}
    stores = {"train": prepared.train, **prepared.evals, **test}
    return identity(prepared.config, stores, prepared.renderer, prepared.built.model, prepared.strategy.order)
