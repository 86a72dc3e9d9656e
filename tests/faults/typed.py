"""`bradley train` as it is typed, on a file of settings."""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.training.interrupted import DATA

WITHOUT_FIGURES = Path(__file__).parents[1] / "launch" / "without_figures"


def prepared(folder: Path, settings: Mapping[str, Any]) -> tuple[Path, dict[str, str]]:
    """A file of settings with its data beside it, and the environment to run it in."""
    for name, rows in DATA.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = folder / "run.toml"
    data = {name: str(folder / f"{name}.jsonl") for name in DATA}
    path.write_text("".join(lines({**settings, "data": data})))
    places = {**os.environ, "BRADLEY_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    places["PYTHONPATH"] = os.pathsep.join([str(WITHOUT_FIGURES), places.get("PYTHONPATH", "")])
    return path, places


def train(settings: Path, run: Path) -> list[str]:
    """The command line that begins a run, or goes on with it."""
    return [sys.executable, "-m", "bradley", "train", str(settings), "--output", str(run), "--resume"]


def lines(values: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Settings as lines of TOML."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from lines(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name} = {json.dumps(value)}\n"
