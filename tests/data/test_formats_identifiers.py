"""Identifiers of the answers: a label names the answer with the id, letter or number, wherever the answer stands."""

import itertools

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from bradley.errors import DataError
from tests.data.labelled_rows import BAD, GOOD, read

WRITINGS = {
    "id": ("B", "A", "C"),
    "label": (2, 1, 3),
    "name": ("llama", "gpt", "qwen"),
    "letter": ("b", "a", "c"),
    "option": ("Option A", "Option B", "Option C"),
    "idx": (1, 0, 2),
    "model": ("model_b", "model_a", "model_c"),
    "response_id": ("r1", "r2", "r3"),
    "response_number": ("2", "1", "3"),
    "slot": (1, 2, 3),
    "key": ("c-0-1", "c-0-0", "c-0-2"),
    "position": (0, 1, 2),
    "meta.id": ("first", "second", "third"),
    "order": (2, 1, 3),
}
LABELS = ("winner", "best", "best_id", "chosen_response_id", "human_preference")
ORDERS = st.integers(2, 3).flatmap(
    lambda count: st.lists(st.tuples(st.permutations(range(count)), st.integers(0, count - 1)), min_size=3, max_size=8)
)


def row_of(number, key, order, best, label="winner", form="objects"):
    """A row of answers in an order, of which one is the better; each keeps its own value of WRITINGS."""
    values = WRITINGS[key]
    own = [values[place] for place in order]
    texts = [f"{GOOD if place == best else BAD} ({place})" for place in order]
    row = {"prompt": f"How do I keep box {number} dry?", label: values[best]}
    if form == "objects":
        *outer, last = key.split(".")
        row["responses"] = [
            {**({outer[0]: {last: value}} if outer else {last: value}), "text": text}
            for value, text in zip(own, texts, strict=True)
        ]
    elif form == "list":
        row |= {"responses": texts, f"{key}s": own}
    else:
        for place, (value, text) in enumerate(zip(own, texts, strict=True), start=1):
            row |= {f"answer_{place}": text, f"answer_{place}_{key}": value}
    return row


def judged(results):
    """True for each row of which every judgment prefers the better answer."""
    texts = [[(r.responses[j.better].text, r.responses[j.worse].text) for j in r.judgments] for r in results]
    return [all(better.startswith(GOOD) and worse.startswith(BAD) for better, worse in row) for row in texts]


@given(ORDERS, st.sampled_from(list(WRITINGS)), st.sampled_from(LABELS), st.booleans())
def test_a_label_names_the_answer_with_the_value_and_not_the_place(orders, key, label, by_hand):
    rows = [row_of(number, key, order, best, label) for number, (order, best) in enumerate(orders)]
    reading, results = read(rows, columns={"label": label} if by_hand else {})
    assert all(judged(results)) and len(results) == len(rows)
    assert f"better <- {label}, which names responses.*.{key}" in reading.describe()


@given(
    ORDERS, st.sampled_from(["id", "name", "response_id", "model", "slot", "idx"]), st.sampled_from(["list", "flat"])
)
def test_a_list_beside_the_answers_and_a_column_for_each_are_read_alike(orders, key, form):
    rows = [row_of(number, key, order, best, form=form) for number, (order, best) in enumerate(orders)]
    assert all(judged(read(rows)[1]))


@pytest.mark.parametrize("form", ["objects", "list", "flat"])
@pytest.mark.parametrize("key", ["id", "response_id", "slot"])
def test_answers_that_are_shuffled_late_are_read_by_their_values(key, form):
    values = WRITINGS[key]
    ordered = [0, 1] if form != "objects" or isinstance(values[0], int) else [1, 0]
    rows = [row_of(number, key, ordered, number % 2, form=form) for number in range(60)]
    rows += [row_of(number, key, order, number % 2, form=form) for number, order in enumerate([[1, 0], [0, 1]], 60)]
    assert all(judged(read(rows)[1]))


