"""Scores and texts of the same comparisons side by side: the input of the figures on shortcuts and style."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..records import Comparison, ScoredComparison
from .features import TextFeatures, text_features, word_set
from .judgments import Floats, JudgmentTable, judgment_table, same_judgments

Key = tuple[str, str]
Record = TypeVar("Record", Comparison, ScoredComparison)


@dataclass(frozen=True, slots=True)
class FeatureTable:
    """Judgments with the features of both responses.

    Attributes:
        judgments: one entry per judgment (J).
        cluster: number of the prompt of each judgment [J], from 0.
        better, worse: features of the two responses [J] by name: `length` and the fields of `TextFeatures`.
        unit: unit of `length`: "tokens", or "words" where no row has token counts.
        responses: scores and lengths of the distinct judged responses.
        unscored: number of comparisons without scores, which are left out.
    """

    judgments: JudgmentTable
    cluster: NDArray[np.intp]
    better: dict[str, Floats]
    worse: dict[str, Floats]
    unit: str
    responses: "Responses"
    unscored: int

    def difference(self, name: str) -> Floats:
        """Feature of the better response minus the feature of the worse response [J]."""
        result: Floats = self.better[name] - self.worse[name]
        return result


@dataclass(frozen=True, slots=True)
class Responses:
    """Scores and lengths of distinct judged responses; a text that occurs twice under a prompt counts once.

    Attributes:
        prompt: number of the prompt [R], from 0.
        score: score [R].
        length: length [R], in the unit of the table.
    """

    prompt: NDArray[np.intp]
    score: Floats
    length: Floats


def match(rows: Sequence[ScoredComparison], comparisons: Sequence[Comparison]) -> FeatureTable:
    """Match scored rows and comparisons by (source, id), and compute the features of every response.

    `shortcuts` and `style` call `match` themselves, or take a table, so that both need the features only once.

    Example:
        table = match(rows, comparisons)
        shortcuts(table), style(table)

    Raises:
        DataError: a (source, id) that occurs twice, a row without a comparison, or with another prompt, number of
            responses or judgments; a score that is not a finite number.
    """
    matched = _matched(rows, comparisons)
    texts = [response.text for comparison in matched for response in comparison.responses]
    judgments = judgment_table(rows)
    _, prompt_of_row = np.unique(np.array([row.prompt_key for row in rows], dtype=np.str_), return_inverse=True)
    first = np.cumsum([0, *(len(row.scores) for row in rows)])
    features, unit = _features(rows, matched, texts)
    flat = [judgment for row in rows for judgment in row.judgments]
    better = first[judgments.row] + np.array([judgment.better for judgment in flat], dtype=np.intp)
    worse = first[judgments.row] + np.array([judgment.worse for judgment in flat], dtype=np.intp)
    return FeatureTable(
        judgments=judgments,
        cluster=prompt_of_row[judgments.row],
        better={name: column[better] for name, column in features.items()},
        worse={name: column[worse] for name, column in features.items()},
        unit=unit,
        responses=_responses(rows, texts, prompt_of_row, features["length"], np.union1d(better, worse)),
        unscored=len(comparisons) - len(rows),
    )


def table_of(rows: Sequence[ScoredComparison] | FeatureTable, comparisons: Sequence[Comparison] | None) -> FeatureTable:
    """Return a table as it is, or match `rows` with `comparisons`.

    Raises:
        ValueError: rows without comparisons, or a table with.
        DataError: see `match`.
    """
    if isinstance(rows, FeatureTable):
        if comparisons is not None:
            raise ValueError("a feature table holds the comparisons already: pass the table alone")
        return rows
    if comparisons is None:
        raise ValueError("scored rows hold no texts: pass their comparisons too")
    return match(rows, comparisons)


def distinct(numbers: NDArray[np.intp]) -> int:
    """Count the distinct values of small non-negative `numbers` [n]."""
    return int(np.count_nonzero(np.bincount(numbers)))


def by_key(records: Sequence[Record], kind: str) -> dict[Key, Record]:
    """Index records by (source, id).

    Raises:
        DataError: two records with one (source, id).
    """
    found = {(record.source, record.id): record for record in records}
    if len(found) < len(records):
        key, count = Counter((record.source, record.id) for record in records).most_common(1)[0]
        raise DataError(
            f"{count} {kind} have the source {key[0]!r} and the id {key[1]!r}: rows are matched by source and id",
            "give every comparison of a source its own id",
        )
    return found


def _matched(rows: Sequence[ScoredComparison], comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Comparison of each scored row, checked to be the same."""
    known: Mapping[Key, Comparison] = by_key(comparisons, "comparisons")
    found = []
    for row in by_key(rows, "scored rows").values():
        comparison = known.get((row.source, row.id))
        if comparison is None:
            raise DataError(
                f"no comparison has the source {row.source!r} and the id {row.id!r} of a scored row",
                "pass the comparisons that were scored",
            )
        same = comparison.prompt_key == row.prompt_key and len(comparison.responses) == len(row.scores)
        if not same or not same_judgments(comparison.judgments, row.judgments):
            raise DataError(
                f"comparison {row.id} of the source {row.source!r} differs from its scored row in prompt, number of "
                "responses or judgments",
                "pass the comparisons that were scored, or score them again",
            )
        found.append(comparison)
    return found


def _features(
    rows: Sequence[ScoredComparison], matched: Sequence[Comparison], texts: Sequence[str]
) -> tuple[dict[str, Floats], str]:
    """Features of all responses [R] by name, in order, and the unit of the length."""
    prompts: dict[str, frozenset[str]] = {}
    words_of: list[frozenset[str]] = []
    for comparison in matched:
        words = prompts.get(comparison.prompt_key)
        if words is None:
            last = comparison.prompt[-1].content if comparison.prompt else ""
            words = prompts[comparison.prompt_key] = word_set(last)
        words_of += [words] * len(comparison.responses)
    found = chain.from_iterable(map(text_features, texts, words_of))
    names = TextFeatures._fields
    columns = np.fromiter(found, np.float64, len(texts) * len(names)).reshape(-1, len(names)).T
    features = dict(zip(names, columns, strict=True))
    tokens = np.array([count for row in rows for count in row.response_tokens], dtype=np.float64)
    # Scores of other programs come without token counts; words measure length as well, in another unit.
    known = bool(tokens.any())
    return {"length": tokens if known else features["words"], **features}, "tokens" if known else "words"


def _responses(
    rows: Sequence[ScoredComparison],
    texts: Sequence[str],
    prompt_of_row: NDArray[np.intp],
    length: Floats,
    judged: NDArray[np.intp],
) -> Responses:
    """Distinct judged responses."""
    prompts = np.repeat(prompt_of_row, [len(row.scores) for row in rows])
    scores = np.array([score for row in rows for score in row.scores], dtype=np.float64)
    # A response in several comparisons of a prompt, as in data of pairs made from a ranking, is one observation.
    seen = zip(prompts[judged].tolist(), scores[judged].tolist(), length[judged].tolist(), judged.tolist(), strict=True)
    distinct = {(prompt, score, size, texts[i]): i for prompt, score, size, i in seen}
    keep = np.array(list(distinct.values()), dtype=np.intp)
    return Responses(prompts[keep], scores[keep], length[keep])
