"""Options that a message prints: no order of following them reads another text than the question and the answers."""

import hashlib
import re
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bradley.errors import DataError
from bradley.records import Comparison
from tests.data.labelled_rows import BAD, GOOD, read

SIDES = [0, 1, 1, 0, 1, 0, 0, 1] * 3
PRINTED = re.compile(r"--data\.(ignore|columns\.[a-z]+) ('[^']*'|[^ ;]+)")


def offered(rows, columns=(), ignore=(), tries=4):
    """Every result of the options that messages print, also of the options printed next: a list for each reading."""
    chosen = {"columns": dict(columns), "ignore": list(ignore)}
    try:
        return [read(rows, **chosen)[1]]
    except DataError as error:
        if not tries:
            return []
        found = []
        for name, value in PRINTED.findall(error.hint):
            (plain,) = shlex.split(value)
            if plain == "NAME" or plain in chosen["ignore"]:
                continue
            more = {name.split(".")[1]: plain} if name != "ignore" else {}
            left = plain.split(",") if name == "ignore" else []
            found += offered(rows, chosen["columns"] | more, [*chosen["ignore"], *left], tries - 1)
        return found


def asks(results, question):
    """All rows ask the question, and prefer the chosen answer."""
    for number, result in enumerate(results):
        assert isinstance(result, Comparison)
        assert [turn.content for turn in result.prompt] == [f"{question} {number}?"]


@given(
    name=st.sampled_from(["labelling_prompt", "raw_labelling_prompt", "annotation_prompt", "judge_prompt"])
    | st.sampled_from(["grading_instructions", "grader.query", "rater_question", "evaluator_input"]),
    question=st.sampled_from(["input", "prompt", "question", "instruction", "query", "messages"]),
    kind=st.sampled_from(["messages", "text"]),
    answers=st.sampled_from([("red", "blue"), (GOOD, BAD)]),
    first=st.booleans(),
)
def test_the_prompt_of_a_judge_is_no_prompt_whatever_option_is_followed(name, question, kind, answers, first):
    def row(number):
        told = f"Which of {answers[0]} and {answers[1]} is better for case {number}?"
        turns = [{"role": "system", "content": "You judge."}, {"role": "user", "content": told}]
        asked = f"Question {number}?"
        asked = [{"role": "user", "content": asked}] if question == "messages" else asked
        judged = told if kind == "text" else turns
        judged = {name.split(".")[0]: {name.split(".")[1]: judged}} if "." in name else {name: judged}
        sides = {"chosen": answers[0], "rejected": answers[1]}
        return {**judged, question: asked, **sides} if first else {question: asked, **sides, **judged}

    found = offered([row(number) for number in range(24)])
    assert found
    for results in found:
        asks(results, "Question")


def test_a_question_that_would_be_left_out_may_be_named_as_the_prompt():
    turns = [{"role": "user", "content": "Is red or blue better?"}]
    rows = [{"input": f"Case {n}?", "chosen": "red", "rejected": "blue", "dialogue": turns} for n in range(24)]
    with pytest.raises(DataError) as caught:
        read(rows)
    assert "if input is the prompt: --data.columns.prompt input" in caught.value.hint


def test_a_prompt_for_a_judge_is_the_prompt_of_a_file_without_another():
    rows = [{"labelling_prompt": f"Question {n}?", "chosen": GOOD, "rejected": BAD} for n in range(24)]
    asks(read(rows)[1], "Question")


@given(
    digest=st.sampled_from([hashlib.md5, hashlib.sha1, hashlib.sha256, hashlib.sha512]),
    upper=st.booleans(),
    answers=st.sampled_from([("red", "blue"), (GOOD, BAD)]),
    name=st.sampled_from(["response_{}_sha256", "hash_response_{}", "response_{}_md5_text", "output_{}"]),
)
def test_hexadecimal_digests_are_no_answers(digest, upper, answers, name):
    rows = []
    for number, side in enumerate(SIDES):
        texts = answers if side == 0 else answers[::-1]
        row = {"prompt": f"Question {number}?", "better_response_id": side}
        for place, text in enumerate(texts):
            told = digest(f"{number} {text}".encode()).hexdigest()
            row |= {f"response_{place}": text, name.format(place): told.upper() if upper else told}
        rows.append(row)
    results = read(rows)[1]
    asks(results, "Question")
    for result in results:
        (judgment,) = result.judgments
        assert result.responses[judgment.better].messages[-1].content == answers[0]


@pytest.mark.parametrize("tools", ["", " ", "\n", "[]", "null", None])
def test_an_empty_text_of_tools_means_no_tools(tools):
    rows = [{"prompt": f"Question {n}?", "chosen": GOOD, "rejected": BAD, "tools": tools} for n in range(24)]
    results = read(rows)[1]
    asks(results, "Question")
    assert not any(result.template_args for result in results)


