"""Words for yes and no under the name of a flag, in any language: one set, and anything else stops the load."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bradley.data.formats.words import EMPTY, FALSE, TRUE, truth_in
from bradley.errors import DataError
from tests.data.labelled_rows import BAD, GOOD, check, read, sided

VALUES = [0, 1, 1, 0, 1, 0] * 4
TAKES_BACK = ["is_deleted", "invalid", "flagged", "swapped", "flipped", "answers_were_switched"]
NAMES = ["response_a", "response_b"]


def winner(row, side, names):
    row["winner"] = "AB"[side or 0]


def beside(kind, values, **more):
    """Rows with a label, or with a chosen and a rejected answer, and columns beside: a function of the row's number."""
    if kind == "a label":
        rows = sided(values, winner, NAMES)
    else:
        rows = [{"prompt": f"How do I keep box {n} dry?", "chosen": GOOD, "rejected": BAD} for n in range(len(values))]
    return [{**row, **{key: value(n) for key, value in more.items()}} for n, row in enumerate(rows)]


@given(st.data(), st.sampled_from(["a label", "names"]), st.sampled_from([str.lower, str.upper, str.title]))
def test_a_flag_means_the_same_in_every_writing(data, kind, case):
    yes, no = (data.draw(st.sampled_from(sorted(words))) for words in (TRUE, FALSE | EMPTY))
    name = data.draw(st.sampled_from([*TAKES_BACK, "is_valid", "tie"]))
    # A valid row counts, and an empty cell says nothing of the row.
    said = (yes, no) if name != "is_valid" else (data.draw(st.sampled_from(sorted(FALSE))), yes)
    fine = beside(kind, VALUES, **{name: lambda n: case(said[1])})
    if truth_in(said[1]) is not None:
        check(fine, VALUES) if kind == "a label" else read(fine)
    rows = beside(kind, VALUES, **{name: lambda n: case(said[n % 3 != 0])})
    if kind == "a label" and name == "tie":
        check(rows, [None if n % 3 == 0 else side for n, side in enumerate(VALUES)])
        return
    with pytest.raises(DataError, match=name) as caught:
        read(rows)
    assert f"--data.ignore {name}" in caught.value.hint


@pytest.mark.parametrize("word", ["maybe", "A", 2, "partly", "see notes"])
@pytest.mark.parametrize("name", [*TAKES_BACK, "is_valid", "tie", "no_preference", "chosen_is_correct"])
@pytest.mark.parametrize("kind", ["a label", "names"])
def test_a_flag_that_is_neither_yes_nor_no_stops_the_load(word, name, kind):
    if kind == "a label" and "chosen" in name:
        return
    good = "yes" if "chosen" in name or ("valid" in name and name != "invalid") else "no"
    for late in (False, True):
        rows = beside(kind, VALUES, **{name: lambda n, late=late: word if n == 22 or (not late and n == 3) else good})
        with pytest.raises(DataError, match=name) as caught:
            read(rows)
        assert late is False or "row 23" in str(caught.value)


@pytest.mark.parametrize("word", ["equal", "both", "draw", "same", "A tie", "no difference", "about the same"])
@pytest.mark.parametrize("name", ["tie", "is_draw"])
def test_words_for_a_tie_under_the_name_of_ties(word, name):
    tied = {name: lambda n: word if n % 3 == 0 else "no"}
    check(beside("a label", VALUES, **tied), [None if n % 3 == 0 else side for n, side in enumerate(VALUES)])
    with pytest.raises(DataError, match=f"{name} says that rows are ties"):
        read(beside("names", VALUES, **tied))
    check(beside("a label", VALUES, **{name: lambda n: "not a tie"}), VALUES)


@pytest.mark.parametrize("name", ["both", "same_model", "verified_by", "passed", "draw_style"])
def test_other_names_may_hold_other_words(name):
    check(beside("a label", VALUES, **{name: lambda n: f"{n} words"}), VALUES)
    read(beside("names", VALUES, **{name: lambda n: f"{n} words"}))


STRENGTHS = ["strength", "degree", "magnitude", "confidence", "gap", "how_much", "how_much_better"]


