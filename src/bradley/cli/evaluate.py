"""`bradley evaluate`, `compare`, `calibrate` and `power`: the quality of a model, from scores."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..common.console import Console
from ..errors import DataError, UserError
from ..runs.layout import PROBE, SELECTION
from .models import READING, of_other_trainers
from .options import PathName, SettingsCommand
from .scores import (
    Model,
    check_page,
    check_rows_file,
    find,
    from_model,
    from_run,
    from_scores,
    of_file,
    operand,
    probe,
    refuse_model,
    refuse_scoring,
    score_options,
    scoring_options,
    set_names,
)
from .scores import write_rows as write_scored_rows

if TYPE_CHECKING:
    from ..config import Data
    from ..data.scored import ScoredSet

DRAWS = click.IntRange(100, 100_000)
BETA = click.FloatRange(0, 1e6, min_open=True)
SHARE = click.FloatRange(0, 1)
EFFECT = click.FloatRange(0, 1e6, min_open=True)


def reading(name: str) -> bool:
    """Return True for the settings about reading rows."""
    return name in READING


@click.command(cls=SettingsCommand, choose=reading)
@click.argument("args", nargs=-1, metavar="[MODEL|RUN] [DATA...]")
@click.option("--scores", default="", metavar="FILE", help="Scores that any tool wrote, instead of a model.")
@score_options
@click.option("--beta", type=BETA, help="Factor of score differences in the loss [default: of the run, or 1].")
@click.option("--draws", type=DRAWS, default=1000, show_default=True, help="Bootstrap draws.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Seed of the draws.")
@click.option("--rows", type=PathName(), metavar="FILE", help="Write the scored rows: .jsonl or .parquet.")
@click.option("--page", type=PathName(), metavar="FILE", help="Write the evaluation as an HTML page.")
@click.option("--probes", is_flag=True, help="Change the texts in eleven ways, and score again. Needs MODEL and DATA.")
@scoring_options
@of_other_trainers
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def evaluate(
    args: tuple[str, ...],
    scores: str,
    columns: str,
    missing: str,
    beta: float | None,
    draws: int,
    seed: int,
    rows: Path | None,
    page: Path | None,
    probes: bool,
    as_json: bool,
    overrides: dict[str, str],
    **options: Any,
) -> None:
    """Measure a reward model: accuracy, calibration, slices, and the smallest difference that the data can show.

    MODEL is a model folder, RUN a run folder; each DATA is a set of its own. A run without DATA shows the rows that the
    run scored. With --scores, no model is given: FILE holds the scores, and DATA the rows that were scored, matched by
    id, or by texts where rows have no id. What `bradley score` writes needs neither DATA nor --columns.
    """
    if rows:
        check_rows_file(rows, set_names(args[1:]) if len(args) > 1 and not scores else ("",))
    check_page(page)
    if page and page == rows:
        raise UserError(f"{page} is given for --rows and for --page", "give two names")
    if probes and (scores or len(args) < 2):
        raise UserError("--probes changes texts and scores them again", "give a model and data: MODEL DATA --probes")
    model, sets, scorer = scored_sets(args, scores, columns, missing, beta, overrides, options, as_json)
    found = {one.name: _evaluated(one, model, draws, seed) for one in sets}
    if probes:
        for one in sets:
            found[one.name]["probes"] = probe(one, scorer, seed, Console("quiet" if as_json else "bar"))
    for path in write_scored_rows(rows, sets, model) if rows else ():
        click.echo(f"scored rows: {path}", err=True)
    if page:
        from ..report.evaluation_page import write_evaluation

        kept = "rows of the file of scores" if scores else "rows that the run scored"
        facts = [
            ("scores" if scores else "model", model.name),
            ("data", ", ".join(args if scores else args[1:]) or kept),
        ]
        click.echo(f"page: {write_evaluation(page, found, facts)}", err=True)
    if as_json:
        click.echo(json.dumps({"model": model.name, "beta": model.beta, "scale": model.scale, "sets": found}))
        return
    from ..report.terminal import show_evaluation

    click.echo("\n\n".join(show_evaluation(name, one) for name, one in found.items()))


def scored_sets(
    args: Sequence[str],
    scores: str,
    columns: str,
    missing: str,
    beta: float | None,
    overrides: Mapping[str, str],
    options: Mapping[str, Any],
    quiet: bool,
) -> "tuple[Model, list[ScoredSet], Any]":
    """Scored sets of a command line with MODEL DATA..., or with --scores FILE DATA....

    Returns:
        The model, the sets, and the loaded model; None if nothing was scored here.

    Raises:
        UserError: neither a model nor scores, or options about the other of the two.
    """
    if scores:
        refuse_scoring(options)
        refuse_model(args, scores)
    else:
        if not args:
            raise UserError("nothing to evaluate", "give a model folder or a run, or --scores FILE")
        if columns or missing != "error":
            raise UserError(
                "--columns and --missing are about a file of scores", "add --scores FILE, or leave them out"
            )
    settings = _data_settings(list(args if scores else args[1:]), overrides)
    console = Console("quiet" if quiet else "bar")
    if scores:
        line = f"bradley {click.get_current_context().info_name} --scores {scores} DATA"
        one = from_scores(scores, args, columns, missing, settings, line)
        return of_file(scores, one, beta), [one], None
    model = find(Path(args[0]), beta)
    if len(args) == 1:
        if model.run is None:
            raise UserError(f"{args[0]} is no run, and no data are given", f"bradley evaluate {args[0]} DATA")
        found = from_run(model.run, console)
        console.say("texts are not kept, so give DATA for style and shortcuts")
        return model, found, None
    return model, *from_model(model, args[1:], settings, options, console)


def _data_settings(files: Sequence[str], overrides: Mapping[str, str]) -> "Data":
    from ..config.load import data_settings

    return data_settings(files or ["-"], overrides).data


def _evaluated(one: "ScoredSet", model: Model, draws: int, seed: int) -> dict[str, Any]:
    from ..evaluate.evaluation import evaluation

    found = evaluation(
        one.rows,
        one.comparisons,
        beta=model.beta,
        scale=model.scale,
        draws=draws,
        seed=seed,
        lengths=one.length_unit,
        fitted_on=model.fitted_on,
    )
    return {"counts": one.counts, **found, "warnings": [*_counted(one), *one.notes, *found["warnings"]]}


def _counted(one: "ScoredSet") -> list[str]:
    """Sentences about rows that are no scored comparisons."""
    return [
        f"{number:,} of {one.counts['rows']:,} rows {name}" for name, number in one.counts.items() if name != "rows"
    ]


@click.command(cls=SettingsCommand, choose=reading)
@click.argument("sets", nargs=-1, required=True, metavar="A B [C...]")
@click.option(
    "--data",
    "data",
    multiple=True,
    metavar="DATA",
    help="Rows that were scored, for all files of scores; runs and models score the rows anew.",
)
@score_options
@click.option("--beta", type=BETA, help="Factor of score differences in the loss [default: of the run, or 1].")
@click.option("--draws", type=DRAWS, default=1000, show_default=True, help="Bootstrap draws.")
@click.option("--page", type=PathName(), metavar="FILE", help="Write the comparison as an HTML page.")
@scoring_options
@of_other_trainers
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def compare(
    sets: tuple[str, ...],
    data: tuple[str, ...],
    columns: str,
    missing: str,
    beta: float | None,
    draws: int,
    page: Path | None,
    as_json: bool,
    overrides: dict[str, str],
    **options: Any,
) -> None:
    """Compare models on the same items: paired differences with intervals, tests, and what changed.

    Each of A, B, ... is a file of scores, a run, or a model folder (with --data). Seeds of a model are joined by
    commas: runs/a0,runs/a1,runs/a2. Every item must be scored by all; the differences are clustered by prompt.
    --columns, --missing and --data hold for all files of scores.
    """
    from ..data.scored import with_ids_of

    if len(sets) < 2:
        raise UserError("one model, and a comparison needs two", "give two files of scores, runs or models")
    check_page(page)
    settings, console = _data_settings(data, overrides), Console("quiet" if as_json else "bar")
    scored: dict[str, Any] = {}
    texts: dict[str, Any] = {}
    betas: dict[str, float] = {}
    first, first_name = None, ""
    for name in sets:
        if name in scored:
            raise UserError(f"{name} is given twice", "a model compared with itself shows nothing")
        seeds, betas[name] = [], beta or 1.0
        for path in [name] if Path(name).exists() else name.split(","):
            model, one = operand(path, sets, data, columns, missing, beta, settings, options, console)
            # Rows without an id of their own take the ids of the first file.
            first, first_name = (one, path) if first is None else (first, first_name)
            one = with_ids_of(one, first, path, first_name)
            texts |= {each.id: each for each in one.comparisons or ()}
            betas[name] = model.beta
            seeds.append(one.rows)
        scored[name] = seeds
    found = _compared(scored, betas, draws, bool(data))
    if page:
        from ..report.comparison_page import write_comparison

        facts = [("data", ", ".join(data) or "rows that the runs or files of scores hold")]
        click.echo(f"page: {write_comparison(page, found, facts, texts)}", err=True)
        if not texts:
            console.say("no texts are known: with --data DATA the page shows the texts of what changed")
    if as_json:
        click.echo(json.dumps(found))
        return
    from ..report.terminal import show_comparison

    click.echo(show_comparison(found))


def _compared(scored: Mapping[str, Any], betas: Mapping[str, float], draws: int, named: bool) -> dict[str, Any]:
    """Compare models; raises as `evaluate.compare.compare`, with a hint at --data where no data are `named`."""
    from ..evaluate.compare import compare as compare_rows

    try:
        return compare_rows(scored, beta=betas, draws=draws)
    except DataError as error:
        if named:
            raise
        # Files of several tools may name prompts and labels differently; rows of data settle both.
        hint = f"{error.hint}; --data DATA names the rows, their labels and their prompts for all"
        raise DataError(error.message, hint) from error


@click.command(cls=SettingsCommand, choose=reading)
@click.argument("args", nargs=-1, metavar="[MODEL|RUN] [DATA...]")
@click.option("--scores", default="", metavar="FILE", help="Scores that any tool wrote, instead of a model.")
@score_options
@click.option("--beta", type=BETA, help="Factor of score differences in the loss [default: of the run, or 1].")
@click.option("--set", "chosen", metavar="NAME", help="Set of a run without DATA [default: valid].")
@click.option("--save/--no-save", default=True, help="Save the temperature with the model [default: --save].")
@click.option("--replace", "again", is_flag=True, help="Replace a temperature saved before.")
@scoring_options
@of_other_trainers
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def calibrate(
    args: tuple[str, ...],
    scores: str,
    columns: str,
    missing: str,
    beta: float | None,
    chosen: str | None,
    save: bool,
    again: bool,
    as_json: bool,
    overrides: dict[str, str],
    **options: Any,
) -> None:
    """Fit the temperature that turns score differences into probabilities, and save the temperature with the model.

    Give validation data: a temperature fitted on training data is too sure. `score --probabilities` and
    `RewardModel.probability` use what is saved. With --scores FILE, the factor is only printed.
    """
    if scores and (again or not save):
        raise UserError("a file of scores has no model to save with", "leave out --replace and --no-save")
    if chosen and (scores or len(args) > 1):
        raise UserError(f"--set {chosen} names a set of a run, and data are given", "leave either out")
    model, sets, _ = scored_sets(args, scores, columns, missing, beta, overrides, options, as_json)
    if len(args) == 1 and not scores:
        name = chosen or SELECTION
        sets = [one for one in sets if one.name == name] or _unknown_set(name, [one.name for one in sets])
    if len(sets) > 1:
        raise UserError(
            f"{len(sets)} sets, and a temperature is fitted on one", "give one DATA, or one file of all rows"
        )
    from ..evaluate.temperature import temperature_figures, temperature_verdict, temperature_warnings

    found = temperature_figures(sets[0].rows, model.beta, sets[0].name)
    saved = save and save_temperature(model, found, again)
    if as_json:
        said = {"verdict": temperature_verdict(found), "warnings": temperature_warnings(found)}
        click.echo(json.dumps({**found, **said, "saved": str(model.folder) if saved else None}))
        return
    from ..report.terminal import show_temperature

    click.echo(show_temperature(found))
    reason = "no model folder with a bradley.json" if save else "--no-save"
    click.echo(f"saved with {model.folder}" if saved else f"not saved: {reason}")


def save_temperature(model: Model, found: Mapping[str, Any], again: bool) -> bool:
    """Save a temperature in the card of a model, and tell the run around the model; False without a card."""
    from ..common.signatures import CARD
    from ..model.folder.save_load import add_temperature
    from ..runs.checks import MODEL_CARD, refuse_damaged
    from ..runs.layout import MODEL
    from ..runs.status import accept_file, read_status

    if model.folder is None or not (model.folder / CARD).is_file():
        return False
    if model.run is not None:
        # A run with a damaged model must not be made whole by a new hash.
        refuse_damaged(model.run, read_status(model.run), MODEL)
    names = ("temperature", "low", "high", "scale", "beta", "n", "clusters", "set", "set_sha256")
    add_temperature(model.folder, {name: found[name] for name in names}, replace=again)
    if model.run is not None:
        accept_file(model.run, MODEL_CARD)
    return True


def _unknown_set(name: str, known: Sequence[str]) -> Any:
    if name == PROBE:
        raise UserError(f"{name} holds training rows, and a temperature fitted on those is too sure", _give_set(known))
    raise UserError(f"the run has scored no set {name}", _give_set(known))


def _give_set(known: Sequence[str]) -> str:
    return f"give --set {' or --set '.join(known)}"


@click.command()
@click.option("--accuracy", type=SHARE, required=True, help="Accuracy of the worse model, such as 0.7.")
@click.option("--difference", type=SHARE, required=True, help="Difference to find, such as 0.01.")
@click.option("--power", type=SHARE, default=0.8, show_default=True, help="Chance to find the difference.")
@click.option("--confidence", type=SHARE, default=0.95, show_default=True, help="Confidence of the test.")
@click.option("--discordant", type=SHARE, help="Share of pairs on which the models differ [default: several].")
@click.option("--design-effect", type=EFFECT, default=1.0, show_default=True, help="Loss by several pairs of a prompt.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def power(as_json: bool, **numbers: Any) -> None:
    """Count the pairs that are needed to find a difference between two models.

    `bradley compare` prints the line to type for two models on the same pairs: their discordant share, and the design
    effect of their difference. For two different sets `bradley evaluate` prints the design effect.
    """
    from ..evaluate.power import pairs_needed

    found = pairs_needed(**numbers)
    if as_json:
        click.echo(json.dumps(found))
        return
    from ..report.terminal import show_power

    click.echo(show_power(found))
