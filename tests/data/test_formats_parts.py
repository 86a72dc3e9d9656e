"""Lists of objects without a speaker: several answers, or the parts of one answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bradley.errors import DataError
from tests.data.labelled_rows import read
from tests.data.rows import replies

CHOSEN, WORSE = "Keep it in a dry paper bag.", ["I have no idea.", "Put it in the sea.", "Ask a fish."]


def rows(rejected, chosen=CHOSEN, count=3):
    """Rows of one prompt each, with the same sides."""
    return [{"prompt": f"How do I store bread {n}?", "chosen": chosen, "rejected": rejected} for n in range(count)]


@given(
    st.lists(st.sampled_from(WORSE), min_size=2, max_size=3, unique=True),
    st.sampled_from(["text", "content", "value", "answer", "response", "output"]),
    st.sampled_from([{}, {"model": "small"}, {"type": None}, {"id": 3, "score": 2.5}]),
    st.sampled_from(["list", "chosen too", "by hand", "object"]),
)
def test_objects_without_a_speaker_are_several_answers_as_texts_are(texts, key, beside, kind):
    objects = [{key: text, **beside} for text in texts]
    _, expected = read(rows(texts))
    made = rows(
        {"messages": objects} if kind == "object" else objects, [{key: CHOSEN}] if kind == "chosen too" else CHOSEN
    )
    names = {}
    if kind == "by hand":
        made = [{"prompt": row["prompt"], "good": row["chosen"], "candidates": {"others": objects}} for row in made]
        names = {"columns": {"chosen": "good", "rejected": "candidates.others"}}
    _, results = read(made, **names)
    assert [replies(one) for one in results] == [[CHOSEN, *texts]] * 3
    assert [(one.prompt, one.judgments) for one in results] == [(one.prompt, one.judgments) for one in expected]


@given(
    st.lists(st.sampled_from([*WORSE, "word " * 40]), min_size=1, max_size=3),
    st.sampled_from(["text", "output_text", "input_text"]),
    st.sampled_from([0, 1, 2]),
)
def test_parts_with_a_type_are_one_answer(texts, type, typed):
    # One type is enough: tables fill the other parts with null.
    parts = [{"type": type if n in (0, typed) else None, "text": text} for n, text in enumerate(texts)]
    for row in read(rows(parts))[1]:
        assert replies(row) == [CHOSEN, "".join(texts)]


def test_several_better_answers_are_refused():
    for rejected in ("Never.", [{"text": text} for text in WORSE]):
        with pytest.raises(DataError, match="2 texts in chosen: parts of one answer, or several answers") as caught:
            read(rows(rejected, [{"text": CHOSEN}, {"text": "In a bin."}]))
        assert '"type": "text"' in caught.value.hint


def test_a_text_that_answers_begin_with_stands_before_every_rejected_answer():
    for rejected in (WORSE, [{"text": text} for text in WORSE]):
        _, results = read([{**row, "response_prefix": "Well: "} for row in rows(rejected)])
        assert replies(results[0]) == [f"Well: {text}" for text in (CHOSEN, *WORSE)]
