"""Malicious model folders, each a good one with a change. Where code of theirs runs, the file `canary` appears."""

import hashlib
import io
import json
import os
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

Change = Callable[[Path, Path], object]
"""What makes a good folder a bad one, given the folder and the canary."""
DEEP = "[" * 200_000
GIGABYTE = 1024**3


class Evil:
    """An object whose unpickling makes a file."""

    def __init__(self, canary: Path) -> None:
        self.code = f"open({str(canary)!r}, 'w').close()"

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, (self.code,)


def pickled(canary: Path) -> bytes:
    return pickle.dumps(Evil(canary))


def torch_zip(canary: Path) -> bytes:
    file = io.BytesIO()
    torch.save(Evil(canary), file)
    return file.getvalue()


def array(canary: Path) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([Evil(canary)], dtype=object), allow_pickle=True)
    return file.getvalue()


def script(canary: Path) -> bytes:
    return f"open({str(canary)!r}, 'w').close()\n".encode()


def beside(name: str, content: Callable[[Path], bytes] = pickled) -> Change:
    """A file more."""

    def change(folder: Path, canary: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content(canary))

    return change


def sparse(name: str) -> Change:
    """A gigabyte of zeros that takes no disk."""

    def change(folder: Path, canary: Path) -> None:
        with (folder / name).open("wb") as file:
            file.truncate(GIGABYTE)

    return change


def deep(name: str) -> Change:
    return beside(name, lambda canary: DEEP.encode())


def wide(folder: Path, canary: Path) -> None:
    """A small file that is large in memory."""
    (folder / "config.json").write_text("[" + "[]," * (6 * 1024**2) + "[]]")


def header(text: str | bytes, data: bytes = b"", length: int | None = None) -> Change:
    """Weights with a header of our own."""
    raw = text.encode() if isinstance(text, str) else text

    def change(folder: Path, canary: Path) -> None:
        size = len(raw) if length is None else length
        (folder / "model.safetensors").write_bytes(struct.pack("<Q", size) + raw + data)

    return change


def tensors(**entries: tuple[list[int], list[int]]) -> str:
    return json.dumps({name: {"dtype": "F32", "shape": s, "data_offsets": o} for name, (s, o) in entries.items()})


def weights(edit: Callable[[bytes], bytes]) -> Change:
    def change(folder: Path, canary: Path) -> None:
        path = folder / "model.safetensors"
        path.write_bytes(edit(path.read_bytes()))

    return change


def polyglot(folder: Path, canary: Path) -> None:
    """Weights that are a zip with a pickle too: readers of zips look at the end."""
    with zipfile.ZipFile(folder / "model.safetensors", "a") as file:
        file.writestr("archive/data.pkl", pickled(canary))


def linked(name: str, target: str) -> Change:
    """A link out of the folder, to a file that could be read."""

    def change(folder: Path, canary: Path) -> None:
        outside = folder.parent / target
        if (folder / name).is_file():
            shutil.copy(folder / name, outside)
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(outside)

    return change


def edited(name: str, **values: object) -> Change:
    """Other entries of a JSON file."""

    def change(folder: Path, canary: Path) -> None:
        path = folder / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return change


def together(*changes: Change) -> Change:
    def change(folder: Path, canary: Path) -> None:
        for one in changes:
            one(folder, canary)

    return change


def template(text: str) -> Change:
    """A chat template with code in it, which the card vouches for."""

    def change(folder: Path, canary: Path) -> None:
        content = text.replace("CANARY", str(canary))
        (folder / "bradley_template.jinja").write_text(content)
        edited("bradley.json", template_sha256=hashlib.sha256(content.encode()).hexdigest())(folder, canary)

    return change


def fifo(folder: Path, canary: Path) -> None:
    """Whoever opens it waits for ever."""
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")


