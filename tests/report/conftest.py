import pytest

from tests.report.runs import make_run


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory):
    """A complete run folder, shared by the tests that only add files to it."""
    return make_run(tmp_path_factory.mktemp("runs") / "human-mix")
