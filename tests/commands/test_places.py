"""Places that a command writes to: what is somebody else's, behind a link, in use, or left by a killed process."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .conftest import Commands, command, tree

pytestmark = [pytest.mark.slow, pytest.mark.nightly]
OTHERS = {
    "the entry": ["checkpoints/", "eval/mine", "model/mine", "metrics.csv"],
    "drafts": ["checkpoints/", ".tmp-mine/deep/file", ".old-model/mine", ".trash-x"],
    "logs": ["checkpoints/mine", "tensorboard/events", "logs/mine", "metrics.jsonl"],
    "settings": ["checkpoints/step-000001/model.safetensors", "config.json", "config.toml", "results.json"],
}


@pytest.mark.parametrize("names", OTHERS.values(), ids=OTHERS)
def test_a_project_with_a_folder_of_checkpoints_is_no_run(bradley: Commands, names: list[str]) -> None:
    for name in names:
        path = bradley.folder / "p" / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            path.write_text("mine")
    before = tree(bradley.folder / "p")
    ended = bradley.train("p", "--resume")
    assert tree(bradley.folder / "p") == before
    assert ended.code == 6 and "holds files" in ended.err


def moved(path: Path, far: Path, kind: str) -> None:
    """Move a folder and leave a link: of the whole path, of a relative one, or a link to a link."""
    path.rename(far)
    if kind == "relative":
        path.symlink_to(os.path.relpath(far, path.parent))
    elif kind == "twice":
        far.with_name("between").symlink_to(far)
        path.symlink_to(far.with_name("between"))
    else:
        path.symlink_to(far)


@pytest.mark.parametrize("kind", ["whole", "relative", "twice"])
def test_a_model_that_is_a_link_is_replaced_and_its_files_stay(bradley: Commands, kind: str) -> None:
    moved(bradley.copy() / "model", bradley.folder / "far", kind)
    (bradley.folder / "copy" / "status.json").unlink()
    before = tree(bradley.folder / "far")
    ended = bradley.train("copy", "--resume")
    assert tree(bradley.folder / "far") == before
    assert ended.code == 0 and not list((bradley.folder / "copy").glob(".*"))


@pytest.mark.parametrize("kind", ["whole", "relative", "twice"])
def test_a_checkpoint_that_is_a_link_is_rotated_and_its_files_stay(bradley: Commands, kind: str) -> None:
    """Of a run that goes on: step 2 makes room for later ones."""
    stopped(bradley)
    moved(bradley.folder / "run/checkpoints/step-000002", bradley.folder / "far", kind)
    before = tree(bradley.folder / "far")
    ended = bradley.train("run", "--resume", train__max_steps=8)
    assert tree(bradley.folder / "far") == before
    assert ended.code == 0 and not (bradley.folder / "run/checkpoints/step-000002").exists()
    assert not list((bradley.folder / "run/checkpoints").glob(".*"))


def stopped(bradley: Commands) -> None:
    """Make a run of eight steps that was stopped after four."""
    from bradley.common import signals

    check, looks = signals.check, iter(range(1000))

    def ask() -> None:
        index = bradley.folder / "run/checkpoints/index.json"
        if index.exists() and "step-000004" in os.listdir(index.parent) and next(looks) == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        check()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signals, "check", ask)
        assert bradley.train("run", train__max_steps=8).code == 75


@pytest.mark.parametrize("place", ["link", "link/inside", "twice"])
def test_an_export_into_a_link_is_refused_before_it_is_made_or_done(bradley: Commands, place: str) -> None:
    (bradley.folder / "far").mkdir()
    (bradley.folder / "link").symlink_to("far")
    (bradley.folder / "twice").symlink_to("link")
    ended = bradley("export", bradley.ref, place)
    # A link above the place is no link in the place.
    assert ended.code == (0 if place == "link/inside" else 6), ended
    assert tree(bradley.folder / "far") == {} or place == "link/inside"
    assert not list(bradley.folder.glob(".*"))


STEP = "checkpoints/step-000002"


@contextlib.contextmanager
def standing_still(process: subprocess.Popen[bytes], begun: Callable[[], object]) -> Iterator[None]:
    """Let a process stand still as soon as something is true."""
    try:
        deadline = time.monotonic() + 100
        while not begun():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal.SIGSTOP)
        yield
    finally:
        process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize(
    ("model", "more"),
    [
        ("model", []),
        ("checkpoints/step-000002", []),
        ("checkpoints/step-000002", ["--restart"]),
        ("model", ["--best-of"]),
    ],
    ids=["the same", "another model", "restart", "other options"],
)
def test_a_second_scoring_of_an_output_is_refused(bradley: Commands, model: str, more: list[str]) -> None:
    rows, out = bradley.rows(300), bradley.folder / "out.jsonl"
    score = ("score", "--quiet", "--part-rows", "100")
    first = bradley.start(*score, bradley.ref / "model", rows, "-o", out)
    with standing_still(first, lambda: (bradley.folder / "out.jsonl.parts").exists()):
        second = bradley.alone(*score, bradley.ref / model, rows, "-o", out, *more, seconds=60)
    # The first is the owner, unless it stood still a moment before its lock.
    assert sorted([first.wait(100), second.code]) == [0, 6], second
    assert not (bradley.folder / "out.jsonl.parts").exists()
    winner, options = (model, more) if second.code == 0 else ("model", [])
    assert bradley(*score, bradley.ref / winner, rows, "-o", "x.jsonl", *options).code == 0
    assert out.read_bytes() == (bradley.folder / "x.jsonl").read_bytes()


PLANTED = {
    "the entry": ("argparse", ["verify", "."]),
    "a forged answer": ("json", ["verify", "."]),
    "an export": ("tempfile", ["export", ".", "../exported"]),
    "a package": ("torch", ["verify", "."]),
}
FORGED = """
import sys
open({mark!r}, "a").write("x")
print('{{"checks": [{{"name": "a", "largest": 0.0, "allowed": 1.0}}]}}')
sys.stdout.flush()
import os
os._exit(0)
"""


@pytest.mark.parametrize(("name", "args"), PLANTED.values(), ids=PLANTED)
def test_no_file_of_the_current_folder_runs(
    bradley: Commands, name: str, args: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, mark = bradley.copy("model"), bradley.folder / "ran"
    (model / f"{name}.py").write_text(FORGED.format(mark=str(mark)))
    monkeypatch.chdir(model)
    ended = bradley.process(*args)
    assert not mark.exists()
    # A file that is not of the model is refused in words, or does not matter.
    assert ended.code == 0 or (ended.code == 4 and f"{name}.py" in ended.err), ended


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_what_an_ended_export_leaves_is_removed_by_the_next(bradley: Commands, number: signal.Signals) -> None:
    """And its fresh process ends with it, even one that stands still."""
    first = bradley.start("export", bradley.ref, "exported", start_new_session=True)
    with standing_still(first, lambda: children(first.pid)):
        (child,) = children(first.pid)
        os.kill(child, signal.SIGSTOP)
        first.send_signal(number)
    try:
        assert first.wait(60) == {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}[number]
        deadline = time.monotonic() + 10
        while not gone(child):
            assert time.monotonic() < deadline, "the fresh process runs on"
            time.sleep(0.02)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("at", ["begun", "weights", "verifying"])
def test_a_killed_export_leaves_nothing_after_the_next(bradley: Commands, at: str) -> None:
    first = bradley.start("export", bradley.ref, "exported", start_new_session=True)

    def begun() -> bool:
        drafts = list(bradley.folder.glob(".tmp-*"))
        if at == "verifying":
            return bool(children(first.pid))
        return bool(drafts) and (at == "begun" or bool(list(bradley.folder.glob(".tmp-*/*.safetensors"))))

    with standing_still(first, begun):
        os.killpg(first.pid, signal.SIGKILL)
    first.wait(60)
    assert list(bradley.folder.glob(".tmp-*"))
    assert bradley("export", bradley.ref, "exported").code == 0
    assert [path.name for path in bradley.folder.iterdir()] == ["exported"]


def children(pid: int) -> list[int]:
    """Fresh processes of a process that are at work by now: those that have loaded torch on their own.

    A child between fork and exec has the libraries and the command line of its parent.
    """
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        found = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        found = [each for each in found if b"bradley.verify" in Path(f"/proc/{each}/cmdline").read_bytes()]
        return [each for each in found if "libtorch" in Path(f"/proc/{each}/maps").read_text()]
    return []


def gone(pid: int) -> bool:
    """Return True for a process that has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.parametrize("at", ["draft", "a file", "two files"])