def sharded(place: str) -> Change:
    """An index that names weights elsewhere."""

    def change(folder: Path, canary: Path) -> None:
        shutil.move(folder / "model.safetensors", folder.parent / "elsewhere.safetensors")
        index = {"metadata": {}, "weight_map": {"score.weight": place}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        beside(place, torch_zip)(folder, canary)

    return change


MODELING = {
    "AutoConfig": "evil.C",
    "AutoModelForSequenceClassification": "evil.M",
    "AutoTokenizer": ["evil.T", "evil.T"],
}
OUT_OF_JINJA = "{{ cycler.__init__.__globals__.os.system('touch CANARY') }}"
BY_CLASSES = "{% for c in ().__class__.__base__.__subclasses__() %}{{ c.__init__.__globals__ }}{% endfor %}"
PICKLES_BESIDE = {
    name: beside(name, content)
    for content, names in {
        pickled: (
            *("optimizer.pt", "scheduler.pt", "rng_state.pth", "rng_state_0.pth", "training_args.bin", "scaler.pickle"),
            *(
                "custom_checkpoint_0.pkl",
                "head.joblib",
                "model.dill",
                ".metadata",
                "WEIGHTS.BIN",
                "deeper/optimizer.PKL",
            ),
        ),
        torch_zip: ("pytorch_model.bin", "last.ckpt", "__0_0.distcp", "model.mar"),
        array: ("rows.npy", "rows.npz"),
    }.items()
    for name in names
}
PICKLES_INSTEAD = {
    f"a pickle for {name}": beside(name)
    for name in (
        *("bradley.json", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"),
        *("bradley_template.jinja", "model.safetensors.index.json", "special_tokens_map.json", "adapter_config.json"),
    )
}
BOMBS = {
    "weights that are a torch archive": beside("model.safetensors", torch_zip),
    "a header of 2^63 bytes": header("{}", length=2**63),
    "a header of more than the file": header("{}", length=90_000_000),
    "a header of 99 MB of blanks": header(b"{" + b" " * 99_000_000 + b"}"),
    "a header as deep as a well": header('{"a":' * 50_000),
    "tensors that overlap": header(tensors(a=([4], [0, 16]), b=([4], [8, 24])), bytes(24)),
    "tensors with a hole": header(tensors(a=([1], [0, 4]), b=([1], [8, 12])), bytes(12)),
    "a tensor beyond the end": header(tensors(a=([2**20], [0, 2**22])), bytes(8)),
    "a tensor of 2^64 bytes": header(tensors(a=([2**31, 2**31], [0, 2**64 - 8])), bytes(8)),
    "offsets that run backwards": header(tensors(a=([1], [4, 0])), bytes(4)),
    "a kind of number nobody knows": header('{"a":{"dtype":"EVIL","shape":[1],"data_offsets":[0,4]}}', bytes(4)),
    "weights cut in half": weights(lambda raw: raw[: len(raw) // 2]),
    "weights with a tail": weights(lambda raw: raw + b"PK\x03\x04" * 100),
    "weights that are a zip too": polyglot,
    "weights of other numbers": weights(lambda raw: raw[:-8] + bytes(8)),
    "an index of weights outside": sharded("../elsewhere.bin"),
    "an index of pickled weights": sharded("part-1.weights"),
    "a gigabyte for bradley.json": sparse("bradley.json"),
    "a gigabyte for config.json": sparse("config.json"),
    "a gigabyte for tokenizer.json": sparse("tokenizer.json"),
    "a gigabyte for the template": sparse("bradley_template.jinja"),
    "a card as deep as a well": deep("bradley.json"),
    "a config as deep as a well": deep("config.json"),
    "a tokenizer as deep as a well": deep("tokenizer.json"),
    "settings of a tokenizer as deep as a well": deep("tokenizer_config.json"),
    "a config that grows in memory": wide,
    "a config that never answers": fifo,
}
LINKS = {
    "weights that are a link": linked("model.safetensors", "weights"),
    "a tokenizer that is a link": linked("tokenizer.json", "words"),
    "a link to a folder above": lambda folder, canary: (folder / "more").symlink_to(folder.parent),
    "a link that leads nowhere": linked("extra.json", "nothing"),
}
CARDS = {
    "a card that says nothing": lambda folder, canary: (folder / "bradley.json").write_text("{}"),
    "a card that is a list": lambda folder, canary: (folder / "bradley.json").write_text("[]"),
    "a card of other kinds of values": edited("bradley.json", render={"max_tokens": ["x"]}, compute=["float32"]),
    "a card with settings nobody knows": edited("bradley.json", render={"evil": True}),
    "a card of a template elsewhere": edited(
        "bradley.json", render={"template": "/etc/passwd"}, template="/etc/passwd"
    ),
    "a card of weights elsewhere": edited("bradley.json", weights_sha256={"../../../etc/passwd": "0" * 64}),
    "a card of a base model elsewhere": edited("bradley.json", adapter={"base": "/etc", "base_sha256": "0"}),
}
CODE = {
    "code of a model": together(
        beside("evil.py", script), edited("config.json", auto_map=MODELING, model_type="evil", architectures=["M"])
    ),
    "code of a tokenizer": together(
        beside("evil.py", script), edited("tokenizer_config.json", auto_map=MODELING, tokenizer_class="T")
    ),
    "a template that reaches for the system": template(OUT_OF_JINJA),
    "a template that walks up the classes": template(BY_CLASSES),
}
FOLDERS: dict[str, Change] = {**PICKLES_BESIDE, **PICKLES_INSTEAD, **BOMBS, **LINKS, **CARDS, **CODE}
"""Every malicious folder, by what is wrong with it."""
