"""`bradley train` and `bradley plan`: train a reward model, and preview a run."""

import json
import time
from pathlib import Path
from typing import Literal

import click

from ..common.console import Console
from ..common.processes import is_main_process
from ..errors import UserError
from .options import PathName, SettingsCommand

MOST_PROCESSES = 1_000_000
"""Most processes of a run whose memory `bradley plan` estimates."""


@click.command(cls=SettingsCommand)
@click.argument("config", type=PathName())
@click.option("--output", type=PathName(), metavar="DIR", help="The run folder [default: runs/NAME-TIME].")
@click.option("--resume", is_flag=True, help="Go on with the run in DIR, or begin it if there is none.")
@click.option("--allow-change", default="", metavar="NAMES", help="Settings that may differ from the original run.")
@click.option("--sanity", is_flag=True, help="Run every stage on 64 comparisons, in seconds.")
@click.option("--quiet", is_flag=True, help="Print errors only.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object, progress as JSON lines.")
def train(
    config: Path,
    output: Path | None,
    resume: bool,
    allow_change: str,
    sanity: bool,
    quiet: bool,
    as_json: bool,
    overrides: dict[str, str],
) -> None:
    """Train, evaluate and report one reward model.

    CONFIG is a TOML file, or the name of a configuration that comes with bradley, such as preset:quickstart; `bradley
    configs` lists both. Every setting can be given as an option instead. SIGTERM, SIGINT, SIGUSR1 and SIGHUP save the
    run and end the command with exit code 75. The same command with --resume continues the run, bit for bit as without
    the interruption.
    """
    from ..config.load import load_config
    from ..config.toml import config_file, read_source

    if quiet and as_json:
        raise UserError("--quiet and --json are both given", "--json already says nothing on stdout but the result")
    if resume and output is None:
        raise UserError("--resume needs the folder of the run", "add --output DIR")
    if allow_change and not resume:
        raise UserError("--allow-change has no effect without --resume", "add --resume, or leave it out")
    config = config_file(config)
    progress: Literal["bar", "quiet", "json"] = "json" if as_json else "quiet" if quiet else "bar"
    settings = load_config(config, overrides, Console(progress if is_main_process() else "quiet").say)
    # Imported after all checks: torch and transformers load for seconds, and a mistyped setting is reported at once.
    from ..training.run import train as train_model

    finished = train_model(
        settings,
        output=output or Path("runs") / f"{config.stem}-{time.strftime('%Y%m%d-%H%M%S')}",
        progress=progress,
        sanity=sanity,
        sanity_push="hub.push" in overrides,
        source=read_source(config),
        resume=resume,
        allow_change=[name.strip() for name in allow_change.split(",") if name.strip()],
    )
    if is_main_process():
        click.echo(json.dumps({"folder": str(finished.folder), **finished.results}) if as_json else finished.summary())


@click.command(cls=SettingsCommand)
@click.argument("config", type=PathName())
@click.option("--no-timing", is_flag=True, help="Run nothing, and estimate no time.")
@click.option("--memory", is_flag=True, help="Print the memory of each process instead, without data or weights.")
@click.option(
    "--processes", type=click.IntRange(1, MOST_PROCESSES), default=1, help="Processes of the run, for --memory."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def plan(config: Path, no_timing: bool, memory: bool, processes: int, as_json: bool, overrides: dict[str, str]) -> None:
    """Preview a run: steps, tokens, memory, time.

    Shows steps, micro-batches and tokens, the balance over processes, the longest comparison, and the approximate time.
    Also shows the savings of shared prompts over padded pairs, and the possible savings of data.group_by. With
    --memory, shows the memory of each process instead. CONFIG and settings are the same as for `bradley train`.
    """
    from ..config.load import load_config
    from ..config.toml import config_file

    settings = load_config(config_file(config), overrides, Console("quiet" if as_json else "bar").say)
    if memory:
        if no_timing:
            raise UserError("--no-timing has no effect with --memory, which runs nothing", "leave --no-timing out")
        from ..estimate.memory_plan import plan_memory, show_memory

        needed = plan_memory(settings, processes)
        click.echo(json.dumps(needed) if as_json else show_memory(needed))
        return
    if processes != 1:
        raise UserError("--processes has no effect without --memory", "add --memory, or leave it out")
    from ..estimate.schedule import estimate_run, show

    found = estimate_run(settings, timing=not no_timing)
    click.echo(json.dumps(found) if as_json else show(found))
