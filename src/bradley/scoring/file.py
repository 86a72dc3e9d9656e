"""Score a file of conversations, in parts kept for a resumed run, or as a stream.

Part n holds `part_rows` rows from row n * part_rows, and no micro-batch crosses the end of a part. The bytes of a part
therefore depend neither on interruptions nor on the number of processes.
"""

import os
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch

from ..common.console import Bar, Console
from ..common.files import sha256
from ..common.processes import Rank, rank_from
from ..data.rows import Row, RowPlace
from ..data.sources.files import known_suffix, read_rows
from ..data.sources.json_rows import objects_of
from ..data.sources.text import lines, lines_of
from ..errors import DataError, UserError
from ..model.device import choose_device, keep_freed_memory, set_threads
from ..model.folder.save_load import load_model
from .output import json_lines
from .parts import Counts, Parts, added, count, summary
from .rows import Parsed, parse, scored_row
from .scorer import Prepared, Scorer

STREAM = "-"
"""Name of stdin and stdout on the command line."""
Numbered = tuple[int, Row]
"""Number of a row from 1, and the row."""
T = TypeVar("T")


@dataclass(frozen=True)
class How:
    """Options affecting the bytes of the output, besides model and input.

    Attributes:
        over_long: a policy of `scorer.POLICIES`, or "" for the policy of the model's evaluation.
        token_budget: maximum tokens per micro-batch (0: suitable for the device).
        normalize: write (score - mean) / std over the reference set named by the model folder.
        best_of: write the best response of each row instead of all responses.
        prefix: prefix for the names of added fields.
        part_rows: rows read, scored and written together.
    """

    over_long: str = ""
    token_budget: int = 0
    normalize: bool = False
    best_of: bool = False
    prefix: str = ""
    part_rows: int = 512


def score_file(
    model: Path,
    source: str,
    output: str,
    how: How | None = None,
    *,
    device: str = "auto",
    restart: bool = False,
    trust_remote_code: bool = False,
    base: str = "",
    accept_edits: bool = False,
    progress: str = "quiet",
) -> dict[str, Any]:
    """Score every row of a file with a model folder, and write all rows with scores in the same order.

    Under torchrun each process scores a share of the parts; the first process joins the parts and returns the counts.

    Args:
        model: model folder.
        source, output: files, or "-" for stdin and stdout.
        how: options of the output.
        device: `auto`, `cpu` or `cuda`.
        restart: replace an existing output, and remove parts of earlier work.
        trust_remote_code: run the model code in the folder.
        base: folder or Hub name of an adapter's base model, if the base model has moved since the run.
        accept_edits: score with a folder whose files were edited since saving, and log their names.
        progress: `bar`, `quiet` or `json`, all on stderr.

    Returns:
        Counts of rows, scores, tokens and failures, with the seconds of this run; {} in processes other than the first.

    Raises:
        UserError: an existing output, parts of other work, or a stream shared by several processes.
        DataError: a broken input, or no scorable row; in the second case the output exists and gives a reason for each
            row.
        CheckpointError: an unusable model folder.
        RankError: another process was lost.
    """
    how, ranks, began = how or How(), rank_from(os.environ), time.perf_counter()
    check_streams(source, output, ranks, restart)
    parts = None if output == STREAM else Parts(Path(output))
    total = None if source == STREAM else count_rows(Path(source))
    options = {"trust_remote_code": trust_remote_code, "base": base, "accept_edits": accept_edits}
    scorer = load_scorer(model, how, use_device(device, ranks.local_rank), **options)
    work = Work(scorer, how, "stdin" if source == STREAM else source)
    console = Console(progress if ranks.rank == 0 else "quiet")
    if parts is None:
        counts = stream(work, source, total, console)
    else:
        # A late process may find all parts already joined, or an output about to be refused by the first process.
        if ranks.rank and parts.output.exists() and not parts.begun:
            return {}
        parts.claim(manifest_of(model, source, scorer, how), restart)
        counts = in_parts(work, parts, source, total, ranks, console)
    return summary(counts, time.perf_counter() - began, output) if ranks.rank == 0 else {}


