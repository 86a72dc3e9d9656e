"""Score a file of conversations, in parts kept for a resumed run, or as a stream.

Part n holds `part_rows` rows from row n * part_rows, and no micro-batch crosses the end of a part. The bytes of a part
therefore depend neither on interruptions nor on the number of processes.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch

from ..common.console import Bar, Console
from ..common.processes import Rank
from ..common.signatures import model_inside
from ..config import Data
from ..data.rows import Row, RowPlace, on_one_line
from ..errors import DiskError, UserError
from ..model.device import choose_device, keep_freed_memory, set_threads
from ..model.folder.other_trainers import assumed_of
from ..model.folder.save_load import Assumed, load_model
from .claim import begin, follow, owned, ranks_of, refuse_input, refuse_stdout
from .manifest import model_hashes
from .output import check_stdout, json_lines, to_stdout
from .parts import Parts
from .reading import HEAD, RowReader
from .rows import Parsed, added_names, scored_row, with_gaps
from .scorer import Prepared, Scorer
from .source import STREAM, Input, InputChanged, Numbered, check_fields, no_rows
from .summary import Counts, added, count, summary

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
        probabilities: write the probability of each response to beat another response of the row.
        part_rows: rows read, scored and written together.
    """

    over_long: str = ""
    token_budget: int = 0
    normalize: bool = False
    best_of: bool = False
    prefix: str = ""
    part_rows: int = 512
    probabilities: bool = False


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
    assumed: Assumed = Assumed(),  # noqa: B008 - immutable
    progress: str = "quiet",
    data: Data | None = None,
) -> dict[str, Any]:
    """Score every row of a file with a model folder, and write all rows with scores in the same order.

    Under torchrun each process scores a share of the parts; the first process joins the parts and returns the counts.

    Args:
        model: model folder, or a finished run for its best model.
        source, output: files, or "-" for stdin and stdout.
        how: options of the output.
        device: `auto`, `cpu` or `cuda`.
        restart: replace an existing output, and remove parts of earlier work.
        trust_remote_code: run the model code in the folder.
        base: folder or Hub name of an adapter's base model, if the base model has moved since the run.
        accept_edits: score with a folder whose files were edited since saving, and log their names.
        assumed: template, pooling and pad token of a model of another trainer.
        progress: `bar`, `quiet` or `json`, all on stderr.
        data: format, columns and ignored columns of the rows, as in training; None for the defaults.

    Returns:
        Counts of rows, scores, tokens and failures, with the seconds of this run; {} in processes other than the first.

    Raises:
        UserError: a stream shared by several processes, a broken environment of torchrun, or an unknown format or
            column.
        RunFolderError: the output exists, is an input, is in use by another process, or belongs to other work.
        DataError: a broken or changing input, first rows that cannot be read, a column of the conversation that nobody
            reads, a field of an added name, a row beyond what the output can hold, or no scorable row. Without a
            scorable row the output exists, and gives a reason for each row.
        CheckpointError: an unusable model folder.
        DiskError: the output cannot be written.
        RankError: another process was lost.
    """
    how, ranks, began = how or How(), ranks_of(os.environ), time.perf_counter()
    check_streams(source, output, ranks, restart)
    parts = None if output == STREAM else Parts(Path(output))
    given, console = Input(source, data), Console(progress if ranks.rank == 0 else "quiet")
    model = model_inside(model, console)
    device = use_device(device, ranks.local_rank)
    options = {"trust_remote_code": trust_remote_code, "base": base, "accept_edits": accept_edits, "assumed": assumed}
    load = partial(load_scorer, model, how, device, **options)
    if parts is None:
        refuse_stdout(source)
        reader = reader_of(given, how, console)
        counts = stream(Work(load(), how, given.name, reader), given, console)
    else:
        refuse_input(parts, source, model, base)
        counts = to_file(parts, given, model, how, load, ranks, restart, console)
    return summary(counts, time.perf_counter() - began, output) if ranks.rank == 0 else {}


