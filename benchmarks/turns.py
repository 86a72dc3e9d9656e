"""Processes that work in turns: a parent lets one of several children run at a time, so that nothing overlaps.

The parent holds an `Arm` for each child, the child a `Gate`. A message is one line of JSON through a pipe: the parent
writes to the child's stdin, the child answers on its stdout. When either side ends, the other one sees the pipe close
and ends too; what a child says on stderr is kept, and shown when it fails.
"""

import contextlib
import json
import os
import select
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from figures import Turn

LONGEST_ANSWER_SECONDS = 3600.0
PATIENCE_AT_END_SECONDS = 120.0
ERROR_LINES = 25
MATMUL_SIZE = {"cpu": 2048, "cuda": 8192}
MATMUL_SECONDS = 0.5


class ArmError(Exception):
    """A child that ended, or did not answer in time; with the last lines that it wrote.

    Attributes:
        out_of_memory: whether that is what ended it, as far as can be seen from here.
    """

    def __init__(self, message: str, code: int | None) -> None:
        super().__init__(message)
        self.out_of_memory = code == -signal.SIGKILL or "out of memory" in message.lower()


class Arm:
    """A child process, as its parent sees it.

    Args:
        name: what it is called in messages.
        command: how it is started; it must make a `Gate`.
        errors: file for its stderr.
    """

    def __init__(self, name: str, command: Sequence[str], errors: Path) -> None:
        self.name, self.errors = name, errors
        with errors.open("wb") as file:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file, bufsize=0
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, **message: Any) -> dict[str, Any]:
        """Send one message and wait for its answer.

        Raises:
            ArmError: the child is gone, or silent for `LONGEST_ANSWER_SECONDS`.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write((json.dumps(message) + "\n").encode())
        except BrokenPipeError:
            raise self._failure("has ended") from None
        ready, _, _ = select.select([self._process.stdout], [], [], LONGEST_ANSWER_SECONDS)
        if not ready:
            raise self._failure(f"has not answered for {LONGEST_ANSWER_SECONDS:.0f} s")
        line = self._process.stdout.readline()
        if not line:
            raise self._failure("has ended")
        return dict(json.loads(line))

    def turn(self, *, seconds: float = 0.0, judgments: int = 0) -> Turn:
        """Let it work for at least so many seconds and judgments, to the end of the unit of work that it is in."""
        answer = self.ask(do="work", seconds=seconds, judgments=judgments)
        return Turn(**{name: answer[name] for name in Turn._fields})

    def close(self) -> None:
        """Ask it to end, and see to it that it does."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(PATIENCE_AT_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _failure(self, what: str) -> ArmError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)  # the pipe closes a moment before
        code = self._process.returncode
        lines = self.errors.read_text(errors="replace").splitlines()[-ERROR_LINES:]
        state = "" if code is None else f" (exit code {code})"
        return ArmError("\n".join([f"{self.name} {what}{state}; its last lines:", *lines]), code)


class Work(NamedTuple):
    """What a turn is to last at least, and when it began."""

    seconds: float
    judgments: int
    began: float


class Gate:
    """Where a child waits for its turn. Whatever it prints from here on goes to stderr, for stdout holds answers alone.

    Args:
        device: `cpu` or `cuda`; the clock of a turn stops when the device has done what it was given.

    Attributes:
        answers: to messages that are no turn: what they ask for -> function from the message to the answer.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self.answers: dict[str, Callable[[Any], dict[str, Any]]] = {
            "matmul": lambda _: {"flops": matmul_flops(device)},
        }
        self._out = os.fdopen(os.dup(1), "w", buffering=1)
        os.dup2(2, 1)
        self._work: Work | None = None
        self._units = self._judgments = self._tokens = 0

    def passed(self, judgments: int = 0, tokens: int = 0) -> bool:
        """One unit of work is done, or none yet; returns when the next may begin, False where none is to."""
        self._units += int(judgments > 0)
        self._judgments += judgments
        self._tokens += tokens
        if self._work is not None:
            synchronize(self.device)
            seconds = time.perf_counter() - self._work.began
            if seconds < self._work.seconds or self._judgments < self._work.judgments:
                return True
            self._answer(Turn(seconds, self._judgments, self._tokens, self._units, peak_gib(self.device))._asdict())
        return self._wait()

    def _wait(self) -> bool:
        self._work = None
        release(self.device)
        for line in iter(sys.stdin.readline, ""):
            message = json.loads(line)
            if message["do"] == "work":
                self._units = self._judgments = self._tokens = 0
                self._work = Work(message["seconds"], message["judgments"], time.perf_counter())
                return True
            self._answer(self.answers[message["do"]](message))
        return False

    def _answer(self, content: dict[str, Any]) -> None:
        self._out.write(json.dumps(content) + "\n")


def synchronize(device: str) -> None:
    """Wait for what was given to a GPU."""
    if device == "cuda":
        import torch

        torch.cuda.synchronize()


def release(device: str) -> None:
    """Give cached GPU memory back, because the next turn is another process's."""
    if device == "cuda":
        import torch

        torch.cuda.empty_cache()


def peak_gib(device: str) -> float:
    """Largest memory of this process so far: allocated on the GPU, or resident on the host.

    `ru_maxrss` would not do: a child inherits that of the process which started it.
    """
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated() / 2**30
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 2**20


def matmul_flops(device: str, precision: str = "") -> float:
    """FLOP/s of a square matrix product, the best of many in half a second.

    Args:
        precision: float32 or bfloat16 ('': the first on a CPU, the second on a GPU).
    """
    import torch

    size = MATMUL_SIZE[device]
    dtype = getattr(torch, precision or ("float32" if device == "cpu" else "bfloat16"))
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    best, began = float("inf"), time.perf_counter()
    while time.perf_counter() - began < MATMUL_SECONDS or best == float("inf"):
        synchronize(device)
        start = time.perf_counter()
        torch.mm(left, right)
        synchronize(device)
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def take_turns(arms: dict[str, Arm], seconds: float, least: int) -> tuple[dict[str, list[Turn]], float]:
    """Let every arm work in turn until the time is over, and each at least `least` times; the matrix product of the
    first arm's process is measured once per round.

    Returns:
        turns by arm, one per round, and the median of the matrix products in FLOP/s.
    """
    turns: dict[str, list[Turn]] = {name: [] for name in arms}
    products: list[float] = []
    length = seconds / (len(arms) * max(least, 6))
    began = time.perf_counter()
    while len(products) < least or time.perf_counter() - began < seconds:
        for name, arm in arms.items():
            turns[name].append(arm.turn(seconds=length))
        products.append(next(iter(arms.values())).ask(do="matmul")["flops"])
    return turns, statistics.median(products)
