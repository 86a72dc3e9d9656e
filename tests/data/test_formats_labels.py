"""Answers beside a label, in generated forms: names of columns, alphabets of labels, containers; never misread."""

import itertools

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bradley.config import Data
from bradley.data.formats import choose_format, convert_rows
from bradley.data.formats.words import TIE, meaning
from bradley.data.rows import RowPlace
from bradley.errors import DataError
from tests.data.labelled_rows import (
    ALPHABETS,
    BAD,
    GOOD,
    MARKS,
    NAMES,
    OTHERS,
    QUESTIONS,
    STEMS,
    TIED,
    TIES,
    check,
    put,
    read,
    sided,
)

SIDES = st.lists(st.sampled_from([0, 1]), min_size=2, max_size=8).map(lambda sides: [0, 1, *sides, 1, 0])
TURNS = {
    "text": lambda text: text,
    "one message": lambda text: {"role": "assistant", "content": text},
    "messages": lambda text: [{"from": "gpt", "value": text}],
    "object": lambda text: {"answer": text, "llm": "x"},
}


@given(
    SIDES,
    st.sampled_from(MARKS),
    st.sampled_from(STEMS),
    st.sampled_from(QUESTIONS),
    st.sampled_from(NAMES),
    st.sampled_from(list(ALPHABETS)),
    st.sampled_from(list(TURNS)),
    st.booleans(),
)
def test_two_answers_and_a_label_in_any_form(values, marks, stem, question, name, alphabet, form, by_hand):
    # Words without a blank between are one word.
    assume(stem != "output{}" or marks[0] in "aA01")
    names = [stem.format(mark) for mark in marks]
    word = ALPHABETS[alphabet]
    rows = sided(
        values, lambda row, side, names: put(row, name, word(side, names, marks)), names, question, TURNS[form]
    )
    if by_hand:
        reading = check(rows, values, columns={"prompt": question, "chosen": names[0], "rejected": names[1]})
        check(rows, values, columns={"prompt": question, "chosen": names[1], "rejected": names[0]})
    else:
        reading = check(rows, values)
    assert reading.format == "labelled" and f"better <- {name}" in reading.describe()
    assert sum(reading.counts.values()) == len(rows)


@given(SIDES, st.sampled_from(TIES), st.sampled_from(["AB", "ab", "12"]))
def test_ties_are_no_wins(values, tie, marks):
    values = [*values, None, 0, None]
    word = "model_{}" if marks != "12" else "response {}"

    def label(row, side, names):
        row["winner"] = tie if side is None else word.format(marks[side])

    names = [f"response_{mark}" for mark in marks]
    check(sided(values, label, names), values)
    check(sided(values, label, names), values, columns={"chosen": names[0], "rejected": names[1]})


@given(SIDES, st.sampled_from(OTHERS), st.booleans())
def test_labels_in_several_columns_and_inside_objects(values, label, by_hand):
    values = [*values, None] if label in TIED else values
    names = ["response_a", "response_b"]
    columns = {"chosen": names[0], "rejected": names[1]} if by_hand else {}
    rows = sided(values, label, names)
    for row, side in zip(rows, values, strict=True):
        # The text of the better answer tells the two apart in every row.
        if side is None:
            row["response_b"] = "Both are the same to me, so no."
    reading, results = read(rows, columns=columns)
    assert reading.format == "labelled", reading
    for result, side in zip(results, values, strict=True):
        if side is None:
            assert result.reason == "no_judgment"
        else:
            assert result.responses[result.judgments[0].better].text == GOOD


