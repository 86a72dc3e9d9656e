"""Where token stores are cached: the variable, else the user's cache folder, else an error that names the variable."""

import pwd
from pathlib import Path

import pytest

from bradley.errors import UserError
from bradley.training.build import default_cache


@pytest.fixture
def homeless(monkeypatch):
    """A process without a home folder."""

    def nobody(uid):
        raise KeyError(uid)

    for name in ("HOME", "XDG_CACHE_HOME", "BRADLEY_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    return monkeypatch


def test_the_variable_needs_no_home(homeless):
    homeless.setenv("BRADLEY_CACHE", "/somewhere/cache")
    assert default_cache() == Path("/somewhere/cache")
    homeless.delenv("BRADLEY_CACHE")
    homeless.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_cache() == Path("/somewhere/bradley/tokens")


@pytest.mark.parametrize(
    ("name", "value"), [("HOME", None), ("BRADLEY_CACHE", "~nosuchuser/x"), ("BRADLEY_CACHE", "~")]
)
def test_a_missing_home_is_told_with_the_variable(homeless, name, value):
    if value:
        homeless.setenv(name, value)
    with pytest.raises(UserError, match="no home folder is known") as caught:
        default_cache()
    assert "BRADLEY_CACHE" in caught.value.hint
