"""Where token stores are cached: the variable, else the user's cache folder, else an error that names the variable."""

import pwd
from pathlib import Path

import pytest

from bradley.config import Render
from bradley.data.render import Renderer
from bradley.data.token_store import build_store
from bradley.errors import DiskError, UserError
from bradley.training.build import default_cache
from tests.helpers import comparisons, tokenizer_for


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


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a folder in which nobody can write")
def test_a_cache_that_cannot_be_written_is_called_one(monkeypatch):
    monkeypatch.delenv("BRADLEY_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/proc/nope")
    renderer = Renderer(tokenizer_for(comparisons(3)), Render(), causal=True)
    with pytest.raises(DiskError, match=r"the cache of token stores /proc/nope/\.cache/bradley/tokens") as caught:
        build_store(comparisons(3), renderer, training=True, cache=default_cache())
    assert "BRADLEY_CACHE" in caught.value.hint
