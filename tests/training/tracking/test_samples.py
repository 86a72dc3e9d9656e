"""The samples shown at every evaluation: which ones, and what is said of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bradley.records import Comparison, Judgment, Message, Response, ScoredComparison
from bradley.training.tracking.samples import SHOWN, choose, sample_lines, sample_rows
from tests.helpers import comparisons

ROWS = comparisons(20)


def asked(*judgments, prompt="Why?"):
    turns = (Message("system", "Be short."), Message("user", prompt))
    answers = tuple(Response((Message("assistant", text),)) for text in ("Because.", "So."))
    return Comparison("q1", "key", turns, answers, judgments)


def scored(*judgments, scores=(1.5, -0.5)):
    return ScoredComparison("q1", "key", scores, (3, 3), (1, 1), (False, False), judgments)


def test_the_same_seed_shows_the_same_comparisons_and_a_small_set_all_of_them():
    first = choose({"valid": ROWS, "other": ROWS, "small": ROWS[:3]}, 5, 0)
    assert first == choose({"valid": ROWS, "other": ROWS, "small": ROWS[:3]}, 5, 0)
    assert len(first["valid"]) == 5 and list(first["valid"]) == sorted(first["valid"])
    assert first["valid"].keys() != first["other"].keys()  # drawn for each set
    assert list(first["small"]) == [0, 1, 2]
    assert all(ROWS[place] == comparison for place, comparison in first["valid"].items())
    assert choose({"valid": ROWS}, 5, 1)["valid"].keys() != first["valid"].keys()
    assert choose({"valid": ROWS}, 0, 0) == {}


def test_a_sample_says_who_was_preferred_and_whether_the_scores_agree():
    first = (Judgment(0, 1), Judgment(1, 0))  # the first one counts
    (row,) = sample_rows({0: asked(*first)}, [scored(*first)])
    assert row == {
        "id": "q1",
        "prompt": "system: Be short.\nuser: Why?",
        "chosen": "Because.",
        "rejected": "So.",
        "chosen_score": 1.5,
        "rejected_score": -0.5,
        "correct": True,
    }
    turned = (Judgment(1, 0),)
    (row,) = sample_rows({0: asked(*turned)}, [scored(*turned)])
    assert (row["chosen"], row["chosen_score"], row["correct"]) == ("So.", -0.5, False)


@pytest.mark.parametrize(
    ("judgment", "scores"), [(Judgment(0, 1, probability=0.5), (1.0, 0.0)), (Judgment(0, 1), (2.0, 2.0))]
)
def test_a_tie_of_labels_or_of_scores_is_neither_right_nor_wrong(judgment, scores):
    (row,) = sample_rows({0: asked(judgment)}, [scored(judgment, scores=scores)])
    assert row["correct"] is None


@given(st.text(), st.text())
def test_a_line_of_the_screen_is_one_line_whatever_the_texts_hold(prompt, answer):
    row = {
        "prompt": prompt, "chosen": answer, "rejected": "", "chosen_score": 1.0, "rejected_score": -2.0,
        "correct": True,
    }  # fmt: skip
    (line,) = sample_lines([row])
    assert len(line.splitlines()) == 1 and len(line) < 3 * SHOWN + 40
    assert "+1.000" in line and "-2.000" in line and "right" in line


def test_a_long_prompt_shows_its_end_and_a_long_response_its_beginning():
    row = {"prompt": "a" * 99 + " b?", "chosen": "c! " + "d" * 99, "rejected": "e", "correct": None}
    (line,) = sample_lines([{**row, "chosen_score": 0.0, "rejected_score": 0.0}])
    assert "a b? | c! d" in line and line.endswith("... | e") and "tie" in line
