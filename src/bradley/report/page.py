"""A run folder as a self-contained HTML page, and figures as files."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..common.files import write_bytes, write_text
from ..common.ownership import is_ours, real_path, refuse_link
from ..errors import RunFolderError, UserError
from ..runs.layout import PLOTS, REPORT, RUN_MARKS
from ..runs.run import RunFolder, read_run
from . import plots
from .details import has_bins
from .html import inline_figure, load_template
from .plots import style
from .plots.csv_columns import Columns, read_columns
from .view import page_context, primary_set, scored_rows, summaries

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.figure import Figure


def write_report(run_folder: Path | str) -> Path:
    """Write `report.html` into a run folder and return the path of the page.

    The page needs no other file: no script, no remote asset, and a content policy forbids both. Every value is escaped,
    in text, attributes and figures: markup, control characters, and characters that turn the direction of a text.

    Raises:
        UserError: `run_folder` is not a run folder, or matplotlib is not installed.
        DataError: a file of the run is broken.
        DiskError: the page could not be written.
        RunFolderError: no file says that bradley wrote the folder.

    Example:

        import bradley

        print(bradley.write_report("runs/first"))  # runs/first/report.html
    """
    run = read_run(run_folder)
    _refuse_foreign(run.folder)
    path = run.folder / REPORT
    template = load_template("page.html.jinja")
    write_text(path, template.render(**page_context(run), figures=_figures(run), lengths=_lengths(run)))
    return path


def plot_run(run_folder: Path | str, x: Literal["step", "episode", "epoch", "minutes"] | None = None) -> list[Path]:
    """Write the figures of a run into its folder `plots/`, each as PNG and SVG, and return all paths.

    Every run has the figure `training`. The others depend on the data of the run: `rewards`, `terms` of the objective,
    the overfitting `gap`, `scores` over the evaluations, token `lengths`, `calibration`.

    Args:
        run_folder: folder of a run.
        x: axis of the curves, an entry of `plots.AXES`: `step`, `episode`, `epoch` or `minutes`. The default is the
            step. Without `x`, `rewards` are drawn over the episode, and over the minutes too (`rewards-minutes`) if
            the run timed its steps.

    Raises:
        UserError: the run has no values of `x`, or as for `write_report`.
        DataError, DiskError: as for `write_report`.
        RunFolderError: no file says that bradley wrote the folder, or `plots/` is a link.

    Example:

        import bradley

        for path in bradley.plot_run("runs/first", x="epoch"):
            print(path)  # runs/first/plots/training.png, ...
    """
    run = read_run(run_folder)
    _refuse_foreign(run.folder)
    # Through a link, figures of another owner would be replaced.
    refuse_link(run.folder / PLOTS)
    return [path for name, figure in file_figures(run, x) for path in _write(run.folder / PLOTS / name, figure)]


def plot_csv(path: Path, x: str = "step") -> tuple[Path, Columns]:
    """Draw every numeric column of a CSV file over the column `x`, as a PNG beside the file.

    Returns:
        The path of the PNG, and the columns, including the names of columns left out.

    Raises:
        UserError: as for `read_columns`, or matplotlib is not installed.
        DataError: as for `read_columns`.
        DiskError: the figure could not be written.
        RunFolderError: the name of the PNG belongs to a file that bradley did not draw, or to a link.
    """
    columns = read_columns(path, x)
    png = path.with_suffix(".png")
    if png == path:
        raise UserError(f"{path} is called like the picture that would be drawn of it", "rename it to end with .csv")
    refuse_link(png)
    if png.exists() and not style.is_drawn_here(png):
        raise RunFolderError(
            f"{png} exists, and bradley did not draw the picture", "move the picture, or rename the CSV"
        )
    write_bytes(png, style.png_bytes(plots.table_figure(columns)))
    return png, columns


def _refuse_foreign(folder: Path) -> None:
    """Raise `RunFolderError` for a folder that no file of ours calls a run: its files may have another owner."""
    if not is_ours(real_path(folder), RUN_MARKS):
        names = ", ".join(mark.name for mark in RUN_MARKS)
        raise RunFolderError(
            f"{folder} is not a run of bradley: it has none of {names}",
            "draw the metrics.csv alone: bradley plot FILE.csv",
        )


def file_figures(run: RunFolder, x: str | None = None) -> Iterator[tuple[str, "Figure"]]:
    """Yield name and figure of each file in `plots/`, over the axis `x`; see `plot_run`."""
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


def course_figures(run: RunFolder) -> Iterator["Figure"]:
    """Yield the training curves for the page, a panel each."""
    yield from plots.training_panels(run.events).values()
    if plots.term_names(run.events):
        yield plots.terms_figure(run.events)


def outcome_figures(run: RunFolder) -> Iterator["Figure"]:
    """Yield the figures of the trained model, a panel each: gap, scores, lengths, calibration."""
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


def length_figures(run: RunFolder) -> Iterator[tuple[str, "Figure"]]:
    """Yield each split with a figure of its text lengths in tokens."""
    for name, histograms in plots.split_histograms(run.data_report).items():
        yield name, plots.token_lengths_figure({name: histograms}, "Token lengths")


def _rewards(run: RunFolder, x: str | None) -> Iterator[tuple[str, "Figure"]]:
    if not plots.has_rewards(run.events):
        return
    axis = "episode" if any("episode" in event for event in run.events) else "step"
    yield "rewards", plots.rewards_figure(run.events, x or axis, run.timing)
    if x is None and run.timing:
        yield "rewards-minutes", plots.rewards_figure(run.events, "minutes", run.timing)


def _without_axis(run: RunFolder) -> Iterator[tuple[str, "Figure"]]:
    splits = plots.split_histograms(run.data_report)
    if splits:
        yield "lengths", plots.token_lengths_figure(splits)
    sets = summaries(run)
    name = primary_set(sets)
    if name and has_bins(sets[name]):
        yield "calibration", plots.reliability_figure(sets[name]["calibration"], f"Calibration on {name}")


def _write(stem: Path, figure: "Figure") -> list[Path]:
    png, svg = stem.with_suffix(".png"), stem.with_suffix(".svg")
    write_bytes(png, style.png_bytes(figure))
    write_text(svg, style.svg_text(figure))
    return [png, svg]


def _figures(run: RunFolder) -> list[list["Markup"]]:
    """Figures of the page in two groups: training curves, and the trained model."""
    groups = [course_figures(run), outcome_figures(run)]
    return [[inline_figure(figure, f"f{i}-{k}-") for k, figure in enumerate(group)] for i, group in enumerate(groups)]


def _lengths(run: RunFolder) -> dict[str, "Markup"]:
    """Figures of the token lengths, by name of the split."""
    return {name: inline_figure(figure, f"l{i}-") for i, (name, figure) in enumerate(length_figures(run))}
