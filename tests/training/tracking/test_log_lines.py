"""Lines for the logs of clusters: what a run computed is what their readers find."""

import json
import re

import pytest

from bradley.training.tracking.log_lines import METRIC_DEFINITIONS, diagnosis, plain_name
from tests.training.finished import Finished, numbers


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return Finished(tmp_path_factory.mktemp("lines"), ["rm_diag", "key_value"])


def test_one_diagnosis_per_evaluated_set(finished):
    lines = [json.loads(line.removeprefix("RM_DIAG ")) for line in finished.lines if line.startswith("RM_DIAG ")]
    evals = [event for event in finished.events if event["kind"] == "eval"]
    assert [(line["step"], line["split"]) for line in lines] == [(event["step"], event["set"]) for event in evals]
    for line, event in zip(lines, evals, strict=True):
        figure = {key.rpartition("/")[2]: value for key, value in event.items()}
        assert list(line) == (
            [
                "step",
                "split",
                "loss",
                "accuracy",
                "margin",
                "ece",
                "auroc",
                "delta_stats",
                "reward_stats",
                "length_stats",
                "calibration_bins",
            ]
        )
        assert line["loss"] == figure["loss"] and line["margin"] == figure["reward_margin"]
        assert line["calibration_bins"] == figure["calibration_bins"] and line["ece"] == figure["ece"]
        assert list(line["delta_stats"]) == ["mean", "std", "p05", "p50", "p95", "neg_rate"]
        assert line["delta_stats"]["p95"] == figure["reward_margin_p95"]
        assert line["reward_stats"]["rejected_mean"] == figure["rejected_rewards"]
        assert line["length_stats"]["reward_len_corr"] == figure["length_correlation"]


def test_every_figure_of_a_diagnosis_stands_under_the_name_that_its_readers_know():
    keys = (
        "loss accuracy reward_margin ece auroc reward_margin_std reward_margin_p05 reward_margin_p50 reward_margin_p95 "
        "negative_share chosen_rewards chosen_rewards_std rejected_rewards rejected_rewards_std max_abs_score "
        "length_correlation margin_length_correlation length_difference length_difference_std calibration_bins"
    )
    figures = {f"eval/hard/rm/{key}": place for place, key in enumerate(keys.split(" "))}
    assert diagnosis({"step": 7, "set": "hard", **figures}) == {
        "step": 7,
        "split": "hard",
        "loss": 0,
        "accuracy": 1,
        "margin": 2,
        "ece": 3,
        "auroc": 4,
        "delta_stats": {"mean": 2, "std": 5, "p05": 6, "p50": 7, "p95": 8, "neg_rate": 9},
        "reward_stats": {
            "chosen_mean": 10, "chosen_std": 11, "rejected_mean": 12, "rejected_std": 13, "abs_max": 14,
        },
        "length_stats": {"reward_len_corr": 15, "delta_len_diff_corr": 16, "len_diff_mean": 17, "len_diff_std": 18},
        "calibration_bins": 19,
    }  # fmt: skip


def key_value_lines(finished):
    return [line for line in finished.lines if line.startswith("step=")]


def test_a_key_value_line_has_every_number_of_its_event_and_nothing_else(finished):
    lines = key_value_lines(finished)
    for line, event in zip(lines, finished.events, strict=True):
        found = dict(word.split("=") for word in line.split(" "))
        assert all(re.fullmatch("[a-z0-9_]+", name) for name in found)
        assert sorted(map(float, found.values())) == sorted(numbers(event).values())
        for key, value in numbers(event).items():
            assert float(found[key.replace("/rm/", "_").replace("/", "_")]) == value


def test_the_metric_definitions_read_back_what_was_written(finished):
    """The way a cluster reads a log: search each line with each expression, take its one group."""
    lines, found = key_value_lines(finished), {}
    for definition in METRIC_DEFINITIONS:
        expression = re.compile(definition["Regex"])
        assert expression.groups == 1
        matches = [match for line in lines if (match := expression.search(line))]
        found[definition["Name"]] = [float(match.group(1)) for match in matches]
    for name in found:
        values = [value for e in finished.events for key, value in numbers(e).items() if plain_name(key) == name]
        if not name.startswith("eval_train_probe"):  # this run has no probe
            assert found[name] == values and values, name
    assert len(METRIC_DEFINITIONS) == len(found) <= 40


@pytest.mark.parametrize("value", [1e-05, -3.25e20, 0.0, -1, 17])
def test_a_number_in_any_notation_is_read_back(value):
    (definition,) = [d for d in METRIC_DEFINITIONS if d["Name"] == "train_loss"]
    line = f"eval_train_loss=9 train_loss={value!r} xtrain_loss=9"
    assert float(re.search(definition["Regex"], line).group(1)) == value
