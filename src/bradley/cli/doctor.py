"""`bradley doctor`: probes of a configuration, a model or a run, each with the result of a sound one."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from ..common.console import Console
from ..errors import UserError
from .models import READING, of_other_trainers
from .options import PathName, SettingsCommand
from .scores import Model, find, load, scoring_options

MINUTES = click.FloatRange(0, 10_000, min_open=True)
SUFFIX, PRESET = ".toml", "preset:"
"""Marks of a configuration among the subjects of an examination."""


@click.command(cls=SettingsCommand)
@click.argument("subject", metavar="CONFIG|MODEL|RUN")
@click.argument("data", nargs=-1, metavar="[DATA...]")
@click.option("--minutes", type=MINUTES, default=10.0, show_default=True, help="Time for the probes, about.")
@scoring_options
@of_other_trainers
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor(
    subject: str, data: tuple[str, ...], minutes: float, as_json: bool, overrides: dict[str, str], **options: Any
) -> None:
    """Look for faults that a good number hides: in rows, template, scoring, and what the model learns.

    CONFIG is a TOML file or preset:NAME: its untrained model is probed, then trained for some minutes on a share of the
    rows. MODEL is a model folder, with DATA; RUN is a run folder, by default with the evaluation rows of the run.
    Nothing is written into either.

    Each probe passes, fails or stays undecided; undecided is no pass. The exit code is 3 or 4 if a probe fails: a fault
    of the rows, or of the model.
    """
    console = Console("quiet" if as_json else "bar")
    if subject.startswith(PRESET) or subject.endswith(SUFFIX):
        found = _of_config(subject, data, minutes, overrides, options, console)
    else:
        found = _of_model(PathName().convert(subject, None, None), data, minutes, overrides, options, console)
    from ..doctor.results import failure
    from ..doctor.terminal import show

    facts = {"subject": subject, "probes": [result.to_json() for result in found.results], "notes": found.notes}
    click.echo(json.dumps(facts) if as_json else show(found.results, found.notes))
    if (error := failure(found.results)) is not None:
        raise error


def _of_config(
    subject: str,
    data: Sequence[str],
    minutes: float,
    overrides: Mapping[str, str],
    options: Mapping[str, Any],
    console: Console,
) -> Any:
    """Examine a configuration."""
    if data:
        raise UserError(f"{subject} is a configuration, and {data[0]} is given", "set data.train and data.valid there")
    if given := [name for name, value in options.items() if value and value != "auto"]:
        option = given[0].replace("_", "-")
        raise UserError(f"--{option} is about a model, and {subject} is a configuration", "leave it out")
    from ..config.load import load_config
    from ..config.toml import config_file

    config = load_config(config_file(Path(subject)), overrides, console.say)
    # Imported after the settings are checked: torch and transformers load for seconds.
    from ..doctor.examine import examine_config

    return examine_config(config, minutes, console)


def _of_model(
    path: Path,
    data: Sequence[str],
    minutes: float,
    overrides: Mapping[str, str],
    options: Mapping[str, Any],
    console: Console,
) -> Any:
    """Examine a model folder, or the model of a run."""
    if unused := [name for name in overrides if not data or not name.startswith(READING)]:
        raise UserError(f"--{unused[0]} has no effect on {path}", "leave it out; for a model, give DATA with it")
    model = find(path, None)
    if not data and model.run is None:
        raise UserError(f"{path} is no run, and no data are given", f"bradley doctor {path} DATA")
    from ..doctor.examine import examine_model
    from ..runs.layout import SELECTION
    from ..training.results import read_run
    from ..verify import verify

    splits, recorded, seed = None, [], 0
    if model.run is not None:
        run = read_run(model.run)
        seed = run.config.get("seed", 0)
        if not data:
            console.say("reading the rows of the run again")
            splits = run.splits()
            name = SELECTION if SELECTION in splits.evals else next(iter(splits.evals), "")
            if not name:
                raise UserError(f"{path} has no evaluation set", f"bradley doctor {path} DATA")
            rows, recorded = splits.evals[name], run.evals.get(f"{name}-best", [])
    if data:
        rows, name = _read(data, overrides)
    checks = ("trust_remote_code", "base", "accept_edits")
    assumed = (options["template"], options["pooling"] or "", options["pad"])
    loaded = load(model, options).scorer.as_evaluated()
    return examine_model(
        loaded,
        rows,
        name,
        minutes,
        console,
        splits=splits,
        recorded=recorded,
        verify=lambda: verify(_folder(model), **{each: options[each] for each in checks}, assumed=assumed),
        seed=seed,
        token_budget=options["token_budget"],
    )


def _folder(model: Model) -> Path:
    assert model.folder is not None
    return model.folder


def _read(data: Sequence[str], overrides: Mapping[str, str]) -> tuple[Sequence[Any], str]:
    """Read all sources as one set, named by the sources."""
    from ..config.load import data_settings
    from ..data.scored import read_comparisons

    settings = data_settings(list(data), overrides).data
    rows, _ = read_comparisons(list(data), settings)
    return rows, ", ".join(Path(source).name for source in data)
