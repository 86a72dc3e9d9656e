"""What a chat template is given: the date of the settings, tools, arguments, and each turn's further keys."""

import datetime
import json

import pytest

from bradley.config import Render
from bradley.data.chat_template import turn
from bradley.data.render import Renderer
from bradley.data.tokenizer import PLAIN_CHAT_TEMPLATE, train_tokenizer
from bradley.errors import DataError, UserError
from bradley.records import Comparison, Judgment, Message, Response

pytestmark = pytest.mark.transformers

DATED = (
    "{% if date_string is not defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
    "<|system|>Today Date: {{ date_string }}<|end|>" + PLAIN_CHAT_TEMPLATE
)
CALLS = (
    "{% if tools %}{{ tools | tojson }}{% endif %}{% if terse is defined and terse %}(terse){% endif %}"
    "{% for m in messages %}<|{{ m.role }}|>{% if m.name %}{{ m.name }}: {% endif %}"
    "{% if m.reasoning_content %}[{{ m.reasoning_content }}]{% endif %}{{ m.content }}"
    "{% for call in m.tool_calls or [] %}{{ call.function.name }}({{ call.function.arguments | tojson }}){% endfor %}"
    "<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
PROMPT = (Message("user", "Is it raining?"),)
ANSWERS = (Response((Message("assistant", "Yes."),)), Response((Message("assistant", "No, it is dry."),)))
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
CALL = {"tool_calls": [{"type": "function", "function": {"name": "weather", "arguments": {"b": 1, "a": "é"}}}]}


def renderer(chat, **settings):
    tokenizer = train_tokenizer(["Is it raining? Yes. No, it is dry."], 320)
    tokenizer.chat_template = chat
    return Renderer(tokenizer, Render(**settings), causal=True)


def comparison(prompt=PROMPT, responses=ANSWERS, **fields):
    return Comparison("c7", "k", prompt, responses, (Judgment(0, 1),), **fields)


def on(monkeypatch, day):
    """Move the clock that transformers shows to templates."""
    from transformers.utils import chat_template_utils

    class Moved(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls.fromisoformat(day)

    monkeypatch.setattr(chat_template_utils, "datetime", Moved)


def test_the_clock_that_is_moved_is_the_one_that_templates_read(monkeypatch):
    tokenizer = renderer(DATED, date="2024-07-26").tokenizer
    texts = []
    for day in ("2001-02-03", "2030-12-31"):
        on(monkeypatch, day)
        texts.append(tokenizer.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False))
    assert "03 Feb 2001" in texts[0] and "31 Dec 2030" in texts[1]


@pytest.mark.parametrize("template", [DATED, PLAIN_CHAT_TEMPLATE])
def test_no_rendering_depends_on_the_clock(monkeypatch, template):
    settings = {"date": "2024-07-26"} if template == DATED else {}
    seen = []
    for day in ("2001-02-03", "2030-12-31"):
        on(monkeypatch, day)
        made = renderer(template, **settings)
        seen.append((made.comparisons([comparison()]), made.text(PROMPT, ()), made.text(PROMPT, ANSWERS[0].messages)))
    assert seen[0] == seen[1]
    assert ("Today Date: 26 Jul 2024<|end|>" in seen[0][1]) == (template == DATED)


def test_a_template_that_writes_todays_date_is_refused_at_once():
    with pytest.raises(UserError, match="writes today's date") as caught:
        renderer(DATED)
    assert "--render.date 2024-07-26" in caught.value.hint


def test_a_template_whose_date_is_given_needs_no_clock():
    assert "Today Date: May Day<|end|>" in renderer(DATED, template_kwargs={"date_string": "May Day"}).text(PROMPT, ())


def test_a_date_that_only_some_rows_ask_for_is_refused_with_the_first_of_them():
    made = renderer("{% if tools %}{{ strftime_now('%Y') }}{% endif %}" + PLAIN_CHAT_TEMPLATE)
    made.comparisons([comparison()])
    with pytest.raises(UserError, match="writes today's date"):
        made.comparisons([comparison(template_args={"tools": TOOLS})])


@pytest.mark.parametrize("day", ["2024-02-30", "2024-13-01"])
def test_a_day_that_does_not_exist(day):
    with pytest.raises(UserError, match=f"render.date {day} is no date"):
        renderer(DATED, date=day)


def test_a_date_that_nobody_asks_for_is_refused():
    with pytest.raises(UserError, match="asks for no date"):
        renderer(PLAIN_CHAT_TEMPLATE, date="2024-07-26")


def test_tools_calls_names_and_arguments_reach_the_template_as_in_transformers():
    made = renderer(CALLS, template_kwargs={"terse": True})
    extra = json.dumps({"audio": None, "reasoning_content": "look", **CALL})
    prompt = (*PROMPT, Message("assistant", "", extra), Message("tool", "rain", '{"name": "weather"}'))
    row = comparison(prompt, template_args={"tools": TOOLS})
    keys = ({}, {**CALL, "reasoning_content": "look"}, {"name": "weather"}, {})
    for rendered, response in zip(made.comparisons([row])[0].ids, row.responses, strict=True):
        turns = [
            {"role": m.role, "content": m.content, **more}
            for m, more in zip((*prompt, *response.messages), keys, strict=True)
        ]
        expected = made.tokenizer.apply_chat_template(turns, tools=TOOLS, terse=True, tokenize=True, return_dict=False)
        assert rendered == expected
    text = made.text(prompt, (), row.template_args)
    assert '<|assistant|>[look]weather({"b": 1, "a": "é"})<|end|><|tool|>weather: rain<|end|>' in text
    assert text.startswith('[{"type": "function"')


def test_keys_without_a_value_are_as_if_they_were_not_there():
    template = "{% for m in messages %}{% if m.audio is defined %}(audio){% endif %}{{ m.content }}{% endfor %}"
    assert renderer(template).text((), (Message("assistant", "Yes.", '{"audio": null}'),)) == "Yes."


def test_arguments_win_over_the_names_of_special_tokens_as_in_transformers():
    made = renderer("{{ messages[0].content + eos_token }}", template_kwargs={"eos_token": "!"})
    turns = [{"role": "user", "content": "x"}]
    expected = made.tokenizer.apply_chat_template(turns, eos_token="!", tokenize=False)
    assert made.text((Message("user", "x"),), ()) == expected == "x!"


def test_a_rows_arguments_win_over_those_of_the_settings():
    made = renderer(CALLS, template_kwargs={"terse": True})
    assert made.text(PROMPT, ()).startswith("(terse)")
    assert not made.text(PROMPT, (), {"terse": False}).startswith("(terse)")


@pytest.mark.parametrize("name", ["reasoning_content", "thinking", "reasoning"])
def test_reasoning_is_found_under_each_of_its_names(name):
    assert "[hm]Yes." in renderer(CALLS).text(PROMPT, (Message("assistant", "Yes.", json.dumps({name: "hm"})),))
    assert turn("assistant", "Yes.", {name: "hm"})["thinking"] == "hm"


@pytest.mark.parametrize("template", ["raw", "tulu"])
@pytest.mark.parametrize(
    "fields",
    [
        {"template_args": {"tools": TOOLS}},
        {"template_args": {"enable_thinking": False}},
        {"prompt": (Message("user", "x", json.dumps(CALL)),)},
        {"responses": (ANSWERS[0], Response((Message("assistant", "No.", '{"name": "Ann"}'),)))},
    ],
)
def test_what_raw_and_named_templates_cannot_write_is_refused_by_comparison(template, fields):
    with pytest.raises(DataError, match=r"^comparison c7: tools, tool calls and template arguments cannot be written"):
        renderer(None, template=template).comparisons([comparison(**fields)])


def test_arguments_that_the_template_does_not_read_are_refused():
    with pytest.raises(UserError, match=r"render.template_kwargs.ters: the chat template reads no ters") as caught:
        renderer(CALLS, template_kwargs={"ters": True})
    assert "terse" in caught.value.hint
    with pytest.raises(UserError, match=r"template_kwargs.messages is not for settings"):
        renderer(CALLS, template_kwargs={"messages": []})
    with pytest.raises(DataError, match="comparison c7: the row gives the template its own messages"):
        renderer(CALLS).comparisons([comparison(template_args={"messages": []})])


def test_a_system_prompt_goes_before_what_begins_without_one():
    made = renderer(PLAIN_CHAT_TEMPLATE, system_prompt="Be kind.")
    own = (Message("system", "Be rude."), *PROMPT)
    assert made.text(PROMPT, ()).startswith("<|system|>Be kind.<|end|><|user|>Is it")
    assert made.text((), ANSWERS[0].messages) == "<|system|>Be kind.<|end|><|assistant|>Yes.<|end|>"
    assert "kind" not in made.text(own, ()) and "kind" not in made.text((), own)
    raw = renderer(None, template="raw", system_prompt="Be kind.")
    assert raw.text(PROMPT, ()) == "\n\nSystem: Be kind.\n\nHuman: Is it raining?\n\nAssistant:"
