"""Audit of preference data: every question about a set, answered in two passes over its rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..common.console import Console
from ..common.signals import check as check_stopping
from ..data.render import Renderer
from ..records import ScoredComparison
from . import agreement, conflicts, duplicates, labels, overlap, refusals, wrong_labels
from .finding import Finding
from .hashing import WordHashes
from .linear import PairFeatures, cross_fitted
from .rows import RowSet
from .surface import Surface
from .tokens import TokenFigures

WITHOUT_TOKENIZER = (
    "no tokenizer: pairs that tokenising or truncation makes equal are not looked for, and lengths are words; "
    "add --model.tokenizer or --model.path"
)
WITHOUT_NEAR = "near duplicates were not looked for"
AT_CHANCE = (
    "the model ranks held-out labels no better than chance: its ranking of likely wrong labels says little; give the "
    "scores of a better model with --scores"
)
ONE_SIDE = "every decided pair has its better response first: the order of the sides was not kept, or was never drawn"


@dataclass(frozen=True, slots=True)
class Options:
    """Choices of an audit.

    Attributes:
        near: least similarity of near duplicates; None to leave the search out.
        top: rows shown of the ranking of likely wrong labels.
        seed: seed of the folds.
        scores: scored rows of a reward model, and the name of their file; None for the linear model.
    """

    near: float | None = 0.8
    top: int = 10
    seed: int = 0
    scores: tuple[str, Sequence[ScoredComparison]] | None = None


@dataclass(frozen=True, slots=True)
class Audited:
    """Result of an audit.

    Attributes:
        rows: the rows.
        figures: everything that was found, ready for JSON.
        findings: rows with faults, by name.
        ranking: likely wrong labels.
    """

    rows: RowSet
    figures: dict[str, Any]
    findings: Mapping[str, Finding]
    ranking: wrong_labels.Ranking


def audit(
    rows: RowSet,
    others: Sequence[RowSet] = (),
    renderer: Renderer | None = None,
    options: Options | None = None,
    console: Console | None = None,
) -> Audited:
    """Look for faults in a set, and describe its labels and texts.

    Args:
        rows: the set.
        others: sets in which prompts of `rows` are looked for, benchmarks among them.
        renderer: tokenizer and limits; None to count words alone.
        options: choices; None for the defaults.
        console: shows the progress; None for no output.

    Raises:
        DataError: scores of other rows.
        StopRequested: the process was asked to stop.
        UserError: the library of near duplicates is not installed.

    Example:
        audit(read_set("train", "train.jsonl", Data(), Console("quiet"))).figures["findings"]["exact"]["rows"]
    """
    chosen, console = options or Options(), console or Console("quiet")
    columns = rows.columns
    words, surface, features = WordHashes(), Surface(), None if chosen.scores else PairFeatures()
    signatures = None if chosen.near is None else duplicates.Signatures(rows, chosen.near)
    with console.progress(len(rows), f"reading the texts of {rows.name}") as bar:
        for number in range(len(rows)):
            check_stopping()
            comparison = rows.pool[number]
            surface.add(comparison)
            if features is not None:
                features.add(comparison, words)
            if signatures is not None:
                signatures.add(number, comparison, words)
            bar.advance()
    tokens = None if renderer is None else _tokens(rows, renderer, console)
    findings = {
        "exact": duplicates.exact(rows),
        **({"near": signatures.finding(words)} if signatures is not None else {}),
        "contradictions": conflicts.contradictions(rows),
        "intransitive": conflicts.cycles(rows),
        "identical": conflicts.single(rows, "identical"),
        **({"same-tokens": tokens.finding()} if tokens else {}),
        "empty": conflicts.single(rows, "empty"),
        **({"shared": overlap.shared(rows, others)} if others else {}),
    }
    ranked = _ranking(rows, features, chosen, console)
    figures = {
        "name": rows.name,
        "files": [{"path": s.name, "format": f} for s, f in zip(rows.sources, rows.formats, strict=True)],
        "rows": len(rows) + len(rows.unusable),
        "comparisons": len(rows),
        "prompts": len(np.unique(columns.topic)),
        "left_out": rows.left_out,
        "findings": {name: finding.figures(rows) for name, finding in findings.items()},
        "labels": labels.labels(rows, surface.margins, surface.unmarked),
        "agreement": agreement.agreement(rows),
        "lengths": {"words": surface.lengths(columns), **({"tokens": tokens.quantiles()} if tokens else {})},
        "shortcuts": surface.shortcuts(columns),
        "refusals": _refusals(rows, surface),
        "languages": surface.languages(columns),
        "wrong_labels": wrong_labels.figures(rows, ranked, chosen.top),
    }
    return Audited(rows, {**figures, "notes": _notes(figures, renderer, chosen)}, findings, ranked)


def _tokens(rows: RowSet, renderer: Renderer, console: Console) -> TokenFigures:
    found, done = TokenFigures(), 0
    with console.progress(len(rows), f"tokenising {rows.name}") as bar:
        while done < len(rows):
            check_stopping()
            read = found.add(rows, done, renderer)
            done += read
            bar.advance(read)
    return found


def _refusals(rows: RowSet, surface: Surface) -> dict[str, Any]:
    columns, refuses = rows.columns, surface.feature("refusal")
    decided = columns.probability != 0.5
    prompt = columns.of_judgments(columns.topic)[decided]
    return refusals.refusals(refuses[columns.better[decided]], refuses[columns.worse[decided]], prompt)


def _ranking(rows: RowSet, features: PairFeatures | None, options: Options, console: Console) -> wrong_labels.Ranking:
    if features is None:
        assert options.scores is not None
        path, scored = options.scores
        return wrong_labels.ranking(rows, wrong_labels.margins_of(rows, scored, path), path)
    features.finish()
    columns = rows.columns
    prompt = columns.of_judgments(columns.topic)[columns.probability != 0.5]
    count = len(np.unique(prompt))
    if count < wrong_labels.LEAST_PROMPTS:
        reason = f"{count} prompts with decided judgments, and a linear model needs {wrong_labels.LEAST_PROMPTS}"
        return wrong_labels.unranked(rows, reason)
    with console.progress(None, "fitting the linear model, passes") as bar:
        margin = cross_fitted(features, prompt, options.seed, bar.advance)
    return wrong_labels.ranking(rows, margin, "linear")


def _notes(found: Mapping[str, Any], renderer: Renderer | None, options: Options) -> list[str]:
    """Sentences about figures that are absent, or say little."""
    notes = [WITHOUT_TOKENIZER] if renderer is None else []
    notes += [WITHOUT_NEAR] if options.near is None else []
    accuracy = found["wrong_labels"]["accuracy"]
    notes += [AT_CHANCE] if accuracy["low"] is not None and accuracy["low"] <= 0.5 else []
    notes += [ONE_SIDE] if found["labels"]["first_preferred"]["value"] == 1.0 else []
    return notes
