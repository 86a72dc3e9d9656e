"""One owner for an output, and nothing removed or replaced that is not ours: held over generated ends and damage."""

import json
import os
import shutil
import signal
import sys
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bradley.common.processes import Rank
from bradley.errors import DataError, DiskError, RankError, RunFolderError
from bradley.scoring import file
from bradley.scoring.claim import follow
from bradley.scoring.file import How, to_file
from bradley.scoring.parts import Parts
from bradley.scoring.source import Input
from tests.faults import harness, seam
from tests.scoring.conftest import read, write
from tests.scoring.stub import PART_ROWS, Interrupted, Stub, ended_before_part, place, row, score, stubbed, tree, wanted

__all__ = ["stubbed"]
pytestmark = pytest.mark.usefixtures("stubbed")
MANY = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def calls_of(**options):
    """Names of the disk calls of a whole scoring, in their order."""
    with harness.new_run() as root:
        place(root)

        def work(tell):
            seen = seam.count_calls()
            score(root, **options)
            tell("calls", seen)

        return harness.forked(work).of("calls")[0]


def sample(calls, every, first):
    """Places of one in so many calls, and of the first call of each name."""
    return sorted({*range(first, len(calls), every), *map(calls.index, set(calls))})


EVERY = [8, pytest.param(1, marks=pytest.mark.nightly, id="all")]
"""One in so many calls is tried here, from another first call in each test; all of them under `nightly`."""


@pytest.mark.parametrize("every", EVERY)
@pytest.mark.parametrize("restart", [False, True])
def test_what_a_killed_process_left_is_continued_by_the_next_one(restart, every):
    """A kill at a call of the disk: the same command ends with the bytes of an uninterrupted one."""
    for point in sample(calls_of(), every, 4 if restart else 0):
        with harness.new_run() as root:
            place(root)
            if restart:
                (root / "out.jsonl").write_text("old\n")
            before = set(tree(root)) | {"out.jsonl"}

            def work(_, root=root, point=point):
                seam.die_at(point)
                score(root, restart=restart)

            assert harness.forked(work).code in (-signal.SIGKILL, 0)
            # Begun with --restart, a command goes on without; killed before, the output is still the old one.
            done = harness.forked(lambda _, root=root: score(root))
            old = restart and (root / "out.jsonl").read_text() == "old\n"
            if old and done.code == RunFolderError.exit_code:
                assert harness.forked(lambda _, root=root: score(root, restart=True)).code == 0
            elif done.code == RunFolderError.exit_code:
                assert not Parts(root / "out.jsonl").folder.exists(), f"call {point}: {done.told}"
            else:
                assert done.code == 0, f"call {point}: {done.told}"
            assert (root / "out.jsonl").read_bytes() == wanted(), f"call {point}"
            left = {name for name in set(tree(root)) - before if ".trash-" not in name}
            assert not left, f"call {point}"


@pytest.mark.parametrize("every", EVERY)
def test_what_a_killed_process_left_never_mixes_with_another_model(every):
    for point in sample(calls_of(), every, 2):
        with harness.new_run() as root:
            place(root)

            def work(_, root=root, point=point):
                seam.die_at(point)
                score(root, 1)

            harness.forked(work)
            other = harness.forked(lambda _, root=root: score(root, 10))
            assert other.code in (0, RunFolderError.exit_code), f"call {point}: {other.told}"
            if other.code == 0:
                assert (root / "out.jsonl").read_bytes() == wanted(10)
            assert harness.forked(lambda _, root=root: score(root, 10, restart=True)).code == 0
            assert (root / "out.jsonl").read_bytes() == wanted(10)
            assert not [name for name in tree(root) if ".trash-" in name or ".parts" in name], f"call {point}"


