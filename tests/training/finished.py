"""A short run with trackers and what it left behind, for tests of writers."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

from bradley.losses import Term
from bradley.training.loop import fit
from bradley.training.tracking.samples import choose
from tests.training.jobs import VALID, config, job


class Finished:
    """A run of four steps; `lines` went to stderr, `events` are its metrics."""

    def __init__(self, folder: Path, trackers: list[str]) -> None:
        settings = config(train={"max_steps": 4}, log={"trackers": trackers, "every": 2})
        made = job(folder / "run", settings, lengths={"data/train/prompt_tokens_mean": 12.5})
        made.losses["squares"] = lambda scores, targets: Term(
            (scores**2).sum(), "response", {"largest_square": (scores.detach() ** 2).max()}
        )
        made.evaluator.stores["harder"] = made.evaluator.stores["valid"]
        made.evaluator.samples = choose({"valid": VALID}, 2, 0)
        self.folder, self.config = made.folder, made.config
        with contextlib.redirect_stderr(io.StringIO()) as stderr:
            fit(made)
        self.lines = stderr.getvalue().splitlines()
        self.events = self.read("metrics.jsonl")

    def read(self, name: str) -> list[dict[str, Any]]:
        """The lines of a file of the run."""
        return [json.loads(line) for line in (self.folder / name).read_text().splitlines()]


def numbers(event: dict[str, Any]) -> dict[str, float]:
    """The values of an event that are numbers."""
    return {key: value for key, value in event.items() if isinstance(value, int | float)}
