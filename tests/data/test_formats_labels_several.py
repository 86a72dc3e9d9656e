"""Three or more answers: columns that name the best or the worst answer agree with the label that is read, or stop."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bradley.errors import DataError
from bradley.records import Comparison
from tests.data.labelled_rows import BAD, GOOD, read

ALPHABETS = {
    "from 0": lambda place, row: place,
    "from 1": lambda place, row: place + 1,
    "letters": lambda place, row: "ABCD"[place],
    "model": lambda place, row: f"m{place}",
}


def texts(n, count):
    return [f"Answer {place} of row {n}, in some words." for place in range(count)]


def worths(best, worst, count):
    """A number for each answer, the highest for the best and the lowest for the worst."""
    return [9 if place == best else 1 if place == worst else 4 + place for place in range(count)]


FORMS = {
    "columns and scores": lambda n, told, worth: {
        **{f"response_{place + 1}": text for place, text in enumerate(told)},
        "scores": worth,
    },
    "list and scores": lambda n, told, worth: {"answers": told, "scores": worth},
    "ranked": lambda n, told, worth: {
        "completions": [
            {"content": text, "rank": sorted(worth, reverse=True).index(one), "model": f"m{place}"}
            for place, (text, one) in enumerate(zip(told, worth, strict=True))
        ]
    },
    "list and best": lambda n, told, worth: {"answers": told, "best": worth.index(max(worth))},
}


@given(
    st.lists(st.integers(0, 11), min_size=1, max_size=6),
    st.sampled_from(list(FORMS)),
    st.sampled_from(list(ALPHABETS)),
    st.sampled_from(["best", "winner", "chosen_index", "worst", "loser", "worst_answer"]),
    st.integers(3, 4),
    st.integers(0, 27),
)
def test_the_best_and_the_worst_agree_with_the_label(orders, form, alphabet, name, count, turned):
    worse = name in ("worst", "loser", "worst_answer")
    if (alphabet == "model" and form != "ranked") or (form == "list and best" and not worse):
        return
    rows, bests = [], []
    for n, order in enumerate(([*range(12), *orders] * 3)[:28]):
        best = order % count
        worst = (best + 1 + order % (count - 1)) % count
        row = {"prompt": f"q {n}?", **FORMS[form](n, texts(n, count), worths(best, worst, count))}
        rows.append({**row, name: ALPHABETS[alphabet](worst if worse else best, row)})
        bests.append(best)
    _, results = read(rows)
    assert all(isinstance(result, Comparison) for result in results)
    for result, best in zip(results, bests, strict=True):
        assert best not in {judgment.worse for judgment in result.judgments}
    # Named at the other end, the best answer is the worst one.
    value = ALPHABETS[alphabet](bests[turned] if worse else (bests[turned] + 1) % count, rows[turned])
    rows[turned] = {**rows[turned], name: value}
    if not worse and value == ALPHABETS[alphabet](bests[turned], rows[turned]):
        return
    with pytest.raises(DataError, match=name) as caught:
        read(rows, faulty="drop")
    assert f"--data.ignore {name}" in caught.value.hint
    assert len(read(rows, ignore=name)[1]) == len(rows)


@pytest.mark.parametrize("form", ["columns and scores", "list and scores", "ranked"])
@pytest.mark.parametrize("base", [0, 1])
@pytest.mark.parametrize("name", ["best", "worst"])
def test_a_count_that_no_row_decides_is_said(form, base, name):
    def rows(numbers):
        found = []
        for n in range(24):
            place = numbers[n % len(numbers)] - base
            worth = worths(place, (place + 1) % 3, 3) if name == "best" else worths((place + 1) % 3, place, 3)
            found.append({"prompt": f"q {n}?", **FORMS[form](n, texts(n, 3), worth), name: place + base})
        return found

    said = f"{name} agrees if counted from {base}"
    assert said in _described(rows([1, 2]))
    # The number 0, or the number of the last answer, shows where the count begins.
    assert "counted from" not in _described(rows([0, 1, 2] if base == 0 else [1, 2, 3]))
    with pytest.raises(DataError, match=name):
        read(
            [{key: value for key, value in row.items() if key != "scores"} for row in rows([1, 2])],
            columns={"label": name},
        )


def _described(rows):
    """The line about the reading after all rows are read."""
    return read(rows)[0].describe()


def test_the_printed_line_reads_the_best_in_place_of_the_scores():
    rows = [
        {"prompt": f"q {n}?", "answers": texts(n, 3), "scores": worths((n + 1) % 3, n % 3, 3), "best": n % 3}
        for n in range(24)
    ]
    with pytest.raises(DataError, match="best may be a label") as caught:
        read(rows)
    assert "if best names the better answer: --data.columns.label best" in caught.value.hint
    _, results = read(rows, columns={"label": "best"})
    assert [{judgment.better for judgment in result.judgments} for result in results] == [{n % 3} for n in range(24)]


@pytest.mark.parametrize("absent", [None, ""])
def test_an_answer_that_a_row_does_not_have_moves_no_place(absent):
    rows = []
    for n in range(24):
        told, worth = texts(n, 4), worths(2 + n % 2, 0, 4)
        told[1], worth[1] = absent, None
        rows.append({"prompt": f"q {n}?", "answers": told, "scores": worth, "best": 2 + n % 2})
        rows.append(
            {"prompt": f"r {n}?", "answers": texts(n, 4), "scores": worths(n % 4, (n + 1) % 4, 4), "best": n % 4}
        )
    assert all(isinstance(result, Comparison) for result in read(rows)[1])


@given(
    st.sampled_from([("A", "B"), ("first", "second"), ("response_a", "response_b"), ("model A", "model B")]),
    st.sampled_from(["0", 0, "1", 2, "3"]),
    st.sampled_from(["winner", "label", "preference"]),
    st.integers(2, 27),
    st.booleans(),
    st.booleans(),
)
def test_words_for_a_side_beside_a_bare_number_stop_the_load(words, number, name, start, by_hand, listed):
    rows = []
    for n in range(28):
        value = number if n >= start and n % 3 == start % 3 else words[n % 2]
        cell = [value, words[n % 2], words[n % 2]] if listed else value
        rows.append(
            {"prompt": f"q {n}?", "response_a": "Yes, it is so.", "response_b": "No, it is not so.", name: cell}
        )
    columns = {"chosen": "response_a", "rejected": "response_b"} if by_hand else {}
    with pytest.raises(DataError, match=name):
        read(rows, columns=columns, faulty="drop")


@given(
    st.sampled_from([("chosen", "rejected_{}"), ("chosen", "rejected{}"), ("good_answer", "bad_answer_{}")]),
    st.integers(2, 4),
    st.lists(st.integers(0, 3), min_size=6, max_size=6),
    st.sampled_from([{}, {"winner": "rejected"}, {"agree": False}, {"is_tie": True}, {"label": 0}]),
    st.sampled_from(["prompt", "question"]),
)
def test_numbered_columns_of_worse_answers_stand_beside_one_better_answer(names, count, absent, against, question):
    better, worse = names
    rows = []
    for n, place in enumerate([*absent, *range(6)]):
        told = {worse.format(k + 1): f"A worse answer {k} of row {n}." for k in range(count)}
        if place < count:
            told[worse.format(place + 1)] = None
        rows.append({question: f"How do I keep box {n} dry?", better: f"Put box {n} on a shelf.", **told})
    reading, results = read(rows)
    assert f"rejected <- {worse.format(1)}, {worse.format(2)}" in reading.describe()
    for row, result in zip(rows, results, strict=True):
        told = [row[worse.format(k + 1)] for k in range(count) if row[worse.format(k + 1)] is not None]
        assert [response.text for response in result.responses] == [row[better], *told]
        assert {(j.better, j.worse) for j in result.judgments} == {(0, k + 1) for k in range(len(told))}
        assert [turn.content for turn in result.prompt] == [row[question]] and not result.tags
    if against:
        with pytest.raises(DataError, match=next(iter(against))):
            read([{**row, **against} for row in rows])


SIDES = {
    "of ten": lambda good, n: f"{7 + n % 3}/10" if good else f"{n % 5}/10",
    "out of": lambda good, n: f"{4 + n % 2} out of 5" if good else f"{1.5 + n % 2} out of 5",
    "good and bad": lambda good, n: "good" if good else "bad",
    "case": lambda good, n: " Better" if good else "WORSE ",
    "outcome": lambda good, n: "win" if good else "loss",
}


@given(
    st.lists(st.sampled_from([0, 1]), max_size=6).map(lambda sides: [0, 1, *sides, 1, 0, 1, 0]),
    st.sampled_from(list(SIDES)),
    st.sampled_from(["rating_{}", "score_{}", "quality_{}", "{}_overall"]),
    st.booleans(),
    st.integers(0, 5),
)
def test_words_and_ratings_of_each_side_are_read(sides, kind, name, by_hand, turned):
    rows = [
        {"prompt": f"q {n}?", f"response_{'ab'[side]}": GOOD, f"response_{'ba'[side]}": BAD}
        | {name.format("ab"[place]): SIDES[kind](place == side, n) for place in (0, 1)}
        for n, side in enumerate((sides * 4)[:24])
    ]
    columns = {"chosen": "response_b", "rejected": "response_a"} if by_hand else {}
    _, results = read(rows, columns=columns)
    assert {result.responses[result.judgments[0].better].text for result in results} == {GOOD}
    # A word of another scale is no number.
    rows.append({**rows[turned], "prompt": "q?", name.format("a"): "3/4"})
    assert read(rows, columns=columns)[1][-1].reason == "unread_label"


@pytest.mark.parametrize("values", [("good", "good"), ("4/10", "4/5"), ("no", "bad"), ("fine", "poor")])
def test_words_of_each_side_without_a_clear_scale_stop_the_load(values):
    rows = [
        {"prompt": f"q {n}?", "response_a": GOOD, "response_b": BAD}
        | {"rating_a": values[n % 2], "rating_b": values[1 - n % 2]}
        for n in range(8)
    ]
    for columns in ({}, {"chosen": "response_a", "rejected": "response_b"} if len(set(values)) > 1 else {}):
        with pytest.raises(DataError):
            read(rows, columns=columns)


@pytest.mark.parametrize("start", [0, 22])
@pytest.mark.parametrize("verdict", ["[[B]]", "[[2]]", "[[b]].", "[[tie]]"])
@pytest.mark.parametrize("names", [("chosen", "rejected"), ("good_answer", "bad_answer"), ("response_a", "response_b")])
def test_a_judge_who_contradicts_the_better_answer_stops_the_load(names, verdict, start):
    words = "Both answers were read with care, and in the end this is what I decide about the two of them here."
    rows = [
        {"prompt": f"q {n}?", names[0]: GOOD, names[1]: BAD}
        | {"judge_text": f"{words} {verdict if n >= start else '[[A]]'}"}
        for n in range(24)
    ]
    columns = {"chosen": names[0], "rejected": names[1]} if names[0] == "response_a" else {}
    with pytest.raises(DataError, match="judge_text") as caught:
        read(rows, columns=columns, faulty="drop")
    if start == 0:
        assert "may be a label, and contradicts" in caught.value.message and verdict in caught.value.message
    # What the user leaves out by hand is said.
    told = [{**row, "judge_text": f"{words} [[{'AB'[n % 2]}]]"} for n, row in enumerate(rows)]
    reading, _ = read(told, columns=columns, ignore="judge_text")
    assert "left out, and ends in verdicts of a judge: judge_text ([[A]] 10, [[B]] 10)" in reading.describe()
