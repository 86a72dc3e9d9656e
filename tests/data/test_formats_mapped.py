"""Columns under other names, and functions of the user's own."""

import pytest

from bradley.config import Data
from bradley.data.formats import choose_format, convert_rows, to_comparisons
from bradley.data.rows import RowPlace
from bradley.errors import DataError, UserError
from bradley.records import Comparison, Rejected
from tests.data.rows import REPLY, SAMPLES, USER, one, replies
from tests.helpers import comparisons

CODE = """
import bradley.records as r

def keep(row):
    return row["inner"]

def some(row):
    return row if row["n"] % 2 else None

def broken(row):
    return {"prompt": "p", "chosen": str(1 // row["n"]), "rejected": "b"}

def wrong(row):
    return [row, 3]

def several(row):
    for turn in row["turns"]:
        yield {"id": turn["id"], "prompt": turn["q"], "chosen": turn["good"], "rejected": turn["bad"]}

def pairs(rows):
    by_prompt = {}
    for row in rows:
        by_prompt.setdefault(row["prompt"], {})[row["label"]] = row["completion"]
    for prompt, sides in by_prompt.items():
        yield {"prompt": prompt, "chosen": sides[True], "rejected": sides[False]}

def ready(row):
    prompt = (r.Message("user", row["q"]),)
    sides = tuple(r.Response((r.Message("assistant", text),)) for text in row["answers"])
    return r.Comparison(row["key"], r.prompt_key(prompt), prompt, sides, (r.Judgment(1, 0),))
"""


def chosen(rows, format):
    """The format that is found behind a function."""
    place = RowPlace("x", "x", settings=Data(format=format))
    return choose_format(enumerate(rows, 1), place)[0].format


@pytest.fixture
def module(tmp_path, monkeypatch):
    name = f"formats_{abs(hash(tmp_path))}"
    (tmp_path / f"{name}.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    return name


def test_columns_are_set_from_their_source_which_leaves():
    row = {"question": "hi", "better_answer": "yo", "worse": "no", "set": "x"}
    columns = {"prompt": "question", "chosen": "better_answer", "rejected": "worse", "id": "set"}
    result = one(row, columns=columns)
    assert replies(result) == ["yo", "no"] and result.prompt[0].content == "hi"
    assert (result.id, result.tags) == ("x", {}) and list(row) == ["question", "better_answer", "worse", "set"]


def test_paths_reach_into_objects_and_lists_which_stay():
    row = {"info": {"q": ["x", "hi"]}, "chosen": [USER, REPLY], "rejected": "no", "a.b": "z"}
    columns = {"prompt": "info.q.1", "chosen": "chosen.1.content", "source": "a.b"}
    result = one(row, columns=columns)
    assert result.prompt[0].content == "hi" and replies(result) == ["yo", "no"] and result.source == "z"
    assert one(
        {"chosen": [USER, REPLY], "rejected": "no"},
        columns={"prompt": "chosen.0.content", "chosen": "chosen.1.content"},
    )


def test_columns_may_trade_places():
    row = {"prompt": "hi", "chosen": "no", "rejected": "yo"}
    assert replies(one(row, columns={"chosen": "rejected", "rejected": "chosen"})) == ["yo", "no"]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("answer", "the keys prompt, chosen, rejected, info at answer of answer"),
        ("info.b", "the keys a, l at b of info.b"),
        ("info.l.2", "a list of 2 at 2 of info.l.2"),
        ("info.l.first", "a list of 2 at first of info.l.first"),
        ("info.a.x", "a number at x of info.a.x"),
    ],
)
def test_a_column_that_a_row_lacks_stops_with_what_there_is(source, found):
    row = {"prompt": "p", "chosen": "a", "rejected": "b", "info": {"a": 1, "l": [1, 2]}}
    with pytest.raises(DataError) as caught:
        list(
            to_comparisons(
                [{**row, "answer": "x", "info": {**row["info"], "b": "y"}}, row],
                Data(columns={"margin": source}),
                name="x.csv",
            )
        )
    if source in ("answer", "info.b"):
        assert caught.value.message == f"x.csv, row 2: found {found}, wanted the column {source}"
    else:
        assert "x.csv, row 1: found a" in caught.value.message
    with pytest.raises(DataError) as caught:
        one(row, columns={"margin": source})
    assert found in caught.value.message and caught.value.hint


def test_a_name_that_no_format_reads_is_an_error_with_the_nearest_one():
    with pytest.raises(UserError, match=r"data\.columns names choosen, which no format reads") as caught:
        one({"a": 1}, columns={"choosen": "a"})
    assert caught.value.hint == "did you mean chosen?"
    with pytest.raises(UserError) as caught:
        one({"a": 1}, columns={"qqqq": "a"})
    assert "a format wants" in caught.value.hint


@pytest.mark.parametrize("format", SAMPLES)
def test_a_function_may_return_rows_of_every_known_shape(format, module):
    rows = [{"inner": SAMPLES[format]}] * 2
    results = list(to_comparisons(rows, Data(format=f"{module}:keep")))
    assert results == list(to_comparisons([SAMPLES[format]] * 2))
    assert chosen(rows, f"{module}:keep") == format


