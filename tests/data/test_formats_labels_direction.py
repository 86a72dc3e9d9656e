"""Columns that may turn a label round, name the worse answer, or hold votes of annotators: read rightly, or refused."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bradley.errors import DataError
from tests.data.labelled_rows import BAD, GOOD, check, read, sided
from tests.data.rows import replies

NAMES = ("response_a", "response_b")
PAIR = dict(zip(NAMES, (GOOD, BAD), strict=True))
SIDES = st.lists(st.sampled_from([0, 1]), min_size=6, max_size=9).map(lambda sides: [0, 1, *sides])


def labelled(values, column, write, **more):
    """Rows of two answers, the better one by `values`, beside a column of `write(side)`."""
    rows = sided(values, lambda row, side, names: row.update({column: write(side)}), NAMES)
    return [{**row, **{key: value(number) for key, value in more.items()}} for number, row in enumerate(rows)]


def refused(rows, **settings):
    """The error of a file that is not read."""
    with pytest.raises(DataError) as caught:
        read(rows, **settings)
    return caught.value


def option_of(hint, setting):
    """The value of the printed option, as a shell gives the value to the program."""
    given = shlex.split(hint[hint.index(f"--data.{setting}") :].split(";")[0].split(", or")[0])
    return given[1]


@given(
    SIDES,
    st.sampled_from(["more_toxic", "hallucinated", "flagged_response", "eliminated", "needs_edit", "human_written"]),
    st.sampled_from([("A", "B"), ("response_a", "response_b"), (1, 2)]),
    st.booleans(),
)
def test_values_of_sides_under_a_name_of_another_meaning_are_not_read(values, name, alphabet, by_hand):
    rows = labelled(values, name, lambda side: alphabet[1 - side])
    hand = {"columns": {"chosen": NAMES[0], "rejected": NAMES[1]}} if by_hand else {}
    error = refused(rows, **hand)
    assert name in error.message
    # Only the reader knows the direction: the printed line asks for the better one.
    if "--data.columns.label" in error.hint:
        assert f"if {name} names the better answer: --data.columns.label {name}" in error.hint
        check(labelled(values, name, lambda side: alphabet[side]), values, columns={"label": name})


def test_an_answer_that_is_preferred_over_the_others_is_the_worse_one():
    rows = [{"prompt": f"q{n}?", "responses": [GOOD, BAD], "preferred_over": 1 - n % 2} for n in range(8)]
    assert "may say which answer is the worse" in refused(rows).message


SWAPS = {
    "swapped": lambda number: number % 3 == 0,
    "sides_swapped": lambda number: "yes" if number % 2 else "no",
    "is_flipped": lambda number: number % 2,
    "presentation_order": lambda number: ("AB", "BA")[number % 2],
    "shown_order": lambda number: (["a", "b"], ["b", "a"])[number % 2],
    "position": lambda number: ("A first", "B first")[number % 2],
}


@pytest.mark.parametrize("swap", SWAPS)
@pytest.mark.parametrize("how", ["label", "by hand", "chosen"])
def test_a_column_that_says_that_answers_were_exchanged_stops_the_load(swap, how):
    values = [0, 1, 1, 0, 1, 0, 0, 1]
    if how == "chosen":
        rows = [{"prompt": f"q{n}?", "chosen": GOOD, "rejected": BAD, swap: SWAPS[swap](n)} for n in range(8)]
    else:
        rows = labelled(values, "winner", lambda side: "AB"[side], **{swap: SWAPS[swap]})
    hand = {}
    if how == "by hand":
        rows = [{key: value for key, value in row.items() if key != "winner"} for row in rows]
        hand = {"columns": {"chosen": NAMES[0], "rejected": NAMES[1]}}
    error = refused(rows, **hand)
    assert f"{swap} may say that the two answers were exchanged" in error.message
    assert option_of(error.hint, "ignore") == swap
    # The same values in every row, none of them an exchange, say nothing.
    same = {"presentation_order": "AB", "shown_order": ["a", "b"], "position": "A first"}.get(swap, False)
    assert len(read([{**row, swap: same} for row in rows], **hand)[1]) == 8


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("label_flipped", [True, False]),
        ("reviewer_agrees", [True, False]),
        ("human_agrees", [1, 0]),
        ("agreement", ["agree", "disagree"]),
        ("rejected_is_better", [True, False]),
        ("preference", [1, -1]),
        ("correct_label", [False, True]),
    ],
)
def test_a_column_that_turns_some_pairs_stops_the_load(name, value):
    rows = [{"prompt": f"q{n}?", "chosen": GOOD, "rejected": BAD, name: value[n % 2]} for n in range(8)]
    error = refused(rows)
    assert name in error.message and option_of(error.hint, "ignore") == name
    assert [replies(result) for result in read(rows, ignore=name)[1]] == [[GOOD, BAD]] * 8


WORDS = {"letters": ("A", "B", "tie"), "models": ("model_a", "model_b", "both_bad"), "names": (*NAMES, "Tie")}


@given(
    st.lists(st.lists(st.sampled_from([0, 1, 2, None]), min_size=3, max_size=3), min_size=4, max_size=9),
    st.sampled_from(["annotator_{}", "rater{}", "worker_{}", "judge_{}_choice", "label_{}", "vote_{}"]),
    st.sampled_from(list(WORDS)),
    st.booleans(),
)
def test_numbered_annotators_are_votes(votes, stem, alphabet, by_hand):
    """Counted by hand: the share of the larger support, a tie being half a vote for each side."""
    votes = [[0, 0, 1], [1, 1, 1], [0, 1, 2], *votes]
    rows = []
    for number, row in enumerate(votes):
        said = {
            stem.format(place + 1): None if vote is None else WORDS[alphabet][vote] for place, vote in enumerate(row)
        }
        rows.append({"prompt": f"How do I keep box {number} dry?", NAMES[0]: GOOD, NAMES[1]: BAD, **said})
    hand = {"columns": {"chosen": NAMES[0], "rejected": NAMES[1]}} if by_hand else {}
    _, results = read(rows, **hand)
    for row, result in zip(votes, results, strict=True):
        support = [sum(1.0 if vote == side else 0.5 * (vote == 2) for vote in row) for side in (0, 1)]
        if support[0] == support[1]:
            assert result.reason == "no_judgment"
            continue
        (judgment,) = result.judgments
        assert judgment.better == (support[1] > support[0])
        assert judgment.probability == pytest.approx(max(support) / sum(support))


@pytest.mark.parametrize(
    "words",
    [
        ("A besser", "B besser", "gleich gut"),
        ("回答A", "回答B", "一样"),
        ("la respuesta 1", "la respuesta 2", "empate"),
    ],
)
def test_a_label_in_another_language_is_never_passed_over(words):
    rows = [
        {"prompt": f"q{n}?", **dict(zip(NAMES, (GOOD, BAD), strict=True)), "Urteil": words[n % 3]} for n in range(9)
    ]
    assert "Urteil" in refused(rows).message
    assert "--data.columns.chosen" not in refused(rows).hint
    assert "Urteil" in refused(rows, columns={"chosen": NAMES[0], "rejected": NAMES[1]}).message


def test_a_printed_option_is_one_word_for_the_shell():
    rows = [{"prompt": f"q{n}?", "Answer A": f"{GOOD} {n}", "Answer B": f"{BAD} {n}"} for n in range(8)]
    hint = refused(rows).hint
    columns = {side: option_of(hint, f"columns.{side}") for side in ("chosen", "rejected")}
    assert columns == {"chosen": "Answer A", "rejected": "Answer B"}
    assert [replies(result)[0] for result in read(rows, columns=columns)[1]] == [f"{GOOD} {n}" for n in range(8)]


@pytest.mark.parametrize("one", ["completions.rank", "completions.score"])
def test_ranks_against_scores_are_refused(one):
    rows = [
        {
            "prompt": f"q{n}?",
            "completions": [{"content": GOOD, "score": 2.0, "rank": 2}, {"content": BAD, "score": 1.0, "rank": 1}],
        }
        for n in range(5)
    ]
    error = refused(rows)
    assert "disagree on all of 5 pairs" in error.message and f"--data.ignore {one}" in error.hint
    _, results = read(rows, ignore=one)
    better = {result.responses[result.judgments[0].better].messages[-1].content for result in results}
    assert better == {GOOD if one == "completions.rank" else BAD}
    # A single agreement shows that both numbers count alike.
    read(
        [
            *rows,
            {
                "prompt": "q",
                "completions": [{"content": "a", "score": 2, "rank": 1}, {"content": "b", "score": 1, "rank": 2}],
            },
        ]
    )


def test_places_as_chosen_and_rejected_are_labels():
    rows = [
        {"prompt": f"q{n}?", "response_0": GOOD, "response_1": BAD, "chosen": n % 2, "rejected": 1 - n % 2}
        for n in range(6)
    ]
    hint = refused(rows).hint
    assert "--data.columns.label chosen --data.ignore rejected" in hint
    _, results = read(rows, columns={"label": "chosen"}, ignore="rejected")
    assert [result.judgments[0].better for result in results] == [0, 1] * 3


def test_scores_say_that_the_highest_is_best():
    rows = [
        {"prompt": f"q{n}?", **dict(zip(NAMES, (GOOD, BAD), strict=True)), "score_a": 3, "score_b": 1 + n % 2}
        for n in range(6)
    ]
    assert "score_a, score_b, the highest is best" in read(rows)[0].describe()


def test_earlier_turns_beside_a_prompt_stop_the_load():
    rows = [
        {"previous_turns": ["Hello there.", "Hi."], "prompt": f"q{n}?", "chosen": GOOD, "rejected": BAD}
        for n in range(4)
    ]
    error = refused(rows)
    assert "previous_turns" in error.message and option_of(error.hint, "ignore") == "previous_turns"
