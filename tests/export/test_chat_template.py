"""Frozen chat templates: what transformers alone makes of messages is what training made of them."""

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bradley.config import Render
from bradley.data.render import Renderer
from bradley.data.tokenizer import PLAIN_CHAT_TEMPLATE
from bradley.errors import CheckpointError, UserError
from bradley.export.chat_template import check_clock, check_ids, frozen_chat_template
from bradley.model.folder.parity import conversation_ids
from bradley.records import Message
from tests.helpers import comparisons, tokenizer_for

pytestmark = pytest.mark.transformers

ROWS = comparisons(6)
TURNS = [{"role": "user", "content": "One?"}, {"role": "assistant", "content": "Two."}]
LONGER = [{"role": "system", "content": "Be kind."}, *TURNS, {"role": "user", "content": " Três?\n"}, TURNS[1]]
DATED = "<|system|>Today is {{ strftime_now('%d %b %Y') }}.<|end|>" + PLAIN_CHAT_TEMPLATE
INDENTED = "\n  {% for m in messages %}\n  {{ m.role }}: {{ m.content }}\n  {% endfor %}\n"
KEYWORD = "{% if terse %}(terse {{ terse.level }}){% endif %}" + PLAIN_CHAT_TEMPLATE
CASES = {
    "plain": (PLAIN_CHAT_TEMPLATE, {}),
    "system prompt": (PLAIN_CHAT_TEMPLATE, {"system_prompt": 'Say "no", it\'s {{ fine }}.\nNaïve 😀 \\n'}),
    "arguments": (KEYWORD, {"template_kwargs": {"terse": {"level": 2, "list": [None, True, "ö\n"]}}}),
    "date": (DATED, {"date": "2024-07-26"}),
    "end token": (INDENTED, {"eos": "always"}),
    "end token, after a line break": ("{{ messages[-1].content }} .\n", {"eos": "always"}),
    "end token, after blanks": ("{{ messages[-1].content }} .\n  ", {"eos": "always"}),
    "end token, one there": (PLAIN_CHAT_TEMPLATE, {"eos": "always"}),
    "indented": (INDENTED, {}),
    "indented, after a system prompt": (INDENTED, {"system_prompt": "Hm."}),
    "named": (None, {"template": "zephyr", "system_prompt": "Be kind."}),
    "raw": (PLAIN_CHAT_TEMPLATE, {"template": "raw", "system_prompt": "Be kind."}),
    "raw without an end": (PLAIN_CHAT_TEMPLATE, {"template": "raw", "eos": "never"}),
}


def made(chat, *, causal=True, **render):
    """A renderer, and its tokenizer as an export leaves it."""
    tokenizer = tokenizer_for(ROWS)
    tokenizer.chat_template = chat
    renderer = Renderer(tokenizer, Render(**render), causal=causal)
    tokenizer.chat_template = frozen_chat_template(renderer)
    return renderer, tokenizer


def plain(tokenizer, turns, **more):
    return tokenizer.apply_chat_template(turns, return_dict=True, **more)["input_ids"]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("turns", [TURNS, LONGER], ids=["two turns", "five turns"])
def test_transformers_alone_gives_the_ids_of_training(case, turns):
    chat, render = CASES[case]
    renderer, tokenizer = made(chat, **render)
    assert plain(tokenizer, turns) == conversation_ids(turns, renderer)
    prompt = tuple(Message(turn["role"], turn["content"]) for turn in turns[:-1])
    opened = tokenizer.apply_chat_template(turns[:-1], tokenize=False, add_generation_prompt=True)
    assert opened == renderer.text(prompt, ())


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), min_size=1, max_size=5), st.booleans())
def test_any_conversation_renders_as_in_training(texts, raw):
    renderer, tokenizer = RENDERERS[raw]
    roles = ["assistant", "user"] * 3
    turns = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)][::-1]
    assert plain(tokenizer, turns) == conversation_ids(turns, renderer)


RENDERERS = {
    False: made(INDENTED, eos="always", system_prompt="Be kind."),
    True: made(None, template="raw", system_prompt="Be kind."),
}


def test_raw_keeps_what_the_tokenizer_puts_around_a_text():
    from tokenizers.processors import TemplateProcessing

    tokenizer = tokenizer_for(ROWS)
    ids = [(token, tokenizer.convert_tokens_to_ids(token)) for token in ("<|system|>", "<|end|>")]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|system|> $A <|end|>", pair="<|system|> $A <|end|> $B <|end|>", special_tokens=ids
    )
    for causal in (False, True):  # a decoder asks for an end token, which is there already
        renderer = Renderer(tokenizer, Render(template="raw"), causal=causal)
        expected = conversation_ids(LONGER, renderer)
        assert expected[0] == ids[0][1] and expected[-1] == ids[1][1] != expected[-2]
        tokenizer.chat_template = frozen_chat_template(renderer)
        assert plain(tokenizer, LONGER) == expected


def test_plain_text_of_raw_has_no_markers():
    renderer, tokenizer = made(None, template="raw")
    turns = [{"role": "text", "content": "One, two, "}, {"role": "text", "content": "three"}]
    assert plain(tokenizer, turns) == conversation_ids(turns, renderer)
    assert tokenizer.apply_chat_template(turns, tokenize=False).startswith("One, two, three")


def test_an_argument_of_a_call_wins_over_that_of_the_settings():
    renderer, tokenizer = made(KEYWORD, template_kwargs={"terse": {"level": 2}})
    args = {"terse": {"level": 7}}
    text = tokenizer.apply_chat_template(TURNS, tokenize=False, **args)
    prompt, response = (Message(turn["role"], turn["content"]) for turn in TURNS)
    assert text == renderer.text((prompt,), (response,), args) and "(terse 7)" in text


