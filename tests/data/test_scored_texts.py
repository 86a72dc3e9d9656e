"""Scores matched by the texts beside them, where rows have no id of their own."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bradley.data.scored import read_scores, with_ids_of
from bradley.errors import DataError

KEYS = ("prompt", "chosen", "rejected")


def write(path, rows):
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def row_of(prompt, better, worse):
    return dict(zip(KEYS, (f"Question {prompt}?", f"Answer {better}.", f"Answer {worse}."), strict=True))


def score(row, part):
    """A score that depends on the texts alone, as that of a model."""
    return float(sum(map(ord, row["prompt"] + row[part])) % 97) + len(row[part]) / 100


def scored(row, kind="list", add=0.0):
    scores = [score(row, part) + add for part in ("chosen", "rejected")]
    if kind == "pair":
        return {**row, "chosen_score": scores[0], "rejected_score": scores[1]}
    return {**row, "scores": scores, "tokens": [3, 2], "truncated": [False, False]}


def margins(found):
    return [row.scores[row.judgments[0].better] - row.scores[row.judgments[0].worse] for row in found.rows]


# Few prompts and answers: texts repeat, and the same two answers are preferred in both orders.
TRIPLES = st.tuples(st.integers(0, 3), *[st.integers(0, 3)] * 2).filter(lambda one: one[1] != one[2])
ROWS = st.lists(TRIPLES, min_size=1, max_size=12)


@given(ROWS, st.sampled_from(["list", "pair"]), st.sampled_from(["", "id"]), st.randoms(use_true_random=False))
def test_texts_match_scores_and_rows_in_any_order(tmp_path_factory, triples, kind, id, random):
    folder = tmp_path_factory.mktemp("texts")
    own = {"id": 7} if id and len(triples) > 1 else {}
    rows = [{**row_of(*triple), **own} for triple in triples]
    data = write(folder / "data.jsonl", rows)
    mixed = random.sample(rows, len(rows))
    a = write(folder / "a.jsonl", [scored(row, kind) for row in mixed])
    b = write(folder / "b.jsonl", [scored(row, kind, 1.0) for row in rows])
    wanted = [score(row, "chosen") - score(row, "rejected") for row in rows]
    joined = read_scores(a, data)
    assert margins(joined) == pytest.approx(wanted)
    assert [row.id for row in joined.rows] == [row.id for row in read_scores(b, data).rows]
    first = read_scores(b)
    second = with_ids_of(read_scores(a), first, a, b)
    by_id = dict(zip([row.id for row in second.rows], margins(second), strict=True))
    assert [by_id[row.id] for row in first.rows] == pytest.approx(wanted)
    labels = {row.id: (row.prompt_key, row.judgments) for row in second.rows}
    assert labels == {row.id: (row.prompt_key, row.judgments) for row in first.rows}


def test_places_in_files_of_one_name_match_nothing(tmp_path):
    rows = [row_of(i, i, i + 1) for i in range(4)]
    a = read_scores(write(tmp_path / "x" / "s.jsonl", [scored(row) for row in rows]))
    path = write(tmp_path / "y" / "s.jsonl", [scored(row) for row in reversed(rows)])
    b = with_ids_of(read_scores(path), a, "b", "a")
    assert [row.id for row in b.rows] == ["s:4", "s:3", "s:2", "s:1"]
    other = read_scores(write(tmp_path / "z" / "s.jsonl", [scored(row_of(9, 1, 2))]))
    with pytest.raises(DataError, match="1 of 1 rows of b hold texts that a lacks: s:1"):
        with_ids_of(other, a, "b", "a")


def test_answers_in_another_order_take_their_scores_along(tmp_path):
    one = {"prompt": "Which?", "response_a": "Yes.", "response_b": "No."}
    two = {"prompt": "Which?", "response_a": "No.", "response_b": "Yes."}
    a = read_scores(write(tmp_path / "a.jsonl", [{**one, "winner": "b", "scores": [1.0, 2.0]}]))
    b = read_scores(write(tmp_path / "b.jsonl", [{**two, "winner": "a", "scores": [4.0, 3.0]}]))
    found = with_ids_of(b, a, "b", "a").rows[0]
    assert (found.scores, found.judgments, found.id) == ((3.0, 4.0), a.rows[0].judgments, "a:1")


def test_answers_without_labels_are_matched_with_judged_rows(tmp_path):
    rows = [row_of(i, i, i + 1) for i in range(4)]
    data = write(tmp_path / "data.jsonl", rows)
    asked = [{"prompt": row["prompt"], "responses": [row["rejected"], row["chosen"]]} for row in rows]
    given = [{**row, "scores": [0.5, float(i)]} for i, row in enumerate(asked)]
    found = read_scores(write(tmp_path / "s.jsonl", given[::-1]), data)
    assert margins(found) == [i - 0.5 for i in range(4)]


def test_equal_texts_with_other_scores_are_matched_in_order_or_refused(tmp_path):
    row, turned = row_of(1, 1, 2), row_of(1, 2, 1)
    data = write(tmp_path / "data.jsonl", [row, row])
    s = write(tmp_path / "s.jsonl", [scored(row), scored(row, add=1.0)])
    assert [one.scores[0] for one in read_scores(s, data).rows] == [score(row, "chosen"), score(row, "chosen") + 1]
    for rows in ([row, turned], [row, row, row], [row]):
        other = write(tmp_path / "other.jsonl", rows)
        with pytest.raises(DataError, match="2 rows of equal texts have other scores: s:1, s:2") as caught:
            read_scores(s, other)
        assert "an id of its own" in caught.value.hint


@pytest.mark.parametrize("fault", ["a text of no row", "a row without a score"])
def test_other_rows_are_refused(tmp_path, fault):
    rows = [row_of(i, i, i + 1) for i in range(4)]
    here, there = (rows[1:], rows) if fault == "a text of no row" else (rows, rows[1:])
    s = write(tmp_path / "s.jsonl", [scored(row) for row in there])
    said = "1 of 4 rows of .*s.jsonl hold texts that the data lacks: s:1" if here != rows else "1 of 4 .* no score: d:1"
    with pytest.raises(DataError, match=said):
        read_scores(s, write(tmp_path / "d.jsonl", here))


@pytest.mark.parametrize("kind", ["pair", "single"])
def test_an_id_that_repeats_in_the_data_is_told(tmp_path, kind):
    rows = [{**row_of(i, i, i + 1), "id": 61 if i else 3} for i in range(4)]
    data = write(tmp_path / "d.jsonl", rows)
    sides = ("chosen", "rejected")
    if kind == "pair":
        given = [{"id": row["id"], "chosen_score": 1.0, "rejected_score": 0.5} for row in rows]
    else:
        given = [{"id": row["id"], "response": side, "score": 1.0} for row in rows for side in sides]
    with pytest.raises(DataError, match="the data hold the id 61 in 3 rows") as caught:
        read_scores(write(tmp_path / "s.jsonl", given), data)
    assert "--rows" in caught.value.hint and "texts" in caught.value.hint


@pytest.mark.parametrize(
    "value, row",
    [
        ([1.0, 0.5], '{"id": "r0", "scores": ...}'),
        (0.5, '{"id": "r0", "score": ...}'),
        ({"id": 4, "chosen_score": 1.0, "b": 0.5}, '{"id": "r0", "chosen_score": ..., "b": ...}'),
    ],
)
def test_an_object_keyed_by_id_is_told_how_a_row_looks(tmp_path, value, row):
    path = tmp_path / "s.json"
    path.write_text(json.dumps({"r0": value, "r1": value}))
    with pytest.raises(DataError, match="a list of objects") as caught:
        read_scores(str(path))
    assert caught.value.hint == f"if the keys are ids, write a list with the id in every row: [{row}, ...]"


@pytest.mark.parametrize("turned", [False, True])
def test_ids_of_one_file_alone_are_matched_by_texts_and_ids_of_both_by_id(tmp_path, turned):
    rows = [row_of(i, i, i + 1) for i in range(3)]
    named = [scored({**row, "id": f"q{i}"}) for i, row in enumerate(rows)]
    a = read_scores(write(tmp_path / "a.jsonl", named))
    b = read_scores(write(tmp_path / "b.jsonl", [scored(row) for row in rows]))
    one, first = (a, b) if turned else (b, a)
    assert [row.id for row in with_ids_of(one, first, "one", "first").rows] == [row.id for row in first.rows]
    # Another tool may write other texts under the same ids.
    other = [{**row, "chosen": "In short: " + row["chosen"]} for row in named]
    both = read_scores(write(tmp_path / "c.jsonl", other))
    assert with_ids_of(both, a, "c", "a") is both


def test_ids_that_rows_of_an_evaluation_have_are_no_repeated_ids(tmp_path):
    rows = [{**row_of(i, i, i + 1), "id": 61} for i in range(3)]
    data = write(tmp_path / "d.jsonl", rows)
    given = [
        {"id": id, "response": side, "score": score(row, side)}
        for id, row in zip(("61", "d:2", "d:3"), rows, strict=True)
        for side in KEYS[1:]
    ]
    wanted = [score(row, "chosen") - score(row, "rejected") for row in rows]
    assert margins(read_scores(write(tmp_path / "s.jsonl", given[::-1]), data)) == pytest.approx(wanted)
    lacking = write(tmp_path / "t.jsonl", [*given, {"response": "chosen", "score": 1.0}])
    with pytest.raises(DataError, match="row 7: no id"):
        read_scores(lacking, data)
