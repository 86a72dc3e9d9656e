"""Columns that put the judgments in doubt: unknown words, rows thrown out, questions for the worse, votes of raters."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bradley.errors import DataError
from tests.data.labelled_rows import BAD, GOOD, read

HAND = {"chosen": "response_a", "rejected": "response_b"}
SIDES = [0, 1, 1, 0, 1, 0, 0, 1, 1, 0, 0, 1] * 3
UNKNOWN = st.text(alphabet="kqzxj", min_size=4, max_size=9)
"""Names that no list of words holds."""
ANY_WORD = st.text(alphabet=st.characters(categories=["Ll", "Lo", "So"]), min_size=1, max_size=9)
"""Words in any writing."""


def two(more, label=True):
    """Rows of two answers; `more` is a function of the row's number and side."""
    rows = []
    for n, side in enumerate(SIDES):
        texts = (GOOD, BAD) if side == 0 else (BAD, GOOD)
        row = {"prompt": f"q {n}?", **dict(zip(("response_a", "response_b"), texts, strict=True))}
        rows.append({**row, **({"label": "AB"[side]} if label else {}), **more(n, side)})
    return rows


def pair(more):
    """Rows of a chosen and a rejected answer."""
    return [{"prompt": f"q {n}?", "chosen": GOOD, "rejected": BAD, **more(n, s)} for n, s in enumerate(SIDES)]


def transcripts(more):
    """The same rows as transcripts."""
    asked = "\n\nHuman: q?\n\nAssistant: {}"
    rows = [{key: value for key, value in row.items() if key != "prompt"} for row in pair(more)]
    return [row | {side: asked.format(row[side]) for side in ("chosen", "rejected")} for row in rows]


def scored(more):
    """Rows of two answers with scores."""
    return two(lambda n, s: {"score_a": 5 - 2 * s, "score_b": 3 + 2 * s, **more(n, s)}, label=False)


SHAPES = {
    "label": (two, {}),
    "scores": (scored, {}),
    "pair": (pair, {}),
    "transcripts": (transcripts, {}),
    "by hand": (lambda more: two(more, label=False), HAND),
}


def stops(rows, *names, columns=None):
    """The load stops and names the columns, prints how to leave them out, and reads all rows without them."""
    columns = columns or {}
    with pytest.raises(DataError, match=names[0]) as caught:
        read(rows, columns=columns, faulty="drop")
    assert "--data.ignore" in caught.value.hint or "module:function" in caught.value.hint
    assert len(read(rows, columns=columns, ignore=list(names))[1]) == len(rows)
    return caught.value


@given(
    UNKNOWN, st.lists(ANY_WORD, min_size=2, max_size=3, unique_by=str.lower), st.sampled_from([0, 24]), st.booleans()
)
def test_words_in_any_writing_beside_answers_named_by_hand_stop_the_load(name, told, start, mirrored):
    # The letter of an answer is no unknown word: the message then names the column of the other answer.
    assume(not {"a", "b"} & set(map(str.lower, told)))

    def more(n, side):
        if n < start:
            return {}
        first, second = told[side], told[1 - side]
        return {f"{name}_a": first, f"{name}_b": second} if mirrored else {name: told[n % len(told)]}

    names = (f"{name}_a", f"{name}_b") if mirrored else (name,)
    assert "--data.ignore" in stops(two(more, label=False), *names, columns=HAND).hint


@pytest.mark.parametrize(
    "more",
    [
        lambda n, s: {"reaction_a": "👍👎"[s], "reaction_b": "👎👍"[s]},
        lambda n, s: {"cmp": "><"[s]},
        lambda n, s: {"n_a": 3 - 2 * s, "n_b": 1 + 2 * s},
        lambda n, s: {"human": ["W", "L"][s]},
        lambda n, s: {"judge": ["ours", "baseline"][s]},
        lambda n, s: {"pct_a": ["81%", "23%"][s], "pct_b": ["23%", "81%"][s]},
        lambda n, s: {"humans": ["AB"[s], "AB"[s]]},
        lambda n, s: {"checked": ["yes", "no"][s]},
    ],
)
def test_columns_of_known_files_beside_answers_named_by_hand(more):
    stops(two(more, label=False), *more(0, 0), columns=HAND)


