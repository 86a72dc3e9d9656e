"""Policies and grouping, against faults planted by hand and against brute force."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bradley.data import filters as cleaning
from bradley.data.columns import number_of, topic
from bradley.data.filters import CHECKS, NO_TOPICS
from bradley.data.table import select
from bradley.errors import DataError
from bradley.records import Comparison, Judgment, Message, Response, prompt_key
from tests.helpers import comparisons


def row(name, prompt, *texts, judged=((0, 1),), **fields):
    turns = (Message("user", prompt),)
    responses = tuple(Response((Message("assistant", text),)) for text in texts)
    judgments = tuple(Judgment(*pair) for pair in judged)
    return Comparison(name, prompt_key(turns), turns, responses, judgments, **fields)


def clean(rows, policies, topics=NO_TOPICS):
    left, findings = cleaning.apply_filters(select(rows), policies, topics)
    return list(left), findings


def group_by_prompt(rows, most):
    return list(cleaning.group_by_prompt(select(rows), most))


def topics_of(rows):
    return np.array([number_of(topic(row)) for row in rows], dtype=np.uint64)


def count_judgments(rows):
    return sum(len(row.judgments) for row in rows)


def apply(rows, check, policy="drop", topics=NO_TOPICS):
    left, findings = clean(rows, {check: policy}, topics)
    finding = findings[check]
    assert len(rows) == len(left) + finding.dropped
    assert count_judgments(rows) == count_judgments(left) + finding.judgments
    return left, finding


def said(comparison):
    texts = [response.text for response in comparison.responses]
    return sorted((texts[j.better], texts[j.worse], j.probability) for j in comparison.judgments)


def test_identical_responses_lose_their_judgment():
    three = row("c", "p", "x", "y", "x", judged=((0, 1), (0, 2)), rank=(0.0, 1.0, 2.0))
    rows = [row("a", "p", "x", "x"), row("b", "p", "x", "x "), three]
    left, finding = apply(rows, "identical")
    assert (finding.count, finding.dropped, finding.judgments, finding.examples[0]) == (2, 1, 2, "a")
    assert left == [rows[1], replace(rows[2], judgments=(Judgment(0, 1),), rank=None)]


def test_blank_responses():
    rows = [row("a", "p", "x", " \n"), row("b", "", "x", "y")]
    left, finding = apply(rows, "empty")
    assert left == rows[1:] and finding.count == 1


def test_duplicates_are_found_in_whatever_order_the_responses_come():
    first = row("a", "p", "x", "y", "z", judged=((0, 1), (1, 2)))
    elsewhere = row("d", "q", "x", "y", "z", judged=((0, 1), (1, 2)))
    other = replace(first, id="c", judgments=first.judgments[:1])
    rows = [first, replace(first.swap(), id="b"), other, elsewhere]
    left, finding = apply([*rows, replace(first, id="e")], "duplicate")
    assert [c.id for c in left] == ["a", "c", "d"] and (finding.count, finding.examples) == (2, ["b", "e"])


def test_where_people_disagree_equal_rows_are_votes():
    votes = [row(str(n), "p", "x", "y") for n in range(3)] + [row("3", "p", "y", "x")]
    assert apply(votes, "duplicate")[1].count == 0 and apply(votes[:3], "duplicate")[1].count == 2
    left, findings = clean([*votes, row("4", "q", "x", "y"), row("5", "q", "x", "y")], {"duplicate": "drop"})
    assert [c.id for c in left] == ["0", "1", "2", "3", "4"] and findings["duplicate"].examples == ["5"]


def test_other_weights_and_other_template_arguments_are_no_repetition():
    first = row("a", "p", "x", "y")
    heavy = replace(first, id="b", judgments=(Judgment(0, 1, weight=5.0),))
    tooled = replace(first, id="c", template_args={"tools": [{"name": "x"}]})
    other = replace(first, id="d", template_args={"tools": [{"name": "y"}]})
    assert apply([first, heavy, tooled, other], "duplicate")[1].count == 0
    assert apply([tooled, replace(other.flip(), id="e")], "contradictory")[1].count == 0
    assert apply([tooled, replace(tooled.flip(), id="e")], "contradictory")[1].count == 2


def test_a_tie_is_the_same_both_ways():
    tie = row("a", "p", "x", "y")
    tie = replace(tie, judgments=(Judgment(0, 1, probability=0.5),))
    assert apply([tie, tie.flip()], "duplicate")[1].count == 1
    assert apply([tie, tie.flip(), row("b", "p", "x", "y")], "contradictory")[1].count == 0


def test_both_sides_of_a_contradiction_are_counted():
    across = [row("a", "p", "x", "y"), row("b", "p", "y", "x"), row("c", "q", "y", "x"), row("d", "p", "x", "z")]
    left, finding = apply(across, "contradictory")
    assert [c.id for c in left] == ["c", "d"] and finding.count == finding.dropped == 2
    within = [row("a", "p", "x", "y", "z", judged=((0, 1), (1, 0), (1, 2)))]
    left, finding = apply(within, "contradictory")
    assert left[0].judgments == (Judgment(1, 2),) and (finding.count, finding.dropped, finding.judgments) == (1, 0, 2)
    assert apply([row("a", "p", "x", "x", judged=((0, 1), (1, 0)))], "contradictory")[1].count == 0


def test_leaks_are_found_by_prompt():
    rows = [row("a", "p ", "x", "y"), row("b", "q", "x", "y"), row("c", " ", "x", "y"), row("d", "", "v", "w")]
    topics = topics_of([row("e", "p", "v", "w"), row("f", "", "y", "x")])
    left, finding = apply(rows, "leaked", topics=topics)
    assert [c.id for c in left] == ["b", "d"] and finding.examples[0] == "a"


@pytest.mark.parametrize("check", CHECKS)
def test_keep_counts_and_error_stops(check):
    faulty = [("a", "x", ""), ("b", "", "x"), ("c", "x", "x"), ("d", "u", "v"), ("f", "u", "v"), ("e", "\u202ex", "y")]
    rows = [row("fine", "q", "x", "z"), *(row(name, "p", better, worse) for name, better, worse in faulty)]
    topics = topics_of(rows[1:2])
    left, finding = apply(rows, check, "keep", topics)
    assert left == rows and finding.count > 0 and finding.dropped == finding.judgments == 0
    message = f"{finding.count} training comparisons are {check}, such as {finding.examples[0]}"
    with pytest.raises(DataError, match=message) as caught:
        clean(rows, {check: "error"}, topics)
    assert f"--data.{check} drop" in caught.value.hint
    assert clean(rows[:1], {check: "error"})[0] == rows[:1]


texts = st.sampled_from(["", "x", "y", "z"])


@st.composite
def dirty(draw):
    rows = []
    for number in range(draw(st.integers(0, 10))):
        responses = draw(st.lists(texts, min_size=2, max_size=4))
        pairs = [pair for i, j in combinations(range(len(responses)), 2) for pair in ((i, j), (j, i))]
        judged = draw(st.lists(st.sampled_from(pairs), min_size=1, max_size=4))
        rows.append(row(f"r{number}", draw(st.sampled_from("pq")), *responses, judged=judged))
    return rows


@given(dirty(), dirty())
def test_clean_rows_keep_their_order_and_everything_else_is_counted(dirty_rows, evals):
    fine = comparisons(5)
    rows = [c for pair in zip(fine, dirty_rows, strict=False) for c in pair] + fine[len(dirty_rows) :] + dirty_rows[5:]
    left, findings = clean(rows, dict.fromkeys(CHECKS, "drop"), topics_of(evals))
    assert [c for c in left if c.id.startswith("c")] == fine
    assert len(rows) == len(left) + sum(finding.dropped for finding in findings.values())
    assert count_judgments(rows) == count_judgments(left) + sum(finding.judgments for finding in findings.values())
    assert [c.id for c in left] == [c.id for c in rows if c.id in {kept.id for kept in left}]
    again, nothing = clean(left, dict.fromkeys(CHECKS, "drop"), topics_of(evals))
    assert again == left and not any(finding.count for finding in nothing.values())


@given(dirty())
def test_contradictions_and_duplicates_against_brute_force(rows):
    def claims(c):
        return [(c.prompt_key, c.responses[j.better].text, c.responses[j.worse].text) for j in c.judgments]

    def same(a, b):
        one, other = ((c.prompt_key, set(claims(c)), {response.text for response in c.responses}) for c in (a, b))
        return one == other

    everything = [claim for c in rows for claim in claims(c)]
    reversed_claims = [any(b != w and (k, w, b) in everything for k, b, w in claims(c)) for c in rows]
    assert apply(rows, "contradictory", "keep")[1].count == sum(reversed_claims)
    repeats = [any(same(rows[i], rows[j]) for j in range(i)) and not reversed_claims[i] for i in range(len(rows))]
    assert apply(rows, "duplicate", "keep")[1].count == sum(repeats)


BOTH_WAYS = [row("a", "p", "x", "y"), row("b", "p", "y", "x"), row("c", "p", "x", "y")]


@given(dirty(), st.permutations(range(10)), st.integers(0, 10), st.sampled_from(["keep", "drop"]))
@example(BOTH_WAYS, [0, 2, 1], 2, "drop")  # what contradicts is left out: the second of two equal rows is a repeat
@example(BOTH_WAYS, [0, 1, 2], 1, "keep")
def test_rows_that_a_selection_leaves_out_do_not_count(rows, order, count, policy):
    """Policies do the same to chosen rows of a table as to a table of these rows alone."""
    places = np.array([place for place in order[:count] if place < len(rows)], dtype=np.int64)
    policies, topics = dict.fromkeys(CHECKS, policy), topics_of(rows[:2])
    left, findings = cleaning.apply_filters(select(rows).take(places), policies, topics)
    expected, alone = clean([rows[place] for place in places], policies, topics)
    assert list(left) == expected and findings == alone


def test_grouping_merges_what_shares_a_prompt():
    rows = [
        row("a", "p", "x", "y", source="s", tags={"set": "1", "n": "1"}),
        row("b", "q", "x", "y"),
        row("c", "p", "z", "x", tags={"set": "1", "n": "2"}),
        row("d", "p", "x", "y"),
    ]
    merged, alone = group_by_prompt(rows[:3], 16)
    assert (merged.id, merged.source, merged.tags, merged.rank) == ("a+1", "s", {"set": "1"}, None)
    assert [r.text for r in merged.responses] == ["x", "y", "z"]
    assert merged.judgments == (Judgment(0, 1), Judgment(2, 0)) and alone == rows[1]
    assert group_by_prompt(rows, 16)[0].judgments == (Judgment(0, 1), Judgment(2, 0), Judgment(0, 1))


def test_merged_ids_are_none_that_is_there_already():
    rows = [row("a", "p", "x", "y"), row("b", "p", "x", "z"), row("a+1", "q", "x", "y"), row("a+1~", "r", "x", "y")]
    for order in (rows, rows[::-1]):
        ids = [c.id for c in group_by_prompt(order, 16)]
        assert len(set(ids)) == len(ids) == 3 and {"a+1", "a+1~"} <= set(ids)
    assert [c.id for c in group_by_prompt(rows, 16)] == ["a+1~~", "a+1", "a+1~"]


def test_grouping_keeps_plain_text_and_turns_apart():
    spoken = row("a", "p", "x", "y")
    plain = replace(spoken, id="b", prompt=(Message("text", "p"),))
    assert group_by_prompt([spoken, plain], 16) == [spoken, plain]


def test_a_group_that_is_full_starts_the_next_one():
    rows = [row(str(i), "p", f"x{i}", f"y{i}") for i in range(5)]
    groups = group_by_prompt(rows, 4)
    assert [(g.id, len(g.responses)) for g in groups] == [("0+1", 4), ("2+1", 4), ("4", 2)]


def test_what_stands_alone_stays_as_it_is():
    wide = row("wide", "p", *"abcde", judged=((0, 4),), rank=(0.0, 1.0, 1.0, 1.0, 4.0))
    twins = row("twins", "p", "x", "x")
    rows = [wide, twins, row("c", "p", "x", "y"), row("blank", " ", "x", "y"), row("other", "", "v", "w")]
    assert group_by_prompt(rows, 4) == rows


@given(dirty(), st.integers(2, 6))
def test_grouping_keeps_every_judgment_and_every_text(rows, most):
    groups = group_by_prompt(rows, most)
    assert sorted(s for c in rows for s in said(c)) == sorted(s for c in groups for s in said(c))
    texts_in, texts_out = ({(c.prompt_key, r) for c in some for r in c.responses} for some in (rows, groups))
    assert texts_in == texts_out
    assert all(len(c.responses) <= most or c in rows for c in groups)
    assert len({c.id for c in groups}) == len(groups)
    assert all(len({r.text for r in c.responses}) == len(c.responses) or c in rows for c in groups)
    firsts = [[c.id for c in rows].index(c.id.split("+")[0]) for c in groups]
    assert firsts == sorted(firsts)
