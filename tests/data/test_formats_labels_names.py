"""Names of labels: read only if every word is known and neutral, in columns, families, lists, keys and annotations."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bradley.data.sources.plain import numbered
from bradley.errors import DataError
from bradley.records import Comparison
from tests.data.labelled_rows import BAD, GOOD, read

A, B = "response_a", "response_b"
HAND = {"columns": {"chosen": A, "rejected": B}}
SIDES = [0, 1, 1, 0, 0, 1, 0, 1]


def pairs(write, names=(A, B), sides=SIDES):
    """Rows of two answers, the better one at the place of each side, with the columns of `write(side, number)`."""
    return [
        {"prompt": f"q {number}?", names[side]: GOOD, names[1 - side]: BAD, **write(side, number)}
        for number, side in enumerate(sides)
    ]


def better(rows, **more):
    """Return the texts preferred in the rows, each with the other one; None for a row without a judgment."""
    _, results = read(rows, **more)
    found = []
    for result in results:
        judged = isinstance(result, Comparison) and result.judgments[0]
        texts = (
            (result.responses[place].messages[-1].content for place in (judged.better, judged.worse)) if judged else ()
        )
        found.append(tuple(texts) or None)
    return found


def refusal(rows, **more):
    with pytest.raises(DataError) as caught:
        read(rows, **more)
    return caught.value


AGAINST = [
    *("dispreferred", "votes_against", "discarded_choice", "eliminated_choice", "excluded_choice", "removed_choice"),
    *("selected_for_removal", "weaker_choice", "weakest_choice", "lesser_choice", "lowest_choice", "second_best"),
    *(
        "runner_up_choice",
        "bottom_choice",
        "last_choice",
        "flawed_pick",
        "buggy_pick",
        "defeated",
        "unwanted_choice",
        "never_chosen",
    ),
]
ALPHABETS = [("A", "B"), (0, 1), (A, B), ("first", "second")]


@given(st.sampled_from(AGAINST), st.sampled_from(ALPHABETS), st.booleans(), st.sampled_from(["", "human_", "info."]))
def test_a_name_with_a_word_for_the_worse_answer_is_refused_without_a_line_that_reads_the_column(
    name, alphabet, by_hand, before
):
    def write(side, number):
        value = {f"human_{name}" if before == "human_" else name: alphabet[1 - side]}
        return {"info": value} if before == "info." else value

    rows = pairs(write)
    error = refusal(rows, **(HAND if by_hand else {}))
    assert name in error.message and "--data.columns" not in error.hint
    refusal(rows, columns={"label": before + name})


@given(st.sampled_from(["zorble_choice", "blue_winner", "label_of_k"]), st.sampled_from(ALPHABETS[:3]))
def test_a_name_with_an_unknown_word_is_read_if_the_user_vouches_for_the_column(name, alphabet):
    rows = pairs(lambda side, number: {name: alphabet[side]})
    assert f"if {name} names the better answer: --data.columns.label {name}" in refusal(rows).hint
    assert better(rows, columns={"label": name}) == [(GOOD, BAD)] * len(rows)


@pytest.mark.parametrize(
    "name", ["winner", "final_human_preference", "info.majority_label", "gpt4_verdict", "helpfulness_preference"]
)
def test_a_name_of_known_words_alone_is_read(name):
    rows = pairs(lambda side, number: {name: "AB"[side]})
    assert better(rows) == [(GOOD, BAD)] * len(rows)


STEMS = [
    *(
        "down_votes",
        "negative_votes",
        "reject_votes",
        "bad_votes",
        "not_preferred_votes",
        "votes_against",
        "veto_votes",
    ),
    *("word_count", "char_count", "issue_count", "bug_count", "flag_count", "dislike_count", "weight", "prob", "count"),
]


@given(st.sampled_from(STEMS), st.booleans(), st.sampled_from(["columns", "list", "objects"]), st.integers(2, 3))
def test_numbers_that_may_count_against_an_answer_are_no_votes_and_no_scores(stem, by_hand, form, count):
    rows = []
    for number in range(12):
        best = number % count
        worth = [1 + number % 2 if place == best else 5 + place for place in range(count)]
        texts = [GOOD if place == best else f"{BAD} {place}" for place in range(count)]
        row = {"prompt": f"q {number}?"}
        if form == "objects":
            row["answers"] = [{"text": text, stem: one} for text, one in zip(texts, worth, strict=True)]
        else:
            row |= {f"response_{'abc'[place]}": text for place, text in enumerate(texts)}
            row |= {stem: worth} if form == "list" else {f"{stem}_{'abc'[p]}": one for p, one in enumerate(worth)}
        rows.append(row)
    refusal(rows, **(HAND if by_hand and count == 2 and form != "objects" else {}))


@pytest.mark.parametrize("stem", ["votes", "upvotes", "score", "helpfulness_score", "likes", "human_votes"])
def test_votes_and_scores_are_read(stem):
    rows = pairs(lambda side, number: {f"{stem}_a": 5 - 3 * side, f"{stem}_b": 2 + 3 * side})
    assert better(rows) == [(GOOD, BAD)] * len(rows)


@given(
    st.sampled_from(["chosen", "is_correct", "accepted", "preferred", "best", "winner"]),
    st.sampled_from(["word_count", "rating", "score", "weight", "prob", "rank", "views"]),
)
def test_a_truth_value_inside_answers_comes_before_numbers(name, number):
    def entry(good):
        worth = {True: 2, False: 1}[good] if number == "rank" else {True: 1, False: 9}[good]
        return {"text": GOOD if good else BAD, name: good, number: worth}

    rows = [{"prompt": f"q {n}?", "answers": [entry(side == 0), entry(side == 1)]} for n, side in enumerate(SIDES)]
    assert better(rows) == [(GOOD, BAD)] * len(rows)


COMPARISONS = [
    *("better_than_b", "wins_over_b", "won_against_b", "preferred_over_b", "preferred_to_b", "wins_vs_b"),
    *("better_than_second", "a_better_than_b", "a_no_better", "b_never_wins", "a_fails_to_win", "a_better_false"),
]


@pytest.mark.parametrize("name", COMPARISONS)
@pytest.mark.parametrize("kind", [bool, int])
def test_a_comparison_with_a_second_side_is_refused(name, kind):
    for value in (0, 1):
        rows = pairs(lambda side, number: {name: kind(side == value)})  # noqa: B023
        assert name in refusal(rows).message and "--data.columns" not in refusal(rows, **HAND).hint


@pytest.mark.parametrize(("name", "side"), [("a_wins", 0), ("b_is_better", 1), ("second_wins", 1), ("winner_b", 1)])
def test_a_truth_value_of_one_side_is_read(name, side):
    rows = pairs(lambda best, number: {name: best == side})
    assert better(rows) == [(GOOD, BAD)] * len(rows)


def test_places_of_answers_are_no_numbers_for_answers():
    orders = list(itertools.permutations((1, 2, 3)))
    three = [
        {
            **{"prompt": f"q {number}?", "response_1": GOOD, "response_2": BAD, "response_3": f"{BAD} so"},
            **dict(zip(("first_choice", "second_choice", "third_choice"), order, strict=True)),
        }
        for number, order in enumerate(orders)
    ]
    assert "first_choice" in refusal(three).message
    for first in (0, 1):
        two = pairs(
            lambda side, number: {"first_choice": side + first, "second_choice": 1 - side + first},  # noqa: B023
            ("response_1", "response_2"),
        )
        assert "first_choice" in refusal(two).message


VOID = [
    *({"valid": False}, {"status": "rejected"}, {"passed": False}, {"deleted": True}, {"discard": True}),
    *({"is_valid": "no"}, {"state": "Invalid"}, {"was_cancelled": True}, {"rejected": True}),
]


@pytest.mark.parametrize("void", VOID)
def test_annotations_that_do_not_count_are_left_out(void):
    rows = pairs(
        lambda side, number: {"annotations": [{"choice": "AB"[side]}, *[{"choice": "BA"[side], **void}] * 2]},
    )
    assert better(rows) == [(GOOD, BAD)] * len(rows)


DOUBTED = {
    "disagreement": lambda side: {"choice": "BA"[side], "agree": False},
    "exchange": lambda side: {"choice": "BA"[side], "swap": True},
    "order": lambda side: {"choice": "BA"[side], "order": "ba"},
    "place": lambda side: {"shown_first": "BA"[side]},
    "name of the task": lambda side: {"from_name": "worst", "value": {"choices": ["BA"[side]]}},
    "task": lambda side: {"task": "select_worse", "value": "BA"[side]},
    "question": lambda side: {"question": "Which is worse?", "answer": "BA"[side]},
    "eliminated": lambda side: {"eliminated": "BA"[side]},
    "weaker": lambda side: {"weaker": "BA"[side]},
    "comment": lambda side: {"comment": "BA"[side]},
    "both": lambda side: {"choices": ["AB"[side], "BA"[side]]},
    "unknown": lambda side: {"zorble": "AB"[side]},
}


@pytest.mark.parametrize("kind", DOUBTED)
@pytest.mark.parametrize("depth", [0, 2])
def test_annotations_that_may_mean_the_other_side_stop_the_load(kind, depth):
    def write(side, number):
        entry = DOUBTED[kind](side)
        for _ in range(depth):
            entry = {"result": [entry]}
        return {"annotations": [entry]}

    for more in ({}, HAND):
        error = refusal(pairs(write), **more)
        assert "annotations" in error.message and "--data.ignore" not in error.hint


def test_a_comment_beside_a_choice_is_no_second_choice():
    rows = pairs(lambda side, number: {"annotations": [{"choice": "AB"[side], "comment": "BA"[side]}]})
    assert better(rows) == [(GOOD, BAD)] * len(rows)


@pytest.mark.parametrize("name", ["preferences", "winner", "labels"])
def test_two_annotators_who_always_differ_are_no_ranking(name):
    rows = pairs(lambda side, number: {name: ["AB"[number % 2], "BA"[number % 2]]})
    assert "the choices of two annotators, or the best first" in refusal(rows).message
    ranked = pairs(lambda side, number: {"ranking": ["AB"[side], "BA"[side]]})
    assert better(ranked) == [(GOOD, BAD)] * len(ranked)


def test_the_winner_is_a_model_and_no_judge_of_the_same_name():
    names = ["kimi", "qwen"]
    rows = pairs(
        lambda side, number: {
            **{"judge_1": names[1 - number % 2], "judge_2": names[number % 2]},
            **{"model_1": names[number % 2], "model_2": names[1 - number % 2], "winner": names[(number + side) % 2]},
        },
        ("response_1", "response_2"),
    )
    assert better(rows) == [(GOOD, BAD)] * len(rows)


@pytest.mark.parametrize("values", [(A, B), ("A", "B")])
@pytest.mark.parametrize("names", [("left", "right"), ("shown_left", "shown_right"), ("first", "second")])
def test_columns_that_say_where_an_answer_stood_stop_the_load(values, names):
    rows = pairs(
        lambda side, number: {
            **dict(zip(names, (values[number % 2], values[1 - number % 2]), strict=True)),
            "winner": ("left", "right")[(side + number) % 2],
        }
    )
    for more in ({}, HAND):
        assert f"{names[0]} may say which answer stood" in refusal(rows, **more).message


@pytest.mark.parametrize("name", ["winner", "preferred", "best", "loser"])
@pytest.mark.parametrize("more", [{}, HAND])
def test_a_label_that_holds_the_whole_text_of_an_answer_is_read(name, more):
    texts = [f"{GOOD} " * 4, f"{BAD} " * 4]
    rows = [
        {"prompt": f"q {n}?", (A, B)[side]: texts[0] + str(n), (B, A)[side]: texts[1] + str(n)}
        for n, side in enumerate(SIDES)
    ]
    told = [{**row, name: texts[name == "loser"] + str(n)} for n, row in enumerate(rows)]
    assert better(told, **more) == [(texts[0] + str(n), texts[1] + str(n)) for n in range(len(rows))]


@pytest.mark.parametrize("name", ["judgment", "explanation", "judge_output"])
@pytest.mark.parametrize("more", [{}, HAND])
def test_a_text_of_a_judge_that_ends_in_a_verdict_is_no_text_to_leave_out(name, more):
    long = "Both answers were read with care, and one of the two is more complete than the other one"
    rows = pairs(lambda side, number: {name: f"{long} in row {number}. [[{'AB'[side]}]]"})
    error = refusal(rows, **more)
    assert name in error.message and "--data.ignore" not in error.hint and "--data.columns" not in error.hint


@given(
    st.sampled_from(["rater", "vote", "annotator", "judge", "label"]),
    st.sampled_from([lambda side: side, lambda side: side + 1, lambda side: 1 - side, lambda side: side == 0]),
    st.sampled_from([{}, HAND, {"label": 1}]),
)
def test_numbers_of_numbered_annotators_are_refused_as_one_label(stem, value, more):
    rows = pairs(lambda side, number: {f"{stem}_{one}": value(side if number % 3 else one % 2) for one in (1, 2, 3)})
    error = refusal(rows, **({"columns": {"label": f"{stem}_1"}} if "label" in more else more))
    assert f"{stem}_1, {stem}_2, {stem}_3 hold numbers of annotators" in error.message
    assert "--data.columns" not in error.hint and "--data.ignore" not in error.hint


@pytest.mark.parametrize("ignore", ["", "bon_best.answer"])
def test_the_name_of_the_best_model_is_no_place_in_a_list_of_the_other_answers(ignore):
    rows = [
        {
            **{"prompt": f"q {n}?", "bon_best": {"llm_name": "ABC"[n % 3], "answer": GOOD}},
            "loser_list": [{"llm_name": one, "answer": f"{BAD} {one}"} for one in "ABC" if one != "ABC"[n % 3]],
        }
        for n in range(9)
    ]
    refusal(rows, **({"ignore": ignore} if ignore else {}))


@pytest.mark.parametrize("digits", [401, 5000])
@pytest.mark.parametrize("form", ["scores", "rank", "objects", "other"])
def test_an_integer_that_no_float_holds_is_a_missing_number(digits, form):
    huge = 10**digits
    rows = pairs(lambda side, number: {"scores": [3 - 2 * side, 1 + 2 * side]})
    if form == "rank":
        rows = pairs(lambda side, number: {"rank": [1 + side, 2 - side]})
    if form == "other":
        rows = pairs(lambda side, number: {"winner": "AB"[side], "other": huge})
    if form == "objects":
        rows = [
            {"prompt": row["prompt"], "answers": [{"text": row[name], "score": score} for name, score in scored]}
            for row in rows
            for scored in [list(zip((A, B), row["scores"], strict=True))]
        ]
        rows[3]["answers"][0]["score"] = huge
    elif form != "other":
        rows[3][{"scores": "scores", "rank": "rank"}[form]][0] = huge
    rows = [row for _, row in numbered(rows, "rows")]
    assert better(rows) == [(GOOD, BAD) if n != 3 or form == "other" else None for n in range(len(rows))]


@pytest.mark.parametrize("beside", [False, True])
def test_annotations_of_many_levels_are_refused_in_words(beside):
    deep = {"choice": "A"}
    for _ in range(900):
        deep = {"x": deep}
    rows = pairs(lambda side, number: {"annotations": [{"choice": "AB"[side], "x": deep} if beside else deep]})
    assert "annotations" in refusal(rows).message
