"""Prompts of one split in another: found, counted, and left out or refused as the settings say."""

import pytest

from bradley.config import Data
from bradley.data.report import describe
from bradley.errors import DataError
from tests.data.loading import load, rows, write


def test_leaks_into_training_stop_the_run_or_are_dropped():
    given_rows = {"train": rows(10), "valid": rows(2), "test": rows(3)[2:]}
    with pytest.raises(DataError, match="3 training comparisons are leaked, such as 0"):
        load(Data(), **given_rows)
    splits = load(Data(leaked="drop", max_rejected_share=0.5), **given_rows)
    assert [c.id for c in splits.train] == [str(i) for i in range(3, 10)]
    assert splits.report["splits"]["train"]["findings"]["leaked"]["dropped"] == 3


@pytest.mark.parametrize("policy", ["error", "drop"])
def test_a_test_prompt_in_another_evaluation_set_stops_the_run_unless_leaks_are_kept(tmp_path, policy):
    hard = write(tmp_path / "hard.jsonl.gz", rows(3, prefix="h"))
    sets = {"eval_sets": {"hard": hard}}
    of_test = [*rows(9, prefix="t"), *rows(2, prefix="v"), *rows(1, prefix="h")]
    given_rows = {"train": rows(9), "valid": rows(4, prefix="v"), "test": of_test}
    with pytest.raises(DataError, match="3 test comparisons have a prompt that is also in valid or hard") as caught:
        load(Data(leaked=policy, **sets), **given_rows)
    assert "--data.leaked keep" in caught.value.hint and "never dropped" in caught.value.hint
    splits = load(Data(leaked="keep", **sets), **given_rows)
    assert len(splits.test) == 12 and len(splits.evals["valid"]) == 4
    found = splits.report["splits"]["test"]["findings"]["leaked"]
    assert (found["count"], found["policy"], found["dropped"], found["examples"]) == (
        3,
        "keep",
        0,
        ["test:10", "test:11", "test:12"],
    )
    assert "found 3 leaked, kept" in describe(splits.report)


@pytest.mark.parametrize("policy", ["error", "drop"])
def test_named_evaluation_sets_may_repeat_prompts_of_the_validation_set(tmp_path, policy):
    hard = write(tmp_path / "hard.jsonl.gz", rows(3, prefix="v"))
    data = Data(leaked=policy, eval_sets={"hard": hard})
    splits = load(data, train=rows(9), valid=rows(4, prefix="v"), test=rows(2, prefix="t"))
    findings = {name: split["findings"] for name, split in splits.report["splits"].items()}
    assert findings["test"]["leaked"]["count"] == 0 and "leaked" not in findings["valid"] | findings["hard"]


def test_a_prompt_leaks_from_one_format_into_another():
    spoken = {"prompt": [{"role": "user", "content": "p1 "}], "chosen": "a", "rejected": "b"}
    with pytest.raises(DataError, match="1 training comparisons are leaked, such as 1"):
        load(Data(), train=rows(4), valid=[spoken])


def test_what_differs_in_case_and_punctuation_alone_is_counted():
    held = [{"prompt": "WHAT is it?", "chosen": "a", "rejected": "b"}, *rows(2, prefix="v")]
    train = [
        {"prompt": "What is it", "chosen": "x", "rejected": "y"},
        {"prompt": "what -- is it!", "chosen": "X", "rejected": "y."},
        *rows(5),
    ]
    splits = load(Data(), train=train, valid=held)
    report = splits.report["splits"]
    assert (report["train"]["near_repeats"], report["valid"]["near_train"]) == (1, 1)
    assert "found 1 (33.3%) with the words of a training prompt" in describe(splits.report)


def test_dropping_leaks_when_asked_to_is_no_loss():
    splits = load(Data(leaked="drop", max_rejected_share=0.0), train=rows(50), valid=rows(10))
    assert len(splits.train) == 40 and "training stops here" not in describe(splits.report)
