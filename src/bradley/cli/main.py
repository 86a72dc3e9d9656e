"""The command line: one short function per command. Results go to stdout, talk to stderr.

Everything heavy is imported inside the commands, so that `bradley --help` answers at once.
"""

import functools
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from ..errors import BradleyError, UserError
from .errors import complain, is_main_process, usage_error
from .options import SettingsCommand

ALSO_OF_DATA = ("seed", "model.path", "model.tokenizer", "model.vocab_size", "model.trust_remote_code")
"""What `bradley data` takes beside the settings of data and render."""


def run(args: Sequence[str]) -> int:
    """Run one command line and return its exit code (see `errors.EXIT_CODES`); bugs keep their traceback."""
    try:
        with cli.make_context("bradley", list(args)) as context:
            cli.invoke(context)
            sys.stdout.flush()
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.UsageError as error:
        return complain(usage_error(error, args), args)
    except BradleyError as error:
        return complain(error, args)
    except KeyboardInterrupt:
        click.echo("error: interrupted", err=True)
        return 130
    except BrokenPipeError:
        # The reader of stdout has gone, as `head` does; Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    return 0


@click.group(no_args_is_help=False, invoke_without_command=True)
@click.version_option(package_name="bradley", message="%(prog)s %(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """From preference data to a reward model whose number can be trusted."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@cli.command(cls=SettingsCommand)
@click.argument("config", type=click.Path(path_type=Path))
@click.option(
    "--output", type=click.Path(path_type=Path), metavar="DIR", help="The run folder [default: runs/NAME-TIME]."
)
@click.option("--resume", is_flag=True, help="Go on with the run in DIR, or begin it if there is none.")
@click.option("--allow-change", default="", metavar="NAMES", help="What may differ from the run that was begun.")
@click.option("--sanity", is_flag=True, help="Run every stage on 64 comparisons, in seconds.")
@click.option("--quiet", is_flag=True, help="Say nothing on the way.")
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

    CONFIG is a TOML file; every setting in it can be given as an option instead. SIGTERM, SIGINT, SIGUSR1 and SIGHUP
    save the run and end it with exit code 75; the same command with --resume goes on, bit for bit as if nothing had
    happened.
    """
    from ..config.load import load_config

    if quiet and as_json:
        raise UserError("--quiet and --json are both given", "--json already says nothing on stdout but the result")
    if resume and output is None:
        raise UserError("--resume needs the folder of the run", "add --output DIR")
    if allow_change and not resume:
        raise UserError("--allow-change has no effect without --resume", "add --resume, or leave it out")
    settings = load_config(config, overrides)
    from ..training.run import train as train_model

    finished = train_model(
        settings,
        output=output or Path("runs") / f"{config.stem}-{time.strftime('%Y%m%d-%H%M%S')}",
        progress="json" if as_json else "quiet" if quiet else "bar",
        sanity=sanity,
        source=config.read_text(encoding="utf-8-sig"),
        resume=resume,
        allow_change=[name.strip() for name in allow_change.split(",") if name.strip()],
    )
    if is_main_process():
        click.echo(json.dumps({"folder": str(finished.folder), **finished.results}) if as_json else finished.summary())


@cli.group()
def launch() -> None:
    """Start a training in several processes."""


@launch.command()
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    required=True,
    metavar="N",
    help="Processes on this machine: one for each GPU.",
)
@click.option(
    "--max-restarts",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help="How often to go on from the last checkpoint after a process was lost.",
)
@click.option(
    "--nodes",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Machines that take part; this command runs on each of them.",
)
@click.option(
    "--node-rank",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="K",
    help="Which of them this is, counted from 0.",
)
@click.option("--rendezvous", default="", metavar="HOST:PORT", help="Where they meet: a free port of machine 0.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- train CONFIG --output DIR ...")
def local(
    processes: int, max_restarts: int, nodes: int, node_rank: int, rendezvous: str, command: tuple[str, ...]
) -> None:
    """Train in several processes of this machine, or as one machine of several.

    Everything after -- is a command line of `bradley train`. SIGTERM, SIGINT, SIGUSR1 and SIGHUP reach every process,
    which save and stop; the exit code is that of the run. Only a process that died or fell silent leads to a restart.
    """
    from ..launch.exit import RunError
    from ..launch.local import Nodes, training_job
    from ..launch.local import launch as run_job

    job = training_job(command, processes, Nodes(nodes, node_rank, rendezvous))
    ended = run_job(job, max_restarts, functools.partial(click.echo, err=True))
    if ended.code:
        if ended.told and node_rank == 0:
            raise click.exceptions.Exit(ended.code)
        raise RunError(ended.code, ended.what, ended.fix)


@cli.command(cls=SettingsCommand)
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--no-timing", is_flag=True, help="Run nothing, and estimate no time.")
@click.option("--memory", is_flag=True, help="Say instead what each process will hold, without data or weights.")
@click.option("--processes", type=click.IntRange(min=1), default=1, help="Of the run, for --memory.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def plan(config: Path, no_timing: bool, memory: bool, processes: int, as_json: bool, overrides: dict[str, str]) -> None:
    """Say what a run will be before it starts.

    Steps, micro-batches and tokens; what sharing prompts saves over padded pairs, and what data.group_by would; the
    balance over processes, the longest comparison, and about how long it takes. CONFIG and settings are those of
    `bradley train`.
    """
    from ..config.load import load_config

    settings = load_config(config, overrides)
    if memory:
        if no_timing:
            raise UserError("--no-timing has no effect with --memory, which runs nothing", "leave --no-timing out")
        from ..estimate.memory_plan import plan_memory, show_memory

        room = plan_memory(settings, processes)
        click.echo(json.dumps(room) if as_json else show_memory(room))
        return
    if processes != 1:
        raise UserError("--processes has no effect without --memory", "add --memory, or leave it out")
    from ..estimate.schedule import estimate_run, show

    found = estimate_run(settings, timing=not no_timing)
    click.echo(json.dumps(found) if as_json else show(found))


@cli.command()
@click.argument("path", type=click.Path(path_type=Path), metavar="RUN|FILE.csv")
@click.option(
    "--x",
    type=click.Choice(["step", "episode", "epoch", "minutes"]),
    help="What curves are drawn over [default: step; for rewards the episode, and the minutes too].",
)
def plot(path: Path, x: str | None) -> None:
    """Draw the plots and the report of a run anew, or the columns of a CSV file.

    RUN is the folder that `bradley train` wrote; nothing else is read. Of FILE.csv every numeric column is drawn over
    its column `step`, into FILE.png; a column `set` splits the lines.
    """
    if path.is_file() or path.suffix == ".csv":
        from ..report.page import plot_csv

        picture, columns = plot_csv(path, x or "step")
        click.echo(picture)
        for name, reason in columns.left_out.items():
            click.echo(f"not drawn: {name}, {reason}", err=True)
        return
    if not (path / "metrics.jsonl").is_file():
        raise UserError(
            f"{path} is not a run folder: it has no metrics.jsonl", "give the folder that `bradley train` wrote"
        )
    from ..report.page import plot_run, write_report

    for written in [*plot_run(path, x), write_report(path)]:
        click.echo(written)


@cli.command(
    cls=SettingsCommand,
    choose=lambda name: name in ALSO_OF_DATA or (name.startswith(("data.", "render.")) and name != "data.train"),
)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--tokens", is_flag=True, help="Show the first comparisons token by token.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def data(files: tuple[str, ...], tokens: bool, as_json: bool, overrides: dict[str, str]) -> None:
    """Say what a file of preferences holds.

    Format, counts by reason, lengths, and the first rows as a model would read them. Token counts need
    --model.tokenizer or --model.path.
    """
    from ..config.load import data_settings
    from ..data.preview import preview, show

    settings = data_settings(files, overrides)
    if tokens and as_json:
        raise UserError("--tokens and --json are both given", "--json holds the first comparisons decoded as `samples`")
    if tokens and not (settings.model.path or settings.model.tokenizer):
        raise UserError("--tokens needs a tokenizer", "add --model.tokenizer FOLDER or --model.path FOLDER")
    color = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    found = preview(settings.data, settings.render, settings.model, settings.seed, tokens=tokens, color=color)
    click.echo(json.dumps(found) if as_json else show(found))


@cli.command()
def configs() -> None:
    """List the configurations in configs/."""
    files = sorted(Path("configs").rglob("*.toml"))
    if not files:
        raise UserError("there is no configs/*.toml in this folder", "change to the folder that holds configs/")
    width = max(len(str(file)) for file in files)
    for file in files:
        first = file.read_text(encoding="utf-8").partition("\n")[0]
        click.echo(f"{file!s:<{width}}  {first.lstrip('# ')}" if first.startswith("#") else file)


@cli.command()
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option(
    "--dtype",
    type=click.Choice(["float32", "bfloat16"]),
    default="float32",
    show_default=True,
    help="Of the weights below the score head, which stays float32.",
)
@click.option("--adapter", is_flag=True, help="Write the LoRA adapter alone, for PEFT, instead of folding it in.")
@click.option("--base", default="", metavar="DIR", help="Where the base model of an adapter is, if it has moved.")
@click.option("--push", default="", metavar="OWNER/NAME", help="Upload the folder to the Hugging Face Hub as well.")
@click.option("--private", is_flag=True, help="Make that repository a private one.")
@click.option("--trust-remote-code", is_flag=True, help="Run the model code that the folder names.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def export(run: Path, folder: Path, push: str, private: bool, as_json: bool, **options: Any) -> None:
    """Write a trained model for transformers, TRL, vLLM and OpenRLHF.

    RUN is a run folder, or the model folder in it; DIR must be empty or absent. It gets weights, tokenizer, frozen chat
    template and a model card, once a fresh process has found that it gives the scores that were trained.
    """
    if private and not push:
        raise UserError("--private has no effect without --push", "add --push OWNER/NAME, or leave it out")
    from ..export.hub import check_hub
    from ..export.hub import push as upload

    check_hub(push, private)
    from ..export.folder import describe, export_model

    exported = export_model(run, folder, place=push, **options)
    url = upload(folder, push, private=private) if push else ""
    click.echo(json.dumps(exported.to_json() | ({"url": url} if url else {})) if as_json else describe(exported, url))


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--against", default="", metavar="URL", help="Ask this running server instead.")
@click.option("--base", default="", metavar="DIR", help="Where the base model of an adapter is, if it has moved.")
@click.option("--trust-remote-code", is_flag=True, help="Run the model code that the folder names.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def verify(folder: Path, against: str, base: str, trust_remote_code: bool, as_json: bool) -> None:
    """Prove that a model folder gives the scores of its training.

    DIR is a model folder: `model/` of a run, or an export. A fresh process scores the conversations that its
    bradley.json keeps, through plain transformers and through bradley, in float32 and bfloat16, 1 and 8 at a time,
    padded right and left; the largest difference of each is held to what rounding explains. The exit code is 4 where
    one fails.

    URL is OpenRLHF's http://HOST:PORT/get_reward, or /classify or /pooling of vLLM.
    """
    from ..verify import failure
    from ..verify import verify as check

    checks = check(folder, against, trust_remote_code=trust_remote_code, base=base)
    shown = [{**one._asdict(), "passed": one.passed} for one in checks]
    click.echo(json.dumps({"checks": shown}) if as_json else "\n".join(map(str, checks)))
    if (error := failure(folder, checks)) is not None:
        raise error


@cli.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("source", metavar="INPUT")
@click.option("-o", "--output", required=True, metavar="OUTPUT", help=".jsonl, .jsonl.gz or .parquet, or - for stdout.")
@click.option(
    "--over-long",
    type=click.Choice(["error", "skip", "truncate_prompt", "truncate_response"]),
    help="What happens above the model's limits [default: what it was evaluated with].",
)
@click.option("--best-of", is_flag=True, help="Write the best response of each row instead of all.")
@click.option("--normalize", is_flag=True, help="Scores in the unit of the reference set that the model names.")
@click.option("--prefix", default="", help="Put before the names of added fields, such as rm_.")
@click.option("--token-budget", type=click.IntRange(min=0), default=0, help="Most tokens at once [default: by device].")
@click.option("--part-rows", type=click.IntRange(min=1), default=512, help="Rows scored and written at a time.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", help="[default: CUDA if there.]")
@click.option("--base", default="", metavar="DIR", help="Where the base model of an adapter is, if it has moved.")
@click.option("--trust-remote-code", is_flag=True, help="Run code that comes with the model.")
@click.option("--restart", is_flag=True, help="Replace OUTPUT and begin anew.")
@click.option("--quiet", is_flag=True, help="Say nothing on the way.")
@click.option("--json", "as_json", is_flag=True, help="Print the counts as one JSON object, progress as JSON lines.")
def score(model: Path, source: str, output: str, quiet: bool, as_json: bool, **options: Any) -> None:
    """Score conversations with a model folder.

    INPUT is a file of rows, or - for JSON lines on stdin: messages, a prompt with a response or several, or pairs. Each
    row is written with its scores, in order. A run that was cut off goes on where it stopped when it is started again.
    """
    if quiet and as_json:
        raise UserError("--quiet and --json are both given", "--json already says nothing on stdout but the result")
    if as_json and output == "-":
        raise UserError("--json and -o - are both given, and stdout holds either", "give a file as -o OUTPUT")
    from ..scoring.file import How, score_file
    from ..scoring.parts import show

    run = {name: options.pop(name) for name in ("device", "restart", "trust_remote_code", "base")}
    progress = "json" if as_json else "quiet" if quiet else "bar"
    how = How(**{**options, "over_long": options["over_long"] or ""})
    found = score_file(model, source, output, how, progress=progress, **run)
    if found and not (quiet and output == "-"):
        click.echo(json.dumps(found) if as_json else show(found), err=output == "-")
