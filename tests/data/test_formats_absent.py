"""Rows of three or more answers, some of which are null or blank: the others are used with their own numbers."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bradley.config import Data
from bradley.data.formats import choose_format, convert_rows
from bradley.data.load import load_splits
from bradley.data.rows import RowPlace
from bradley.errors import DataError
from bradley.records import Comparison, Rejected
from bradley.scoring.rows import parse
from tests.data.rows import one, replies


def read(rows, **more):
    place = RowPlace("x.jsonl", "x", settings=Data(**more))
    reading, numbered = choose_format(enumerate(rows, 1), place)
    return list(convert_rows(numbered, reading, place, set()))


def text(row, place):
    return f"This is answer {place} of row {row}."


def columns(texts, scores):
    return {f"response_{n}": t for n, t in enumerate(texts, 1)} | {f"score_{n}": s for n, s in enumerate(scores, 1)}


SHAPES = {
    "columns with scores": columns,
    "columns with a list": lambda texts, scores: {
        **{f"response_{n}": answer for n, answer in enumerate(texts, 1)},
        "scores": scores,
    },
    "lists": lambda texts, scores: {"answers": texts, "scores": scores},
    "objects": lambda texts, scores: {
        "answers": [{"text": answer, "score": score} for answer, score in zip(texts, scores, strict=True)]
    },
    "objects with messages": lambda texts, scores: {
        "answers": [
            {"completion": answer and [{"role": "assistant", "content": answer}], "score": score}
            for answer, score in zip(texts, scores, strict=True)
        ]
    },
    "nulls for objects": lambda texts, scores: {
        "answers": [
            {"text": answer, "score": score} if answer else None for answer, score in zip(texts, scores, strict=True)
        ]
    },
    "ranked": lambda texts, scores: {
        "prompt": "How?",
        "completions": [{"content": answer, "score": score} for answer, score in zip(texts, scores, strict=True)],
    },
}


@pytest.mark.parametrize("shape", sorted(SHAPES))
@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(["full", "null", "blank"]), min_size=3, max_size=5), st.data())
def test_the_answers_of_a_row_are_used_and_counted(shape, kinds, data):
    scores = data.draw(st.permutations([float(place) for place in range(1, len(kinds) + 1)]))
    clean = [[text(row, place) for place in range(len(kinds))] for row in range(3)]
    texts = [text(3, place) if kind == "full" else None if kind == "null" else " " for place, kind in enumerate(kinds)]
    # Without an answer there is no score, as in a table with an empty cell.
    given_scores = [score if kind == "full" else None for score, kind in zip(scores, kinds, strict=True)]
    rows = [{"question": f"How? {n}", **SHAPES[shape](answers, scores)} for n, answers in enumerate(clean)]
    rows.append({"question": "How? 3", **SHAPES[shape](texts, given_scores)})
    results = read([{k: v for k, v in row.items() if k != "question" or shape != "ranked"} for row in rows])
    kept = [place for place, kind in enumerate(kinds) if kind == "full"]
    if len(kept) < 2:
        assert isinstance(results[-1], Rejected) and results[-1].reason in ("one_response", "no_judgment")
        assert results[-1].reason == "one_response" or not kept
        return
    assert replies(results[-1]) == [text(3, place) for place in kept]
    won = {(kept[j.better], kept[j.worse]) for j in results[-1].judgments}
    assert won == {(a, b) for a, b in itertools.permutations(kept, 2) if scores[a] > scores[b]}


def best(label, *answers):
    return {"question": "How?", **{f"response_{n}": answer for n, answer in enumerate(answers, 1)}, "best": label}


CLEAN = [best(n, "The first of them.", "The second of them.", "The third of them.") for n in (1, 2, 3)]


@pytest.mark.parametrize("gap", [None, "", " \n"])
def test_a_choice_among_the_answers_that_are_there(gap):
    found = read([*CLEAN, best(1, "The first of them.", gap, "The third of them.")])[-1]
    assert replies(found) == ["The first of them.", "The third of them."]
    assert [(j.better, j.worse) for j in found.judgments] == [(0, 1)]


@pytest.mark.parametrize("gap", [None, "", " \n"])
def test_a_choice_of_an_answer_without_a_text_is_no_tie(gap):
    found = read([*CLEAN, best(2, "The first of them.", gap, "The third of them.")])[-1]
    assert (found.reason, found.detail) == ("unread_label", "best names an answer without a text")


def test_a_blank_answer_with_a_score_was_judged_and_stays():
    rows = [{"question": "How?", **columns([text(n, 1), text(n, 2), text(n, 3)], [1, 2, 3])} for n in range(3)]
    rows.append({"question": "How?", **columns([text(3, 1), "", text(3, 3)], [2, 1, 3])})
    assert replies(read(rows)[-1]) == [text(3, 1), "", text(3, 3)]


def test_an_answer_without_a_score_among_scores_is_counted_as_such():
    rows = [{"question": "How?", **columns([text(n, 1), text(n, 2), text(n, 3)], [1, 2, 3])} for n in range(3)]
    rows.append({"question": "How?", **columns([text(3, 1), text(3, 2), text(3, 3)], [2, None, 3])})
    assert (read(rows)[-1].reason, read(rows)[-1].detail) == (
        "missing_score",
        "no number for an answer in score_1, score_2, score_3",
    )


def test_an_answer_under_another_key_is_read_and_never_left_out():
    rows = [{"question": "How?", "answers": [{"text": text(n, k), "score": k} for k in range(3)]} for n in range(3)]
    rows[2]["answers"][1] = {"response": text(2, 1), "score": 1}
    assert replies(read(rows)[-1]) == [text(2, k) for k in range(3)]
    rows = [
        {"prompt": "How?", "completions": [{"content": text(n, k), "score": k} for k in range(3)]} for n in range(3)
    ]
    rows[2]["completions"][1] = {"response": text(2, 1), "score": 1}
    with pytest.raises(DataError, match="wanted the key content"):
        read(rows)


def test_nulls_among_the_lists_of_rewardbench_are_left_out():
    row = {"prompt": "How?", "chosen": ["So."], "rejected": ["No.", None, "Never."]}
    assert replies(one(row)) == ["So.", "No.", "Never."]
    with pytest.raises(DataError, match="a list of null"):
        one({**row, "rejected": [None]})


def test_two_answers_are_a_pair_of_which_none_is_left_out():
    row = {"question": "How?", "response_a": "So it is.", "response_b": None, "winner": "a"}
    with pytest.raises(DataError, match="no text in response_b"):
        one(row)
    assert replies(one({**row, "response_b": ""})) == ["So it is.", ""]


def test_the_report_says_how_many_were_left_out():
    rows = [{"question": f"How? {n}", **columns([text(n, k) for k in (1, 2, 3)], [1, 2, 3])} for n in range(6)]
    rows[4] |= {"response_2": None, "score_2": None}
    valid = [{"prompt": "v", "chosen": "x", "rejected": "y"}]
    account = load_splits(Data(train="-"), 0, train=rows, valid=valid).report["splits"]["train"]
    assert account["sources"][0]["absent_answers"] == 1 and account["comparisons"] == 6


def test_scores_keep_the_places_of_all_answers():
    found = parse({"prompt": "How?", "responses": ["So.", None, "No."]}, RowPlace("x", "x", 1))
    assert list(found.gaps) == [1] and len(found.given) == 3
    assert isinstance(one({"prompt": "p", "chosen": "a", "rejected": "b"}), Comparison)
