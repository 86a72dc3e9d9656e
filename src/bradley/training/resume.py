"""Going on with a run: what was begun in a folder, whether this is the same run, and everything back in its place."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ..config import Config
from ..console import Console
from ..errors import CheckpointError, RunFolderError
from ..files import write_text
from ..model.card import read_card
from ..model.foreign import shards_of
from ..model.intruders import check_intruders
from ..model.weights import read_tensors, tensors_to_save
from ..status import read_state
from .build import Prepared
from .checkpoint import leftovers
from .identity import check_identity, identity, parents, shown
from .job import Job
from .parallel.whole import load_optimizer, spread_tensors
from .progress import Progress
from .state import FOLDER, Saved, read_saved, restore_rows

RECORD = "run.json"
"""What the run is, and every time that it was begun or gone on with."""
WRITTEN = ("metrics.jsonl", "metrics.csv", "timing.jsonl", "eval", "tensorboard")
"""What a process may leave behind that ended before its first checkpoint."""


def read_record(folder: Path) -> dict[str, Any] | None:
    """What was begun in a folder; None where nothing was, or nothing that got as far as a record.

    Raises:
        RunFolderError: a folder that holds something else.
        CheckpointError: a record that cannot be read.
    """
    path = folder / RECORD
    if path.is_file():
        try:
            record = dict(json.loads(path.read_text(encoding="utf-8")))
            return {**record, "identity": dict(record["identity"]), "starts": list(record["starts"])}
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise CheckpointError(f"{path} is broken: {error!r}", "copy the whole run folder, or begin anew") from error
    if leftovers(folder / "checkpoints"):
        raise CheckpointError(
            f"{folder} holds checkpoints, and {RECORD}, which says of what run, is missing",
            f"copy the whole run folder; or give another --output, with --model.path {folder}/checkpoints/step-NNNNNN "
            "to begin with these weights",
        )
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "checkpoints").is_dir():
        shards = shards_of(folder)
        advice = f"for its model {shards.advice}" if shards else "give another --output, or remove it"
        holds = f"a checkpoint of {shards.trainer}" if shards else "files"
        raise RunFolderError(f"{folder} holds {holds}, and no run to go on with", advice)
    return None


def is_finished(folder: Path, config: Config) -> bool:
    """Whether exactly this run has ended well in a folder, so that nothing is left to do."""
    if read_state(folder) != "done":
        return False
    known = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return bool(known == json.loads(config.model_dump_json()))


def identity_of(prepared: Prepared) -> dict[str, dict[str, Any]]:
    """The identity of a run that is prepared."""
    test = {"test": prepared.test} if prepared.test is not None else {}
    stores = {"train": prepared.train, **prepared.evals, **test}
    return identity(prepared.config, stores, prepared.renderer, prepared.built.model, prepared.team.order)


def begin(prepared: Prepared, folder: Path) -> None:
    """Write the record of a run that begins; whatever is left of one that never reached a checkpoint is removed."""
    for name in WRITTEN:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    write_record(folder, identity_of(prepared), [{"step": 0, "changed": {}}])


def compare(prepared: Prepared, record: Mapping[str, Any], allowed: Sequence[str]) -> dict[str, Any]:
    """What differs from the run that was begun, and may. Raises as `check_identity`."""
    exact = prepared.config.checkpoint.exact
    return check_identity(record["identity"], identity_of(prepared), allowed, exact=exact)


def go_on(
    prepared: Prepared, job: Job, record: Mapping[str, Any], changed: Mapping[str, Any], console: Console
) -> Progress | None:
    """Bring a job to the newest checkpoint of its folder; None where there was never one.

    The main process reads it, and gives every process its part; an optimizer in shards each process reads for itself.

    Args:
        record: what was begun there; `changed`, what differs from it.

    Raises:
        CheckpointError: no checkpoint of those that were written is whole.
    """
    team, network = job.team, job.model.network
    weights: dict[str, Tensor] = {}

    def find() -> list[Any] | None:
        found = job.checkpoints.newest()
        if found is None:
            return None
        check_intruders(found.folder)
        trusted = prepared.config.model.trust_remote_code
        weights.update(read_tensors(network, found.folder, read_card(found.folder), remote_code=trusted))
        saved = read_saved(found.folder)
        restore_rows(found.folder, job.evaluator.folder)
        write_record(job.folder, identity_of(prepared), [*record["starts"], {"step": found.step, "changed": changed}])
        return [found.step, *saved]

    known = team.group.from_main(find)
    if known is None:
        team.group.on_main(lambda: refuse_trained(job.folder))
        return None
    step, saved = known[0], Saved(*known[1:])
    folder = job.checkpoints.path(step) / FOLDER
    spread_tensors(tensors_to_save(network), weights, team.group)
    weights.clear()  # gives the memory back before the optimizer is read
    if "optim.name" not in changed:  # another optimizer keeps other things
        load_optimizer(job.model, job.optimizer, saved.optimizer, lambda tensors: team.load(folder, tensors))
    job.evaluator.restore(saved.evaluator)
    console.say(f"resumed      after step {step} of {job.plan.num_steps}: step-{step:06d}, the newest whole")
    for name, (old, new) in changed.items():
        console.say(f"changed      {name}: {shown(old)}, now {shown(new)}; from here on another run than was begun")
    say_what_changes(changed, step, job)
    return Progress.from_json(saved.progress)


PLAN = ("data", "seed", "render", "train.batch_size", "train.epochs", "train.max_steps")
"""Settings and fields, or parts of them, that decide which comparisons are in which step."""


def say_what_changes(changed: Mapping[str, Any], step: int, job: Job) -> None:
    """Say what a change means for a run that goes on after `step` that is not plain from the names."""
    if any(set(PLAN) & set(parents(name)) for name in changed):
        into = step / job.plan.steps_per_epoch
        job.console.say(
            f"changed      the plan: step {step + 1} of {job.plan.num_steps} is next, {into:.2f} epochs into the new "
            "order; episodes and epochs are counted on from the old one"
        )
    if "optim.name" in changed:
        name = job.config.optim.name
        job.console.say(f"changed      the optimizer: {name} begins without what the old one had gathered")


def refuse_trained(folder: Path) -> None:
    """Raise `CheckpointError` for a folder whose run has got beyond step 0, and thus had checkpoints, and has none."""
    path = folder / "metrics.jsonl"
    steps = [_step(line) for line in path.read_bytes().splitlines()] if path.is_file() else []
    if max(steps, default=0) > 0:
        raise CheckpointError(
            f"{folder} has metrics up to step {max(steps)}, and none of its checkpoints is there",
            "copy the whole run folder, or begin anew with another --output",
        )


def _step(line: bytes) -> int:
    """The step of a line of metrics, 0 of one that a crash cut short."""
    try:
        return int(json.loads(line)["step"])
    except ValueError:
        return 0


def write_record(folder: Path, known: Mapping[str, Any], starts: Sequence[Mapping[str, Any]]) -> None:
    """Replace the record of a run."""
    write_text(folder / RECORD, json.dumps({"format": 1, "identity": known, "starts": starts}, indent=2) + "\n")
