import math
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from bradley.errors import UserError
from bradley.report import plots
from bradley.report.plots import style
from tests.evaluate.tables import scored
from tests.report.runs import make_events

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def events():
    return make_events(np.random.default_rng(0))


def lines_of(axis):
    return {tuple(np.asarray(line.get_ydata(), dtype=float)) for line in axis.get_lines()}


def values(events, kind, key):
    return tuple(event[key] for event in events if event["kind"] == kind and key in event)


def words(axis):
    return {text.get_text() for text in axis.texts}


def test_training_figure_draws_the_figures_of_the_events(events):
    loss, accuracy, rate, norm = plots.training_figure(events).axes
    expected = {
        loss: [("train", "train_window/rm/loss"), ("train", "train/rm/loss"), ("eval", "eval/valid/rm/loss")],
        accuracy: [("train", "train_window/rm/accuracy"), ("eval", "eval/valid/rm/accuracy")],
        rate: [("train", "train/rm/lr")],
        norm: [("train", "train/rm/grad_norm")],
    }
    for axis, curves in expected.items():
        assert lines_of(axis) >= {values(events, kind, key) for kind, key in curves}
    assert words(loss) == {"train", "valid"}
    assert "before clipping" in norm.get_title("left")
    chance = next(line for line in accuracy.get_lines() if line.get_linestyle() == "--")
    assert set(chance.get_ydata()) == {0.5}
    assert "chance, 0.5" in words(accuracy)


def test_every_panel_marks_the_interpolation_point_on_any_axis(events):
    step = [event["step"] for event in events if event["kind"] == "eval"][-1]
    line = {"kind": "eval", "set": "train_probe", "step": step, "eval/train_probe/rm/interpolated_at": step}
    marked = [*events, line]
    for x in ("step", "epoch"):
        place = next(event[x] for event in events if event["step"] == step)
        for axis in (*plots.training_figure(marked, x).axes, *plots.rewards_figure(marked, x).axes):
            (mark,) = [each for each in axis.get_lines() if each.get_linestyle() == ":"]
            assert list(mark.get_xdata()) == [place, place] and " interpolated" in words(axis)
    assert not any(" interpolated" in words(axis) for axis in plots.training_figure(events).axes)


def test_gradient_norm_is_logarithmic_only_over_decades(events):
    assert plots.training_figure(events).axes[3].get_yscale() == "linear"
    wild = [{**event, "train/rm/grad_norm": 10.0 ** (event["step"] % 4)} for event in events]
    assert plots.training_figure(wild).axes[3].get_yscale() == "log"
    zero = [{**event, "train/rm/grad_norm": 100.0 * (event["step"] % 3)} for event in events]
    assert plots.training_figure(zero).axes[3].get_yscale() == "linear"


def test_gaps_in_the_events_are_left_out():
    events = [
        {"kind": "train", "step": 1, "train/rm/loss": 0.7},
        {"kind": "train", "step": 2, "train/rm/loss": math.nan},
        {"kind": "train", "step": 3, "train/rm/loss": None},
        {"kind": "train", "step": 4, "train/rm/loss": 0.5},
        {"kind": "eval", "step": 4, "set": "other", "eval/other/rm/loss": 0.6},
    ]
    axis = plots.training_figure(events).axes[0]
    assert lines_of(axis) == {(0.7, 0.5), (0.6,)}
    assert words(axis) == {"train", "other"}
    assert len(plots.training_figure([]).axes) == 4


def test_labels_at_the_ends_of_close_lines_stay_apart(events):
    close = [{**event, "eval/valid/rm/loss": event.get("eval/valid/rm/loss") and 0.48} for event in events]
    low, high = sorted(text.get_position()[1] for text in plots.training_figure(close).axes[0].texts)
    assert high - low >= 0.08 - 1e-9


