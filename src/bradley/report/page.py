"""A run folder as one self-contained HTML page, and its figures as files."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from bradley.files import write_bytes, write_text
from bradley.report import plots, style
from bradley.report.filters import FILTERS
from bradley.report.run_folder import RunData, read_run
from bradley.report.view import page_context, primary_set, scored_rows, summaries

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup
    from matplotlib.figure import Figure

THEMED = {style.INK: "var(--ink)", style.MUTED: "var(--muted)", style.GRID: "var(--grid)"} | {
    style.BLUE: "var(--blue)",
    style.ORANGE: "var(--orange)",
}


def write_report(run_folder: Path) -> Path:
    """Write `report.html` into a run folder and return its path.

    The page needs nothing beside itself: no script, no remote asset, and a policy that forbids both. Texts of the data
    set are escaped, whatever they hold.

    Raises:
        UserError: `run_folder` is not a run folder, or matplotlib is not installed.
        DataError: a file of the run is broken.
        DiskError: the page could not be written.
    """
    run = read_run(run_folder)
    path = run.folder / "report.html"
    page = _template().render(**page_context(run), figures=_figures(run))
    write_bytes(path, page.encode("utf-8", "replace"))  # data sets hold lone surrogates, which UTF-8 does not
    return path


def plot_run(run_folder: Path) -> list[Path]:
    """Write `plots/training` and, where a train probe was evaluated, `plots/gap`, each as PNG and SVG.

    Raises: as `write_report`.
    """
    run = read_run(run_folder)
    figures = {"training": plots.training_figure(run.events)}
    if plots.gap_points(run.events):
        figures["gap"] = plots.gap_figure(run.events)
    return [path for name, figure in figures.items() for path in _write_figure(run.folder / "plots" / name, figure)]


def _write_figure(stem: Path, figure: "Figure") -> list[Path]:
    png, svg = stem.with_suffix(".png"), stem.with_suffix(".svg")
    write_bytes(png, style.png_bytes(figure))
    write_text(svg, style.svg_text(figure))
    return [png, svg]


def _figures(run: RunData) -> list[list["Markup"]]:
    """Two groups: the curves of the training, and what came of it."""
    outcome = [plots.gap_figure(run.events)] if plots.gap_points(run.events) else []
    rows = scored_rows(run, primary_set(summaries(run)) or "")
    if rows:
        outcome += [plots.score_figure(rows), plots.length_figure(plots.response_lengths(rows))]
    groups = [list(plots.training_panels(run.events).values()), outcome]
    return [[_inline(figure, f"f{i}-{k}-") for k, figure in enumerate(group)] for i, group in enumerate(groups)]


def _inline(figure: "Figure", prefix: str) -> "Markup":
    """The figure in the colours of the page, its ids apart from other figures'. matplotlib has escaped its texts."""
    from markupsafe import Markup

    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{prefix}", style.svg_text(figure))
    for colour, variable in THEMED.items():
        text = text.replace(colour, variable)
    return Markup(text)


def _template() -> "Template":
    from jinja2 import ChainableUndefined, Environment, FileSystemLoader

    folder = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=folder, autoescape=True, undefined=ChainableUndefined, trim_blocks=True)
    environment.filters.update(FILTERS)
    return environment.get_template("page.html.jinja")
