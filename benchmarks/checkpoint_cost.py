"""What it costs that a checkpoint is hashed and synced: its share of the wall time of a run.

python benchmarks/checkpoint_cost.py [CONFIG] [--steps N] [--output DIR]

A run of CONFIG (preset:quickstart) with the default interval between evaluations, each of which saves. Seconds in
SHA-256 and in fsync are added up from the start of the loop to its end, saves included; the last line is their ratio.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bradley.common import disk, signatures
from bradley.config.load import load_config
from bradley.config.toml import config_file
from bradley.runs import manifest
from bradley.training import run
from bradley.training.checkpoints.store import Checkpoints


class Clock:
    """Seconds spent in functions, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.calls: dict[str, int] = {}

    def put_on(self, owner: Any, name: str, label: str) -> None:
        """Time a function from now on."""
        call: Callable[..., Any] = getattr(owner, name)

        def timed(*given: Any, **named: Any) -> Any:
            began = time.perf_counter()
            try:
                return call(*given, **named)
            finally:
                self.seconds[label] = self.seconds.get(label, 0.0) + time.perf_counter() - began
                self.calls[label] = self.calls.get(label, 0) + 1

        setattr(owner, name, timed)


def main() -> None:
    """Run, and print the share."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", nargs="?", type=Path, default=Path("preset:quickstart"))
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    changes = {"eval.every": "0", **({"train.max_steps": str(given.steps)} if given.steps else {})}
    folder = given.output or Path(tempfile.mkdtemp(prefix="bradley-cost-"))
    clock = Clock()
    for owner, name, label in (
        (disk, "sync", "fsync"),
        (manifest, "sha256", "sha256"),
        (signatures, "sha256", "sha256"),
        (Checkpoints, "save", "save"),
        (run, "fit", "fit"),
    ):
        clock.put_on(owner, name, label)
    try:
        run.train(load_config(config_file(given.config), changes), output=folder / "run")
        size = sum(path.stat().st_size for path in (folder / "run/checkpoints").rglob("*") if path.is_file())
    finally:
        if given.output is None:
            shutil.rmtree(folder)
    for label, seconds in clock.seconds.items():
        print(f"{label:<8} {seconds:9.3f} s in {clock.calls[label]} calls")
    print(f"{size / 2**20:.1f} MiB of checkpoints are kept")
    print(f"ratio    {(clock.seconds['sha256'] + clock.seconds['fsync']) / clock.seconds['fit']:.4f}")


if __name__ == "__main__":
    main()