def two(more):
    """Rows of two answers; `more` is a function of the row's number and side."""
    texts = [(f"{GOOD} {n}", f"{BAD} {n}") for n in range(len(SIDES))]
    return [
        {"prompt": f"Question {n}?", **more(n, side), "reply1": texts[n][side], "reply2": texts[n][1 - side]}
        for n, side in enumerate(SIDES)
    ]


def is_good(results):
    """All rows prefer the good answer."""
    asks(results, "Question")
    for result in results:
        (judgment,) = result.judgments
        assert result.responses[judgment.better].messages[-1].content.startswith(GOOD)


@given(
    name=st.sampled_from(["bot", "model_", "engine", "llm", "agent"]),
    label=st.sampled_from(["winner", "victor", "better", "who_won"]),
    spoken=st.booleans(),
)
def test_a_label_that_repeats_the_name_of_one_side_is_read_and_the_names_are_no_turns(name, label, spoken):
    models = ("the falcon nine model", "otter mini") if spoken else ("falcon-9", "otter-mini")

    def more(number, side):
        first, second = models if number % 3 else models[::-1]
        return {f"{name}1": first, f"{name}2": second, label: (first, second)[side]}

    found = offered(two(more))
    assert found
    for results in found:
        is_good(results)


@given(
    judges=st.lists(st.sampled_from(["ben", "carol", "kqz", "tutor"]), min_size=1, unique=True),
    words=st.sampled_from(["AB", ("left", "right"), (1, 2)]),
)
def test_judges_beside_the_label_that_the_user_names_are_named_as_unread(judges, words):
    def more(number, side):
        others = {judge: words[(number * (3 + place)) % 11 > 5] for place, judge in enumerate(judges)}
        return {"anna": words[side], **others, "split": "train"}

    reading, results = read(two(more), columns={"label": "anna"})
    is_good(results)
    assert reading.beside.startswith("not read as the label: ")
    assert set(reading.beside.removeprefix("not read as the label: ").split(", ")) == set(judges)


def test_scores_of_another_judge_beside_the_scores_that_the_user_names_are_named_as_unread():
    rows = two(lambda n, s: {"Anna 1": 9 - 4 * s, "Anna 2": 6 + n % 2, "Ben 1": n % 7, "Ben 2": n % 5})
    reading, _ = read(rows, columns={"label": "Anna 1"})
    assert reading.beside == "not read as the label: Ben 1, Ben 2"


@given(
    cells=st.sampled_from([("10", "9", "3"), ("True", "False", "True"), ("0.5", "1e-3", "7"), ("4", "N/A", "2")]),
    count=st.integers(2, 3),
    shape=st.sampled_from(["list", "columns"]),
    name=st.sampled_from(["ratings", "scores", "correct", "kqz"]),
)
def test_numbers_written_as_text_in_a_list_are_named(cells, count, shape, name):
    rows = []
    for number in range(len(SIDES)):
        texts = [f"{GOOD} {number} {place}" for place in range(count)]
        answers = {"responses": texts}
        if shape == "columns":
            answers = {f"response_{place + 1}": text for place, text in enumerate(texts)}
        rows.append({"prompt": f"Question {number}?", **answers, name: list(cells[:count])})
    with pytest.raises(DataError, match=f"{name} holds .* written as text") as caught:
        read(rows)
    assert "--data.columns" not in caught.value.hint and "without quotes" in caught.value.hint


def test_the_report_says_which_column_is_first_if_the_columns_stand_the_other_way_round():
    def rows(*names):
        told = [[f"{GOOD} {n}" if name == "response_a" else f"{BAD} {n}" for name in names] for n in range(9)]
        choices = ("first", "second")
        return [
            {"prompt": f"q {n}?", **dict(zip(names, told[n], strict=True)), "choice": choices[n % 2]} for n in range(9)
        ]

    turned, straight = (read(rows(*names))[0] for names in (("response_b", "response_a"), ("response_a", "response_b")))
    assert dict(turned.counts) == {"first = response_a": 5, "second = response_b": 4}
    assert dict(straight.counts) == {"first": 5, "second": 4}


@pytest.mark.parametrize("question", ["prompt", "Frage"])
@pytest.mark.parametrize("context", ["Haus {}", "Das Haus {} steht am See und ist rot."])
@pytest.mark.parametrize("first", [False, True])
def test_german_names_of_question_and_context_are_read_as_the_english_ones(question, context, first):
    rows = []
    for n in range(9):
        told = {question: f"Was ist {n}?", "Kontext": context.format(n)}
        told = dict(reversed(told.items())) if first else told
        rows.append(told | {"Antwort A": f"{GOOD} {n}", "Antwort B": f"{BAD} {n}", "winner": "A"})
    rows[0]["winner"] = "B"
    for n, result in enumerate(read(rows)[1]):
        assert [turn.content for turn in result.prompt] == [f"{context.format(n)}\n\nWas ist {n}?"]
