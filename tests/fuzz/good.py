"""Undamaged inputs of every class, made once by the commands themselves, and what the commands say about them."""

import hashlib
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.copies import verified_in_copies
from tests.data.rows import SAMPLES
from tests.fuzz.case import Case, Ended, make_world
from tests.fuzz.child import Program, bradley, run

CONFIG = """\
[data]
train = "train.jsonl"
valid = "valid.jsonl"

[model]
tokenizer = "train"
vocab_size = 300

[model.config]
model_type = "llama"
hidden_size = 16
num_hidden_layers = 1
num_attention_heads = 2
num_key_value_heads = 1
intermediate_size = 32
max_position_embeddings = 128

[render]
max_tokens = 128

[train]
batch_size = 8
max_steps = 4
threads = 1

[eval]
every = 2
train_probe = 4

[log]
every = 1
figures = false
"""
TRAIN_ROWS, VALID_ROWS, SCORE_ROWS = 16, 4, 6
TIMES = ("seconds", "seconds_per_step", "tokens_per_second")
"""Entries of results that hold times."""


def pairs(count: int, prefix: str) -> list[dict[str, Any]]:
    """Rows with a pair of answers each."""
    return [
        {
            "id": f"{prefix}{number}",
            "prompt": f"{prefix} What follows {number}?",
            "chosen": f"The number {number + 1} follows.",
            "rejected": f"Nobody knows what follows {number}.",
        }
        for number in range(count)
    ]


def of_shape(name: str, count: int) -> list[dict[str, Any]]:
    """Rows of a format, each with texts of its own."""
    return [numbered(SAMPLES[name], number) for number in range(count)]


def numbered(value: Any, number: int) -> Any:
    """Return a row with other texts in the place of the usual `hi`, `yo` and `no`."""
    if isinstance(value, dict):
        return {key: numbered(inner, number) for key, inner in value.items()}
    if isinstance(value, list):
        return [numbered(inner, number) for inner in value]
    if isinstance(value, str):
        for word in ("hi", "yo", "no"):
            if value.strip() == word or value.endswith(f" {word}") or f": {word}\n" in value:
                return value.replace(word, f"{word} {number}")
    return value


def lines(rows: Iterable[Any]) -> str:
    """Write rows as JSON lines."""
    return "".join(json.dumps(row) + "\n" for row in rows)


