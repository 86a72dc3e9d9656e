"""Summaries of counts, against hand calculation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bradley.config import Data
from bradley.data.report import BARS, describe, histogram, quantiles, sparkline
from bradley.errors import DataError
from tests.data.loading import load, rows


@pytest.mark.parametrize("kind", [list, iter, np.array])
def test_quantiles_are_interpolated(kind):
    found = quantiles(kind([4, 1, 3, 2]))
    assert found == {"mean": 2.5, "p50": 2.5, "p95": pytest.approx(3.85), "max": 4.0}
    assert all(type(value) is float for value in found.values())


def test_histogram_by_hand():
    assert histogram([3, 4, 9, 11, 29], 4) == {"edges": [0, 10, 20, 30], "counts": [3, 1, 1]}
    assert histogram([7, 7], 5) == {"edges": [7, 8], "counts": [2]}
    assert histogram([100, 149, 150], 2) == {"edges": [100, 150, 200], "counts": [2, 1]}
    assert histogram([], 5) == {"edges": [], "counts": []}


@given(st.lists(st.integers(0, 50_000), min_size=1), st.integers(1, 30))
def test_histogram_agrees_with_numpy_on_its_own_round_edges(values, bins):
    found = histogram(values, bins)
    edges = np.array(found["edges"])
    (width,) = set(np.diff(edges).tolist())
    assert len(found["counts"]) <= bins and str(width).rstrip("0") in ("1", "2", "5")
    assert (edges % width == 0).all() and edges[0] <= min(values) < edges[1] and edges[-2] <= max(values) < edges[-1]
    assert np.histogram(values, edges)[0].tolist() == found["counts"]


def test_sparkline():
    line = sparkline({"edges": [0, 10, 20, 30, 40], "counts": [1, 0, 800, 400]})
    assert line == f"0 {BARS[0]} {BARS[7]}{BARS[3]} 40"
    assert sparkline({"edges": [], "counts": []}) == ""


def test_the_reading_of_a_file_stands_on_screen_on_one_line():
    report = load(Data(valid_share=0.0), train=rows(3)).report
    report["splits"]["train"]["sources"][0]["reading"] = "label (A 985, B 1015)\nwinner by label"
    lines = describe(report).splitlines()
    assert [line.strip() for line in lines if "label" in line] == [
        "train rows: label (A 985, B 1015)\\nwinner by label"
    ]


def test_ties_are_left_out_with_the_setting_that_keeps_them():
    """Ties alone above the share: LAYOUTS, rule 6."""
    tied = [{"prompt": f"p{n}", "completions": [{"content": c, "score": n % 3} for c in "ab"]} for n in range(30)]
    for n in range(0, 30, 2):
        tied[n]["completions"][0]["score"] = 9
    text = describe(load(Data(valid_share=0.0, max_rejected_share=0.0), train=tied).report)
    assert "left out 15 no_judgment, such as train rows, row 2; --data.equal_scores tie keeps ties" in text
    assert len(load(Data(valid_share=0.0, equal_scores="tie"), train=tied).train) == 30
    with pytest.raises(DataError, match=r"train is empty: 2 rows, none is left \(no_judgment 2\)") as caught:
        load(Data(valid_share=0.0), train=[tied[1], tied[3]])
    assert "--data.equal_scores tie" in caught.value.hint


@pytest.mark.parametrize("check", ["identical", "duplicate"])
def test_a_policy_that_the_user_names_is_no_loss(check):
    twin = {"prompt": "twin", "chosen": "x", "rejected": "x" if check == "identical" else "y"}
    train = [*rows(5), *[twin] * 5]
    with pytest.raises(DataError, match=f"rows of train cannot be used .*{check}") as caught:
        load(Data(valid_share=0.0), train=train)
    assert f"--data.{check} drop leaves" in caught.value.hint
    named = {"identical": "drop", "duplicate": "drop"}
    splits = load(Data(valid_share=0.0, max_rejected_share=0.0, **named), train=train)
    assert "training stops here" not in describe(splits.report) and len(splits.train) in (5, 6)