@given(
    st.sampled_from([*STRENGTHS, "preference_intensity", "info.preference_strength"]),
    st.sampled_from(["about the same", "Equal", "none", "negligible", "no difference", "indifferent", 0, 0.0]),
    st.sampled_from(["a label", "names"]),
    st.booleans(),
)
def test_a_strength_of_nothing_stops_the_load_beside_a_better_answer(name, word, kind, late):
    strong = 2 if isinstance(word, int | float) else "much"
    outer, _, last = name.rpartition(".")
    rows = beside(kind, VALUES)
    for n, row in enumerate(rows):
        (row.setdefault(outer, {}) if outer else row)[last] = word if n == (22 if late else 3) else strong
    with pytest.raises(DataError, match=last) as caught:
        read(rows)
    assert f"--data.ignore {name}" in caught.value.hint
    if kind == "a label":
        # A tie agrees with a strength of nothing.
        tied = [None if n == (22 if late else 3) else side for n, side in enumerate(VALUES)]
        for row, side in zip(rows, tied, strict=True):
            row["winner"] = "tie" if side is None else row["winner"]
        check(rows, tied)


@pytest.mark.parametrize("name", ["score_gap", "time_gap", "scale_factor_note", "rating_confidence"])
def test_numbers_of_nothing_under_other_names_say_nothing_of_the_judgment(name):
    for kind in ("a label", "names"):
        read(beside(kind, VALUES, **{name: lambda n: n % 3}))


@pytest.mark.parametrize("name", ["no_pref", "about_equal", "equivalent", "toss_up", "no_diff", "indistinct"])
def test_further_names_of_ties(name):
    tied = {name: lambda n: n % 3 == 0}
    check(beside("a label", VALUES, **tied), [None if n % 3 == 0 else side for n, side in enumerate(VALUES)])
    with pytest.raises(DataError, match=name):
        read(beside("names", VALUES, **tied))


ORDERS = [
    *(("AB", "BA"), ("a/b", "b/a"), ("A first", "B first"), ("response_1 first", "response_2 first")),
    *(("A=1,B=2", "A=2,B=1"), ("b first", "a first")),
]
ANY = ["layout", "arm", "condition", "variant", "config", "direction", "trial", "display", "x7"]
PLACED = {
    **dict.fromkeys(("permutation", "shuffle", "perm", "display_order"), ([0, 1], [1, 0])),
    **dict.fromkeys(("pair_order", "order_id", "position_a", "left", "side_map.A"), (1, 2)),
    **dict.fromkeys(("presentation_order", "randomized", "layout_permutation"), (0, 1)),
    **dict.fromkeys(("a_shown_first", "a_on_left", "left_is_a", "shuffled"), (True, False)),
    **dict.fromkeys(("first_shown", "mapping.A"), ("response_1", "response_2")),
}


@given(st.data(), st.integers(2, 4), st.sampled_from(["early", "late", "begins late"]))
def test_two_orders_of_the_answers_stop_the_load(data, every, when):
    name = data.draw(st.sampled_from([*ANY, *PLACED]))
    usual, other = PLACED[name] if name in PLACED else data.draw(st.sampled_from(ORDERS))
    outer, _, last = name.rpartition(".")
    usual = None if when == "begins late" and name not in PLACED and other in ("BA", "B first") else usual
    for seen in (True, False):
        rows = beside("a label", VALUES)
        for n, row in enumerate(rows):
            turned = seen and n % every == 0 and (when == "early" or n > 20)
            (row.setdefault(outer, {}) if outer else row)[last] = other if turned or (seen and n == 22) else usual
        if not seen:
            check(rows, VALUES)
            continue
        with pytest.raises(DataError, match=rf"{name} may say that the two answers were exchanged") as caught:
            read(rows)
        assert f"if the label names the answers as the columns do: --data.ignore {name}" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "values"),
    [("condition", ("A", "B")), ("turn_order", range(9)), ("shown", (True, False)), ("blood", ("AB", "0"))],
)
def test_columns_that_say_no_order_pass(name, values):
    check(beside("a label", VALUES, **{name: lambda n: values[n % len(values)]}), VALUES, ignore=[])


COUNTS = [("num_votes_{}", 1, 3), ("n_{}", 0, 2), ("{}_count", 4, 5), ("num_prefer_{}", 1, 2), ("num_raters_{}", 0, 1)]
SHARES = ["chosen_win_rate", "chosen_vote_share", "win_rate", "prob", "preference_probability"]
DIFFERENCES = ["reward_gap", "score_delta", "score_diff", "info.reward_margin"]


