"""Comparison of reward models on the same items: paired differences with intervals, tests, and what changed.

Every figure is paired: the difference of two models is taken judgment by judgment, and the differences are clustered by
prompt. Shared difficulty cancels, and the interval is shorter than two separate intervals suggest.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, UserError
from ..records import ScoredComparison
from .bootstrap import DRAWS, Draws, bootstrap_dict, bootstrap_of_sums, draw_clusters
from .calibration import correctness
from .ece import BINS
from .groups import MAX_GROUPS, MIN_GROUPS
from .intervals import clustered_error, interval_dict
from .judgments import (
    Floats,
    JudgmentTable,
    factors_of,
    half_ties,
    in_single_precision,
    judgment_table,
    negative_log_likelihood,
)
from .power import smallest_difference

SHOWN = 5
"""Items listed in an error, and pairs listed on each side of a change."""
Rows = Sequence[ScoredComparison]


class Scored(NamedTuple):
    """One model: the same judgments, scored under one or several seeds.

    Attributes:
        table: judgments with the scores of the first seed.
        right: 1, 1/2 or 0 for each decided judgment, mean over the seeds [J].
        by_seed: the same for each seed [S, J].
    """

    table: JudgmentTable
    right: Floats
    by_seed: Floats


def compare(
    models: Mapping[str, Rows | Sequence[Rows]], *, beta: Mapping[str, float] | None = None, draws: int = DRAWS
) -> dict[str, Any]:
    """Compare two or more models on the same scored comparisons.

    Args:
        models: scored comparisons by name of the model; a list of such sets holds replicates of a model, such as seeds.
        beta: factor of score differences by name, for NLL and ECE; of the rows where not given.
        draws: bootstrap draws.

    Returns:
        `models`: accuracy by name. `pairs`: for each pair of models `a`, `b`, and `accuracy`, the paired difference
        b minus a with `p` (clustered t test), `p_holm` (Holm 1979, over all pairs), `bootstrap`, `mcnemar` (exact; None
        unless every prompt has one judgment), `seeds`, `nll`, `ece`, `by_tag`, `smallest_difference`, `changed`;
        `discordant` and `design_effect` of the paired differences, as `pairs_needed` takes both; `identical`, True for
        two models with the same scores.

    Raises:
        UserError: fewer than two models.
        DataError: the sets do not hold the same items with the same judgments, or a score is not a finite number.

    Example:
        compare({"a": rows_a, "b": rows_b})["pairs"][0]["accuracy"]["value"]  # 0.021
    """
    if len(models) < 2:
        raise UserError(f"{len(models)} model to compare", "give two or more sets of scores")
    lists = {name: _replicates(given) for name, given in models.items()}
    # Tools name sources differently, and an id alone tells rows apart in most sets.
    by_id = all(len({row.id for row in rows}) == len(rows) for seeds in lists.values() for rows in seeds)
    sets = {name: [_by_key(rows, by_id) for rows in seeds] for name, seeds in lists.items()}
    items = _same_items(sets)
    first = next(iter(sets.values()))[0]
    ordered = {
        name: [[_aligned(by_key[key], first[key]) for key in items] for by_key in seeds] for name, seeds in sets.items()
    }
    scored = {name: _scored(seeds) for name, seeds in ordered.items()}
    shared = draw_clusters(next(iter(scored.values())).table.prompt, draws)
    betas = {name: factors_of(seeds[0], (beta or {}).get(name))[0] for name, seeds in lists.items()}
    pairs = [_pair(a, b, scored, ordered, shared, betas[a], betas[b]) for a, b in combinations(scored, 2)]
    for pair, p in zip(pairs, holm([pair["accuracy"]["p"] for pair in pairs]), strict=True):
        pair["accuracy"]["p_holm"] = p
    return {
        "items": len(items),
        "models": {name: _accuracy(one) for name, one in scored.items()},
        "pairs": pairs,
        "tests": len(pairs),
    }


def holm(p: Sequence[float | None]) -> list[float | None]:
    """Adjust p-values for their number (Holm 1979): no error with 95 % confidence over all of them together.

    Example:
        holm([0.01, 0.04, 0.03])  # [0.03, 0.06, 0.06]
    """
    known = sorted((value, place) for place, value in enumerate(p) if value is not None)
    adjusted: list[float | None] = [None] * len(p)
    largest = 0.0
    for number, (value, place) in enumerate(known):
        largest = max(largest, min(1.0, value * (len(known) - number)))
        adjusted[place] = largest
    return adjusted


def mcnemar(gained: int, lost: int) -> float:
    """Exact two-sided p-value of McNemar's test (1947): `gained` of the changed judgments against a fair coin."""
    from scipy.stats import binomtest

    return float(binomtest(gained, gained + lost, 0.5).pvalue) if gained + lost else 1.0


