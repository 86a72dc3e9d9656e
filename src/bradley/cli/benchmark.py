"""`bradley benchmark`: figures of public benchmarks, as published."""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..common.console import Console
from ..errors import BradleyError, DataError, RunFolderError, UserError
from ..runs.layout import METRICS
from .models import of_other_trainers
from .options import PathName
from .scores import Model, find, from_scores, load, score, score_options, scoring_options

if TYPE_CHECKING:
    from ..data.benchmark import Read
    from ..records import ScoredComparison

FOREIGN = "for scores of another tool name their benchmark: add --suite NAME=PATH, such as --suite hhh=hhh_alignment"
"""Hint for scores without a benchmark."""


@click.command()
@click.argument("model", type=PathName(), required=False)
@click.option(
    "--suite", "suites", multiple=True, metavar="NAME=PATH", help="Benchmark and its file, folder or hub: dataset."
)
@click.option("--scores", type=PathName(), metavar="FILE", help="Scores, in place of MODEL: of --rows, or of any tool.")
@click.option("--rows", "output", type=PathName(), metavar="FILE", help="Write the scored rows, as JSON lines.")
@click.option("--training", default="", metavar="RUN|FILE", help="Count prompts in these training data.")
@score_options
@scoring_options
@of_other_trainers
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def benchmark(
    model: Path | None,
    suites: tuple[str, ...],
    scores: Path | None,
    output: Path | None,
    training: str,
    columns: str,
    missing: str,
    as_json: bool,
    **options: Any,
) -> None:
    """Compute the figures of public benchmarks, as published, with intervals.

    MODEL is a model folder or a run folder. NAME is rewardbench, rewardbench2, rm-bench, rmb, judgebench, llmbar, hhh
    or evalbiasbench; PATH holds the rows as the authors publish the rows. A suite given twice is read as one.

    With --scores, rows that --rows wrote take the place of MODEL and --suite. Scores that another tool wrote are
    matched by id with the rows of one --suite, as in `bradley evaluate`.
    """
    _check(model, suites, scores, output, columns, missing)
    from ..evaluate.benchmarks import SUITES
    from ..evaluate.benchmarks.table import overlap, show

    say = Console("quiet" if as_json else "bar").say
    place, compute = None, ""
    notes: dict[str, list[str]] = {}
    rows: dict[str, list[ScoredComparison]] = {}
    if scores is not None and suites:
        rows, left = _matched(scores, suites, columns, missing)
        notes = dict.fromkeys(rows, left)
    elif scores is not None:
        rows = _read_scores(scores)
    elif model is not None:
        read = _read(suites)
        place = find(model, None)
        compute, rows = _score(place, read, say, options)
        notes = {name: each.notes() for name, each in read.items()}
    prompts, origin, problem = _training(training, place)
    results = []
    for name, each in rows.items():
        result = SUITES[name].aggregate(each)
        result["notes"] += [*notes.get(name, []), *([problem] if problem else [])]
        result["notes"] += overlap(each, prompts, origin) if origin else []
        results.append(result)
    if output is not None:
        _write(output, [row for each in rows.values() for row in each])
    if as_json:
        click.echo(json.dumps({"model": str(model or ""), "compute": compute, "benchmarks": results}))
        return
    head = [f"model: {model}  ({compute})"] if compute else []
    click.echo("\n\n".join([*head, *(show(each, SUITES[each["benchmark"]].title) for each in results)]))


def _check(
    model: Path | None, suites: Sequence[str], scores: Path | None, output: Path | None, columns: str, missing: str
) -> None:
    """Raise `UserError` for options that contradict each other, and `RunFolderError` for an output that exists."""
    if scores is not None and (model is not None or output is not None):
        raise UserError("--scores takes the place of MODEL and --rows", "leave out either")
    if scores is None and model is None:
        raise UserError("no MODEL and no --scores", "type `bradley benchmark MODEL --suite NAME=PATH`")
    if scores is None and not suites:
        raise UserError("no --suite", "add --suite NAME=PATH, such as --suite hhh=hhh_alignment")
    if (columns or missing != "error") and (scores is None or not suites):
        raise UserError("--columns and --missing are about foreign scores", "add --scores FILE --suite NAME=PATH")
    if output is not None and output.exists():
        raise RunFolderError(f"--rows {output}: the file is there", "give another name, or remove the file")


