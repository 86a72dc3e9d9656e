"""`bradley export`, `verify` and `score`: commands on a finished model folder."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ..common.console import Console
from ..errors import UserError
from .options import PathName, SettingsCommand, with_options

BUDGET, ROWS = click.IntRange(0, 10**7), click.IntRange(1, 10**6)
"""Values of --token-budget and --part-rows."""
READING = ("data.format", "data.columns", "data.ignore")
"""Settings of training that `bradley score` takes too."""

ASSUMED = (
    click.option(
        "--template",
        default="",
        metavar="NAME|FILE",
        help="Chat template of a model without bradley.json: raw, tokenizer, a named template, or a Jinja file.",
    ),
    click.option(
        "--pooling",
        type=click.Choice(["last", "end"]),
        help="Pooled token of such a model: the last one but padding, or the last end token [default: last].",
    ),
    click.option("--pad", default="", metavar="TOKEN", help="Pad token of such a model [default: as its files say]."),
)
"""Options about a model of another trainer."""


def of_other_trainers(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `ASSUMED`."""
    given: Callable[..., None] = with_options(command, ASSUMED)
    return given


@click.command()
@click.argument("run", type=PathName(), metavar="RUN")
@click.argument("folder", type=PathName(), metavar="DIR")
@click.option(
    "--dtype",
    type=click.Choice(["float32", "bfloat16"]),
    default="float32",
    show_default=True,
    help="Type of the weights below the score head; the head stays float32.",
)
@click.option("--adapter", is_flag=True, help="Write the LoRA adapter alone, for PEFT, instead of folding it in.")
@click.option("--base", default="", metavar="DIR", help="Folder of an adapter's base model, if moved.")
@click.option("--push", default="", metavar="OWNER/NAME", help="Upload the folder to the Hugging Face Hub as well.")
@click.option("--private", is_flag=True, help="Make that repository a private one.")
@click.option("--trust-remote-code", is_flag=True, help="Run the model code that the folder names.")
@click.option("--accept-edits", is_flag=True, help="Accept files of the model edited since saving, and say which.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def export(run: Path, folder: Path, push: str, private: bool, as_json: bool, **options: Any) -> None:
    """Write a trained model for transformers, TRL, vLLM and OpenRLHF.

    RUN is a run folder or a model folder; DIR must be empty or absent. DIR receives weights, tokenizer, frozen chat
    template and a model card. Before DIR appears, a fresh process must reproduce the trained scores from the files.
    """
    if private and not push:
        raise UserError("--private has no effect without --push", "add --push OWNER/NAME, or leave it out")
    from ..export.hub import check_hub
    from ..export.hub import push as upload

    # Before the export, which takes minutes: a wrong name or token is known at once.
    say = Console("json" if as_json else "bar").say
    check_hub(push, private, say)
    from ..export.folder import describe, export_model

    exported = export_model(run, folder, place=push, **options)
    url = upload(folder, push, private=private, say=say) if push else ""
    click.echo(json.dumps(exported.to_json() | ({"url": url} if url else {})) if as_json else describe(exported, url))


@click.command()
@click.argument("folder", type=PathName(), metavar="DIR")
@click.option("--against", default="", metavar="URL", help="Ask this running server instead.")
@click.option("--base", default="", metavar="DIR", help="Folder of an adapter's base model, if moved.")
@click.option("--trust-remote-code", is_flag=True, help="Run the model code that the folder names.")
@click.option("--accept-edits", is_flag=True, help="Accept files of the model edited since saving, and say which.")
@of_other_trainers
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def verify(
    folder: Path, against: str, as_json: bool, template: str, pooling: str | None, pad: str, **options: Any
) -> None:
    """Prove that a model folder gives the scores measured in training.

    DIR is a model folder: `model/` of a run, or an export. A fresh process scores the sample conversations stored in
    bradley.json: with plain transformers and with bradley, in float32 and bfloat16, in batches of 1 and 8, padded on
    the right and on the left. The largest difference of each check must be within rounding. The exit code is 4 if a
    check fails.

    With --against, a running server gives the scores instead. URL is OpenRLHF's http://HOST:PORT/get_reward, or
    /classify or /pooling of vLLM. The dtype of a server is unknown, so the rounding of bfloat16 is allowed: a server
    in float32 differs by 1e-5 at most.

    A model of another trainer has no bradley.json: conversations of ours are then scored by bradley and by plain
    transformers, under what --template, --pooling and --pad say or the folder shows.
    """
    from ..verify import failure
    from ..verify import verify as check

    checks = check(folder, against, assumed=(template, pooling or "", pad), **options)
    # Printed before the error: a failed check is understood beside the checks that passed.
    shown = [{**one._asdict(), "passed": one.passed} for one in checks]
    click.echo(json.dumps({"checks": shown}) if as_json else "\n".join(map(str, checks)))
    if (error := failure(folder, checks, against)) is not None:
        raise error


@click.command(cls=SettingsCommand, choose=lambda name: name in READING)
@click.argument("model", type=PathName(), metavar="MODEL|RUN")
@click.argument("source", metavar="INPUT")
@click.option("-o", "--output", required=True, metavar="OUTPUT", help=".jsonl, .jsonl.gz or .parquet, or - for stdout.")
@click.option(
    "--over-long",
    type=click.Choice(["error", "skip", "truncate_prompt", "truncate_response"]),
    help="Policy for responses above the model's limits [default: the policy of its evaluation].",
)
@click.option("--best-of", is_flag=True, help="Write the best response of each row instead of all.")
@click.option("--normalize", is_flag=True, help="Scores in the unit of the reference set that the model names.")
@click.option("--probabilities", is_flag=True, help="Add the probability of each response to beat another of its row.")
@click.option("--prefix", default="", help="Put before the names of added fields, such as rm_.")
@click.option("--token-budget", type=BUDGET, default=0, help="Most tokens at once [default: by device].")
@click.option("--part-rows", type=ROWS, default=512, help="Rows scored and written at a time.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", help="[default: CUDA if there.]")
@click.option("--base", default="", metavar="DIR", help="Folder of an adapter's base model, if moved.")
@click.option("--trust-remote-code", is_flag=True, help="Run code that comes with the model.")
@click.option("--accept-edits", is_flag=True, help="Accept files of the model edited since saving, and say which.")
@of_other_trainers
@click.option("--restart", is_flag=True, help="Replace OUTPUT and begin anew.")
@click.option("--quiet", is_flag=True, help="Print errors only.")
@click.option("--json", "as_json", is_flag=True, help="Print the counts as one JSON object, progress as JSON lines.")
def score(
    model: Path, source: str, output: str, quiet: bool, as_json: bool, overrides: dict[str, str], **options: Any
) -> None:
    """Score conversations with a model folder, or with the best model of a run.

    INPUT is a file of rows, or - for JSON lines on stdin. A row holds messages, a prompt with one or several responses,
    or answers in any shape of training. OUTPUT receives every row with scores added, in the same order. After an
    interruption, the same command continues where scoring stopped.

    MODEL may be a reward model of another trainer, without bradley.json: then --template, --pooling and --pad say what
    the folder does not show.
    """
    if quiet and as_json:
        raise UserError("--quiet and --json are both given", "--json already says nothing on stdout but the result")
    if as_json and output == "-":
        raise UserError("--json and -o - are both given, and stdout holds either", "give a file as -o OUTPUT")
    from ..config.load import data_settings

    # Before torch is imported: a mistyped setting is reported at once.
    data = data_settings([source], overrides).data
    from ..model.folder.save_load import Assumed
    from ..scoring.file import How, score_file
    from ..scoring.summary import show

    assumed = Assumed(options.pop("template"), options.pop("pooling") or "", options.pop("pad"))
    run = {name: options.pop(name) for name in ("device", "restart", "trust_remote_code", "base", "accept_edits")}
    progress = "json" if as_json else "quiet" if quiet else "bar"
    how = How(**{**options, "over_long": options["over_long"] or ""})
    found = score_file(model, source, output, how, progress=progress, data=data, assumed=assumed, **run)
    # With `-o -` stdout carries the scored rows, so the summary goes to stderr.
    if found and not (quiet and output == "-"):
        click.echo(json.dumps(found) if as_json else show(found), err=output == "-")
