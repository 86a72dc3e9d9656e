"""`bradley plot` and `bradley configs`: redraw figures, and list configurations."""

from pathlib import Path

import click

from ..errors import UserError
from ..runs.layout import METRICS


@click.command()
@click.argument("path", type=click.Path(path_type=Path), metavar="RUN|FILE.csv")
@click.option(
    "--x",
    type=click.Choice(["step", "episode", "epoch", "minutes"]),
    help="Axis of the curves [default: step; for rewards the episode, and the minutes too].",
)
def plot(path: Path, x: str | None) -> None:
    """Redraw a run's figures and report, or draw the columns of a CSV file.

    RUN is a folder written by `bradley train`; no other file is read. For FILE.csv, every numeric column is drawn over
    the column `step`, into FILE.png; a column `set` splits the lines by set.
    """
    if path.is_file() or path.suffix == ".csv":
        from ..report.page import plot_csv

        picture, columns = plot_csv(path, x or "step")
        click.echo(picture)
        for name, reason in columns.left_out.items():
            click.echo(f"not drawn: {name}, {reason}", err=True)
        return
    # Checked before matplotlib is imported, which takes seconds or may be missing.
    if not (path / METRICS).is_file():
        raise UserError(
            f"{path} is not a run folder: it has no metrics.jsonl", "give the folder that `bradley train` wrote"
        )
    from ..report.page import plot_run, write_report

    for written in [*plot_run(path, x), write_report(path)]:
        click.echo(written)


@click.command()
def configs() -> None:
    """List the configurations in configs/."""
    files = sorted(Path("configs").rglob("*.toml"))
    if not files:
        raise UserError("there is no configs/*.toml in this folder", "change to the folder that holds configs/")
    width = max(len(str(file)) for file in files)
    for file in files:
        first = file.read_text(encoding="utf-8").partition("\n")[0]
        click.echo(f"{file!s:<{width}}  {first.lstrip('# ')}" if first.startswith("#") else file)
