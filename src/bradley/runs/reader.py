"""Read a run folder as plain values; no other module parses the files written by training."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ..errors import DataError, UserError
from ..records import ScoredComparison
from .layout import EVAL, EVAL_DISTRIBUTIONS, EVAL_SAMPLES, EXAMPLES, METRICS, TIMING

Json = dict[str, Any]
T = TypeVar("T")
OTHER_LINES = (EVAL_DISTRIBUTIONS, EVAL_SAMPLES)
"""Files in `eval/` other than scored rows."""
SIDES = {"chosen": dict, "rejected": dict}
"""Histograms in a line of `distributions.jsonl`."""


@dataclass(frozen=True, slots=True)
class RunData:
    """Content of a run folder. Only `events` is required; every other missing part is empty.

    Attributes:
        folder: the run folder.
        config, environment, data_report, results: content of the JSON files with these names.
        events: lines of `metrics.jsonl`, each with a `kind` ("train" or "eval") and a `step`, in order of step.
        timing: lines of `timing.jsonl`, each with at least `step` and `seconds_since_start`.
        distributions: lines of `eval/distributions.jsonl`: `step`, `set`, and histograms of `chosen` and `rejected`.
        samples: lines of `eval/samples.jsonl`: `step`, `set`, and `rows`, comparisons with texts and scores.
        evals: scored rows by file name without ending, such as "valid-best".
        examples: entries of `examples.json`, the largest error first.
    """

    folder: Path
    config: Json
    environment: Json
    data_report: Json
    events: list[Json]
    timing: list[Json]
    distributions: list[Json]
    samples: list[Json]
    evals: dict[str, list[ScoredComparison]]
    results: Json
    examples: list[Json]


def read_run(folder: Path) -> RunData:
    """Read a run folder, of a finished or a running run.

    Args:
        folder: folder written by `bradley.train` or `bradley train`, such as `runs/x`.

    Raises:
        UserError: `folder` is not a run folder, because `metrics.jsonl` is missing.
        DataError: a file is broken; the message names file and line.

    Example:
        run = bradley.read_run(Path("runs/x"))
        losses = {event["step"]: event["train/rm/loss"] for event in run.events if event["kind"] == "train"}
        print(losses, len(run.evals["valid-best"]))
    """
    folder = Path(folder)
    metrics = folder / METRICS
    if not metrics.is_file():
        raise UserError(
            f"{folder} is not a run folder: it has no metrics.jsonl",
            "give the folder that `bradley train` wrote, such as runs/NAME",
        )
    objects = ("config", "environment", "data_report", "results")
    scored = sorted(path for path in (folder / EVAL).glob("*.jsonl") if path.name not in OTHER_LINES)
    return RunData(
        folder=folder,
        **{name: _read_json(folder / f"{name}.json", dict) for name in objects},
        events=sorted(read_lines(metrics, _event, growing=True), key=lambda event: event["step"]),
        timing=_read_some(folder / TIMING, {"step": int, "seconds_since_start": int | float}),
        distributions=_read_some(folder / EVAL / EVAL_DISTRIBUTIONS, {"step": int, "set": str, **SIDES}),
        samples=_read_some(folder / EVAL / EVAL_SAMPLES, {"step": int, "set": str, "rows": list}),
        evals={path.stem: list(read_lines(path, ScoredComparison.from_json)) for path in scored},
        examples=_read_json(folder / EXAMPLES, list),
    )


def read_lines(path: Path, build: Callable[[Json], T], *, growing: bool = False) -> Iterator[T]:
    """Read a JSONL file line by line, and yield `build(line)` for each line; blank lines are skipped.

    Args:
        path: of the file.
        build: makes the result from the parsed line; may raise ValueError, KeyError or TypeError.
        growing: True for a file written line by line, such as `metrics.jsonl`; an unfinished last line is skipped.

    Raises:
        DataError: a line cannot be read; the message names file and line.
    """
    with path.open("rb") as file:
        # A running or killed run may leave half of a last line. In a file written as a whole, half a line is damage.
        for number, line in enumerate(file, 1):
            if line.strip() and not (growing and not line.endswith(b"\n")):
                yield _read_line(path, number, line, build)


def _read_line(path: Path, number: int, line: bytes, build: Callable[[Json], T]) -> T:
    try:
        return build(json.loads(line))
    except (ValueError, KeyError, TypeError) as error:
        detail = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise DataError(
            f"{path}, line {number} cannot be read: {detail}", "restore the file, or delete this line"
        ) from error


def _event(line: Json) -> Json:
    """Check the fields of an event needed by every reader."""
    # The report and the plots index by these fields: a wrong type would end them with a bare KeyError or TypeError.
    if line["kind"] not in ("train", "eval") or not isinstance(line["step"], int):
        raise ValueError(f'kind is {line["kind"]!r} and step {line["step"]!r}, wanted "train" or "eval" and an integer')
    if line["kind"] == "eval" and not isinstance(line["set"], str):
        raise ValueError(f"set is {line['set']!r}, wanted a name")
    return line


def _read_some(path: Path, wanted: Mapping[str, Any]) -> list[Json]:
    """Read the lines of an optional file; each line must have the fields in `wanted`, of these types."""
    if not path.is_file():
        return []
    return list(read_lines(path, lambda line: _checked(line, wanted), growing=True))


def _checked(line: Json, wanted: Mapping[str, Any]) -> Json:
    for name, kind in wanted.items():
        if not isinstance(line[name], kind):
            raise ValueError(f"{name} is {line[name]!r:.60}, wanted {getattr(kind, '__name__', 'a number')}")
    return line


def _read_json(path: Path, wanted: type[T]) -> T:
    """Read the value in a JSON file of type `wanted`; an empty value without a file."""
    if not path.is_file():
        return wanted()
    try:
        value = json.loads(path.read_bytes())
    except ValueError as error:
        raise DataError(
            f"{path} is not valid JSON: {error}", "restore the file, or delete it to go on without"
        ) from error
    if not isinstance(value, wanted):
        raise DataError(f"{path} holds a {type(value).__name__}, wanted a {wanted.__name__}", "restore the file")
    return value
