"""Figures behind the headline: calibration in words, and a table of further figures of each set."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ..runs.reader import Json
from .filters import percent, score, three

VERDICTS = {True: "right", False: "wrong", None: "tie"}


class Detail(NamedTuple):
    """A row of the table: name, meaning, and a formatted value per set."""

    name: str
    meaning: str
    values: list[str]


def details(sets: Mapping[str, Json]) -> list[Detail]:
    """Fill in the table of `DETAILS` from summaries by set."""
    return [
        Detail(name, meaning, [write(each) for each in sets.values()]) for name, (meaning, write) in DETAILS.items()
    ]


# Summaries of earlier versions lack some figures, hence `get`: a missing figure becomes a dash, and the page appears.
DETAILS: dict[str, tuple[str, Callable[[Json], str]]] = {
    "AUROC": (
        "how often a random chosen response scores above a random rejected one, of any prompt",
        lambda figures: three(figures.get("auroc")),
    ),
    "ECE": (
        "mean distance between stated confidence and accuracy",
        lambda figures: three((figures.get("calibration") or {}).get("ece")),
    ),
    "chosen score": (
        "mean ± standard deviation",
        lambda figures: _plus_minus(figures.get("chosen_reward"), figures.get("chosen_reward_std")),
    ),
    "rejected score": (
        "mean ± standard deviation",
        lambda figures: _plus_minus(figures.get("rejected_reward"), figures.get("rejected_reward_std")),
    ),
    "margin": (
        "chosen − rejected, mean ± standard deviation",
        lambda figures: _plus_minus(figures["margin"]["mean"], figures["margin"]["std"]),
    ),
    "margin, 5 % to 95 %": (
        "quantiles",
        lambda figures: f"{score(figures['margin']['p05'])} to {score(figures['margin']['p95'])}",
    ),
    "negative margins": ("ranked against the label", lambda figures: percent(figures["margin"].get("negative_share"))),
    "mean probability": ("of the labelled side", lambda figures: percent(figures.get("mean_probability"))),
    "above 99 %": ("judgments with a probability above 0.99", lambda figures: percent(figures.get("share_above_99"))),
    "largest score": ("in absolute value", lambda figures: score(figures.get("max_abs_score")).removeprefix("+")),
    "score and length": (
        "correlation of score and response tokens",
        lambda figures: score(figures.get("length_correlation")),
    ),
    "margin and length": (
        "correlation of margin and difference in response tokens",
        lambda figures: score(figures.get("margin_length_correlation")),
    ),
    "extra tokens": (
        "of the chosen response, mean ± standard deviation",
        lambda figures: _difference(figures.get("length_difference") or {}),
    ),
}


def has_bins(figures: Json) -> bool:
    """Return True if a summary holds a calibration error, and a bin with judgments."""
    known = figures.get("calibration") or {}
    return known.get("ece") is not None and any(filled(entry) for entry in known["bins"])


def filled(entry: Mapping[str, Any]) -> bool:
    """Return True for a bin with judgments; empty bins hold None instead of means."""
    return entry["n"] > 0 and entry["confidence"] is not None and entry["accuracy"] is not None


def calibration_sentences(figures: Json) -> list[str]:
    """Calibration as a list of a single sentence; empty if unknown."""
    if not has_bins(figures):
        return []
    bins = [entry for entry in figures["calibration"]["bins"] if filled(entry)]
    judgments = sum(entry["n"] for entry in bins)
    confidence, accuracy = (
        sum(entry["n"] * entry[name] for entry in bins) / judgments for name in ("confidence", "accuracy")
    )
    ece = f"{100 * figures['calibration']['ece']:.1f} points"
    claim = f"it claims {percent(confidence)} and is right in {percent(accuracy)}"
    return [f"Its probabilities are off by {ece} on average (ECE, ten bins): over all judgments {claim}."]


def last_samples(lines: Sequence[Json]) -> list[Json]:
    """Samples of each set at its last evaluated step: `set`, `step`, `right`, `n` (ties aside) and `rows`.

    Each row gets a `verdict`: right, wrong or tie.

    Args:
        lines: lines of `eval/samples.jsonl`, in the order of the file.
    """
    # Later lines overwrite earlier lines of the same set, which leaves the last step.
    newest = {line["set"]: line for line in lines}
    return [_set(line) for line in newest.values() if line["rows"]]


def _plus_minus(mean: Any, deviation: Any) -> str:
    return f"{score(mean)} ± {score(deviation).removeprefix('+')}"


def _difference(difference: Json) -> str:
    return _plus_minus(difference.get("mean"), difference.get("std"))


def _set(line: Json) -> Json:
    rows = [{**row, "verdict": VERDICTS[row.get("correct")]} for row in line["rows"]]
    verdicts = [row["verdict"] for row in rows]
    return {
        "set": line["set"],
        "step": line["step"],
        "right": verdicts.count("right"),
        "n": len(verdicts) - verdicts.count("tie"),
        "rows": rows,
    }