@pytest.mark.parametrize(
    "spoil", [lambda one: one.pop("id"), lambda one: one.update(id="A"), lambda one: one.update(id=7)]
)
def test_a_later_row_without_the_value_stops_the_load(spoil):
    rows = [row_of(number, "id", [number % 2, 1 - number % 2], number % 2) for number in range(40)]
    spoil(next(one for one in rows[30]["responses"] if one["id"] == "B"))
    assert rows[30]["winner"] == "B"
    with pytest.raises(DataError, match="row 31: found 'B' as winner, wanted a label as in the first rows"):
        read(rows)


def test_values_that_begin_late_and_contradict_the_place_stop_the_load():
    rows = [row_of(number, "id", [1, 0], number % 2) for number in range(40)]
    for one in itertools.chain.from_iterable(row["responses"] for row in rows):
        one.pop("id")
    assert all(judged(read(rows)[1]))
    assert all(judged(read([*rows, row_of(40, "id", [1, 0], 0)])[1]))
    with pytest.raises(DataError, match=r"row 41: winner may name the place of an answer, or its responses\.\*\.id"):
        read([*rows, row_of(40, "id", [0, 1], 0)])


def without(row, key):
    """The row without the values of the answers' own."""
    objects = (
        [{name: value for name, value in one.items() if name != key} for one in row["responses"]]
        if (isinstance(row.get("responses"), list) and isinstance(row["responses"][0], dict))
        else row.get("responses")
    )
    rest = {name: value for name, value in row.items() if not name.endswith((f"_{key}", f"{key}s"))}
    return {**rest, **({"responses": objects} if objects else {})}


@given(
    st.sampled_from(["objects", "list", "flat"]),
    st.sampled_from(["id", "slot", "idx", "key", "name"]),
    st.lists(st.tuples(st.permutations(range(2)), st.integers(0, 1)), min_size=1, max_size=6),
    st.booleans(),
)
@example("list", "id", [([1, 0], 0)], False)
@example("flat", "slot", [([0, 1], 0), ([1, 0], 1)], True)
def test_values_that_begin_late_anywhere_never_let_a_place_stand(form, key, orders, empty):
    # The labels are places from 1 among the first rows, and among the later ones may be values as well.
    values = dict(zip((0, 1), (1, 2), strict=True))

    def row(number, order, best):
        made = row_of(number, key, order, best, form=form)
        made["winner"] = values[best]
        for name, place in zip((f"answer_1_{key}", f"answer_2_{key}"), order, strict=True):
            made |= {name: values[place]} if form == "flat" else {}
        made |= {f"{key}s": [values[place] for place in order]} if form == "list" else {}
        for one, place in zip(made["responses"], order, strict=True) if form == "objects" else ():
            one[key] = values[place]
        return made

    first = [row(number, [0, 1], number % 2) for number in range(24)]
    blank = {"list": {f"{key}s": None}, "flat": {f"answer_1_{key}": None, f"answer_2_{key}": ""}, "objects": {}}
    first = [{**without(one, key), **(blank[form] if empty else {})} for one in first]
    assert all(judged(read(first)[1]))
    rows = [*first, *(row(number, *one) for number, one in enumerate(orders, 24))]
    if any(list(order) != [0, 1] for order, _ in orders):
        with pytest.raises(DataError, match="winner may name the place of an answer, or its"):
            read(rows)
    else:
        assert all(judged(read(rows)[1]))


