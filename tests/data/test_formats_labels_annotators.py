"""Annotations, votes and scores of several annotators: names for the worse answer, lists of two, and missing marks."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bradley.errors import DataError
from bradley.records import Comparison
from tests.data.labelled_rows import BAD, GOOD, read, sided

ANSWERS = ["response_a", "response_b"]
SIDES = st.lists(st.sampled_from([0, 1]), max_size=6).map(lambda sides: [0, 1, *sides])
ENTRIES = {
    "chosen": lambda side, names: {"chosen": names[side]},
    "winner": lambda side, names: {"value": {"winner": "AB"[side]}},
    "worse": lambda side, names: {"worse": names[1 - side]},
    "loser": lambda side, names: {"value": {"loser": "AB"[1 - side]}},
    "rejected": lambda side, names: {"by": "u1", "rejected": ["left", "right"][1 - side]},
    "both": lambda side, names: {"better": names[side], "worse": names[1 - side]},
    "not chosen": lambda side, names: {"not_chosen": names[1 - side]},
    "least liked": lambda side, names: {"least_liked": {"name": "x", "text": names[1 - side]}},
    "is worse": lambda side, names: {"side": names[1 - side], "is_worse": True},
    "is no winner": lambda side, names: {"side": names[1 - side], "is_better": False},
    "number": lambda side, names: {"side": names[1 - side], "preferred": 0},
    "ranked": lambda side, names: {"value": names[:: 1 - 2 * side]},
    "best to worst": lambda side, names: {"best_to_worst": names[:: 1 - 2 * side]},
    "worst first": lambda side, names: {"worst_first": names[:: 2 * side - 1]},
    "worst to best": lambda side, names: {"answer": {"worst_to_best": names[:: 2 * side - 1]}},
    "reversed": lambda side, names: {"reversed_ranking": names[:: 2 * side - 1]},
}
READ = ("chosen", "winner", "worse", "loser", "rejected", "both", "ranked", "best to worst")


def outcome(rows, sides, **more):
    """Return "refused", "read" for rows read rightly; fail for a row read the other way round."""
    try:
        reading, results = read(rows, **more)
    except DataError as error:
        assert "module:function" in error.hint
        return "refused"
    assert reading.format in ("labelled", "votes")
    for result, side in zip(results, sides, strict=True):
        if side is None:
            assert not isinstance(result, Comparison), result
        elif isinstance(result, Comparison):
            assert result.responses[result.judgments[0].better].text == GOOD
    return "read"


@given(
    SIDES,
    st.sampled_from(list(ENTRIES)),
    st.sampled_from(["annotations", "votes", "reviews", "info.judgments"]),
    st.integers(1, 3),
    st.booleans(),
)
def test_annotations_are_read_by_the_names_of_their_fields_or_refused(sides, entry, name, number, by_hand):
    def label(row, side, names):
        *outer, last = name.split(".")
        inner = row.setdefault(outer[0], {}) if outer else row
        inner[last] = [ENTRIES[entry](side, names) for _ in range(number)]

    columns = {"chosen": ANSWERS[0], "rejected": ANSWERS[1]} if by_hand else {}
    # Objects under `votes` beside these names have the shape of another format.
    rows = sided(sides, label, ANSWERS if name != "votes" else ["reply_a", "reply_b"])
    if name == "votes":
        columns = {key: value.replace("response", "reply") for key, value in columns.items()}
    found = outcome(rows, sides, columns=columns)
    assert found == ("read" if entry in READ else "refused")


def test_an_annotation_that_says_tie_is_a_tie():
    rows = sided([0, 1, 0], lambda row, side, names: row.update(annotations=[{"pick": "ab"[side]}]), ANSWERS)
    rows[2]["annotations"] = [{"pick": "a", "is_tie": True}]
    _, results = read(rows)
    assert [result.judgments[0].better for result in results[:2]] == [0, 1]
    assert results[2].reason == "no_judgment"


@given(
    SIDES,
    st.sampled_from(["worse", "loser", "rejected", "worst_answer", "info.lost", "not_preferred", "inferior_choice"]),
    st.sampled_from(["names", "letters", "models", "list"]),
    st.booleans(),
)
def test_a_label_for_the_worse_answer_is_turned_round_or_refused(sides, name, values, by_hand):
    def label(row, side, names):
        *outer, last = name.split(".")
        inner = row.setdefault(outer[0], {}) if outer else row
        row |= {"model_a": "kimi", "model_b": "claude"} if len(row["prompt"]) % 2 else {"model_a": "q", "model_b": "k"}
        worse = {"names": names[1 - side], "letters": "AB"[1 - side], "list": ["AB"[1 - side]] * 3}
        inner[last] = worse.get(values) or row[f"model_{'ba'[side]}"]

    columns = {"chosen": ANSWERS[0], "rejected": ANSWERS[1]} if by_hand else {}
    found = outcome(sided(sides, label, ANSWERS), sides, columns=columns)
    # A column called rejected would be lost beside an answer that the user calls so.
    clear = (
        values != "list" and name not in ("not_preferred", "inferior_choice") and (name, by_hand) != ("rejected", True)
    )
    assert found == ("read" if clear else "refused")


PAIRS = {
    "choices of annotators": lambda side, n: [side, side if n % 3 else 1 - side],
    "choices from 1": lambda side, n: [1 + side, 1 + side if n % 3 else 2 - side],
    "choices or a tie": lambda side, n: [1 + side, [1 + side, 0, 1 + side][n % 3]],
    "counts": lambda side, n: [4 - 3 * side, 1 + 3 * side],
    "counts of two": lambda side, n: [2 - 2 * side, 2 * side] if n % 3 else [1, 1],
    "one vote": lambda side, n: [1 - side, side],
}


@given(
    st.lists(st.sampled_from([0, 1]), max_size=9).map(lambda sides: [0, *sides]),
    st.sampled_from(list(PAIRS)),
    st.sampled_from(["votes", "vote_counts", "annotations", "human_votes"]),
    st.sampled_from([ANSWERS, ["reply_1", "reply_2"]]),
)
def test_two_numbers_are_choices_of_two_annotators_or_votes_for_two_answers(sides, kind, name, names):
    sides = [*sides, 0, 1]
    rows = sided(sides, lambda row, side, names: row.update({name: PAIRS[kind](side, len(row["prompt"]))}), names)
    for n, (row, side) in enumerate(zip(rows, sides, strict=True)):
        row[name] = PAIRS[kind](side, n)
    # A row with a vote for each side is a tie or left out, and never a win of the worse answer.
    split = {"choices": lambda value: len(set(value)) == 2, "counts of two": lambda value: value == [1, 1]}
    even = next((rule for start, rule in split.items() if kind.startswith(start)), lambda value: False)
    told = [None if even(row[name]) else side for row, side in zip(rows, sides, strict=True)]
    found = outcome(rows, told)
    if kind.startswith("choices") or len(rows) < 4:
        assert kind == "counts" or found == "refused"


def test_the_format_votes_is_named_for_choices_of_two_annotators():
    rows = sided([0, 1, 1], lambda row, side, names: row.update(votes=[side, side]), ANSWERS)
    with pytest.raises(DataError, match="votes holds two numbers in each row") as caught:
        read(rows)
    assert "0 for the first answer: --data.format votes" in caught.value.hint
    _, results = read(rows, format="votes")
    assert [result.judgments[0].better for result in results] == [0, 1, 1]
    _, results = read([*rows, {**rows[0], "votes": [0, 0, 1]}])
    assert [result.judgments[0].better for result in results] == [0, 1, 1, 0]
    with pytest.raises(DataError, match="row 5: found the vote 2"):
        read([*rows, {**rows[0], "votes": [0, 0, 1]}, {**rows[0], "votes": [2, 0]}])


MISSING = [-1, -1.0, -99, -999, 99, 99.0, 999, 9999, float("nan"), "nan", None, "NaN", "inf"]


@given(
    SIDES,
    st.sampled_from(MISSING),
    st.sampled_from(["score", "rating", "quality_score", "reward", "rank"]),
    st.sampled_from(["columns", "list", "objects", "completions"]),
    st.sampled_from([0, 30]),
    st.booleans(),
)
@example([0, 1, 0], 99, "score", "list", 0, False)
@example([0, 1, 0], -1, "score", "completions", 30, False)
@example([0, 1, 0], -1, "rank", "completions", 0, True)
def test_a_mark_of_a_missing_score_or_rank_is_no_number(sides, mark, name, form, late, second):
    name = "score" if form == "completions" and name != "rank" else name
    good, bad = (1.0, 2.0) if name == "rank" else (5.0, 2.0)
    sides = [0, 1] * (late // 2 or 2 * (form == "completions")) + sides
    rows = sided([*sides, 0], lambda row, side, names: None, ANSWERS)
    for n, (row, side) in enumerate(zip(rows, [*sides, 0], strict=True)):
        # The better answer of the last row has no score.
        values = [good, bad][:: 1 - 2 * side] if n < len(sides) else [good, mark] if second else [mark, bad]
        if form == "columns":
            row |= {f"{name}_a": values[0], f"{name}_b": values[1]}
        else:
            texts = [row.pop(answer) for answer in ANSWERS]
            outer, inner = ("completions", "content") if form == "completions" else ("answers", "text")
            row[outer] = (
                texts
                if form == "list"
                else [{inner: text, name: value} for text, value in zip(texts, values, strict=True)]
            )
            row |= {f"{name}s": values} if form == "list" else {}
    try:
        _, results = read(rows)
    except DataError as error:
        assert "--data.format module:function" in error.hint or "wanted a finite number" in error.message
        return
    assert not isinstance(results[-1], Comparison), results[-1].judgments
    for result in results[:-1]:
        assert result.responses[result.judgments[0].better].text == GOOD


@pytest.mark.parametrize(("name", "highest"), [("likes", 5), ("karma", 5), ("score", 100), ("points", 7)])
def test_99_of_counts_and_of_wide_scales_is_a_number(name, highest):
    sides = [0, 1] * 12
    rows = sided(sides, lambda row, side, names: None, ANSWERS)
    for n, (row, side) in enumerate(zip(rows, sides, strict=True)):
        row |= {f"{name}_{'ab'[side]}": 99 if n % 5 == 4 else highest, f"{name}_{'ab'[1 - side]}": 2}
    assert [result.judgments[0].better for result in read(rows)[1]] == sides


def test_scores_below_zero_stay_scores():
    rows = sided([0, 1] * 4, lambda row, side, names: None, ANSWERS)
    for n, (row, side) in enumerate(zip(rows, [0, 1] * 4, strict=True)):
        high, low = (-1.0, -2.5) if n % 2 else (1.5, -1.0)
        row |= {"score_a": low if side else high, "score_b": high if side else low}
    _, results = read(rows)
    assert [result.judgments[0].better for result in results] == [0, 1] * 4
    for row, side in zip(rows, [0, 1] * 4, strict=True):
        row |= {"score_a": -1 if side else 1, "score_b": 0}
    _, results = read(rows)
    assert [result.judgments[0].better for result in results] == [0, 1] * 4
    assert {BAD} == {result.responses[result.judgments[0].worse].text for result in results}


@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 3), st.sampled_from("AB")), min_size=1, max_size=5), min_size=1, max_size=8
    ),
    st.sampled_from(["annotator", "worker_id", "user_id", "Rater"]),
    st.booleans(),
)
@example([[(0, "A"), (0, "A"), (1, "B"), (2, "B")]], "annotator", False)
def test_an_annotator_has_one_vote(rows, key, number):
    def person(one):
        return one if number else f"u{one}"

    def told(entries):
        return [{"choice": side, key: person(one)} for one, side in entries]

    # The first rows show that the key names annotators.
    rows = [[(0, "A"), (1, "B"), (2, "A")], [(0, "B"), (1, "B"), (3, "A")]] * 5 + rows
    full = [{"prompt": f"q {n}?", "response_a": GOOD, "response_b": BAD, "labels": told(r)} for n, r in enumerate(rows)]
    differ = any(len(set(entries)) > len(dict(entries)) for entries in rows)
    if differ:
        with pytest.raises(DataError, match=f"two of one {key} that differ"):
            read(full)
        return
    for result, entries in zip(read(full)[1], rows, strict=True):
        first = [side for _, side in set(entries)].count("A") / len(set(entries))
        if first == 0.5:
            assert result.reason == "no_judgment"
        else:
            (judgment,) = result.judgments
            assert judgment.probability == pytest.approx(max(first, 1 - first))
            assert result.responses[judgment.better].text == (GOOD if first > 0.5 else BAD)


def test_two_annotations_of_one_annotator_that_differ_later_are_counted():
    entries = [{"choice": "A", "annotator": "u1"}, {"choice": "A", "annotator": "u2"}]
    rows = [{"prompt": f"q {n}?", "response_a": GOOD, "response_b": BAD, "labels": list(entries)} for n in range(30)]
    rows[29]["labels"] = [*entries, {"choice": "B", "annotator": "u1"}]
    assert read(rows)[1][29].reason == "unread_label"


def test_the_name_of_a_team_is_no_annotator():
    entries = [{"choice": side, "annotator": "team"} for side in "AAB"]
    rows = [{"prompt": f"q {n}?", "response_a": GOOD, "response_b": BAD, "labels": entries} for n in range(24)]
    assert all(result.judgments[0].probability == pytest.approx(2 / 3) for result in read(rows)[1])
