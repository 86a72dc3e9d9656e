"""Limits: the end of a response is never touched, every loss is counted, evaluation keeps its rows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bradley.config import Render
from bradley.data.render import Rendered
from bradley.data.truncate import Ledger, truncate
from bradley.errors import DataError
from bradley.records import Candidates
from tests.helpers import comparisons

ROW = comparisons(1)[0]
PROMPT = [1, *range(100, 120)]  # a BOS and 20 prompt tokens
RENDERED = Rendered([PROMPT + [7] * 5 + [2], PROMPT + [8] * 9 + [2]], prompt_tokens=[21, 21], protected=1)


def fitted(ledger=None, training=True, rendered=RENDERED, **settings):
    return truncate(ROW, rendered, Render(**settings), training, Ledger() if ledger is None else ledger)


def test_within_the_limits_nothing_changes():
    ledger = Ledger()
    assert fitted(ledger, max_tokens=31).ids == RENDERED.ids
    assert ledger.causes == {}


def test_each_conversation_loses_its_own_oldest_prompt_tokens():
    ledger = Ledger()
    result = fitted(ledger, max_tokens=20)
    assert result.ids == [[1, *range(107, 120), *[7] * 5, 2], [1, *range(111, 120), *[8] * 9, 2]]
    assert result.removed == [7, 11]
    assert result.response_tokens == [6, 10]
    assert ledger.causes["prompt_truncated"] == {"comparisons": 1, "dropped": 0, "tokens": 18, "example": "c0"}


def test_prompt_limit_alone():
    result = fitted(max_tokens=512, max_prompt_tokens=11)
    assert [len(row) for row in result.ids] == [17, 21]
    assert result.ids[0][:3] == [1, 110, 111]


def test_drop_counts_and_drops_in_training_but_truncates_in_evaluation():
    ledger = Ledger()
    assert fitted(ledger, max_tokens=20, over_long="drop") is None
    assert ledger.dropped == 1 and ledger.causes["over_long"]["tokens"] == 27 + 31
    assert len(fitted(training=False, max_tokens=20, over_long="drop").ids[1]) == 20


def test_a_response_over_the_limit_leaves_training_and_stops_evaluation():
    ledger = Ledger()
    assert fitted(ledger, max_tokens=9) is None
    assert ledger.causes["response_over_limit"]["dropped"] == 1
    with pytest.raises(DataError, match=r"evaluation comparison c0: a response of 11 tokens exceeds .* = 9"):
        fitted(training=False, max_tokens=9)


def test_truncate_response_keeps_the_end_of_every_response():
    result = fitted(max_tokens=8, over_long="truncate_response")
    assert result.ids == [[1, 119] + [7] * 5 + [2], [1] + [8] * 6 + [2]]


def test_a_pair_made_identical_by_its_limit_is_dropped_in_training_and_kept_in_evaluation():
    """Two long responses that differ only at their beginning: cut to their ends they are the same tokens."""
    same_end = Rendered([[*PROMPT, 7, *range(50, 60)], [*PROMPT, 8, *range(50, 60)]], [21, 21], 1)
    ledger = Ledger()
    assert fitted(ledger, rendered=same_end, max_tokens=11, over_long="truncate_response") is None
    assert ledger.causes["identical_ids"]["dropped"] == 1
    kept = fitted(training=False, rendered=same_end, max_tokens=11, over_long="truncate_response")
    assert kept.ids[0] == kept.ids[1] and len(kept.judgments) == 1


def test_a_response_of_no_tokens_is_never_scored_on_its_rivals_prompt():
    nothing = Rendered([[7, 8], []], [0, 0], 0)
    ledger = Ledger()
    assert fitted(ledger, rendered=nothing, max_tokens=8) is None
    assert ledger.causes["no_tokens"]["dropped"] == 1
    with pytest.raises(DataError, match="renders to no token"):
        fitted(training=False, rendered=nothing, max_tokens=8)


def test_the_question_survives_where_the_peers_cut_it():
    """Prompt of 3,000 tokens at a limit of 2,048: the last prompt tokens and the whole response stay."""
    prompt, response = list(range(10_000, 13_000)), list(range(500))
    rendered = Rendered([prompt + response, prompt + response[::-1]], [3000, 3000], 0)
    ids = fitted(rendered=rendered, max_tokens=2048).ids[0]
    assert len(ids) == 2048 and ids[-500:] == response and ids[:1548] == prompt[-1548:]


def test_short_responses_leave_training_only():
    ledger = Ledger()
    assert fitted(ledger, min_response_tokens=7) is None  # the responses have 6 and 10 tokens, their end included
    assert ledger.causes["short_response"] == {"comparisons": 1, "dropped": 1, "tokens": 27 + 31, "example": "c0"}
    assert ledger.dropped == 1
    assert fitted(min_response_tokens=6).ids == RENDERED.ids
    assert fitted(training=False, min_response_tokens=99).ids == RENDERED.ids


def test_control_tokens_are_counted_once_per_comparison_and_cost_nothing():
    ledger = Ledger()
    for count in (0, 3, 5):
        fitted(ledger, rendered=RENDERED._replace(control_tokens=count))
    assert ledger.causes == {"control_tokens": {"comparisons": 2, "dropped": 0, "tokens": 0, "example": "c0"}}


def test_candidates_are_fitted_each_by_itself():
    """So the shorter response keeps more of the prompt, and what it keeps does not depend on the longer one."""
    row = Candidates("c", "", ROW.prompt, ROW.responses)
    both = truncate(row, RENDERED, Render(max_tokens=24), False, Ledger())
    assert both.ids == [[1, *range(103, 120), *[7] * 5, 2], [1, *range(107, 120), *[8] * 9, 2]]
    assert both.removed == [3, 7] and both.response_tokens == [6, 10] and both.judgments == ()
    assert truncate(row, RENDERED, Render(max_tokens=27), False, Ledger()).removed == [0, 4]


CONVERSATIONS = st.lists(st.tuples(st.integers(0, 6), st.integers(1, 30)), min_size=2, max_size=6)
"""By response: tokens at the end of the prompt that merge with the response, and tokens of the response."""


@given(CONVERSATIONS, st.integers(6, 25), st.integers(0, 1), st.integers(8, 40), st.integers(0, 7), st.booleans())
def test_the_cut_of_a_conversation_is_a_function_of_the_conversation_and_the_limits(
    given, size, protected, most, most_of_prompt, training
):
    """Against a response in a row of its own, and against a rule written anew."""
    prompt = [protected, *range(100, 99 + size)]
    ids = [prompt[: size - merged] + [k] * count for k, (merged, count) in enumerate(given)]
    rendered = Rendered(ids, [size - merged for merged, _ in given], protected)
    limits = Render(max_tokens=most, max_prompt_tokens=most_of_prompt, over_long="truncate_response")
    row = comparisons(1, responses=len(ids))[0]
    found = truncate(row, rendered, limits, training, Ledger())
    # Cut to their ends, responses of the same tokens may leave training with their comparison.
    for k, kept in enumerate(() if found is None else found.ids):
        alone = Candidates("c", "", row.prompt, row.responses[k : k + 1])
        single = rendered._replace(ids=[ids[k]], prompt_tokens=rendered.prompt_tokens[k : k + 1])
        assert truncate(alone, single, limits, False, Ledger()).ids == [kept]
        head = ids[k][: min(protected, size - given[k][0])]
        least = max(0, size - given[k][0] - most_of_prompt) if most_of_prompt else 0
        lost = max(len(ids[k]) - most, least)
        assert kept == (head + ids[k][len(head) + lost :] if lost > 0 else ids[k])