def check_streams(source: str, output: str, ranks: Rank, restart: bool) -> None:
    """Raise `UserError` for streams or `--restart` with several processes, and `DiskError` for a closed stdout."""
    # Processes would take rows of a shared stream from each other, or remove new parts of each other.
    if ranks.size > 1 and STREAM in (source, output):
        raise UserError("several processes cannot share stdin or stdout", "give files as INPUT and -o OUTPUT")
    if ranks.size > 1 and restart:
        raise UserError(
            f"--restart with {ranks.size} processes", f"remove what is there: rm -rf {output} {output}.parts"
        )
    if restart and output == STREAM:
        raise UserError("--restart has no effect with -o -", "leave one of them out")
    if output == STREAM:
        check_stdout()


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
    scorer = Scorer(loaded, how.over_long, how.token_budget, how.normalize)
    # Before the first row: a model without a temperature must not cost an hour of scoring.
    return scorer if not how.probabilities else scorer.with_temperature()


def reader_of(given: Input, how: How, console: Console) -> RowReader:
    """Measure an input, and choose the reading of its rows by the first rows.

    Raises:
        DataError: a field of an added name, rows that cannot be read, or a column that would be lost.
        UserError: an unknown format or column, or a missing function.
    """
    names = added_names(how.prefix, how.best_of, how.probabilities)
    given.measure(names)
    # A writer into stdin may wait for the first part of the output.
    head = given.head(HEAD if given.total is not None else min(HEAD, how.part_rows))
    for number, row in head:
        check_fields(row, names, RowPlace(given.name, "", number))
    reader = RowReader(given.settings, given.name, head)
    if reader.said:
        console.say(f"rows are read as {reader.said}")
    return reader