@given(st.permutations(range(4)), st.sampled_from(["scores", "ranks", "objects", "truth", "columns", "index"]))
def test_k_answers_in_a_list_or_in_columns(order, form):
    texts = [f"Answer {place} of the lot, in so many words." for place in range(4)]
    rows = []
    for shift in range(6):
        places = [(place + shift) % 4 for place in order]
        row = {"prompt": "Which one is it?", "responses": [texts[place] for place in places]}
        if form == "scores":
            row["scores"] = [-place for place in places]
        elif form == "ranks":
            row["ranks"] = [place + 1 for place in places]
        elif form == "truth":
            row["correct"] = [place < 2 for place in places]
        elif form == "index":
            row["best"] = places.index(0)
        elif form == "objects":
            row["responses"] = [{"text": texts[p], "model": "m", "rank": p, "rating": 9 - p} for p in places]
        else:
            del row["responses"]
            row |= {f"response_{n}": texts[p] for n, p in enumerate(places)} | {"scores": [4.5 - p for p in places]}
        rows.append(row)
    _, results = read(rows)
    pairs = {
        "truth": set(itertools.product((0, 1), (2, 3))),
        "index": {(0, other) for other in (1, 2, 3)},
    }.get(form, set(itertools.combinations(range(4), 2)))
    for result in results:
        place = {response.text: texts.index(response.text) for response in result.responses}
        found = {
            (place[result.responses[j.better].text], place[result.responses[j.worse].text]) for j in result.judgments
        }
        assert found == pairs


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([1, 1, 1], "may count from 0 or from 1: 1 3"),
        ([0, 1, 2], "may count from 0 or from 1: 0 1, 1 1, 2 1"),
        ([-1, 1, 1], "values that name no side: -1 1, 1 2"),
        (["yes", "no", "no"], "values that name no side: no 2, yes 1"),
        ([True, False, True], "holds False 1, True 2, and names no side"),
    ],
)
@pytest.mark.parametrize("by_hand", [False, True])
def test_a_label_that_is_not_understood_is_quoted(values, found, by_hand):
    rows = [{"prompt": "q", "response_a": GOOD, "response_b": BAD, "label": value} for value in values]
    columns = {"chosen": "response_a", "rejected": "response_b"} if by_hand else {}
    with pytest.raises(DataError) as caught:
        read(rows, columns=columns)
    assert found in caught.value.message and "--data.format module:function" in caught.value.hint
    assert "--data.ignore" not in caught.value.hint


def test_more_rows_are_read_until_the_label_is_clear():
    rows = [{"prompt": "q", "response_a": GOOD, "response_b": BAD, "label": 1} for _ in range(300)]
    for late in (0, 2):
        _, results = read([*rows, {**rows[0], "label": late}])
        assert {result.judgments[0].better for result in results[:300]} == {1 if late == 0 else 0}
        assert results[-1].judgments[0].better == (0 if late == 0 else 1)
    with pytest.raises(DataError, match="may count from 0 or from 1"):
        read(rows * 8 + [{**rows[0], "label": 0}])


def test_a_number_that_puts_the_reading_in_doubt_stops_and_a_strange_word_is_counted():
    rows = [{"prompt": "q", "response_a": GOOD, "response_b": BAD, "label": n % 2} for n in range(30)]
    with pytest.raises(DataError, match=r"x.jsonl, row 31: found 2 as label, wanted a label as in the first rows"):
        read([*rows, {**rows[0], "label": 2}])
    rows = [{**row, "label": "AB"[row["label"]]} for row in rows]
    _, results = read([*rows, {**rows[0], "label": "broken"}, {**rows[0], "label": None}])
    assert [result.reason for result in results[30:]] == ["unread_label", "no_judgment"]


def test_comparison_signs_have_a_strength():
    rows = [{"prompt": "q", "response_a": GOOD, "response_b": BAD, "label": label} for label in ("A>>B", "B>A", "A>B")]
    _, results = read(rows)
    assert [(r.judgments[0].better, r.judgments[0].margin) for r in results] == [(0, 2.0), (1, 1.0), (0, 1.0)]
    _, results = read(rows, strength_as="weight")
    assert [(r.judgments[0].weight, r.judgments[0].margin) for r in results] == [(2.0, None), (1.0, None), (1.0, None)]
    _, results = read([{**row, "label": row["label"].replace(">>", ">")} for row in rows])
    assert {r.judgments[0].margin for r in results} == {None}


def test_several_labels_are_chosen_by_name_or_refused():
    row = {"prompt": "q", "response_0": GOOD, "response_1": BAD}
    rows = [{**row, "better_response_id": n % 2, "safer_response_id": (n + 1) % 2} for n in range(6)]
    reading, results = read(rows)
    assert [r.judgments[0].better for r in results] == [0, 1, 0, 1, 0, 1]
    assert "safer_response_id" in reading.describe()
    _, results = read(rows, columns={"label": "safer_response_id"})
    assert [r.judgments[0].better for r in results] == [1, 0, 1, 0, 1, 0]
    rows = [{**row, "human_label": "01"[n % 2], "model_label": "01"[n > 2]} for n in range(6)]
    with pytest.raises(DataError, match="several columns may be the label: human_label, model_label") as caught:
        read(rows)
    assert "--data.columns.label human_label" in caught.value.hint


