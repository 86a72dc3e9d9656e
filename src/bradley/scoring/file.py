"""One file of conversations scored: in parts that a killed run need not score again, or streamed through.

Part n holds rows n * part_rows and on, and micro-batches are cut inside a part: what a part holds depends neither on
where a run was cut off nor on how many processes there are.
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

from ..common.console import Bar, Console
from ..common.files import sha256
from ..data.rows import Row, RowPlace
from ..data.sources.files import known_suffix, read_rows
from ..data.sources.json_rows import objects_of
from ..data.sources.text import lines, lines_of
from ..errors import DataError, UserError
from ..model.device import keep_freed_memory, set_threads
from ..model.folder.save_load import load_model
from .output import json_lines
from .parts import Counts, Parts, added, count, summary
from .rows import Parsed, parse, scored_row
from .scorer import Prepared, Scorer

Numbered = tuple[int, Row]
"""A row and its number from 1."""
T = TypeVar("T")


@dataclass(frozen=True)
class How:
    """What decides the bytes of the output, besides model and input.

    Attributes:
        over_long: one of `scorer.POLICIES`, or "" for the model's own.
        token_budget: most tokens at once (0: what suits the device).
        normalize: scores in the unit that the model folder names.
        best_of: the best response of each row instead of all.
        prefix: put before the names of fields that are added.
        part_rows: rows that are read, scored and written together.
    """

    over_long: str = ""
    token_budget: int = 0
    normalize: bool = False
    best_of: bool = False
    prefix: str = ""
    part_rows: int = 512


class Part(NamedTuple):
    """A few rows on their way, and their place among the parts."""

    number: int
    rows: list[Numbered]
    parsed: list[Parsed | str]
    prepared: Prepared


class Work(NamedTuple):
    """Everything that turns rows into rows with scores."""

    scorer: Scorer
    how: How
    name: str

    def prepare(self, number: int, rows: list[Numbered]) -> Part:
        """What needs no model: rows read, rendered and packed."""
        parsed = [parse(row, RowPlace(self.name, "", at)) for at, row in rows]
        prepared = self.scorer.prepare([one if isinstance(one, str) else one.candidates for one in parsed])
        return Part(number, rows, parsed, prepared)

    def finish(self, part: Part) -> tuple[list[Row], Counts]:
        """The rows of the output, and what became of them."""
        results = self.scorer.score(part.prepared)
        written = [
            scored_row(row, parsed, result, self.how.prefix, self.how.best_of, RowPlace(self.name, "", at))
            for (at, row), parsed, result in zip(part.rows, part.parsed, results, strict=True)
        ]
        return written, count([at for at, _ in part.rows], results)


def scored(
    work: Work, batches: Iterable[tuple[int, list[Numbered]]], bar: Bar
) -> Iterator[tuple[int, list[Row], Counts]]:
    """Parts with their rows of the output and what became of them; the next is prepared while the model runs."""
    began, responses = time.perf_counter(), 0
    for part in ahead(work.prepare(number, rows) for number, rows in batches):
        rows, counts = work.finish(part)
        yield part.number, rows, counts
        responses += counts.numbers["responses"]
        bar.advance(len(rows), responses_per_second=responses / (time.perf_counter() - began))


def batched(rows: Iterable[Numbered], size: int) -> Iterator[tuple[int, list[Numbered]]]:
    """Runs of `size` rows, numbered from 0; the last may be shorter."""
    rows = iter(rows)
    return enumerate(iter(lambda: list(islice(rows, size)), []))


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The items, each made by another thread while the one before it is used."""
    with ThreadPoolExecutor(max_workers=1) as maker:
        coming = maker.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = maker.submit(next, items, None)
            yield item


STREAM = "-"
"""How the command line writes stdin and stdout."""


class Ranks(NamedTuple):
    """This process among those of a run, as torchrun tells them: each takes every `world`-th part."""

    rank: int = 0
    world: int = 1
    local: int = 0

    @classmethod
    def from_environment(cls) -> "Ranks":
        """RANK, WORLD_SIZE and LOCAL_RANK; one process alone where they are not set."""
        rank, world, local = (int(os.environ.get(name) or 0) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
        return cls(rank, max(world, 1), local)


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
    progress: str = "quiet",
) -> dict[str, Any]:
    """Score every row of a file with a model folder, and write each with its scores, in their order.

    Under torchrun each process scores its share of the parts, and the first joins them and returns the counts.

    Args:
        source, output: files, or "-" for stdin and stdout.
        device: `auto`, `cpu` or `cuda`.
        restart: replace an existing output, and throw away parts of earlier work.
        base: where the base model of an adapter is, if no longer where the run found it.

    Returns:
        Counts of rows, scores, tokens and failures, with seconds and rates of this run.

    Raises:
        UserError: an output that exists, parts of other work, or a stream that several processes cannot share.
        DataError: a broken input, or no row that can be scored; the output is there then, and says why for each.
        CheckpointError: a model folder that cannot score.
        RankError: another process was lost.
    """
    how, ranks, began = how or How(), Ranks.from_environment(), time.perf_counter()
    check_streams(source, output, ranks, restart)
    parts = None if output == STREAM else Parts(Path(output))
    total = None if source == STREAM else count_rows(Path(source))
    scorer = load_scorer(model, how, pick_device(device, ranks), trust_remote_code, base)
    work = Work(scorer, how, "stdin" if source == STREAM else source)
    console = Console(progress if ranks.rank == 0 else "quiet")
    if parts is None:
        counts = stream(work, source, total, console)
    else:
        if ranks.rank and parts.output.exists() and not parts.begun:  # the first process has joined all, or refuses
            return {}
        parts.claim(manifest_of(model, source, scorer, how), restart)
        counts = in_parts(work, parts, source, total, ranks, console)
    return summary(counts, time.perf_counter() - began, output) if ranks.rank == 0 else {}


