"""The run that runs of several processes are held against, and what makes all of them quick."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.training.distributed.runs import SHORT, TEST
from tests.training.interrupted import run


@contextlib.contextmanager
def without_pages(places: pytest.TempPathFactory) -> Iterator[None]:
    """One cache of tokens for all runs; figures and report left out, which take longer than the run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BRADLEY_CACHE", str(places.getbasetemp() / "cache"))
        patch.setattr("bradley.training.run.write_pages", lambda folder, console: None)
        yield


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Runs of a module without pages, with one cache."""
    with without_pages(tmp_path_factory):
        yield


@pytest.fixture(scope="session")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of `SHORT` by one process."""
    folder = tmp_path_factory.mktemp("short") / "one"
    with without_pages(tmp_path_factory):
        run(folder, SHORT, **TEST)
    return folder
