"""An input that changes while being scored is an error, whatever changes it and when; an untouched one never is."""

import errno
import gzip
import os
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bradley.errors import DataError
from bradley.scoring.parts import Parts
from bradley.scoring.source import Input, InputChanged
from tests.faults import harness
from tests.scoring.conftest import read, write
from tests.scoring.stub import Stub, ended_before_part, place, row, score, stubbed, wanted

__all__ = ["stubbed"]
pytestmark = pytest.mark.usefixtures("stubbed")


def grow(path):
    with path.open("a") as file:
        file.write('{"prompt": "Q", "response": "more"}\n')


def shrink(path):
    os.truncate(path, path.read_bytes().rindex(b"{"))


def tear(path):
    os.truncate(path, os.path.getsize(path) - 9)


def empty(path):
    os.truncate(path, 0)


def edit(path):
    with path.open("r+b") as file:
        data = file.read().replace(b"A", b"B")
        file.seek(0)
        file.write(data)


def edit_one_byte(path):
    with path.open("r+b") as file:
        file.seek(-5, os.SEEK_END)
        file.write(b"B")


def edit_and_keep_the_time(path):
    before = path.stat()
    edit_one_byte(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace(path):
    write(path.with_name("new"), read(path)[::-1]).replace(path)


def remove(path):
    path.unlink()


CHANGES = [grow, shrink, tear, empty, edit, edit_one_byte, edit_and_keep_the_time, replace, remove]


def at_part(number, deed):
    calls = iter(range(1000))
    Stub.before = lambda: next(calls) == number and deed()


@pytest.mark.parametrize("part", [0, 1, 3])
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_an_input_that_changes_is_an_error(change, part, tmp_path):
    source = place(tmp_path) / "in.jsonl"
    at_part(part, lambda: change(source))
    with pytest.raises(DataError, match=r"in.jsonl (changed while being scored|cannot be read)") as caught:
        score(tmp_path)
    assert caught.value.exit_code == 3 and caught.value.hint
    assert not (tmp_path / "out.jsonl").exists()
    Stub.before = None
    # What was scored of the old content is gone with it: the new content needs no --restart.
    write(source, [row(number) for number in range(5)])
    if not Parts(tmp_path / "out.jsonl").folder.exists():
        assert score(tmp_path)["rows"] == 5 and (tmp_path / "out.jsonl").read_bytes() == wanted(rows=5)


@pytest.mark.parametrize("change", [grow, edit_one_byte, replace], ids=lambda change: change.__name__)
def test_a_change_just_before_the_joining_is_found(change, tmp_path, monkeypatch):
    source = place(tmp_path) / "in.jsonl"
    wait = Parts.wait
    monkeypatch.setattr(Parts, "wait", lambda *given: (wait(*given), change(source))[0])
    with pytest.raises(InputChanged):
        score(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "new") == ["in.jsonl", "m1", "m10"]


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".json", ".csv", ".parquet"])
def test_every_kind_of_file_is_watched(suffix, tmp_path):
    place(tmp_path)
    source = tmp_path / f"in{suffix}"
    rows = [{"prompt": "Q", "response": "A" * (n + 1)} for n in range(7)]

    def fill(rows):
        new = tmp_path / "new"
        if suffix == ".parquet":
            pq.write_table(pa.Table.from_pylist(rows), new)
        elif suffix == ".csv":
            new.write_text("prompt,response\n" + "".join(f"{r['prompt']},{r['response']}\n" for r in rows))
        elif suffix == ".json":
            new.write_text(str(rows).replace("'", '"'))
        else:
            new.write_bytes(gzip.compress(write(new, rows).read_bytes()))
        new.replace(source)

    fill(rows)
    assert score(tmp_path, source=str(source), output="first.jsonl")["rows"] == 7
    at_part(1, lambda: fill(rows[::-1]))
    with pytest.raises(InputChanged):
        score(tmp_path, source=str(source))