def test_a_frozen_date_stays_whatever_the_day(monkeypatch):
    _, tokenizer = made(DATED, date="2024-07-26")
    before = tokenizer.apply_chat_template(TURNS, tokenize=False)
    from transformers.utils import chat_template_utils

    class Moved(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2031, 5, 6)

    monkeypatch.setattr(chat_template_utils, "datetime", Moved)
    assert tokenizer.apply_chat_template(TURNS, tokenize=False) == before
    assert "26 Jul 2024" in before
    check_clock(tokenizer.chat_template, {"messages": TURNS}, {})


def test_a_date_that_training_never_had_is_refused_and_not_made_up():
    from jinja2 import TemplateError

    rare = "{% if tools %}{{ strftime_now('%Y') }}{% endif %}" + PLAIN_CHAT_TEMPLATE
    renderer, tokenizer = made(rare)
    assert plain(tokenizer, TURNS) == conversation_ids(TURNS, renderer)
    with pytest.raises(TemplateError, match="trained without one"):
        plain(tokenizer, TURNS, tools=[{"type": "function", "function": {"name": "f"}}])


@pytest.mark.parametrize("clock", ["{{ strftime_now(day) }}", "{{ clock('%d') }}", "{{ clock('%Y') }}"])
def test_a_clock_that_cannot_be_frozen_is_found_by_moving_it(clock):
    template = "{% set day = '%d' %}{% set clock = strftime_now %}" + clock + PLAIN_CHAT_TEMPLATE
    renderer, _ = made(template, date="2024-07-26")
    with pytest.raises(UserError, match="today's date") as caught:
        check_clock(frozen_chat_template(renderer), {"messages": TURNS}, {})
    assert "--render.template FILE" in caught.value.hint


def test_a_clock_before_the_response_alone_is_found_too():
    opens = PLAIN_CHAT_TEMPLATE + "{% if add_generation_prompt %}{{ strftime_now(('%d')) }}{% endif %}"
    with pytest.raises(UserError, match="today's date"):
        check_clock(opens, {"messages": TURNS}, {})


def test_a_template_that_refuses_a_conversation_says_which():
    refusing = "{{ raise_exception('No  system\nturns.') }}"
    with pytest.raises(CheckpointError, match=r"conversation with the roles user, assistant: No system turns\."):
        check_clock(refusing, {"messages": TURNS}, {})


def test_other_ids_than_those_of_training_are_an_error():
    renderer, tokenizer = made(PLAIN_CHAT_TEMPLATE)
    ids = conversation_ids(TURNS, renderer)
    check_ids(tokenizer, [{"messages": TURNS, "ids": ids}])
    for other in ([*ids[:3], ids[3] + 1, *ids[4:]], ids[:-1], [*ids, 5]):
        with pytest.raises(CheckpointError, match="of 2 turns as other tokens than training did"):
            check_ids(tokenizer, [{"messages": TURNS, "ids": other}])


def test_the_template_for_rows_with_tools_is_frozen_too():
    chat = {"default": PLAIN_CHAT_TEMPLATE, "tool_use": "{{ tools | tojson }}" + DATED}
    renderer, tokenizer = made(chat, date="2024-07-26", system_prompt="Be kind.")
    frozen = frozen_chat_template(renderer, renderer.tool_template)
    tokenizer.chat_template = {"default": tokenizer.chat_template, "tool_use": frozen}
    for args in ({}, {"tools": [{"name": "depth"}]}):
        messages = [Message(turn["role"], turn["content"]) for turn in TURNS]
        expected = renderer.ids([renderer.text(tuple(messages[:1]), tuple(messages[1:]), args)])[0]
        assert plain(tokenizer, TURNS, **args) == expected
        assert ("26 Jul 2024" in tokenizer.decode(expected)) == bool(args)


@pytest.mark.parametrize("case", CASES)
def test_a_pair_of_a_prompt_and_a_response_reads_as_the_turns_do(case):
    """The roles that sentence-transformers and the `/score` of vLLM give to a pair."""
    chat, render = CASES[case]
    renderer, tokenizer = made(chat, **render)
    pair = [{"role": "query", "content": "One?"}, {"role": "document", "content": "Two."}]
    assert plain(tokenizer, pair) == plain(tokenizer, TURNS) == conversation_ids(TURNS, renderer)
    assert plain(tokenizer, [LONGER[0], *pair]) == plain(tokenizer, [LONGER[0], *TURNS])


def test_a_pair_of_plain_texts_has_no_markers_under_raw():
    tokenizer = tokenizer_for(ROWS)
    renderer = Renderer(tokenizer, Render(template="raw"), causal=True)
    tokenizer.chat_template = frozen_chat_template(renderer, kind="text")
    pair = [{"role": "query", "content": "One?"}, {"role": "document", "content": "Two."}]
    turns = [{"role": "text", "content": "One?"}, {"role": "text", "content": "Two."}]
    assert plain(tokenizer, pair) == plain(tokenizer, TURNS) == conversation_ids(turns, renderer)
    assert plain(tokenizer, pair) != conversation_ids(TURNS, renderer)


def test_a_template_with_a_pair_of_its_own_stays():
    own = "{% for m in messages if m['role'] == 'query' %}<|user|>{{ m['content'] }}{% endfor %}"
    assert made(own)[1].chat_template == own