def check_streams(source: str, output: str, ranks: Ranks, restart: bool) -> None:
    """Raise for what several processes cannot do, or would do twice."""
    if ranks.world > 1 and STREAM in (source, output):
        raise UserError("several processes cannot share stdin or stdout", "give files as INPUT and -o OUTPUT")
    if ranks.world > 1 and restart:
        raise UserError(
            f"--restart with {ranks.world} processes", f"remove what is there: rm -rf {output} {output}.parts"
        )
    if restart and output == STREAM:
        raise UserError("--restart has no effect with -o -", "leave one of them out")
    if source != STREAM and not Path(source).is_file():
        raise DataError(f"{source} is not a file", "give a .jsonl, .jsonl.gz or .parquet file, or - for stdin")


def pick_device(name: str, ranks: Ranks) -> str:
    """The device of this process; `auto` takes CUDA where there is one. A CPU is set up for it.

    Raises:
        UserError: CUDA was asked for and is not there.
    """
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda, but PyTorch sees no CUDA device", "use --device cpu")
    if name == "cuda" or (name == "auto" and torch.cuda.is_available()):
        return f"cuda:{ranks.local % torch.cuda.device_count()}"
    set_threads(0)
    keep_freed_memory()
    return "cpu"


def load_scorer(model: Path, how: How, device: str, trust_remote_code: bool, base: str) -> Scorer:
    """The model of a folder, set to score."""
    loaded = load_model(model, device, trust_remote_code=trust_remote_code, base=base)
    return Scorer(loaded, how.over_long, how.token_budget, how.normalize)


def manifest_of(model: Path, source: str, scorer: Scorer, how: How) -> dict[str, Any]:
    """What the bytes of the output depend on: finished parts are continued by nothing else."""
    files = sorted(path for path in model.iterdir() if path.suffix in (".safetensors", ".json", ".jinja"))
    identity = {"stdin": uuid.uuid4().hex} if source == STREAM else {"sha256": sha256(Path(source))}
    return {
        "input": identity,
        "model": {path.name: sha256(path) for path in files},
        **asdict(how),
        "over_long": scorer.over_long,
        "device": scorer.loaded.model.device.type,
        "engine": scorer.loaded.model.engine,
    }


def numbered_rows(source: str) -> Iterator[Numbered]:
    """Rows of a file or of stdin, with their number from 1.

    Raises:
        DataError: whatever the reader of the file refuses.
    """
    if source == STREAM:
        return objects_of(lines_of(sys.stdin.buffer, "stdin"), "stdin")
    return read_rows(Path(source))


def count_rows(path: Path) -> int:
    """Rows of a file; lines are counted without being read as JSON."""
    if known_suffix(path).startswith(".jsonl"):
        return sum(1 for line in lines(path) if line.raw and not line.raw.isspace())
    return sum(1 for _ in read_rows(path))


def in_parts(work: Work, parts: Parts, source: str, total: int | None, ranks: Ranks, console: Console) -> Counts:
    """Write this process's parts that are missing; the first process waits for the others and joins them."""
    if ranks.rank == 0:
        parts.forget_failures()
    try:
        written = write_parts(work, parts, source, total, ranks, console)
    except BaseException as error:
        if ranks.world > 1:
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
    """How many parts so many rows make."""
    return -(-rows // how.part_rows)


def write_parts(work: Work, parts: Parts, source: str, total: int | None, ranks: Ranks, console: Console) -> int:
    """Score and write the missing parts of this process; how many it wrote."""
    size, written = work.how.part_rows, 0
    todo = None if total is None else parts.missing(parts_of(total, work.how))
    mine = None if todo is None else {number for number in todo if number % ranks.world == ranks.rank}
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
    """Write rows to stdout as they are scored."""
    counts = Counts(Counter())
    with console.progress(total, "scoring") as bar:
        for _, rows, more in scored(work, batched(numbered_rows(source), work.how.part_rows), bar):
            sys.stdout.buffer.write(json_lines(rows))
            sys.stdout.buffer.flush()
            counts = added((counts, more))
    if not counts.numbers["rows"]:
        raise no_rows()
    return counts


def no_rows() -> DataError:
    """The error for a stream that is empty; a file that is says so when it is read."""
    return DataError("stdin holds no rows", "give at least one line of JSON")
