"""Weights of annotations, strengths and weights of 0, and 0 and 1 that may be truth values or places."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bradley.errors import DataError
from bradley.records import Comparison
from tests.data.labelled_rows import BAD, GOOD, read

SIDES = [0, 1, 1, 0, 0, 1, 0, 1] * 3


def pairs(write, names=("response_a", "response_b")):
    return [
        {"prompt": f"q {number}?", names[side]: GOOD, names[1 - side]: BAD, **write(side, number)}
        for number, side in enumerate(SIDES)
    ]


def refusal(rows, **more):
    with pytest.raises(DataError) as caught:
        read(rows, **more)
    return caught.value


def better(results):
    return [result.responses[result.judgments[0].better].text for result in results if isinstance(result, Comparison)]


def multipref(side, number, entries):
    words = ["A-is-clearly-better", "B-is-clearly-better"]
    told = [{"overall_pref": words[entry.pop("choice") == "B"], **entry} for entry in entries]
    return {"text": f"q {number}?", "normal_worker_annotations": told, "expert_worker_annotations": []}


HAND = {"columns": {"chosen": "response_a", "rejected": "response_b"}}


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from(["trust", "weight", "weights", "reliability", "worker.trust", "annotator_weight"]),
    st.sampled_from(["annotations", "by hand", "multipref"]),
    st.sampled_from([0, 21]),
)
def test_annotations_of_different_weights_stop_the_load(name, form, start):
    outer, _, inner = name.rpartition(".")

    def write(differ):
        def entries(side, number):
            told = [{"choice": "AB"[side]}, {"choice": "BA"[side]}, {"choice": "BA"[side]}]
            for entry, weight in zip(told, (0.9, 0.1, 0.1) if differ and number >= start else (0.5,) * 3, strict=True):
                (entry.setdefault(outer, {}) if outer else entry)[inner] = weight
            return multipref(side, number, told) if form == "multipref" else {"annotations": told}

        return entries

    names = ("completion_a", "completion_b") if form == "multipref" else ("response_a", "response_b")
    column = ("normal_worker_annotations." if form == "multipref" else "annotations.") + name
    more = HAND if form == "by hand" else {}
    error = refusal(pairs(write(True), names), **more)
    assert f"{column} gives annotations different weights" in error.message
    assert f"--data.ignore {column}" in error.hint
    # Left out on purpose, and with equal weights, every annotation is one vote.
    assert better(read(pairs(write(True), names), ignore=column, **more)[1]) == [BAD] * len(SIDES)
    assert better(read(pairs(write(False), names), **more)[1]) == [BAD] * len(SIDES)


@pytest.mark.parametrize("format", ["helpsteer2", "helpsteer3"])
@pytest.mark.parametrize("ties", ["skip", "tie"])
@pytest.mark.parametrize("first", [0, 20])
def test_a_winner_beside_a_strength_of_0_stops_the_load(format, ties, first):
    def rows(winner):
        names, key = {
            "helpsteer2": (("response_1", "response_2"), "preference_strength"),
            "helpsteer3": (("response1", "response2"), "overall_preference"),
        }[format]
        found = pairs(lambda side, number: {key: 0 if number > first and number % 3 == 0 else 2 * side - 1}, names)
        for row, side in zip(found, SIDES, strict=True):
            row["winner"] = winner(side, row[key])
            row["context"] = [{"role": "user", "content": row.pop("prompt")}]
            row |= {} if format == "helpsteer3" else {"prompt": row.pop("context")[0]["content"]}
        return found

    error = refusal(rows(lambda side, strength: side + 1), equal_scores=ties)
    assert "winner may be a label, and contradicts" in error.message and "--data.ignore winner" in error.hint
    results = read(rows(lambda side, strength: side + 1 if strength else "tie"), equal_scores=ties)[1]
    assert sum(isinstance(result, Comparison) for result in results) == (
        24 if ties == "tie" else len(SIDES) - 7 + first // 3
    )


def test_a_weight_of_0_is_counted_as_such():
    rows = pairs(lambda side, number: {"winner": "AB"[side], "strength": number % 3})
    _, results = read(rows, columns={"weight": "strength"})
    assert {result.detail for result in results if not isinstance(result, Comparison)} == {"weight 0"}
    assert better(results) == [GOOD] * 16


def three(name, told, count=24, names=True):
    rows = []
    for number in range(count):
        texts = [GOOD if place == number % 3 else f"{BAD} {place}" for place in range(3)]
        answers = {f"response_{'abc'[place]}": text for place, text in enumerate(texts)}
        rows.append({"prompt": f"q {number}?", **(answers if names else {"answers": texts}), name: told(number)})
    return rows


PLACED = ["labels", "label", "votes", "annotations"]


@given(
    st.sampled_from(PLACED),
    st.lists(st.lists(st.sampled_from([0, 1]), min_size=3, max_size=3), min_size=2, max_size=9),
    st.booleans(),
    st.sampled_from([int, float]),
)
def test_0_and_1_of_three_annotators_are_no_truth_values(name, votes, wanted, kind):
    # Three annotators choose the first or the second of three answers, and the third one is never chosen.
    votes = [[1, 1, 0], *votes]
    rows = three(name, lambda number: list(map(kind, votes[number % len(votes)])))
    error = refusal(rows, **({"columns": {"label": name}} if wanted else {}))
    assert f"{name} holds a number for each answer, or of each annotator" in error.message


@pytest.mark.parametrize("name", PLACED)
def test_truth_values_of_three_answers_are_read(name):
    forms = {
        "one of each": (lambda number: [int(place == number % 3) for place in range(3)], 24),
        "truth values": (lambda number: [place == number % 3 or number % 2 == 1 for place in range(3)], 24),
        "many rows": (lambda number: [int(place == number % 3 or place < number % 2) for place in range(3)], 240),
    }
    for told, count in forms.values():
        _, results = read(three(name, told, count))
        assert set(better(results)) <= {GOOD, f"{BAD} 0"} and better(results).count(GOOD) > count // 3
    # Under the name of what is right, 0 and 1 are truth values of any number of answers.
    _, results = read(three("is_correct", forms["many rows"][0]))
    assert isinstance(results[0], Comparison)


def test_a_later_row_takes_truth_values_of_a_few_rows_back():
    rows = three("labels", lambda number: [int(place == number % 3) for place in range(3)], 6)
    later = [{**row, "labels": None} for row in three("labels", lambda number: [1, 0, 0], 30)[6:]]
    assert len(better(read([*rows, *later])[1])) == 6
    later[-1]["labels"] = [1, 1, 0]
    assert "row 30" in refusal([*rows, *later]).message


def plain(number):
    return {"prompt": f"q {number}?"}


JUDGED = {
    "scores": lambda side, number: {"score_a": 5 - 3 * side, "score_b": 2 + 3 * side},
    "votes": lambda side, number: {"votes_a": 5 - 4 * side, "votes_b": 1 + 4 * side},
    "a list of votes": lambda side, number: {"votes": ["ab"[side]] * 2 + ["tie"]},
    "annotations": lambda side, number: {"annotations": [{"choice": "AB"[side]}] * 2},
    "a label": lambda side, number: {"winner": "ab"[side]},
}
ALONE = {
    "truth": lambda number: {"answers": [{"text": GOOD, "chosen": True}, {"text": BAD, "chosen": False}]},
    "a list of scores": lambda number: {"answers": [GOOD, BAD, f"{BAD} {number}"], "scores": [3, 2, 1]},
    "ranked": lambda number: {"completions": [{"content": GOOD, "score": 3}, {"content": BAD, "score": 1}]},
    "strengths": lambda number: {"response_1": GOOD, "response_2": BAD, "preference_strength": -1 - number % 2},
    "several": lambda number: {"chosen": GOOD, "rejected": [BAD, f"{BAD} {number}"]},
    "a pair": lambda number: {"chosen": GOOD, "rejected": BAD},
    "names": lambda number: {"good_answer": GOOD, "bad_answer": BAD},
}


@given(
    st.sampled_from([*JUDGED, *ALONE]),
    st.lists(st.sampled_from([0, 0.25, 1, 3, 1e3]), min_size=24, max_size=24),
    st.sampled_from(["weight", "weights", "sample_weight", "annotator_weight", "pair_weighting"]),
    st.sampled_from([{}, {"strength_as": "weight"}]),
)
def test_the_weight_of_a_row_weighs_every_judgment(form, weights, name, more):
    rows = pairs(JUDGED[form]) if form in JUDGED else [{**plain(n), **ALONE[form](n)} for n in range(24)]
    bare = read(rows, **more)[1]
    weights = [2, *weights[1:]]
    weighted = [{**row, name: weight} for row, weight in zip(rows, weights, strict=True)]
    if name != "weight" and len(set(weights)) > 1 and len(set(weights[:20])) > 1:
        error = refusal(weighted, **more)
        assert f"{name} may be the weight of a row" in error.message
        assert f"--data.columns.weight {name}" in error.hint
    columns = {} if name == "weight" else {"columns": {"weight": name}}
    results = read(weighted, **more, **columns)[1]
    for one, other, weight in zip(bare, results, weights, strict=True):
        if weight == 0:
            assert (other.reason, other.detail) == ("no_judgment", "weight 0")
            continue
        assert [(j.better, j.worse, j.probability) for j in other.judgments] == [
            (j.better, j.worse, j.probability) for j in one.judgments
        ]
        assert [j.weight for j in other.judgments] == pytest.approx([j.weight * weight for j in one.judgments])
        assert "weight" not in other.tags


@pytest.mark.parametrize("form", list(JUDGED))
@pytest.mark.parametrize("weight", ["heavy", "2", [1, 2], True, -1, 1e39, 1e-50])
def test_a_weight_that_is_no_number_is_a_fault(form, weight):
    rows = pairs(lambda side, number: {**JUDGED[form](side, number), "weight": weight})
    error = refusal(rows)
    assert "as weight" in error.message and error.hint
    if not isinstance(weight, float | int) or weight is True:
        assert "--data.ignore weight" in error.hint
        assert better(read(rows, ignore="weight")[1]) == [GOOD] * len(SIDES)
