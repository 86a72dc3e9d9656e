"""Spellings of messages: keys, names of the speakers, text parts, one object for a list, a text for a list."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bradley.data.formats import to_comparisons
from bradley.data.formats.messages import normal
from bradley.data.formats.transcripts import asked
from bradley.data.rows import RowPlace
from bradley.errors import DataError
from tests.data.rows import OTHER, REPLY, SYSTEM, TOOL, USER, as_pairs, one, replies

WORDS = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20)
TURNS = [SYSTEM, USER, REPLY, {"role": "user", "content": "and?"}]
SPEAKERS = {
    "system": ["system", "System"],
    "user": ["user", "human", "Human", "USER", "prompter"],
    "assistant": ["assistant", "gpt", "bot", "model", "Assistant", "chatgpt"],
}


@st.composite
def spelled(draw):
    """One conversation in some spelling, the same for all of its turns."""
    who, what = draw(st.sampled_from([("role", "content"), ("from", "value"), ("role", "value"), ("speaker", "text")]))
    parts = draw(st.sampled_from(["text", "part", "value", "bare"]))
    content = {
        "text": lambda text: text,
        "part": lambda text: [{"type": "text", "text": text, "image_url": None}],
        "value": lambda text: [{"type": "text", "value": text}],
        "bare": lambda text: [{"text": text}],
    }[parts]
    names = {role: draw(st.sampled_from(options)) for role, options in SPEAKERS.items()}
    extra = draw(st.sampled_from([{}, {"loss_weight": 1.0, "language": "English"}]))
    return lambda turn: {who: names[turn["role"]], what: content(turn["content"]), **extra}


@given(spelled(), st.sampled_from(["list", "json", "repr", "numpy"]))
def test_one_conversation_in_any_spelling_is_the_same_comparison(spell, container):
    def written(turns):
        turns = [spell(turn) for turn in turns]
        if container == "json":
            return json.dumps(turns)
        if container == "numpy":
            # `Dataset.to_csv` writes lists of objects so, without commas between the objects.
            return str(np.array([*turns, None], dtype=object)[:-1])
        return repr(turns) if container == "repr" else turns

    if container in ("json", "repr", "numpy") and "text" in spell(USER):
        # Messages with other keys than role, from, content and value are too much like data to be read from a text.
        return
    expected = one({"prompt": TURNS, "chosen": [REPLY], "rejected": [OTHER]})
    found = one({"prompt": written(TURNS), "chosen": written([REPLY]), "rejected": written([OTHER])})
    assert found == expected
    whole = one({"chosen": written([*TURNS, REPLY]), "rejected": written([*TURNS, OTHER])})
    assert (whole.prompt, replies(whole)) == (expected.prompt, ["yo", "no"])


@given(WORDS, WORDS)
def test_texts_survive_python_s_repr_and_json(first, second):
    turns = [{"role": "user", "content": first}, {"role": "assistant", "content": second}]
    assert normal(repr(turns)) == normal(json.dumps(turns)) == turns


@pytest.mark.parametrize(
    "side",
    [
        REPLY,
        {"from": "gpt", "value": "yo"},
        {"llm_name": "x", "answer": "yo"},
        {"text": "yo", "score": 3},
        {"response": "yo"},
        {"completion": [REPLY]},
        {"messages": [REPLY], "id": 5},
        [{"type": "text", "text": "yo"}],
        json.dumps({"messages": [REPLY]}),
    ],
)
def test_an_answer_may_be_one_object(side):
    row = {"prompt": [USER], "chosen": side, "rejected": "no" if isinstance(normal(side), str) else [OTHER]}
    assert replies(one(row)) == ["yo", "no"] and as_pairs(one(row).prompt) == [("user", "hi")]


def test_pairs_of_a_question_and_an_answer_are_earlier_turns():
    row = {"prompt": "and?", "history": [["hi", "yo"], ["so", "no"]], "chosen": "a", "rejected": "b"}
    assert [turn.content for turn in one(row).prompt] == ["hi", "yo", "so", "no", "and?"]
    assert [turn.role for turn in one(row).prompt] == ["user", "assistant", "user", "assistant", "user"]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ([{"type": "image", "image": "x.png"}, {"type": "text", "text": "hi"}], "a list as content"),
        ([{"type": "image_url", "image_url": {"url": "x"}}], "a list as content"),
        ([{"type": "text", "text": "hi", "image_url": {"url": "x"}}], "a list as content"),
        (5, "a number as content"),
    ],
)
def test_parts_that_are_no_text_are_refused(content, found):
    with pytest.raises(DataError, match=found):
        one({"prompt": [{"role": "user", "content": content}], "chosen": [REPLY], "rejected": [OTHER]})


@pytest.mark.parametrize(
    "text",
    [
        "[{'role': 'user', 'content': array(['x'])}]",
        "[{'role': 'user', 'content': 'cut",
        '[{"role": "user", "content": "cut',
        json.dumps({"messages": [USER, REPLY], "tools": [{"type": "function"}]}),
    ],
)
def test_messages_as_text_that_cannot_be_read_are_refused(text):
    with pytest.raises(DataError, match="wanted"):
        one({"chosen": text, "rejected": text})


@pytest.mark.parametrize(
    "text",
    [
        '{"role": "admin", "content": "x"}',
        '{"name": "add", "arguments": {"a": 1}}',
        "[1, 2, 3]",
        '["a", "b"]',
        "[{'role': 'admin'}]",
        "a plain text with {'role': 'user'} inside",
        '{"content": "x"}',
    ],
)
def test_code_and_json_as_an_answer_stay_text(text):
    assert replies(one({"prompt": "hi", "chosen": text, "rejected": "no"})) == [text, "no"]


@pytest.mark.parametrize("prompt", [None, "", "  ", []])
def test_an_empty_prompt_is_no_prompt(prompt):
    for row in (
        {"chosen": [USER, REPLY], "rejected": [USER, OTHER]},
        {"chosen": "hi there yo", "rejected": "hi there no"},
        {"chosen": "\n\nHuman: hi\n\nAssistant: yo", "rejected": "\n\nHuman: hi\n\nAssistant: no"},
    ):
        with_prompt, without = one({"prompt": prompt, **row}), one(row)
        assert with_prompt == without and without.prompt


@given(st.integers(1, 3), st.sampled_from(["", " "]))
def test_a_transcript_as_prompt_becomes_the_turns_of_hh(turns, blank):
    begins = "".join(f"\n\nHuman: q{n}\n\nAssistant: a{n}" for n in range(turns)) + "\n\nHuman: hi\n\nAssistant:"
    hh = one({"chosen": f"{begins} yo", "rejected": f"{begins} no"}, "hh")
    row = {"prompt": begins + blank, "chosen": "yo" if blank else " yo", "rejected": "no" if blank else " no"}
    found = one(row)
    assert (found.prompt, found.responses, found.prompt_key) == (hh.prompt, hh.responses, hh.prompt_key)
    labelled = {"prompt": begins + blank, "response_a": row["rejected"], "response_b": row["chosen"], "winner": "b"}
    again = one(labelled)
    assert again.prompt == hh.prompt and replies(again) == ["no", "yo"] and again.judgments[0].better == 1


OTHER_FORMS = {
    "User: hi\nAssistant:": 1,
    "### Instruction:\nhi\n\n### Response:\n": 1,
    "System: be kind\nHuman: hi\nAI: ": 1,
    "<s> [INST] hi [/INST]": 1,
    "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n": 1,
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nhi<|start_header_id|>assistant<|end_header_id|>\n": 1,
    "<start_of_turn>user\nhi<end_of_turn>\n<start_of_turn>model\n": 1,
    "User: hi": 0,
    "<p>hi</p>\nAssistant:": 0,
    "Which user: a or b?\nA": 0,
    "User manual\nIs the model <b>x</b>?": 0,
}
"""Prompts, and 1 for each that may be a transcript of another form."""


@pytest.mark.parametrize("text", OTHER_FORMS)
def test_marks_of_other_transcripts_are_counted(text):
    at = RowPlace("rows", "rows")
    assert asked(text, at) == () and at.notes["other_transcripts"] == OTHER_FORMS[text]


@pytest.mark.parametrize("format", ["preference", "votes", "labelled", "ranked"])
def test_pairs_with_different_first_questions_are_irregular_in_every_format(format):
    first, second = [USER, REPLY], [{"role": "user", "content": "other"}, OTHER]
    row = {
        "preference": {"chosen": first, "rejected": second},
        "votes": {"prompt": [], "response_a": first, "response_b": second, "votes": ["a"]},
        "labelled": {"conversation_a": first, "conversation_b": second, "winner": "a"},
        "ranked": {"prompt": [], "completions": [{"content": first, "rank": 1}, {"content": second, "rank": 2}]},
    }[format]
    result = one(row)
    assert result.reason == "irregular", result


@pytest.mark.parametrize("container", [json.dumps, list])
def test_a_list_of_texts_is_a_text_for_each_turn_of_a_speaker(container):
    questions, better, worse = map(container, (["hi", "and?"], ["yo", "so"], ["no", "nay"]))
    rows = [{"prompt": questions, "response_a": worse, "response_b": better, "winner": "b"}]
    # Lists of texts under chosen and rejected are several answers each, unless they are written as JSON.
    rows += [{"prompt": questions, "chosen": better, "rejected": worse}] if container is json.dumps else []
    for row in rows:
        result = one(row)
        judgment = result.judgments[0]
        assert as_pairs(result.prompt) == [("user", "hi")]
        first, second = (as_pairs(result.responses[k].messages) for k in (judgment.better, judgment.worse))
        assert first == [("assistant", "yo"), ("user", "and?"), ("assistant", "so")]
        assert second == [("assistant", "no"), ("user", "and?"), ("assistant", "nay")]
        short = {key: container(["yo"]) if value == better else value for key, value in row.items()}
        assert one(short).reason == "irregular"
    alone = one({"prompt": container(["hi"]), "chosen": "yo", "rejected": "no"})
    assert as_pairs(alone.prompt) == [("user", "hi")] and replies(alone) == ["yo", "no"]
    with pytest.raises(DataError, match="text in a message of the prompt"):
        one({"prompt": questions, "chosen": "yo", "rejected": "no"})


CALLS = st.fixed_dictionaries({"name": WORDS}, optional={"arguments": WORDS})


@given(CALLS, st.sampled_from([None, "", "Let me look."]), st.sampled_from(["chosen", "prompt", "a label"]))
def test_a_function_call_is_the_one_call_of_tool_calls(call, content, where):
    function = {"name": call["name"], "arguments": call.get("arguments", {})}
    old = {"role": "assistant", "content": content, "function_call": call}
    new = {"role": "assistant", "content": content, "tool_calls": [{"type": "function", "function": function}]}

    def row(turn):
        if where == "prompt":
            return {"prompt": [USER, turn, TOOL], "chosen": [REPLY], "rejected": [OTHER]}
        names = ("response_a", "response_b") if where == "a label" else ("chosen", "rejected")
        label = {"winner": "A"} if where == "a label" else {}
        return {"prompt": "hi", names[0]: turn, names[1]: OTHER, **label}

    assert one(row(old)) == one(row(new))
    assert '"tool_calls"' in repr(one(row(old)))


@pytest.mark.parametrize("held", ["auto", {"arguments": "{}"}, {"name": 3}])
def test_a_function_call_that_is_none_is_refused(held):
    with pytest.raises(DataError, match="as function_call in the response"):
        one({"prompt": "hi", "chosen": [{**REPLY, "function_call": held}], "rejected": [OTHER]})


@pytest.mark.parametrize("held", [{"tool_calls": [{"function": {"name": "f"}}]}, {"function_call": {"name": "f"}}])
def test_calls_beside_the_text_of_an_answer_stop_the_load(held):
    rows = [
        {
            "prompt": f"{n}?",
            "response_a": {"content": f"A long answer {n} to the question here."},
            "response_b": {"content": f"A short answer {n} to the question here.", **held},
            "winner": "AB"[n % 2],
        }
        for n in range(8)
    ]
    with pytest.raises(DataError, match=r"response_b\.(tool_calls|function_call)"):
        list(to_comparisons(rows))


@given(
    st.sampled_from(["preference", "votes", "labelled", "ranked"]),
    st.sampled_from([("Be brief.", None), (None, "Be brief."), ("Be brief.", "Be long."), ("Be brief.", "Be brief.")]),
    st.integers(1, 3),
)
def test_a_system_turn_that_the_sides_do_not_share_is_irregular_in_every_format(format, systems, exchanges):
    def side(system, reply):
        before = [{"role": "system", "content": system}] if system else []
        return [*before, *[USER, REPLY] * (exchanges - 1), USER, reply]

    first, second = side(systems[0], REPLY), side(systems[1], OTHER)
    row = {
        "preference": {"chosen": first, "rejected": second},
        "votes": {"prompt": [], "response_a": first, "response_b": second, "votes": ["a"]},
        "labelled": {"conversation_a": first, "conversation_b": second, "winner": "a"},
        "ranked": {"prompt": [], "completions": [{"content": first, "rank": 1}, {"content": second, "rank": 2}]},
    }[format]
    result = one(row)
    if systems[0] == systems[1]:
        assert replies(result)[0].endswith("yo") and "Be brief." in repr(result)
        return
    assert result.reason == "irregular", result
