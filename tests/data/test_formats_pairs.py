"""Transcripts, and chosen against rejected as text or messages: split to the byte, with all that a row says of them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bradley.data.formats import to_comparisons
from bradley.errors import DataError
from bradley.records import Comparison, Judgment, Message, Rejected, prompt_key
from tests.data.labelled_rows import read
from tests.data.rows import OTHER, REPLY, SYSTEM, TOOL, TRANSCRIPT, USER, as_pairs, one, replies
from tests.helpers import needs_data, read_gz

AB = st.text(st.sampled_from("ab \n"))
BASE = {"prompt": "p", "chosen": "a", "rejected": "b"}


def whole(comparison, index):
    messages = (*comparison.prompt, *comparison.responses[index].messages)
    return "".join(f"\n\n{'Human' if m.role == 'user' else 'Assistant'}: {m.content}" for m in messages)


def test_hh_rows_are_split_at_the_last_common_turn():
    common = TRANSCRIPT + "yo\n\nHuman: and?\n\nAssistant:"
    result = one({"chosen": common + "  a ", "rejected": common})
    assert as_pairs(result.prompt) == [("user", "hi"), ("assistant", "yo"), ("user", "and?")]
    assert [as_pairs(r.messages) for r in result.responses] == [[("assistant", " a ")], [("assistant", "")]]
    assert result.judgments == (Judgment(0, 1),) and result.rank is None
    assert result.prompt_key == prompt_key(result.prompt) and result.id == "rows:1"


@pytest.mark.parametrize(
    ("chosen", "rejected"),
    [
        (TRANSCRIPT + "a\n\nAssistant: b", TRANSCRIPT + "c"),
        (TRANSCRIPT + "a\n\nHuman: b\n\nAssistant: c", TRANSCRIPT + "d\n\nHuman: b\n\nAssistant: c"),
        (TRANSCRIPT + "a\n\nHuman: b", TRANSCRIPT + "a\n\nHuman: c"),
        (TRANSCRIPT + "a\n\nHuman: b", TRANSCRIPT + "d"),
        ("\n\nHuman: hi", "\n\nHuman: ho"),
        ("\n\nAssistant: a", "\n\nAssistant: b"),
        ("hi" + TRANSCRIPT + "a", "hi" + TRANSCRIPT + "b"),
        ("a", "b"),
        ("", ""),
    ],
)
def test_irregular_hh_rows_are_counted(chosen, rejected):
    for row in ({"chosen": chosen, "rejected": rejected}, {"chosen": rejected, "rejected": chosen}):
        result = one(row, "hh")
        assert isinstance(result, Rejected) and (result.reason, result.row) == ("irregular", 1) and result.detail


@given(AB, AB, AB)
def test_a_regular_transcript_can_be_rebuilt_to_the_byte(prompt, chosen, rejected):
    texts = [f"\n\nHuman: {prompt}\n\nAssistant: {response}" for response in (chosen, rejected)]
    result = one(dict(zip(("chosen", "rejected"), texts, strict=True)))
    assert [whole(result, 0), whole(result, 1)] == texts


def test_four_shapes_of_preference():
    user, yo, no = Message("user", "hi"), Message("assistant", "yo"), Message("assistant", "no")
    turns, prompt = ((yo,), (no,)), (user,)
    for row in (
        {"prompt": [USER], "chosen": [REPLY], "rejected": [OTHER]},
        {"chosen": [USER, REPLY], "rejected": [USER, OTHER]},
        {"prompt": [USER], "chosen": [USER, REPLY], "rejected": [USER, OTHER]},
        {"prompt": "hi", "chosen": [USER, REPLY], "rejected": [USER, OTHER]},
        {"prompt": "hi", "chosen": [REPLY], "rejected": [OTHER]},
        {"prompt": [USER], "chosen": "yo", "rejected": "no"},
    ):
        result = one(row)
        assert (result.prompt, tuple(r.messages for r in result.responses)) == (prompt, turns)
    result = one({"prompt": "the sky ", "chosen": "is blue", "rejected": "is green"})
    assert as_pairs(result.prompt) == [("text", "the sky ")]
    assert [as_pairs(r.messages) for r in result.responses] == [[("text", "is blue")], [("text", "is green")]]


@pytest.mark.parametrize(
    ("chosen", "rejected", "prompt"),
    [
        ("the sky is blue", "the sky is black", "the sky is"),
        ("the sky is blue", "the sky is", "the sky"),
        ("so\n\n A", "so\n\n B", "so"),
        ("blue", "black", ""),
        (" \n", " x", ""),
        ("same text", "same text", "same"),
        ("", "x", ""),
    ],
)
def test_the_common_beginning_of_texts_ends_at_a_word(chosen, rejected, prompt):
    result = one({"chosen": chosen, "rejected": rejected})
    assert "".join(m.content for m in result.prompt) == prompt
    assert [prompt + response.text for response in result.responses] == [chosen, rejected]


@given(*[st.text(st.sampled_from("ab \n\u3000"), max_size=12)] * 3)
def test_prompt_and_response_are_the_source_text(common, chosen, rejected):
    chosen, rejected = common + chosen, common + rejected
    result = one({"chosen": chosen, "rejected": rejected})
    prompt = "".join(m.content for m in result.prompt)
    assert [prompt + response.text for response in result.responses] == [chosen, rejected]
    assert not prompt or (all(r.text[0].isspace() for r in result.responses) and not prompt[-1].isspace())


def test_longer_conversations_that_part_early_keep_every_turn():
    more = [{"role": "user", "content": "why"}, OTHER]
    result = one({"chosen": [USER, REPLY, *more], "rejected": [USER, OTHER, *more]})
    assert as_pairs(result.prompt) == [("user", "hi")]
    assert [m.content for m in result.responses[0].messages] == ["yo", "why", "no"]
    prefix = one({"chosen": [USER, REPLY, *more], "rejected": [USER, REPLY]})
    assert [len(r.messages) for r in prefix.responses] == [3, 1]


def test_turns_that_templates_can_render_are_kept():
    answered = [USER, REPLY]
    for prompt in ([SYSTEM, USER], [USER, USER], [*answered, OTHER, USER], [*answered, TOOL, TOOL], [], answered):
        assert len(one({"prompt": prompt, "chosen": [REPLY], "rejected": [OTHER]}).prompt) == len(prompt)


def test_the_harmless_test_set_against_its_converted_twin():
    raw = read_gz(needs_data("hh_harmless_test", "raw", "test.jsonl.gz"))
    pairs = read_gz(needs_data("hh_harmless_test", "pairs.jsonl.gz"))
    results, twins = list(to_comparisons(raw)), list(to_comparisons(pairs))
    assert len(raw) == len(results) == 2312
    irregular = {number for number, pair in enumerate(pairs, 1) if pair.get("irregular")}
    assert {result.row for result in results if isinstance(result, Rejected)} == irregular and len(irregular) == 5
    regular = [entry for entry in zip(raw, results, twins, strict=True) if isinstance(entry[1], Comparison)]
    for row, result, twin in regular:
        assert [whole(result, 0), whole(result, 1)] == [row["chosen"], row["rejected"]]
        assert result.prompt_key == twin.prompt_key
        assert [r.text.strip() for r in result.responses] == [r.text.strip() for r in twin.responses]
    assert sum(any(not response.text for response in result.responses) for _, result, _ in regular) == 4


@pytest.mark.parametrize(
    ("said", "judgment"),
    [
        ({}, Judgment(0, 1)),
        ({"probability": 1, "weight": None, "margin": None}, Judgment(0, 1)),
        ({"probability": 0.75}, Judgment(0, 1, 0.75)),
        ({"probability": 0.25}, Judgment(1, 0, 0.75)),
        ({"probability": 0}, Judgment(1, 0, 1.0)),
        ({"probability": 0.25, "margin": -2, "weight": 3}, Judgment(1, 0, 0.75, 2.0, 3.0)),
        ({"probability": 0.5, "margin": 1}, Judgment(0, 1, 0.5, 1.0)),
        ({"weight": 0.5, "margin": 2.5}, Judgment(0, 1, 1.0, 2.5, 0.5)),
    ],
)
def test_what_a_row_says_of_its_preference(said, judgment):
    for row in (
        BASE,
        {"chosen": TRANSCRIPT + "a", "rejected": TRANSCRIPT + "b"},
        {"chosen_ids": [1], "rejected_ids": [2]},
    ):
        assert one({**row, **said}, equal_scores="tie").judgments == (judgment,)


@given(st.floats(0, 1))
def test_a_probability_and_its_complement_say_the_same_with_the_sides_swapped(probability):
    first = one({**BASE, "probability": probability}, equal_scores="tie").judgments[0]
    assert first.probability == pytest.approx(max(probability, 1 - probability), abs=1e-15)
    assert (first.better == 0) == (probability >= 0.5) or first.tie


@pytest.mark.parametrize(
    ("high", "low"),
    [
        ("score_chosen", "score_rejected"),
        ("chosen_score", "rejected_score"),
        ("chosen_rating", "rejected_rating"),
        ("chosen-rating", "rejected-rating"),
    ],
)
def test_binarized_rows_keep_their_scores(high, low):
    row = {"prompt": "hi", "chosen": [USER, REPLY], "rejected": [USER, OTHER], "messages": [USER, REPLY]}
    result = one({**row, high: 8.5, low: 6})
    assert (result.prompt, replies(result)) == ((Message("user", "hi"),), ["yo", "no"])
    assert [r.score for r in result.responses] == [8.5, 6.0] and result.judgments == (Judgment(0, 1, margin=2.5),)
    assert one({**row, high: 6, low: 8.5}).judgments == (Judgment(0, 1),)
    assert one({**row, high: 6, low: 5, "margin": 9}).judgments == (Judgment(0, 1, margin=9.0),)
    half = one({**row, high: 6, low: None})
    assert [r.score for r in half.responses] == [None, None] and half.judgments == (Judgment(0, 1),) and not half.tags


def test_a_prompt_as_text_may_repeat_any_common_turn_of_the_user():
    padded = {"role": "user", "content": " hi\n"}
    for begins in ([USER], [padded], [SYSTEM, USER], [USER, OTHER, USER], [USER, OTHER, {**USER, "content": "on"}]):
        result = one({"prompt": "hi", "chosen": [*begins, REPLY], "rejected": [*begins, OTHER]})
        assert as_pairs(result.prompt) == [(turn["role"], turn["content"]) for turn in begins]
        assert replies(result) == ["yo", "no"]


def test_reward_bench_rows_bring_their_tags():
    row = {**BASE, "chosen_model": "x", "rejected_model": "y", "subset": "alpacaeval-easy", "id": 0}
    result = one(row)
    assert result.tags == {"chosen_model": "x", "rejected_model": "y", "subset": "alpacaeval-easy"} and result.id == "0"


CALL = {"type": "function", "function": {"name": "add", "arguments": {"b": 2, "a": "é"}}}
SCHEMA = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}


def test_tool_calls_become_what_a_chat_template_reads():
    called = {"role": "assistant", "tool_calls": [CALL], "reasoning_content": "so"}
    answer = {"role": "tool", "name": "add", "tool_call_id": "c1", "content": "3"}
    row = {"prompt": [USER], "chosen": [called, answer, REPLY], "rejected": [{**OTHER, "refusal": "x"}]}
    result = one(row)
    first, second, third = result.responses[0].messages
    assert (first.role, first.content) == ("assistant", "") and "é" in first.extra
    assert json.loads(first.extra) == {"reasoning_content": "so", "tool_calls": [CALL]}
    assert list(json.loads(first.extra)) == ["reasoning_content", "tool_calls"]
    assert list(json.loads(first.extra)["tool_calls"][0]["function"]["arguments"]) == ["b", "a"]
    assert json.loads(second.extra) == {"name": "add", "tool_call_id": "c1"} and third.extra == ""
    assert result.responses[1].messages[0].extra == ""
    nulls = [{**turn, "thinking": None, "tool_calls": turn.get("tool_calls")} for turn in row["chosen"]]
    nulls[0]["content"] = None
    assert one({**row, "chosen": nulls}) == result
    implicit = {"chosen": [USER, called, answer, REPLY], "rejected": [USER, called, answer, OTHER]}
    assert [m.role for m in one(implicit).prompt] == ["user", "assistant", "tool"] and one(implicit).prompt[1] == first


@pytest.mark.parametrize("tools", [[SCHEMA], json.dumps([SCHEMA])])
def test_tools_and_template_arguments(tools):
    row = {"prompt": [USER], "chosen": [REPLY], "rejected": [OTHER], "tools": tools}
    assert one(row).template_args == {"tools": [SCHEMA]} and one(row).tags == {}
    kwargs = {"enable_thinking": False, "depth": 2}
    assert one({**row, "chat_template_kwargs": kwargs}).template_args == {"tools": [SCHEMA], **kwargs}
    assert one({**row, "tools": None, "chat_template_kwargs": kwargs}).template_args == kwargs
    assert one({**row, "tools": [], "chat_template_kwargs": None}).template_args == {}
    assert one({**row, "chat_template_kwargs": {"tools": []}}).template_args == {"tools": []}


@pytest.mark.parametrize("key", ["prompt", "question", "instruction"])
@pytest.mark.parametrize("write", [str, lambda text: [{"role": "user", "content": text}]])
def test_a_prompt_inside_both_sides_is_read_and_two_different_ones_are_irregular(key, write):
    sides = ("Blue, by all means.", "No idea.")
    rows = [
        {
            side: {key: write(f"q {n}?"), "response": text}
            for side, text in zip(("chosen", "rejected"), sides, strict=True)
        }
        for n in range(5)
    ]
    reading, results = read(rows)
    assert f"prompt <- chosen.{key}" in reading.describe()
    assert [[turn.content for turn in one.prompt] for one in results] == [[f"q {n}?"] for n in range(5)]
    assert {tuple(response.text for response in one.responses) for one in results} == {sides}
    rows[4]["rejected"][key] = write("another?")
    assert read(rows)[1][4].reason == "irregular"
    outer = [{**row, "prompt": "The prompt of the row."} for row in rows[:4]]
    with pytest.raises(DataError, match=rf"chosen\.{key}.* would not be read"):
        read(outer)
