"""Nothing unread goes unsaid: parts of a conversation in columns of their own are read, or stop the load."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bradley.config import Data
from bradley.data.formats import choose_format, convert_rows, to_comparisons
from bradley.data.rows import RowPlace
from bradley.errors import DataError
from bradley.records import Comparison
from tests.data.rows import REPLY, USER, as_pairs, one, replies

LONG = "A long passage of words that nobody reads, which goes on and on, well beyond the length of any label."
PAIR = {"prompt": "Which number?", "chosen": "Seven.", "rejected": "Nine."}


def read(rows, **settings):
    place = RowPlace("x.jsonl", "x", settings=Data(**settings))
    reading, numbered = choose_format(enumerate(rows, 1), place)
    return reading, list(convert_rows(numbered, reading, place, set()))


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        ({"system": "Be a pirate.", "question": "1 + 1?"}, [("system", "Be a pirate."), ("user", "1 + 1?")]),
        ({"system": "Be a pirate.", "prompt": "1 + 1?"}, [("system", "Be a pirate."), ("user", "1 + 1?")]),
        ({"system": "", "question": "1 + 1?"}, [("user", "1 + 1?")]),
        ({"system_prompt": "Be.", "instruction": "Go", "input": "1"}, [("system", "Be."), ("user", "Go\n1")]),
        ({"instruction": "Translate.", "input": "The number."}, [("text", "Translate.\nThe number.")]),
        ({"context": "The sky is blue.", "question": "Its colour?"}, [("text", "The sky is blue.\n\nIts colour?")]),
        ({"question": "1 + 1?"}, [("text", "1 + 1?")]),
        ({"system": [{"text": "Be."}], "messages": [USER]}, [("system", "Be."), ("user", "hi")]),
    ],
)
def test_a_prompt_in_parts_is_read_whole(row, prompt):
    # A file whose first rows have a system text writes every row as turns.
    filled = {key: value or "x" for key, value in row.items()}
    for sides in (
        {"chosen": "Seven.", "rejected": "Nine."},
        {"response_a": "Nine.", "response_b": "Seven.", "winner": "b"},
        {"good_answer": "Seven.", "bad_answer": "Nine."},
    ):
        reading, results = read([{**row, **sides}, {**filled, **sides}])
        assert as_pairs(results[0].prompt) == prompt, reading.describe()
        assert results[0].responses[results[0].judgments[0].better].text == "Seven."
        assert reading.describe().startswith("prompt <- ")


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("images", ["cat.png"]),
        ("document", "short"),
        ("article", LONG),
        ("passage_text", "short"),
        ("notes", LONG),
        ("source", LONG),
        ("conversations", [USER, REPLY, {"role": "user", "content": "and?"}]),
        ("earlier", [{"from": "human", "value": "so?"}]),
        ("retrieved", "\u4e2d\u6587" * 50),
    ],
)
def test_what_may_be_part_of_the_conversation_stops_the_load(name, value, mapped):
    columns = {"prompt": "q", "chosen": "good", "rejected": "bad"} if mapped else {}
    pair = {columns.get(key, key): text for key, text in PAIR.items()}
    if name == "source":
        # A short source names the origin of the row.
        assert one({**pair, "source": "web"}, columns=columns).source == "web"
    with pytest.raises(DataError) as caught:
        read([{**pair, name: value}], columns=columns)
    assert f"{name} (" in caught.value.message and f"--data.ignore {name}" in caught.value.hint
    reading, (result,) = read([{**pair, name: value}], columns=columns, ignore=name)
    assert isinstance(result, Comparison) and name not in result.tags and reading.describe().count(name) == 0


def test_a_part_that_shows_up_later_stops_the_load_with_its_row():
    rows = [{**PAIR, "images": None} for _ in range(50)] + [{**PAIR, "images": ["a.png"]}]
    with pytest.raises(DataError, match=r"x.jsonl, row 51: images \(list\) would not be read"):
        read(rows)


@pytest.mark.parametrize(
    "more",
    [
        {"question": "Which number?"},
        {"question": None, "input": "", "messages": []},
        {"messages": [{"role": "user", "content": "Which number?"}, {"role": "assistant", "content": "Seven."}]},
        {"response": "Seven."},
        {"source": "web", "subset": "a", "prompt_id": "0f" * 32, "url": "https://example.org/" + "x" * 90},
        {"model": "m" * 30, "context_length": 5, "question_type": "open"},
    ],
)
def test_repetitions_and_labels_of_reports_pass(more):
    reading, (result,) = read([{**PAIR, **more}])
    assert replies(result) == ["Seven.", "Nine."] and "not read" not in reading.describe()


def test_a_judge_s_prompt_is_named_and_no_part():
    answers = {"response_a": "Put the box on a shelf, well away.", "response_b": "Nobody can say, leave it as it is."}
    judge = f"Compare. How? A: {answers['response_a']} B: {answers['response_b']}"
    reading, (result,) = read([{"question": "How?", **answers, "winner": "a", "instruction": judge}])
    assert as_pairs(result.prompt) == [("text", "How?")] and reading.describe().endswith("not read: instruction")


def test_columns_of_free_text_never_become_tags():
    rows = [{**PAIR, "set": "x", "feedback": LONG}, {**PAIR, "set": "y", "feedback": "short"}]
    shown = [result.tags for result in to_comparisons(rows, Data(ignore="feedback"))]
    assert shown == [{"set": "x"}, {"set": "y"}]
    rows = [{**row, "feedback": [row["feedback"]]} for row in rows]
    reading, results = read(rows)
    assert [result.tags for result in results] == shown and "not read: feedback" in reading.describe()


def test_dots_and_lists_leave_out_columns():
    row = {**PAIR, "info": {"set": "x", "images": ["a"]}, "images": ["b"]}
    (result,) = to_comparisons([row], Data(ignore=["info.images", "images"]))
    assert isinstance(result, Comparison)


@pytest.mark.parametrize(
    ("chosen", "rejected"), [("a", "b"), ("response_a", "response_b"), ("gpt-4", "llama"), ("B", "A"), ("1", "2")]
)
def test_chosen_and_rejected_that_hold_labels_are_an_error(chosen, rejected):
    answers = {"response_a": "Put it on a shelf.", "response_b": "Nobody can really say."}
    with pytest.raises(DataError, match="chosen and rejected hold") as caught:
        read([{"prompt": "q", **answers, "chosen": chosen, "rejected": rejected}])
    assert "--data.columns.label chosen --data.ignore rejected" in caught.value.hint


def test_the_line_of_that_error_reads_the_label():
    answers = {"response_a": "Put it on a shelf.", "response_b": "Nobody can really say."}
    rows = [{"prompt": "q", **answers, "chosen": one_, "rejected": other} for one_, other in ("ab", "ba", "ba")]
    reading, results = read(rows, columns={"label": "chosen"}, ignore="rejected")
    assert [result.judgments[0].better for result in results] == [0, 1, 1]
    assert "better <- chosen (a: 1, b: 2)" in reading.describe()


def test_short_answers_are_no_labels():
    assert replies(one({"prompt": "yes or no?", "chosen": "a", "rejected": "b"})) == ["a", "b"]
    named = {"prompt": "2 or 3?", "chosen": "2", "rejected": "3", "model_a": "x", "model_b": "y"}
    assert replies(one(named)) == ["2", "3"]


@pytest.mark.parametrize("answers", [("a", "b"), ("4", "5"), ("yes it is, all of it", "nobody can say")])
def test_columns_in_capitals_hold_answers_of_any_length(answers):
    row = {"Prompt": "Which is it?", "Chosen": answers[0], "Rejected": answers[1]}
    assert replies(one(row)) == [*answers]
    # Beside two other answers, short texts are labels.
    both = {"Prompt": "q", "Response A": "Put it on a shelf.", "Response B": "Nobody can really say."}
    with pytest.raises(DataError):
        one({**both, "Chosen": "x", "Rejected": "y"})


TEXT = st.text(st.sampled_from("abcdefgh "), min_size=1, max_size=30).map(lambda text: f"w{text}w")


@given(
    st.dictionaries(st.sampled_from(["system", "input", "context", "history", "messages", "document", "images"]), TEXT),
    TEXT,
    st.sampled_from(["prompt", "question", "instruction"]),
)
def test_every_text_is_read_or_stops_the_load_with_its_name(parts, question, asked):
    row = {asked: question, "chosen": "Seven of them.", "rejected": "Nine of them.", **parts}
    try:
        _, (result,) = read([row])
    except DataError as error:
        assert all(name in parts for name in error.hint.split("--data.ignore ")[1].split(";")[0].split(","))
        return
    text = "\n".join(turn.content for turn in result.prompt)
    assert all(value.strip() in text for value in (question, *parts.values()))