@pytest.mark.parametrize("stop", ["loading", "part 0", "part 2", "joining"])
@pytest.mark.parametrize("second", [1, 10])
@pytest.mark.parametrize("restart", [False, True])
def test_a_second_process_is_refused_at_once(stop, second, restart, tmp_path, monkeypatch):
    place(tmp_path)
    there, go_on, calls = threading.Event(), threading.Event(), iter(range(100))

    def pause():
        there.set()
        assert go_on.wait(20)

    load, join = file.load_scorer, Parts.join
    if stop == "loading":
        monkeypatch.setattr(file, "load_scorer", lambda *given, **options: (pause(), load(*given, **options))[1])
    elif stop == "joining":
        monkeypatch.setattr(Parts, "join", lambda *given: (pause(), join(*given))[1])
    else:
        Stub.before = lambda: next(calls) == int(stop[-1]) and pause()
    first = threading.Thread(target=score, args=(tmp_path, 1))
    first.start()
    try:
        assert there.wait(20)
        before = tree(tmp_path)
        with pytest.raises(RunFolderError, match=f"is being written by process {os.getpid()} ") as caught:
            score(tmp_path, second, restart=restart)
        assert "another -o" in caught.value.hint and caught.value.exit_code == 6
        assert tree(tmp_path) == before
    finally:
        go_on.set()
        first.join()
    assert (tmp_path / "out.jsonl").read_bytes() == wanted(1)
    with pytest.raises(RunFolderError, match=r"out.jsonl exists"):
        score(tmp_path, second)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "m1", "m10", "out.jsonl"]


def begun(folder, number=2):
    """Begin a scoring, ended before its part `number`."""
    with ended_before_part(number):
        score(place(folder))
    return Parts(folder / "out.jsonl")


INTRUDERS = {
    "file": lambda folder, other: (folder / "mine.txt").write_text("mine"),
    "name like a part": lambda folder, other: (folder / "000001.txt").write_text("mine"),
    "folder": lambda folder, other: (folder / "000001.jsonl").mkdir(),
    "link for a part": lambda folder, other: (folder / "000001.jsonl").symlink_to(other),
    "link for the lock": lambda folder, other: (folder / ".lock").symlink_to(other),
    "lock of another program": lambda folder, other: (folder / ".lock").write_text("pid 7"),
    "second name of a file": lambda folder, other: (folder / ".lock").hardlink_to(other),
    "hidden file": lambda folder, other: (folder / ".tmp-mine").write_text("mine"),
    "no manifest": lambda folder, other: (folder / "manifest.json").unlink(),
    "torn manifest": lambda folder, other: (folder / "manifest.json").write_text('{"input"'),
    "another manifest": lambda folder, other: (folder / "manifest.json").write_text('{"name": "app"}'),
    "link for the manifest": lambda folder, other: (
        (folder / "manifest.json").rename(other.with_name("manifest")),
        (folder / "manifest.json").symlink_to(other.with_name("manifest")),
    ),
    "link for the folder": lambda folder, other: (folder.rename(other.with_name("far")), folder.symlink_to("far")),
    "file for the folder": lambda folder, other: (shutil.rmtree(folder), folder.write_text("mine")),
}


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("intruder", INTRUDERS.values(), ids=INTRUDERS)
def test_a_folder_that_is_not_ours_is_refused_and_left_as_found(intruder, restart, tmp_path):
    found = begun(tmp_path, 1)
    other = tmp_path / "other"
    other.write_text("other")
    intruder(found.folder, other)
    before = tree(tmp_path)
    with pytest.raises(RunFolderError, match=r"out\.jsonl\.parts"):
        score(tmp_path, restart=restart)
    assert tree(tmp_path) == before


def test_a_common_name_makes_no_folder_ours(tmp_path):
    place(tmp_path)
    for name in ("000000.jsonl", "joined", "joined.json", "000000.counts.json", "failed-1.txt"):
        (tmp_path / "out.jsonl.parts").mkdir()
        (tmp_path / "out.jsonl.parts" / name).write_text("{}")
        for restart in (False, True):
            before = tree(tmp_path)
            with pytest.raises(RunFolderError, match=r"no manifest.json"):
                score(tmp_path, restart=restart)
            assert tree(tmp_path) == before
        shutil.rmtree(tmp_path / "out.jsonl.parts")


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("kind", ["link", "dangling link", "folder", "pipe"])
def test_an_output_that_is_no_file_is_refused(kind, restart, tmp_path):
    output = place(tmp_path) / "out.jsonl"
    (tmp_path / "far").write_text("far")
    {
        "link": lambda: output.symlink_to("far"),
        "dangling link": lambda: output.symlink_to("nowhere"),
        "folder": output.mkdir,
        "pipe": lambda: os.mkfifo(output),
    }[kind]()
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(RunFolderError, match=r"out\.jsonl is (a link to|no regular file)"):
        score(tmp_path, restart=restart)
    assert sorted(os.listdir(tmp_path)) == before and (tmp_path / "far").read_text() == "far"


