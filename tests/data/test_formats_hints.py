"""Files that are refused with a hint that leads on, and files that a plain reading has saved from a refusal."""

import re

import pytest

from bradley.config import Data
from bradley.data.formats.numbered import is_numbered
from bradley.errors import DataError
from tests.data.labelled_rows import BAD, GOOD, check, read
from tests.data.loading import load

SIDES = [0, 1, 1, 0, 0, 1, 0, 1] * 3
MODELS = ("gpt4", "llama")


def rows_of(write):
    """Rows of two answers with the better one at each side; `write(texts, side)` gives their columns."""
    return [
        {"prompt": f"How do I keep box {number} dry?", **write([BAD, GOOD] if side else [GOOD, BAD], side)}
        for number, side in enumerate(SIDES)
    ]


def refusal(rows, **more):
    with pytest.raises(DataError) as caught:
        read(rows, **more)
    return caught.value


VALUES = {"rank": ("1st", "2nd"), "score": ("5", "2"), "grade": ("A", "C"), "mark": (True, False)}


@pytest.mark.parametrize("name", VALUES)
def test_what_stands_beside_each_answer_is_named_with_its_values(name):
    good, bad = VALUES[name]
    rows = rows_of(lambda texts, side: {"replies": [{"text": t, name: good if t == GOOD else bad} for t in texts]})
    error = refusal(rows)
    assert f"replies.*.{name} (" in error.message and f"{good} 20" in error.message and "text" not in error.message
    assert error.hint.endswith("--data.format module:function")


@pytest.mark.parametrize(
    ("write", "place"),
    [
        (
            lambda texts, side: {"replies": [{"text": t, "model": m} for t, m in zip(texts, MODELS, strict=True)]},
            "replies.*.model",
        ),
        (lambda texts, side: {"responses": texts, "models": list(MODELS)}, "models"),
    ],
)
def test_the_column_with_the_names_of_the_models_is_named(write, place):
    rows = rows_of(lambda texts, side: {**write(texts, side), "gold": MODELS[side]})
    assert f"{place} holds the names" in refusal(rows).message


@pytest.mark.parametrize("form", ["inside", "beside"])
@pytest.mark.parametrize("by_hand", [False, True])
def test_an_answer_under_the_name_of_each_model_is_read(form, by_hand):
    def write(texts, side):
        told = dict(zip(MODELS, texts, strict=True))
        return {**({"replies": told} if form == "inside" else told), "winner": MODELS[side]}

    before = "replies." if form == "inside" else ""
    names = [f"{before}{model}" for model in MODELS]
    settings = {"columns": dict(zip(("chosen", "rejected"), names, strict=True))} if by_hand else {}
    assert f"answers <- {', '.join(names)}" in check(rows_of(write), SIDES, **settings).describe()


NAMES = [("control", "treatment"), ("draft", "revision"), ("gpt4", "llama"), ("baseline", "ours"), ("回答甲", "回答乙")]


@pytest.mark.parametrize("names", NAMES)
@pytest.mark.parametrize("label", ["AB", ""])
def test_two_texts_under_names_of_nobodys_are_to_be_named_by_hand(names, label):
    def write(texts, side):
        return {**dict(zip(names, texts, strict=True)), **({"winner": label[side]} if label else {})}

    error = refusal(rows_of(write))
    assert f"{names[0]} and {names[1]} may be the answers" in error.message
    line = dict(re.findall(r"--data\.columns\.(\w+) '?([^\s;']+)", error.hint))
    assert line == {"chosen": names[0], "rejected": names[1]}
    # The printed line never reads a file with a label by the names.
    if label:
        assert "winner" in refusal(rows_of(write), columns=line).message
    else:
        assert len(read(rows_of(write), columns=line)[1]) == len(SIDES)


def test_texts_of_a_prompt_are_no_answers():
    rows = [{"title": f"Where do I keep box {n}", "body": f"It is wet since day {n}"} for n in range(9)]
    assert "may be the answers" not in refusal(rows).message


