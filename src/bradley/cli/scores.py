"""Scored sets of a command line: from a file of scores, from a run, or scored with a model."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from ..common.console import Console
from ..common.ownership import real_path
from ..common.signatures import is_foreign
from ..errors import CheckpointError, DataError, UserError
from .options import with_options

if TYPE_CHECKING:
    from ..config import Data
    from ..data.scored import ScoredSet
    from ..records import ScoredComparison

ROW_SUFFIXES = (".jsonl", ".parquet")
"""Suffixes of a file of scored rows."""
SCORING = ("device", "token_budget", "over_long", "trust_remote_code", "base", "accept_edits")
OF_OTHERS = ("template", "pooling", "pad")
"""Names of options about scoring, and about a model of another trainer."""


class Model(NamedTuple):
    """Model of a command line.

    Attributes:
        name: as given.
        folder: model folder; None for a file of scores.
        run: run folder around the model; None without.
        beta: factor of score differences in the loss, 1.0 where unknown.
        scale: factor of probabilities: beta / temperature, or beta without a temperature.
        fitted_on: identity of the set on which the temperature in use was fitted; "" where unknown.
    """

    name: str
    folder: Path | None
    run: Path | None
    beta: float
    scale: float
    fitted_on: str = ""


def scoring_options(command: Any) -> Any:
    """Give a command the options about scoring with a model."""
    options = (
        click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", help="Device of MODEL."),
        click.option("--token-budget", type=click.IntRange(0, 10**7), default=0, help="Most tokens at once."),
        click.option(
            "--over-long",
            type=click.Choice(["error", "truncate_prompt", "truncate_response"]),
            help="Policy for responses above the model's limits [default: the policy of its evaluation].",
        ),
        click.option("--base", default="", metavar="DIR", help="Folder of an adapter's base model, if moved."),
        click.option("--trust-remote-code", is_flag=True, help="Run code that comes with the model."),
        click.option("--accept-edits", is_flag=True, help="Accept files of the model edited since saving."),
    )
    return with_options(command, options)


def score_options(command: Any) -> Any:
    """Give a command the options about a file of scores."""
    options = (
        click.option(
            "--columns",
            default="",
            metavar="NAME=COLUMN,...",
            help="Columns of every file of scores: chosen=A,rejected=B; or scores=A; or id=A,response=B,score=C.",
        ),
        click.option(
            "--missing",
            type=click.Choice(["error", "skip"]),
            default="error",
            help="Policy for comparisons without a score [default: error].",
        ),
    )
    return with_options(command, options)


def find(path: Path, beta: float | None) -> Model:
    """Find the model folder and the run of a path; read beta from the run, and the temperature from the card.

    Raises:
        CheckpointError: no model.
    """
    from ..export.folder import find_model
    from ..model.folder.card import read_card
    from ..runs.layout import MODEL
    from ..runs.run import RunFolder

    if not path.exists():
        raise CheckpointError(f"{path} does not exist", "give a model folder or a run")
    if is_foreign(path) and not (path / MODEL).is_dir():
        return Model(str(path), path, None, beta or 1.0, beta or 1.0)
    folder, run = find_model(path)
    temperature = read_card(folder, accept_edits=True).get("temperature") or {}
    # A folder that was copied out of a run has the beta of its fit.
    known = RunFolder(run).config.get("loss", {}).get("beta", 1.0) if run is not None else temperature.get("beta", 1.0)
    if beta is not None or not temperature:
        chosen = known if beta is None else beta
        return Model(str(path), folder, run, chosen, chosen)
    # A scale in the card holds beta already: the two are never multiplied.
    return Model(str(path), folder, run, known, temperature["scale"], temperature.get("set_sha256", ""))


def from_scores(
    path: str, data: Sequence[str], columns: str, missing: str, settings: "Data", line: str = ""
) -> "ScoredSet":
    """Read a file of scores, with the rows of data if given; `line` is the command line with data, for a hint."""
    from ..data.score_columns import parse_columns
    from ..data.scored import RowsNeeded, read_scores

    try:
        return read_scores(path, list(data), settings, columns=parse_columns(columns), skip_missing=missing == "skip")
    except RowsNeeded as error:
        if not line:
            raise
        raise DataError(error.message, f"give the rows that were scored: {line}") from error


def operand(
    path: str,
    sets: Sequence[str],
    data: Sequence[str],
    columns: str,
    missing: str,
    beta: float | None,
    settings: "Data",
    options: Mapping[str, Any],
    console: Console,
) -> "tuple[Model, ScoredSet]":
    """Model and scored rows of one of the `sets` of `bradley compare`: all evaluation sets of the operand together."""
    from ..data.scored import ScoredSet

    if not Path(path).is_dir():
        line = f"bradley compare {' '.join(sets)} --data DATA"
        one = from_scores(path, data, columns, missing, settings, line)
        return of_file(path, one, beta), one
    model = find(Path(path), beta)
    if data:
        found, _ = from_model(model, data, settings, options, console)
    elif model.run is not None:
        found = from_run(model.run, console)
    else:
        raise UserError(f"{path} is no run, and no data are given", "add --data DATA")
    if len(found) == 1:
        return model, found[0]
    # The same id may stand in two sets.
    rows = [replace(row, source=f"{one.name}/{row.source}") for one in found for row in one.rows]
    texts = [comparison for one in found for comparison in one.comparisons or ()]
    return model, ScoredSet(path, rows, texts or None, {"rows": len(rows)}, [], "tokens")


def of_file(path: str, one: "ScoredSet", beta: float | None) -> Model:
    """Stand for the model behind a file of scores, with the factors that the rows name; see `factors_of`."""
    from ..evaluate.judgments import factors_of, fitted_on_of

    return Model(path, None, None, *factors_of(one.rows, beta), fitted_on_of(one.rows) if beta is None else "")


def from_run(run: Path, console: Console) -> "list[ScoredSet]":
    """Rows that the run scored with its best model."""
    from ..data.scored import ScoredSet
    from ..runs.layout import PROBE
    from ..runs.run import RunFolder

    evals = RunFolder(run).evals
    sets = {stem.removesuffix("-best"): rows for stem, rows in evals.items() if stem.endswith("-best")}
    sets.pop(PROBE, None)
    if not sets:
        raise DataError(f"{run} has scored no evaluation set", "give data: bradley evaluate MODEL DATA")
    console.say(f"rows scored by {run}: {', '.join(sets)}")
    return [ScoredSet(name, rows, None, {"rows": len(rows)}, [], "tokens") for name, rows in sets.items()]


def from_model(
    model: Model, data: Sequence[str], settings: "Data", options: Mapping[str, Any], console: Console
) -> "tuple[list[ScoredSet], Any]":
    """Score data with a model, a set for each source; return the sets and the loaded model."""
    from ..data.scored import ScoredSet, read_comparisons

    read = [(name, *read_comparisons(source, settings)) for name, source in zip(set_names(data), data, strict=True)]
    scorer = load(model, options)
    sets = []
    for name, comparisons, counts in read:
        console.say(f"scoring {name}: {len(comparisons):,} comparisons")
        rows = score(scorer, comparisons, name)
        sets.append(ScoredSet(name, rows, comparisons, counts, _foreign(scorer, comparisons), "tokens"))
    return sets, scorer


def _foreign(scorer: Any, comparisons: Sequence[Any]) -> list[str]:
    """Sentence about comparisons of another kind than the training rows: `bradley score` may convert such rows."""
    number = sum(map(scorer.scorer.kinds.is_foreign, comparisons))
    if not number:
        return []
    return [f"{number:,} comparisons are of another kind than the training rows, and are scored as given"]


def set_names(data: Sequence[str]) -> list[str]:
    """Name each source of data: the name of the file, with the folder where two files have one name.

    Example:
        set_names(["a/val.jsonl", "b/val.jsonl"])  # ["a-val", "b-val"]
    """
    from ..data.sources import resolve

    stems = [[each.stem for each in resolve(source)] for source in data]
    names = [stem[0] if len(stem) == 1 else Path(source).name for stem, source in zip(stems, data, strict=True)]
    if len(set(names)) < len(names):
        pairs = zip(data, names, strict=True)
        names = [f"{real_path(Path(source)).parent.name}-{name}" for source, name in pairs]
    taken: dict[str, int] = {}
    for name in names:
        taken[name] = taken.get(name, 0) + 1
    # Folders may have equal names too.
    return [name if taken[name] == 1 else f"{name}-{number}" for number, name in enumerate(names, start=1)]


def load(model: Model, options: Mapping[str, Any]) -> Any:
    """Load a model for scoring."""
    from ..scoring.file import use_device
    from ..scoring.reward_model import RewardModel

    assert model.folder is not None
    given = {name: options[name] for name in (*SCORING, *OF_OTHERS) if name in options}
    device = use_device(given.pop("device", "auto"), 0)
    return RewardModel.from_pretrained(
        model.folder, device, **{name: value or _empty(name) for name, value in given.items()}
    )


def score(scorer: Any, comparisons: Sequence[Any], name: str = "") -> "list[ScoredComparison]":
    """Score comparisons; sources and tags are those of the comparisons.

    Raises:
        DataError: a response above the model's limits, under a policy that does not cut the response.
        CheckpointError: a score that is not a finite number.
    """
    from ..scoring.reward_model import score_comparisons

    try:
        return score_comparisons(scorer, comparisons)
    except DataError as error:
        # The hints of scoring and training name a Python argument or a setting of a run.
        hint = "add --over-long truncate_response" if "over_long" in error.hint else error.hint
        raise DataError(f"{name}: {error.message}" if name else error.message, hint) from error


def write_rows(path: Path, sets: "Sequence[ScoredSet]", model: Model) -> list[Path]:
    """Write the scored rows of each set with the factors of the model; return the paths; raises as `check_rows_file`.

    Each row names the factors: a reader of single rows, in any format, has everything that a figure needs.
    """
    from ..common.files import write_bytes
    from ..records import replaced

    paths = check_rows_file(path, [one.name for one in sets])
    for target, one in zip(paths, sets, strict=True):
        about = {
            "beta": model.beta,
            "scale": model.scale,
            "fitted_on": model.fitted_on,
            "length_unit": one.length_unit,
        }
        rows = [replaced(row, **about).to_json() for row in one.rows]
        write_bytes(target, _parquet(rows) if target.suffix == ".parquet" else _lines(rows))
    return paths


def probe(one: "ScoredSet", scorer: Any, seed: int, console: Console) -> dict[str, Any]:
    """Score a set again under each probe, and return the effect of each by name."""
    from ..evaluate.probes import PROBES, probe_effects, probed

    effects = {}
    for name in PROBES:
        changed = probed(one.comparisons or (), name, seed)
        console.say(f"probe {name}: {len(changed):,} of {len(one.rows):,} comparisons changed")
        if changed:
            effects[name] = probe_effects(one.rows, score(scorer, changed))
    return effects


def check_page(path: Path | None) -> None:
    """Raise an error for a page that cannot be written, before anything is scored."""
    if path is not None:
        from ..report.html import refuse_page

        refuse_page(path)


def check_rows_file(path: Path, names: Sequence[str] = ("",)) -> list[Path]:
    """Return the files for the rows of each set: PATH, or PATH with the set's name for several sets.

    Raises:
        UserError: an unknown suffix, or a file that exists; no file is written over.
    """
    if path.suffix not in ROW_SUFFIXES:
        raise UserError(
            f"{path} is not a kind of file that can be written", f"known suffixes: {', '.join(ROW_SUFFIXES)}"
        )
    paths = [path if len(names) == 1 else path.with_stem(f"{path.stem}-{name}") for name in names]
    if there := [each for each in paths if each.exists()]:
        raise UserError(f"{there[0]} exists", "give another name, or remove it")
    return paths


def refuse_scoring(options: Mapping[str, Any]) -> None:
    """Raise `UserError` for options about a model beside a file of scores."""
    unused = {"device": "auto", "token_budget": 0}
    given = [name for name in (*SCORING, *OF_OTHERS) if options.get(name) and options[name] != unused.get(name)]
    if given:
        raise UserError(f"--{given[0].replace('_', '-')} is about a model, and --scores needs none", "leave it out")


def refuse_model(data: Sequence[str], scores: str) -> None:
    """Raise `UserError` for a model or a run among the data of a file of scores."""
    from ..common.signatures import CARD
    from ..runs.layout import MODEL

    for path in map(Path, data):
        if (path / CARD).is_file() or (path / MODEL / CARD).is_file() or (path.is_dir() and is_foreign(path)):
            message = f"a model, {path}, and a file of scores, --scores {scores}, are both given"
            raise UserError(message, "leave out --scores to score DATA with the model, or leave out the model")


def _lines(rows: Sequence[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    import io

    from ..data.sources.base import needed

    arrow, files = needed("pyarrow", "a .parquet file"), needed("pyarrow.parquet", "a .parquet file")
    # A struct of tags would need a field in every row: tags are text, as JSON.
    table = arrow.Table.from_pylist([{**row, "tags": json.dumps(row["tags"])} for row in rows])
    file = io.BytesIO()
    files.write_table(table, file)
    return file.getvalue()


def _empty(name: str) -> Any:
    """Value of an option that was not given."""
    return {"token_budget": 0, "trust_remote_code": False, "accept_edits": False}.get(name, "")
