"""Columns beside the judgment of a row: other labels, ties and signed margins agree with the judgment, or stop."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bradley.errors import DataError
from tests.data.labelled_rows import AGAINST, BAD, FOR, GOOD, check, read, sided

TIES = [
    *("no_preference", "indifferent", "no_winner", "no_difference", "both_are_bad", "bothgood", "tie_flag", "is_even"),
    *("even", "undecidable", "cannot_decide", "both_wrong"),
]


def winner(row, side, names):
    row["winner"] = "AB"[side or 0]


def pairs(count=24, **more):
    """Rows of a chosen and a rejected answer; each value of `more` is a function of the row's number."""
    rows = [{"prompt": f"How do I keep box {n} dry?", "chosen": GOOD, "rejected": BAD} for n in range(count)]
    return [{**row, **{key: value(n) for key, value in more.items()}} for n, row in enumerate(rows)]


@pytest.mark.parametrize("name", TIES)
@pytest.mark.parametrize("truth", [(True, False), (1, 0)])
def test_names_of_ties(name, truth):
    values = [0, 1, None, 1, 0, None, 1] * 3
    rows = sided(values, winner, ["response_a", "response_b"])
    for row, side in zip(rows, values, strict=True):
        row[name] = truth[side is not None]
    assert name in check(rows, values).describe()
    with pytest.raises(DataError, match=name) as caught:
        read(pairs(**{name: lambda n: truth[n < 20]}))
    assert f"--data.ignore {name}" in caught.value.hint


@pytest.mark.parametrize("name", ["both_correct", "both_answered", "even_rows", "same_model", "no_system_prompt"])
def test_names_that_say_nothing_of_the_better_answer(name):
    values = [0, 1, 1, 0, 1] * 3
    rows = sided(values, winner, ["response_a", "response_b"])
    check([{**row, name: bool(n % 2)} for n, row in enumerate(rows)], values)
    assert len(read(pairs(**{name: lambda n: bool(n % 2)}))[1]) == 24


def transcripts(rows):
    """The same rows as transcripts of the format `hh`."""
    asked = "\n\nHuman: {}\n\nAssistant: {}"
    return [
        {key: value for key, value in row.items() if key != "prompt"}
        | {side: asked.format(row["prompt"], row[side]) for side in ("chosen", "rejected")}
        for row in rows
    ]


@pytest.mark.parametrize("more", AGAINST, ids=str)
@pytest.mark.parametrize("shape", [list, transcripts])
def test_columns_that_contradict_chosen_stop_the_load(more, shape):
    (name, *_) = more
    for start in (0, 22):
        rows = shape([{**row, **(more if n >= start else {})} for n, row in enumerate(pairs())])
        with pytest.raises(DataError, match=name if start == 0 else f"row 23: .*{name}") as caught:
            read(rows, faulty="drop")
        assert f"--data.ignore {name}" in caught.value.hint
        assert len(read(rows, ignore=list(more))[1]) == 24


@pytest.mark.parametrize("more", FOR, ids=lambda more: str(more)[:40])
@pytest.mark.parametrize("shape", [list, transcripts])
def test_columns_that_agree_with_chosen_are_no_reason_to_stop(more, shape):
    _, results = read(shape([{**row, **more} for row in pairs()]))
    assert [result.judgments[0].better for result in results] == [0] * 24


def answered(side):
    return (GOOD, BAD) if side == 0 else (BAD, GOOD)


def multipref(n, side, x, y):
    word = ["A-is-clearly-better", "B-is-clearly-better"][side]
    return {
        "text": f"q {n}",
        "completion_a": x,
        "completion_b": y,
        "expert_worker_annotations": [],
        "normal_worker_annotations": [{"overall_pref": word}],
    }


def tldr(n, side, x, y):
    info = {"id": str(n), "post": f"post {n}", "title": "t", "subreddit": "r"}
    return {"info": info, "summaries": [{"text": x}, {"text": y}], "choice": side}


def ranked(n, side, x, y):
    return {"prompt": f"q {n}", "completions": [{"content": x, "rank": 1 + side}, {"content": y, "rank": 2 - side}]}


def ultrafeedback(n, side, x, y):
    scores = (5 - side, 4 + side)
    entries = [{"response": text, "overall_score": score} for text, score in zip((x, y), scores, strict=True)]
    return {"instruction": f"q {n}", "completions": entries}