def test_a_draft_in_the_cache_is_removed_by_the_next(
    bradley: Commands, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a process that is killed while it writes the tokens."""
    cache = bradley.folder / "cache"
    monkeypatch.setenv("BRADLEY_CACHE", str(cache))
    first = subprocess.Popen(
        command("train", bradley.settings(), "--output", "a", "--quiet"), stderr=subprocess.DEVNULL
    )
    wanted = {"draft": 0, "a file": 1, "two files": 2}[at]

    def begun() -> bool:
        return any(len(list(path.iterdir())) >= wanted for path in cache.glob("*.tmp-*")) or any(
            len(list(path.iterdir())) >= wanted for path in cache.glob(".tmp-*")
        )

    with standing_still(first, begun):
        first.kill()
    first.wait()
    if not list(cache.glob(".tmp-*")):
        pytest.skip("the draft had become an entry before the process stood still")
    assert bradley.train("b").code == 0
    assert not list(cache.glob("**/.tmp-*"))


WORDS = {
    "": (2, "the name is empty"),
    "/dev/null": (6, "no folder"),
    "/dev/zero": (6, "no folder"),
    "file.txt": (6, "no folder"),
    "file.txt/deep": (6, "is a file"),
    " ": (0, ""),
}


@pytest.mark.parametrize("place", WORDS)
def test_a_place_that_is_no_folder_is_named_as_such(bradley: Commands, place: str) -> None:
    (bradley.folder / "file.txt").write_text("mine")
    code, _ = WORDS[place]
    ended = bradley.train(place)
    assert ended.code == code and "already holds files" not in ended.err, ended


@pytest.mark.parametrize("name", ["caf\udce9", "\udcff\udcfe", "deep/x\udc80y"])
@pytest.mark.parametrize("option", ["--output", "--model.path", "--data.valid"])
def test_a_name_that_is_not_utf8_is_shown(bradley: Commands, name: str, option: str) -> None:
    shown = name.encode("utf-8", "backslashreplace").decode()
    ended = bradley("train", bradley.settings(), "--quiet", option, name, *(["--output", "x"] * (option != "--output")))
    (error,) = ended.lines("error")
    assert ended.code == 2 and shown in error and "not UTF-8" in error
    assert json.dumps(error) and not shutil.os.path.lexists(name)  # type: ignore[attr-defined]