def _read(suites: Sequence[str]) -> dict[str, "Read"]:
    """Read the files of each suite; a suite given several times is read as one.

    Raises:
        UserError: no NAME=PATH, or an unknown benchmark.
        DataError: a file of another layout.
    """
    from ..data.benchmark import read_benchmark

    paths: dict[str, list[str]] = {}
    for given in suites:
        name, _, path = given.partition("=")
        paths.setdefault(name, []).append(path)
    return {name: read_benchmark(name, each) for name, each in paths.items()}


def _read_scores(path: Path) -> dict[str, list["ScoredComparison"]]:
    """Read rows written by `--rows`, by benchmark.

    Raises:
        DataError: a row that cannot be read.
        UserError: scores of another tool, or a row without a known benchmark in its tags.
    """
    from ..evaluate.benchmarks import SUITES, TAG
    from ..runs.reader import read_scored

    found: dict[str, list[ScoredComparison]] = {}
    try:
        rows = read_scored(path)
    except DataError as error:
        if not _is_foreign(path):
            raise
        raise UserError(f"{path} holds no rows that --rows has written", FOREIGN) from error
    for row in rows:
        name = row.tags.get(TAG, "")
        if name not in SUITES:
            said = f"the benchmark {name}" if name else "no benchmark"
            hint = f"give a file that --rows has written; {FOREIGN}"
            raise UserError(f"{path}: row {row.id} has {said} in its tags", hint)
        found.setdefault(name, []).append(row)
    if not found:
        raise UserError(f"{path} holds no rows", "give a file that --rows has written")
    return found


def _is_foreign(path: Path) -> bool:
    """Return True for a file whose first line is no scored comparison, such as the scores of another tool."""
    from ..data.score_columns import RECORD

    try:
        with path.open("rb") as file:
            first = json.loads(file.readline())
    except OSError:
        return False
    # A table of another kind, or a line that no parser survives.
    except (ValueError, RecursionError):
        return True
    return not isinstance(first, dict) or not first.keys() >= RECORD


def _score(
    model: Model, read: dict[str, "Read"], say: Any, options: Mapping[str, Any]
) -> tuple[str, dict[str, list["ScoredComparison"]]]:
    """Load the model, and score each suite; the first result names the arithmetic. Raises as `score`."""
    from ..model.reward import compute_name

    scorer = load(model, options)
    rows = {}
    for name, each in read.items():
        say(f"scoring {name}: {len(each.comparisons):,} rows")
        rows[name] = score(scorer, each.comparisons, name)
    return compute_name(scorer.scorer.loaded.model), rows


def _matched(
    scores: Path, suites: Sequence[str], columns: str, missing: str
) -> tuple[dict[str, list["ScoredComparison"]], list[str]]:
    """Match scores that any tool wrote with the rows of a suite, by id; return the rows, and notes about rows left out.

    Raises:
        UserError: several suites; a file of scores holds one.
        DataError: see `read_scores`.
    """
    from ..config import Data

    names = {suite.partition("=")[0] for suite in suites}
    if len(names) > 1:
        raise UserError(f"--scores with {len(names)} suites", "give a file of scores and one --suite at a time")
    found = from_scores(str(scores), [f"benchmark:{suite}" for suite in suites], columns, missing, Data())
    left = [f"{n:,} of {found.counts['rows']:,} rows {name}" for name, n in found.counts.items() if name != "rows"]
    return {names.pop(): found.rows}, left


def _training(given: str, place: Model | None) -> tuple[Collection[str], str, str]:
    """Return the prompt keys of the training data, their origin, and a note if the run's own data cannot be read.

    Raises:
        BradleyError: data named by `given` cannot be read.
    """
    if given:
        return _prompts(given), given, ""
    if place is None or place.run is None:
        return (), "", ""
    try:
        return _prompts(str(place.run)), str(place.run), ""
    # Not asked for by name: the figures do not depend on the data, which may lie on another machine.
    except BradleyError as error:
        return (), "", f"no prompt is compared with the training data of {place.run}: {error.message}"


def _prompts(given: str) -> set[str]:
    """Return the keys of the training prompts of a run folder, or of a source."""
    if (Path(given) / METRICS).is_file():
        from ..training.results import read_run

        return {comparison.prompt_key for comparison in read_run(given).splits().train}
    from ..data.benchmark import read_sources

    return {comparison.prompt_key for comparison in read_sources(given).comparisons}


def _write(path: Path, rows: Sequence["ScoredComparison"]) -> None:
    """Write scored rows as JSON lines, whole or not at all."""
    from ..common.files import write_text

    write_text(path, "".join(json.dumps(row.to_json()) + "\n" for row in rows))
