"""The nouns: which prompts are one prompt."""

import pytest

from bradley.records import Message, prompt_key


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
