"""Probes of scored rows: chance, direction of labels, constant scores, length, and rows changed in a known way."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..evaluate.expectation import Expectation, Verdict, expected_of, judge
from ..evaluate.groups import accuracy
from ..evaluate.intervals import interval_dict
from ..evaluate.judgments import JudgmentTable, half_ties, judgment_table
from ..evaluate.moments import correlation
from ..evaluate.probes import probe_effects
from ..evaluate.shortcuts import MATCHED
from ..model.folder.tolerance import UNIT
from ..records import ScoredComparison
from .results import TOLERANCE, Advice, ProbeResult, found, judged, of, share_in_words

Rows = Sequence[ScoredComparison]
MOST_RANK = 0.95
"""Rank correlation of score and length above which a score is the length."""
LEARNED = Advice(
    "better than chance",
    "labels are reversed in a part of the training rows, or the rows come in another order than the labels",
    "look at the pairs with `bradley data FILE`, and name the columns with data.columns",
    "data",
)
DIRECTION = Advice(
    "labels of train and evaluation",
    "chosen and rejected are swapped in one of the two files",
    "look at both files with `bradley data FILE`; name the columns of each with data.columns",
    "data",
)
CONSTANT = Advice(
    "different scores",
    "the head is zero or frozen, the learning rate is far too high, or the pooled token is the same everywhere",
    "look at the probes of pooled token and gradient; lower optim.lr",
)
LENGTH = Advice(
    "more than length",
    "the score is the length of the response, or nothing but length was learned",
    "train with data.diagnostic = length_matched, or give rows of like length; see the guide to shortcuts",
)
BLIND = Advice(
    "nothing beside the texts",
    "something beside the response tells the label: the order of the sides, the template, an argument of the row",
    "compare chosen and rejected as rendered (`bradley data FILE --tokens`), and leave the telling column out",
    "data",
)
READS = Advice(
    "prompt is read",
    "the prompt is cut by a limit, or the template leaves the prompt out",
    "raise render.max_tokens, or choose a render.template that writes the prompt",
)
OWN = Advice(
    "own answer before another's",
    "prompts and responses are shifted against each other, or negatives were made from better answers",
    "look at rows with `bradley data FILE`, and see data.diagnostic = random_negatives",
    "data",
)
SHUFFLED = Advice(
    "shuffled labels",
    "labels reach the model by another way than the texts, or training rows stand in the evaluation set",
    "look at the probe of training rows in evaluation; take tags and scores out of the texts",
    "data",
)
SWAPPED = Advice(
    "swapped sides",
    "the score of a response depends on its place in the row",
    "look at the probe of scores without company; a rival must not enter the score",
)


def better_than_chance(rows: Rows, confidence: float, name: str = "held-out training rows") -> ProbeResult:
    """Compare the accuracy with chance: a failure lies below chance, and a short training may stay undecided."""
    figure = _accuracy(rows)
    known = judge(figure, Expectation("above", 0.5, 1.0, ""), confidence=confidence, tolerance=TOLERANCE)
    below = known["high"] is not None and known["high"] < 0.5
    verdict: Verdict = "fail" if below else "pass" if known["verdict"] == "pass" else "undecided"
    figures = of({**known, "verdict": verdict})
    measured = f"{share_in_words(known)} on {name}"
    return found(LEARNED, verdict, measured, "above 50%", "some of the labels follow from the texts", **figures)


def same_direction(train: Rows, evaluation: Rows, confidence: float, name: str = "valid") -> ProbeResult:
    """Compare the sides of chance on held-out training rows and on an evaluation set.

    Args:
        train: rows of the training file, kept out of the training.
        evaluation: rows of the evaluation set.
        confidence: of each interval.
        name: of the evaluation set.
    """
    expected = Expectation("above", 0.5, 1.0, "")
    sides = [
        judge(_accuracy(rows), expected, confidence=confidence, tolerance=TOLERANCE) for rows in (train, evaluation)
    ]
    above, below = ([_side(known) == side for known in sides] for side in (1, -1))
    opposed = (above[0] and below[1]) or (below[0] and above[1])
    verdict: Verdict = "fail" if opposed else "pass" if all(above) else "undecided"
    figures = of({**sides[1], "verdict": verdict})
    needed = [known["prompts_needed"] for known in sides if known["prompts_needed"] is not None]
    figures["needed"] = max(needed, default=None) if verdict == "undecided" else None
    measured = f"held-out training rows: {share_in_words(sides[0])}; {name}: {share_in_words(sides[1])}"
    why = "rows of one kind of label are ranked alike"
    return found(DIRECTION, verdict, measured, "above 50% on both", why, **figures)


def different_scores(rows: Rows) -> ProbeResult:
    """Compare the spread of all scores with rounding."""
    scores = np.array([score for row in rows for score in row.scores])
    spread, allowed = float(np.ptp(scores)), UNIT["float32"] * max(1.0, float(np.abs(scores).max()))
    why = "texts of other quality have other scores"
    return found(
        CONSTANT, spread > allowed, f"scores span {spread:.3g}", f"above {allowed:.1e}, rounding", why, n=len(scores)
    )


def more_than_length(rows: Rows, confidence: float) -> ProbeResult:
    """Judge a model by responses of like length, and by the rank correlation of score and length.

    Args:
        rows: scored rows with lengths in tokens.
        confidence: of the intervals.
    """
    table = _decided(rows)
    rank = _rank_correlation(rows)
    longer, shorter = table.mean_tokens + np.abs(table.extra_tokens) / 2, np.abs(table.extra_tokens)
    near = table.select(shorter <= MATCHED * longer)
    expected = expected_of("length_matched")
    matched = judge(accuracy(near), expected, confidence=confidence, tolerance=TOLERANCE)
    whole = judge(accuracy(table), expected, confidence=confidence, tolerance=TOLERANCE)
    verdict: Verdict
    low, high = _fisher(rank, len({row.prompt_key for row in rows}), confidence)
    if low is not None and max(low, -float(high or 0.0)) > MOST_RANK:
        verdict = "fail"
    elif matched["verdict"] == "pass":
        verdict = "pass"
    else:
        # A weak model is near chance at any length: only one that is clearly better in all owes its accuracy to length.
        clear = whole["low"] is not None and whole["low"] > 0.5 + TOLERANCE
        verdict = "fail" if matched["verdict"] == "fail" and clear else "undecided"
    correlated = "no rank correlation" if rank is None else f"rank correlation of score and length {rank:.2f}"
    measured = f"{correlated}; at like length {share_in_words(matched)}; in all {share_in_words(whole)}"
    wanted = f"above 50% at like length, rank correlation below {MOST_RANK:g}"
    return found(LENGTH, verdict, measured, wanted, expected.why, **of({**matched, "verdict": verdict}))


def nothing_beside(rows: Rows, confidence: float) -> ProbeResult:
    """Judge rows with every response replaced by a response to another prompt, see `replace_responses`."""
    return judged(BLIND, _accuracy(rows), expected_of("prompt_only"), confidence)


def shuffled_labels(rows: Rows, confidence: float) -> ProbeResult:
    """Judge rows with shuffled labels, scored by a model trained on shuffled labels, see `shuffle_labels`."""
    return judged(SHUFFLED, _accuracy(rows), expected_of("label_shuffle"), confidence)


def prompt_read(before: Rows, after: Rows) -> ProbeResult:
    """Compare scores with those under the prompt of another row, see `probes.probed`.

    Args:
        before: scored rows.
        after: scored rows of the probe `another_prompt`.
    """
    effects = probe_effects(before, after)
    first = {(row.source, row.id): row for row in before}
    changes = [
        abs(new - old) for row in after for new, old in zip(row.scores, first[row.source, row.id].scores, strict=True)
    ]
    largest = max(changes)
    allowed = UNIT["float32"] * max(1.0, *(abs(score) for row in before for score in row.scores))
    old, new = effects["accuracy_before"], effects["accuracy_after"]
    measured = f"scores move by up to {largest:.3g}"
    if old["value"] is not None:
        measured += f"; accuracy {old['value']:.1%}, with other prompts {new['value']:.1%}"
    return found(
        READS,
        largest > allowed,
        measured,
        f"scores move by more than {allowed:.1e}",
        "a score is of a response to its prompt",
        n=len(changes),
    )


def own_answer(rows: Rows, confidence: float) -> ProbeResult:
    """Judge rows with negatives replaced by the best responses to other prompts, see `replace_negatives`.

    A model trained on other negatives owes no accuracy here: a failure lies below chance.
    """
    known = judge(_accuracy(rows), expected_of("random_negatives"), confidence=confidence, tolerance=TOLERANCE)
    verdict: Verdict = "fail" if _side(known) == -1 else "pass" if known["verdict"] == "pass" else "undecided"
    return found(OWN, verdict, share_in_words(known), "above 50%", known["why"], **of({**known, "verdict": verdict}))


def sides_swapped(rows: Rows, swapped: Rows) -> ProbeResult:
    """Compare accuracies: with sides in the other order the same, with labels reversed 1 minus the accuracy.

    Args:
        rows: scored rows.
        swapped: scored rows of the same comparisons after `Comparison.swap`.
    """
    right = half_ties(_decided(rows).margin)
    again, reversed_right = half_ties(_decided(swapped).margin), half_ties(-_decided(swapped).margin)
    # Kernels round by the shape of a batch: a margin below rounding may change sides.
    close = np.abs(_decided(rows).margin) <= 2 * UNIT["float32"] * max(1.0, float(np.abs(_decided(rows).chosen).max()))
    other = int(((right != again) & ~close).sum() + ((right + reversed_right != 1) & ~close).sum())
    return found(
        SWAPPED,
        other == 0,
        f"{other:,} of {len(right):,} judgments change; "
        f"accuracy {right.mean():.4f}, reversed {reversed_right.mean():.4f}",
        "none changes, and the accuracies add up to 1",
        "a score knows neither its rival nor its place",
        n=len(right),
    )


def _decided(rows: Rows) -> JudgmentTable:
    table = judgment_table(rows)
    return table.select(table.decided)


def _accuracy(rows: Rows) -> dict[str, Any]:
    table = _decided(rows)
    return interval_dict(half_ties(table.margin), table.prompt)


def _side(known: dict[str, Any]) -> int:
    """Return 1 for an interval above chance, -1 for an interval below, 0 otherwise."""
    if known["low"] is None:
        return 0
    return int(known["low"] > 0.5) - int(known["high"] < 0.5)


def _rank_correlation(rows: Rows) -> float | None:
    """Rank correlation of score and length in tokens over all responses; None without a spread."""
    from scipy.stats import rankdata

    lengths = np.array([tokens for row in rows for tokens in row.response_tokens], dtype=np.float64)
    return correlation(rankdata(_scores(rows)), rankdata(lengths))


def _scores(rows: Rows) -> NDArray[np.float64]:
    return np.array([score for row in rows for score in row.scores], dtype=np.float64)


def _fisher(rank: float | None, clusters: int, confidence: float) -> tuple[float | None, float | None]:
    """Interval of a correlation by Fisher's transformation, each prompt counting once."""
    from scipy.stats import norm

    if rank is None or clusters < 5:
        return None, None
    middle = math.atanh(max(-1 + 1e-12, min(1 - 1e-12, rank)))
    half = float(norm.ppf((1 + confidence) / 2)) * 1.06 / math.sqrt(clusters - 3)
    return math.tanh(middle - half), math.tanh(middle + half)