FORMATS = {
    "shp": lambda n, s, x, y: (
        {"history": f"q {n}", "human_ref_A": x, "human_ref_B": y, "labels": 1 - s}
        | {"score_A": 9 - 4 * s, "score_B": 5 + 4 * s}
    ),
    "votes": lambda n, s, x, y: {"prompt": f"q {n}", "response_a": x, "response_b": y, "votes": ["ab"[s]]},
    "helpsteer2": lambda n, s, x, y: (
        {"prompt": f"q {n}", "response_1": x, "response_2": y} | {"preference_strength": [-2, 2][s]}
    ),
    "helpsteer3": lambda n, s, x, y: (
        {"context": [{"role": "user", "content": f"q {n}"}], "response1": x, "response2": y}
        | {"overall_preference": [-2, 2][s]}
    ),
    "multipref": multipref,
    "tldr": tldr,
    "ranked": ranked,
    "ultrafeedback": ultrafeedback,
}
BESIDE = {
    "winner": lambda side: "AB"[side],
    "best": lambda side: side,
    "label": lambda side: side + 1,
    "loser": lambda side: "BA"[side],
    "a_is_better": lambda side: side == 0,
    "preference": lambda side: [-3, 3][side],
    "ranking": lambda side: list(["AB", "BA"][side]),
    "judgment": lambda side: f"{'AB'[side]} is better",
}
SIDES = st.lists(st.sampled_from([0, 1]), max_size=4).map(lambda sides: [0, 1, 0, 1, *sides])


@given(SIDES, st.sampled_from(list(FORMATS)), st.sampled_from(list(BESIDE)), st.integers(0, 27), st.booleans())
def test_columns_beside_a_format_of_fixed_columns(sides, format, name, turned, tie):
    sides = (sides * 6)[:24]
    rows = [FORMATS[format](n, side, *answered(side)) | {name: BESIDE[name](side)} for n, side in enumerate(sides)]
    rows = [{**row, "is_tie": False} for row in rows]
    reading, results = read(rows)
    assert reading.format == format
    assert [result.judgments[0].better for result in results] == sides
    if turned >= len(rows):
        return
    contradicted = "is_tie" if tie else name
    rows[turned] |= {"is_tie": True} if tie else {name: BESIDE[name](1 - sides[turned])}
    with pytest.raises(DataError, match=contradicted) as caught:
        read(rows, faulty="drop")
    assert f"--data.ignore {contradicted}" in caught.value.hint
    assert len(read(rows, ignore=contradicted)[1]) == len(rows)


@pytest.mark.parametrize("key", ["chosen", "is_best", "preferred"])
@pytest.mark.parametrize("format", ["ranked", "ultrafeedback"])
def test_truth_values_of_ranked_answers(key, format):
    for against in (False, True):
        rows = [FORMATS[format](n, n % 2, *answered(n % 2)) for n in range(24)]
        for n, row in enumerate(rows):
            for place, entry in enumerate(row["completions"]):
                entry[key] = (place == n % 2) is not against
        if not against:
            assert [result.judgments[0].better for result in read(rows)[1]] == [0, 1] * 12
            continue
        with pytest.raises(DataError, match=f"completions.{key}") as caught:
            read(rows)
        assert f"--data.ignore completions.{key}" in caught.value.hint
        assert len(read(rows, ignore=f"completions.{key}")[1]) == 24


@pytest.mark.parametrize("better", [lambda n: n % 3, lambda n: "ABC"[n % 3], lambda n: f"m{n % 3}"])
def test_a_label_beside_three_ranked_answers(better):
    rows = [
        {
            "prompt": f"q {n}",
            "completions": [{"content": f"{n} {k}", "rank": (k - n) % 3, "model": f"m{k}"} for k in range(3)],
        }
        for n in range(24)
    ]
    named = [{**row, "best": better(n), "worst": (n + 2) % 3} for n, row in enumerate(rows)]
    assert [result.rank.index(0) for result in read(named)[1]] == [0, 1, 2] * 8
    with pytest.raises(DataError, match="best may be a label"):
        read([{**row, "best": better(n + 1)} for n, row in enumerate(rows)])


def two(count=30, **more):
    """Rows of two answers; each value of `more` is a function of the row's number and side, None for no value."""
    rows = []
    for n in range(count):
        texts = dict(zip(("response_a", "response_b"), answered(n % 2), strict=True))
        cells = {key: value(n, n % 2) for key, value in more.items()}
        rows.append({"prompt": f"q {n}", **texts, **{key: cell for key, cell in cells.items() if cell is not None}})
    return rows


