"""Comparisons on disk come back as they were, whatever they hold."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bradley.data.table import ComparisonTable, decode, digest, encode, everything, merged, select
from bradley.records import Comparison, Judgment, Message, Response
from tests.helpers import comparisons

texts = st.text(st.characters(exclude_categories=()), max_size=20)
numbers = st.floats(allow_nan=False, allow_infinity=False)
messages = st.builds(Message, st.sampled_from(["user", "assistant", "tool"]), texts, st.sampled_from(["", '{"a": 1}']))
turns = st.lists(messages, max_size=3).map(tuple)
responses = st.builds(Response, st.lists(messages, min_size=1, max_size=2).map(tuple), st.none() | numbers)
judgments = st.builds(
    Judgment, st.just(0), st.just(1), st.floats(0.5, 1.0), st.none() | numbers, st.floats(0.01, 1e6, allow_nan=False)
)
anything = st.builds(
    Comparison,
    id=texts,
    prompt_key=texts,
    prompt=turns,
    responses=st.lists(responses, min_size=2, max_size=2).map(tuple),
    judgments=st.lists(judgments, min_size=1, max_size=3).map(tuple),
    rank=st.none() | st.just((0.0, 1.0)),
    source=texts,
    tags=st.dictionaries(texts, texts, max_size=2),
    template_args=st.dictionaries(st.text(max_size=5), st.none() | st.booleans() | st.lists(st.integers()), max_size=2),
)


@given(anything)
@settings(deadline=None)
def test_what_is_written_is_read(comparison):
    assert decode(encode(comparison)) == comparison


def test_numpy_numbers_and_texts_are_numbers_and_texts():
    (plain,) = comparisons(1)
    judged = (
        replace(plain.judgments[0], probability=np.float64(0.75), margin=np.float32(0.5), weight=np.float64(2.0)),
    )
    first, second = plain.responses
    scored = (replace(first, score=np.float32(1.5)), second)
    odd = replace(plain, id=np.str_(plain.id), judgments=judged, responses=scored, rank=(np.int64(0), np.float32(1.0)))
    back = decode(encode(odd))
    assert back == odd and type(back.judgments[0].margin) is float and type(back.id) is str


def test_a_selection_is_a_sequence_in_any_order():
    rows = comparisons(7)
    chosen = select(rows)
    assert chosen == rows and chosen[-1] == rows[-1] and chosen[2:5] == rows[2:5]
    places = np.array([5, 0, 3])
    assert chosen.take(places) == [rows[5], rows[0], rows[3]]
    assert chosen.take(places).take(np.array([2, 0])) == [rows[3], rows[5]] and chosen != rows[:-1] and chosen != 3


def test_the_digest_tells_content_and_order_apart():
    rows = comparisons(5)
    chosen = select(rows)
    assert digest(rows) == digest(list(chosen)) and digest(chosen) == digest(select(rows))
    others = [chosen.take(np.array([1, 0, 2, 3, 4])), chosen.take(np.arange(4)), select([rows[0].flip(), *rows[1:]])]
    assert len({digest(other) for other in [chosen, *others]}) == 4


def test_parts_that_stand_elsewhere_in_a_pool_have_the_same_digest():
    rows = comparisons(6)
    assert digest(select(rows).take(np.arange(2, 6))) == digest(select(rows[2:]))


def test_merged_responses_are_those_of_all_members():
    first, second = comparisons(2)
    twin = replace(second, prompt=first.prompt, prompt_key=first.prompt_key, responses=first.responses)
    assert merged([first, twin], "both").judgments == (Judgment(0, 1), Judgment(0, 1))
    both = merged([first, replace(twin, responses=(*second.responses,))], "both")
    assert both.judgments == (Judgment(0, 1), Judgment(2, 3)) and both.id == "both"


def test_an_empty_pool():
    assert list(everything(ComparisonTable())) == [] and everything(ComparisonTable()).count_judgments() == 0