@pytest.mark.parametrize("stem", ["回答", "응답", "ответ", "réponse"])
@pytest.mark.parametrize("marks", ["AB", "ab", "12"])
def test_letters_beside_other_writing_are_marks(stem, marks):
    rows = rows_of(
        lambda texts, side: {f"{stem}{m}": t for m, t in zip(marks, texts, strict=True)} | {"winner": "AB"[side]}
    )
    check(rows, SIDES)


def test_the_name_of_a_model_is_no_turn():
    assert not is_numbered("gpt4") and not is_numbered("GPT-3") and is_numbered("gpt_1") and is_numbered("user_4")


def test_a_question_in_other_writing_is_never_dropped():
    rows = rows_of(lambda texts, side: {"回答1": texts[0], "回答2": texts[1], "winner": side + 1})
    rows = [{"问题": f"怎样让箱子{number}保持干燥？", **row} for number, row in enumerate(rows)]
    for row in rows:
        del row["prompt"]
    assert "--data.columns.prompt" in refusal(rows).hint
    assert len(read(rows, columns={"prompt": "问题"})[1]) == len(SIDES)


def test_a_file_with_both_labels_of_every_pair_names_the_settings():
    rows = [
        {"prompt": f"How do I keep box {n // 2} dry?", "response_a": GOOD, "response_b": BAD, "winner": "ab"[n % 2]}
        for n in range(24)
    ]
    with pytest.raises(DataError, match="none is left \\(pairs with equal votes 12\\)") as caught:
        load(Data(valid_share=0.0), train=rows)
    assert "--data.equal_scores tie" in caught.value.hint and "--data.judges apart" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "first"), [("level", 1), ("tier", 1), ("losses", 1), ("difficulty", 1), ("grade", "A"), ("tier", "A")]
)
def test_no_line_calls_a_number_of_each_answer_the_name_of_the_better_one(name, first):
    second = 2 if first == 1 else "C"
    cells = [(first, second), (second, first)]
    rows = [
        {"prompt": f"q {n}?", "answer_1": GOOD, "answer_2": BAD, f"{name}_1": one, f"{name}_2": other}
        for n, (one, other) in enumerate(cells * 6)
    ]
    assert "--data.columns.label" not in refusal(rows).hint


@pytest.mark.parametrize("name", ["winner_final", "gold_label", "human_winner"])
def test_of_two_labels_that_differ_each_is_offered_and_reads_as_the_line_says(name):
    rows = rows_of(lambda texts, side: {"answer_a": texts[0], "answer_b": texts[1], "winner": "A", name: "AB"[side]})
    hint = refusal(rows).hint
    assert f"--data.columns.label winner or --data.columns.label {name};" in hint
    _, results = read(rows, columns={"label": name})
    assert {result.responses[result.judgments[0].better].text for result in results} == {GOOD}


@pytest.mark.parametrize("name", ["schlechter", "pire", "peor", "peggiore", "info.pior"])
def test_a_word_for_worse_in_another_language_names_the_worse_answer(name):
    *outer, last = name.split(".")
    told = lambda side: {outer[0]: {last: "BA"[side]}} if outer else {last: "BA"[side]}  # noqa: E731
    rows = rows_of(lambda texts, side: {"answer_a": texts[0], "answer_b": texts[1], **told(side)})
    reading, results = read(rows)
    assert f"worse <- {name}" in reading.describe()
    assert {result.responses[result.judgments[0].better].text for result in results} == {GOOD}


def test_a_place_in_words_is_never_the_text_of_an_answer():
    rows = [{"prompt": f"q {n}?", "responses": [BAD, GOOD], "best": "second"} for n in range(6)]
    with pytest.raises(DataError, match="chosen holds places of answers in rejected, such as 'second', and no answers"):
        read(rows, columns={"chosen": "best", "rejected": "responses"})
    letters = [{"prompt": f"q {n}?", "chosen": "A", "rejected": ["B", "C"]} for n in range(6)]
    assert {result.responses[0].text for result in read(letters)[1]} == {"A"}
