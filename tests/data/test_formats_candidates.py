"""Rows to score: prompt and responses as in training, whatever the row says of them."""

import pytest

from bradley.config import Data
from bradley.data.formats import candidates_of, choose_format, to_comparisons
from bradley.data.rows import RowPlace
from bradley.errors import DataError
from bradley.records import Candidates
from tests.data.rows import OTHER, REPLY, SAMPLES, USER, one

LABELS = {
    "shp": ("labels", "score_A", "score_B", "score_ratio"),
    "helpsteer2": ("preference_strength",),
    "helpsteer3": ("overall_preference",),
    "tldr": (),
    "multipref": (),
    "votes": (),
    "labelled": ("winner",),
}
"""What a row of a format may lack where nothing is judged; the format is found by its other keys."""


def read(row, **settings):
    place = RowPlace("x", "x", settings=Data(**settings))
    reading, rows = choose_format([(1, row)], place, judged=False)
    ((_, given),) = rows
    return candidates_of(reading, given, place)


@pytest.mark.parametrize("format", SAMPLES)
def test_a_row_to_score_has_the_texts_of_training(format):
    judged, found = one(SAMPLES[format]), read(SAMPLES[format])
    assert isinstance(found, Candidates) and found.prompt == judged.prompt
    assert [r.messages for r in found.responses] == [r.messages for r in judged.responses]
    assert found.template_args == judged.template_args and found.prompt_key == judged.prompt_key


@pytest.mark.parametrize("format", [name for name, keys in LABELS.items() if keys])
def test_a_label_is_not_needed(format):
    bare = {key: value for key, value in SAMPLES[format].items() if key not in LABELS[format]}
    found, judged = read(bare), one(SAMPLES[format])
    assert found.prompt == judged.prompt or [t.content for t in found.prompt] == [t.content for t in judged.prompt]
    assert [r.text for r in found.responses] == [r.text for r in judged.responses]


@pytest.mark.parametrize("label", ["tie", None, "nobody knows"])
def test_what_a_label_says_does_not_matter(label):
    found = read({**SAMPLES["labelled"], "winner": label})
    assert [r.text for r in found.responses] == ["yo", "no"]


def test_prompts_in_parts_and_lists_of_answers_are_read():
    row = {"system": "s", "question": "hi", "chosen": "yo", "rejected": "no", "margin": -1}
    found = read(row)
    assert [(t.role, t.content) for t in found.prompt] == [("system", "s"), ("user", "hi")]
    found = read({"instruction": "hi", "input": "there", "answers": [{"text": "yo"}, {"text": "no"}]})
    assert found.prompt[0].content == "hi\nthere" and [r.text for r in found.responses] == ["yo", "no"]
    whole = {"conversation_a": [USER, REPLY], "conversation_b": [USER, OTHER], "winner": "?"}
    assert [t.content for t in read(whole).prompt] == ["hi"] and [r.text for r in read(whole).responses] == ["yo", "no"]


def test_columns_named_by_hand_and_unread_parts_count_here_too():
    row = {"q": "hi there", "one": "yo", "two": "no"}
    found = read(row, columns={"prompt": "q", "chosen": "one", "rejected": "two"})
    assert found.prompt[0].content == "hi there" and [r.text for r in found.responses] == ["yo", "no"]
    with pytest.raises(DataError, match="images"):
        read({"prompt": "hi", "chosen": "yo", "rejected": "no", "images": ["a.png"]})


def test_a_row_without_a_label_is_no_row_to_train_on():
    bare = {key: value for key, value in SAMPLES["labelled"].items() if key != "winner"}
    with pytest.raises(DataError, match="no column says which is better"):
        list(to_comparisons([bare]))
