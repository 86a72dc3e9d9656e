"""Programs in a copy of this process, where a fresh one would import for five seconds what is there already.

A test whose subject is a fresh interpreter starts one: its imports, its environment, its end.
"""

import contextlib
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest


def bradley(arguments: Sequence[str]) -> Callable[[], None]:
    """The installed program with a command line."""

    def work() -> None:
        from bradley.__main__ import main

        sys.argv = ["bradley", *arguments]
        main()

    return work


def start(work: Callable[[], object], stdout: int = 1, stderr: int = 2, **places: str) -> int:
    """Begin `work` in a copy of this process, with such streams and variables; return the id of the copy."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return child
    try:
        if "torch" in sys.modules:
            import torch

            # The first call after a fork makes the pool of threads anew: two threads at once would find none.
            torch.set_num_threads(torch.get_num_threads())
        os.environ.update(places)
        os.dup2(stdout, 1)
        os.dup2(stderr, 2)
        sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
        code = _code_of(work)
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os._exit(code)


def _code_of(work: Callable[[], object]) -> int:
    """The exit code of a program, as the interpreter would have it."""
    try:
        work()
    except SystemExit as leave:
        return leave.code if isinstance(leave.code, int) else int(leave.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def ended(child: int) -> int:
    """Wait for a copy; return the exit code, or minus the signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@contextlib.contextmanager
def verified_in_copies() -> Iterator[None]:
    """Let `verify` score a folder in a copy of this process."""

    def answer_of(options: Sequence[str], folder: Path) -> tuple[int, bytes, str]:
        from bradley.verify.rescore import main

        with tempfile.TemporaryFile() as answer, tempfile.TemporaryFile() as said, open(os.devnull, "wb") as nowhere:
            words = [*options, f"--answer={answer.fileno()}", "--", str(folder)]
            code = ended(start(lambda: main(words), nowhere.fileno(), said.fileno()))
            found: list[Any] = [os.pread(file.fileno(), 2**20, 0) for file in (answer, said)]
            return code, found[0], found[1].decode("utf-8", "replace")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bradley.verify._answer_of", answer_of)
        yield
