"""What a chat template drops: each part found by rendering without, contents by looking, and counts by split."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bradley.config import Render, Unread
from bradley.data.dropped import UnreadCounts, check_unread, describe_unread
from bradley.data.render import Renderer
from bradley.data.token_store import build_store
from bradley.data.tokenizer import train_tokenizer
from bradley.data.truncate import Ledger, describe_ledger, fit
from bradley.errors import DataError, UserError
from bradley.records import Comparison, Judgment, Message, Response, prompt_key

pytestmark = pytest.mark.transformers

OPEN = "{% if add_generation_prompt %}<|assistant|>{% endif %}"
CHAT = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}" + OPEN
CALLS = "{% for call in m.tool_calls or [] %}{{ call.function | tojson }}{% endfor %}"
FULL = (
    "{% if tools %}{{ tools | tojson }}{% endif %}{% if mood is defined %}{{ mood }}{% endif %}"
    "{% for m in messages %}<|{{ m.role }}|>{% if m.name %}{{ m.name }}: {% endif %}"
    "{% if m.reasoning_content %}[{{ m.reasoning_content }}]{% endif %}{{ m.content }}" + CALLS + "<|end|>{% endfor %}"
) + OPEN
LAST = (
    "{% for m in messages %}<|{{ m.role }}|>{% if loop.last and m.reasoning_content %}[{{ m.reasoning_content }}]"
    "{% endif %}{{ m.content }}{% if loop.last %}" + CALLS + "{% endif %}<|end|>{% endfor %}"
) + OPEN
NAMES_ONLY = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% for call in m.tool_calls or [] %}"
    "{{ call.function.name }}{% endfor %}<|end|>{% endfor %}"
) + OPEN
UNTHINKING = ("{% for m in messages %}<|{{ m.role }}|>{{ m.content.split('</think>')[-1] }}<|end|>{% endfor %}") + OPEN
NO_SYSTEM = (
    "{% for m in messages %}{% if m.role != 'system' %}<|{{ m.role }}|>{{ m.content | trim }}<|end|>{% endif %}"
    "{% endfor %}"
) + OPEN
TOOLS = [{"type": "function", "function": {"name": "weather", "description": "Looks at the sky."}}]


def call(name="weather", **arguments):
    return {"tool_calls": [{"id": "1", "type": "function", "function": {"name": name, "arguments": arguments}}]}


def renderer(chat, tools=None, **settings):
    tokenizer = train_tokenizer(["Is it raining? Yes. No, it is dry."], 320)
    tokenizer.chat_template = {"default": chat, "tool_use": tools} if tools else chat
    return Renderer(tokenizer, Render(max_tokens=4000, **settings), causal=True)


ASKED = (Message("user", "Is it raining?"),)


def comparison(name="c7", prompt=ASKED, chosen=None, **fields):
    answers = (chosen or Message("assistant", "Yes."), Message("assistant", "No, it is dry."))
    responses = tuple(Response((answer,)) for answer in answers)
    return Comparison(name, prompt_key(prompt), prompt, responses, (Judgment(0, 1),), **fields)


def said(content="", **extra):
    return Message("assistant", content, json.dumps(extra) if extra else "")


def parts(made, row):
    """The parts of a comparison by the path of the token store."""
    (outcome,) = made.outcomes([row])
    return outcome.parts


@pytest.mark.parametrize("template", [CHAT, FULL])
@pytest.mark.parametrize(
    ("row", "part"),
    [
        (comparison(template_args={"tools": TOOLS}), "tools"),
        (comparison(template_args={"mood": "glad"}), "chat_template_kwargs.mood"),
        (comparison(chosen=said("", **call(day=1))), "tool_calls"),
        (comparison(chosen=said("Yes.", reasoning_content="clouds")), "reasoning"),
        (comparison(chosen=said("Yes.", thinking="clouds")), "reasoning"),
        (comparison(prompt=(Message("user", "Hi", '{"name": "Ann"}'),)), "name"),
    ],
)
def test_a_part_is_read_if_the_text_differs_without_it(template, row, part):
    assert parts(renderer(template), row) == {part: template == FULL}


def test_only_the_arguments_without_effect_are_named():
    row = comparison(template_args={"mood": "glad", "tone": "low", "tools": TOOLS, "none": None})
    found = parts(renderer(FULL), row)
    assert found == {"chat_template_kwargs.mood": True, "chat_template_kwargs.tone": False, "tools": True}


def test_an_argument_that_repeats_a_setting_is_read():
    row = comparison(template_args={"mood": "glad"})
    assert parts(renderer(FULL, template_kwargs={"mood": "glad"}), row) == {"chat_template_kwargs.mood": True}


def test_one_response_that_loses_its_call_is_enough():
    """The first response shows its call as content, too."""
    template = CHAT.replace("{{ m.content }}", "{{ m.content }}{% if m.content %}" + CALLS + "{% endif %}")
    row = comparison(chosen=said("See:", **call()))
    lost = Comparison("c8", "k", row.prompt, (row.responses[0], Response((said("", **call()),))), row.judgments)
    assert parts(renderer(template), row) == {"tool_calls": True}
    assert parts(renderer(template), lost) == {"tool_calls": False}


def test_reasoning_and_calls_of_earlier_turns_are_looked_for_one_by_one():
    prompt = (Message("user", "Hi"), said("", reasoning_content="early clouds", **call(place="Rome")), *2 * [said("x")])
    row = comparison(prompt=(*prompt, Message("user", "?")), chosen=said("y", reasoning_content="late", **call()))
    assert parts(renderer(FULL), row) == {"reasoning": True, "tool_calls": True}
    assert parts(renderer(LAST), row) == {"reasoning": False, "tool_calls": False}
    two = (said("", **call(place="Rome")), Message("user", "?"), said("", **call(place="Oslo")), Message("user", "!"))
    first = (
        "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% if loop.first %}" + CALLS + "{% endif %}{% endfor %}"
    )
    assert parts(renderer(first), comparison(prompt=two)) == {"tool_calls": False}


def test_words_inside_a_part_that_is_read_are_looked_for():
    row = comparison(chosen=said("", **call(place="Rome")))
    assert parts(renderer(NAMES_ONLY), row) == {"tool_calls": True, "words.tool_calls": False}
    bare = "{% for t in tools or [] %}{{ t.function.name }}{% endfor %}" + CHAT
    row = comparison(template_args={"tools": TOOLS})
    assert parts(renderer(bare), row) == {"tools": True, "words.tools": False}


@pytest.mark.parametrize(
    ("template", "row", "missing"),
    [
        (UNTHINKING, comparison(chosen=said("<think>clouds</think>Yes.")), {"contents.assistant": False}),
        (UNTHINKING, comparison(), {}),
        (
            NO_SYSTEM,
            comparison(prompt=(Message("system", "Be brief."), Message("user", "Hi"))),
            {"contents.system": False},
        ),
        (NO_SYSTEM, comparison(prompt=(Message("user", "  Hi \n"),)), {}),
        ("assistant_only", comparison(), {"contents.user": False}),
        ("raw", comparison(), {}),
    ],
)
def test_contents_that_do_not_stand_in_the_text_are_named_by_role(template, row, missing):
    made = renderer(CHAT, template=template) if len(template) < 20 else renderer(template)
    assert parts(made, row) == missing


def test_special_tokens_spelled_by_a_message_do_not_hide_what_is_dropped():
    row = comparison(chosen=said("Yes <|end|>", **call()))
    assert parts(renderer(CHAT), row) == {"tool_calls": False}
    assert parts(renderer(FULL), row) == {"tool_calls": True}


def test_rows_with_tools_get_the_template_that_transformers_gives_them():
    made = renderer(CHAT, tools="{{ tools | tojson }}" + CHAT)
    for args in ({}, {"tools": TOOLS}, {"tools": []}):
        turns = [{"role": "user", "content": "Is it raining?"}, {"role": "assistant", "content": "Yes."}]
        expected = made.tokenizer.apply_chat_template(turns, **args, tokenize=False)
        row = comparison(template_args=args)
        assert made.text(row.prompt, row.responses[0].messages, args) == expected
        assert (expected.startswith("[")) == ("tools" in args)


def test_another_template_alone_is_no_reading_of_the_tools():
    row = comparison(template_args={"tools": TOOLS})
    assert parts(renderer(CHAT, tools="With tools: " + CHAT), row) == {"tools": False}
    assert parts(renderer(CHAT, tools="{{ tools | tojson }}" + CHAT), row) == {"tools": True}


def test_a_setting_may_be_read_by_either_template():
    made = renderer(CHAT, tools="{{ mood }}" + CHAT, template_kwargs={"mood": "glad"})
    assert made.text((), (said("x"),), {"tools": TOOLS}).startswith("glad")
    with pytest.raises(UserError, match="reads no mod"):
        renderer(CHAT, tools="{{ mood }}" + CHAT, template_kwargs={"mod": "glad"})


def counts(**unread):
    return UnreadCounts(40, {name: {"comparisons": 40, "unread": n, "example": "a:1"} for name, n in unread.items()})


def test_tools_and_calls_stop_a_run_and_the_rest_is_said():
    with pytest.raises(
        DataError, match=r"^valid: tool_calls change nothing in 1 of the 40 comparisons with them"
    ) as at:
        check_unread(Unread(), "valid", counts(tool_calls=1, reasoning=40))
    assert at.value.hint.endswith("train without: --render.max_unread.tool_calls 1")
    check_unread(Unread(tool_calls=0.025), "valid", counts(tool_calls=1))
    found = counts(reasoning=40, name=3)
    check_unread(Unread(), "valid", found)
    assert describe_unread("valid", found) == [
        "unread       valid: reasoning changes nothing in 40 of the 40 comparisons with it, such as a:1",
        "unread       valid: name changes nothing in 3 of the 40 comparisons with it, such as a:1",
    ]
    for limits in (Unread(reasoning=0.5), Unread(reasoning=0.0)):
        with pytest.raises(DataError, match="reasoning changes nothing"):
            check_unread(limits, "train", found)
    contents = UnreadCounts(9, {"contents.assistant": {"comparisons": 2, "unread": 2, "example": "a:1"}})
    with pytest.raises(DataError, match="leaves out contents of assistant turns in 2 of 9 comparisons"):
        check_unread(Unread(contents=0.2), "train", contents)
    check_unread(Unread(contents=0.25), "train", contents)


def test_names_of_arguments_are_counted_apart_up_to_a_bound():
    found = UnreadCounts()
    for number in range(100):
        found.add(comparison(f"c{number}"), {f"chat_template_kwargs.key{number}": False})
    assert len(found.parts) == 41 and found.parts["chat_template_kwargs (other names)"]["unread"] == 60
    found.add(comparison("last"), {"tools": False})
    assert found.parts["tools"]["unread"] == 1
    with pytest.raises(DataError, match="other names"):
        check_unread(Unread(chat_template_kwargs=0.5), "train", found)


def test_a_cached_store_remembers_what_was_dropped(tmp_path):
    rows = [comparison(f"c{n}", chosen=said(f"y{n}", **call())) for n in range(4)] + [comparison("plain")]
    made = renderer(CHAT)
    for _ in range(2):
        store = build_store(rows, made, training=True, cache=tmp_path)
        assert store.ledger.unread.parts == {"tool_calls": {"comparisons": 4, "unread": 4, "example": "c0"}}
        assert store.ledger.unread.comparisons == 5 and store.ledger.kind == "messages"
    # The limit is no part of the key: another limit needs no rendering.
    other = renderer(CHAT, max_unread=Unread(tool_calls=1.0))
    build_store(rows, other, training=True, cache=tmp_path)
    assert len([folder for folder in tmp_path.iterdir() if folder.is_dir()]) == 1


def test_calls_that_are_all_alike_once_dropped_are_named():
    rows = [comparison(f"c{n}", chosen=said("No, it is dry.", **call(n=n))) for n in range(3)]
    with pytest.raises(DataError, match="training: tool_calls change nothing in 3 of the 3"):
        build_store(rows, renderer(CHAT), training=True)
    with pytest.raises(DataError, match="no comparison is left after rendering: 3 identical_ids"):
        build_store(rows, renderer(CHAT, max_unread=Unread(tool_calls=1.0)), training=True)


@pytest.mark.parametrize(
    ("prompt", "response", "glued"),
    [("Is it?", "Yes", 1), ("Is it? ", "Yes", 0), ("Is it?", "\nYes", 0), ("", "Yes", 0), ("Is it?", "", 0)],
)
def test_plain_texts_that_meet_without_white_space_are_counted_with_raw(prompt, response, glued):
    turns = (Message("text", prompt),) if prompt else ()
    answers = tuple(Response((Message("text", text),)) for text in (response, " No"))
    row = Comparison("c", "k", turns, answers, (Judgment(0, 1),))
    ledger = Ledger()
    made = renderer(CHAT, template="raw")
    chunk, outcomes = [row], made.outcomes([row])
    fit(chunk[0], outcomes[0], made.settings, True, ledger)
    assert ledger.causes.get("glued", {"comparisons": 0})["comparisons"] == glued
    assert bool(glued) == any("glued: prompt and response meet" in line for line in describe_ledger("train", ledger))
    assert ledger.kind == "text"


word = st.integers(1000, 9999).map("w{}x".format)
content = st.one_of(
    st.lists(word, min_size=0, max_size=6).map(" ".join),
    st.builds("<think>{}</think> {}".format, word, word),
    st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8),
    st.builds("{} <|end|>{}".format, word, word),
)
extra = st.fixed_dictionaries(
    {},
    optional={
        "reasoning_content": word,
        "tool_calls": st.builds(lambda a, b: call(a, place=b)["tool_calls"], word, word),
        "name": word,
    },
)
turn = st.builds(
    lambda role, text, more: Message(role, text, json.dumps(more) if role == "assistant" and more else ""),
    st.sampled_from(["user", "assistant"]),
    content,
    extra,
)
answer = st.builds(lambda text, more: said(text, **more), content, extra)
arguments = st.fixed_dictionaries(
    {},
    optional={
        "tools": st.builds(lambda a, b: [{"function": {"name": a, "description": b}}], word, word),
        "mood": word,
        "tone": word,
    },
)
conversations = st.tuples(st.none() | content, st.lists(turn, max_size=4), answer, answer, arguments)
FIVE = "{% for m in messages %}<|{{ m.role }}|>{{ m.content[:5] }}<|end|>{% endfor %}"
TEMPLATES = [CHAT, FULL, LAST, NAMES_ONLY, UNTHINKING, NO_SYSTEM, FIVE]
LIMITS = [Render(max_tokens=4000), *(Render(max_tokens=60, over_long=way) for way in ("drop", "truncate_response"))]
RENDERERS = [Renderer(renderer(chat).tokenizer, limit, causal=True) for chat in TEMPLATES for limit in LIMITS]


def words_of(row, response):
    """The words of a conversation, with the name under which a missing one is counted."""
    for message in (*row.prompt, *response.messages):
        more = json.loads(message.extra) if message.extra else {}
        yield message.content.strip(), {f"contents.{message.role}"}
        yield more.get("reasoning_content", ""), {"reasoning", "words.reasoning"}
        yield more.get("name", ""), {"name", "words.name"}
        for made in more.get("tool_calls", []):
            for text in (made["function"]["name"], made["function"]["arguments"]["place"]):
                yield text, {"tool_calls", "words.tool_calls"}
    for tool in row.template_args.get("tools", []):
        yield tool["function"]["name"], {"tools", "words.tools"}
        yield tool["function"]["description"], {"tools", "words.tools"}
    for name in ("mood", "tone"):
        yield row.template_args.get(name, ""), {f"chat_template_kwargs.{name}"}


@given(conversations, st.sampled_from(RENDERERS))
def test_every_text_stands_in_what_the_model_reads_or_is_counted(conversation, made):
    system, turns, chosen, rejected, args = conversation
    prompt = (*([] if system is None else [Message("system", system)]), *turns)
    responses = (Response((chosen,)), Response((rejected,)))
    row = Comparison("c", prompt_key(prompt), prompt, responses, (Judgment(0, 1),), template_args=args)
    ledger = Ledger()
    (outcome,) = made.outcomes([row])
    fitted = fit(row, outcome, made.settings, True, ledger)
    if fitted is None:
        assert ledger.dropped + len(ledger.stops) == 1  # left out, or told before the run stops
        return
    counted = {name for name, found in ledger.unread.parts.items() if found["unread"]}
    for response, ids, cut in zip(responses, fitted.ids, fitted.removed, strict=True):
        read = made.tokenizer.decode(ids)
        missing = [names for text, names in words_of(row, response) if text not in read]
        assert all(names & counted or cut for names in missing), (missing, counted, read)
        assert not cut or any("truncated" in cause for cause in ledger.causes)
