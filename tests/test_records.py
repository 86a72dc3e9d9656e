"""The nouns: which prompts are one prompt."""

import dataclasses

import pytest

from bradley.data.formats import to_comparisons
from bradley.errors import DataError
from bradley.records import Candidates, Judgment, Message, Response, prompt_key, replaced


def test_plain_text_and_a_user_saying_it_are_one_prompt():
    assert prompt_key((Message("text", "Why?"),)) == prompt_key((Message("user", " Why?\n"),))


@pytest.mark.parametrize(
    "other",
    [
        (),
        (Message("user", "Why"),),
        (Message("user", "W hy?"),),
        (Message("assistant", "Why?"),),
        (Message("system", "Why?"),),
        (Message("user", "Why?"), Message("user", "")),
        (Message("user", "W"), Message("user", "hy?")),
    ],
)
def test_other_words_roles_and_turns_are_other_prompts(other):
    assert prompt_key(other) != prompt_key((Message("text", "Why?"),))


def test_candidates_have_a_response_and_no_judgment():
    prompt, one = (Message("user", "Q"),), Response((Message("assistant", "A"),))
    row = Candidates("c", "", prompt, (one,))
    assert row.judgments == () and row.responses == (one,)
    with pytest.raises(ValueError, match="candidates c have no response"):
        Candidates("c", "", prompt, ())
    with pytest.raises(ValueError, match="candidates c are judged"):
        Candidates("c", "", prompt, (one, one), (Judgment(0, 1),))
    with pytest.raises(DataError, match="row 1: found candidates, of which nothing is judged, wanted a comparison"):
        list(to_comparisons([row]))


def test_a_copy_with_other_values_is_that_of_dataclasses():
    judgment = Judgment(0, 1, 0.75, 2.0, 3.0)
    for changes in ({}, {"weight": 1.0}, {"better": 1, "worse": 0}):
        assert replaced(judgment, **changes) == dataclasses.replace(judgment, **changes)
    with pytest.raises(TypeError, match="heavy"):
        replaced(judgment, heavy=1.0)
    with pytest.raises(ValueError, match="two different"):
        replaced(judgment, better=1)
