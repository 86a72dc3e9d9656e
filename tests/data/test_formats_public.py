"""Public data sets: SHP, summaries, RewardBench 2, HelpSteer, each against what its notes say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bradley.errors import DataError
from bradley.records import Judgment, Rejected
from tests.data.labelled_rows import read
from tests.data.rows import OTHER, REPLY, SAMPLES, TOOL, USER, as_pairs, one, replies

SHP, TLDR, BENCH = SAMPLES["shp"], SAMPLES["tldr"], SAMPLES["rewardbench2"]


def test_shp_labels_say_which_answer_has_more_karma():
    result = one(SHP)
    assert as_pairs(result.prompt) == [("user", "hi")] and result.judgments == (Judgment(0, 1),)
    assert [r.score for r in result.responses] == [12.0, 3.0] and replies(result) == ["yo", "no"]
    assert one({**SHP, "labels": 0}).judgments == (Judgment(1, 0),)
    bare = {key: SHP[key] for key in ("history", "human_ref_A", "human_ref_B", "labels")}
    assert [r.score for r in one(bare).responses] == [None, None] and one(bare).id == "rows:1"


@pytest.mark.parametrize(
    ("change", "ratio"),
    [
        ({}, 4.0),
        ({"score_ratio": 2.5}, 2.5),
        ({"score_ratio": None}, 4.0),
        ({"score_ratio": None, "score_A": 3, "score_B": 6}, 2.0),
        ({"score_ratio": None, "score_A": -3, "score_B": -3}, 1.0),
    ],
)
def test_shp_rows_below_the_ratio_are_left_out(change, ratio):
    row = {**SHP, **change}
    assert not isinstance(one(row, min_score_ratio=ratio), Rejected) and not isinstance(one(row), Rejected)
    left = one(row, min_score_ratio=ratio + 0.01)
    assert (
        left.reason == "score_ratio"
        and left.detail == f"scores with a ratio of {ratio:g}, the least is {ratio + 0.01:g}"
    )


def test_shp_ratios_without_positive_scores_and_without_scores():
    for low in (0, -2):
        row = {**SHP, "score_ratio": None, "score_B": low}
        assert not isinstance(one(row, min_score_ratio=1e9), Rejected)
    with pytest.raises(DataError, match=r"row 1: found no score_ratio .* wanted what data.min_score_ratio looks at"):
        one({**SHP, "score_ratio": None, "score_B": None}, min_score_ratio=2)


def test_summaries_follow_the_prompt_of_the_paper():
    result = one(TLDR)
    assert as_pairs(result.prompt) == [("text", "SUBREDDIT: r/s\n\nTITLE: t\n\nPOST: hi\n\nTL;DR:")]
    assert [as_pairs(r.messages) for r in result.responses] == [[("text", " yo")], [("text", " no")]]
    assert result.judgments == (Judgment(0, 1),)
    bare = {
        "info": {"article": "news", "post": None},
        "summaries": [{"text": c} for c in ("a", "  b", "c ")],
        "choice": 1,
    }
    result = one(bare)
    assert as_pairs(result.prompt) == [("text", "Article:\nnews\n\nTL;DR:")] and replies(result) == [" a", " b", " c "]
    assert result.judgments == (Judgment(1, 0), Judgment(1, 2)) and result.id == "rows:1"


def test_every_chosen_answer_is_better_than_every_rejected_one():
    result = one(BENCH)
    assert as_pairs(result.prompt) == [("user", "hi")] and replies(result) == ["yo", "no", "nay", "nope"]
    assert result.judgments == (Judgment(0, 1), Judgment(0, 2), Judgment(0, 3)) and result.rank is None
    ties = one({**BENCH, "subset": "Ties", "chosen": ["a", "b"], "rejected": ["c", "d"]})
    assert {(j.better, j.worse) for j in ties.judgments} == {(0, 2), (0, 3), (1, 2), (1, 3)}
    assert len(ties.judgments) == 4 and ties.tags["subset"] == "Ties"


@pytest.mark.parametrize(
    ("format", "key"), [("helpsteer2", "preference_strength"), ("helpsteer3", "overall_preference")]
)
@pytest.mark.parametrize("strength", [-3, -2, -1, 1, 2, 3])
def test_a_negative_strength_prefers_the_first_response(format, key, strength):
    row = {**SAMPLES[format], key: strength}
    sides = (0, 1) if strength < 0 else (1, 0)
    result = one(row, format=format)
    assert as_pairs(result.prompt) == [("user", "hi")] and replies(result) == ["yo", "no"]
    assert result.judgments == (Judgment(*sides, margin=abs(strength)),)
    assert one(row, format=format, strength_as="weight").judgments == (Judgment(*sides, weight=abs(strength)),)
    tie = {**row, key: 0}
    assert one(tie).reason == "no_judgment"
    assert one(tie, equal_scores="tie").judgments == (Judgment(0, 1, 0.5, margin=0.0),)
    assert one(tie, equal_scores="tie", strength_as="weight").judgments == (Judgment(0, 1, 0.5),)


def test_turns_of_helpsteer_prompts_are_marked():
    prompt = "hi\n<extra_id_1>Assistant\nyo\nyo\n<extra_id_1>User\nand?"
    result = one({**SAMPLES["helpsteer2"], "prompt": prompt})
    assert as_pairs(result.prompt) == [("user", "hi"), ("assistant", "yo\nyo"), ("user", "and?")]
    inline = "what is <extra_id_1>User in\nthis?"
    assert as_pairs(one({**SAMPLES["helpsteer2"], "prompt": inline}).prompt) == [("user", inline)]


def test_helpsteer3_contexts_are_conversations():
    context = [USER, REPLY, {**USER, "content": "and?"}]
    assert len(one({**SAMPLES["helpsteer3"], "context": context}).prompt) == 3
    with pytest.raises(DataError, match="every tool turn after an assistant"):
        one({**SAMPLES["helpsteer3"], "context": [USER, TOOL, OTHER]})


INSIDE = ("custom_system_prompt", "principle", "critique", "annotations")


@given(st.sets(st.sampled_from(INSIDE)), st.booleans(), st.booleans())
def test_what_completions_of_ultrafeedback_hold_beside_the_answer_is_named(keys, fine, overall):
    values = dict(
        zip(INSIDE, ("Be brief in all you say.", "honesty", "Good.", {"honesty": {"Rating": "4"}}), strict=True)
    )
    numbers = {"overall_score": overall, "fine-grained_score": fine or not overall}

    def entry(n):
        scores = {key: n + 1.0 for key, present in numbers.items() if present}
        return {"response": f"an answer of number {n}"} | scores | {key: values[key] for key in keys}

    rows = [{"instruction": f"say {n}", "completions": [entry(0), entry(1), entry(2)]} for n in range(6)]
    reading, results = read(rows)
    assert reading.format == "ultrafeedback" and [len(one.responses) for one in results] == [3] * 6
    said = reading.describe()
    assert [key for key in INSIDE if f"completions.{key}" in said] == [key for key in INSIDE if key in keys]
    named = "not read as the label: completions.*.fine-grained_score" in said
    assert named == (overall and fine)