def manifest_of(model: Path, given: Input, scorer: Scorer, how: How) -> dict[str, Any]:
    """Collect everything affecting the output's bytes; only a run with an equal manifest continues existing parts.

    Raises:
        CheckpointError: a file of the model folder cannot be read.
    """
    return {
        "input": given.identity(),
        "model": model_hashes(model),
        **{name: value for name, value in asdict(how).items() if name != "probabilities" or value},
        "over_long": scorer.over_long,
        "device": scorer.loaded.model.device.type,
        "engine": scorer.loaded.model.engine,
        **assumed_of(scorer.loaded.renderer),
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
        reader: reader of the rows.
    """

    scorer: Scorer
    how: How
    name: str
    reader: RowReader

    def prepare(self, number: int, rows: list[Numbered]) -> Part:
        """Parse, render and pack the rows of a part, without the model."""
        parsed = [self.reader.parse(row, RowPlace(self.name, "", at, self.reader.settings)) for at, row in rows]
        prepared = self.scorer.prepare([one if isinstance(one, str) else one.candidates for one in parsed])
        return Part(number, rows, parsed, prepared)

    def finish(self, part: Part) -> "Finished":
        """Score a part."""
        results = list(map(with_gaps, part.parsed, self.scorer.score(part.prepared)))
        prefix, best_of, scale = (
            self.how.prefix,
            self.how.best_of,
            self.scorer.scale if self.how.probabilities else None,
        )
        written = [
            scored_row(row, parsed, result, prefix, best_of, RowPlace(self.name, "", at), scale)
            for (at, row), parsed, result in zip(part.rows, part.parsed, results, strict=True)
        ]
        places = [f"{on_one_line(self.name)}, row {at}" for at, _ in part.rows]
        return Finished(part.number, written, places, count([at for at, _ in part.rows], results))


class Finished(NamedTuple):
    """Scored part.

    Attributes:
        number: number of the part, from 0.
        rows: output rows.
        places: name of each row for errors.
        counts: counts of the rows.
    """

    number: int
    rows: list[Row]
    places: list[str]
    counts: Counts


def to_file(
    parts: Parts,
    given: Input,
    model: Path,
    how: How,
    load: Callable[[], Scorer],
    ranks: Rank,
    restart: bool,
    console: Console,
) -> Counts:
    """Score into a file; the first process owns the output from before the model is loaded."""
    with ExitStack() as stack:
        if ranks.rank == 0:
            stack.enter_context(owned(parts, restart, ranks, console.say))
        reader = reader_of(given, how, console)
        scorer = load()
        work = {**manifest_of(model, given, scorer, how), "reading": reader.identity()}
        if ranks.rank == 0:
            if (finished := begin(parts, work, restart, console.warn)) is not None:
                return finished
        elif not follow(parts, work):
            return Counts(Counter())
        return in_parts(Work(scorer, how, given.name, reader), parts, given, ranks, console)


def in_parts(work: Work, parts: Parts, given: Input, ranks: Rank, console: Console) -> Counts:
    """Write this process's missing parts; the first process waits for the other processes and joins all parts."""
    try:
        written = write_parts(work, parts, given, ranks, console)
        return Counts(Counter()) if ranks.rank else joined(work, parts, given, written, console)
    except BaseException as error:
        # Without a report the first process would wait half an hour for parts that never come.
        if ranks.rank and parts.current:
            parts.fail(ranks.rank, str(error) or type(error).__name__)
        # Nobody knows which rows were read before the change.
        if isinstance(error, InputChanged) and not ranks.rank and parts.current:
            parts.remove()
        raise


def joined(work: Work, parts: Parts, given: Input, written: int, console: Console) -> Counts:
    """Wait for all parts and join them; a part damaged meanwhile is made again, once.

    Args:
        written: number of parts written by this process.

    Raises:
        DiskError: a part is damaged that cannot be made again, or for the second time.
        InputChanged: the input has changed since the start.
    """
    number = written if given.total is None else parts_of(given.total, work.how)
    parts.wait(number)
    given.check(content=True)
    counts = parts.join(number, console.warn)
    if counts is None and given.total is not None:
        write_parts(work, parts, given, Rank(), console)
        given.check(content=True)
        counts = parts.join(number, console.warn)
    if counts is None:
        raise DiskError(f"{parts.folder} does not keep what is written", "give another -o, on another disk")
    return counts


def parts_of(rows: int, how: How) -> int:
    """Number of parts for a number of rows."""
    return -(-rows // how.part_rows)


def write_parts(work: Work, parts: Parts, given: Input, ranks: Rank, console: Console) -> int:
    """Score and write the missing parts of this process.

    Returns:
        Number of parts written.
    """
    size, written, total = work.how.part_rows, 0, given.total
    todo = None if total is None else parts.missing(parts_of(total, work.how))
    mine = None if todo is None else {number for number in todo if number % ranks.size == ranks.rank}
    left = None if mine is None or total is None else sum(min(size, total - number * size) for number in mine)
    batches = ((n, rows) for n, rows in batched(given.rows(), size) if mine is None or n in mine)
    with console.progress(left, "scoring") as bar:
        for part in scored(work, batches, bar):
            # After the reading and before the writing: no part holds rows of a changed input.
            given.check()
            parts.add(part.number, part.rows, part.places, part.counts)
            written += 1
    given.check()
    if total is None and not written:
        raise no_rows()
    return written


def stream(work: Work, given: Input, console: Console) -> Counts:
    """Write scored rows to stdout, part by part."""
    counts = Counts(Counter())
    with console.progress(given.total, "scoring") as bar:
        for part in scored(work, batched(given.rows(), work.how.part_rows), bar):
            given.check()
            to_stdout(json_lines(part.rows, part.places))
            counts = added((counts, part.counts))
    given.check(content=True)
    if not counts.numbers["rows"]:
        raise no_rows()
    return counts


def scored(work: Work, batches: Iterable[tuple[int, list[Numbered]]], bar: Bar) -> Iterator[Finished]:
    """Score parts one after another, preparing the next part while the model runs."""
    began, responses = time.perf_counter(), 0
    for part in ahead(work.prepare(number, rows) for number, rows in batches):
        finished = work.finish(part)
        yield finished
        responses += finished.counts.numbers["responses"]
        bar.advance(len(finished.rows), responses_per_second=responses / (time.perf_counter() - began))


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