class Good:
    """Undamaged artefacts below a folder.

    Attributes:
        config, rows: configuration and score input, with the training files beside.
        models: folder of a whole model, an adapter, an export, and the base model of the adapter.
        runs: folder of a finished run and of an interrupted one.
        cache: token cache of these runs.
        parts: folder with an interrupted scoring.
        reference: results on undamaged inputs, by name.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.inputs = folder / "in"
        self.models, self.runs, self.cache, self.parts = (
            folder / name for name in ("models", "runs", "cache", "parts")
        )
        self.reference: dict[str, Any] = {}

    def world(self, path: Path) -> Path:
        """Make a world with the inputs of every command."""
        make_world(path)
        for source in self.inputs.iterdir():
            shutil.copy(source, path / "in")
        return path

    def model(self, name: str, world: Path) -> Path:
        """Copy a model folder into a world, as `in/model`."""
        return Path(shutil.copytree(self.models / name, world / "in" / "model"))

    def run_folder(self, name: str, world: Path) -> Path:
        """Copy a run folder into a world, as `in/run`."""
        return Path(shutil.copytree(self.runs / name, world / "in" / "run"))


def make_good(folder: Path) -> Good:
    """Make every artefact; takes some seconds."""
    good = Good(folder)
    good.inputs.mkdir(parents=True)
    (good.inputs / "config.toml").write_text(CONFIG)
    (good.inputs / "train.jsonl").write_text(lines(pairs(TRAIN_ROWS, "t")))
    (good.inputs / "valid.jsonl").write_text(lines(pairs(VALID_ROWS, "v")))
    (good.inputs / "score.jsonl").write_text(lines(pairs(SCORE_ROWS, "s")))
    world = good.world(folder / "world")
    build = Build(good, world)
    build.runs()
    build.models()
    build.scoring()
    build.page()
    return good


class Build:
    """Making of the artefacts in one world.

    Raises:
        AssertionError: a command failed that has no reason to.
    """

    def __init__(self, good: Good, world: Path) -> None:
        self.good, self.world, self.out = good, world, world / "out"

    def do(self, *args: str, code: int = 0, program: Program = bradley) -> Ended:
        """Run a command, and check the exit code."""
        ended = run(Case(list(args), "none", patience=300.0), self.world, program)
        assert ended.code == code, (args, ended)
        return ended

    def runs(self) -> None:
        """Train a run to the end, and another one until it is asked to stop."""
        self.do("train", "config.toml", "--output", "../out/run", "--quiet")
        self.do("train", "config.toml", "--output", "../out/stopped", "--quiet", code=75, program=stopped)
        self.good.runs.mkdir()
        for name, target in (("run", "finished"), ("stopped", "interrupted")):
            shutil.copytree(self.out / name, self.good.runs / target)
        shutil.copytree(self.world / "cache", self.good.cache)
        self.good.reference["run"] = believed(self.out / "run")

    def models(self) -> None:
        """Keep the model of the run, an export, and an adapter with its base model."""
        self.do("export", "../out/run", "../out/export", program=verified_in_a_copy)
        shutil.copytree(self.out / "run" / "model", self.good.models / "full")
        shutil.copytree(self.out / "export", self.good.models / "export")
        self.good.reference["export"] = hashes(self.out / "export")
        apart(lambda: save_base(self.good.models))
        head, rest = CONFIG[: CONFIG.index("[model]")], CONFIG[CONFIG.index("[render]") :]
        model = f'[model]\npath = "{self.good.models / "base"}"\n\n[model.adapter]\nkind = "lora"\nrank = 2\n\n'
        (self.world / "in" / "adapter.toml").write_text(head + model + rest)
        self.do("train", "adapter.toml", "--output", "../out/lora", "--quiet")
        shutil.copytree(self.out / "lora" / "model", self.good.models / "lora")
        (self.good.inputs / "from.toml").write_text(f'{head}[model]\npath = "./model"\n\n{rest}')
        shutil.copy(self.good.inputs / "from.toml", self.world / "in")
        for name in ("full", "lora", "export"):
            self.uses(name)

    def uses(self, name: str) -> None:
        """Keep what commands say that use a model otherwise than for scores."""
        model = self.world / "in" / "model"
        shutil.copytree(self.good.models / name, model)
        ended = self.do("data", "score.jsonl", "--tokens", "--model.path", "model")
        self.good.reference[f"tokens of {name}"] = ended.out.decode()
        if name == "full":
            self.do("train", "from.toml", "--output", f"../out/from-{name}", "--quiet")
            self.good.reference[f"run from {name}"] = believed(self.out / f"from-{name}")
        shutil.rmtree(model)

    def scoring(self) -> None:
        """Score with every model, and leave a scoring unfinished."""
        for name in ("full", "lora", "export"):
            ended = self.do("score", str(self.good.models / name), "score.jsonl", "-o", "-", "--quiet")
            self.good.reference[f"scores of {name}"] = rows_of(ended.out)
        many = self.world / "in" / "many.jsonl"
        many.write_text(lines(pairs(40, "m")))
        shutil.copytree(self.good.models / "full", self.world / "in" / "model")
        score = ["score", "model", "many.jsonl", "-o", "../out/scores.jsonl", "--part-rows", "2", "--quiet"]
        self.do(*score, code=-signal.SIGKILL, program=killed_at_a_part(self.out / "scores.jsonl.parts"))
        shutil.copytree(self.out / "scores.jsonl.parts", self.good.parts)
        shutil.copy(many, self.good.inputs)
        self.do(*score)
        self.good.reference["many"] = rows_of((self.out / "scores.jsonl").read_bytes())

    def page(self) -> None:
        """Draw the report of the finished run."""
        self.do("plot", "../out/run")
        self.good.reference["page"] = page_of(self.out / "run")


def verified_in_a_copy(args: list[str]) -> None:
    """Run a command line that verifies a folder in a copy of its process, which imports nothing."""
    with verified_in_copies():
        bradley(args)


def save_base(folder: Path) -> None:
    """Save a language model without a score head."""
    from tests.helpers import LLAMA
    from tests.model.adapted import base_model

    base_model(folder / "base", {**LLAMA, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1})


def apart(act: Any) -> None:
    """Do something in a forked process, because libraries with threads of their own do not survive a later fork."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            act()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0


def stopped(args: list[str]) -> None:
    """Run a command line that gets a SIGTERM at the second checkpoint's time."""
    from bradley.common import signals

    looks, check = [0], signals.check

    def looking() -> None:
        looks[0] += 1
        if looks[0] == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        check()

    signals.check = looking
    bradley(args)


def killed_at_a_part(folder: Path) -> Program:
    """Make a program that is killed when two finished parts lie in a folder."""

    def watch() -> None:
        while len(list(folder.glob("[0-9]*.jsonl"))) < 2:
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGKILL)

    def program(args: list[str]) -> None:
        threading.Thread(target=watch, daemon=True).start()
        bradley(args)

    return program


def rows_of(data: bytes) -> list[Any]:
    """Read JSON lines."""
    return [json.loads(line) for line in data.splitlines()]


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a model folder, of the card without what differs from one making to the next."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(_lasting(path)).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def _lasting(path: Path) -> bytes:
    if path.name != "bradley.json":
        return path.read_bytes()
    card = json.loads(path.read_text())
    return json.dumps({key: card.get(key) for key in ("head", "render", "parity", "limits")}).encode()


def believed(folder: Path) -> dict[str, Any]:
    """What a finished run says: its results without times, its state, and every file of its model."""
    results = json.loads((folder / "results.json").read_text())
    state = json.loads((folder / "status.json").read_text())
    return {
        "results": {key: value for key, value in results.items() if key not in TIMES},
        "state": state["state"],
        "model": hashes(folder / "model"),
    }


def page_of(folder: Path) -> str:
    """The report of a run."""
    return (folder / "report.html").read_text()
