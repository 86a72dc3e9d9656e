"""Everything that only a GPU can answer, in one run of at most twelve minutes on one GPU of 24 GB or more.

    python benchmarks/gpu.py [--output FILE]          # the stages one after another, then a table for docs/log.md
    python benchmarks/gpu.py --stages engines,speed   # some of them
    python benchmarks/gpu.py --dry                    # the same on a CPU, at a tiny shape
    python benchmarks/gpu.py --prepare FOLDER         # wheels and these scripts, for a machine without internet

Each stage is a process of its own with a time limit: a crash, a hang or a full memory costs that stage alone, and the
rows found before are kept. What is compared, and what counts as equal, is said in `gpu_stages.py`, `gpu_runs.py` and
`gpu_speed.py`. No stage downloads anything: models are drawn and data composed. The exit code is 0 if no stage and no
row has failed.
"""

import argparse
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gpu_runs import adapters, memory, sharded, training, waits
from gpu_speed import speed
from gpu_stages import Bench, Found, Rows, engines, machine

HERE = Path(__file__).parent
EXTRAS = "lora,8bit,liger,data,gpu"
PEERS = ("trl",)
ERROR_LINES = 12
WORDS = {True: "ok", False: "FAILED", None: ""}


class Stage(NamedTuple):
    """A stage with the most seconds that it may take."""

    run: Callable[[Bench], Rows]
    seconds: float


STAGES = {
    "machine": Stage(machine, 40),
    "engines": Stage(engines, 180),
    "waits": Stage(waits, 40),
    "training": Stage(training, 70),
    "sharded": Stage(sharded, 50),
    "adapters": Stage(adapters, 70),
    "memory": Stage(memory, 40),
    "speed": Stage(speed, 230),
}
"""Stages in their order; together twelve minutes at most."""


class Outcome(NamedTuple):
    """What a stage came to.

    Attributes:
        rows: found before the stage ended.
        error: why the stage did not end well, with its last lines; '' for a stage that did.
    """

    name: str
    rows: list[Found]
    seconds: float
    error: str

    @property
    def failed(self) -> bool:
        """True if the stage or a row of it has failed."""
        return bool(self.error) or any(row.ok is False for row in self.rows)


def preload() -> None:
    """Import what the stages import, and run nothing: processes of a dry run are copies of this one."""
    import transformers  # noqa: F401

    import bradley.training.run  # noqa: F401


def work(name: str, bench: Bench, sender: Any, log: Path) -> None:
    """Run a stage in this process, and send each row as it is found."""
    # Processes that the stage starts end with it: the parent kills the group.
    os.setsid()
    sys.stdout = sys.stderr = log.open("w", buffering=1)
    for stream in (1, 2):
        os.dup2(sys.stderr.fileno(), stream)
    for row in STAGES[name].run(bench):
        sender.send(tuple(row))


def run_stage(name: str, bench: Bench, seconds: float) -> Outcome:
    """Run a stage in a process of its own, for so many seconds at most."""
    # A GPU wants a fresh interpreter, a CPU is fine with a copy of this one, which has PyTorch imported already.
    context: Any = multiprocessing.get_context("fork" if bench.tiny else "spawn")
    receiver, sender = context.Pipe(duplex=False)
    log = bench.folder / f"{name}.log"
    bench = bench._replace(folder=bench.folder / name)
    bench.folder.mkdir()
    child = context.Process(target=work, args=(name, bench, sender, log))
    began, rows, error = time.monotonic(), [], ""
    child.start()
    sender.close()
    while True:
        if receiver.poll(max(0.0, began + seconds - time.monotonic())):
            try:
                rows.append(Found(*receiver.recv()))
            except EOFError:
                break
        else:
            error = f"not done after {seconds:.0f} s"
            break
    child.join(0 if error else 10)
    end(child.pid)
    child.kill()
    child.join()
    if not error and child.exitcode:
        error = f"ended with exit code {child.exitcode}"
    if error:
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        error = "\n".join([error, *lines[-ERROR_LINES:]])
    return Outcome(name, rows, time.monotonic() - began, error)


def end(pid: int) -> None:
    """Kill a stage with all that it has started."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def table(outcomes: Sequence[Outcome]) -> str:
    """Format all rows as a table in Markdown, with the failures below."""
    lines = ["| stage | what | found | |", "|---|---|---|---|"]
    for outcome in outcomes:
        lines += [f"| {outcome.name} | {row.what} | {row.value} | {WORDS[row.ok]} |" for row in outcome.rows]
        state = "FAILED" if outcome.error else ""
        lines.append(f"| {outcome.name} | seconds | {outcome.seconds:.0f} | {state} |")
    for outcome in outcomes:
        if outcome.error:
            lines += ["", f"{outcome.name}: {outcome.error}"]
    return "\n".join(lines)


def prepare(folder: Path) -> str:
    """Fill a folder with wheels and scripts for a machine without internet; return what to type there."""
    folder.mkdir(parents=True, exist_ok=True)
    root, pip = HERE.parent, [sys.executable, "-m", "pip"]
    pins = folder / "constraints.txt"
    shutil.copy(root / "constraints.txt", pins)
    shutil.copytree(HERE, folder / "benchmarks", dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([*pip, "wheel", "--no-deps", "-w", str(folder), str(root)], check=True)
    wheel = next(folder.glob("bradley-*.whl"))
    subprocess.run([*pip, "download", "-d", str(folder), "-c", str(pins), f"{wheel}[{EXTRAS}]", *PEERS], check=True)
    return "\n".join(
        [
            f"copy {folder} to a machine with the same Python and system as this one, and type there:",
            f"  python -m venv gpu && gpu/bin/pip install --no-index --find-links {folder.name} -c "
            f"{folder.name}/constraints.txt '{folder.name}/{wheel.name}[{EXTRAS}]' {' '.join(PEERS)}",
            f"  gpu/bin/python {folder.name}/benchmarks/gpu.py --output gpu.md",
        ]
    )


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stages", default=",".join(STAGES), help="names, separated by commas")
    parser.add_argument("--dry", action="store_true", help="on a CPU, at a tiny shape")
    parser.add_argument("--output", type=Path, help="file for the table, added at its end")
    parser.add_argument("--prepare", type=Path, metavar="FOLDER", help="fill FOLDER with wheels, and run nothing")
    given = parser.parse_args()
    if unknown := [name for name in given.stages.split(",") if name not in STAGES]:
        parser.error(f"no stage {', '.join(unknown)}, only {', '.join(STAGES)}")
    return given


def main() -> int:
    """Run the stages, print each row as it comes to an end, and the table."""
    given = arguments()
    if given.prepare:
        print(prepare(given.prepare))
        return 0
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="bradley-gpu-") as folder:
        bench = Bench("cpu" if given.dry else "cuda", given.dry, Path(folder))
        if given.dry:
            preload()
        for name in given.stages.split(","):
            # A busy CPU may take its time: a dry run asks whether the stages work, not how long they take.
            outcomes.append(run_stage(name, bench, STAGES[name].seconds * (10 if given.dry else 1)))
            print(f"{name}: {outcomes[-1].seconds:.0f} s{' FAILED' if outcomes[-1].failed else ''}", file=sys.stderr)
    text = table(outcomes)
    print(text)
    if given.output:
        with given.output.open("a") as file:
            file.write(text + "\n")
    return int(any(outcome.failed for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
