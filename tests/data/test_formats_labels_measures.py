"""Numbers for the answers: their measure, numbers against an answer, ranks without numbers, and a second set."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bradley.data.formats.words import plurals
from bradley.errors import DataError
from tests.data.labelled_rows import BAD, GOOD, check, read

SIDES = [0, 1, 1, 0, 0, 1, 0, 1]
START = [*SIDES, *SIDES, *SIDES]
"""More rows than detection reads at first."""


def rows_of(form, numbers, more=lambda number: {}, sides=SIDES):
    """Rows of two answers with `numbers(good, number)` for each, as objects or columns, and columns beside."""
    rows = []
    for number, side in enumerate(sides):
        texts, told = [BAD, BAD], [numbers(False, number), numbers(False, number)]
        texts[side], told[side] = GOOD, numbers(True, number)
        row = {"prompt": f"How do I keep box {number} dry?"}
        if form in ("answers", "completions"):
            key = {"answers": "text", "completions": "content"}[form]
            row[form] = [{key: text, **one} for text, one in zip(texts, told, strict=True)]
        else:
            row |= {"response_a": texts[0], "response_b": texts[1]}
            for key in told[0]:
                lists = [one.get(key) for one in told]
                row |= {key: lists} if form == "list" else {f"{key}_{mark}": one for mark, one in zip("ab", lists)}  # noqa: B905
        rows.append({**row, **more(number)})
    return rows


def refusal(rows, **more):
    with pytest.raises(DataError) as caught:
        read(rows, **more)
    return caught.value


def line_of(hint):
    """The columns of the option data.ignore in a hint."""
    return hint.split("--data.ignore ")[1].split(";")[0].split(" or ")[0].strip(", ").split(",")


POLES = [
    *(("likes", "dislikes"), ("upvotes", "downvotes"), ("good_votes", "bad_votes"), ("reward", "penalty")),
    *(("votes", "votes_against"), ("reward", "cost"), ("votes", "downvotes"), ("reward", "negative_reward")),
]


@given(st.sampled_from(POLES), st.sampled_from(["answers", "sides"]), st.booleans(), st.booleans())
def test_numbers_for_and_against_an_answer_are_never_read_by_halves(poles, form, by_hand, late):
    above, below = poles

    def numbers(good, number):
        told = {above: 5 if good else 8}
        return told if late and number < 21 else told | {below: 1 if good else 9}

    hand = {"columns": {"chosen": "response_a", "rejected": "response_b"}} if by_hand and form == "sides" else {}
    error = refusal(rows_of(form, numbers, sides=START), **hand)
    assert below in error.message
    if "may count for and against" in error.message and not late:
        # The printed option reads the first number alone, which the user then vouches for.
        reading, results = read(rows_of(form, numbers), ignore=line_of(error.hint), **hand)
        assert {result.responses[result.judgments[0].better].text for result in results} == {BAD}
        assert f"better <- {error.message.split(': ')[1].split(' and ')[0]}" in reading.describe()


MEASURES = [
    *({"metric": "perplexity"}, {"score_type": "toxicity"}, {"rating_scale": "number of problems"}),
    *({"measure": "error rate"}, {"scores_unit": "mistakes"}, {"score_type": "lower is better"}),
]


@given(
    st.sampled_from(MEASURES),
    st.sampled_from(["answers", "completions", "sides", "list"]),
    st.booleans(),
    st.sampled_from([0, 21]),
)
def test_a_measure_of_which_the_lowest_is_the_best_stops_the_load(measure, form, inside, start):
    name = {"list": "scores"}.get(form, "score")
    inside &= form in ("answers", "completions")
    (key, value), *_ = measure.items()

    def told(number):
        return {key: value} if number >= start else {}

    rows = rows_of(
        form,
        lambda good, number: {name: 1 if good else 9, **(told(number) if inside else {})},
        more=lambda number: {} if inside else told(number),
        sides=START,
    )
    error = refusal(rows)
    assert f"{key} may say that lower numbers are better in" in error.message and value in error.message
    reading, results = read(rows, ignore=line_of(error.hint))
    assert {result.responses[result.judgments[0].better].text for result in results} == {BAD}
    assert "the highest is best" in reading.describe()


LOWEST = ["loss", "perplexity", "error", "penalty", "distance", "risk", "cost", "toxicity", "mistake", "mse", "abuse"]


@given(
    st.sampled_from(LOWEST),
    st.sampled_from(["{}", "mean_{}", "{}_value", "test_{}"]),
    st.booleans(),
    st.sampled_from(["sides", "list", "object"]),
    st.booleans(),
)
@example("loss", "{}", True, "sides", False)
def test_a_label_by_hand_under_the_name_of_a_measure_of_which_the_lowest_is_the_best(
    measure, name, many, form, by_hand
):
    # Whoever names the label vouches for unknown words, and not for a fault of which more is better.
    name = name.format(plurals(measure)[-1] if many else measure)

    def write(side, number):
        told = [1.5 + number + 7 * (place != side) for place in (0, 1)]
        ends = {f"{name}_a": told[0], f"{name}_b": told[1]}
        return {"sides": ends, "list": {name: told}, "object": {name: {"a": told[0], "b": told[1]}}}[form]

    label = {"sides": f"{name}_a", "list": name, "object": f"{name}.a"}[form]
    hand = {"chosen": "response_a", "rejected": "response_b"} if by_hand else {}
    rows = rows_of("sides", lambda good, number: {}, sides=START)
    rows = [{**row, **write(side, number)} for number, (row, side) in enumerate(zip(rows, START, strict=True))]
    error = refusal(rows, columns={"label": label, **hand})
    assert label in error.message and "lower numbers may be better" in error.message
    assert "--data.columns.label" not in error.hint and "module:function" in error.hint


def test_a_measure_in_the_same_object_as_the_number():
    def rows(name):
        return rows_of("answers", lambda good, number: {"score": {"name": name, "value": 9 if good else 1}})

    assert "answers.score.name may say" in refusal(rows("loss")).message
    check(rows("quality"), SIDES)


@pytest.mark.parametrize(
    "more", [{"metric": "helpfulness"}, {"type": "toxicity"}, {"rating_scale": "1-5"}, {"model_type": "loss"}]
)
@pytest.mark.parametrize("form", ["answers", "sides"])
def test_other_measures_and_columns_about_the_rows_are_no_reason_to_stop(more, form):
    check(rows_of(form, lambda good, number: {"score": 9 if good else 1}, lambda number: more), SIDES)


NO_RANKS = [("good", "bad"), (True, False), ("8/10", "3/10"), ("win", "loss"), ("yes", "no"), ("A", "C")]


@pytest.mark.parametrize("form", ["answers", "sides", "list"])
@pytest.mark.parametrize("words", NO_RANKS)
@pytest.mark.parametrize("name", ["rank", "human_rank"])
def test_words_truth_values_and_ratings_are_no_ranks(form, words, name):
    rows = rows_of(form, lambda good, number: {name: words[0] if good else words[1]})
    refusal(rows)
    if form != "answers":
        error = refusal(rows, columns={"chosen": "response_a", "rejected": "response_b"})
        assert name in error.message and "--data.columns.label" not in error.hint


@pytest.mark.parametrize("ranks", [(1, 2), ("1", "2"), (1.0, 2.5), (0, 1)])
def test_numbers_under_rank_are_ranks(ranks):
    check(rows_of("sides", lambda good, number: {"rank": ranks[0] if good else ranks[1]}), SIDES)


SECOND = {
    "ranks": lambda side: [1 + side, 2 - side],
    "scores": lambda side: [5 - 4 * side, 1 + 4 * side],
    "correct": lambda side: [side == 0, side == 1],
}


@pytest.mark.parametrize("name", SECOND)
@pytest.mark.parametrize("form", ["answers", "completions"])
@pytest.mark.parametrize("key", ["score", "rank"])
def test_a_list_beside_numbers_inside_answers_is_compared(name, form, key):
    def rows(turned):
        def numbers(good, number):
            return {"score": 9 if good else 2} if key == "score" else {"rank": 1 if good else 2}

        return rows_of(form, numbers, lambda number: {name: SECOND[name](SIDES[number] ^ turned)})

    reading = check(rows(0), SIDES)
    assert f"not read as the label: {name}" in reading.describe()
    error = refusal(rows(1))
    assert name in error.message and f"{form}.*.{key}" in error.message
    # Both printed options read the rows by the number that is left.
    for option, wanted in ((name, GOOD), (f"{form}.{key}", BAD)):
        assert f"--data.ignore {option}" in error.hint
        if form == "answers" or option == name:
            _, results = read(rows(1), ignore=option)
            assert {result.responses[result.judgments[0].better].text for result in results} == {wanted}


def test_truth_values_contradict_scores_in_no_row():
    def rows(odd):
        return rows_of(
            "list",
            lambda good, number: {"scores": 9 if good else 2, "correct": good != (number in odd)},
            sides=START,
        )

    check(rows(()), START)
    for odd in ((3,), (23,)):
        assert "scores and correct say the opposite of some pairs" in refusal(rows(odd)).message


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        (lambda good, number: {"rank": 1 if good else 2}, "better <- completions.rank, the lowest is best"),
        (lambda good, number: {"score": 2 if good else 1}, "better <- completions.score, the highest is best"),
        (
            lambda good, number: {"score": 2 if good else 1, **({"rank": 1 if good else 2} if number % 2 else {})},
            "better <- completions.rank, the lowest is best or completions.score, the highest is best",
        ),
    ],
)
def test_the_direction_of_completions_is_said(numbers, said):
    assert check(rows_of("completions", numbers), SIDES).describe() == said


LOWEST = ["1 is best", "1 = best, 3 = worst", "best = 1, worst = 3", "1 (best) to 3 (worst)", "lower is better"]
HIGHEST = ["3 is best", "3 = best, 1 = worst", "best: 3, worst: 1", "1 (worst) to 3 (best)", "Higher is better"]


@given(
    st.sampled_from([*LOWEST, *HIGHEST]),
    st.sampled_from(["rank_note", "rating_scale", "scale", "notes", "score_legend"]),
    st.sampled_from(["answers", "completions"]),
    st.sampled_from(["rank", "score"]),
    st.sampled_from(["inside", "beside"]),
    st.booleans(),
)
def test_a_note_about_the_best_number_agrees_with_the_reading_or_stops_the_load(note, name, form, key, where, late):
    def number(good, n):
        return {key: (1 if key == "rank" else 3) if good else 2, **({name: note} if where == "inside" else {})}

    rows = rows_of(form, number, (lambda n: {name: note}) if where == "beside" else lambda n: {}, START)
    if late:
        rows = [*rows_of(form, lambda good, n: {key: (1 if key == "rank" else 3) if good else 2}, sides=START), *rows]
    if (note in LOWEST) == (key == "rank"):
        assert len(read(rows)[1]) == len(rows)
        return
    other = "higher" if key == "rank" else "lower"
    with pytest.raises(DataError, match=f"{name} may say that {other} numbers are better in {form}.*{key}") as caught:
        read(rows)
    assert f"--data.ignore {f'{form}.' if where == 'inside' else ''}{name}" in caught.value.hint