def _replicates(given: Rows | Sequence[Rows]) -> Sequence[Rows]:
    """Rows of each seed."""
    several = bool(given) and not isinstance(given[0], ScoredComparison)
    seeds: Any = given if several else [given]
    found: Sequence[Rows] = seeds
    return found


def _by_key(rows: Rows, by_id: bool) -> dict[tuple[str, str], ScoredComparison]:
    """Rows by source and id; the source is "" where ids are unique without."""
    found: dict[tuple[str, str], ScoredComparison] = {}
    for row in rows:
        key = ("" if by_id else row.source, row.id)
        if key in found:
            raise DataError(f"the id {row.id} is given twice", "give every item an id of its own")
        found[key] = row
    return found


def _same_items(
    sets: Mapping[str, Sequence[Mapping[tuple[str, str], ScoredComparison]]],
) -> list[tuple[str, str]]:
    """Keys of the items, in the order of the first set.

    Raises:
        DataError: the sets hold different items, or an item has different judgments.
    """
    named = [(name, seed) for name, seeds in sets.items() for seed in seeds]
    name, first = named[0]
    for other, rows in named[1:]:
        if missing := [key for key in first if key not in rows]:
            raise _different(missing, name, other)
        if extra := [key for key in rows if key not in first]:
            raise _different(extra, other, name)
        changed = [key for key in first if _labels(first[key]) != _labels(rows[key])]
        if changed:
            message = f"{name} and {other} judge {len(changed)} items differently: {_listed(changed)}"
            raise DataError(message, "score the same rows with both models")
    return list(first)


def _labels(row: ScoredComparison) -> Any:
    """Number of responses, prompt, and judgments in any order, without margins, which count in no figure here."""
    rounded = (in_single_precision(judgment) for judgment in row.judgments)
    return (
        len(row.scores),
        row.prompt_key,
        sorted((better, worse, p, weight) for better, worse, p, _, weight in rounded),
    )


def _aligned(row: ScoredComparison, first: ScoredComparison) -> ScoredComparison:
    """Return the row with its judgments in the order of the same row of another model: figures are paired by place."""
    return row if row.judgments == first.judgments else replace(row, judgments=first.judgments)


def _different(keys: Sequence[tuple[str, str]], there: str, absent: str) -> DataError:
    message = f"{len(keys)} items of {there} are not in {absent}: {_listed(keys)}"
    return DataError(message, "score the same rows with both models; ids tell which rows are the same")


def _listed(keys: Sequence[tuple[str, str]]) -> str:
    names = [f"{source}:{id}" if source else id for source, id in keys[:SHOWN]]
    return ", ".join(names) + (f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else "")


def _scored(seeds: Sequence[Rows]) -> Scored:
    tables = [judgment_table(rows) for rows in seeds]
    decided = tables[0].decided
    right = np.stack([half_ties(table.margin[decided]) for table in tables])
    return Scored(tables[0].select(decided), right.mean(axis=0), right)


def _accuracy(model: Scored) -> dict[str, Any]:
    found = interval_dict(model.right, model.table.prompt)
    seeds = model.by_seed.mean(axis=1) if model.by_seed.size else np.empty(0)
    return {**found, "seeds": seeds.tolist() if len(seeds) > 1 else None}