@pytest.mark.parametrize("late", ["winner", "final_winner", "corrected_label"])
@pytest.mark.parametrize("scored", [True, False])
def test_a_label_that_begins_late_agrees_with_the_label_that_is_read(late, scored):
    first = (
        {"score_a": lambda n, s: 5 - 2 * s, "score_b": lambda n, s: 3 + 2 * s}
        if scored
        else {"choice": lambda n, s: "AB"[s]}
    )
    assert [
        result.judgments[0].better
        for result in read(two(**first, **{late: lambda n, s: "AB"[s] if n > 22 else None}))[1]
    ] == [0, 1] * 15
    rows = two(**first, **{late: lambda n, s: "BA"[s] if n > 22 else None})
    with pytest.raises(DataError, match=f"row 24: {late} may be a label, and contradicts") as caught:
        read(rows, faulty="drop")
    assert f"--data.ignore {late}" in caught.value.hint
    without = {key: lambda n, s, read=read: read(n, s) if n <= 22 else None for key, read in first.items()}
    with pytest.raises(DataError, match=f"row 24: {late} may be a label"):
        read(two(**without, **{late: lambda n, s: "AB"[s] if n > 22 else None}))


def test_an_exchange_of_the_answers_that_begins_late_stops_the_load():
    with pytest.raises(DataError, match="row 24: swapped may say"):
        read(two(winner=lambda n, s: "AB"[s], swapped=lambda n, s: True if n > 22 else None))


@pytest.mark.parametrize("margins", [(2.5, 2.5), (2.5, -2.5), (-2.5, 2.5)])
def test_the_margin_of_a_label_counts_for_the_better_answer(margins):
    results = read(two(winner=lambda n, s: "AB"[s], margin=lambda n, s: margins[s]))[1]
    assert [(r.judgments[0].better, r.judgments[0].margin) for r in results] == [(0, 2.5), (1, 2.5)] * 15


@pytest.mark.parametrize("margin", [lambda n, s: 2.5 if n < 23 else -2.5, lambda n, s: -2.5 if n % 3 else 2.5])
def test_signs_of_margins_that_fit_no_rule_stop_the_load(margin):
    rows = two(winner=lambda n, s: "AB"[s], margin=margin)
    with pytest.raises(DataError, match="margin has signs that fit neither") as caught:
        read(rows)
    assert "--data.ignore margin" in caught.value.hint
    assert {result.judgments[0].margin for result in read(rows, ignore="margin")[1]} == {None}


def test_a_margin_below_zero_beside_chosen_stops_the_load():
    with pytest.raises(DataError, match=r"margin is -1\.5, below zero for the better answer") as caught:
        read(pairs(margin=lambda n: -1.5 if n == 22 else 2.0))
    assert "--data.ignore margin" in caught.value.hint
    assert {result.judgments[0].margin for result in read(pairs(margin=lambda n: 2.0))[1]} == {2.0}
    # A probability below a half and a margin below zero both prefer the rejected answer.
    rows = pairs(margin=lambda n: -1.5, probability=lambda n: 0.2)
    assert {(r.judgments[0].better, r.judgments[0].margin) for r in read(rows)[1]} == {(1, 1.5)}


def test_names_of_the_worse_answer_in_the_rule():
    reading, _ = read(two(which_is_worse=lambda n, s: "BA"[s]))
    assert "worse <- which_is_worse (A: 15, B: 15)" in reading.describe()
    rows = two(loser=lambda n, s: ["m2", "m1"][s], model_a=lambda n, s: "m1", model_b=lambda n, s: "m2")
    reading, results = read(rows[:25])
    assert "worse <- loser (response_a: 12, response_b: 13)" in reading.describe()
    assert [result.judgments[0].better for result in results[:4]] == [0, 1, 0, 1]
    answers = {f"response_{k + 1}": f"answer {k} of three" for k in range(3)}
    reading, _ = read([{"prompt": f"q {n}", **answers, "best": n % 3 + 1, "worst": (n + 1) % 3 + 1} for n in range(24)])
    assert "not read as the label: worst" in reading.describe()


@given(
    st.lists(st.sampled_from([(7, 7), (9, 5), (1.5, 1.5), (0, 0)]), min_size=6, max_size=30),
    st.sampled_from(["rating", "scores", "label", "rank", "chosen_rank", "votes_chosen", "n_chosen"]),
)
def test_equal_numbers_beside_the_judgment_are_counted(numbers, name):
    several = "chosen" not in name
    other = name.replace("chosen", "rejected")
    best_first = [pair[::-1] if "rank" in name else pair for pair in numbers]
    rows = [
        {"prompt": f"Box {n}?", "chosen": GOOD, "rejected": BAD}
        | ({name: list(pair)} if several else {name: int(pair[0]), other: int(pair[1])})
        for n, pair in enumerate(best_first)
    ]
    reading, results = read(rows)
    assert len(results) == len(rows) and all(one.judgments[0].better == 0 for one in results)
    equal = sum(first == second for first, second in numbers)
    said = f"equal for the answers: {name if several else f'{name} and {other}'} ({equal} rows)"
    assert (said in reading.describe()) if equal else ("equal for the answers" not in reading.describe())