def check_streams(source: str, output: str, ranks: Rank, restart: bool) -> None:
    """Raise `UserError` for streams or `--restart` with several processes, and `DataError` for a missing source."""
    # Processes would take rows of a shared stream from each other, or remove new parts of each other.
    if ranks.size > 1 and STREAM in (source, output):
        raise UserError("several processes cannot share stdin or stdout", "give files as INPUT and -o OUTPUT")
    if ranks.size > 1 and restart:
        raise UserError(
            f"--restart with {ranks.size} processes", f"remove what is there: rm -rf {output} {output}.parts"
        )
    if restart and output == STREAM:
        raise UserError("--restart has no effect with -o -", "leave one of them out")
    if source != STREAM and not Path(source).is_file():
        raise DataError(f"{source} is not a file", "give a .jsonl, .jsonl.gz or .parquet file, or - for stdin")


def use_device(name: str, local_rank: int) -> str:
    """Choose the device of this process, one GPU for each; on a CPU, set threads and keep freed memory.

    Raises:
        UserError: `cuda` without a CUDA device.
    """
    device = choose_device(name, "--device", "--device")
    if device.type == "cuda":
        return f"cuda:{local_rank % torch.cuda.device_count()}"
    set_threads(0)
    keep_freed_memory()
    return "cpu"


def load_scorer(model: Path, how: How, device: str, **options: Any) -> Scorer:
    """Load a model folder for scoring, with the options of `load_model`."""
    loaded = load_model(model, device, **options)
    return Scorer(loaded, how.over_long, how.token_budget, how.normalize)


def manifest_of(model: Path, source: str, scorer: Scorer, how: How) -> dict[str, Any]:
    """Collect everything affecting the output's bytes; only a run with an equal manifest continues existing parts."""
    files = sorted(path for path in model.iterdir() if path.suffix in (".safetensors", ".json", ".jinja"))
    # A stream cannot be read twice: a random name keeps its parts from ever being continued.
    identity = {"stdin": uuid.uuid4().hex} if source == STREAM else {"sha256": sha256(Path(source))}
    return {
        "input": identity,
        "model": {path.name: sha256(path) for path in files},
        **asdict(how),
        "over_long": scorer.over_long,
        "device": scorer.loaded.model.device.type,
        "engine": scorer.loaded.model.engine,
    }


class Part(NamedTuple):
    """Rows of a part between reading and writing.

    Attributes:
        number: number of the part, from 0.
        rows: source rows with numbers.
        parsed: parsed rows, or reasons.
        prepared: rows ready for the model.
    """

    number: int
    rows: list[Numbered]
    parsed: list[Parsed | str]
    prepared: Prepared


class Work(NamedTuple):
    """Conversion of rows into rows with scores.

    Attributes:
        scorer: loaded model.
        how: options of the output.
        name: name of the source in messages.
    """

    scorer: Scorer
    how: How
    name: str

    def prepare(self, number: int, rows: list[Numbered]) -> Part:
        """Parse, render and pack the rows of a part, without the model."""
        parsed = [parse(row, RowPlace(self.name, "", at)) for at, row in rows]
        prepared = self.scorer.prepare([one if isinstance(one, str) else one.candidates for one in parsed])
        return Part(number, rows, parsed, prepared)

    def finish(self, part: Part) -> tuple[list[Row], Counts]:
        """Score a part; return the output rows and the counts."""
        results = self.scorer.score(part.prepared)
        written = [
            scored_row(row, parsed, result, self.how.prefix, self.how.best_of, RowPlace(self.name, "", at))
            for (at, row), parsed, result in zip(part.rows, part.parsed, results, strict=True)
        ]
        return written, count([at for at, _ in part.rows], results)


def in_parts(work: Work, parts: Parts, source: str, total: int | None, ranks: Rank, console: Console) -> Counts:
    """Write this process's missing parts; the first process waits for the other processes and joins all parts."""
    if ranks.rank == 0:
        parts.forget_failures()
    try:
        written = write_parts(work, parts, source, total, ranks, console)
    except BaseException as error:
        # Without a report the first process would wait half an hour for parts that never come.
        if ranks.size > 1:
            parts.fail(ranks.rank, str(error) or type(error).__name__)
        else:
            parts.remove_if_empty()
        raise
    if ranks.rank:
        return Counts(Counter())
    number = written if total is None else parts_of(total, work.how)
    parts.wait(number)
    return parts.join(number)