def test_what_a_function_leaves_out_is_counted_in_its_place(module):
    rows = [{"n": n % 41 == 40, "prompt": "p", "chosen": str(n), "rejected": "b"} for n in range(100)]
    results = list(to_comparisons(rows, Data(format=f"{module}:some")))
    assert [isinstance(r, Comparison) for r in results] == [n % 41 == 40 for n in range(100)]
    assert [(r.row, r.reason) for r in results[:3]] == [(1, "left_out"), (2, "left_out"), (3, "left_out")]
    assert chosen(rows, f"{module}:some") == "preference"
    assert all(isinstance(r, Rejected) for r in to_comparisons(rows[:30], Data(format=f"{module}:some")))


def test_a_function_may_return_comparisons_and_ready_ones_pass_by_it(module):
    row = {"q": "hi", "answers": ["a", "b"], "key": "k"}
    (ready,) = comparisons(1)
    first, again, passed = to_comparisons([row, row, ready], Data(format=f"{module}:ready"))
    assert (first.id, again.id, replies(first)) == ("k", "rows:2", ["a", "b"]) and passed is ready


def test_faults_of_a_function_name_file_row_and_exception(module):
    with pytest.raises(DataError) as caught:
        list(to_comparisons([{"n": 1}, {"n": 0}], Data(format=f"{module}:broken"), name="x.jsonl"))
    assert caught.value.message.startswith(f"x.jsonl, row 2: {module}:broken raised ZeroDivisionError: ")
    with pytest.raises(DataError, match=f"row 1: found int from {module}:wrong, wanted a row"):
        one({}, f"{module}:wrong")
    with pytest.raises(UserError, match="has no function missing"):
        one({}, f"{module}:missing")


def test_a_function_may_return_several_rows_for_a_row(module):
    turns = [{"id": f"t{n}", "q": f"q{n}", "good": "yo", "bad": "no"} for n in range(5)]
    rows = [{"turns": turns[:2]}, {"turns": []}, {"turns": turns[2:]}]
    results = list(to_comparisons(rows, Data(format=f"{module}:several")))
    good = [result for result in results if isinstance(result, Comparison)]
    assert [(c.id, c.prompt[0].content, replies(c)) for c in good] == [
        (f"t{n}", f"q{n}", ["yo", "no"]) for n in range(5)
    ]
    assert [(r.row, r.reason) for r in results if isinstance(r, Rejected)] == [(2, "left_out")]


def test_a_function_of_rows_takes_the_whole_file(module):
    rows = [{"prompt": f"q{n % 3}", "completion": f"{n} {n < 3}", "label": n < 3} for n in range(6)]
    results = list(to_comparisons(rows, Data(format=f"{module}:pairs"), name="x"))
    assert [(c.id, c.prompt[0].content, replies(c)) for c in results] == [
        (f"x:{n + 1}", f"q{n}", [f"{n} True", f"{n + 3} False"]) for n in range(3)
    ]
    with pytest.raises(DataError, match=f"x, row 1: {module}:pairs raised KeyError"):
        list(to_comparisons(rows[:2], Data(format=f"{module}:pairs"), name="x"))


def test_columns_are_renamed_before_a_function_sees_them(module):
    row = {"n": 1, "question": "hi", "chosen": "yo", "rejected": "no"}
    assert one(row, f"{module}:some", columns={"prompt": "question"}).prompt[0].content == "hi"
    (ready,) = comparisons(1)
    assert next(to_comparisons([ready], Data(columns={"prompt": "x"}))) is ready


SIDES = {"good": "Seven of them, I think.", "bad": "Nine of them, I think."}


@pytest.mark.parametrize(
    ("row", "columns", "shown"),
    [
        (
            {"q": "Which?", **SIDES},
            {"prompt": "q", "chosen": "good", "rejected": "bad"},
            "data.columns: prompt <- q, chosen <- good, rejected <- bad",
        ),
        (
            {"q": "Which?", "system": "Be brief.", **SIDES},
            {"prompt": "q", "chosen": "good", "rejected": "bad"},
            "prompt <- system + prompt, chosen <- chosen, rejected <- rejected; "
            "data.columns: prompt <- q, chosen <- good, rejected <- bad",
        ),
        (
            {"in": {"q": "Which?"}, "r_a": SIDES["good"], "r_b": SIDES["bad"], "who": "a"},
            {"prompt": "in.q", "chosen": "r_a", "rejected": "r_b", "label": "who"},
            "prompt <- prompt, answers <- r_a, r_b, better <- who (a: 1); data.columns: prompt <- in.q",
        ),
        ({"prompt": "Which?", "chosen": "a", "rejected": "b"}, {"prompt": "prompt"}, ""),
    ],
)
def test_the_line_about_a_reading_shows_the_names_in_the_file(row, columns, shown):
    place = RowPlace("x.jsonl", "x", settings=Data(columns=columns))
    reading, numbered = choose_format(enumerate([row], 1), place)
    assert all(isinstance(result, Comparison) for result in convert_rows(numbered, reading, place, set()))
    assert reading.describe() == shown


@pytest.mark.parametrize("ignore", ["", "feedback"])
def test_a_column_is_not_the_better_and_the_worse_answer_at_once(ignore):
    rows = [{"session": f"s{n // 2}", "reply": f"Reply {n}.", "feedback": "up" if n % 2 else "down"} for n in range(8)]
    settings = Data(columns={"chosen": "reply", "rejected": "reply"}, ignore=ignore)
    with pytest.raises(UserError, match="as the better and as the worse answer"):
        list(to_comparisons(rows, settings))