@given(st.data(), st.sampled_from([3, 22]))
def test_numbers_that_prefer_the_rejected_answer_stop_the_load(data, at):
    which = data.draw(st.sampled_from([*COUNTS, *SHARES, *DIFFERENCES]))
    if isinstance(which, tuple):
        name, low, high = which
        names = [name.format(side) for side in ("chosen", "rejected")]
        agrees, against = dict(zip(names, (high, low), strict=True)), dict(zip(names, (low, high), strict=True))
    else:
        names, (high, low) = [which.rpartition(".")[2]], (0.9, 0.1) if which in SHARES else (1.5, -1.5)
        agrees, against = {names[0]: high}, {names[0]: low}
    plain = beside("names", VALUES)
    assert len(read([row | agrees for row in plain])[1]) == len(VALUES)
    with pytest.raises(DataError, match=f"{' and '.join(names)} beside chosen and rejected") as caught:
        read([row | (against if n == at else agrees) for n, row in enumerate(plain)])
    assert f"--data.ignore {','.join(names)}" in caught.value.hint


@pytest.mark.parametrize(
    "name", ["length_diff", "token_delta", "delta", "rejected_count", "num_chosen_tokens", "model_p"]
)
def test_numbers_of_other_things_pass_beside_chosen(name):
    assert len(read(beside("names", VALUES, **{name: lambda n: n % 5 - 2}))[1]) == len(VALUES)


@given(
    st.lists(st.tuples(*[st.integers(0, 9)] * 3), min_size=6, max_size=12),
    st.sampled_from(["ties", "draws", "n_ties", "tie"]),
)
def test_a_vote_for_a_tie_is_half_a_vote_for_each(votes, name):
    # The columns are votes by their size, and tie counts are no flags.
    votes = [(7, 1, 4), (1, 6, 0), *votes]
    rows = sided([0] * len(votes), lambda row, side, names: None, NAMES)
    rows = [
        row | {"votes_a": first, "votes_b": second, name: tied}
        for row, (first, second, tied) in zip(rows, votes, strict=True)
    ]
    reading, results = read(rows, equal_scores="tie")
    assert name in reading.describe()
    for result, (first, second, tied) in zip(results, votes, strict=True):
        if first + second + tied == 0:
            continue
        (judgment,) = result.judgments
        share = (max(first, second) + tied / 2) / (first + second + tied)
        assert judgment.probability == pytest.approx(share)
        assert judgment.better == (second > first)


@pytest.mark.parametrize("name", ["probability", "prob", "info.p", "preference_probability"])
@pytest.mark.parametrize("at", [3, 22])
def test_a_probability_beside_a_label_is_not_lost(name, at):
    outer, _, last = name.rpartition(".")
    for some in (1.0, 0.6):
        rows = beside("a label", VALUES)
        for n, row in enumerate(rows):
            (row.setdefault(outer, {}) if outer else row)[last] = some if n == at else 1.0
        if some == 1.0:
            check(rows, VALUES)
            continue
        with pytest.raises(DataError, match=f"{name} beside winner may be the probability") as caught:
            read(rows)
        assert f"--data.ignore {name}" in caught.value.hint


@pytest.mark.parametrize("name", ["sample_weight", "loss_weight", "importance", "example_weights"])
@pytest.mark.parametrize("kind", ["a label", "names"])
def test_weights_under_another_name_are_not_lost(name, kind):
    check(beside("a label", VALUES, **{name: lambda n: 2.0}), VALUES)
    for start in (0, 22):
        rows = beside(kind, VALUES, **{name: lambda n, start=start: 0.5 if n >= start and n % 2 else 1.0})
        with pytest.raises(DataError, match=f"{name} may be the weight of a row") as caught:
            read(rows)
        assert f"--data.columns.weight {name}" in caught.value.hint
    weights = [result.judgments[0].weight for result in read(rows, columns={"weight": name})[1]]
    assert weights == [row[name] for row in rows]


def test_margin_and_weight_that_are_read_are_not_called_unread():
    rows = beside("a label", VALUES, margin=lambda n: 0.5, weight=lambda n: 1 + n % 2)
    reading, results = read(rows)
    assert "not read" not in reading.describe()
    assert [(one.judgments[0].margin, one.judgments[0].weight) for one in results[:2]] == [(0.5, 1.0), (0.5, 2.0)]