def test_a_number_beside_answers_named_by_hand_stops_the_load():
    rows = [{"prompt": "q", "one": GOOD, "two": BAD, "flag": n % 2} for n in range(6)]
    columns = {"chosen": "one", "rejected": "two"}
    with pytest.raises(DataError, match="flag may be a label: 0 3, 1 3") as caught:
        read(rows, columns=columns)
    assert "--data.columns.label flag" in caught.value.hint and "--data.ignore flag" in caught.value.hint
    _, results = read(rows, columns=columns, ignore="flag")
    assert {r.judgments[0].better for r in results} == {0}
    _, results = read(rows, columns={**columns, "label": "flag"})
    assert [r.judgments[0].better for r in results] == [n % 2 for n in range(6)]


@pytest.mark.parametrize(
    ("word", "side"),
    [
        *(
            ("a", 0),
            ("B", 1),
            ("model_b", 1),
            ("Response A", 0),
            ("B wins", 1),
            ("A-is-slightly-better", 0),
            ("a>b", 0),
        ),
        *(("B >> A", 1), ("A = B", TIE), ("left", 0), ("second", 1), ("one", 0), ("output_b", 1), ("both good", TIE)),
        *(("c", None), ("A is worse", None), ("not A", None), ("a b", None), ("good", None), ("gpt-4", None)),
        *(("A-", None), ("!A", None), ("A<", None), (">A", None), ("A+", None), ("~A", None), ("\u00acA", None)),
        *(("B--", None), ("A?", None), ("A/B", None), ("-A", None), ("a <", None), ("!tie", None), ("\u2260 B", None)),
        *(("[[A]]", 0), ("**B**", 1), ("(a)", 0), ("<b>", 1), ("A.", 0), ("'B'", 1), ("Answer: A", 0), ("`a`", 0)),
        *(("A>C", None), ("", None), ("-", None), ("A or B", None)),
    ],
)
def test_words_of_labels(word, side):
    said = meaning(word, [("output_a",), ("output_b",)], ("a", "b"))
    assert (said.side if said else None) == side


def test_names_inside_objects_name_a_side_by_what_differs():
    names = [("outputA", "answer"), ("outputB", "answer")]
    found = [meaning(word, names, ("a", "b")) for word in ("OUTPUTB", "outputa.answer", "answer", "outputA")]
    assert [said and said.side for said in found] == [1, 0, None, 0]


