"""`bradley data`: inspect preference files before training."""

import json
import os
import sys
from typing import Any

import click

from ..common.console import Console
from ..errors import UserError
from .options import SettingsCommand

ALSO_OF_DATA = ("seed", "model.path", "model.tokenizer", "model.vocab_size", "model.trust_remote_code")
"""Options of `bradley data` besides the settings of the sections data and render."""


@click.command(
    cls=SettingsCommand,
    choose=lambda name: name in ALSO_OF_DATA or (name.startswith(("data.", "render.")) and name != "data.train"),
)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--tokens", is_flag=True, help="Show the first comparisons token by token.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def data(files: tuple[str, ...], tokens: bool, as_json: bool, overrides: dict[str, str]) -> None:
    """Inspect preference files: format, counts, lengths, samples.

    Shows the detected format, counts with a reason for every dropped row, lengths, and the first rows as read by a
    model. Token counts need --model.tokenizer or --model.path.
    """
    from ..config.load import data_settings
    from ..data.preview import preview, show

    settings = data_settings(files, overrides)
    if tokens and as_json:
        raise UserError("--tokens and --json are both given", "--json holds the first comparisons decoded as `samples`")
    if tokens and not (settings.model.path or settings.model.tokenizer):
        raise UserError("--tokens needs a tokenizer", "add --model.tokenizer FOLDER or --model.path FOLDER")
    color = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    shown: dict[str, Any] = {"tokens": tokens, "color": color, "console": Console()}
    found = preview(settings.data, settings.render, settings.model, settings.seed, **shown)
    click.echo(json.dumps(found) if as_json else show(found))
