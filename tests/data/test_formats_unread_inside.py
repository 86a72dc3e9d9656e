"""Texts that nobody reads: inside objects and messages, short ones under names of parts, and quoted by an answer."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bradley.config import Data
from bradley.data.formats import choose_format, convert_rows
from bradley.data.rows import RowPlace
from bradley.errors import DataError
from bradley.records import Comparison
from tests.data.rows import REPLY, SAMPLES, USER, replies

LONG = "A long passage of words that nobody reads, which goes on and on, well beyond the length of any label."
PAIR = {"prompt": "Which number?", "chosen": "Seven.", "rejected": "Nine."}
ANSWERS = {"prompt": "Which number is it?", "answer1": "Seven of them, I think.", "answer2": "Nine of them, I think."}


def read(rows, **settings):
    place = RowPlace("x.jsonl", "x", settings=Data(**settings))
    reading, numbered = choose_format(enumerate(rows, 1), place)
    return reading, list(convert_rows(numbered, reading, place, set()))


def named(rows, **settings):
    """Names in the hint of the refusal."""
    with pytest.raises(DataError) as caught:
        read(rows, **settings)
    names = caught.value.hint.split("--data.ignore ")[1].split(";")[0]
    assert all(f"{name} (" in caught.value.message for name in names.split(","))
    return names


MESSAGES = [{"role": "user", "content": "hi", "note": LONG}, REPLY]
CALLS = [{"role": "user", "content": "hi", "tool_calls": [{"function": {"description": LONG}}], "name": "n"}]


@pytest.mark.parametrize(
    ("row", "names"),
    [
        ({"data": {**ANSWERS, "rules": "It is even."}, "better": "answer1"}, "data.rules"),
        ({"data": {**ANSWERS, "meta": {"story": LONG}}, "better": "answer1"}, "data.meta.story"),
        ({"data": {**ANSWERS, "meta": [{"story": LONG}]}, "better": "answer1"}, "data.meta.story"),
        ({"data": {**ANSWERS, "turns": [USER]}, "better": "answer1"}, "data.turns"),
        ({**PAIR, "extra": {"story": LONG}}, "extra.story"),
        ({**PAIR, "extra": {"a.b": {"c": LONG}}}, "extra.a.b.c"),
        ({**PAIR, "extra": json.dumps({"story": LONG})}, "extra"),
        ({**PAIR, "extra": f"[Story] {LONG}"}, "extra"),
        ({**PAIR, "context": {"title": "t", "text": "short"}}, "context"),
        (
            {"chosen": MESSAGES, "rejected": [*MESSAGES[:1], {"role": "assistant", "content": "no"}]},
            "chosen.note,rejected.note",
        ),
        ({"question": "q", "answers": [{"text": "a", "rank": n, "input": "x"} for n in (1, 2)]}, "answers.input"),
        (
            {"prompt": "q", "completions": [{"content": "a", "rank": n, "plot": LONG} for n in (1, 2)]},
            "completions.plot",
        ),
        ({**PAIR, "chosen": {"answer": "Seven.", "draft": LONG}, "rejected": {"answer": "Nine."}}, "chosen.draft"),
    ],
)
def test_a_text_inside_an_object_stops_the_load_and_the_hint_leaves_it_out(row, names):
    assert named([row]) == names
    _, (result,) = read([row], ignore=names.split(","))
    assert isinstance(result, Comparison) and LONG not in repr(result)


@pytest.mark.parametrize(
    "row",
    [
        {"data": {**ANSWERS, "meta": {"story": "short", "id": LONG.replace(" ", "-")}}, "better": "answer1"},
        {"data": {**ANSWERS, "question": ANSWERS["prompt"]}, "better": "answer1"},
        {"data": ANSWERS, "better": "answer1", "info": {"prompt_id": "7", "context_length": 5, "model": "m"}},
        {"chosen": [*CALLS, REPLY], "rejected": [*CALLS, {"role": "assistant", "content": "no"}]},
        {**PAIR, "extra": {"prompt": PAIR["prompt"], "drafts": [LONG, LONG]}},
        {**PAIR, "extra": json.dumps({"prompt": PAIR["prompt"], "drafts": [LONG, LONG]})},
        {"question": "q", "answers": [{"text": '[{"context": "' + LONG + '"}]', "rank": n} for n in (1, 2)]},
    ],
)
def test_what_is_read_and_labels_inside_objects_pass(row):
    _, (result,) = read([row])
    assert isinstance(result, Comparison)


def test_a_remark_inside_a_label_passes_and_a_part_does_not():
    votes = [{"result": {"selected": "answer2"}, "comment": LONG}]
    _, (result,) = read([{**ANSWERS, "annotations": votes}])
    assert result.judgments[0].better == 1
    assert named([{**ANSWERS, "annotations": [{**votes[0], "context": "short"}]}]) == "annotations.context"


def test_a_list_inside_a_column_that_is_read_is_named():
    entries = [{"text": f"Answer {n}.", "rank": n, "drafts": [LONG]} for n in (1, 2)]
    reading, (result,) = read([{"question": "q", "answers": entries}])
    assert isinstance(result, Comparison) and reading.describe().endswith("not read: answers.drafts")


def test_columns_mapped_out_of_an_object_leave_the_other_texts_to_be_named():
    row = {"data": {"q": "Which?", "good": "Seven.", "bad": "Nine.", "rules": "It is even."}}
    columns = {"prompt": "data.q", "chosen": "data.good", "rejected": "data.bad"}
    assert named([row], columns=columns) == "data.rules"
    _, (result,) = read([row], columns=columns, ignore="data.rules")
    assert replies(result) == ["Seven.", "Nine."]


def test_known_remarks_of_public_formats_pass():
    row = SAMPLES["ultrafeedback"]
    remarks = {"critique": LONG, "annotations": {"x": {"Rationale": LONG}}, "custom_system_prompt": LONG}
    row = {**row, "completions": [{**entry, **remarks} for entry in row["completions"]], "correct_answers": [LONG]}
    assert replies(read([row])[1][0]) == ["yo", "no"]
    row = SAMPLES["multipref"]
    row = {**row, "expert_worker_annotations": [{"overall_pref": "A-is-clearly-better", "rationale": LONG}]}
    assert isinstance(read([row])[1][0], Comparison)


def test_values_nested_too_deeply_are_a_fault_of_the_row():
    deep = "x"
    for _ in range(5000):
        deep = {"a": deep}
    with pytest.raises(DataError, match="nested too deeply"):
        read([PAIR, {**PAIR, "extra": deep}])


NAMES = {
    "part": (
        "persona",
        "rules",
        "scenario",
        "character",
        "role_description",
        "guidelines",
        "situation",
        "task_description",
    ),
    "label": ("topic", "persona_id", "character_name", "scenario_type", "description", "role", "kind", "rule_category"),
}


@pytest.mark.parametrize("name", NAMES["part"])
def test_short_texts_under_names_of_parts_stop_the_load(name):
    assert named([{**PAIR, name: "A pirate."}]) == name
    assert named([{"data": {**ANSWERS, name: "A pirate."}, "better": "answer2"}]) == f"data.{name}"


@pytest.mark.parametrize("name", NAMES["label"])
def test_short_texts_under_names_of_labels_are_tags(name):
    _, (result,) = read([{**PAIR, name: "A pirate."}])
    assert result.tags[name] == "A pirate."


QUOTE = "The shelf has seven books"


@pytest.mark.parametrize("name", ["notes", "story", "document", "evidence"])
def test_a_text_that_only_one_answer_quotes_is_unread(name):
    text = "The shelf has seven books and no more than these, as far as anybody could see on that day in the rain."
    quoted, other = f"Seven: {text}", "Nine, as I see."
    row = {"prompt": "How many?", name: text}
    assert named([{**row, "chosen": quoted, "rejected": other}]) == name
    assert named([{**row, "response_a": other, "response_b": quoted, "winner": "b"}]) == name
    # The model reads the text in any case if the prompt or every answer holds the text.
    for read_anyway in (
        {"chosen": quoted, "rejected": f"Nine: {text}"},
        {"chosen": quoted, "rejected": other, "prompt": f"{text} How many?"},
    ):
        assert isinstance(read([{**row, **read_anyway}])[1][0], Comparison)


@pytest.mark.parametrize("name", ["context", "passage"])
def test_the_context_of_a_question_is_read_although_an_answer_quotes_the_context(name):
    text = "The shelf has seven books and no more than these, as far as anybody could see on that day in the rain."
    pair = {"chosen": f"Seven: {text}", "rejected": "Nine, as I see."}
    _, (result,) = read([{"question": "How many?", name: text, **pair}])
    assert result.prompt[0].content == f"{text}\n\nHow many?" and replies(result) == list(pair.values())
    sides = {
        key: [{"role": "user", "content": "How many?"}, {"role": "assistant", "content": pair[key]}] for key in pair
    }
    assert named([{name: text, **sides}]) == name


@pytest.mark.parametrize("name", ["rules", "context", "persona", "premise", "meta.context"])
@pytest.mark.parametrize("asked", ["Which number?", "Context: {}\nWhich?", "Which? [{}]", "{}\nWhich?", "Be {}, yes."])
def test_a_short_text_is_a_part_of_the_prompt_only_where_it_stands_apart(name, asked):
    def row(text):
        outer, _, inner = name.rpartition(".")
        return {**PAIR, "prompt": asked.format(text), **({outer: {inner: text}} if outer else {inner: text})}

    if asked in ("Which number?", "Be {}, yes."):
        assert named([row("number")] * 3) == name
    else:
        assert isinstance(read([row("number")] * 3)[1][0], Comparison)


def test_a_short_text_inside_another_word_is_not_read():
    assert named([{**PAIR, "rules": "umber"}]) == "rules"
    assert named([{**PAIR, "rules": ["umber", "number"]}]) == "rules"


@pytest.mark.parametrize("name", ["context", "input"])
def test_a_list_in_place_of_a_part_of_the_prompt_is_never_dropped(name):
    row = {"question": "How many are there?", "chosen": "Seven.", "rejected": "Nine."}
    assert named([{**row, name: ["It is even."]}]) == name
    with pytest.raises(DataError, match="found text in a message of the prompt"):
        read([*([{**row, name: "It is even."}] * 3), {**row, name: ["It is even.", "It is odd."]}])


def test_a_system_text_beside_lists_of_questions_is_never_dropped():
    row = {"question": ["How many?", "Sure?"], "response_a": ["Nine.", "Yes."], "response_b": ["Seven.", "No."]}
    assert isinstance(read([{**row, "winner": "a"}])[1][0], Comparison)
    with pytest.raises(DataError, match="found system beside a list of questions"):
        read([{**row, "system": "Be brief.", "winner": "a"}])


def test_an_answer_itself_is_a_repetition_and_no_context():
    assert isinstance(read([{**PAIR, "reference": "Seven."}])[1][0], Comparison)
    long = {"prompt": "Which?", "chosen": LONG, "rejected": "Nine."}
    assert isinstance(read([{**long, "reference": LONG}])[1][0], Comparison)
    assert named([{**long, "document": LONG}]) == "document"


WORD = st.text("abcdefgh", min_size=3, max_size=6)
SHORT = st.lists(WORD, min_size=1, max_size=3).map(" ".join)
FREE = st.lists(WORD, min_size=30, max_size=32).map(" ".join)
KEY = st.sampled_from(["context", "persona", "rules", "meta", "plot", "kind", "source", "x"])
TREE = st.recursive(
    st.one_of(SHORT, FREE, st.integers(0, 3)),
    lambda inner: st.dictionaries(KEY, inner, max_size=3) | st.lists(inner, max_size=2),
    max_leaves=6,
)
PARTS = {"context", "persona", "rules"}


def texts(value, names=()):
    """Every text of a value, with the names above."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from texts(inner, (*names, key))
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner, (*names, "*") if all(isinstance(each, str) for each in value) else names)
    elif isinstance(value, str):
        yield names, value