def as_link(path):
    path.with_name("l.jsonl").symlink_to(path.name)
    return "l.jsonl"


def as_hard_link(path):
    path.with_name("h.jsonl").hardlink_to(path)
    return "h.jsonl"


def through_a_link(path):
    path.with_name("l").symlink_to(".")
    return "l/in.jsonl"


SAME = {
    "itself": lambda path: path.name,
    "another spelling": lambda path: f"m1/../{path.name}",
    "a link": as_link,
    "a hard link": as_hard_link,
    "a linked folder": through_a_link,
}


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("name", SAME.values(), ids=SAME)
def test_an_input_is_never_an_output(name, restart, tmp_path):
    source = place(tmp_path) / "in.jsonl"
    output = name(source)
    before = tree(tmp_path)
    with pytest.raises(RunFolderError, match=r"the input .* is the output|is a link"):
        score(tmp_path, output=output, restart=restart)
    with pytest.raises(RunFolderError, match=r"the input .* is the output|is a link"):
        score(tmp_path, source=str(tmp_path / output), output="in.jsonl", restart=restart)
    assert tree(tmp_path) == before


def test_an_output_never_touches_the_model_or_its_own_input(tmp_path):
    found = begun(tmp_path)
    before = tree(tmp_path)
    with pytest.raises(RunFolderError, match=r"the input .* lies in the output .*out.jsonl.parts"):
        score(tmp_path, source=str(found.path(0)), restart=True)
    with pytest.raises(RunFolderError, match="lies in the model folder"):
        score(tmp_path, output="m1/new.jsonl")
    assert tree(tmp_path) == before
    (tmp_path / "w.jsonl").hardlink_to(tmp_path / "m1" / "config.json")
    with pytest.raises(RunFolderError, match="is a file of the model folder"):
        score(tmp_path, output="w.jsonl", restart=True)


@pytest.mark.parametrize("stream", ["stdin", "stdout"])
def test_a_stream_of_the_input_is_refused(stream, tmp_path, monkeypatch):
    source = place(tmp_path) / "in.jsonl"
    with source.open("r+b" if stream == "stdin" else "ab") as handle:
        monkeypatch.setattr(sys, stream, handle)
        with pytest.raises(RunFolderError, match="the input"):
            if stream == "stdin":
                score(tmp_path, source="-", output="in.jsonl", restart=True)
            else:
                file.score_file(tmp_path / "m1", str(source), "-", device="cpu")


def test_an_output_that_appears_meanwhile_is_kept(tmp_path):
    output = place(tmp_path) / "out.jsonl"
    Stub.before = lambda: output.write_text("of another program")
    with pytest.raises(RunFolderError, match=r"out.jsonl exists"):
        score(tmp_path)
    assert output.read_text() == "of another program"
    Stub.before = None
    with pytest.raises(RunFolderError, match=r"out.jsonl exists"):
        score(tmp_path)
    output.unlink()
    assert score(tmp_path)["rows"] == 7 and output.read_bytes() == wanted()


@pytest.mark.parametrize("change", ["cut", "edit", "unlink"])
@MANY
@given(data=st.data())
def test_damaged_parts_are_made_again_or_refused(change, data, tmp_path_factory):
    """Damage to any file of a parts folder: the same bytes at the end, or a refusal; never other bytes."""
    folder = tmp_path_factory.mktemp("damage")
    found = begun(folder, 3)
    victim = data.draw(st.sampled_from(sorted(found.folder.iterdir())))
    content = bytearray(victim.read_bytes())
    if change == "unlink":
        victim.unlink()
    else:
        at = data.draw(st.integers(0, max(0, len(content) - 1)))
        if change == "cut":
            del content[at:]
        elif content:
            content[at] ^= 1 << data.draw(st.integers(0, 7))
        victim.write_bytes(content)
    try:
        score(folder)
    except RunFolderError:
        assert victim.name in ("manifest.json", "group.json", "joined.json"), victim
        assert not (folder / "out.jsonl").exists()
    else:
        assert (folder / "out.jsonl").read_bytes() == wanted() and not found.folder.exists()