def test_a_parquet_file_cut_short_while_being_read_ends_no_process(tmp_path):
    place(tmp_path)
    source = tmp_path / "in.parquet"
    rows = [{"prompt": "Q", "response": "A" * (1 + n % 7), "note": f"{n}" * 4000} for n in range(2000)]
    pq.write_table(pa.Table.from_pylist(rows), source, row_group_size=600, compression="none")
    at_part(1, lambda: os.truncate(source, os.path.getsize(source) // 3))

    def work(_):
        score(tmp_path, source=str(source))

    ended = harness.forked(work)
    assert ended.code == 3 and "in.parquet changed while being scored" in ended.told[0][1]


def test_a_file_touched_is_read_again_and_keeps_its_parts(tmp_path):
    """A content changed and changed back cannot be told from a new time."""
    source = place(tmp_path) / "in.jsonl"
    at_part(2, source.touch)
    with pytest.raises(DataError, match="was written to while being scored"):
        score(tmp_path)
    assert Parts(tmp_path / "out.jsonl").missing(4) == [2, 3]
    Stub.before = None
    assert score(tmp_path)["rows"] == 7 and (tmp_path / "out.jsonl").read_bytes() == wanted()


def test_rights_links_and_equal_copies_are_no_change(tmp_path):
    source = place(tmp_path) / "in.jsonl"

    def unchanged():
        source.chmod(0o600)
        (tmp_path / "link.jsonl").hardlink_to(source)
        before = source.stat()
        copy = tmp_path / "copy"
        copy.write_bytes(source.read_bytes())
        os.utime(copy, ns=(before.st_atime_ns, before.st_mtime_ns))
        copy.replace(source)

    at_part(1, unchanged)
    score(tmp_path)
    assert (tmp_path / "out.jsonl").read_bytes() == wanted()


def test_a_resumed_scoring_compares_the_content(tmp_path):
    source = place(tmp_path) / "in.jsonl"
    with ended_before_part(2):
        score(tmp_path)
    edit_and_keep_the_time(source)
    with pytest.raises(Exception, match="parts of other work: input differ"):
        score(tmp_path)


@pytest.mark.parametrize("output", ["out.jsonl", "-"])
def test_a_file_on_stdin_is_watched_too(output, tmp_path, monkeypatch, capsysbinary):
    source = place(tmp_path) / "in.jsonl"
    for change in (None, edit_one_byte):
        with source.open("rb") as handle:
            monkeypatch.setattr(sys, "stdin", _Text(handle))
            if change is None:
                assert score(tmp_path, source="-", output=f"first-{output}.jsonl")["rows"] == 7
                continue
            at_part(1, lambda: edit_one_byte(source))
            with pytest.raises(InputChanged, match="stdin changed"):
                if output == "-":
                    score_to_stdout(tmp_path, "-")
                else:
                    score(tmp_path, source="-", output=output)
    assert not (tmp_path / "out.jsonl").exists() and not (tmp_path / "out.jsonl.parts").exists()


def test_a_change_is_an_error_on_stdout_too(tmp_path, capsysbinary):
    source = place(tmp_path) / "in.jsonl"
    score_to_stdout(tmp_path, str(source))
    assert capsysbinary.readouterr().out == wanted()
    at_part(2, lambda: grow(source))
    with pytest.raises(InputChanged):
        score_to_stdout(tmp_path, str(source))
    assert capsysbinary.readouterr().out == b"".join(wanted().splitlines(keepends=True)[:4])


def score_to_stdout(folder, source):
    from bradley.scoring.file import How, score_file

    score_file(folder / "m1", source, "-", How(part_rows=2), device="cpu")


class _Text:
    """Text stream over an open file, as `sys.stdin`."""

    def __init__(self, buffer):
        self.buffer = buffer
        self.fileno = buffer.fileno


class _Broken:
    """Stream of a terminal that has gone."""

    def readline(self, *_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def fileno(self):
        raise OSError("no handle")


@pytest.mark.parametrize(
    "stdin, message", [(None, "stdin is closed"), (_Text(_Broken()), "stdin cannot be read: Input/output error")]
)
def test_an_unusable_stdin_is_an_error_in_words(stdin, message, tmp_path, monkeypatch):
    place(tmp_path)
    monkeypatch.setattr(sys, "stdin", stdin)
    with pytest.raises(DataError, match=message):
        score(tmp_path, source="-")
    assert not (tmp_path / "out.jsonl.parts").exists()


def test_an_unreadable_input_is_an_error_in_words(tmp_path, monkeypatch):
    place(tmp_path)

    def denied(*_):
        raise PermissionError(13, "Permission denied")

    for name in ("sha256", "count_rows"):
        with monkeypatch.context() as patch:
            patch.setattr(f"bradley.scoring.source.{name}", denied)
            with pytest.raises(DataError, match=r"in.jsonl cannot be read: Permission denied"):
                score(tmp_path)
    with pytest.raises(DataError, match="is not a file"):
        Input(str(tmp_path))
