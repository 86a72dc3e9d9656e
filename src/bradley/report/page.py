"""A run folder as one self-contained HTML page, and its figures as files."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..common.files import write_bytes, write_text
from ..errors import UserError
from ..runs.reader import RunData, read_run
from . import plots
from .details import has_bins
from .filters import FILTERS, examples
from .plots import style
from .plots.csv_columns import Columns, read_columns
from .view import page_context, primary_set, scored_rows, summaries

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup
    from matplotlib.figure import Figure


def file_figures(run: RunData, x: str | None = None) -> Iterator[tuple[str, "Figure"]]:
    """Name and figure of everything that `plots/` shows, over the axis `x`; see `page.plot_run`."""
    events, timing, axis = run.events, run.timing, x or "step"
    yield "training", plots.training_figure(events, axis, timing)
    yield from _rewards(run, x)
    if plots.term_names(events):
        yield "terms", plots.terms_figure(events, axis, timing)
    if plots.gap_points(events):
        yield "gap", plots.gap_figure(events, axis, timing)
    if run.distributions:
        yield "scores", plots.distributions_figure(run.distributions, events, axis, timing)
    yield from _without_axis(run)


def course_figures(run: RunData) -> Iterator["Figure"]:
    """The curves of the training, one panel each."""
    yield from plots.training_panels(run.events).values()
    if plots.term_names(run.events):
        yield plots.terms_figure(run.events)


def outcome_figures(run: RunData) -> Iterator["Figure"]:
    """What came of the training, one panel each: gap, scores, calibration, lengths."""
    sets = summaries(run)
    name = primary_set(sets) or ""
    rows = scored_rows(run, name)
    if plots.gap_points(run.events):
        yield plots.gap_figure(run.events)
    if run.distributions:
        first = plots.distribution_sets(run.distributions)[:1]
        yield plots.distributions_figure(run.distributions, run.events, sets=first)
    if rows:
        yield plots.score_figure(rows)
        yield plots.length_figure(plots.response_lengths(rows))
    if name and has_bins(sets[name]):
        yield plots.reliability_figure(sets[name]["calibration"], f"Calibration on {name}")


def length_figures(run: RunData) -> Iterator[tuple[str, "Figure"]]:
    """Every split and the lengths of its texts in tokens."""
    for name, histograms in plots.split_histograms(run.data_report).items():
        yield name, plots.token_lengths_figure({name: histograms}, "Token lengths")


def _without_axis(run: RunData) -> Iterator[tuple[str, "Figure"]]:
    splits = plots.split_histograms(run.data_report)
    if splits:
        yield "lengths", plots.token_lengths_figure(splits)
    sets = summaries(run)
    name = primary_set(sets)
    if name and has_bins(sets[name]):
        yield "calibration", plots.reliability_figure(sets[name]["calibration"], f"Calibration on {name}")


def _rewards(run: RunData, x: str | None) -> Iterator[tuple[str, "Figure"]]:
    if not plots.has_rewards(run.events):
        return
    axis = "episode" if any("episode" in event for event in run.events) else "step"
    yield "rewards", plots.rewards_figure(run.events, x or axis, run.timing)
    if x is None and run.timing:
        yield "rewards-minutes", plots.rewards_figure(run.events, "minutes", run.timing)


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
    page = _template().render(**page_context(run), figures=_figures(run), lengths=_lengths(run))
    write_bytes(path, page.encode("utf-8", "replace"))  # data sets hold lone surrogates, which UTF-8 does not
    return path


def plot_run(run_folder: Path, x: str | None = None) -> list[Path]:
    """Write the figures of a run into its `plots/`, each as PNG and SVG, and return their paths.

    Always `training`; as far as the run has what they show, `rewards`, `terms` of the objective, the overfitting `gap`,
    `scores` over the evaluations, token `lengths` and `calibration`. `x` is what the curves are drawn over, one
    of `plots.AXES`. Without it that is the step, except for `rewards`: they are drawn over the episode, and over the
    minutes too where the run timed its steps (`rewards-minutes`).

    Raises:
        UserError: the run does not say where on `x` its steps lie. The rest as `write_report`.
    """
    run = read_run(run_folder)
    return [path for name, figure in file_figures(run, x) for path in _write(run.folder / "plots" / name, figure)]


def plot_csv(path: Path, x: str = "step") -> tuple[Path, Columns]:
    """Draw every numeric column of a CSV file over its column `x`, as a PNG beside it.

    Returns:
        The path of the PNG, and the columns, which say what was left out.

    Raises:
        UserError, DataError: as `read_columns`; matplotlib is not installed.
        DiskError: the figure could not be written.
    """
    columns = read_columns(path, x)
    png = path.with_suffix(".png")
    if png == path:
        raise UserError(f"{path} is called like the picture that would be drawn of it", "rename it to end with .csv")
    write_bytes(png, style.png_bytes(plots.table_figure(columns)))
    return png, columns


def _write(stem: Path, figure: "Figure") -> list[Path]:
    png, svg = stem.with_suffix(".png"), stem.with_suffix(".svg")
    write_bytes(png, style.png_bytes(figure))
    write_text(svg, style.svg_text(figure))
    return [png, svg]


def _figures(run: RunData) -> list[list["Markup"]]:
    """Two groups: the curves of the training, and what came of it."""
    groups = [course_figures(run), outcome_figures(run)]
    return [[_inline(figure, f"f{i}-{k}-") for k, figure in enumerate(group)] for i, group in enumerate(groups)]


def _lengths(run: RunData) -> dict[str, "Markup"]:
    """The token lengths of each split, by its name."""
    return {name: _inline(figure, f"l{i}-") for i, (name, figure) in enumerate(length_figures(run))}


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
    environment.filters.update(FILTERS, examples=examples)
    return environment.get_template("page.html.jinja")
