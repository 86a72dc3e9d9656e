"""The undamaged inputs of the fuzzer, made once."""

from pathlib import Path

import pytest

from tests.fuzz.good import Good, make_good


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> Good:
    """Undamaged inputs of every class."""
    return make_good(tmp_path_factory.mktemp("fuzz") / "good")


@pytest.fixture(scope="session")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder in which worlds come and go."""
    return tmp_path_factory.mktemp("worlds")
