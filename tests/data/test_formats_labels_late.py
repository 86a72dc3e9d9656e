"""Labels that the first rows do not show, or that only later rows contradict: read over the whole file, or refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bradley.config import Data
from bradley.data.formats import choose_format, convert_rows
from bradley.data.rows import RowPlace
from bradley.errors import DataError
from bradley.records import Comparison
from tests.data.labelled_rows import (
    ALPHABETS,
    BAD,
    GOOD,
    MARKS,
    NAMES,
    annotations,
    models,
    one_side,
    outcomes,
    put,
    ranked_names,
    ranks,
    scores,
    shares,
    sided,
    truth,
    votes,
)

HEAD = 20
EMPTY = {"null": None, "text": "", "absent": ...}
OTHERS = (scores, votes, outcomes, ranks, truth, shares, ranked_names, annotations, one_side, models)


def read(rows, faulty="error", **settings):
    """Read rows as the loader does: faulty rows are counted, and a file in doubt stops."""
    place = RowPlace("x.jsonl", "x", settings=Data(faulty=faulty, **settings))
    reading, numbered = choose_format(enumerate(rows, 1), place, count_faults=True)
    return reading, list(convert_rows(numbered, reading, place, set(), count_faults=True))


def is_misread(rows, sides, name, **settings):
    """Return True if a row with a better answer is read the other way round; check the words of an error."""
    try:
        _, results = read(rows, **settings)
    except DataError as error:
        assert name in error.message and error.hint, error.message
        return False
    assert len(results) == len(rows)
    return any(
        isinstance(result, Comparison) and result.responses[result.judgments[0].better].text == BAD
        for result, side in zip(results, sides, strict=True)
        if side is not None
    )


def late(values, label, names, blank, keys):
    """Rows of which the first have no label and the first answer better; then labels as given."""
    sides = [0] * (HEAD + 3) + list(values)
    rows = sided(sides, label, names)
    for row in rows[: HEAD + 3]:
        for key in keys:
            *outer, last = key.split(".")
            inner = row
            for part in outer:
                inner = inner[part]
            inner.pop(last, None)
            if blank is not ...:
                inner[last] = blank
    return rows, sides


TAIL = st.lists(st.sampled_from([0, 1]), max_size=5).map(lambda sides: [1, *sides, 0])


@given(
    TAIL,
    st.sampled_from(MARKS),
    st.sampled_from(["response_{}", "{}_answer", "data.summary_{}"]),
    st.sampled_from([*NAMES, "flag"]),
    st.sampled_from(list(ALPHABETS)),
    st.sampled_from(list(EMPTY)),
    st.booleans(),
    st.sampled_from(["error", "drop"]),
)
def test_a_label_that_begins_after_the_first_rows(tail, marks, stem, name, alphabet, blank, swapped, faulty):
    names = [stem.format(mark) for mark in marks]
    word = ALPHABETS[alphabet]

    def label(row, side, names):
        put(row, name, word(side, names, marks))

    rows, sides = late(tail, label, names, EMPTY[blank], [name])
    if swapped:
        # The user names the better answer of the first rows, which stands in the second place.
        rows = [{**row} for row in rows]
        names = names[::-1]
        rows, sides = late([1 - side for side in tail] + [1], label, names, EMPTY[blank], [name])
    assert not is_misread(rows, sides, name, columns={"chosen": names[0], "rejected": names[1]}, faulty=faulty)


@given(TAIL, st.sampled_from(OTHERS), st.sampled_from(list(EMPTY)))
def test_labels_in_several_columns_or_in_lists_that_begin_late(tail, label, blank):
    names = ["response_a", "response_b"]
    probe = {"prompt": "How do I keep box 2 dry?"}
    label(probe, 0, names)
    keys = [key for key in probe if key != "prompt"]
    rows, sides = late(tail, label, names, EMPTY[blank], keys)
    columns = {"chosen": names[0], "rejected": names[1]}
    try:
        _, results = read(rows, columns=columns)
    except DataError as error:
        assert any(key in error.message for key in keys) and error.hint
    else:
        for result, side in zip(results, sides, strict=True):
            text = isinstance(result, Comparison) and result.responses[result.judgments[0].better].text
            assert not isinstance(result, Comparison) or text == GOOD, side


@given(TAIL, st.sampled_from(["human_label", "gold_choice"]), st.sampled_from("AB01"), st.booleans())
def test_labels_that_agree_in_the_first_rows_and_differ_later(tail, name, alphabet, by_hand):
    letters = "AB" if alphabet in "AB" else "01"
    sides = [0, 1] * (HEAD // 2 + 1) + list(tail)
    names = ["response_a", "response_b"]

    def label(row, side, names):
        row["model_label"] = row[name] = letters[side]

    rows = sided(sides, label, names)
    for row in rows[HEAD + 2 :]:
        row["model_label"] = letters[1 - letters.index(row["model_label"])]
    columns = {"chosen": names[0], "rejected": names[1]} if by_hand else {}
    with pytest.raises(DataError, match=f"row {HEAD + 3}: .*differ, and agreed in the first rows") as caught:
        read(rows, columns=columns, faulty="drop")
    assert f"--data.columns.label {name}" in caught.value.hint
    assert not is_misread(rows, sides, name, columns={**columns, "label": name})


@pytest.mark.parametrize("faulty", ["error", "drop"])
@pytest.mark.parametrize(
    ("names", "label"),
    [
        (("good_answer", "bad_answer"), "good_answer"),
        (("pos_resp", "neg_resp"), "pos_resp"),
        (("preferred", "dispreferred"), "preferred"),
    ],
)
def test_a_label_that_agrees_with_the_names_at_first_and_turns_later(names, label, faulty):
    rows = [{"prompt": "q", names[0]: GOOD, names[1]: BAD, "winner": label} for _ in range(HEAD + 5)]
    for columns in ({}, {"chosen": names[0], "rejected": names[1]}):
        _, results = read(rows, columns=columns)
        assert {result.responses[result.judgments[0].better].text for result in results} == {GOOD}
        turned = [*rows, {**rows[0], "winner": names[1]}]
        with pytest.raises(DataError, match=f"row {HEAD + 6}: winner does not always prefer {names[0]}") as caught:
            read(turned, columns=columns, faulty=faulty)
        assert "--data.format module:function" in caught.value.hint
    # Rows that turn at once are read by the label, or refused where the user says otherwise.
    _, results = read(turned[-3:], faulty=faulty)
    assert [result.responses[result.judgments[0].better].text for result in results] == [GOOD, GOOD, BAD]
    with pytest.raises(DataError, match=f"winner does not always prefer {names[0]}"):
        read(turned[-3:], columns=columns, faulty=faulty)


@pytest.mark.parametrize(("name", "values"), [("label", "AB"), ("winner", (1, 2)), ("better", ("left", "right"))])
def test_a_label_beside_chosen_and_rejected_that_turns_late_stops_the_load(name, values):
    rows = [{"prompt": f"q {n}", "chosen": GOOD, "rejected": BAD, name: values[n > HEAD]} for n in range(HEAD + 5)]
    with pytest.raises(DataError, match=rf"row {HEAD + 2}: {name} beside chosen and rejected may be a label") as caught:
        read(rows)
    assert f"--data.ignore {name}" in caught.value.hint
    assert len(read(rows, ignore=name)[1]) == len(rows)


def test_the_line_that_the_error_prints_reads_the_label():
    rows, _ = late([1, 0, 1], lambda row, side, names: put(row, "label", "AB"[side]), ["one_a", "one_b"], "", [])
    for row in rows[: HEAD + 3]:
        row["label"] = ""
    columns = {"chosen": "one_a", "rejected": "one_b"}
    with pytest.raises(DataError, match=rf"row {HEAD + 4}: label may be the label of one_a, one_b") as caught:
        read(rows, columns=columns)
    assert "name the label: --data.columns.label label" in caught.value.hint
    _, results = read(rows, columns={**columns, "label": "label"})
    assert [result.reason for result in results[: HEAD + 3]] == ["no_judgment"] * (HEAD + 3)
    better = [result.judgments[0].better for result in results[HEAD + 3 :]]
    assert better == [1, 0, 1]


@pytest.mark.parametrize(
    "more",
    [
        lambda n: {"category": ["math", "code"][n > HEAD + 1]},
        lambda n: {"id": n, "source": "web" if n > HEAD else None},
        lambda n: {"model_a": "x" if n > HEAD else None, "model_b": "y"},
        lambda n: {"length_a": n if n > HEAD else None, "length_b": 7, "turns": n % 2, "split": "ab"[n > HEAD]},
        lambda n: {"tokens": {f"t{n}": 1}},
        lambda n: {"n_tokens": 100 + n, "url": f"https://example.org/{n}"},
    ],
)
def test_other_columns_pass_as_before(more):
    rows = [{"prompt": f"q {n}", "reply_a": GOOD, "reply_b": BAD, **more(n)} for n in range(HEAD + 9)]
    _, results = read(rows, columns={"chosen": "reply_a", "rejected": "reply_b"})
    assert [result.responses[result.judgments[0].better].text for result in results] == [GOOD] * len(rows)