@given(
    st.sampled_from(
        [
            *("split", "source", "dataset", "category", "domain", "topic", "language", "difficulty", "model_name"),
            *("subset", "task_type", "date", "annotator", "worker_id", "judge", "license", "country", "genre"),
        ]
    ),
    st.lists(UNKNOWN, min_size=2, max_size=4, unique=True),
    st.sampled_from(list(SHAPES)),
)
def test_columns_that_describe_the_rows_are_no_reason_to_stop(name, told, shape):
    made, columns = SHAPES[shape]
    assert len(read(made(lambda n, s: {name: told[n % len(told)]}), columns=columns)[1]) == len(SIDES)


OUT = [
    *(("AssignmentStatus", "Rejected", "Approved"), ("status", "discarded", "submitted"), ("is_valid", False, True)),
    *(("valid", "no", "yes"), ("deleted", True, False), ("deleted", True, None), ("flagged", 1, 0)),
    *(("passed_attention_check", False, True), ("attention_check", "fail", "pass"), ("reviewer_agrees", "no", "yes")),
    *(("review", "incorrect", "correct"), ("qa", "wrong", "fine"), ("meta_status", "rejected", "ok")),
    *(("swapped", True, False), ("noise", "flipped", "clean"), ("type", "inverted", "plain"), ("polarity", -1, 1)),
    *(("criterion", "worse", "better"), ("question_type", "worst", "best"), ("task", "Pick the worse one", "Pick")),
    *(("direction", "lower is better", "higher is better"), ("aspect", "toxicity", "clarity")),
]


@given(st.sampled_from(OUT), st.sampled_from(list(SHAPES)), st.integers(2, 7), st.sampled_from([0, 26]))
def test_a_column_that_takes_rows_back_stops_the_load(case, shape, every, start):
    name, out, rest = case
    made, columns = SHAPES[shape]
    if shape == "scores" and name in ("swapped", "noise", "type", "polarity"):
        return
    rows = made(lambda n, s: {name: out if n >= start and n % every == 0 else rest})
    stops(rows, name, columns=columns)
    if name != "aspect":
        counted = made(lambda n, s: {name: rest} if rest is not None else {})
        assert len(read(counted, columns=columns)[1]) == len(SIDES)


AGAINST = {
    "human": ["chosen", "chosen", "rejected", "tie"],
    "judge": ["chosen > rejected", "rejected > chosen"],
    "degree": ["better", "worse"],
    "chosen_is_correct": [True, False],
    "is_chosen_correct": [False],
    "chosen_ok": ["no", "yes"],
    "chosen_safe": [False],
    "p_chosen": [0.9, 0.1],
    "chosen_minus_rejected": [2, -2.5],
    "chosen_rank": [1, 2],
    "winner": ["1st", "2nd"],
    "verdict": ["5-2", "2-5"],
    "preference": [1, 2, 3, 4, 5, 6, 7],
    "mislabeled": [False, True],
    "y": [0, 1],
}


@given(st.sampled_from(list(AGAINST)), st.sampled_from(["pair", "transcripts"]), st.sampled_from([0, 24]))
def test_a_column_that_may_contradict_chosen_stops_the_load(name, shape, start):
    values = AGAINST[name]
    stops(SHAPES[shape][0](lambda n, s: {name: values[n % len(values)]} if n >= start else {}), name)