@given(st.dictionaries(KEY, TREE, max_size=3), SHORT, st.sampled_from(["flat", "inside"]))
def test_every_text_of_a_row_is_read_or_named_and_what_is_named_can_be_left_out(more, asked, how):
    answers = {"prompt": f"{asked}?", "answer1": "The first one, surely.", "answer2": "The second one, surely."}
    row = (
        {**answers, **more, "better": "answer2"}
        if how == "flat"
        else {"data": {**answers, **more}, "better": "answer2"}
    )
    try:
        _, (result,) = read([row])
        left = []
    except DataError as error:
        left = error.hint.split("--data.ignore ")[1].split(";")[0].split(",")
        _, (result,) = read([row], ignore=left)
    told = "\n".join([turn.content for turn in result.prompt] + replies(result))
    assert replies(result) == [answers["answer1"], answers["answer2"]] and result.judgments[0].better == 1
    before, lost = ("data",) if how == "inside" else (), []
    for names, text in texts(more):
        path = ".".join((*before, *(name for name in names if name != "*")))
        may_be = bool(PARTS & set(names)) or (len(text) > 80 and "*" not in names)
        # A short text has to stand there as a line of its own, whatever mark ends the line.
        own = any(line.strip(" ?") == text.strip() for line in told.split("\n"))
        stands = own if PARTS & set(names) and len(text) <= 80 else text.strip() in told
        lost += [path] if may_be and not stands else []
    inside = [{name for name in left if f"{path}.".startswith(f"{name}.")} for path in lost]
    assert all(inside) and set().union(*inside) == set(left)


