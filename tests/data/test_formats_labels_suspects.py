"""Labels in words or numbers that nobody understands: never passed over, and no printed line passes them over."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bradley.config import Data
from bradley.data.formats import choose_format, convert_rows
from bradley.data.rows import RowPlace
from bradley.errors import DataError
from bradley.records import Comparison

GOOD, BAD = "Put the box on a shelf and close it well.", "Nobody can say, so leave it as it is."
SIGNALS = {
    "probability of the first": lambda side, n: round(0.9 - 0.7 * side + n / 100, 2),
    "percent": lambda side, n: 90 - 70 * side + n,
    "Likert 1 to 7": lambda side, n: [1 + n % 3, 5 + n % 3][side],
    "Likert as text": lambda side, n: str([1 + n % 3, 5 + n % 3][side]),
    "truth value about the first": lambda side, n: side == 0,
    "0 and 1 about the first": lambda side, n: 1 - side,
    "two numbers": lambda side, n: ["4/5", "2/3", "5/4"][n % 2 if side else 2],
    "two numbers with a dash": lambda side, n: ["1-5", "4-2"][side],
    "words": lambda side, n: ["strongly agree", "agree", "disagree"][2 if side else n % 2],
    "words for the quality": lambda side, n: ["worse than", "better than"][side],
    "strength": lambda side, n: [1, 2, 3][n % 3],
    "many words": lambda side, n: f"code {n} {side}",
}
NAMES = {
    "probability of the first": ["p_first", "prob_a", "preference", "win_rate_first"],
    "percent": ["p_first", "preference", "score_left"],
    "Likert 1 to 7": ["likert", "preference", "rating", "scale", "answer_7pt", "label"],
    "Likert as text": ["likert", "preference", "label"],
    "truth value about the first": ["first_good", "a_picked", "flag", "label"],
    "0 and 1 about the first": ["p_first", "prefers_a", "label_a", "first_ok"],
    "two numbers": ["scores", "rating", "grades", "eval", "note_7"],
    "two numbers with a dash": ["scores", "eval", "label"],
    "words": ["label", "preference", "verdict"],
    "words for the quality": ["label", "verdict", "judgment"],
    "strength": ["preference_strength", "strength", "likert"],
    "many words": ["verdict", "winner", "decision"],
}
CASES = [(kind, name) for kind, names in NAMES.items() for name in names]
ANSWERS = [("response_a", "response_b"), ("left_reply", "right_reply"), ("output_1", "output_2"), ("one", "two")]


def read(rows, **settings):
    place = RowPlace("x.jsonl", "x", settings=Data(**settings))
    reading, numbered = choose_format(enumerate(rows, 1), place)
    return reading, list(convert_rows(numbered, reading, place, set()))


def misread(rows, sides, **settings):
    """Return the hint of the refusal, "" for rows read rightly; fail for a row read the other way round."""
    try:
        _, results = read(rows, **settings)
    except DataError as error:
        return error.hint
    for result, side in zip(results, sides, strict=True):
        if isinstance(result, Comparison) and side is not None:
            judgment = result.judgments[0]
            assert result.responses[judgment.better].text == GOOD, (side, result.judgments)
    return ""


def settings_of(line):
    """The settings of a line such as `--data.columns.label x --data.ignore y`."""
    columns = dict(re.findall(r"--data\.columns\.(\w+) ([^\s;,]+)", line))
    ignore = re.findall(r"--data\.ignore ([^\s;]+)", line)
    return {"columns": columns, **({"ignore": ignore[0].split(",")} if ignore else {})}


def lines_of(hint):
    """The lines that a hint offers without a condition, as settings."""
    offers = [part for part in hint.split(";") if "--data." in part and "module:function" not in part]
    return [settings_of(part) for part in offers if not part.strip().removeprefix("or, ").startswith("if ")]


@given(
    st.lists(st.sampled_from([0, 1]), min_size=1, max_size=8).map(lambda sides: [0, 1, *sides, 1, 0, 1]),
    st.sampled_from(CASES),
    st.sampled_from(ANSWERS),
    st.booleans(),
)
def test_a_label_that_nobody_understands_is_never_passed_over(sides, case, names, inside):
    kind, name = case
    rows = []
    for n, side in enumerate(sides):
        row = {"prompt": f"q {n}?", names[side]: GOOD, names[1 - side]: BAD}
        (row.setdefault("info", {}) if inside else row)[name] = SIGNALS[kind](side, n)
        rows.append(row)
    told = rows if kind != "strength" else []
    for columns in ({}, {"chosen": names[0], "rejected": names[1]}, {"chosen": names[1], "rejected": names[0]}):
        try:
            reading, _ = read(rows, columns=columns)
        except DataError as error:
            assert name in error.message and "--data." in error.hint and "--data.columns.chosen" not in error.hint
            # Every line that the refusal prints leads to a right reading, or to another refusal.
            for line in lines_of(error.hint):
                misread(told, sides[: len(told)], columns=columns | line["columns"])
        else:
            assert reading.format == "labelled" and name in reading.describe()
            misread(rows, sides, columns=columns)


@pytest.mark.parametrize("kind", ["words", "Likert 1 to 7", "two numbers"])
def test_the_line_for_answers_by_name_is_printed_only_beside_columns_that_are_no_label(kind):
    rows = [{"prompt": f"q {n}?", "response_a": GOOD, "response_b": BAD} for n in range(6)]
    with pytest.raises(DataError, match="no column says which is better") as caught:
        read(rows)
    line = settings_of(caught.value.hint)
    assert line["columns"] == {"chosen": "response_a", "rejected": "response_b"}
    assert len(read(rows, **line)[1]) == 6
    told = [{**row, "label": SIGNALS[kind](n % 2, n)} for n, row in enumerate(rows)]
    with pytest.raises(DataError, match="label") as caught:
        read(told)
    assert "--data.columns.chosen" not in caught.value.hint


@pytest.mark.parametrize(
    "more",
    [
        lambda n: {"model_a": "gpt", "model_b": f"llama {n % 2}", "language": "en" if n % 2 else "de"},
        lambda n: {"id": n, "turn": 1, "tokens_a": n, "tokens_b": 7, "domain": "ab"[n % 2] * 3},
        lambda n: {"year": 2020 + n, "url": f"https://example.org/{n}", "label_version": n % 2},
        lambda n: {"preference_reason": f"clear {n}", "comment": "well done" if n % 2 else "bad", "topic": f"t{n % 3}"},
    ],
)
def test_columns_that_judge_nothing_are_no_suspects(more):
    rows = [{"prompt": f"q {n}?", "response_a": GOOD, "response_b": BAD, **more(n)} for n in range(8)]
    _, results = read(rows, columns={"chosen": "response_a", "rejected": "response_b"})
    assert [result.judgments[0].better for result in results] == [0] * 8


@pytest.mark.parametrize("name", ["difficulty", "similarity", "level"])
def test_numbers_under_a_name_of_nobodys_are_left_out_on_purpose(name):
    rows = [
        {"prompt": f"q {n}?", "response_a": GOOD, "response_b": BAD, name: n % 3 if name != "similarity" else n / 9}
        for n in range(8)
    ]
    columns = {"chosen": "response_a", "rejected": "response_b"}
    with pytest.raises(DataError, match=name) as caught:
        read(rows, columns=columns)
    assert f"if none is a label: --data.ignore {name}" in caught.value.hint
    assert len(read(rows, columns=columns, ignore=name)[1]) == 8
