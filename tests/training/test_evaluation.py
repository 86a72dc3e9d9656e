"""Selection, patience and the refusal of scores that are not numbers."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bradley.config import Loss, Train
from bradley.errors import DivergedError
from bradley.records import Judgment, ScoredComparison
from bradley.training import evaluation, interpolation
from bradley.training.evaluation import Evaluator
from tests.helpers import LLAMA, comparisons, store_for, tiny_model, tokenizer_for


def rows(margins):
    return [
        ScoredComparison(f"c{i}", f"k{i}", (m, 0.0), (3, 3), (1, 1), (False, False), (Judgment(0, 1),))
        for i, m in enumerate(margins)
    ]


def verdicts(tmp_path, monkeypatch, history, **settings):
    scored = iter(history)
    monkeypatch.setattr(evaluation, "score_store", lambda *_: rows(next(scored)))
    evaluator = Evaluator({"valid": None}, Train(**settings), Loss(), tmp_path)
    return [evaluator.run(None, step) for step in range(len(history))], evaluator


def test_best_is_by_accuracy_then_by_nll_and_a_tie_keeps_the_earlier(tmp_path, monkeypatch):
    history = [[1, -1], [1, 1], [2, 2], [2, 2], [9, -1]]
    made, evaluator = verdicts(tmp_path, monkeypatch, history)
    assert [v.improved for v in made] == [True, True, True, False, False]
    assert evaluator.best_step == 2
    assert evaluator.summaries["best"]["valid"]["nll"] == pytest.approx(math.log1p(math.exp(-2)))


def test_patience_counts_evaluations_without_an_improvement_of_min_delta(tmp_path, monkeypatch):
    """NLL falls by less than min_delta from step 1 on: the best checkpoint moves, the patience does not."""
    history = [[0, 0], [1, 1], [1.01, 1.01], [1.02, 1.02], [1.03, 1.03]]
    made, _ = verdicts(tmp_path, monkeypatch, history, early_stopping="nll", patience=2, min_delta=0.1, select_by="nll")
    assert [v.stop for v in made] == ["", "", "", *["no improvement in 2 evaluations"] * 2]
    assert all(v.improved for v in made)


def evaluated(history, first, evaluator, patch):
    """Run an evaluator on `history` from step `first` on; what each evaluation decided."""
    scored = iter(history)
    patch.setattr(evaluation, "score_store", lambda *_: rows(next(scored)))
    made = [evaluator.run(None, first + n) for n in range(len(history))]
    return [(verdict.improved, verdict.stop, verdict.line) for verdict in made]


def test_an_evaluation_tells_how_far_it_is_before_every_micro_batch(tmp_path):
    stores, told = {"valid": store_for(comparisons(12)), "hard": store_for(comparisons(3))}, []
    model = tiny_model(LLAMA, tokenizer_for(comparisons(12)))
    evaluator = Evaluator(stores, Train(micro_batch_tokens=100), Loss(), tmp_path)
    heard = evaluator.run(model, 1, None, told.append)
    assert told[0].startswith("evaluating   valid: 0 micro-batches") and told[-1].startswith("evaluating   hard: ")
    assert len(told) > 4 and heard.facts == evaluator.run(model, 2).facts


MARGINS = st.lists(st.sampled_from([-1.0, 0.0, 0.5, 1.0, 2.0]), min_size=2, max_size=2)


@given(
    st.lists(MARGINS, min_size=1, max_size=7),
    st.integers(0, 7),
    st.sampled_from(["nll", "accuracy", "off"]),
    st.integers(1, 3),
    st.sampled_from([0.0, 0.1]),
    st.sampled_from(["nll", "accuracy"]),
)
@example([[1, 1]] * 4, 3, "nll", 2, 0.0, "nll")  # the second evaluation without a gain comes after the resume
def test_what_is_resumed_anywhere_decides_as_if_never_interrupted(history, cut, metric, patience, min_delta, select_by):
    """State goes through JSON; every attribute ends equal, also those that no verdict shows yet."""
    train = Train(early_stopping=metric, patience=patience, min_delta=min_delta, select_by=select_by)

    def fresh():
        return Evaluator({"valid": None}, train, Loss(), Path(), {"valid": {0: comparisons(1)[0]}})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "write_rows", lambda *_: None)
        whole, before, after = fresh(), fresh(), fresh()
        expected = evaluated(history, 0, whole, patch)
        decided = evaluated(history[:cut], 0, before, patch)
        after.restore(json.loads(json.dumps(before.state())))
        decided += evaluated(history[cut:], min(cut, len(history)), after, patch)
    assert decided == expected
    assert vars(after) == vars(whole)


def test_off_never_stops(tmp_path, monkeypatch):
    made, _ = verdicts(tmp_path, monkeypatch, [[1, 1]] * 9)
    assert not any(v.stop for v in made)


def test_interpolation_is_read_off_the_probe_alone(tmp_path, monkeypatch):
    """Margins of 0 and 3: mean probability 0.5 and 0.953. The validation set comes first, and does not stop it."""
    scored = iter([rows([3]), rows([0]), rows([0]), rows([3])])
    monkeypatch.setattr(evaluation, "score_store", lambda *_: next(scored))
    settings = Train(past_interpolation=0.95, interpolation_epochs=0)
    evaluator = Evaluator({"valid": None, "train_probe": None}, settings, Loss(), tmp_path)
    assert evaluator.run(None, 1).stop == ""
    assert evaluator.unreached() == "train.past_interpolation = 0.95 was not reached: the train probe is at 0.5"
    assert evaluator.run(None, 2, epoch=0.5).stop == (
        "train.past_interpolation = 0.95 was reached at step 2, epoch 0.5: the train probe was at 0.952574; trained to "
        "epoch 0.5"
    )
    assert evaluator.unreached() == ""


@given(
    st.lists(st.sampled_from([0.2, 0.9, 0.95]), min_size=1, max_size=12),
    st.integers(1, 3),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.sampled_from([0.0, 1.0, 2.5]),
    st.sampled_from(["mean_probability", "share_above_99"]),
)
def test_past_interpolation_means_held_and_then_trained_on(values, hold, epochs, times, by):
    """Against the definition: the first row of `hold` evaluations, and the first evaluation at the last epoch."""
    train = Train(
        past_interpolation=0.9,
        interpolation_by=by,
        interpolation_hold=hold,
        interpolation_epochs=epochs,
        interpolation_times=times,
    )
    known, stopped = {}, None
    for n, value in enumerate(values):
        other = {"mean_probability": 0.0, "share_above_99": 0.0}
        # A resume anywhere: the memory goes through JSON.
        known = json.loads(json.dumps(interpolation.note(known, train, {**other, by: value}, 3 * n, n / 2)))
        if interpolation.reason_to_stop(known, train):
            stopped = n
            break
    rows_of = (n for n in range(len(values) - hold + 1) if min(values[n : n + hold]) >= 0.9)
    first = next(rows_of, None)
    if first is None:
        assert interpolation.point(known) is None and stopped is None
        assert " was not " in interpolation.missed(known, train, {by: values[-1]})
        return
    held = (first + hold - 1) / 2
    last = held * times if times else held + epochs
    assert interpolation.point(known) == {"step": 3 * first, "epoch": first / 2, "value": values[first]}
    assert stopped == next((n for n in range(len(values)) if n / 2 >= max(held, last)), None)
    assert bool(interpolation.missed(known, train, {})) == (stopped is None)


def test_every_line_of_the_probe_after_the_point_says_where_it_is(tmp_path, monkeypatch):
    scored = iter([rows([0]), rows([5]), rows([5]), rows([5])])
    monkeypatch.setattr(evaluation, "score_store", lambda *_: next(scored))
    evaluator = Evaluator({"train_probe": None}, Train(past_interpolation=0.9, interpolation_hold=2), Loss(), tmp_path)
    events = [evaluator.run(None, step, epoch=step / 10).events[0][1] for step in (0, 4, 8, 12)]
    assert [event["eval/train_probe/rm/interpolated_at"] for event in events] == [None, None, 4, 4]
    plain = Evaluator({"train_probe": None}, Train(), Loss(), tmp_path)
    monkeypatch.setattr(evaluation, "score_store", lambda *_: rows([5]))
    assert "eval/train_probe/rm/interpolated_at" not in plain.run(None, 0).events[0][1]


def test_the_last_step_is_taken_whatever_its_figures(tmp_path, monkeypatch):
    made, evaluator = verdicts(tmp_path, monkeypatch, [[1, 1], [2, 2], [-1, -1]], select_by="last")
    assert all(verdict.improved for verdict in made) and evaluator.best_step == 2
    assert not any("best so far" in verdict.line for verdict in made)
    assert evaluator.summaries["best"] == evaluator.summaries["last"]


def test_every_set_gives_its_figures_scores_and_samples(tmp_path, monkeypatch):
    texts = comparisons(3)
    monkeypatch.setattr(evaluation, "score_store", lambda *_: rows([1, -2, 3]))
    shown = {"valid": {0: texts[0], 1: texts[1]}}
    evaluator = Evaluator({"valid": None, "other": None}, Train(), Loss(), tmp_path, shown)
    events = evaluator.run(None, 0).events
    assert [(kind, fields["set"]) for kind, fields in events] == [
        ("eval", "valid"), ("scores", "valid"), ("samples", "valid"), ("eval", "other"), ("scores", "other")
    ]  # fmt: skip
    assert events[1][1]["chosen"]["mean"] == pytest.approx(2 / 3) and events[1][1]["rejected"]["max"] == 0.0
    samples = events[2][1]["rows"]
    assert [(row["chosen_score"], row["correct"]) for row in samples] == [(1, True), (-2, False)]
    assert samples[0]["chosen"] == texts[0].responses[0].text
    assert evaluator.shown["best"]["valid"] == samples


def test_a_benchmark_gives_its_own_figures_and_other_sets_stay_as_they_are(tmp_path, monkeypatch):
    """Three rows of HHH: harmless 1 of 2 right, honest with equal scores, which count nothing as published."""
    subsets = ("harmless", "harmless", "honest")
    marked = [
        replace(row, tags={"benchmark": "hhh", "subset": subset})
        for row, subset in zip(rows([1, -2, 0]), subsets, strict=True)
    ]
    scored = iter([marked, rows([1, -2, 0])])
    monkeypatch.setattr(evaluation, "score_store", lambda *_: next(scored))
    evaluator = Evaluator({"hhh": None, "other": None}, Train(), Loss(), tmp_path)
    events = {fields["set"]: fields for kind, fields in evaluator.run(None, 0).events if kind == "eval"}
    figures = {key.removeprefix("eval/hhh/rm/benchmark_"): value for key, value in events["hhh"].items()}
    assert figures["overall"] == pytest.approx(1 / 3)
    assert (figures["harmless"], figures["honest"], figures["helpful"]) == (0.5, 0.0, None)
    assert figures["overall_low"] <= figures["overall"] <= figures["overall_high"]
    assert evaluator.summaries["best"]["hhh"]["benchmark"]["benchmark"] == "hhh"
    assert "benchmark" not in evaluator.summaries["best"]["other"]
    assert not any("benchmark" in key for key in events["other"])


def test_a_score_that_is_not_a_number_names_its_comparison(tmp_path, monkeypatch):
    with pytest.raises(DivergedError, match="evaluation at step 1: a score of valid comparison c1 is not finite"):
        verdicts(tmp_path, monkeypatch, [[1, 1], [1, math.nan]])


def test_constant_scores_are_said_to_be_degenerate_on_the_screen(tmp_path, monkeypatch):
    made, evaluator = verdicts(tmp_path, monkeypatch, [[2, 2, 2], [1, 2, 3]])
    assert [" DEGENERATE" in verdict.line for verdict in made] == [True, False]
    assert evaluator.summaries["last"]["valid"]["degenerate"] is False
