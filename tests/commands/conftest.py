"""Whole commands, as a user types them, on a tiny finished run: an exit code, and an error of one line with a hint."""

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.helpers import LLAMA

TINY = {
    "data.train": "synthetic:",
    "data.valid_share": 0.1,
    "data.synthetic.comparisons": 120,
    "model.tokenizer": "train",
    "model.vocab_size": 320,
    **{f"model.config.{name}": value for name, value in LLAMA.items()},
    "render.max_tokens": 192,
    "train.batch_size": 16,
    "train.max_steps": 4,
    "train.threads": 1,
    "train.micro_batch_tokens": 4096,
    "eval.every": 2,
    "eval.train_probe": 8,
}
"""Settings of a run of a moment."""


class Ended(NamedTuple):
    """End of a command: exit code, stdout and stderr."""

    code: int
    out: str
    err: str

    def lines(self, kind: str) -> list[str]:
        """Lines of stderr of a kind, `error` or `hint`."""
        return [line for line in self.err.splitlines() if line.startswith(f"{kind}: ")]


class Commands:
    """Commands in this process and in new processes, in a folder of their own."""

    def __init__(self, folder: Path, ref: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.folder, self.ref, self.capfd = folder, ref, capfd

    def __call__(self, *args: object) -> Ended:
        """Run a command in this process; an exception is a bug of the command, and passes."""
        from bradley.cli.main import run

        self.capfd.readouterr()
        code = run([str(arg) for arg in args])
        return Ended(code, *self.capfd.readouterr())

    def refused(self, code: int, *args: object, says: str = "") -> str:
        """Run a command that must be refused in one printable line with a hint; returns the line."""
        return checked(self(*args), code, says)

    def alone(self, *args: object, seconds: float = 60, prepare: Callable[[], object] = int) -> Ended:
        """Run a command in a copy of this process, so that a crash or a hang ends the copy alone.

        Args:
            prepare: called in the copy before the command.
        """
        files = [self.folder / f"std{name}-{time.monotonic_ns()}" for name in ("out", "err")]
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                for number, file in enumerate(files, 1):
                    os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), number)
                sys.stdout, sys.stderr = os.fdopen(1, "w", errors="replace"), os.fdopen(2, "w", errors="replace")
                prepare()
                from bradley.cli.main import run

                code = run([str(arg) for arg in args])
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        deadline = time.monotonic() + seconds
        while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                raise TimeoutError(f"{args} has not ended in {seconds} seconds")
            time.sleep(0.02)
        out, err = (file.read_text(errors="replace") for file in files)
        for file in files:
            file.unlink()
        return Ended(os.waitstatus_to_exitcode(ended[1]), out, err)

    def process(self, *args: object) -> Ended:
        """Run a command in a new process."""
        done = subprocess.run(command(*args), capture_output=True, timeout=300)
        return Ended(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))

    def start(self, *args: object, **options: Any) -> subprocess.Popen[bytes]:
        """Start a command in a new process, in silence."""
        silent: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen(command(*args), **{**silent, **options})

    def copy(self, name: str = "", to: str = "copy") -> Path:
        """Copy the finished run, or a folder inside."""
        return shutil.copytree(self.ref / name, self.folder / to)

    def train(self, output: Path | str, *more: object, **settings: Any) -> Ended:
        """Train the tiny run."""
        return self("train", self.settings(**settings), "--output", output, "--quiet", *more)

    def settings(self, **changes: Any) -> Path:
        """Write the settings of the tiny run, with changes such as `model__path="x"`; None takes a setting out."""
        values = {**TINY, **{name.replace("__", "."): value for name, value in changes.items()}}
        path = self.folder / "run.toml"
        path.write_text("".join(f"{k} = {json.dumps(v)}\n" for k, v in values.items() if v is not None))
        return path

    def rows(self, count: int, name: str = "in.jsonl", **fields: Any) -> Path:
        """Write rows to score."""
        rows = ({"prompt": f"Question {i}? red fox", "response": f"Answer {i}", **fields} for i in range(count))
        path = self.folder / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path


def command(*args: object) -> list[str]:
    """Command line of a new process that imports nothing of the current folder by itself."""
    return [sys.executable, "-P", "-m", "bradley", *map(str, args)]


def checked(ended: Ended, code: int, says: str = "") -> str:
    """Return the error of a command that ended with a code, one printable line and a hint."""
    assert ended.code == code, ended
    assert "Traceback" not in ended.err
    (error,) = ended.lines("error")
    assert ended.lines("hint") and all(line.isprintable() for line in ended.err.splitlines())
    assert says in error and len(error) < 5000
    return error


@pytest.fixture(scope="session", autouse=True)
def log_of_transformers() -> None:
    """Let transformers take its stderr before a test captures stderr: the stream of a test is closed at its end."""
    from transformers.utils import logging

    logging.get_logger("transformers")


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache of tokens."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def ref(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A finished run, never changed."""
    from bradley.cli.main import run

    folder = tmp_path_factory.mktemp("ref")
    with pytest.MonkeyPatch.context() as patch:
        quick(patch, folder, cache)
        maker = Commands(folder, folder / "run", None)  # type: ignore[arg-type]
        assert run(["train", str(maker.settings()), "--output", str(folder / "run"), "--quiet"]) == 0
    return folder / "run"


def quick(patch: pytest.MonkeyPatch, folder: Path, cache: Path) -> None:
    """Be in a folder, use a cache, and draw no figures."""
    patch.chdir(folder)
    patch.setenv("BRADLEY_CACHE", str(cache))
    patch.setenv("HF_HUB_OFFLINE", "1")
    patch.setattr("bradley.training.run.write_pages", lambda folder, console: None)


@pytest.fixture
def bradley(
    tmp_path: Path, ref: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Commands:
    """Commands in an empty folder."""
    quick(monkeypatch, tmp_path, cache)
    return Commands(tmp_path, ref, capfd)


@pytest.fixture
def reader(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Commands:
    """Commands in an empty folder, without a finished run."""
    quick(monkeypatch, tmp_path, cache)
    return Commands(tmp_path, tmp_path / "no run", capfd)


def tree(folder: Path) -> dict[str, Any]:
    """Every name below a folder, with content, the target of a link, or None for a folder."""
    return {
        str(path.relative_to(folder)): os.readlink(path)
        if path.is_symlink()
        else path.read_bytes()
        if path.is_file()
        else None
        for path in sorted(folder.rglob("*"))
    }


OVERRIDE = (1, 2)
"""Capabilities CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, by which the superuser opens any file."""


@contextmanager
def without_rights() -> Iterator[None]:
    """Let the rights of files count for the superuser too, in this thread."""
    libc = ctypes.CDLL(None, use_errno=True)
    header, held = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert libc.capget(header, held) == 0
    reduced = (ctypes.c_uint32 * 6)(*held)
    reduced[0] &= ~sum(1 << bit for bit in OVERRIDE)
    assert libc.capset(header, reduced) == 0
    try:
        yield
    finally:
        assert libc.capset(header, held) == 0


def edit_json(path: Path, **values: Any) -> None:
    """Change values of a JSON object in a file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def by_hand(model: Path, names: Sequence[str] = ("files_sha256", "card_sha256")) -> None:
    """Make the card of a model folder one from before the hashes of other files, with the hashes of the weights."""
    from hashlib import sha256

    path = model / "bradley.json"
    card = {key: value for key, value in json.loads(path.read_text()).items() if key not in names}
    weights = sorted(model.glob("*.safetensors"))
    card["weights_sha256"] = {file.name: sha256(file.read_bytes()).hexdigest() for file in weights}
    path.write_text(json.dumps(card))
