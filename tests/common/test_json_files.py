"""The reader of JSON files: a value of the right shape, or one error in one line."""

import json
import os
from typing import NotRequired

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import TypedDict

from bradley.common.json_files import read_bytes, read_json
from bradley.errors import CheckpointError, DataError


class State(TypedDict):
    state: str
    step: NotRequired[int]


def test_a_value_of_the_right_shape_is_returned_whole(tmp_path):
    path = tmp_path / "s.json"
    path.write_text('{"state": "done", "step": 3, "more": [1]}')
    assert read_json(path, State) == {"state": "done", "step": 3, "more": [1]}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", "Expecting value"),
        ("[]", "the content"),
        ('{"step": 1}', "state"),
        ('{"state": 1}', "state"),
        ('{"state": "a", "step": 1.5}', "step"),
        ('{"state": "a", "step": true}', "step"),
        ("[" * 100_000, "nested too deeply"),
        ("1" * 5000, "digits"),
        ("\udc80", "utf-8"),
    ],
)
def test_anything_else_is_one_line_naming_the_file(tmp_path, text, wanted):
    path = tmp_path / "s.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=wanted) as caught:
        read_json(path, State, error=DataError, hint="copy the folder")
    assert str(path) in caught.value.message and "\n" not in caught.value.message
    assert caught.value.hint == "copy the folder"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda each: st.lists(each) | st.dictionaries(st.text(), each),
)


@given(JSON)
def test_every_json_value_has_the_shape_or_an_error(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps(value))
    try:
        found = read_json(path, State)
    except CheckpointError as error:
        assert "\n" not in error.message
    else:
        assert isinstance(found["state"], str)


def test_what_is_no_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "absent", tmp_path / "a\0b"):
        with pytest.raises(CheckpointError):
            read_bytes(path)
    (tmp_path / "large").write_bytes(bytes(11))
    with pytest.raises(CheckpointError, match="at most 10"):
        read_bytes(tmp_path / "large", most=10)
