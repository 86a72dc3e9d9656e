import json
import math

import numpy as np
import pytest
from hypothesis import given

from bradley.evaluate.calibration import calibration
from bradley.evaluate.judgments import judgment_table
from bradley.evaluate.summary import summarize

from .tables import flip, scored, tables


def logit(p):
    return math.log(p / (1 - p))


def calibration_of(rows, beta=1.0):
    return calibration(judgment_table(rows), beta)


def filled(result):
    return [entry for entry in result["bins"] if entry["n"]]


def test_three_bins_by_hand():
    """Confidence 0.92 right twice and 0.93 wrong once, 0.7 right once, and a tie of scores at 0.5."""
    rows = [
        scored("a", (logit(0.92) / 2, 0.0)),
        scored("b", (logit(0.92) / 2, 0.0)),
        scored("c", (0.0, logit(0.93) / 2)),
        scored("d", (logit(0.7) / 2, 0.0)),
        scored("e", (1.0, 1.0)),
    ]
    result = calibration_of(rows, beta=2.0)
    first, second, third = filled(result)
    assert (first["n"], first["confidence"], first["accuracy"]) == (1, 0.5, 0.5)
    assert (second["n"], second["confidence"], second["accuracy"]) == (1, pytest.approx(0.7), 1.0)
    assert (third["n"], third["accuracy"]) == (3, pytest.approx(2 / 3))
    assert third["confidence"] == pytest.approx((0.92 + 0.92 + 0.93) / 3)
    assert result["ece"] == pytest.approx((1 * 0.3 + 3 * (2.77 / 3 - 2 / 3)) / 5)


def test_ten_equal_bins_from_one_half_to_one_hold_their_lower_ends():
    rows = [scored("far", (1e4, 0.0)), scored("tie", (0.0, 0.0)), scored("3 to 1", (math.log(3), 0.0))]
    result = calibration_of(rows)
    assert [(entry["low"], entry["high"]) for entry in result["bins"]] == [
        (pytest.approx(0.5 + 0.05 * i), pytest.approx(0.55 + 0.05 * i)) for i in range(10)
    ]
    assert [entry["n"] for entry in result["bins"]] == [1, 0, 0, 0, 0, 1, 0, 0, 0, 1]
    assert result["bins"][4] == {"low": 0.7, "high": 0.75, "n": 0, "confidence": None, "accuracy": None}


@pytest.mark.parametrize("beta", [0.5, 3.0])
def test_calibrated_by_construction_is_about_0(beta):
    """Labels drawn with the stated probability; the better response is the first one in about half of the rows."""
    draw = np.random.default_rng(0)
    gap = draw.normal(0, 1.5, 15_000)
    first_wins = draw.random(len(gap)) < 1 / (1 + np.exp(-beta * gap))
    rows = [
        scored(f"{i}", (float(d), 0.0), [(0, 1) if first else (1, 0)], prompt=f"{i}")
        for i, (d, first) in enumerate(zip(gap, first_wins, strict=True))
    ]
    result = calibration_of(rows, beta)
    assert result["ece"] < 0.012
    assert all(abs(entry["accuracy"] - entry["confidence"]) < 2 / math.sqrt(entry["n"]) for entry in filled(result))
    assert calibration_of(rows, beta * 4)["ece"] > 0.05


def test_overconfidence_is_the_difference_of_confidence_and_accuracy():
    """All probabilities 0.8 and 60 % right: the plain mean of 1 - p would say 0.4 or 0.2 instead."""
    rows = [scored(f"{i}", (logit(0.8), 0.0) if i < 60 else (0.0, logit(0.8))) for i in range(100)]
    assert calibration_of(rows)["ece"] == pytest.approx(0.2)


def test_right_with_certainty_is_no_error():
    assert calibration_of([scored(f"{i}", (50.0, 0.0)) for i in range(5)])["ece"] == pytest.approx(0.0, abs=1e-12)


def test_a_soft_label_agrees_with_each_side_by_its_probability():
    right, wrong = scored("a", (logit(0.7), 0.0), [(0, 1, 0.7)]), scored("b", (0.0, logit(0.7)), [(0, 1, 0.7)])
    assert calibration_of([right])["ece"] == pytest.approx(0.0, abs=1e-12)
    assert calibration_of([wrong])["ece"] == pytest.approx(0.7 - 0.3)
    tie = scored("c", (logit(0.7), 0.0), [(0, 1, 0.5)])
    assert calibration_of([tie])["ece"] == pytest.approx(0.7 - 0.5)


def test_nothing_is_none_and_strict_json():
    result = calibration_of([])
    assert result["ece"] is None
    assert sum(entry["n"] for entry in result["bins"]) == 0
    assert json.loads(json.dumps(result, allow_nan=False)) == result


@given(tables())
def test_bins_hold_every_judgment_and_flipped_labels_mirror_the_accuracies(rows):
    result, flipped = calibration_of(rows, 1.3), calibration_of([flip(row) for row in rows], 1.3)
    summary = summarize(rows, beta=1.3)
    assert sum(entry["n"] for entry in result["bins"]) == summary["judgments"]
    assert summary["calibration"] == result
    assert 0.0 <= result["ece"] <= 1.0
    for entry, mirror in zip(result["bins"], flipped["bins"], strict=True):
        assert (mirror["n"], mirror["confidence"]) == (entry["n"], entry["confidence"])
        if entry["n"]:
            assert entry["low"] <= entry["confidence"] <= entry["high"]
            assert mirror["accuracy"] == pytest.approx(1 - entry["accuracy"])
