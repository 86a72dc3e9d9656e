"""The whole evaluation: figures against independent formulas, slices, writers, warnings, and coverage."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bradley.errors import DataError
from bradley.evaluate.auroc import auroc_interval
from bradley.evaluate.evaluation import evaluation
from bradley.evaluate.intervals import clustered_mean, naive_mean
from bradley.evaluate.judgments import judgment_table
from bradley.records import Comparison, Message, Response

from .simulated import pairs, true_accuracy, true_ece
from .tables import scored, swap, tables


@given(tables(min_rows=0))
def test_every_set_gives_finite_json(rows):
    assert json.loads(json.dumps(evaluation(rows, draws=20), allow_nan=False))


@given(tables(), st.randoms())
def test_order_and_sides_change_nothing(rows, random):
    turned = [swap(row) for row in rows]
    random.shuffle(turned)
    first, second = (evaluation(each, draws=20) for each in (rows, turned))
    assert first["figures"]["accuracy"] == second["figures"]["accuracy"]
    assert first["slices"].keys() == second["slices"].keys()
    for name in ("nll", "brier", "auroc"):
        assert first["figures"][name]["value"] == pytest.approx(second["figures"][name]["value"])


def test_figures_agree_with_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(0)
    scores = generator.normal(size=(200, 2))
    rows = [scored(str(i), pair, prompt=str(i // 2)) for i, pair in enumerate(scores.tolist())]
    found = evaluation(rows, scale=0.7)["figures"]
    p = 1 / (1 + np.exp(-0.7 * (scores[:, 0] - scores[:, 1])))
    both, labels = np.concatenate([p, 1 - p]), np.repeat([1, 0], 200)
    assert found["brier"]["value"] == pytest.approx(metrics.brier_score_loss(labels, both))
    assert found["nll"]["value"] == pytest.approx(metrics.log_loss(labels, both))
    assert found["auroc"]["value"] == pytest.approx(metrics.roc_auc_score(labels, scores.T.ravel()))
    assert found["margin_std"]["value"] == pytest.approx(np.std(scores[:, 0] - scores[:, 1]))


@pytest.mark.parametrize(("chosen", "rejected"), [(2.0, 1.0), (1.0, 1.0), (1.0, 2.0)])
def test_separated_and_equal_scores_of_few_prompts_claim_no_certainty(chosen, rejected):
    rows = [scored(str(i), (chosen, rejected), prompt=str(i)) for i in range(8)]
    found, right = auroc_interval(judgment_table(rows)), 0.5 + 0.5 * np.sign(chosen - rejected)
    same = clustered_mean([right] * 8, range(8), (0.0, 1.0))
    assert (found["value"], found["low"], found["high"]) == pytest.approx((same.value, same.low, same.high))
    assert found["high"] - found["low"] > 0.3


def test_the_interval_of_auroc_is_delongs_for_a_judgment_a_prompt():
    generator = np.random.default_rng(1)
    rows = [scored(str(i), pair, prompt=str(i)) for i, pair in enumerate(generator.normal(size=(60, 2)).tolist())]
    table = judgment_table(rows)
    found = auroc_interval(table)
    above = np.array([np.mean(c > table.rejected) for c in table.chosen])
    below = np.array([np.mean(table.chosen > r) for r in table.rejected])
    covariance = np.cov(above, below)
    # Both sides of a judgment belong to the same unit: variances and covariance add up.
    error = np.sqrt((covariance[0, 0] + covariance[1, 1] + 2 * covariance[0, 1]) / 60)
    from scipy.stats import t

    assert found["high"] - found["value"] == pytest.approx(t.ppf(0.975, 59) * error)


def comparison(row, turns):
    prompt = tuple(Message("user", "x") for _ in range(turns))
    responses = tuple(Response((Message("assistant", "y"),)) for _ in row.scores)
    return Comparison(row.id, row.prompt_key, prompt, responses, row.judgments, source=row.source, tags=row.tags)


def test_slices_hold_every_judgment_once():
    rows = [
        replace(
            scored(str(i), (i % 3, 1), prompt=str(i), lengths=(10 * i + 1, 10 * i + 3), tags={"topic": "ab"[i % 2]}),
            source="xyz"[i % 3],
            judgments=(replace(scored("", (0, 0)).judgments[0], margin=float(i % 4)),),
        )
        for i in range(30)
    ]
    found = evaluation(rows, [comparison(row, 1 + int(row.id) % 3) for row in rows])
    assert set(found["slices"]) == {"topic", "source", "turns", "length", "strength"}
    for values in found["slices"].values():
        assert sum(one["accuracy"]["n"] for one in values.values()) == 30
    # Lengths 11 to 303: means 2, 12 | 22 | 32, 42, 52, 62 | ...
    assert {name: one["accuracy"]["n"] for name, one in found["slices"]["length"].items()} == {
        "0-15": 2,
        "16-31": 1,
        "32-63": 4,
        "64-127": 6,
        "128-255": 13,
        "256-511": 4,
    }
    values = [one["accuracy"]["value"] for one in found["slices"]["source"].values()]
    tag_values = [one["accuracy"]["value"] for one in found["slices"]["topic"].values()]
    assert found["worst"]["accuracy"]["value"] == min(values + tag_values)
    assert found["worst"]["by_chance"] < found["summary"]["accuracy"]["value"]


def test_a_favoured_writer_is_found():
    rows = []
    for i in range(200):
        # The labels prefer `ours` half of the time, the scores in nine of ten cases.
        better = "ours" if i % 2 else "theirs"
        favoured = i % 10 != 0
        margin = 1.0 if (better == "ours") == favoured else -1.0
        tags = {"chosen_model": better, "rejected_model": "theirs" if better == "ours" else "ours"}
        rows.append(scored(str(i), (margin, 0.0), prompt=str(i), tags=tags))
    found = evaluation(rows)["writers"]
    assert found["ours"]["observed"]["value"] == 0.5
    assert found["ours"]["chosen"]["value"] == pytest.approx(0.9)
    assert found["ours"]["excess"]["low"] > 0.3
    assert found["theirs"]["excess"]["value"] == pytest.approx(-found["ours"]["excess"]["value"])
    ordered = [
        replace(row, tags={"model_a": row.tags["chosen_model"], "model_b": row.tags["rejected_model"]}) for row in rows
    ]
    assert evaluation(ordered)["writers"] == found
    assert evaluation([replace(row, tags={}) for row in rows])["writers"] == {}


@pytest.mark.parametrize(
    "rows, said",
    [
        ([], "no judgment prefers"),
        ([scored("a", (1, 0)), scored("b", (0, 1))], "share one prompt"),
        ([scored(str(i), (i, 0), prompt=str(i)) for i in range(8)], "8 prompts: below 30"),
        ([scored(str(i), (1, 1), prompt=str(i)) for i in range(40)], "does not tell responses apart"),
        ([scored(str(i), (1, 0), prompt=str(i), truncated=(True, False)) for i in range(40)], "40 of 40"),
    ],
)
def test_figures_that_say_little_are_named(rows, said):
    assert said in " ".join(evaluation(rows)["warnings"])


def test_texts_of_other_rows_are_refused():
    rows = [scored("a", (1, 0)), scored("b", (1, 0))]
    texts = [comparison(row, 1) for row in rows]
    for wrong in (texts[:1], texts[::-1]):
        with pytest.raises(DataError):
            evaluation(rows, wrong)


def test_strengths_that_lie_close_keep_their_slices():
    rows = [
        replace(
            scored(str(i), (1, 0), prompt=str(i)),
            judgments=(replace(scored("", (0, 0)).judgments[0], margin=1000 + i / 200),),
        )
        for i in range(200)
    ]
    assert sum(one["accuracy"]["n"] for one in evaluation(rows)["slices"]["strength"].values()) == 200


def test_scores_without_a_sum_of_squares_are_refused():
    with pytest.raises(DataError, match="below 1e"):
        evaluation([scored("a", (1e308, -1e308)), scored("b", (-1e308, 1e308))])


def covers(interval, truth):
    return interval["low"] <= truth <= interval["high"]


@pytest.mark.nightly
@pytest.mark.parametrize("clustered", [False, True])
@pytest.mark.parametrize("sets", [4000])
def test_intervals_cover_the_truth_in_95_percent(sets, clustered):
    """200 prompts: accuracy, AUROC, paired difference and debiased ECE; the unclustered interval falls short."""
    from scipy.special import expit

    from bradley.evaluate.ece import debiased_ece

    accuracy, ece = true_accuracy(), {1.4: true_ece(1.4), 2.0: true_ece(2.0)}
    large = pairs(np.random.default_rng(99), 2_000_000, False)
    auroc = auroc_interval(large)["value"]
    hits = dict.fromkeys(("accuracy", "naive", "auroc", "difference", "ece 1.4", "ece 2.0"), 0)
    for seed in range(sets):
        generator = np.random.default_rng([seed, clustered])
        table = pairs(generator, 200, clustered)
        right = (table.margin > 0).astype(float)
        hits["accuracy"] += covers(clustered_mean(right, table.prompt, (0.0, 1.0))._asdict(), accuracy)
        hits["naive"] += covers(naive_mean(right, (0.0, 1.0))._asdict(), accuracy)
        hits["auroc"] += covers(auroc_interval(table), auroc)
        # A second model that errs apart from the first on one judgment in five, as often right as wrong there.
        other = np.where(generator.random(len(right)) < 0.2, generator.random(len(right)) < 0.5, right)
        truth = 0.2 * (0.5 - accuracy)
        difference = clustered_mean(other - right, table.prompt, (-1.0, 1.0))
        hits["difference"] += covers(difference._asdict(), truth)
        for temperature, value in ece.items():
            confidence = expit(temperature * np.abs(table.margin))
            hits[f"ece {temperature}"] += covers(debiased_ece(confidence, right, table.prompt), value)
    shares = {name: number / sets for name, number in hits.items()}
    naive = shares.pop("naive")
    assert all(0.93 <= share <= 0.97 for share in shares.values()), shares
    assert naive < 0.9 if clustered else 0.93 <= naive <= 0.97
