"""Short instructions and attachments beside a prompt are part of the conversation; short labels are tags."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bradley.data.formats.instructions import is_instruction
from bradley.errors import DataError
from bradley.records import Comparison
from tests.data.labelled_rows import BAD, GOOD, read

ADDED = ["suffix", "memory", "few_shot", "preamble", "language_instruction", "prompt_suffix"]
MANNER = ["style", "tone", "task", "role", "format", "goal", "response_language", "length"]
ORDERS = [
    *("Answer in French.", "Be brief.", "You are a pirate", "Write like Hemingway", "Never use the passive voice"),
    *("Keep it under 100 words", "The reader is a child.", "Do not mention prices!", "用法语回答。"),
]
LABELS = [
    *("summarization", "qa", "open qa", "question answering over tables", "formal", "JSON", "list of strings", "en"),
    *("code generation", "role-play", "dialogue summarization", "1-2 sentences", "Q&A"),
]


def rows_of(shape, more, count=24):
    rows = []
    for number in range(count):
        row = {"prompt": f"How do I keep box {number} dry?", **more(number)}
        names = ("chosen", "rejected") if shape == "pair" else ("response_a", "response_b")
        row |= dict(zip(names, (GOOD, BAD), strict=True)) | ({} if shape == "pair" else {"winner": "a"})
        rows.append(row)
    return rows


def refusal(rows, **more):
    with pytest.raises(DataError) as caught:
        read(rows, **more)
    return caught.value


SHAPES = st.sampled_from(["pair", "sides"])


@given(
    SHAPES,
    st.sampled_from([*ADDED, *MANNER]),
    st.lists(st.sampled_from(ORDERS), min_size=1, max_size=4),
    st.booleans(),
    st.sampled_from([0, 21]),
)
def test_a_short_instruction_stops_the_load_and_the_option_leaves_the_column_out(shape, name, texts, inside, start):
    def more(number):
        told = {name: texts[number % len(texts)]} if number >= start else {}
        return {"meta": told} if inside and told else told

    column = f"meta.{name}" if inside else name
    error = refusal(rows_of(shape, more))
    assert f"{column} (text) would not be read" in error.message and f"--data.ignore {column}" in error.hint
    _, results = read(rows_of(shape, more), ignore=column)
    assert all(isinstance(result, Comparison) and name not in result.tags for result in results)
    # An instruction that the prompt holds is read.
    rows = [
        {**row, "prompt": f"{row['prompt']}\n{(row.get('meta') or row).get(name, '')}"} for row in rows_of(shape, more)
    ]
    assert all(isinstance(result, Comparison) for result in read(rows)[1])


@given(SHAPES, st.sampled_from(MANNER), st.lists(st.sampled_from(LABELS), min_size=1, max_size=4))
def test_short_labels_under_the_same_names_are_tags(shape, name, labels):
    reading, results = read(rows_of(shape, lambda number: {name: labels[number % len(labels)]}))
    assert "not read" not in reading.describe()
    assert [result.tags[name] for result in results] == [labels[number % len(labels)] for number in range(24)]


@pytest.mark.parametrize("name", ["notes", "comment", "license", "task_name", "format_type", "goal_category"])
def test_sentences_under_names_of_labels_and_remarks_are_tags(name):
    _, results = read(rows_of("pair", lambda number: {name: "You may take the first one."}))
    assert all(result.tags[name] for result in results)


def test_instructions_under_a_name_of_nobodys():
    assert "zorble (text)" in refusal(rows_of("pair", lambda number: {"zorble": ORDERS[number % 4]})).message
    # A single sentence among labels, and the title of a row, are labels.
    for name, text in (
        ("zorble", lambda number: ORDERS[0] if number == 5 else "web"),
        ("title", lambda n: ORDERS[n % 4]),
    ):
        _, results = read(rows_of("pair", lambda number: {name: text(number)}))  # noqa: B023
        assert all(isinstance(result, Comparison) for result in results)


@pytest.mark.parametrize(("text", "told"), [*((text, True) for text in ORDERS), *((text, False) for text in LABELS)])
def test_instructions_and_labels(text, told):
    assert is_instruction(text) is told


@pytest.mark.parametrize("name", ["attachments", "images", "uploaded_files", "screenshots"])
@pytest.mark.parametrize("value", [["a.pdf"], [{"name": "a.pdf", "size": 3}], [{"url": "https://example.org/a"}]])
def test_lists_of_attachments_stop_the_load(name, value):
    assert f"{name} (list) would not be read" in refusal(rows_of("sides", lambda number: {name: value})).message
    for empty in ([], None, [None]):
        _, results = read(rows_of("sides", lambda number: {name: empty}))  # noqa: B023
        assert all(isinstance(result, Comparison) for result in results)


ANSWERS = {
    "pair": {"chosen": GOOD, "rejected": BAD},
    "sides": {"response_a": GOOD, "response_b": BAD, "winner": "a"},
    "names": {"good_answer": GOOD, "bad_answer": BAD},
    "several": {"chosen": GOOD, "rejected_1": BAD, "rejected_2": f"{BAD} So."},
}


@pytest.mark.parametrize("shape", ANSWERS)
@pytest.mark.parametrize("named", ["body", "title"])
def test_a_text_beside_the_prompt_that_the_user_names_is_never_dropped(shape, named):
    rows = [
        {"title": f"Where can I keep box {number}", "body": f"It is wet since day {number} and dark", **ANSWERS[shape]}
        for number in range(24)
    ]
    other = {"body": "title", "title": "body"}[named]
    error = refusal(rows, columns={"prompt": named})
    assert other in error.message and f"--data.ignore {other}" in error.hint
    _, results = read(rows, columns={"prompt": named}, ignore=other)
    assert [result.prompt[-1].content for result in results] == [row[named] for row in rows]
    # A text that the prompt holds is read.
    rows = [{**row, named: f"{row[other]}. {row[named]}"} for row in rows]
    assert all(isinstance(result, Comparison) for result in read(rows, columns={"prompt": named})[1])