def test_what_is_said_of_both_sides_agrees_or_stops():
    for first, second in ((True, False), ("good", "bad"), (True, True)):
        rows = pair(lambda n, s, told=(first, second): {"chosen_label": told[0], "rejected_label": told[1]})
        assert len(read(rows)[1]) == len(SIDES)
    for first, second in ((False, True), ("bad", "good")):
        rows = pair(lambda n, s, told=(first, second): {"chosen_label": told[0], "rejected_label": told[1]})
        stops(rows, "chosen_label", "rejected_label")
    stops(transcripts(lambda n, s: {"rank_a": 1 + s, "rank_b": 2 - s}), "rank_a", "rank_b")


@given(
    st.one_of(UNKNOWN, st.sampled_from(["overall", "overall_quality", "gesamt"])),
    st.sampled_from(["helpfulness", "fluency"]),
)
def test_an_aspect_never_wins_over_another_verdict(name, aspect):
    rows = two(lambda n, s: {name: "AB"[s], aspect: "AB"[n % 2]}, label=False)
    error = stops_unread(rows, name)
    assert aspect in error.message and f"--data.columns.label {name}" in error.hint
    _, results = read(rows, columns={"label": name})
    assert {result.responses[result.judgments[0].better].text for result in results} == {GOOD}
    assert "helpfulness" in read(two(lambda n, s: {"helpfulness": "AB"[s]}, label=False))[0].describe()


def stops_unread(rows, name, **columns):
    """The load stops and names a column; return the error."""
    with pytest.raises(DataError, match=name) as caught:
        read(rows, columns=columns)
    return caught.value


@pytest.mark.parametrize("name", ["final_answer", "output", "gold", "correct_option", "human", "ai_answer"])
def test_a_letter_under_the_name_of_content_is_no_label(name):
    rows = two(lambda n, s: {name: "AB"[s]}, label=False)
    assert f"if {name} names the better answer: --data.columns.label {name}" in stops_unread(rows, name).hint
    assert len(read(rows, columns={"label": name})[1]) == len(SIDES)
    _, results = read(two(lambda n, s: {name: "AB"[n % 2]} if name != "gold" else {}))
    assert {result.responses[result.judgments[0].better].text for result in results} == {GOOD}


@given(st.integers(3, 5), st.integers(0, 1), st.sampled_from(["votes", "labels"]), st.randoms(use_true_random=False))
def test_places_that_raters_chose_are_never_read_as_counts(count, base, name, random):
    lists = [[random.randrange(count) + base for _ in range(count)] for _ in range(12)]
    lists[:3] = [[base + place] * count for place in range(3)]
    answers = {f"response_{k + 1}": f"Answer {k} to the question." for k in range(count)}
    stops_unread([{"prompt": f"q {n}?", **answers, name: votes} for n, votes in enumerate(lists)], name)
    if name == "votes":
        counts = [random.sample([*range(count - 1), 9], count) for _ in range(12)]
        rows = [{"prompt": f"q {n}?", **answers, name: votes} for n, votes in enumerate(counts)]
        results = read(rows)[1]
        assert [result.rank.index(0) for result in results] == [votes.index(9) for votes in counts]


def test_the_question_for_the_worse_answer_inside_the_label():
    for more in (
        lambda n, s: {"label": {"name": "worse", "value": "AB"[s]}},
        lambda n, s: {"label": {"type": "loser", "side": "AB"[s]}},
        lambda n, s: {"loser": ["A>B", "B>A"][s]},
        lambda n, s: {"worse": f"{'AB'[s]} is better"},
        lambda n, s: {"lost_to": "AB"[s]},
    ):
        stops_unread(two(more, label=False), "label|loser|worse|lost_to")


def test_a_probability_named_by_hand_is_read():
    rows = two(lambda n, s: {"soft_label": [0.9, 0.2][s]}, label=False)
    _, results = read(rows, columns={**HAND, "probability": "soft_label"})
    assert [(r.judgments[0].better, round(r.judgments[0].probability, 1)) for r in results[:2]] == [(0, 0.9), (1, 0.8)]
    rows = [{**row, "winner": "AB"[side]} for row, side in zip(rows, SIDES, strict=True)]
    stops_unread(rows, "winner", **HAND, probability="soft_label")
