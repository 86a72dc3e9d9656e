"""Show a few comparisons of each evaluation set, always the same, with the model's scores."""

from collections.abc import Mapping, Sequence
from typing import Any

from ...common.seeds import generator
from ...data.preview import plain_text
from ...records import Comparison, ScoredComparison
from ...report.details import VERDICTS

SHOWN = 44
"""Characters of each text on the screen."""
Chosen = dict[int, Comparison]
"""Comparisons by their index in their set."""


def choose(sets: Mapping[str, Sequence[Comparison]], count: int, seed: int) -> dict[str, Chosen]:
    """Draw the samples of every set: `count` comparisons, or all of a smaller set; the same for the same seed.

    Args:
        sets: comparisons by set name.
        count: samples per set; 0 draws none.
        seed: of the run.
    """
    return {name: _choose(rows, min(count, len(rows)), seed, name) for name, rows in sets.items() if count}


def sample_rows(chosen: Chosen, scored: Sequence[ScoredComparison]) -> list[dict[str, Any]]:
    """Return the first judgment of each sample: id, texts, both scores, and the model's agreement.

    `correct` is None if the label or the scores are tied.

    Args:
        chosen: the samples of a set.
        scored: a row for every comparison of the set.
    """
    return [_sample(comparison, scored[place]) for place, comparison in chosen.items()]


def sample_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the samples as lines for the screen: scores, agreement, end of the prompt, start of both responses."""
    return [
        f"  {row['chosen_score']:+8.3f} {row['rejected_score']:+8.3f}  {VERDICTS[row['correct']]:<5}  "
        f"{_end(row['prompt'])} | {_start(row['chosen'])} | {_start(row['rejected'])}"
        for row in rows
    ]


def _choose(rows: Sequence[Comparison], count: int, seed: int, name: str) -> Chosen:
    # The set's name is part of the seed, hence a further set leaves the samples of the others unchanged.
    places = generator(seed, "samples", name).choice(len(rows), count, replace=False)
    return {place: rows[place] for place in sorted(places.tolist())}


def _sample(comparison: Comparison, row: ScoredComparison) -> dict[str, Any]:
    judgment = row.judgments[0]
    better, worse = row.scores[judgment.better], row.scores[judgment.worse]
    return {
        "id": row.id,
        "prompt": plain_text(comparison.prompt, ()),
        "chosen": comparison.responses[judgment.better].text,
        "rejected": comparison.responses[judgment.worse].text,
        "chosen_score": better,
        "rejected_score": worse,
        "correct": None if judgment.tie or better == worse else better > worse,
    }


def _start(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else line[: SHOWN - 3] + "..."


def _end(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else "..." + line[3 - SHOWN :]
