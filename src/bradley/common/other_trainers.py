"""Sharded checkpoints of other trainers, and the command for merging the shards into a model folder.

The shards are pickles. Bradley never opens a pickle, because loading a pickle can run code: the tool of the other
trainer merges the shards.
"""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from .ownership import real_path

BESIDE = ("config.json", "*token*.json", "tokenizer.model", "vocab.*", "merges.txt", "*.jinja")
"""Names of the files besides weights that the other trainers save with the shards."""


class Shards(NamedTuple):
    """Sharded checkpoint of another trainer.

    Attributes:
        trainer: name of the other trainer.
        command: shell command for writing a folder of safetensors beside the checkpoint, with config and tokenizer if
            the checkpoint has both.
    """

    trainer: str
    command: str

    @property
    def advice(self) -> str:
        """Hint for an error message."""
        return f"make it whole with the tool of that trainer, and give what it writes as model.path: {self.command}"


def shards_of(folder: Path) -> Shards | None:
    """Find the shards of another trainer in a folder, or in the newest `checkpoint-*` below the folder.

    Returns:
        None if no shards are found.
    """
    for place in (folder, *sorted(folder.glob("checkpoint-*"), key=_step, reverse=True)):
        found = _deepspeed(place) or _accelerate(place)
        if found is not None:
            return found
    return None


def _step(checkpoint: Path) -> int:
    """Step number in the name of a checkpoint folder, -1 without a number."""
    number = checkpoint.name.rpartition("-")[2]
    return int(number) if number.isdecimal() else -1


def _deepspeed(folder: Path) -> Shards | None:
    """Find shards of DeepSpeed ZeRO, given the checkpoint folder or the step folder inside.

    ZeRO keeps the states in a folder per step, and the file `latest` holds the name of the newest step folder.
    """
    inside = any(folder.glob("*_model_states.pt"))
    if not inside and not any(folder.glob("*/*_model_states.pt")):
        return None
    checkpoint = real_path(folder).parent if inside else folder
    script = checkpoint / "zero_to_fp32.py"
    # Without a tag the script merges the step named by `latest`, perhaps a different step from the given folder.
    tag = ["--tag", real_path(folder).name] if inside else []
    # The script saved with the checkpoint fits the version of DeepSpeed that wrote the shards.
    program = [str(script)] if script.is_file() else ["-m", "deepspeed.utils.zero_to_fp32"]
    return _shards(
        "DeepSpeed", checkpoint, lambda to: ["python", *program, str(checkpoint), to, "--safe_serialization", *tag]
    )


def _accelerate(folder: Path) -> Shards | None:
    """Find FSDP shards of Accelerate, given the checkpoint folder or the shard folder inside."""
    name = "pytorch_model_fsdp_0"
    place = folder / name if (folder / name).is_dir() else real_path(folder)
    if place.name != name or not any(place.glob("*.distcp")):
        return None
    return _shards("FSDP", place.parent, lambda to: ["accelerate", "merge-weights", str(place), to])


def _shards(trainer: str, folder: Path, merge: Callable[[str], list[str]]) -> Shards:
    """Build the shell command: merge the shards, then copy config and tokenizer.

    Args:
        merge: maps the target folder to the words of the merge command.
    """
    to = str(folder.parent / f"{folder.name}-whole")
    beside = sorted({str(path) for name in BESIDE for path in folder.glob(name) if path.is_file()})
    copy = f" && {shlex.join(['cp', *beside, to])}" if beside else ""
    return Shards(trainer, f"{shlex.join(merge(to))}{copy}")
