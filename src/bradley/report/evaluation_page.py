"""Evaluation of one or several sets as a self-contained HTML page."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import plots
from .details import filled
from .evaluation_view import overview, set_context
from .html import inline_figure, load_template, refuse_page, write_page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_NAMED = 3
"""Most sets whose names stand in the title."""
SPREAD_NOTE = (
    "Dot: median. Box: the middle half. Thick line: 5 % to 95 %. Thin line: up to the smallest and largest value, cut "
    "at the edge. The margin is the score of the preferred minus the score of the other response: left of 0 the model "
    "contradicts the label."
)
RELIABILITY_NOTE = (
    "Each dot is a bin with about as many judgments as the others. Above the diagonal the model is right more often "
    "than it claims, below less often. Noise in the bins adds to this ECE; the debiased ECE leaves the noise out."
)
LENGTH_NOTE = "Accuracy where the two responses have this mean length, with 95 % intervals and judgments beside."


def write_evaluation(path: Path, sets: Mapping[str, dict[str, Any]], facts: Sequence[tuple[str, str]]) -> Path:
    """Write a page of evaluations, and return its path.

    The page needs no other file: no script, no remote asset, and a content policy forbids both. Every value is escaped.

    Args:
        path: the page; an existing file is replaced only if bradley wrote the file.
        sets: result of `evaluate.evaluation.evaluation` by name of the set, at least one. Further keys of a result are
            shown as tables: `shortcuts`, `style`, `benchmark`, and `temperature` of `temperature_figures`.
        facts: (name, value) under the title, such as the files of scores and data.

    Raises:
        RunFolderError: `path` is a link, a folder, or a file that bradley did not write.
        UserError: matplotlib is not installed.
        DiskError: the page could not be written.

    Example:

        write_evaluation(Path("evaluation.html"), {"test": evaluation(rows)}, [("scores", "scores.jsonl")])
    """
    # Before the figures, which take seconds.
    refuse_page(path)
    shown = [
        {**set_context(name, found), "worst": found["worst"], "figures": _inlined(found, f"s{number}")}
        for number, (name, found) in enumerate(sets.items())
    ]
    scale, rows = overview(sets)
    title = f"Evaluation on {', '.join(sets) if len(sets) <= MOST_NAMED else f'{len(sets)} sets'}"
    text = load_template("evaluation.html.jinja").render(title=title, facts=facts, sets=shown, scale=scale, rows=rows)
    return write_page(path, text)


def evaluation_figures(found: Mapping[str, Any]) -> Iterator[tuple["Figure", str]]:
    """Yield each figure of a set with a sentence: calibration, spread of scores and margins, accuracy by length."""
    calibration = found["calibration"]["equal_mass"]
    if any(filled(entry) for entry in calibration["bins"]):
        yield plots.reliability_figure(calibration, "Calibration", "ECE of equal-mass bins"), RELIABILITY_NOTE
    margins = {name: one["value"] for name, one in found["figures"]["margin_quantiles"].items()}
    if found["scores"]["chosen"]["n"]:
        spreads = {"preferred": found["scores"]["chosen"], "other": found["scores"]["rejected"], "margin": margins}
        yield plots.spread_figure(spreads, "Scores and margin"), SPREAD_NOTE
    if "length" in found["slices"]:
        yield plots.length_accuracy_figure(found["slices"]["length"], found["lengths"]), LENGTH_NOTE


def _inlined(found: Mapping[str, Any], prefix: str) -> list[Any]:
    return [
        (inline_figure(figure, f"{prefix}-{number}-"), note)
        for number, (figure, note) in enumerate(evaluation_figures(found))
    ]