KEYS = [
    *(
        "prompt",
        "question",
        "system",
        "history",
        "messages",
        "chosen",
        "rejected",
        "label",
        "winner",
        "response_a",
        "a",
    ),
    *("response_b", "answers", "completions", "scores", "ranks", "annotations", "turn", "score_a", "score_b", "rank"),
    *("role", "content", "from", "value", "text", "steps", "best", "preference", "", "images"),
]
WORDS = [
    *("", "a", "A>B", "tie", "model_a", "response_a", "1", GOOD, BAD, "\n\nHuman: hi\n\nAssistant:", "\ud800"),
    *('["x", null]', '[{"role": "user", "content": "x"}]', "[{'role'", "user", "assistant", "x" * 99),
]
ANYTHING = st.recursive(
    st.one_of(
        st.sampled_from(WORDS), st.sampled_from([0, 1, 2, -1, 0.5, True, None, float("nan"), float("inf"), 10**40])
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=8,
)


@given(st.lists(st.dictionaries(st.sampled_from(KEYS), ANYTHING, max_size=6), min_size=1, max_size=4), st.booleans())
def test_rows_of_any_content_are_read_counted_or_refused_in_words(rows, by_hand):
    columns = {"chosen": "response_a", "rejected": "response_b"} if by_hand else {}
    try:
        place = RowPlace("x.jsonl", "x", settings=Data(columns=columns))
        reading, numbered = choose_format(enumerate(rows, 1), place, count_faults=True)
        results = list(convert_rows(numbered, reading, place, set(), count_faults=True))
    except DataError as error:
        assert error.message.isprintable() and len(error.message) < 1500 and error.hint
    else:
        assert len(results) == len(rows) and reading.describe().isprintable()


@pytest.mark.parametrize(
    "label",
    [
        lambda n: {"preference_strength": (n % 7) - 3},
        lambda n: {"preference": n / 10},
        lambda n: {"score_gap": (-1) ** n * n},
        lambda n: {"a_helpfulness": n % 3, "b_helpfulness": 2 - n % 3},
        lambda n: {"label_1": n % 2, "label_2": 1},
        lambda n: {"labels": [1 + n % 2, 1]},
        lambda n: {"worth": [n % 3, 1]},
        lambda n: {"toxicity_score_a": n % 3, "toxicity_score_b": 1},
        lambda n: {"error_scores": [n % 3, 1]},
        lambda n: {"votes": ["A", "maybe"]},
        lambda n: {"annotations": [{"score": n % 3}]},
        lambda n: {"is_good": n % 2 == 0},
        lambda n: {"flag": "AB"[n % 2].lower() if n else "tie"},
    ],
)
def test_what_may_be_a_label_is_never_passed_over_beside_answers_named_by_hand(label):
    rows = [{"prompt": "q", "response_a": GOOD, "response_b": BAD, **label(n)} for n in range(10)]
    by_hand = [{"chosen": f"response_{one}", "rejected": f"response_{other}"} for one, other in ("ab", "ba")]
    for columns in ({}, *by_hand):
        try:
            reading, _ = read(rows, columns=columns)
        except DataError as error:
            assert error.hint
        else:
            assert reading.format == "labelled" and reading.counts


@pytest.mark.parametrize(
    "label", [{"toxic": "yes"}, {"toxicity": 0.9}, {"loss": 2.5}, {"n_tokens": 9}, {"tone": "good"}]
)
def test_numbers_and_words_that_judge_nothing_are_no_label_of_answers_in_a_list(label):
    (key, value), other = next(iter(label.items())), {"yes": "no", "bad": "good"}
    answers = [{"text": GOOD, key: value}, {"text": BAD, key: other.get(value, 1) if isinstance(value, str) else 1}]
    with pytest.raises(DataError, match="no rank, score or label for each"):
        read([{"prompt": "q", "answers": answers}] * 3)


@given(SIDES, st.sampled_from(["ab", "AB", "12", "01"]), st.booleans())
def test_votes_of_several_annotators_in_a_list(values, alphabet, as_numbers):
    word = {"ab": "ab", "AB": "AB"}.get(alphabet, alphabet)

    def label(row, side, names):
        ballots = [side, side, 1 - side, side] if side is not None else [0, 1]
        row["annotations"] = [int(word[one]) if as_numbers and word.isdecimal() else word[one] for one in ballots]

    names = ["output_a", "output_b"]
    reading, results = read(sided(values, label, names))
    assert reading.format == "labelled"
    for result in results:
        (judgment,) = result.judgments
        assert result.responses[judgment.better].text == GOOD and judgment.probability == 0.75
    _, results = read(sided(values, label, names), votes="majority")
    assert {result.judgments[0].probability for result in results} == {1.0}


PERU, CUBA = "Capital of Peru?", "Capital of Cuba?"


def read_with(rows, **settings):
    """The texts of each pair, the better one first, and the line about the reading."""
    place = RowPlace("rows", "rows", settings=Data(**settings))
    reading, numbered = choose_format(enumerate(rows, start=1), place)
    pairs = []
    for found in convert_rows(numbered, reading, place, set()):
        pairs += [(found.responses[j.better].text, found.responses[j.worse].text) for j in found.judgments]
    return pairs, reading.describe()


def test_a_label_that_is_named_keeps_the_words_of_its_name():
    """Ranks that the user names as the label are ranks, and a column with a twin is read together with the twin."""
    rows = [
        {"prompt": PERU, "answers": ["No idea.", "Lima."], "human_rank": [2, 1], "model_rank": [1, 2]},
        {"prompt": CUBA, "answers": ["Havana.", "Rome."], "human_rank": [1, 2], "model_rank": [1, 2]},
    ]
    with pytest.raises(DataError) as caught:
        read_with(rows)
    assert "--data.columns.label human_rank" in caught.value.hint
    pairs, line = read_with(rows, columns={"label": "human_rank"})
    assert pairs == [("Lima.", "No idea."), ("Havana.", "Rome.")] and "human_rank, the lowest is best" in line
    twins = [
        {"prompt": PERU, "reply_1": "Lima.", "reply_2": "No idea.", "upvoted_1": 1, "upvoted_2": 0},
        {"prompt": CUBA, "reply_1": "Atlantis.", "reply_2": "Havana.", "upvoted_1": 0, "upvoted_2": 1},
    ]
    for settings in ({}, {"columns": {"label": "upvoted_1"}}):
        assert read_with(twins, **settings)[0] == [("Lima.", "No idea."), ("Havana.", "Atlantis.")]
    faults = [{**row, "errors_1": n, "errors_2": 2} for n, row in zip((0, 3), twins, strict=True)]
    faults = [{key: value for key, value in row.items() if "upvoted" not in key} for row in faults]
    for settings in ({}, {"columns": {"label": "errors_1"}}):
        with pytest.raises(DataError) as caught:
            read_with(faults, **settings)
        assert "columns.label" not in caught.value.hint, "a line that leads nowhere is not printed"


def test_the_line_says_which_answer_a_number_names():
    rows = [
        {"prompt": PERU, "response_a": "No idea.", "response_b": "Lima.", "label": 1},
        {"prompt": CUBA, "response_a": "Havana.", "response_b": "Rome.", "label": 0},
    ]
    assert read_with(rows)[1].endswith("better <- label (0 = response_a: 1, 1 = response_b: 1)")
    shifted = [{**row, "label": row["label"] + 1} for row in rows]
    assert read_with(shifted)[1].endswith("better <- label (1 = response_a: 1, 2 = response_b: 1)")


@pytest.mark.parametrize("labels", ["LR", "lr", ["left", "right"], "AB"])
def test_left_and_right_have_initials(labels):
    rows = [
        {"prompt": PERU, "left_reply": "Lima.", "right_reply": "No idea.", "verdict": labels[0]},
        {"prompt": CUBA, "left_reply": "Rome.", "right_reply": "Havana.", "verdict": labels[1]},
    ]
    assert read_with(rows)[0] == [("Lima.", "No idea."), ("Havana.", "Rome.")]


@pytest.mark.parametrize("name", ["asked", "inquiry", "customer_said", "q"])
@pytest.mark.parametrize("sides", [("reply_a", "reply_b"), ("chosen", "rejected")])
def test_a_text_under_a_name_of_nobodys_is_never_a_prompt_lost(name, sides):
    rows = [
        {
            name: f"What is the capital of country {n}?",
            sides[0]: f"One {n}.",
            sides[1]: f"Other {n}.",
            "best": "AB"[n % 2],
        }
        for n in range(4)
    ]
    if sides == ("chosen", "rejected"):
        rows = [{key: value for key, value in row.items() if key != "best"} for row in rows]
    with pytest.raises(DataError) as caught:
        read_with(rows)
    assert f"--data.columns.prompt {name}" in caught.value.hint and f"--data.ignore {name}" in caught.value.hint
    assert len(read_with(rows, columns={"prompt": name})[0]) == 4
    assert len(read_with(rows, ignore=name)[0]) == 4


def pairs_with(name, values, sides=("response_a", "response_b")):
    """Eight rows of two answers, with a further column."""
    return [
        {"prompt": f"q {n}", sides[0]: f"One {n}.", sides[1]: f"Other {n}.", name: values[n % len(values)]}
        for n in range(8)
    ]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("label", "AB"),
        ("label", (0, 1)),
        ("winner", (1, 2)),
        ("preference", ("first", "second")),
        ("better", ("left", "tie", "right")),
    ],
)
def test_a_label_beside_chosen_and_rejected_stops_until_it_is_left_out_on_purpose(name, values):
    rows = pairs_with(name, values, ("chosen", "rejected"))
    with pytest.raises(DataError, match=f"{name} beside chosen and rejected may be a label") as caught:
        read_with(rows)
    assert f"--data.ignore {name}" in caught.value.hint
    assert len(read_with(rows, ignore=name)[0]) == 8
    # A bare 0 in every row may mean false.
    constant = [{**row, name: values[0] or values[1]} for row in rows]
    assert len(read_with(constant)[0]) == 8


