"""`bradley plot` and `bradley configs`: redraw figures, and list configurations."""

from pathlib import Path
from typing import Literal

import click

from ..common.console import to_stderr
from ..common.text import cut_middle, message_line
from ..errors import UserError
from ..runs.layout import METRICS
from .options import PathName

LONGEST_REMARK = 200
"""Longest first line of a configuration in the list, in characters."""


@click.command()
@click.argument("path", type=PathName(), metavar="RUN|FILE.csv")
@click.option(
    "--x",
    type=click.Choice(["step", "episode", "epoch", "minutes"]),
    help="Axis of the curves [default: step; for rewards the episode, and the minutes too].",
)
def plot(path: Path, x: Literal["step", "episode", "epoch", "minutes"] | None) -> None:
    """Redraw a run's figures and report, or draw the columns of a CSV file.

    RUN is a folder written by `bradley train`; no other file is read. For FILE.csv, every numeric column is drawn over
    the column `step`, into FILE.png; a column `set` splits the lines by set.
    """
    if path.is_file() or path.suffix == ".csv":
        from ..report.page import plot_csv

        picture, columns = plot_csv(path, x or "step")
        click.echo(message_line(str(picture)))
        for name, reason in columns.left_out.items():
            to_stderr(f"not drawn: {name}, {reason}")
        return
    # Checked before matplotlib is imported, which takes seconds or may be missing.
    if not (path / METRICS).is_file():
        raise UserError(
            f"{path} is not a run folder: it has no metrics.jsonl", "give the folder that `bradley train` wrote"
        )
    from ..report.page import plot_run, write_report

    for written in [*plot_run(path, x), write_report(path)]:
        click.echo(message_line(str(written)))


@click.command()
def configs() -> None:
    """List the configurations in configs/, and those that come with bradley as preset:NAME."""
    from ..config.toml import PRESET, preset_files, read_source

    def first_line(file: Path) -> str:
        """Return the first line of a configuration; for an unusable file, the reason in the same form."""
        try:
            return cut_middle(read_source(file).partition("\n")[0], LONGEST_REMARK)
        except UserError as error:
            return f"# ({error.message.removeprefix(f'configuration {file} ').removeprefix(f'{file}: ')})"

    # Texts of the paths: a sort of paths would compare parts, and a name that is no UTF-8 is shown escaped.
    files = {message_line(str(file)): first_line(file) for file in sorted(Path("configs").rglob("*.toml"))}
    files |= {f"{PRESET}{file.stem}": first_line(file) for file in preset_files()}
    width = max(map(len, files))
    for name, first in files.items():
        click.echo(f"{name:<{width}}  {message_line(first.lstrip('# '))}" if first.startswith("#") else name)
