"""A few comparisons of each evaluation set, the same ones every time, to be read with the model's scores of them."""

from collections.abc import Mapping, Sequence
from typing import Any

from ...common.seeds import generator
from ...data.preview import plain_text
from ...records import Comparison, ScoredComparison
from ...report.details import VERDICTS

SHOWN = 44
"""Characters of each text on the screen."""
Chosen = dict[int, Comparison]
"""Comparisons by their place in their set."""


def choose(sets: Mapping[str, Sequence[Comparison]], count: int, seed: int) -> dict[str, Chosen]:
    """`count` comparisons of every set, or all where there are fewer; the same ones for the same seed."""
    return {name: _choose(rows, min(count, len(rows)), seed, name) for name, rows in sets.items() if count}


def _choose(rows: Sequence[Comparison], count: int, seed: int, name: str) -> Chosen:
    places = generator(seed, "samples", name).choice(len(rows), count, replace=False)
    return {place: rows[place] for place in sorted(places.tolist())}


def sample_rows(chosen: Chosen, scored: Sequence[ScoredComparison]) -> list[dict[str, Any]]:
    """The first judgment of each comparison: id, texts, both scores, and whether the model agrees.

    `correct` is None where the label or the scores are tied. `scored` has a row for every comparison of the set.
    """
    return [_sample(comparison, scored[place]) for place, comparison in chosen.items()]


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


def sample_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The samples for the screen, one line each: scores, agreement, the end of the prompt, how the responses begin."""
    return [
        f"  {row['chosen_score']:+8.3f} {row['rejected_score']:+8.3f}  {VERDICTS[row['correct']]:<5}  "
        f"{_end(row['prompt'])} | {_start(row['chosen'])} | {_start(row['rejected'])}"
        for row in rows
    ]


def _start(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else line[: SHOWN - 3] + "..."


def _end(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else "..." + line[3 - SHOWN :]