@pytest.mark.parametrize("name", ["less_preferred", "not_chosen", "label_wrong", "incorrect_choice", "losing_label"])
@pytest.mark.parametrize("values", ["AB", (0, 1)])
def test_a_label_whose_name_may_mean_the_worse_answer_is_refused(name, values):
    with pytest.raises(DataError, match=name):
        read_with(pairs_with(name, values))


@pytest.mark.parametrize("name", ["prefer_a", "label_a", "vote_a", "a_picked", "a_gold"])
def test_a_truth_value_about_one_side_is_no_index(name):
    with pytest.raises(DataError, match=name):
        read_with(pairs_with(name, (0, 1)))


@pytest.mark.parametrize("name", ["group", "split", "annotator", "order", "model_id", "label_version", "best_of"])
def test_a_column_about_the_row_is_no_label(name):
    rows = pairs_with(name, "AB")
    with pytest.raises(DataError):
        read_with(rows)
    told = [{**row, "label": "BA"[n // 4]} for n, row in enumerate(rows)]
    assert read_with(told)[0][0] == ("Other 0.", "One 0.")


@pytest.mark.parametrize(
    "name", ["token_count", "downvotes", "failure_rate", "nll_score", "mean_length", "thumbs_down"]
)
def test_numbers_of_which_more_is_not_better_are_no_scores(name):
    rows = [{**row, f"{name}_b": 5} for row in pairs_with(f"{name}_a", range(8))]
    with pytest.raises(DataError):
        read_with(rows)
