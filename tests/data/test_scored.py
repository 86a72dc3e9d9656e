"""Scores that any tool wrote, matched with rows of data by id."""

import csv
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bradley.data.scored import read_comparisons, read_scores
from bradley.errors import DataError, UserError
from bradley.records import Judgment, ScoredComparison

COLUMNS = {"chosen": "a", "rejected": "b"}
ROWS = [
    {
        "id": f"r{i}",
        "prompt": f"Question {i // 2}?",
        "chosen": f"A long answer {i}.",
        "rejected": f"No {i}.",
        "topic": "xy"[i % 2],
    }
    for i in range(6)
]


def write(path, rows):
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".parquet":
        pandas = pytest.importorskip("pandas")
        pandas.DataFrame(rows).to_parquet(path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def data(tmp_path):
    return write(tmp_path / "data.jsonl", ROWS)


def scores_of(found):
    return {row.id: (row.scores[row.judgments[0].better], row.scores[row.judgments[0].worse]) for row in found.rows}


WANTED = {row["id"]: (i + 0.5, -float(i)) for i, row in enumerate(ROWS)}


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_a_pair_of_columns_is_matched_by_id_in_any_order(tmp_path, data, suffix):
    rows = [{"id": id, "a": a, "b": b} for id, (a, b) in WANTED.items()]
    random.Random(1).shuffle(rows)
    found = read_scores(write(tmp_path / f"s{suffix}", rows), data, columns=COLUMNS)
    assert scores_of(found) == WANTED
    assert [row.id for row in found.rows] == [row["id"] for row in ROWS]
    assert [c.id for c in found.comparisons] == [row["id"] for row in ROWS]
    assert found.length_unit == "words"
    assert found.rows[0].response_tokens == (5, 3)


@pytest.mark.parametrize("names", [("chosen", "rejected"), (0, 1)])
def test_a_row_for_each_response(tmp_path, data, names):
    rows = [
        {"id": id, "response": name, "score": s}
        for id, pair in WANTED.items()
        for name, s in zip(names, pair, strict=True)
    ]
    random.Random(2).shuffle(rows)
    assert scores_of(read_scores(write(tmp_path / "s.jsonl", rows), data)) == WANTED


def test_a_list_of_scores_beside_the_rows_as_bradley_score_writes(tmp_path):
    rows = [{**row, "scores": list(WANTED[row["id"]]), "tokens": [3, 2], "truncated": [False, False]} for row in ROWS]
    found = read_scores(write(tmp_path / "s.jsonl", rows))
    assert scores_of(found) == WANTED
    assert found.rows[0].tags == {"topic": "x"}


def test_scores_follow_the_answers_and_not_the_label(tmp_path):
    rows = [
        {
            "prompt": f"Is {i} odd?",
            "response_a": f"Yes {i}.",
            "response_b": f"No {i}.",
            "winner": "ab"[i % 2],
            "scores": [1.0, 2.0],
        }
        for i in range(8)
    ]
    found = read_scores(write(tmp_path / "s.jsonl", rows))
    by_text = {
        response.text: score
        for row, comparison in zip(found.rows, found.comparisons, strict=True)
        for response, score in zip(comparison.responses, row.scores, strict=True)
    }
    assert by_text == {f"{word} {i}.": score for i in range(8) for word, score in (("Yes", 1.0), ("No", 2.0))}
    assert [row.scores[row.judgments[0].better] for row in found.rows] == [1.0, 2.0] * 4


@pytest.mark.parametrize("names", [("score_chosen", "score_rejected"), ("chosen_reward", "rejected_reward")])
def test_known_names_need_no_columns_and_prompts_are_clusters(tmp_path, names):
    rows = [dict(zip(names, WANTED[row["id"]], strict=True)) | {"prompt": row["prompt"]} for row in ROWS]
    found = read_scores(write(tmp_path / "s.jsonl", rows))
    assert [row.scores for row in found.rows] == list(WANTED.values())
    assert len({row.prompt_key for row in found.rows}) == 3
    assert found.comparisons is None and "no texts" in found.notes[0]


def test_without_a_prompt_every_row_is_a_cluster_and_says_so(tmp_path):
    found = read_scores(write(tmp_path / "s.csv", [{"score_chosen": 1, "score_rejected": 2, "set": "x"}] * 3))
    assert len({row.prompt_key for row in found.rows}) == 3
    assert any("no column names the prompt" in note for note in found.notes)
    assert found.rows[0].tags == {"set": "x"}


def test_scored_rows_of_bradley_are_read_back(tmp_path, data):
    rows = read_scores(
        write(tmp_path / "s.jsonl", [{"id": i, "a": a, "b": b} for i, (a, b) in WANTED.items()]), data, columns=COLUMNS
    ).rows
    path = write(tmp_path / "rows.jsonl", [row.to_json() for row in rows])
    assert read_scores(path).rows == rows
    with_texts = read_scores(path, data)
    assert with_texts.rows == rows and len(with_texts.comparisons) == 6


def good():
    return [{"id": id, "a": a, "b": b} for id, (a, b) in WANTED.items()]


BROKEN = {
    "missing row": (lambda rows: rows[:-1], "1 of 6 comparisons have no score: r5"),
    "null": (lambda rows: [{**rows[0], "a": None}, *rows[1:]], "1 of 6 comparisons have no score: r0"),
    "nan": (lambda rows: [{**rows[0], "a": float("nan")}, *rows[1:]], "NaN is not a JSON number"),
    "text": (lambda rows: [{**rows[0], "a": "high"}, *rows[1:]], "row 1: found 'high' as a, wanted a number"),
    "infinite": (lambda rows: [{**rows[0], "a": 1e39}, *rows[1:]], "wanted a number between"),
    "truth value": (lambda rows: [{**rows[0], "a": True}, *rows[1:]], "wanted a number between"),
    "digits of another script": (lambda rows: [{**rows[0], "a": "１２"}, *rows[1:]], "wanted a number"),
    "underscore": (lambda rows: [{**rows[0], "a": "1_000"}, *rows[1:]], "wanted a number"),
    "twice": (lambda rows: [*rows, rows[0]], "row 7: the id r0 is scored twice"),
    "other ids": (lambda rows: [{**row, "id": row["id"] + "x"} for row in rows], "6 of 6 ids"),
    "no id": (lambda rows: [{key: row[key] for key in "ab"} for row in rows], "row 1: no id"),
    "further row": (lambda rows: [*rows, {"id": "new", "a": 1, "b": 2}], "1 of 7 ids"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_scores_that_do_not_fit_the_data_are_refused_with_a_hint(tmp_path, data, kind):
    change, said = BROKEN[kind]
    with pytest.raises(DataError) as refused:
        read_scores(write(tmp_path / "s.jsonl", change(good())), data, columns=COLUMNS)
    assert said in refused.value.message and refused.value.hint


@given(st.sets(st.integers(0, 5), max_size=5))
def test_comparisons_without_a_score_are_left_out_on_purpose_and_counted(tmp_path_factory, missing):
    folder = tmp_path_factory.mktemp("missing")
    rows = [row for i, row in enumerate(good()) if i not in missing]
    path, data = write(folder / "s.jsonl", rows), write(folder / "data.jsonl", ROWS)
    found = read_scores(path, data, columns=COLUMNS, skip_missing=True)
    assert len(found.rows) == len(found.comparisons) == 6 - len(missing)
    assert found.counts["rows"] - found.counts.get("left out: no score", 0) == len(found.rows)


@pytest.mark.parametrize(
    "columns, said",
    [
        ({"chosen": "a"}, "no scores of the rejected responses"),
        ({"chosen": "a", "rejected": "b", "score": "a"}, "in two ways"),
        ({"chosen": "a", "rejected": "z"}, "no column rejected=z"),
    ],
)
def test_contradictory_columns_are_refused(tmp_path, data, columns, said):
    with pytest.raises((UserError, DataError)) as refused:
        read_scores(write(tmp_path / "s.jsonl", good()), data, columns=columns)
    assert said in refused.value.message and refused.value.hint


def test_two_pairs_of_columns_are_asked_about(tmp_path):
    rows = [{"score_chosen": 1, "score_rejected": 2, "reward_chosen": 3, "reward_rejected": 4}]
    with pytest.raises(DataError) as refused:
        read_scores(write(tmp_path / "s.jsonl", rows))
    assert "--columns chosen=reward_chosen,rejected=reward_rejected" in refused.value.hint


def test_rows_that_are_no_comparison_are_counted(tmp_path):
    rows = [
        *ROWS,
        {"id": "same", "prompt": "Q?", "chosen": "x", "rejected": "x"},
        {"id": "void", "prompt": "Q?", "chosen": "", "rejected": "x"},
    ]
    comparisons, counts = read_comparisons(write(tmp_path / "data.jsonl", rows))
    assert counts["rows"] == 8
    assert len(comparisons) == 8 - sum(number for name, number in counts.items() if name != "rows")


@pytest.mark.parametrize("id", ["a\tb", "\u202ex", "naïve 你", "two words", 41, 41.0])
def test_any_id_is_matched(tmp_path, id):
    rows = [{**ROWS[0], "id": int(id) if isinstance(id, float) else id}, *ROWS[1:]]
    scores = [{"id": id, "a": 1.0, "b": 2.0}, *good()[1:]]
    found = read_scores(write(tmp_path / "s.jsonl", scores), write(tmp_path / "d.jsonl", rows), columns=COLUMNS)
    assert len(found.rows) == 6


def test_a_file_scored_twice_under_two_prefixes_and_with_probabilities(tmp_path):
    rows = [
        {
            **row,
            **{
                f"{p}{name}": value
                for p in ("a_", "b_")
                for name, value in (
                    ("scores", list(WANTED[row["id"]])),
                    ("tokens", [1, 2]),
                    ("truncated", [False, False]),
                    ("probabilities", [0.9, 0.1]),
                )
            },
        }
        for row in ROWS
    ]
    assert scores_of(read_scores(write(tmp_path / "s.jsonl", rows), columns={"scores": "b_scores"})) == WANTED
    with pytest.raises(DataError, match="2 columns could be the scores"):
        read_scores(write(tmp_path / "s.jsonl", rows))


def test_a_file_of_best_responses_is_named(tmp_path, data):
    rows = [
        {"id": f"r{i}", "best": 0, "response": "A long answer.", "score": 1.0, "tokens": 3, "truncated": False}
        for i in range(6)
    ]
    for source in ("", data):
        with pytest.raises(DataError) as refused:
            read_scores(write(tmp_path / "s.jsonl", rows), source)
        assert "--best-of" in refused.value.hint


def test_a_power_of_two_is_no_place(tmp_path, data):
    rows = [{"id": f"r{i}", "response": "²", "score": 1.0} for i in range(6)]
    with pytest.raises(DataError, match="score of response"):
        read_scores(write(tmp_path / "s.jsonl", rows), data)


@pytest.mark.parametrize("part", ["prompt", "chosen", "rejected"])
@pytest.mark.parametrize("kind", ["list", "pair"])
def test_texts_beside_the_scores_are_those_of_the_data(tmp_path, data, kind, part):
    """Scores of other texts under the same ids are refused, with an example; blanks and layouts are the same text."""
    given = [
        {"scores": [a, b]} if kind == "list" else {"chosen_score": a, "rejected_score": b} for a, b in WANTED.values()
    ]
    rows = [{**row, **scores} for row, scores in zip(ROWS, given, strict=True)]
    assert scores_of(read_scores(write(tmp_path / "same.jsonl", rows), data)) == WANTED
    blank = [{**row, part: f" {row[part]}\n"} for row in rows]
    assert scores_of(read_scores(write(tmp_path / "blank.jsonl", blank), data)) == WANTED
    rows[2][part] = "Something else altogether."
    with pytest.raises(DataError, match=f"row 3: id {ROWS[2]['id']} has other texts") as error:
        read_scores(write(tmp_path / "other.jsonl", rows), data)
    assert "Something else altogether." in error.value.hint and str(ROWS[2][part])[:9] in error.value.hint


def test_scores_follow_their_texts_into_rows_of_another_order(tmp_path):
    rows = [
        {
            "id": f"r{i}",
            "prompt": f"Is {i} odd?",
            "response_a": f"Yes {i}.",
            "response_b": f"No {i}.",
            "winner": "ab"[i % 2],
        }
        for i in range(8)
    ]
    turned = [
        {**row, "response_a": row["response_b"], "response_b": row["response_a"], "winner": "ba"[i % 2]}
        for i, row in enumerate(rows)
    ]
    data = write(tmp_path / "rows.jsonl", turned)
    alone = read_scores(write(tmp_path / "s.jsonl", [{**row, "scores": [1.0, 2.0]} for row in rows]))
    joined = read_scores(str(tmp_path / "s.jsonl"), data)
    assert scores_of(joined) == scores_of(alone) == {f"r{i}": (2.0, 1.0) if i % 2 else (1.0, 2.0) for i in range(8)}


@pytest.mark.parametrize("turned", [True, False])
def test_the_chosen_text_beside_a_score_is_the_chosen_text_of_the_data(tmp_path, turned):
    given = {"chosen": "good", "rejected": "bad"}
    data = write(tmp_path / "data.jsonl", [{"id": "q0", "prompt": "p", **given}])
    beside = {"chosen": "bad", "rejected": "good"} if turned else given
    row = {"id": "q0", "prompt": "p", **beside, "chosen_score": 0.0, "rejected_score": 1.0}
    scores = write(tmp_path / "scores.jsonl", [row])
    if turned:
        with pytest.raises(DataError, match="row 1: id q0 has the chosen and the rejected text of the data the other"):
            read_scores(scores, data)
    else:
        assert read_scores(scores, data).rows[0].scores == (0.0, 1.0)


def test_factors_beside_scores_that_nobody_reads_are_told(tmp_path):
    row = {"id": "q0", "chosen_score": 1.0, "rejected_score": 0.0, "scale": 0.25}
    notes = read_scores(write(tmp_path / "scores.jsonl", [row]), "").notes
    assert any("`scale` beside these scores" in note for note in notes)


def test_a_truth_value_is_no_factor(tmp_path):
    row = ScoredComparison("r0", "p", (1.0, 0.0), (0, 0), (0, 0), (False, False), (Judgment(0, 1),)).to_json()
    row |= {"beta": True}
    with pytest.raises(DataError, match="beta must be positive and finite"):
        read_scores(write(tmp_path / "rows.jsonl", [row]), "")