def _pair(
    a: str,
    b: str,
    scored: Mapping[str, Scored],
    rows: Mapping[str, Sequence[Rows]],
    draws: Draws,
    beta_a: float,
    beta_b: float,
) -> dict[str, Any]:
    """All figures of a pair of models: b minus a."""
    first, second = scored[a], scored[b]
    prompt, difference = first.table.prompt, second.right - first.right
    accuracy = interval_dict(difference, prompt, (-1.0, 1.0))
    single = len(first.by_seed) == len(second.by_seed) == 1
    full = [judgment_table(rows[name][0]) for name in (a, b)]
    return {
        "a": a,
        "b": b,
        "accuracy": {**accuracy, "p": _t_test(difference, prompt)},
        "identical": _identical(rows[a], rows[b]),
        **_spread(difference, prompt),
        "bootstrap": bootstrap_of_sums(_with_ones(difference), _ratio, draws),
        "mcnemar": _mcnemar(difference, prompt) if single else None,
        "seeds": None if single else _over_seeds(first.by_seed, second.by_seed, accuracy),
        "nll": _nll(full, (beta_a, beta_b)) if single else None,
        "ece": _ece(full, (beta_a, beta_b), len(draws.counts)) if single else None,
        "by_tag": _by_tag(rows[a][0], first.table, difference),
        "smallest_difference": smallest_difference(_accuracy(first), paired=accuracy),
        "changed": _changed(rows[a][0], rows[b][0], first, second),
    }


def _identical(a: Sequence[Rows], b: Sequence[Rows]) -> bool:
    """Return True if every seed of a model gives the scores of the other model's seed at the same place."""
    scores_a, scores_b = ([[row.scores for row in rows] for rows in seeds] for seeds in (a, b))
    return scores_a == scores_b


def _spread(difference: Floats, prompt: NDArray[Any]) -> dict[str, float | None]:
    """Discordant share and design effect of paired differences [J].

    The discordant share is the mean squared difference: the share of judgments on which exactly one model is right. A
    score tied on one side counts 1/4. The design effect is the variance of the mean difference with prompts as clusters
    over the variance of independent judgments; None where the latter is 0 or unknown.
    """
    if not len(difference):
        return {"discordant": None, "design_effect": None}
    found: dict[str, float | None] = {"discordant": float(np.mean(difference**2)), "design_effect": None}
    if len(np.unique(prompt)) > 1 and (alone := clustered_error(difference, np.arange(len(difference)))) > 0:
        found["design_effect"] = (clustered_error(difference, prompt) / alone) ** 2
    return found


def _with_ones(values: Floats) -> Floats:
    return np.stack([values, np.ones_like(values)], axis=1)


def _ratio(sums: Floats) -> Floats:
    result: Floats = sums[..., 0] / sums[..., 1]
    return result


def _t_test(difference: Floats, clusters: NDArray[Any]) -> float | None:
    """Two-sided p-value of a clustered t test of mean 0, with clusters - 1 degrees of freedom."""
    from scipy.stats import t as student

    groups = len(np.unique(clusters))
    if groups < 2:
        return None
    # The null variance is taken around the observed mean, as in the interval: both say the same.
    error = clustered_error(difference, clusters)
    if error == 0:
        return 1.0 if difference.mean() == 0 else None
    return float(2 * student.sf(abs(difference.mean()) / error, groups - 1))


def _mcnemar(difference: Floats, prompt: NDArray[Any]) -> dict[str, Any] | None:
    """Exact McNemar test; None if a prompt has several judgments, which are not independent, or a score is tied."""
    if len(np.unique(prompt)) < len(prompt) or np.any(np.abs(difference) == 0.5):
        return None
    gained, lost = int((difference > 0).sum()), int((difference < 0).sum())
    return {"gained": gained, "lost": lost, "p": mcnemar(gained, lost)}


