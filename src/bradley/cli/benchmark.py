"""`bradley benchmark`: figures of public benchmarks, as published."""

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from ..common.console import Console
from ..common.ownership import real_path
from ..common.signatures import CARD
from ..errors import BradleyError, DataError, RunFolderError, UserError
from ..runs.layout import METRICS, MODEL
from .models import BUDGET, of_other_trainers
from .options import PathName

if TYPE_CHECKING:
    from ..data.benchmark import Read
    from ..records import ScoredComparison


class Place(NamedTuple):
    """Place of a model: the model folder, and the run folder around the model, if known."""

    folder: Path
    run: Path | None


@click.command()
@click.argument("model", type=PathName(), required=False)
@click.option(
    "--suite", "suites", multiple=True, metavar="NAME=PATH", help="Benchmark and its file, folder or hub: dataset."
)
@click.option("--scores", type=PathName(), metavar="FILE", help="Rows written by --rows, in place of MODEL.")
@click.option("--rows", "output", type=PathName(), metavar="FILE", help="Write the scored rows, as JSON lines.")
@click.option("--training", default="", metavar="RUN|FILE", help="Count prompts in these training data.")
@click.option(
    "--over-long",
    type=click.Choice(["error", "truncate_prompt", "truncate_response"]),
    help="Policy for responses above the model's limits [default: the policy of its evaluation].",
)
@click.option("--token-budget", type=BUDGET, default=0, help="Most tokens at once [default: by device].")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", help="[default: CUDA if there.]")
@click.option("--base", default="", metavar="DIR", help="Folder of an adapter's base model, if moved.")
@click.option("--trust-remote-code", is_flag=True, help="Run code that comes with the model.")
@click.option("--accept-edits", is_flag=True, help="Accept files of the model edited since saving, and say which.")
@of_other_trainers
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def benchmark(
    model: Path | None,
    suites: tuple[str, ...],
    scores: Path | None,
    output: Path | None,
    training: str,
    as_json: bool,
    **options: Any,
) -> None:
    """Compute the figures of public benchmarks, as published, with intervals.

    MODEL is a model folder or a run folder. NAME is rewardbench, rewardbench2, rm-bench, rmb, judgebench, llmbar, hhh
    or evalbiasbench; PATH holds the rows as the authors publish the rows. A suite given twice is read as one.

    With --scores, rows scored before take the place of MODEL and --suite.
    """
    _check(model, suites, scores, output)
    from ..evaluate.benchmarks import SUITES
    from ..evaluate.benchmarks.table import overlap, show

    say = Console("quiet" if as_json else "bar").say
    if scores is not None or model is None:
        assert scores is not None  # `_check` has seen to it
        place, compute, notes, rows = None, "", {}, _read_scores(scores)
    else:
        place = _place(model)
        read = _read(suites)
        compute, rows = _score(place, read, say, **options)
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


def _check(model: Path | None, suites: Sequence[str], scores: Path | None, output: Path | None) -> None:
    """Raise `UserError` for options that contradict each other, and `RunFolderError` for an output that exists."""
    if scores is not None and (model is not None or suites or output is not None):
        raise UserError("--scores takes the place of MODEL, --suite and --rows", "leave out either")
    if scores is None and model is None:
        raise UserError("no MODEL and no --scores", "type `bradley benchmark MODEL --suite NAME=PATH`")
    if scores is None and not suites:
        raise UserError("no --suite", "add --suite NAME=PATH, such as --suite hhh=hhh_alignment")
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
        UserError: a row without a known benchmark in its tags.
    """
    from ..evaluate.benchmarks import SUITES, TAG
    from ..runs.reader import read_scored

    found: dict[str, list[ScoredComparison]] = {}
    for row in read_scored(path):
        name = row.tags.get(TAG, "")
        if name not in SUITES:
            said = f"the benchmark {name}" if name else "no benchmark"
            raise UserError(f"{path}: row {row.id} has {said} in its tags", "give a file that --rows has written")
        found.setdefault(name, []).append(row)
    if not found:
        raise UserError(f"{path} holds no rows", "give a file that --rows has written")
    return found


def _place(model: Path) -> Place:
    """Return the model folder of a path, and the run folder around the model folder, if any."""
    folder = model / MODEL if (model / MODEL / CARD).is_file() else model
    around = real_path(folder).parent
    return Place(folder, around if folder.name == MODEL and (around / METRICS).is_file() else None)


def _score(
    place: Place, read: dict[str, "Read"], say: Any, device: str, over_long: str | None, **options: Any
) -> tuple[str, dict[str, list["ScoredComparison"]]]:
    """Load the model, and score the comparisons of each suite; the first result names the arithmetic.

    Raises:
        DataError: a response above the model's limits, under a policy that does not cut the response.
        CheckpointError: an unusable model folder, or a score that is not a finite number.
    """
    from ..model.reward import compute_name
    from ..scoring.file import use_device
    from ..scoring.reward_model import RewardModel, score_comparisons

    options["pooling"] = options["pooling"] or ""
    used: Any = over_long or ""
    loaded = RewardModel.from_pretrained(place.folder, use_device(device, 0), over_long=used, **options)
    rows = {}
    for name, each in read.items():
        say(f"scoring {name}: {len(each.comparisons):,} rows")
        try:
            rows[name] = score_comparisons(loaded, each.comparisons)
        except DataError as error:
            # The hints of scoring and training name a Python argument or a setting of a run.
            hint = "add --over-long truncate_response" if "over_long" in error.hint else error.hint
            raise DataError(f"{name}: {error.message}", hint) from error
    return compute_name(loaded.scorer.loaded.model), rows


def _training(given: str, place: Place | None) -> tuple[Collection[str], str, str]:
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
