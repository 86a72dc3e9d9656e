"""The end of a conversation: every text that a policy leaves becomes the text of the template, and stays that."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bradley.data.ending import Ending, find_ending

SPECIAL = ("<|im_start|>", "<|im_end|>", "</s>")
TAILS = {
    "chatml": ("<|im_end|>\n", "<|im_end|>"),
    "llama": ("</s>", "</s>"),
    "two tokens": ("<|im_end|>\n</s>\n\n", "<|im_end|>\n</s>"),
    "no token": ("\n\n", "\n\n"),
    "nothing": ("", ""),
}


@pytest.mark.parametrize("case", TAILS)
def test_the_end_is_what_the_template_writes_after_the_response(case):
    tail, stop = TAILS[case]
    assert find_ending(lambda text: f"<|im_start|>user\nA9z?<|im_end|>\n{text}{tail}", SPECIAL) == Ending(tail, stop)


@given(st.sampled_from(sorted(TAILS)), st.text(st.sampled_from("a <|im_end>\n/s"), max_size=12))
def test_every_form_of_a_query_becomes_the_text_of_the_template(case, response):
    ending = Ending(*TAILS[case])
    assert ending.complete(response + ending.tail) == response + ending.tail
    assert ending.complete(response + ending.stop) == response + ending.tail
    completed = ending.complete(response)
    assert completed.startswith(response) and completed.endswith(ending.tail)
    assert len(completed) <= len(response) + len(ending.tail)


def test_a_response_that_ends_like_the_beginning_of_a_token_is_not_cut():
    ending = Ending("<|im_end|>\n", "<|im_end|>")
    assert ending.complete("x <") == "x <<|im_end|>\n"
    assert ending.complete("x <|im_end|>") == "x <|im_end|>\n" == ending.complete("x <|im_end|>\n")