def test_gap_is_the_difference_with_the_interval_of_two_independent_figures():
    def event(name, accuracy, low, high):
        key = f"eval/{name}/rm/accuracy"
        return {"kind": "eval", "step": 5, "set": name, key: accuracy, key + "_low": low, key + "_high": high}

    events = [event("train_probe", 0.80, 0.76, 0.83), event("valid", 0.70, 0.66, 0.73), {"kind": "train", "step": 5}]
    (gap,) = plots.gap_points(events)
    assert gap.step == 5
    assert gap.value == pytest.approx(0.10)
    assert gap.low == pytest.approx(0.10 - math.hypot(0.04, 0.03))
    assert gap.high == pytest.approx(0.10 + math.hypot(0.03, 0.04))
    assert plots.gap_points(events[1:]) == []


def test_gap_interval_agrees_with_simulation():
    draw = np.random.default_rng(0)
    probe, valid = draw.normal(0.8, 0.02, 100_000), draw.normal(0.7, 0.015, 100_000)
    event = {}
    for name, mean, se in (("train_probe", 0.8, 0.02), ("valid", 0.7, 0.015)):
        key = f"eval/{name}/rm/accuracy"
        event[name] = {"kind": "eval", "step": 1, "set": name, key: mean}
        event[name] |= {key + "_low": mean - 1.96 * se, key + "_high": mean + 1.96 * se}
    (gap,) = plots.gap_points(list(event.values()))
    assert (gap.low, gap.high) == pytest.approx(tuple(np.quantile(probe - valid, [0.025, 0.975])), abs=0.001)


def test_gap_figure_without_a_probe_says_what_to_set():
    with pytest.raises(UserError, match="no gap to draw") as caught:
        plots.gap_figure([{"kind": "train", "step": 1}])
    assert "eval.train_probe" in caught.value.hint


def test_histograms_count_every_decided_judgment():
    rows = [
        scored("a", (1.0, 0.0, -1.0), [(0, 1), (0, 2), (1, 2, 0.5)], lengths=(3, 4, 5)),
        scored("b", (2.0, 5.0), [(1, 0)], lengths=(8, 9)),
    ]
    filled = [patch for patch in plots.score_figure(rows).axes[0].patches if patch.get_fill()]
    heights = [max(point[1] for point in patch.get_xy()) for patch in filled]
    assert heights == [2.0, 1.0]  # the score 1 twice on the preferred side; three different scores on the other
    assert words(plots.score_figure(rows).axes[0]) == {"preferred, mean 2.33", "other, mean 0.333"}
    assert plots.response_lengths(rows) == {"preferred": [3, 3, 9], "other": [4, 5, 8]}
    assert words(plots.length_figure({"first": [2, 4], "none": []}).axes[0]) == {"first, mean 3"}
    assert len(plots.length_figure({}).axes[0].patches) == 0


def test_svg_is_plain_well_formed_and_always_the_same(events):
    text = style.svg_text(plots.training_figure(events))
    assert text == style.svg_text(plots.training_figure(events))
    root = ElementTree.fromstring(text)
    assert root.tag == f"{SVG}svg"
    assert {"Loss", "Accuracy", "train", "valid"} <= {node.text for node in root.iter(f"{SVG}text")}
    assert not any(mark in text for mark in ("<?xml", "<!DOCTYPE", "<metadata", "matplotlib.org"))


def test_png_is_a_picture_and_always_the_same(events):
    data = style.png_bytes(plots.gap_figure(events))
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = (int.from_bytes(data[at : at + 4], "big") for at in (16, 20))
    assert (width, height) == (int(4.6 * 160), int(2.8 * 160))
    assert data == style.png_bytes(plots.gap_figure(events))


def test_names_are_never_read_as_formulas():
    text = style.svg_text(plots.length_figure({r"$\frac{": [1, 2], "<b>": [3]}))
    shown = {node.text for node in ElementTree.fromstring(text).iter(f"{SVG}text")}
    assert {r"$\frac{, mean 1.5", "<b>, mean 3"} <= shown


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch, events):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UserError) as caught:
        plots.training_figure(events)
    assert caught.value.hint == 'pip install "bradley[report]"'