TEXTS = ("Nobody can say that at all.", "Seven of them, I think.")
SECONDS = ["code", "reasoning", "thought", "thoughts", "final", "chain_of_thought", "proof", "conclusion"]
FORMS = {
    "list": "answers.{}",
    "ranked": "completions.{}",
    "sides": "rejected.{0},chosen.{0}",
    "columns": "rejected_{0},chosen_{0}",
    "label": "{0}_a,{0}_b",
}
"""Form of the answers -> names of the second texts."""


def with_second(form, key, told):
    """A row of a worse and a better answer, each with a second text."""
    both = {"list": ("answers", "text"), "ranked": ("completions", "content")}
    if form in both:
        name, text = both[form]
        return {name: [{text: one, key: told(n), "score": n} for n, one in enumerate(TEXTS)]}
    if form == "sides":
        objects = [{"text": one, key: told(n)} for n, one in enumerate(TEXTS)]
        return dict(zip(("rejected", "chosen"), objects, strict=True))
    names = ("rejected", "chosen") if form == "columns" else ("response_a", "response_b")
    seconds = dict(zip(FORMS[form].format(key).split(","), map(told, (0, 1)), strict=True))
    return {**dict(zip(names, TEXTS, strict=True)), **seconds, **({"winner": "b"} if form == "label" else {})}


