"""The oracle finds planted faults: each kind of wrong end of a command, and silent success."""

import mmap
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fuzz import child
from tests.fuzz.case import Case, Ended, make_world, snapshot
from tests.fuzz.oracle import complaints

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="forks, and measures time and memory as Linux tells them"
)


def fail(code: int = 3, what: str = "x is broken", hint: str = "copy it again") -> None:
    """End as a command with an error does."""
    print(f"error: {what}" + (f"\nhint: {hint}" if hint else ""), file=sys.stderr)
    sys.exit(code)


def raise_error(_args: list[str]) -> None:
    raise KeyError("x")


def write_outside(_args: list[str]) -> None:
    Path("../near/mine.txt").write_text("x")


def remove_outside(_args: list[str]) -> None:
    Path("../near/eval/mine.jsonl").unlink()


def make_outside(_args: list[str]) -> None:
    Path("../home/new").touch()


def keep_a_draft(_args: list[str]) -> None:
    Path("../out/.tmp-x").touch()


def stand_still(_args: list[str]) -> None:
    time.sleep(1000)


def loop(_args: list[str]) -> None:
    while True:
        pass


def fill_memory(_args: list[str]) -> None:
    # Not from the heap: memory that the parent has freed, and kept, would be used again without growth.
    memory = mmap.mmap(-1, 500_000_000)
    for place in range(0, len(memory), mmap.PAGESIZE):
        memory[place] = 1


def leave_a_process(_args: list[str]) -> None:
    subprocess.Popen(["sleep", "1000"])


def print_two_hints(_args: list[str]) -> None:
    fail(hint="a\nhint: b")


def print_after_the_error(_args: list[str]) -> None:
    print("error: x\nhint: y\nRuntimeWarning: z", file=sys.stderr)
    sys.exit(3)


def print_an_error_and_succeed(_args: list[str]) -> None:
    fail(0)


PLANTED: dict[str, tuple[Callable[[list[str]], None], str]] = {
    "a traceback": (raise_error, "traceback: KeyError: 'x'"),
    "another exit code": (lambda _args: fail(1), "exit code 1"),
    "a signal": (lambda _args: os.kill(os.getpid(), signal.SIGTERM), "exit code -15"),
    "no message": (lambda _args: sys.exit(3), "exit code 3 without an error"),
    "no hint": (lambda _args: fail(hint=""), "0 hints for one error: error: x is broken"),
    "two hints": (print_two_hints, "2 hints for one error: error: x is broken"),
    "an error and exit code 0": (print_an_error_and_succeed, "an error, and exit code 0"),
    "noise after the error": (print_after_the_error, "text after the error: 'RuntimeWarning: z'"),
    "an escape sequence": (lambda _args: fail(what="\x1b[2J"), "control characters on stderr: ['\\x1b']"),
    "a reversed text": (lambda _args: print("\u202e"), "control characters on stdout: ['\\u202e']"),
    "no UTF-8": (lambda _args: sys.stdout.buffer.write(b"\xff") and None, "stdout is no UTF-8"),
    "a line of a value": (lambda _args: print("error: planted by the fuzzer"), "a line of a value on stdout"),
    "a flood": (lambda _args: print("x\n" * 100_000), "200,001 bytes on stdout"),
    "a long error": (lambda _args: fail(what="y" * 3000), "an error of 3,007 characters"),
    "a changed file": (write_outside, "a file outside of the output: changed near/mine.txt"),
    "a removed file": (remove_outside, "a file outside of the output: removed near/eval/mine.jsonl"),
    "a new file": (make_outside, "a file outside of the output: made home/new"),
    "a draft left": (keep_a_draft, "left-overs: left out/.tmp-x"),
    "standing still": (stand_still, "no end: the command stood still"),
    "an endless loop": (loop, "no end: the command used the processor without end"),
    "much memory": (fill_memory, "memory"),
    "a process left": (leave_a_process, "a process was left running"),
    "silent success": (lambda _args: print("ok"), "silent success: another number"),
}


def judged(program: Callable[[list[str]], None], world: Path, code_zero: str = "") -> list[str]:
    """Run a program instead of bradley in a world, and return the complaints."""

    def judge(_ended: Ended, _world: Path) -> list[str]:
        return [code_zero] if code_zero else []

    case = Case(["x"], "planted", judge=judge, patience=1.0 if program is stand_still else 60.0)
    before = snapshot(make_world(world))
    ended = child.run(case, world, program, processor_seconds=1 if program is loop else 20)
    return complaints(case, ended, before, snapshot(world), world)


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_found(name: str, tmp_path: Path) -> None:
    program, complaint = PLANTED[name]
    found = judged(program, tmp_path / "world", "another number" if name == "silent success" else "")
    assert any(each.startswith(complaint) for each in found), found


@pytest.mark.parametrize(
    "program", [lambda _args: print("ok"), lambda _args: fail(3), lambda _args: Path("../out/x").touch()]
)
def test_a_command_without_fault_is_passed(program: Callable[[list[str]], None], tmp_path: Path) -> None:
    assert judged(program, tmp_path / "world") == []


def test_bradley_itself_runs_in_the_forked_process(tmp_path: Path) -> None:
    world = make_world(tmp_path / "world")
    ended = child.run(Case(["data", "missing.jsonl"], "none"), world)
    assert ended.code == 3 and ended.err.startswith(b"error: ") and b"\nhint: " in ended.err, ended
    ended = child.run(Case(["--version"], "none"), world)
    assert ended.code == 0 and ended.out.startswith(b"bradley "), ended
