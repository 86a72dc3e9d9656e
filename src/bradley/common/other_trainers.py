"""Checkpoints of other trainers that hold a model in shards, and the command that makes it whole.

Their shards are pickles, which are never opened here: the trainer's own tool reads them.
"""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

BESIDE = ("config.json", "*token*.json", "tokenizer.model", "vocab.*", "merges.txt", "*.jinja")
"""What a model folder has besides weights, as the trainers save it with their shards."""


class Shards(NamedTuple):
    """A checkpoint in shards.

    Attributes:
        trainer: whose it is.
        command: for a shell; writes a folder with safetensors beside the checkpoint, with config and tokenizer where
            the checkpoint has them.
    """

    trainer: str
    command: str

    @property
    def advice(self) -> str:
        """What to do, for an error."""
        return f"make it whole with the tool of that trainer, and give what it writes as model.path: {self.command}"


def shards_of(folder: Path) -> Shards | None:
    """What another trainer has left in a folder: in itself, or in the newest checkpoint of a run of the Trainer."""
    for place in (folder, *sorted(folder.glob("checkpoint-*"), key=_step, reverse=True)):
        found = _deepspeed(place) or _accelerate(place)
        if found is not None:
            return found
    return None


def _step(checkpoint: Path) -> int:
    number = checkpoint.name.rpartition("-")[2]
    return int(number) if number.isdecimal() else -1


def _deepspeed(folder: Path) -> Shards | None:
    """The states of ZeRO lie in a folder by step, which the file `latest` names; also known from within that folder."""
    inside = any(folder.glob("*_model_states.pt"))
    if not inside and not any(folder.glob("*/*_model_states.pt")):
        return None
    whole = folder.resolve().parent if inside else folder
    script = whole / "zero_to_fp32.py"
    tag = ["--tag", folder.resolve().name] if inside else []
    program = [str(script)] if script.is_file() else ["-m", "deepspeed.utils.zero_to_fp32"]
    return _shards("DeepSpeed", whole, lambda to: ["python", *program, str(whole), to, "--safe_serialization", *tag])


def _accelerate(folder: Path) -> Shards | None:
    """FSDP of Accelerate writes its shards under a name of their own; also known from within."""
    name = "pytorch_model_fsdp_0"
    place = folder / name if (folder / name).is_dir() else folder.resolve()
    if place.name != name or not any(place.glob("*.distcp")):
        return None
    return _shards("FSDP", place.parent, lambda to: ["accelerate", "merge-weights", str(place), to])


def _shards(trainer: str, folder: Path, merge: Callable[[str], list[str]]) -> Shards:
    to = str(folder.parent / f"{folder.name}-whole")
    beside = sorted({str(path) for name in BESIDE for path in folder.glob(name) if path.is_file()})
    copy = f" && {shlex.join(['cp', *beside, to])}" if beside else ""
    return Shards(trainer, f"{shlex.join(merge(to))}{copy}")