def parts_of(rows: int, how: How) -> int:
    """Number of parts for a number of rows."""
    return -(-rows // how.part_rows)


def write_parts(work: Work, parts: Parts, source: str, total: int | None, ranks: Rank, console: Console) -> int:
    """Score and write the missing parts of this process.

    Args:
        total: number of rows, or None for a stream of unknown length.

    Returns:
        Number of parts written.
    """
    size, written = work.how.part_rows, 0
    todo = None if total is None else parts.missing(parts_of(total, work.how))
    mine = None if todo is None else {number for number in todo if number % ranks.size == ranks.rank}
    left = None if mine is None or total is None else sum(min(size, total - number * size) for number in mine)
    batches = ((n, rows) for n, rows in batched(numbered_rows(source), size) if mine is None or n in mine)
    with console.progress(left, "scoring") as bar:
        for number, rows, counts in scored(work, batches, bar):
            parts.add(number, parts.kind.encode(rows), counts)
            written += 1
    if total is None and not written:
        raise no_rows()
    return written


def stream(work: Work, source: str, total: int | None, console: Console) -> Counts:
    """Write scored rows to stdout, part by part."""
    counts = Counts(Counter())
    with console.progress(total, "scoring") as bar:
        for _, rows, more in scored(work, batched(numbered_rows(source), work.how.part_rows), bar):
            # Bytes, not text: stdout's encoding is the terminal's. Flushed, so a reader sees each part at once.
            sys.stdout.buffer.write(json_lines(rows))
            sys.stdout.buffer.flush()
            counts = added((counts, more))
    if not counts.numbers["rows"]:
        raise no_rows()
    return counts


def scored(
    work: Work, batches: Iterable[tuple[int, list[Numbered]]], bar: Bar
) -> Iterator[tuple[int, list[Row], Counts]]:
    """Score parts one after another, preparing the next part while the model runs.

    Yields:
        Number, output rows and counts of each part.
    """
    began, responses = time.perf_counter(), 0
    for part in ahead(work.prepare(number, rows) for number, rows in batches):
        rows, counts = work.finish(part)
        yield part.number, rows, counts
        responses += counts.numbers["responses"]
        bar.advance(len(rows), responses_per_second=responses / (time.perf_counter() - began))


def batched(rows: Iterable[Numbered], size: int) -> Iterator[tuple[int, list[Numbered]]]:
    """Split rows into parts of `size` rows, numbered from 0; the last part may be shorter."""
    rows = iter(rows)
    return enumerate(iter(lambda: list(islice(rows, size)), []))


def ahead(items: Iterator[T]) -> Iterator[T]:
    """Compute each item in a thread while the previous item is in use."""
    # A single item ahead: memory then holds two parts at most, however large the file is.
    with ThreadPoolExecutor(max_workers=1) as executor:
        upcoming = executor.submit(next, items, None)
        while (item := upcoming.result()) is not None:
            upcoming = executor.submit(next, items, None)
            yield item


def numbered_rows(source: str) -> Iterator[Numbered]:
    """Read the rows of a file or of stdin, numbered from 1.

    Raises:
        DataError: the source is unreadable.
    """
    if source == STREAM:
        return objects_of(lines_of(sys.stdin.buffer, "stdin"), "stdin")
    return read_rows(Path(source))


def count_rows(path: Path) -> int:
    """Count the rows of a file."""
    # Counting lines without parsing JSON keeps the wait before the first score short.
    if known_suffix(path).startswith(".jsonl"):
        return sum(1 for line in lines(path) if line.raw and not line.raw.isspace())
    return sum(1 for _ in read_rows(path))


def no_rows() -> DataError:
    """Build the error for an empty stream; an empty file is reported by the reader."""
    return DataError("stdin holds no rows", "give at least one line of JSON")