def _over_seeds(a: Floats, b: Floats, accuracy: Mapping[str, Any]) -> dict[str, Any]:
    """Spread over seeds beside the spread over prompts.

    `over_seeds` is Welch's interval (1947) of the difference between the mean accuracies, seeds as the sample and these
    prompts as given. `both` adds the variances over seeds and over prompts, an upper bound, with the fewer degrees of
    freedom of the two: what another seed on other prompts would show.
    """
    from scipy.stats import t as student

    found: dict[str, Any] = {"a": len(a), "b": len(b), "over_seeds": None, "both": None}
    if min(len(a), len(b)) < 2 or not a.size:
        return found
    means = [side.mean(axis=1) for side in (a, b)]
    value = float(means[1].mean() - means[0].mean())
    variances = [float(mean.var(ddof=1)) / len(mean) for mean in means]
    total = sum(variances)
    if not total > 0 or accuracy["clusters"] < 2:
        return found
    freedom = total**2 / sum(v**2 / (len(m) - 1) for v, m in zip(variances, means, strict=True))
    half = float(student.ppf(0.975, freedom)) * math.sqrt(total)
    over_prompts = max(value - accuracy["low"], accuracy["high"] - value)
    over_prompts /= float(student.ppf(0.975, accuracy["clusters"] - 1))
    fewer = min(freedom, accuracy["clusters"] - 1)
    wide = float(student.ppf(0.975, fewer)) * math.sqrt(total + over_prompts**2)
    found["over_seeds"] = {"value": value, "low": value - half, "high": value + half}
    found["both"] = {"value": value, "low": value - wide, "high": value + wide}
    return found


def _nll(tables: Sequence[JudgmentTable], betas: tuple[float, float]) -> dict[str, Any]:
    """Paired difference of the NLL, over all judgments."""
    first, second = (
        negative_log_likelihood(beta * table.margin, table.probability)
        for table, beta in zip(tables, betas, strict=True)
    )
    return interval_dict(second - first, tables[0].prompt, (-math.inf, math.inf))


def _ece(tables: Sequence[JudgmentTable], betas: tuple[float, float], draws: int) -> dict[str, Any]:
    """Difference of the binned ECE (equal width) with a paired bootstrap interval."""
    shared = draw_clusters(tables[0].prompt, draws)
    sums = [_bin_gaps(table, beta) for table, beta in zip(tables, betas, strict=True)]
    n = np.ones(len(tables[0].row))
    drawn = shared.sums(n)[:, 0]
    values = [np.abs(gaps.sum(axis=0)).sum() / len(n) for gaps in sums]
    estimates = [np.abs(shared.sums(gaps)).sum(axis=1) / drawn for gaps in sums]
    return bootstrap_dict(float(values[1] - values[0]), estimates[1] - estimates[0], shared)


def _bin_gaps(table: JudgmentTable, beta: float) -> Floats:
    """Correctness minus confidence of each judgment, in the column of its bin [J, bins]."""
    from scipy.special import expit

    confidence = expit(beta * np.abs(table.margin))
    bins = np.minimum(((confidence - 0.5) * 2 * BINS).astype(np.intp), BINS - 1)
    gaps = np.zeros((len(confidence), BINS))
    gaps[np.arange(len(confidence)), bins] = correctness(table) - confidence
    return gaps


def _by_tag(rows: Rows, table: JudgmentTable, difference: Floats) -> dict[str, Any]:
    """Paired difference of the accuracy by tag and by source."""
    labels = {tag: [row.tags.get(tag) for row in rows] for tag in sorted({tag for row in rows for tag in row.tags})}
    if (sources := [row.source or None for row in rows]) and "source" not in labels:
        labels["source"] = sources
    found = {}
    for tag, each in labels.items():
        values = sorted({value for value in each if value is not None})
        if MIN_GROUPS <= len(values) <= MAX_GROUPS:
            of = np.array([each[row] for row in table.row], dtype=object)
            found[tag] = {v: interval_dict(difference[of == v], table.prompt[of == v], (-1.0, 1.0)) for v in values}
    return found


def _changed(a: Rows, b: Rows, first: Scored, second: Scored) -> dict[str, Any]:
    """Judgments that one model gets right and the other wrong, those with the largest change of the margin first."""
    change = second.table.margin - first.table.margin
    found: dict[str, Any] = {}
    for name, mask in (("gained", second.right > first.right), ("lost", second.right < first.right)):
        places = np.flatnonzero(mask)
        order = places[np.argsort(-np.abs(change[places]), kind="stable")][:SHOWN]
        shown = [
            {
                "id": a[int(first.table.row[place])].id,
                "source": a[int(first.table.row[place])].source,
                "margin_a": float(first.table.margin[place]),
                "margin_b": float(second.table.margin[place]),
            }
            for place in order
        ]
        found[name] = {"judgments": len(places), "largest": shown}
    return {**found, "same": len(change) - found["gained"]["judgments"] - found["lost"]["judgments"]}
