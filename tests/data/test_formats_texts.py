"""Texts of a row stand where they belong, or are named: pairs of texts, judges' prompts, numbered turns, inputs."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bradley.config import Data
from bradley.data.formats import choose_format, convert_rows
from bradley.data.load import load_splits
from bradley.data.report import describe
from bradley.data.rows import RowPlace
from bradley.errors import DataError
from tests.data.rows import as_pairs, replies

ROWS = range(24)


def read(rows, **settings):
    """Reading and results of rows."""
    place = RowPlace("x.jsonl", "x", settings=Data(**settings))
    reading, numbered = choose_format(enumerate(rows, 1), place)
    return reading, list(convert_rows(numbered, reading, place, set()))


def pair(number, **more):
    """A row of a chosen and a rejected answer."""
    row = {"prompt": f"Which is number {number}?", "chosen": f"It is {number}, surely.", "rejected": f"Not {number}."}
    return {**row, **more}


def sides(number, **more):
    """A row of two answers and the letter of the better one."""
    row = pair(number)
    texts = [row["chosen"], row["rejected"]] if number % 2 == 0 else [row["rejected"], row["chosen"]]
    return {
        "prompt": row["prompt"],
        "response_a": texts[0],
        "response_b": texts[1],
        "winner": "AB"[number % 2],
        **more,
    }


def best(result):
    """Text of the better answer."""
    return result.responses[result.judgments[0].better].text


def stopped(rows, **settings):
    """Message and hint of the error that stops the load."""
    with pytest.raises(DataError) as caught:
        read(rows, **settings)
    return caught.value.message, caught.value.hint


@pytest.mark.parametrize("make", [pair, sides])
@pytest.mark.parametrize("name", ["tags", "entities", "ngrams", "references", "languages", "choices"])
def test_pairs_of_texts_under_other_names_are_no_turns(make, name):
    reading, results = read([make(number, **{name: [["topic", f"x{number}"]]}) for number in ROWS])
    for number, result in enumerate(results):
        assert as_pairs(result.prompt) == [("text", f"Which is number {number}?")]
        assert best(result) == f"It is {number}, surely."
    assert f"not read: {name}" in reading.describe()


@pytest.mark.parametrize("make", [pair, sides])
@pytest.mark.parametrize(
    "history",
    [
        [["hi", "yo"]],
        [["human", "hi"], ["gpt", "yo"]],
        [{"user": "hi", "assistant": "yo"}],
        [{"question": "hi", "answer": "yo"}],
    ],
)
def test_pairs_of_texts_under_the_name_of_a_conversation_are_turns(make, history):
    _, results = read([make(number, history=history) for number in ROWS])
    wanted = [("user", "hi"), ("assistant", "yo"), ("user", "Which is number 3?")]
    assert as_pairs(results[3].prompt) == wanted and best(results[3]) == "It is 3, surely."


@pytest.mark.parametrize("make", [pair, sides])
@pytest.mark.parametrize("name", ["prompt", "messages", "anything"])
def test_words_for_speakers_become_roles(make, name):
    told = [["system", "be"], ["human", "hi"], ["gpt", "yo"], ["human", "and?"]]
    _, results = read([{**make(number, prompt=None), name: told} for number in ROWS])
    wanted = [("system", "be"), ("user", "hi"), ("assistant", "yo"), ("user", "and?")]
    assert [as_pairs(result.prompt) for result in results] == [wanted] * len(ROWS)


def test_whole_conversations_of_speakers_and_texts_are_the_two_sides():
    told = [{key: [["user", "hi"], ["assistant", key]] for key in ("chosen", "rejected")}]
    _, (result,) = read(told)
    assert as_pairs(result.prompt) == [("user", "hi")] and replies(result) == ["chosen", "rejected"]


def judged(row, number):
    """A conversation of a judge about a row."""
    question = next(row[key] for key in ("prompt", "question") if key in row)
    texts = "\n".join(row[key] for key in ("chosen", "rejected", "response_a", "response_b") if key in row)
    told = [{"role": "system", "content": "You judge."}, {"role": "user", "content": f"Compare.\n{question}\n{texts}"}]
    return [*told, {"role": "assistant", "content": "AB"[number % 2]}]


@pytest.mark.parametrize("make", [pair, sides])
@pytest.mark.parametrize("question", ["prompt", "question"])
@pytest.mark.parametrize("name", ["messages", "conversation", "labelling_prompt", "eval_messages"])
def test_the_conversation_with_a_judge_is_never_the_prompt(make, question, name):
    rows = [make(number) for number in ROWS]
    rows = [{question: row.pop("prompt"), **row} for row in rows]
    reading, results = read([{**row, name: judged(row, number)} for number, row in enumerate(rows)])
    for number, result in enumerate(results):
        assert [turn.content for turn in result.prompt] == [f"Which is number {number}?"]
        assert best(result) == f"It is {number}, surely."
    assert f"not read: {name}" in reading.describe()


def test_a_verdict_alone_makes_a_conversation_the_judge_s():
    told = [{"role": "user", "content": "Which is better?"}, {"role": "assistant", "content": "[[A]]"}]
    message, _ = stopped([pair(number, messages=told) for number in ROWS])
    assert "messages (messages) would not be read" in message
    told[1]["content"] = "A good question, and a long story."
    _, results = read([pair(number, messages=told) for number in ROWS])
    assert [turn.role for turn in results[0].prompt] == ["user", "assistant", "user"]


def transcripts(number, **more):
    """A row of two transcripts."""
    begin = f"\n\nHuman: q{number}?\n\nAssistant: "
    return {"chosen": f"{begin}yes {number}", "rejected": f"{begin}no {number}", **more}


@pytest.mark.parametrize("empty", [{"prompt": None}, {"prompt": ""}, {}])
def test_a_prompt_beside_some_transcripts_is_not_lost(empty):
    rows = [transcripts(number, **empty) for number in ROWS]
    rows[7] = transcripts(7, prompt="Be brief.")
    assert stopped(rows)[0].startswith("x.jsonl, row 8: found a prompt that the transcripts do not hold")
    # A prompt that both transcripts begin with adds nothing.
    for prompt in ("q7?", "\n\nHuman: q7?\n\nAssistant:"):
        rows[7]["prompt"] = prompt
        _, results = read(rows)
        assert as_pairs(results[7].prompt) == [("user", "q7?")] and replies(results[7]) == ["yes 7", "no 7"]


def test_a_system_text_beside_transcripts_is_the_first_turn():
    _, results = read([transcripts(number, system="Be." if number % 2 else None) for number in ROWS])
    assert as_pairs(results[1].prompt) == [("system", "Be."), ("user", "q1?")]
    assert as_pairs(results[2].prompt) == [("user", "q2?")]


@given(
    names=st.sampled_from([("user", "assistant"), ("human", "bot"), ("User", "AI")]),
    texts=st.lists(st.text("abc ", min_size=1, max_size=100).map("x".__add__), min_size=3, max_size=7),
    make=st.sampled_from([pair, sides]),
)
def test_numbered_turns_are_read_in_order(names, texts, make):
    texts = texts if len(texts) % 2 else texts[:-1]
    told = {f"{names[place % 2]}_{place // 2 + 1}": text for place, text in enumerate(texts)}
    _, results = read([{**dict(reversed(told.items())), **make(number, prompt=None)} for number in ROWS[:4]])
    wanted = [(("user", "assistant")[place % 2], text) for place, text in enumerate(texts)]
    assert [as_pairs(result.prompt) for result in results] == [wanted] * 4


def test_numbered_turns_before_a_question_and_beside_one():
    before = {"user_1": "hi", "assistant_1": "yo"}
    _, results = read([pair(number, **before) for number in ROWS])
    assert as_pairs(results[0].prompt)[:2] == [("user", "hi"), ("assistant", "yo")]
    assert results[0].prompt[2].content == "Which is number 0?"
    # A question of their own leaves open how the two belong together.
    message, _ = stopped([pair(number, **before, user_2="and?") for number in ROWS])
    assert "user_1 (text), assistant_1 (text), user_2 (text) would not be read" in message
    late = [pair(number, prompt=None, **before, user_2="and?") for number in ROWS]
    late[22] |= {"assistant_2": "so", "user_3": "and then?"}
    assert stopped(late)[0].startswith("x.jsonl, row 23: assistant_2 (text), user_3 (text)")


def test_texts_in_turn_are_a_conversation():
    told = ["hi", "yo", "and?"]
    reading, results = read([pair(number, prompt=told[: 1 + number % 2 * 2]) for number in ROWS])
    assert as_pairs(results[1].prompt) == [("user", "hi"), ("assistant", "yo"), ("user", "and?")]
    assert as_pairs(results[0].prompt) == [("user", "hi")]
    assert "prompt <- prompt (user and assistant in turn)" in reading.describe()
    with pytest.raises(DataError):
        read([pair(number, prompt=["hi", "yo"]) for number in ROWS])


def test_several_rejected_answers_are_each_worse():
    rows = [pair(number, rejected=[f"Not {number}.", "Never."]) for number in ROWS]
    _, results = read(rows)
    assert replies(results[2]) == ["It is 2, surely.", "Not 2.", "Never."]
    assert [(one.better, one.worse) for one in results[2].judgments] == [(0, 1), (0, 2)]
    _, (one,) = read([pair(1, rejected=["Not 1."])])
    assert replies(one) == ["It is 1, surely.", "Not 1."]
    _, (none,) = read([pair(1, rejected=[])])
    assert none.reason == "one_response"
    renamed = [{"prompt": row["prompt"], "best": row["chosen"], "other_responses": row["rejected"]} for row in rows]
    line = "--data.columns.chosen best --data.columns.rejected other_responses"
    assert line in stopped(renamed)[1]
    _, results = read(renamed, columns={"chosen": "best", "rejected": "other_responses"})
    assert replies(results[2]) == ["It is 2, surely.", "Not 2.", "Never."]


@pytest.mark.parametrize(
    ("names", "texts"),
    [
        (("chosen", "rejected_1", "rejected_2"), ("a", "b", "c")),
        (("chosen", "no_1", "no_2"), ("It is so, surely.", "It is not so.", "Never at all.")),
    ],
)
def test_a_worse_answer_is_never_suggested_as_the_better_one(names, texts):
    message, hint = stopped([{"prompt": f"q {number}", **dict(zip(names, texts, strict=True))} for number in ROWS])
    assert f"{names[1]}, {names[2]} hold several worse answers beside chosen" in message
    assert "--data.columns" not in hint and "--data.ignore" not in hint


TASK = "Please do the task for the text that follows."
INPUTS = [
    "sentence",
    "src",
    "source",
    "text",
    "code",
    "table",
    "facts",
    "claim",
    "hypothesis",
    "review",
    "body",
    "past",
]


@pytest.mark.parametrize("make", [pair, sides])
@pytest.mark.parametrize("name", [*INPUTS, "content", "preamble", "source_text", "text_2", "given_sentence"])
def test_short_texts_under_the_name_of_an_input_stop_the_load(make, name):
    rows = [make(number, prompt=TASK, **{name: f"the cat {number} sat"}) for number in ROWS]
    message, hint = stopped(rows)
    assert f"{name} (text) would not be read" in message and f"--data.ignore {name}" in hint
    _, results = read(rows, ignore=name)
    assert [best(result) for result in results] == [f"It is {number}, surely." for number in ROWS]
    # A text that the prompt holds is read.
    reading, _ = read([{**row, "prompt": f"{TASK}\n{row[name]}"} for row in rows])
    assert "not read" not in reading.describe()


@given(
    name=st.sampled_from(INPUTS[:-1]),
    texts=st.lists(st.text("abcefg", min_size=1, max_size=9), min_size=20, max_size=20, unique=True),
    several=st.booleans(),
)
def test_inputs_that_differ_stop_the_load_and_labels_that_repeat_pass(name, texts, several):
    values = [f"{text} and more of {text}" if several or name == "source" else f"q {text}" for text in texts]
    assert f"{name} (text)" in stopped([pair(n, prompt=TASK, **{name: value}) for n, value in enumerate(values)])[0]
    tags = [{name: text} for text in texts[:3]]
    rows = [pair(number, prompt=TASK, **tags[number % 3]) for number in range(20)]
    assert read(rows)[0].describe() == ""


def test_labels_and_origins_pass_and_unknown_texts_are_named():
    labels = {
        "source": ["Stack Exchange Data Dump", "web"],
        "prompt_source": ["a b c", "d"],
        "review_status": ["ok", "not so good"],
        "text_id": [f"x {number}" for number in ROWS],
        "annotator": [f"person {number}" for number in ROWS],
        "content": ["sexual", "none"],
        "code": ["en", "de"],
    }
    rows = [pair(number, **{name: values[number % len(values)] for name, values in labels.items()}) for number in ROWS]
    assert read(rows)[0].describe() == ""
    reading, _ = read([{**row, "oddity": f"an odd {n}", "target_language": "French"} for n, row in enumerate(rows)])
    assert reading.describe().startswith("not read: ") and set(reading.describe()[10:].split(", ")) == {
        "oddity",
        "target_language",
    }


@pytest.mark.parametrize("name", ["tool_schema", "functions", "function_schema"])
def test_short_schemas_in_json_stop_the_load(name):
    assert f"{name} (text)" in stopped([pair(number, **{name: '[{"name": "add"}]'}) for number in ROWS])[0]


def test_an_input_in_a_later_row_stops_the_load():
    rows = [pair(number, **({"sentence": "The cat sat."} if number > 21 else {})) for number in ROWS]
    assert stopped(rows)[0].startswith("x.jsonl, row 23: sentence (text) would not be read")


NO_VALID = Data(valid_share=0.0)
CALL = {"from": "function_call", "value": '{"name": "add", "arguments": {"a": 1}}'}


def test_calls_and_observations_are_tool_calls_and_tool_turns():
    told = [{"from": "human", "value": "1 + 1?"}, CALL, {"from": "observation", "value": "2"}]
    answers = {"chosen": {"from": "gpt", "value": "Two."}, "rejected": {"from": "gpt", "value": "Three."}}
    _, (result,) = read([{"conversations": told, **answers}])
    assert as_pairs(result.prompt) == [("user", "1 + 1?"), ("assistant", ""), ("tool", "2")]
    calls = [{"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}]
    assert json.loads(result.prompt[1].extra) == {"tool_calls": calls}
    message, hint = stopped([{"conversations": [told[0], {**CALL, "value": "add(1)"}, told[2]], **answers}])
    assert "the role 'function_call'" in message and "data.columns" not in hint


def failed(rows, **settings):
    """Message and hint of the error that stops a whole load."""
    with pytest.raises(DataError) as caught:
        load_splits(Data(**settings), 0, train=rows, strict=False)
    return caught.value.message, caught.value.hint


def test_a_hint_names_the_setting_that_keeps_ties_only_for_ties():
    none = load_splits(NO_VALID, 0, train=[sides(n, **({} if n < 4 else {"winner": None})) for n in ROWS]).report
    tied = load_splits(NO_VALID, 0, train=[sides(n, **({} if n < 4 else {"winner": "tie"})) for n in ROWS]).report
    late = load_splits(
        NO_VALID, 0, train=[sides(n, winner=None if 4 < n < 23 else "tie" if n > 22 else "A") for n in ROWS]
    )
    texts = [describe(report) for report in (none, tied, late.report)]
    assert ["equal_scores tie" in text for text in texts] == [False, True, True]
    message, hint = failed([sides(n, winner="tie") for n in ROWS])
    assert message.endswith("row 1: a tie") and "--data.equal_scores tie" in hint


def test_an_empty_split_names_the_reason_and_the_step():
    rows = [{"prompt": "q", "completions": [{"content": "a"}, {"content": "b"}]} for _ in ROWS]
    message, hint = failed(rows)
    assert "missing_score 24" in message and "row 1: completions with neither a rank" in message
    assert hint.startswith("missing_score is a completion without rank and score") and "held-out" not in hint


def test_a_list_written_as_text_is_not_called_one_answer():
    told = str([{"text": "an answer", "rating": 5}, {"text": "another", "rating": 1}])
    message, _ = stopped([{"prompt": f"q {number}", "responses": told} for number in ROWS])
    assert message.startswith("x.jsonl: responses holds several texts in each row")
    message, _ = stopped([{"prompt": f"q {number}", "response": "an answer", "rating": number % 5} for number in ROWS])
    assert "one answer in each row (response, with rating)" in message


def test_a_table_written_by_columns_is_named(tmp_path):
    path = tmp_path / "rows.json"
    columns = {key: {str(number): pair(number)[key] for number in ROWS} for key in pair(0)}
    path.write_text(json.dumps(columns))
    with pytest.raises(DataError) as caught:
        load_splits(Data(train=str(path)), 0)
    assert 'orient="records", lines=True' in caught.value.hint
    path.write_text(json.dumps({"rows": {"a": 1}}))
    with pytest.raises(DataError) as caught:
        load_splits(Data(train=str(path)), 0)
    assert "orient" not in caught.value.hint


BEGINNINGS = ("response_prefix", "assistant_prefix", "prefill", "partial_answer", "params.completion_prefix")
ORDERS_IN_FRONT = ("prefix", "prompt_prefix", "params.prefix", "prefix_prompt", "initial_prompt_response")


@pytest.mark.parametrize("name", [*BEGINNINGS, *ORDERS_IN_FRONT])
@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("text", ["Answer politely.", "summarize: ", "Sure, here is "])
def test_a_prefix_is_put_in_front_of_the_answers_only_if_the_name_says_so(name, labelled, text):
    sides = ({"response_a": "red", "response_b": "blue", "winner": "A"}, {"chosen": "red", "rejected": "blue"})
    rows = [{"prompt": f"Name a colour for room {n}.", **sides[not labelled]} for n in range(6)]
    *outer, last = name.split(".")
    for row in rows:
        (row.setdefault(outer[0], {}) if outer else row)[last] = text
    if name in BEGINNINGS:
        reading, results = read(rows)
        assert f"answers begin with {name}" in reading.describe()
        assert {one.responses[0].text for one in results} == {f"{text}red"}
        return
    with pytest.raises(DataError, match=f"{name} .*may be part of the conversation") as caught:
        read(rows)
    assert f"--data.ignore {name}" in caught.value.hint and "module:function" in caught.value.hint
