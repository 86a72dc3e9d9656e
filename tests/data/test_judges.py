"""Judges of one pair: equal and opposite rows are votes where several judges are evident, and duplicates elsewhere."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bradley.config import Data
from bradley.data.report import describe
from bradley.data.table import digest
from bradley.errors import DataError, UserError
from tests.data.loading import load

ALONE = {"valid_share": 0.0, "max_rejected_share": 0.0}


def judged(prompt, first, second, **more):
    """`first` rows that prefer text A, then `second` rows that prefer text B."""
    sides = [("A", "B")] * first + [("B", "A")] * second
    return [{"prompt": prompt, "chosen": f"{c} {prompt}", "rejected": f"{r} {prompt}", **more} for c, r in sides]


def labels(splits):
    """Preferred text, probability and weight of each comparison, by prompt."""
    found = {}
    for c in splits.train:
        (judgment,) = c.judgments
        found[c.prompt[0].content] = (c.responses[judgment.better].text, judgment.probability, judgment.weight)
    assert len(found) == len(splits.train)
    return found


def test_three_to_none_and_two_to_one_are_votes_of_weight_one():
    splits = load(Data(**ALONE), train=[*judged("p", 3, 0), *judged("q", 2, 1), *judged("r", 1, 2), *judged("s", 0, 1)])
    assert labels(splits) == {
        "p": ("A p", 1.0, 1.0),
        "q": ("A q", 2 / 3, 1.0),
        "r": ("B r", 2 / 3, 1.0),
        "s": ("B s", 1.0, 1.0),
    }
    account = splits.report["splits"]["train"]
    assert account["gathered"] == {"pairs": 3, "rows": 9, "opposed": 2, "tied": 0} and account["gathered_away"] == 6
    assert account["findings"]["duplicate"]["count"] == 0
    assert "gathered 9 judgments into votes on 3 pairs, 2 with opposite labels" in describe(splits.report)


COUNTS = st.dictionaries(
    st.sampled_from("abcdefgh"), st.tuples(st.integers(0, 4), st.integers(0, 4)).filter(any), min_size=1
)


@given(
    COUNTS,
    st.randoms(use_true_random=False),
    st.sampled_from(["share", "majority"]),
    st.sampled_from(["skip", "tie"]),
    st.booleans(),
)
def test_rows_of_judges_read_as_a_row_of_their_votes(counts, order, votes, equal, named):
    """The counts of each pair, once as rows in any order and once as a row of the format `votes`."""
    how = ALONE | {"votes": votes, "equal_scores": equal}
    rows = [row for prompt, (a, b) in counts.items() for row in judged(prompt, a, b)]
    order.shuffle(rows)
    if named:
        rows = [row | {"annotator": f"person {n}"} for n, row in enumerate(rows)]
    counted = [
        {"prompt": p, "response_a": f"A {p}", "response_b": f"B {p}", "votes": {"a": a, "b": b}}
        for p, (a, b) in counts.items()
    ]
    # A pair that nobody contradicts takes part in both.
    sure = judged("sure", 1, 0)
    expected = load(Data(**how), train=[*counted, counted[0] | {"prompt": "sure", "votes": ["a"]}])
    if not any(a and b for a, b in counts.values()) and not named:
        how |= {"judges": "gather"}
    if votes == "majority" and all(a + b == 1 for a, b in counts.values()):
        return  # one judge for each pair: nothing is gathered, and the setting is idle
    found = labels(load(Data(**how), train=[*rows, *sure]))
    wanted = labels(expected)
    assert found.keys() == wanted.keys()
    for prompt in counts.keys() & wanted.keys():
        side = (found[prompt], wanted[prompt])
        assert side[0] == side[1] or (side[0][1:] == side[1][1:] == (0.5, 1.0))


def test_equal_rows_without_a_sign_of_several_judges_are_duplicates():
    rows = [*judged("p", 3, 0), *(row for n in range(60) for row in judged(f"q{n}", 1, 0))]
    splits = load(Data(valid_share=0.0), train=rows)
    account = splits.report["splits"]["train"]
    assert account["findings"]["duplicate"]["dropped"] == 2 and account["gathered"]["rows"] == 0
    gathered = load(Data(judges="gather", **ALONE), train=rows)
    assert labels(gathered) == labels(splits) and gathered.report["splits"]["train"]["gathered_away"] == 2


@pytest.mark.parametrize("key", ["annotator", "annotator_id", "worker-id", "Rater", "judge", "labeler_name", "user_id"])
def test_a_column_of_annotators_shows_judges_and_their_duplicates(key):
    rows = judged("p", 4, 0)
    for row, name in zip(rows, ("ann", "bob", "bob", "eve"), strict=True):
        row[key] = name
    account = load(Data(valid_share=0.0, max_rejected_share=0.5), train=rows).report["splits"]["train"]
    assert account["findings"]["duplicate"]["dropped"] == 1
    assert account["gathered"] == {"pairs": 1, "rows": 3, "opposed": 0, "tied": 0}
    same = [row | {key: "gpt-4"} for row in rows]
    account = load(Data(valid_share=0.0, max_rejected_share=0.9), train=same).report["splits"]["train"]
    assert account["findings"]["duplicate"]["dropped"] == 3 and account["gathered"]["rows"] == 0


def test_a_second_row_of_the_same_judge_is_no_second_vote():
    rows = judged("p", 3, 1)
    for row, name in zip(rows, ("ann", "ann", "bob", "eve"), strict=True):
        row["annotator"] = name
    splits = load(Data(valid_share=0.0, max_rejected_share=0.5), train=rows)
    assert labels(splits) == {"p": ("A p", 2 / 3, 1.0)}
    assert splits.report["splits"]["train"]["findings"]["duplicate"]["dropped"] == 1


def test_a_row_of_the_same_id_is_a_duplicate_unless_the_id_names_the_pair():
    rows = judged("p", 3, 1)
    of_rows = [row | {"id": name} for row, name in zip(rows, (1, 1, 2, 3), strict=True)]
    splits = load(Data(valid_share=0.0, max_rejected_share=0.5), train=of_rows)
    assert labels(splits) == {"p": ("A p", 2 / 3, 1.0)}
    assert splits.report["splits"]["train"]["findings"]["duplicate"]["dropped"] == 1
    of_pairs = [row | {"id": 7} for row in rows]
    assert labels(load(Data(**ALONE), train=of_pairs)) == {"p": ("A p", 0.75, 1.0)}


@pytest.mark.parametrize("equal", ["skip", "tie"])
def test_equal_votes_follow_the_rule_of_ties_and_are_no_unusable_rows(equal):
    rows = [*judged("p", 2, 2), *judged("q", 1, 0)]
    splits = load(Data(equal_scores=equal, **ALONE), train=rows)
    assert labels(splits).get("p", ("", 0.5, 1.0))[1:] == (0.5, 1.0) and ("p" in labels(splits)) is (equal == "tie")
    account = splits.report["splits"]["train"]
    assert account["gathered"] == {"pairs": int(equal == "tie"), "rows": 4, "opposed": 1, "tied": int(equal == "skip")}
    assert ("equal votes on 1 pairs left out" in describe(splits.report)) is (equal == "skip")


def test_weights_of_rows_are_weights_of_votes():
    rows = [*judged("p", 1, 0, weight=3.0), *judged("p", 0, 1, weight=1.0)]
    assert labels(load(Data(**ALONE), train=rows)) == {"p": ("A p", 0.75, 2.0)}
    soft = [*judged("p", 1, 0, probability=0.6), *judged("p", 0, 1, probability=0.8)]
    assert labels(load(Data(**ALONE), train=soft))["p"] == ("B p", pytest.approx(0.6), 1.0)


def test_margins_stay_only_where_the_judges_agree():
    splits = load(Data(**ALONE), train=[*judged("p", 2, 0, margin=2.0), *judged("q", 2, 1, margin=2.0)])
    assert {c.prompt[0].content: c.judgments[0].margin for c in splits.train} == {"p": 2.0, "q": None}


def test_rows_apart_and_rows_of_evaluation_sets_stay_as_they_are():
    rows = [*judged("p", 2, 1), *judged("q", 1, 0)]
    assert len(load(Data(judges="apart", **ALONE), train=rows).train) == 4
    splits = load(Data(valid_share=0.0), train=judged("t", 2, 1), valid=rows)
    assert len(splits.evals["valid"]) == 4 and len(splits.train) == 1


@pytest.mark.parametrize("policy", ["drop", "error"])
def test_a_policy_about_contradictions_goes_before(policy):
    rows = [*judged("p", 2, 1), *judged("q", 1, 0)]
    if policy == "error":
        with pytest.raises(DataError, match="3 training comparisons are contradictory"):
            load(Data(contradictory=policy, **ALONE), train=rows)
    else:
        assert labels(load(Data(contradictory=policy, **ALONE), train=rows)) == {"q": ("A q", 1.0, 1.0)}


def test_gathered_pairs_are_grouped_capped_and_hashed_with_their_votes():
    rows = [*judged("p", 2, 1), {"prompt": "p", "chosen": "C", "rejected": "A p"}]
    (whole,) = load(Data(group_by="prompt", **ALONE), train=rows).train
    assert [(j.probability, j.weight) for j in whole.judgments] == [(2 / 3, 1.0), (1.0, 1.0)]
    one, other = (load(Data(limit=1, **ALONE), train=judged("p", n, 1)).train for n in (2, 3))
    assert digest(one) != digest(other) and len(one) == len(other) == 1


def test_the_rule_of_votes_is_idle_without_judges():
    with pytest.raises(UserError, match=r"data\.votes = majority"):
        load(Data(votes="majority", **ALONE), train=judged("p", 1, 0))


@given(st.lists(st.tuples(st.sampled_from("pqr"), st.booleans(), st.sampled_from(["", "ann", "bob"])), max_size=20))
def test_every_row_of_judges_is_used_or_counted(made):
    rows = judged("sure", 1, 0)
    for prompt, first, name in made:
        rows += [row | ({"annotator": name} if name else {}) for row in judged(prompt, int(first), int(not first))]
    random.Random(0).shuffle(rows)
    # `load` checks that the counts add up.
    splits = load(Data(valid_share=0.0, max_rejected_share=0.99, equal_scores="tie"), train=rows)
    assert len(splits.train) >= len({row["prompt"] for row in rows})
