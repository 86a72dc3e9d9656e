"""Parse the files of a run folder as plain values; no other module parses the files written by training."""

import itertools
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from ..common.json_files import check_shape, parse_json, read_json
from ..errors import DataError
from ..evaluate.moments import QUANTILES
from ..records import ScoredComparison
from .layout import EVAL_DISTRIBUTIONS, EVAL_SAMPLES
from .shapes import DataReport, DistributionLine, EventLine, SamplesLine, ScoredRow, TimingLine

Json = dict[str, Any]
T = TypeVar("T")
OTHER_LINES = (EVAL_DISTRIBUTIONS, EVAL_SAMPLES)
"""Files in `eval/` other than scored rows."""
LARGEST = 2.0**128
"""Bound of scores, counts and steps: scores come from float32. Sums of larger numbers would overflow in a figure."""
GO_ON_WITHOUT = "restore the file, or delete it to go on without"
MOST_STEPS = 2**53
"""Bound of steps and token counts, exact as floats."""


def read_lines(path: Path, shape: Any, build: Callable[[Json], T], *, growing: bool = False) -> Iterator[T]:
    """Read a JSONL file line by line, and yield `build(line)` for each line; blank lines are skipped.

    Args:
        path: of the file.
        shape: type of a line, as for `check_shape`.
        build: makes the result from a line of this shape; may raise ValueError or TypeError.
        growing: True for a file written line by line, such as `metrics.jsonl`; an unfinished last line is skipped.

    Raises:
        DataError: the file or a line cannot be read; the message names file and line.
    """
    try:
        # A pipe would block.
        if not path.is_file():
            raise DataError(f"{path} is no file", "restore the file")
        with path.open("rb") as file:
            # A running or killed run may leave half of a last line. In a file written as a whole, half a line is
            # damage.
            for number, line in enumerate(file, 1):
                if line.strip() and not (growing and not line.endswith(b"\n")):
                    yield _read_line(path, number, line, shape, build)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}", "restore the file") from error


def _read_line(path: Path, number: int, line: bytes, shape: Any, build: Callable[[Json], T]) -> T:
    where, hint = f"{path}, line {number}", "restore the file, or delete this line"
    value = check_shape(parse_json(line, where, DataError, hint), shape, where, DataError, hint)
    try:
        return build(value)
    except (ValueError, TypeError) as error:
        raise DataError(f"{where} is broken: {error!s:.200}", hint) from error


def read_scored(path: Path) -> list[ScoredComparison]:
    """Read a file of scored rows.

    Raises:
        DataError: the file or a row cannot be read; the message names file and line.
    """
    return list(read_lines(path, ScoredRow, _scored))


def read_events(path: Path) -> list[Json]:
    """Read `metrics.jsonl`, in order of step; an unfinished last line is skipped."""
    return sorted(read_lines(path, EventLine, _event, growing=True), key=lambda event: event["step"])


def read_timing(path: Path) -> list[Json]:
    """Read `timing.jsonl`; [] without the file."""
    return _read_some(path, TimingLine, _timing)


def read_distributions(path: Path) -> list[Json]:
    """Read `eval/distributions.jsonl`; [] without the file."""
    return _read_some(path, DistributionLine, _distribution)


def read_samples(path: Path) -> list[Json]:
    """Read `eval/samples.jsonl`; [] without the file."""
    return _read_some(path, SamplesLine, _step)


def read_data_report(path: Path) -> Json:
    """Read `data_report.json` with checked histograms; {} without the file."""
    return _checked_report(path, read_optional(path, DataReport, {}))


def _scored(line: Json) -> ScoredComparison:
    row = ScoredComparison.from_json(line)
    # Every figure indexes by the responses: a list of another length would end the report.
    lists = {name: getattr(row, name) for name in ("scores", "tokens", "response_tokens", "truncated", "source_scores")}
    for name, values in lists.items():
        if values is not None and len(values) != len(row.scores):
            raise ValueError(f"{len(values)} {name} for {len(row.scores)} scores")
    for judgment in row.judgments:
        if not (0 <= judgment.better < len(row.scores) and 0 <= judgment.worse < len(row.scores)):
            raise ValueError("a judgment names a response that is not there")
    _bounded("a score", *row.scores, *(row.source_scores or ()))
    _bounded("a margin or weight", *(x for j in row.judgments for x in (j.margin, j.weight) if x is not None))
    if not all(0 <= count <= MOST_STEPS for count in (*row.tokens, *row.response_tokens)):
        raise ValueError("a count of tokens is out of range")
    return row


def _bounded(what: str, *values: float) -> None:
    """Raise `ValueError` for a number that overflows in a figure; values that are not finite are named elsewhere."""
    if any(math.isfinite(value) and abs(value) > LARGEST for value in values):
        raise ValueError(f"{what} is larger than {LARGEST:.0e}")


def _step(line: Json) -> Json:
    if not 0 <= line["step"] <= MOST_STEPS:
        raise ValueError(f"step is {line['step']!r:.40}, wanted 0 to {MOST_STEPS:,}")
    return line


def _event(line: Json) -> Json:
    """Check the fields of an event needed by every reader."""
    # The report and the plots index by these fields: a wrong value would end them with a bare KeyError.
    if line["kind"] not in ("train", "eval"):
        raise ValueError(f'kind is {line["kind"]!r:.60}, wanted "train" or "eval"')
    if line["kind"] == "eval" and "set" not in line:
        raise ValueError("no set")
    return _step(line)


def _timing(line: Json) -> Json:
    if not math.isfinite(line["seconds_since_start"]):
        raise ValueError("seconds_since_start is not finite")
    _bounded("seconds_since_start", line["seconds_since_start"])
    return _step(line)


def _distribution(line: Json) -> Json:
    for name in ("chosen", "rejected"):
        _histogram(line[name])
        _finite(f"a quantile of {name}", [line[name][key] for key in QUANTILES if key in line[name]])
    return _step(line)


def _histogram(histogram: Json) -> None:
    """Raise `ValueError` unless B counts of 0 or more stand between B + 1 ascending edges, or both are empty."""
    edges, counts = histogram["edges"], histogram["counts"]
    if not edges and not counts:
        return
    if len(edges) != len(counts) + 1:
        raise ValueError(f"a histogram has {len(edges)} edges and {len(counts)} counts")
    _finite("an edge or count of a histogram", [*edges, *counts])
    if any(count < 0 for count in counts) or any(high <= low for low, high in itertools.pairwise(edges)):
        raise ValueError("a histogram has a negative count, or edges that do not ascend")


def _finite(what: str, values: list[float]) -> None:
    if not all(isinstance(value, int | float) and math.isfinite(value) for value in values):
        raise ValueError(f"{what} is not a finite number")
    _bounded(what, *values)


def _checked_report(path: Path, report: Json) -> Json:
    """Check the histograms of a data report."""
    for split in (report.get("splits") or {}).values():
        for histogram in ((split.get("tokens") or {}).get("histograms") or {}).values():
            try:
                _histogram(histogram)
            except ValueError as error:
                raise DataError(f"{path} is broken: {error}", GO_ON_WITHOUT) from error
    return report


def _read_some(path: Path, shape: Any, build: Callable[[Json], Json]) -> list[Json]:
    """Read the lines of an optional file."""
    return list(read_lines(path, shape, build, growing=True)) if path.exists() else []


def read_optional(path: Path, shape: Any, empty: T) -> T:
    """Read the value in a JSON file; `empty` without a file."""
    if not path.exists():
        return empty
    value: T = read_json(path, shape, error=DataError, hint=GO_ON_WITHOUT)
    return value
