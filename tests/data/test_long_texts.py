"""Texts of megabytes: such a row is counted before any text is tokenized, and scoring gives the row an error."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bradley.config import Data
from bradley.data.formats import base, to_comparisons
from bradley.data.load import load_splits
from bradley.data.rows import RowPlace
from bradley.records import Comparison
from bradley.scoring.rows import Parsed, parse
from tests.data.rows import SAMPLES, one

MOST = base.LONGEST
CALL = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": "x" * MOST}}]}
END = {"role": "assistant", "content": "no"}


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "p" * MOST, "chosen": "yes", "rejected": "no"},
        {"prompt": "p", "chosen": "no", "rejected": "y" * MOST},
        {"prompt": "p", "chosen": "yes", "rejected": "no", "tools": [{"name": "t" * MOST}]},
        {"prompt": "p", "chosen": [CALL], "rejected": [END]},
        {"prompt": "p", "completions": [{"content": "a", "rank": 1}, {"content": "b" * MOST, "rank": 2}]},
        {"question": "q", "response_a": "a", "response_b": "b" * MOST, "winner": "a"},
        {"instruction": "q", "input": "i" * MOST, "chosen": "yes", "rejected": "no"},
    ],
)
def test_a_row_of_megabytes_is_counted(row):
    found = one(row)
    assert found.reason == "too_long_text" and "characters in the prompt with a response" in found.detail


def test_the_longest_row_and_token_ids_are_read():
    assert isinstance(one({"prompt": "p" * 9, "chosen": "y" * (MOST - 9), "rejected": "n"}), Comparison)
    assert isinstance(one({**SAMPLES["ids"], "chosen_ids": [1, 2, 3] * (MOST // 5)}), Comparison)


PART = st.text("ab \u00e9", min_size=1, max_size=12).map(lambda text: f"w{text}w")


@given(st.lists(st.tuples(PART, PART, PART), min_size=1, max_size=6), st.integers(6, 30))
def test_rows_are_read_up_to_the_bound_and_counted_above(parts, most):
    rows = [{"prompt": asked, "chosen": better, "rejected": worse} for asked, better, worse in parts]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "LONGEST", most)
        found = list(to_comparisons(rows))
    long = [len(asked) + max(len(better), len(worse)) > most for asked, better, worse in parts]
    assert [getattr(result, "reason", "") for result in found] == ["too_long_text" if one else "" for one in long]


def test_the_row_is_in_the_report():
    rows = [{"prompt": f"p{n}", "chosen": "yes", "rejected": "no"} for n in range(9)]
    rows[3]["prompt"] = "p" * MOST
    splits = load_splits(Data(train="-", max_rejected_share=0.2), 0, train=rows)
    assert splits.report["splits"]["train"]["rejected"]["too_long_text"]["count"] == 1


@pytest.mark.parametrize("key", ["response", "responses"])
def test_scoring_gives_the_row_an_error(key):
    sides = {"response": "y" * MOST, "responses": ["y" * MOST, "no"]}
    found = parse({"prompt": "p", key: sides[key]}, RowPlace("x", "x", 1))
    if key == "response":
        assert isinstance(found, str) and found.startswith("too_long_text: 1,000,001 characters")
    else:
        assert isinstance(found, Parsed) and list(found.gaps) == [0] and len(found.candidates.responses) == 1
