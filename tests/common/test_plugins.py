"""Functions named by import path."""

import sys

import pytest

from bradley.common.plugins import load_function
from bradley.errors import UserError


def test_a_module_of_the_working_directory_is_found(tmp_path, monkeypatch):
    (tmp_path / "my_own_code.py").write_text("def double(x):\n    return 2 * x\n")
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    assert load_function("my_own_code:double", "data.format")(21) == 42
    assert sys.path == before


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("math", "wanted module:function"),
        (":sqrt", "wanted module:function"),
        ("no_such_module_here:f", "cannot be imported: ModuleNotFoundError"),
        ("math:no_such_function", "math has no function no_such_function"),
        ("math:pi", "math has no function pi"),
    ],
)
def test_what_cannot_be_found_is_named(path, said):
    with pytest.raises(UserError) as caught:
        load_function(path, "loss.extra")
    assert said in caught.value.message and caught.value.message.startswith("loss.extra")


def test_a_module_that_fails_to_import_says_why(tmp_path, monkeypatch):
    (tmp_path / "broken_code.py").write_text("raise RuntimeError('not today')\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="RuntimeError: not today"):
        load_function("broken_code:f", "data.format")