THROWN_OUT = [
    *(("status", "void", "submitted"), ("state", "superseded", "done"), ("status", "test", "done")),
    *(("approval", "denied", "granted"), ("review_status", "not approved", "approved"), ("reject_reason", "short", "")),
    *(("exclude_reason", "spam", None), ("drop_reason", "a copy", "none"), ("keep", False, True), ("use", "no", "yes")),
    *((name, True, False) for name in ("drop", "skip", "filtered_out", "bad", "failed_attention", "low_quality")),
    *(("retracted", 1, 0), ("incomplete", "yes", "no"), ("submitted", False, True)),
]


@given(st.sampled_from(THROWN_OUT), st.sampled_from(["a label", "names"]), st.booleans())
def test_rows_thrown_out_under_any_name_stop_the_load(case, kind, late):
    name, out, rest = case
    assert len(read(beside(kind, VALUES, **{name: lambda n: rest}))[1]) == len(VALUES)
    with pytest.raises(DataError, match=f"{name} may say that rows do not count") as caught:
        read(beside(kind, VALUES, **{name: lambda n: out if n == (22 if late else 3) else rest}))
    assert f"--data.ignore {name}" in caught.value.hint


@pytest.mark.parametrize(
    "name", ["use_case", "tool_use", "keep_alive", "rejected_reason", "skip_connection", "bad_words"]
)
def test_other_names_throw_no_row_out(name):
    for kind in ("a label", "names"):
        read(beside(kind, VALUES, **{name: lambda n: "no" if n % 3 else "yes"}))


@given(
    st.sampled_from(["criterion", "metric", "attribute", "rubric", "aspect", "info.dimension"]),
    st.sampled_from(["toxicity", "Harmfulness", "more harmful", "more toxic", "number of errors"]),
    st.sampled_from(["a label", "names"]),
)
def test_a_quality_that_is_a_fault_stops_the_load(name, quality, kind):
    outer, _, last = name.rpartition(".")
    for said in ("harmlessness", "helpfulness", "non-toxicity", "fewer errors", quality):
        rows = beside(kind, VALUES)
        for row in rows:
            (row.setdefault(outer, {}) if outer else row)[last] = said
        if said != quality:
            assert len(read(rows)[1]) == len(VALUES)
            continue
        with pytest.raises(DataError, match=f"{name} may ask for the worse answer"):
            read(rows)


OUT_NOTES = [
    "discard",
    "Discarded.",
    "spam",
    "invalid",
    "please ignore this row",
    "do not use",
    "to be removed",
    "\u4f5c\u5e9f",
]
TURNED_NOTES = ["labels were swapped here", "Answers swapped", "chosen and rejected flipped", "label is inverted"]
NOTE_NAMES = ["quality_flag", "flag", "notes", "comment", "annotator_remarks", "\u5907\u6ce8", "flags"]


@given(
    st.sampled_from(OUT_NOTES + TURNED_NOTES),
    st.sampled_from(NOTE_NAMES),
    st.sampled_from(["a label", "names"]),
    st.sampled_from([1, 22]),
    st.sampled_from(["few", "many", "none"]),
)
def test_flags_and_notes_that_take_a_row_back_stop_the_load(note, name, kind, place, others):
    other = {"few": lambda n: "ok", "many": lambda n: f"seen on day {n}", "none": lambda n: ""}[others]
    listed = [name] if name == "flags" else []

    def cell(n):
        return [note] if n == place and listed else note if n == place else [] if listed else other(n)

    with pytest.raises(DataError, match=f"{name} (may say that rows do not|(says|may say) that the two)") as caught:
        read(beside(kind, VALUES, **{name: cell}))
    assert "--data.ignore" in caught.value.hint and name in caught.value.hint
    read(beside(kind, VALUES, **{name: cell}), ignore=name)


@pytest.mark.parametrize("kind", ["a label", "names"])
def test_a_row_that_tests_the_annotator_stops_the_load(kind):
    with pytest.raises(DataError, match="is_test_question may say that rows do not count"):
        read(beside(kind, VALUES, is_test_question=lambda n: n % 5 == 0))
    read(beside(kind, VALUES, is_test_question=lambda n: False))


@pytest.mark.parametrize(
    "note", ["labels were not swapped", "spam mails are the topic", "B reversed a list", "ok", "fine"]
)
@pytest.mark.parametrize("kind", ["a label", "names"])
def test_other_notes_pass(note, kind):
    read(beside(kind, VALUES, notes=lambda n: note if n % 3 else f"seen on day {n}", tags=lambda n: ["spam"]))