def asked(form, key, told):
    def row(number):
        return {"prompt": f"Which box is {number}?", **with_second(form, key, lambda n: told(number, n))}

    return list(map(row, range(24)))


@given(
    st.sampled_from(list(FORMS)),
    st.sampled_from(SECONDS),
    st.sampled_from(["x = {}", "{}", "add {} and go on", "print({})"]),
)
@example("list", "code", "x = {}")
@example("sides", "reasoning", "add {} and go on")
def test_a_second_short_text_of_an_answer_stops_the_load(form, key, text):
    names = FORMS[form].format(key).split(",")
    rows = asked(form, key, lambda number, n: text.format(f"q{number}{n}"))
    assert set(named(rows).split(",")) == set(names)
    assert all(isinstance(one, Comparison) for one in read(rows, ignore=names)[1])
    # A text that an answer holds is read, and texts that repeat are labels.
    for told in (lambda number, n: TEXTS[n].split()[-2], lambda number, n: ["python", "rust"][n]):
        reading, results = read(asked(form, key, told))
        assert all(isinstance(one, Comparison) for one in results) and reading.unread.names() == ""


@pytest.mark.parametrize("form", ["list", "ranked", "sides"])
@pytest.mark.parametrize("key", ["plot", "heading", "model", "id", "title"])
def test_other_short_texts_inside_an_answer_are_named_unless_the_name_is_a_labels(form, key):
    names = read(asked(form, key, lambda number, n: f"q{number} {n}"))[0].unread.names()
    assert bool(names) == (key in ("plot", "heading"))