def test_a_part_of_other_work_is_made_again(tmp_path, capsys):
    """Parts of another model under this manifest: a lock that failed, or a copied folder."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = begun(tmp_path / "a", 3)
    place(tmp_path / "b")
    with ended_before_part(2):
        score(tmp_path / "b", 10)
    for path in [*first.folder.glob("00*")]:
        shutil.copy(path, Parts(tmp_path / "b" / "out.jsonl").folder)
    score(tmp_path / "b", 10)
    assert (tmp_path / "b" / "out.jsonl").read_bytes() == wanted(10)
    assert capsys.readouterr().err.count("is made again: ") == 3


def test_parts_written_before_have_no_hash_and_are_made_again(tmp_path, capsys):
    found = begun(tmp_path)
    for path in found.folder.glob("*.counts.json"):
        path.write_text(json.dumps([{"rows": 2}, ""]) + "\n")
    (found.folder / "group.json").unlink()
    score(tmp_path)
    assert (tmp_path / "out.jsonl").read_bytes() == wanted()
    assert "part 0 is made again: " in capsys.readouterr().err


def test_a_part_damaged_while_others_are_scored_is_made_again(tmp_path, capsys):
    place(tmp_path)
    found, calls = Parts(tmp_path / "out.jsonl"), iter(range(100))
    Stub.before = lambda: next(calls) == 3 and found.path(1).write_text("{}\n")
    assert score(tmp_path)["rows"] == 7
    assert (tmp_path / "out.jsonl").read_bytes() == wanted()
    assert f"part 1 is made again: {found.path(1)} is not as written" in capsys.readouterr().err


def as_rank(folder, rank, size=2, factor=1):
    """Work of one process of a start."""
    source = Input(str(folder / "in.jsonl"))
    console, model, how = file.Console("quiet"), folder / f"m{factor}", How(part_rows=PART_ROWS)
    load = lambda: file.load_scorer(model)  # noqa: E731
    return to_file(Parts(folder / "out.jsonl"), source, model, how, load, Rank(rank, size, rank, size), False, console)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_the_processes_of_a_start_share_the_work(order, tmp_path):
    place(tmp_path)
    threads = [threading.Thread(target=as_rank, args=(tmp_path, rank, 3)) for rank in order]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert (tmp_path / "out.jsonl").read_bytes() == wanted()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "m1", "m10", "out.jsonl"]


def test_a_process_of_another_start_cannot_mix_in(tmp_path):
    place(tmp_path)
    there, go_on = threading.Event(), threading.Event()

    def pause():
        there.set()
        assert go_on.wait(20)

    Stub.before = pause
    first = threading.Thread(target=lambda: as_rank(tmp_path, 0, 1))
    first.start()
    try:
        assert there.wait(20)
        before = tree(tmp_path)
        for factor in (1, 10):
            found = Parts(tmp_path / "out.jsonl")
            with pytest.raises(RunFolderError, match="of another start"):
                follow(found, {"model": factor}, start=0.3)
        with pytest.raises(RunFolderError, match="is being written by"):
            as_rank(tmp_path, 0, 2, 10)
        assert tree(tmp_path) == before
    finally:
        go_on.set()
        first.join()
    assert (tmp_path / "out.jsonl").read_bytes() == wanted()


def test_a_process_with_other_options_than_the_first_is_refused(tmp_path):
    place(tmp_path)

    def waiting():
        with pytest.raises(RankError, match="process 1 failed"):
            as_rank(tmp_path, 0)

    first = threading.Thread(target=waiting)
    first.start()
    try:
        with pytest.raises(RunFolderError, match="parts of other work: model differ"):
            as_rank(tmp_path, 1, factor=10)
    finally:
        # The first process waits for the parts of the second.
        Parts(tmp_path / "out.jsonl").fail(1, "other work")
        first.join(20)
    assert not (tmp_path / "out.jsonl").exists()


def test_a_process_whose_first_process_does_not_come_says_so(tmp_path):
    place(tmp_path)
    found = Parts(tmp_path / "out.jsonl")
    with pytest.raises(RankError, match="process 0 did not begin"):
        follow(found, {}, patience=0.3)
    # What a killed start left names a dead owner.
    begun_by_a_dead_process = harness.forked(lambda _: killed_in_a_group(tmp_path))
    assert begun_by_a_dead_process.code == -signal.SIGKILL and found.read_group()
    with pytest.raises(RankError, match="process 0 did not begin"):
        follow(found, {}, patience=0.3)
    assert not os.path.exists(tmp_path / "out.jsonl")


def killed_in_a_group(folder):
    Stub.before = seam.die
    as_rank(folder, 0)


def test_the_failure_of_another_process_is_the_error(tmp_path):
    place(tmp_path)
    errors = {}

    def rank(number):
        try:
            as_rank(tmp_path, number)
        except Exception as error:
            errors[number] = error

    def before():
        if threading.current_thread().name == "rank 1":
            raise Interrupted("out of memory")

    Stub.before = before
    threads = [threading.Thread(target=rank, args=(number,), name=f"rank {number}") for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert isinstance(errors[1], Interrupted)
    assert isinstance(errors[0], RankError) and "process 1 failed: out of memory" in errors[0].message
    Stub.before = None
    # The report of an earlier start is no failure of this one.
    threads = [threading.Thread(target=rank, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert (tmp_path / "out.jsonl").read_bytes() == wanted()


def test_a_folder_taken_over_gets_no_more_parts(tmp_path):
    """A process that had stood still, and finds the folder with another owner."""
    place(tmp_path)
    found = Parts(tmp_path / "out.jsonl")

    def taken_over():
        (found.folder / "group.json").write_text(json.dumps({"group": "new", "work": "", "owner": "new"}))

    Stub.before = taken_over
    with pytest.raises(RunFolderError, match="has passed to other processes"):
        score(tmp_path)
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize("name", ["x" * 255 + ".jsonl", "x" * 248 + ".jsonl"], ids=["name", "parts"])
def test_a_name_too_long_is_an_error_in_words(name, tmp_path):
    place(tmp_path)
    with pytest.raises(DiskError, match="File name too long"):
        score(tmp_path, output=name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "m1", "m10"]


@pytest.mark.parametrize("kind", ["surrogate", "another type"])
def test_a_value_that_parquet_refuses_ends_the_scoring_at_its_part(kind, tmp_path):
    place(tmp_path)
    note = {"surrogate": "\udfff", "another type": 1}[kind]
    write(tmp_path / "in.jsonl", [row(n, note=note if n == 3 else "text") for n in range(7)])
    calls = []
    Stub.before = lambda: calls.append(1)
    with pytest.raises(DataError, match=r"in\.jsonl, row 4, field note: cannot be written as Parquet"):
        score(tmp_path, output="out.parquet")
    assert len(calls) == 2 and Parts(tmp_path / "out.parquet").missing(4) == [1, 2, 3]
    Stub.before = None
    write(tmp_path / "in.jsonl", [row(n, note="text") for n in range(7)])
    assert score(tmp_path, output="out.parquet", restart=True)["rows"] == 7
    write(tmp_path / "in.jsonl", [row(n, note=note) for n in range(7)])
    assert score(tmp_path)["rows"] == 7 and read(tmp_path / "out.jsonl")[3]["note"] == note


def test_half_removed_parts_are_removed_by_the_next_owner_and_nothing_else(tmp_path):
    begun(tmp_path)
    trash = tmp_path / ".trash-out.jsonl.parts-0123456789abcdef"
    mine = tmp_path / ".trash-out.jsonl.parts-0123456789abcdee"
    other = tmp_path / ".trash-other.jsonl.parts-0123456789abcdef"
    for folder, name in ((trash, "000001.jsonl"), (mine, "mine.txt"), (other, "000001.jsonl")):
        folder.mkdir()
        (folder / name).write_text("{}")
    link = tmp_path / ".trash-out.jsonl.parts-0123456789abcded"
    link.symlink_to(other)
    score(tmp_path)
    assert not trash.exists() and mine.exists() and other.exists() and link.is_symlink()
    assert (other / "000001.jsonl").exists() and (tmp_path / "out.jsonl").read_bytes() == wanted()
