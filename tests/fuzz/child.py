"""Run a command line in a forked process, with bounds on time and memory, and gather how it ended."""

import contextlib
import io
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.fuzz.case import Case, Ended

PROCESSOR_SECONDS = 40
"""Seconds of processor time after which the system ends a command."""
FILE_BYTES = 2**30
TICKS = os.sysconf("SC_CLK_TCK")
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"></svg>'
MODULES = (
    "bradley.cli.main",
    "bradley.config.load",
    "bradley.data.preview",
    "bradley.data.formats",
    "bradley.data.sources",
    "bradley.training.run",
    "bradley.training.tracking.jsonl_csv",
    "bradley.scoring.file",
    "bradley.export.folder",
    "bradley.verify.rescore",
    "bradley.estimate.schedule",
    "bradley.estimate.memory_plan",
    "bradley.report.page",
    "transformers.models.llama.modeling_llama",
    "transformers.models.llama.tokenization_llama",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    "tokenizers",
    "safetensors.torch",
    "pyarrow.parquet",
    "datasets",
    "peft",
    "rich.progress",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_svg",
    "scipy.stats",
    "scipy.optimize",
    "jinja2.sandbox",
    "torch.utils.flop_counter",
    "torch._dynamo",
)
"""Modules that commands use, imported once before the first fork."""


def warm() -> None:
    """Import what commands use, so that a case costs little more than its command."""
    import importlib

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    for name in MODULES:
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(name)


def bradley(args: list[str]) -> None:
    """Run a command line as the installed program does."""
    from bradley.__main__ import main

    sys.argv = ["bradley", *args]
    main()


Program = Callable[[list[str]], None]


def run(case: Case, world: Path, program: Program = bradley, processor_seconds: int = PROCESSOR_SECONDS) -> Ended:
    """Run the command line of a case in its world and wait for the end."""
    warm()
    with _streams(world, case.stdin) as (stdin, out, err):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            # Read here, and not in the parent: a fork does not copy the pages of libraries.
            os.write(writer, str(_resident()).encode())
            os.close(reader)
            os.close(writer)
            _become(case, world, program, processor_seconds, (stdin, out, err))
        os.close(writer)
        with os.fdopen(reader) as file:
            before = float(file.read(20) or 0)
        code, usage, stood = _wait(pid, case.patience)
        left = _end_group(pid)
        return Ended(code, stood, _content(out), _content(err), max(0.0, _peak(usage) - before), left)


@contextlib.contextmanager
def _streams(world: Path, stdin: bytes) -> Iterator[tuple[int, int, int]]:
    """Open files for stdin, stdout and stderr beside the world; pipes would fill up, and change what a command does."""
    flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC
    paths = [world.with_name(f"{world.name}.{name}") for name in ("stdin", "stdout", "stderr")]
    paths[0].write_bytes(stdin)
    files = [os.open(paths[0], os.O_RDONLY), *(os.open(path, flags, 0o600) for path in paths[1:])]
    try:
        yield files[0], files[1], files[2]
    finally:
        for file, path in zip(files, paths, strict=True):
            os.close(file)
            path.unlink()


def _content(file: int) -> bytes:
    return os.pread(file, os.fstat(file).st_size, 0)


def _become(case: Case, world: Path, program: Program, processor_seconds: int, streams: tuple[int, int, int]) -> None:
    """Turn a forked process into the command, and end."""
    code = 70
    try:
        os.setsid()
        for number, file in enumerate(streams):
            os.dup2(file, number)
        _settle(world, processor_seconds)
        if not case.draws:
            _draw_nothing()
        code = _exit_code(program, case.args)
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(code)


def _settle(world: Path, processor_seconds: int) -> None:
    """Give the process the world as its surroundings, new streams, default signals and limits."""
    os.environ.update(
        HOME=str(world / "home"),
        BRADLEY_CACHE=str(world / "cache"),
        TMPDIR=str(world / "tmp"),
        HF_HUB_OFFLINE="1",
        PYTHONPATH=os.pathsep.join(path for path in sys.path if path),
    )
    os.chdir(world / "in")
    _stay_offline()
    import tempfile

    tempfile.tempdir = None
    # The streams of the parent may be those of a test runner, with text that waits to be written.
    sys.stdin = io.TextIOWrapper(os.fdopen(0, "rb", closefd=False), encoding="utf-8")
    sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb", closefd=False), encoding="utf-8")
    sys.stderr = io.TextIOWrapper(
        os.fdopen(2, "wb", closefd=False), encoding="utf-8", errors="backslashreplace", line_buffering=True
    )
    sys.__stdout__, sys.__stderr__ = sys.stdout, sys.stderr
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    resource.setrlimit(resource.RLIMIT_CPU, (processor_seconds, processor_seconds + 5))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _stay_offline() -> None:
    """Keep the Hub's client, which read the environment when the parent imported it, away from the network."""
    if (constants := sys.modules.get("huggingface_hub.constants")) is not None:
        constants.HF_HUB_OFFLINE = True


def _draw_nothing() -> None:
    """Have matplotlib write an empty picture: drawing takes nine tenths of the time of a report."""
    from matplotlib.figure import Figure

    def savefig(_figure: Any, file: Any, **options: Any) -> None:
        file.write(SVG if options.get("format") == "svg" else b"\x89PNG")

    Figure.savefig = savefig  # type: ignore[method-assign]


def _exit_code(program: Program, args: list[str]) -> int:
    """Run the program and return the exit code, as the interpreter would."""
    try:
        program(args)
    except SystemExit as leave:
        if leave.code is None or isinstance(leave.code, int):
            return leave.code or 0
        print(leave.code, file=sys.stderr)
        return 1
    except BaseException:
        sys.stderr.write(traceback.format_exc())
        return 1
    return 0


def _wait(pid: int, patience: float) -> tuple[int, Any, str]:
    """Wait for a process, which is killed after `patience` seconds without use of the processor."""
    stood, used, since = "", 0.0, time.monotonic()
    pause = 0.002
    while True:
        ended, status, usage = os.wait4(pid, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            if code == -signal.SIGXCPU:
                stood = "used the processor without end"
            return code, usage, stood
        if (now := _processor(pid)) > used + 0.1:
            used, since = now, time.monotonic()
        elif time.monotonic() - since > patience and not stood:
            stood = "stood still"
            os.kill(pid, signal.SIGKILL)
        time.sleep(pause)
        pause = min(0.05, pause * 1.5)


def _processor(pid: int) -> float:
    """Seconds of the processor that a process has used."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS


def _end_group(pid: int) -> bool:
    """End the processes that an ended command left in its group; tell if there were any."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def _peak(usage: Any) -> float:
    return float(usage.ru_maxrss) / (1024 if sys.platform == "linux" else 1024**2)


def _resident() -> float:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS")) / 1024
