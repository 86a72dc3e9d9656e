from itertools import pairwise

import numpy as np
import pytest

from bradley.evaluate.summary import summarize
from bradley.report import plots
from bradley.report.plots.distributions import quantiles
from tests.evaluate.tables import scored
from tests.report.runs import make_distributions, make_events


def test_quantiles_of_a_histogram_are_those_of_values_spread_over_its_bins():
    draw = np.random.default_rng(0)
    counts, edges = np.array([3, 0, 0, 5, 9, 1, 0]), np.array([-2.0, -1.0, 0.0, 0.5, 1.0, 2.0, 4.0, 9.0])
    spread = [draw.uniform(low, high, 4000 * n) for n, low, high in zip(counts, edges[:-1], edges[1:], strict=True)]
    expected = np.quantile(np.concatenate(spread), [0.05, 0.25, 0.5, 0.75, 0.95])
    assert quantiles({"counts": counts.tolist(), "edges": edges.tolist()}) == pytest.approx(expected.tolist(), abs=0.02)


def test_quantiles_as_given_are_taken_as_they_are():
    given = {"p05": 1.0, "p25": 2.0, "p50": 3.0, "p75": 4.0, "p95": 5.0, "edges": [0.0, 9.0], "counts": [7]}
    assert quantiles(given) == [1.0, 2.0, 3.0, 4.0, 5.0]


def test_scores_have_a_panel_per_set_with_a_median_per_side():
    draw = np.random.default_rng(0)
    lines, events = make_distributions(draw), make_events(draw)
    valid, probe = plots.distributions_figure(lines, events).axes
    assert ("valid" in valid.get_title("left"), "train_probe" in probe.get_title("left")) == (True, True)
    chosen, rejected = valid.get_lines()
    own = [line for line in lines if line["set"] == "valid"]
    assert list(chosen.get_xdata()) == [0, 100, 200, 300, 400, 500, 600]
    assert list(chosen.get_ydata()) == [quantiles(line["chosen"])[2] for line in own]
    assert list(rejected.get_ydata()) == [quantiles(line["rejected"])[2] for line in own]
    assert {text.get_text() for text in valid.texts} == {"chosen", "rejected"}
    over_epochs = plots.distributions_figure(lines, events, "epoch", sets=["train_probe"])
    assert [line.get_xdata()[-1] for axis in over_epochs.axes for line in axis.get_lines()] == [600 / 320, 600 / 320]
    first, last = probe.collections[0].get_paths()[0].vertices[:, 0].min(), max(line["step"] for line in lines)
    assert (first, last) == (0, 600)


def test_reliability_has_a_point_per_filled_bin_and_a_count_for_each():
    rows = [scored(f"{i}", (0.9, 0.0) if i % 3 else (0.0, 0.9)) for i in range(30)]
    rows += [scored(f"sure {i}", (6.0, 0.0)) for i in range(12)]
    calibration = summarize(rows)["calibration"]
    above, below = plots.reliability_figure(calibration, "Calibration on valid").axes
    diagonal, points = above.get_lines()
    p = 1 / (1 + np.exp(-0.9)), 1 / (1 + np.exp(-6.0))
    assert list(points.get_xdata()) == pytest.approx(p)
    assert list(points.get_ydata()) == pytest.approx([2 / 3, 1.0])
    assert list(diagonal.get_xdata()) == list(diagonal.get_ydata())
    assert [text.get_text() for text in below.texts] == ["0", "0", "0", "0", "30", "0", "0", "0", "0", "12"]
    assert [bar.get_height() for bar in below.patches] == [0, 0, 0, 0, 30, 0, 0, 0, 0, 12]
    ece = (30 * (p[0] - 2 / 3) + 12 * (1 - p[1])) / 42
    assert above.get_title("left") == f"Calibration on valid, ECE {ece:.3f}"
    assert len(plots.reliability_figure(summarize([])["calibration"]).axes) == 2


def test_token_lengths_have_a_panel_per_split_and_areas_of_one():
    parts = {
        "prompt": {"edges": [0, 10, 20], "counts": [1, 3]},
        "chosen": {"edges": [0, 5, 10, 15], "counts": [4, 4, 8]},
        "rejected": {"edges": [], "counts": []},
    }
    tokens = {"histograms": parts}
    report = {"splits": {"train": {"tokens": tokens}, "probe": {"tokens": {}}, "none": {}, "valid": {"tokens": tokens}}}
    splits = plots.split_histograms(report)
    assert list(splits) == ["train", "valid"]
    train, valid = plots.token_lengths_figure(splits).axes
    assert (train.get_title("left"), valid.get_title("left")) == ("Tokens, train", "Tokens, valid")
    assert [text.get_text() for text in train.texts] == ["prompt", "chosen"]
    stairs = [patch.get_data() for patch in train.patches if not patch.get_fill()]
    assert [list(data.values) for data in stairs] == [[0.025, 0.075], [0.05, 0.05, 0.1]]
    assert [sum(data.values * np.diff(data.edges)) for data in stairs] == pytest.approx([1.0, 1.0])
    assert plots.split_histograms({}) == {}


def test_accuracy_by_length_has_a_row_per_bucket_with_labels_apart():
    names = ["0-15", *(f"{2**i}-{2 ** (i + 1) - 1}" for i in range(4, 12)), "4096+"]
    slices = {name: {"accuracy": {"value": 0.6, "low": 0.5, "high": 0.7, "n": 1234}} for name in names}
    figure = plots.length_accuracy_figure(slices, "words")
    figure.draw_without_rendering()
    (axis,) = figure.axes
    labels = axis.get_yticklabels()
    assert [label.get_text().split(",")[0] for label in labels] == names
    assert axis.get_ylabel() == "mean length in words"
    boxes = sorted((box.y0, box.y1) for box in (label.get_window_extent() for label in labels))
    assert all(upper[0] >= lower[1] for lower, upper in pairwise(boxes))
