"""Numbers of which the lowest may be the best: ranks under persons' names, school marks, counts of errors."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bradley.errors import DataError
from bradley.records import Comparison
from tests.data.labelled_rows import BAD, GOOD, read

ROWS = 24
COUNTED = ["errors", "num_errors", "n_mistakes", "error_count", "number_of_typos", "violations", "total_flaws"]


def refused(rows, **settings):
    with pytest.raises(DataError) as caught:
        read(rows, **settings)
    return caught.value


def two(more, draw):
    """Rows of two answers with a number of each."""
    return [
        {"prompt": f"q {n}?", "response_a": f"{GOOD} {n}", "response_b": f"{BAD} {n}"}
        | {f"{more}_a": draw(), f"{more}_b": draw()}
        for n in range(ROWS)
    ]


@given(
    count=st.integers(2, 5),
    first=st.sampled_from(["Anna", "ben_k", "Clara M", "kqz"]),
    seed=st.integers(0, 99),
    whole=st.booleans(),
    gap=st.booleans(),
)
def test_permutations_under_a_persons_name_are_no_scores_though_the_user_names_them(count, first, seed, whole, gap):
    draw = random.Random(seed)
    rows = []
    for n in range(ROWS):
        ranks = [rank + (0 if whole else n % 3) for rank in draw.sample(range(1, count + 1), count)]
        ranks = [None] * count if gap and n == 2 else ranks
        row = {"prompt": f"q {n}?", **{f"Answer {place + 1}": f"{GOOD} {n} {place}" for place in range(count)}}
        row |= {f"{first} {place + 1}": ranks[place] for place in range(count)}
        row |= {f"Otto {place + 1}": draw.randint(1, 9) for place in range(count)}
        rows.append(row)
    columns = {"label": f"{first} 1"}
    if whole:
        error = refused(rows, columns=columns)
        assert f"permutation of 1 to {count}: probably ranks" in error.message and "columns" not in error.hint
        assert "Otto" in error.message
    else:
        reading, _ = read(rows, columns=columns)
        assert "the highest is best" in reading.rule and "Otto" in reading.beside


@given(
    scale=st.sampled_from([(1, 5), (1, 6), (1, 4)]),
    seed=st.integers(0, 99),
    shape=st.sampled_from(["sides", "list", "objects"]),
    half=st.booleans(),
)
def test_school_marks_are_read_only_as_the_user_says(scale, seed, shape, half):
    draw = random.Random(seed)

    def number():
        return max(1, draw.randint(*scale) - (0.3 if half else 0))

    if shape == "sides":
        rows, name = two("grade", number), "grade_a"
    else:
        texts = [[f"{GOOD} {n}", f"{BAD} {n}", f"Third {BAD} {n}"] for n in range(ROWS)]
        rows, name = [{"prompt": f"q {n}?", "candidates": texts[n]} for n in range(ROWS)], "grades"
        for row in rows:
            marks = [number() for _ in range(3)]
            entries = [{"text": text, "grade": one} for text, one in zip(row["candidates"], marks, strict=True)]
            row |= {"candidates": entries} if shape == "objects" else {"grades": marks}
    error = refused(rows)
    assert "grade" in error.message
    if shape == "objects":
        assert "--data.columns" not in error.hint
        return
    assert "lower numbers may be better" in error.message
    assert f"if the highest number is the best: --data.columns.label {name}" in error.hint
    assert "the highest is best" in read(rows, columns={"label": name})[0].rule


@pytest.mark.parametrize("scale", [(0, 100), (0, 15), (1, 10), (0, 4)])
def test_a_grade_beyond_the_marks_of_schools_is_a_score(scale):
    draw = random.Random(1)
    numbers = iter([*scale, *(draw.randint(*scale) for _ in range(2 * ROWS))])
    assert "the highest is best" in read(two("grade", lambda: next(numbers)))[0].rule


@given(st.sampled_from(COUNTED), st.integers(0, 99))
def test_counts_of_errors_may_be_the_label_and_no_answer_is_called_the_better(name, seed):
    draw = random.Random(seed)
    rows = two(name, lambda: draw.randint(0, 7))
    error = refused(rows)
    both = f"{name}_a, {name}_b"
    assert f"{both} may be the label, and lower numbers may be better" in error.message
    assert "--data.columns" not in error.hint
    by_hand = refused(rows, columns={"chosen": "response_a", "rejected": "response_b"})
    assert name in by_hand.message and "--data.columns" not in by_hand.hint


@pytest.mark.parametrize("name", ["Best", "winner", "is_chosen"])
@pytest.mark.parametrize("empty", ["", None])
def test_a_mark_in_some_rows_may_be_the_label(name, empty):
    rows = [
        {"prompt": f"q {n}?", "response_a": f"{GOOD} {n}", "response_b": f"{BAD} {n}", name: "x" if n % 2 else empty}
        for n in range(ROWS)
    ]
    error = refused(rows)
    assert f"{name} may be the label" in error.message and "--data.columns" not in error.hint


def test_scores_beside_counts_of_errors_are_read():
    draw = random.Random(2)
    rows = [
        row | {"score_a": draw.randint(1, 9), "score_b": draw.randint(1, 9)}
        for row in two("num_errors", lambda: draw.randint(0, 5))
    ]
    reading, results = read(rows)
    assert "score_a, score_b, the highest is best" in reading.rule
    assert "num_errors_a, num_errors_b" in reading.beside
    assert any(isinstance(result, Comparison) for result in results)
