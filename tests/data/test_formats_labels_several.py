"""Three or more answers: columns that name the best or the worst answer agree with the label that is read, or stop."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bradley.errors import DataError
from bradley.records import Comparison
from tests.data.labelled_rows import read

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


@settings(max_examples=60, deadline=None)
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


@settings(max_examples=40, deadline=None)
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
