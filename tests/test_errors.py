"""Errors as a notebook shows them: by the traceback, with the hint."""

import pickle
import traceback

import bradley
from bradley.errors import BradleyError, DataError


def test_a_traceback_ends_with_the_hint():
    shown = traceback.format_exception(DataError("row 3 has no prompt", "add a prompt"))
    assert shown[-2:] == ["bradley.errors.DataError: row 3 has no prompt\n", "hint: add a prompt\n"]
    assert not hasattr(BradleyError("no hint"), "__notes__")


def test_another_process_gets_the_hint_once():
    error = pickle.loads(pickle.dumps(bradley.UserError(["one", "two"], "type x")))
    assert (error.lines, error.hint, error.__notes__) == (("one", "two"), "type x", ["hint: type x"])
