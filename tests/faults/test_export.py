"""An export that is killed or loses power leaves no half folder under the name that was asked for."""

import pytest

from bradley.export import folder as module
from bradley.export.folder import export_model
from bradley.model.folder.tolerance import Check
from tests.copies import verified_in_copies

from . import harness, real, seam
from .results import record

CI = {"kill": 9, "lost": 15}
"""One in so many calls is tried; all of them under the marker `nightly`."""


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A finished run, and the files of an export of it that another process has found to score as in training."""
    place = tmp_path_factory.mktemp("export")
    real.warm_up(place / "run")
    with verified_in_copies():
        proven = export_model(place / "run", place / "out").checks
    assert proven and all(check.passed for check in proven)
    return place / "run", harness.bytes_of(place / "out")


def exported(run, folder, prepare=lambda tell: None):
    """An export in a process of its own, without the fresh process that takes longer than all the rest."""

    def work(tell):
        module.verify = lambda folder, **_: [Check("plain", 0.0, 1e-5)]
        prepare(tell)
        export_model(run, folder, place="out")

    return harness.forked(work)


def calls_of(run):
    """How many calls an export makes."""

    def count(tell):
        seen = seam.count_calls()
        replace = module.replace_folder
        module.replace_folder = lambda *given: (replace(*given), tell("calls", len(seen)))

    with harness.new_run() as place:
        return exported(run, place / "out", count).of("calls")[0]


@pytest.mark.parametrize("mode", CI)
@pytest.mark.parametrize("every", ["some", pytest.param("all", marks=pytest.mark.nightly)])
def test_an_export_is_whole_or_not_there(mode, every, source):
    run, wanted = source
    tally, whole = harness.Tally(), 0
    for point in range(0, calls_of(run), CI[mode] if every == "some" else 1):
        with harness.new_run() as place:
            first = exported(run, place / "out", lambda tell, at=point, root=place: harness.end_at(root, at, mode))
            assert first.code < 0
            there = (place / "out").exists()
            whole += there
            second = harness.Ended(0) if there else exported(run, place / "out")
            tally.judge(f"{mode} at call {point}", first, second, harness.bytes_of(place / "out"), wanted)
    fault = "kill -9" if mode == "kill" else "power cut"
    seen = f"{tally}; {whole} were whole at once"
    record("C3", f"export: {fault} at every call", "no half folder; the next one is whole and proven", seen)
    assert tally.trials > 2 and not tally.bad, tally


def in_place(tell):
    """A program that writes an export under its own name."""
    del tell
    module.replace_folder = lambda folder, fill, *given: (folder.mkdir(), fill(folder))


def test_an_export_that_is_written_in_place_is_found(source):
    run, wanted = source
    with harness.new_run() as place:

        def broken(tell):
            in_place(tell)
            seam.die_at(5)  # after the four calls of the lock

        assert exported(run, place / "out", broken).code < 0
        assert (place / "out").exists() and harness.bytes_of(place / "out") != wanted
