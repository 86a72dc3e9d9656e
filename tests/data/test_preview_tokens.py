"""The view of tokens: every token once, marks as promised, and no text that acts on the terminal."""

import re
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from bradley.common.text import visible
from bradley.config import Render
from bradley.data.preview import RESET, token_view, token_views
from bradley.data.render import Renderer
from tests.helpers import comparisons, tokenizer_for

ROWS = comparisons(2)
TOKENIZER = tokenizer_for(ROWS)
RENDERER = Renderer(TOKENIZER, Render(), causal=True)
ENCODER = Renderer(TOKENIZER, Render(), causal=False)
IDS = TOKENIZER("<|user|>a b<|end|>")["input_ids"]
ESCAPE = re.compile("\x1b\\[[0-9;]*m")


def test_without_colour_tokens_are_parted_and_the_scored_one_is_in_brackets():
    tokens = TOKENIZER.convert_ids_to_tokens(IDS)
    assert tokens == ["<|user|>", "a", "Ġ", "b", "<|end|>"] or tokens == ["<|user|>", "a", "Ġb", "<|end|>"]
    middle = "a| |b" if len(tokens) == 5 else "a| b"
    assert token_view(IDS, RENDERER, color=False) == f"{{<|user|>}}|{middle}|[[<|end|>]]"
    assert token_view(IDS, ENCODER, color=False) == f"[[<|user|>]]|{middle}|{{<|end|>}}"


def test_in_colour_neighbours_differ_and_special_and_scored_tokens_have_their_own():
    shown = token_view(TOKENIZER("<|user|>abcabc<|end|>")["input_ids"], RENDERER, color=True)
    shades = [part.split("m")[0] for part in shown.split("\x1b[")[1:] if not part.startswith("0m")]
    assert ESCAPE.sub("", shown) == "<|user|>abcabc<|end|>"
    assert all(a != b for a, b in pairwise(shades))
    assert shades[0] not in shades[1:] and shades[-1] not in shades[:-1]
    assert shown.endswith(f"<|end|>{RESET}")


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=12))
def test_no_text_reaches_the_terminal_that_could_act_on_it(text):
    assert visible(text).isprintable()
    ids = TOKENIZER(text)["input_ids"]
    for color in (False, True):
        assert ESCAPE.sub("", token_view(ids, RENDERER, color)).replace("\n", "").isprintable()


def test_escapes_are_shown():
    assert visible("a\x1b[2J\u202e\\n\n\t") == r"a\x1b[2J\u202e\\n\n\t"


def test_a_line_ends_after_a_token_with_a_line_break():
    assert token_view(TOKENIZER("a\nb")["input_ids"], RENDERER, color=False) == "a|\\n\n[[b]]"


def test_the_view_names_the_scored_token_of_both_sides():
    shown = token_views(ROWS, RENDERER, color=False)
    rendered = RENDERER.comparisons(ROWS)[0]
    assert f"--- c0, chosen: {len(rendered.ids[0])} tokens, {rendered.prompt_tokens[0]} of the prompt" in shown
    size, end = len(rendered.ids[1]), TOKENIZER.eos_token_id
    assert f"scored at token {size} of {size}: <|end|> (id {end})" in shown
    assert [shown.count(side) for side in (", chosen:", ", rejected:", "[[<|end|>]]")] == [2, 2, 4]
    assert "in [[ ]]" in shown.splitlines()[0] and "\x1b" not in shown
    assert "\x1b" in token_views(ROWS, RENDERER, color=True).splitlines()[0]