@pytest.mark.parametrize(
    ("values", "label"), [((1, 2), "AB"), ("AB", (1, 2)), (("left", "right"), "AB"), ((0, 1), ("first", "second"))]
)
def test_values_that_are_places_in_another_order_stop_a_label_in_another_writing(values, label):
    rows = [
        {
            "prompt": f"How do I keep box {n} dry?",
            "winner": label[n % 2],
            "responses": [
                {"text": GOOD if place == n % 2 else BAD, "position": values[place]}
                for place in ([1, 0] if n % 3 == 0 else [0, 1])
            ],
        }
        for n in range(8)
    ]
    with pytest.raises(DataError, match=r"winner may name the place of an answer, or its responses\.\*\.position"):
        read(rows)
    in_place = [
        {**row, "responses": sorted(row["responses"], key=lambda one: values.index(one["position"]))} for row in rows
    ]
    assert all(judged(read(in_place)[1]))


def test_ties_unknown_words_running_numbers_and_two_kinds_of_values():
    rows = [row_of(n, "id", [n % 2, 1 - n % 2], n % 3 % 2) for n in range(12)]
    rows[3]["winner"], rows[4]["winner"] = "tie", "unsure"
    assert [result.reason for result in read(rows)[1][3:5]] == ["no_judgment", "unread_label"]
    # Running numbers of all answers of a file are no names for a label from 1.
    running = [row_of(n, "slot", [0, 1], n % 2) for n in range(12)]
    for number, one in enumerate(itertools.chain.from_iterable(row["responses"] for row in running)):
        one["slot"] = number
    assert all(judged(read(running)[1]))
    both = [row_of(n, "slot", [n % 2, 1 - n % 2], n % 3 % 2) for n in range(12)]
    for row in both:
        row["responses"] = [{**one, "index": place} for place, one in enumerate(row["responses"], start=1)]
    with pytest.raises(DataError, match=r"may name an answer by responses\.\*\.slot, or by responses\.\*\.index"):
        read(both)


FORMS = {
    "objects": lambda names, texts: {
        "candidates": [{"id": one, "text": text} for one, text in zip(names, texts, strict=True)]
    },
    "fields": lambda names, texts: {"responses": dict(zip(names, texts, strict=True))},
    "lists": lambda names, texts: {"responses": texts, "ids": names},
    "columns": lambda names, texts: (
        {f"answer_{place}": text for place, text in enumerate(texts, start=1)}
        | {f"answer_{place}_id": name for place, name in enumerate(names, start=1)}
    ),
}


@given(ORDERS, st.sampled_from(list(FORMS)), st.sampled_from([("gpt", "llama", "qwen"), ("c-0-0", "c-0-1", "c-0-2")]))
def test_chosen_and_rejected_that_name_answers_stop_the_load_with_a_line_that_reads_them(orders, form, names):
    rows = []
    for number, (order, best) in enumerate(orders):
        texts = [f"{GOOD if place == best else BAD} ({place})" for place in order]
        told = FORMS[form]([names[place] for place in order], texts)
        rows.append(
            {"prompt": f"q {number}?", **told, "chosen": names[best], "rejected": names[best - 1 if best else 1]}
        )
    with pytest.raises(DataError, match=r"chosen and rejected hold .* and no answers") as caught:
        read(rows)
    assert "--data.columns.label chosen --data.ignore rejected" in caught.value.hint
    # A field that is named in every row may be a name by chance.
    assume(form != "fields" or len({best for _, best in orders}) > 1)
    assert all(judged(read(rows, columns={"label": "chosen"}, ignore="rejected")[1]))
    ids = [{"chosen_id": row.pop("chosen"), "rejected_id": row.pop("rejected"), **row} for row in rows]
    if form == "objects":
        assert all(judged(read(ids)[1]))


def test_a_chosen_text_that_stands_in_a_list_of_answers_is_a_text():
    rows = [
        {"prompt": f"q {n}?", "options": ["Paris", "Rome"], "chosen": "Paris", "rejected": "Rome"} for n in range(6)
    ]
    assert {result.responses[0].text for result in read(rows)[1]} == {"Paris"}
    rows = [{**row, "options": [{"option": "Paris", "id": 1}, {"option": "Rome", "id": 2}]} for row in rows]
    assert {result.responses[0].text for result in read(rows)[1]} == {"Paris"}
