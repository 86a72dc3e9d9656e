"""The cache of token stores: damage of any kind is made anew, one process builds, and nothing of others is touched."""

import errno
import json
import multiprocessing
import os
import resource
import shutil
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bradley.common import disk
from bradley.config import Render
from bradley.data import token_cache, token_store
from bradley.data.render import Renderer
from bradley.data.token_store import ARRAYS, FILES, build_store
from bradley.errors import DiskError, RunFolderError
from tests.helpers import comparisons, tokenizer_for

ROWS = comparisons(6)
OTHERS = comparisons(5, seed=3)
RENDERER = Renderer(tokenizer_for([*ROWS, *OTHERS]), Render(max_tokens=512), causal=True)
FRESH = build_store(ROWS, RENDERER, training=True)


def same(store):
    """Every array, every row and the ledger are as freshly built."""
    offsets = {"segments", "first_segment", "first_response", "first_judgment"}
    for name in (offsets | set(ARRAYS)) & set(vars(FRESH)):
        np.testing.assert_array_equal(getattr(store, name), getattr(FRESH, name))
    assert list(store.info) == list(FRESH.info) and store.ledger == FRESH.ledger
    return True


def cached(cache, rows=ROWS):
    """A store from a cache, and the lines said about the cache."""
    said = []
    return build_store(rows, RENDERER, training=True, cache=cache, say=said.append), said


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    """A cache with one entry, to be copied."""
    cache = tmp_path_factory.mktemp("pristine")
    cached(cache)
    return cache


def copied(pristine, place):
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(pristine, place)
    return next(place.iterdir())


def places(value, path=()):
    """Every place in a JSON value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.lists(st.integers())


@st.composite
def damage(draw):
    """A function that damages an entry."""
    name = draw(st.sampled_from([*FILES, token_cache.LEDGER, token_cache.TAG]))
    kind = draw(st.sampled_from(["byte", "cut", "longer", "swap", "gone", "folder", "link", "pipe", "json"]))
    place, byte, other = draw(st.integers(0, 10**6)), draw(st.integers(1, 255)), draw(st.sampled_from(FILES))
    value = draw(VALUES | st.dictionaries(st.text(max_size=3), VALUES, max_size=2))

    def damaged(entry):
        path = entry / name
        if not all(file.is_file() for file in (path, entry / other, entry / token_cache.LEDGER)):
            return  # an earlier damage took a file away, or put a pipe in its place
        content = bytearray(path.read_bytes())
        if kind == "byte" and content:
            content[place % len(content)] ^= byte
            path.write_bytes(content)
        elif kind == "cut":
            path.write_bytes(content[: place % (len(content) + 1)])
        elif kind == "longer":
            path.write_bytes(content + bytes([byte]))
        elif kind == "swap":
            path.write_bytes((entry / other).read_bytes())
            (entry / other).write_bytes(content)
        elif kind == "json":
            path = entry / token_cache.LEDGER
            ledger = whole = json.loads(path.read_text())
            where = sorted(places(ledger), key=repr)[place % len(list(places(ledger)))]
            for key in where[:-1]:
                ledger = ledger[key]
            if where:
                ledger[where[-1]] = value
            path.write_text(json.dumps(whole if where else value))
        elif kind in ("gone", "folder", "link", "pipe"):
            path.unlink()
            if kind == "folder":
                path.mkdir()
            elif kind == "link":
                path.symlink_to(entry / other)
            elif kind == "pipe":
                os.mkfifo(path)

    return damaged


@given(damage(), st.none() | damage())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_entry_reads_like_a_fresh_store(tmp_path, pristine, first, second):
    entry = copied(pristine, tmp_path / "cache")
    first(entry)
    if second:
        second(entry)
    store, said = cached(entry.parent)
    assert same(store) and len(said) <= 1 and all("\n" not in line for line in said)
    assert same(cached(entry.parent)[0])


@pytest.mark.parametrize("name", [*FILES, token_cache.LEDGER])
def test_a_changed_file_is_named_once_and_then_whole_again(tmp_path, pristine, name):
    entry = copied(pristine, tmp_path / "cache")
    content = bytearray((entry / name).read_bytes())
    content[len(content) // 2] ^= 1
    (entry / name).write_bytes(content)
    store, said = cached(entry.parent)
    assert same(store) and len(said) == 1 and name in said[0] and "made anew" in said[0]
    store, said = cached(entry.parent)
    assert same(store) and not said and [path.name for path in entry.parent.iterdir()] == [entry.name]


def test_labels_swapped_are_not_trained_on(tmp_path, pristine):
    entry = copied(pristine, tmp_path / "cache")
    better, worse = (entry / f"{side}.bin" for side in ("better", "worse"))
    content = better.read_bytes(), worse.read_bytes()
    worse.write_bytes(content[0])
    better.write_bytes(content[1])
    assert same(cached(entry.parent)[0])


def test_an_entry_under_the_name_of_another_is_made_anew(tmp_path, pristine):
    cache = tmp_path / "cache"
    entry = copied(pristine, cache)
    cached(cache, OTHERS)
    other = next(path for path in cache.iterdir() if path != entry)
    shutil.rmtree(entry)
    other.rename(entry)
    store, said = cached(cache)
    assert same(store) and "belongs to another entry" in said[0]


def test_a_ledger_without_hashes_is_made_anew(tmp_path, pristine):
    entry = copied(pristine, tmp_path / "cache")
    ledger = json.loads((entry / token_cache.LEDGER).read_text())
    (entry / token_cache.LEDGER).write_text(json.dumps(ledger["note"]))
    store, said = cached(entry.parent)
    assert same(store) and len(said) == 1


def foreign_file(path):
    (path / "thesis.txt").write_text("mine")


def foreign_names(path):
    for child in path.iterdir():
        child.unlink()
    (path / "tokens.bin").write_text("mine")


def foreign_folder(path):
    (path / "sub").mkdir()
    (path / "sub" / "tokens.bin").write_text("mine")
    (path / "tokens.bin").unlink()


@pytest.mark.parametrize("spoil", [foreign_file, foreign_names, foreign_folder])
def test_files_of_others_in_an_entry_stay(tmp_path, pristine, spoil):
    entry = copied(pristine, tmp_path / "cache")
    (entry / "better.bin").write_bytes(b"x")
    spoil(entry)
    before = {path: path.read_bytes() for path in entry.rglob("*") if path.is_file()}
    store, said = cached(entry.parent)
    assert same(store) and len(said) == 1 and "not of bradley" in said[0]
    assert {path: path.read_bytes() for path in entry.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("kind", ["file", "link", "draft"])
def test_the_name_of_an_entry_taken_by_something_else_is_left_alone(tmp_path, pristine, kind):
    key = next(pristine.iterdir()).name
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "tokens.bin").write_text("mine")
    cache = tmp_path / "cache"
    cache.mkdir()
    if kind == "file":
        (cache / key).write_text("mine")
    else:
        (cache / (key if kind == "link" else f".tmp-{key}")).symlink_to(tmp_path / "far")
    store, said = cached(cache)
    assert same(store) and len(said) == 1 and (tmp_path / "far" / "tokens.bin").read_text() == "mine"
    assert len(list(cache.iterdir())) == 1


def test_a_cache_with_files_of_others_is_refused_before_the_first_byte(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(RunFolderError, match=r"holds other files, such as thesis\.txt") as caught:
        cached(tmp_path)
    assert "BRADLEY_CACHE" in caught.value.hint and len(list(tmp_path.iterdir())) == 1


def test_a_cache_that_is_a_file_or_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="is no folder"):
        cached(tmp_path / "file")
    with pytest.raises(DiskError, match="could not be written") as caught:
        cached(tmp_path / "file" / "inside")
    assert "BRADLEY_CACHE" in caught.value.hint
    with pytest.raises(DiskError, match="name too long"):
        cached(tmp_path / ("x" * 300))


def in_process(work):
    """A forked process that runs a function, and ends with 0 if the function returns True."""
    process = multiprocessing.get_context("fork").Process(target=lambda: os._exit(0 if work() else 1))
    process.start()
    return process


def hangs(cache, rows):
    """A process that never ends the making of an entry; returned once all files are filled."""
    reader, writer = os.pipe()
    usual = token_store._write

    def write(*given):
        usual(*given)
        os.write(writer, b"x")
        time.sleep(60)

    def work():
        token_store._write = write
        return cached(cache, rows)

    process = in_process(work)
    assert os.read(reader, 1) == b"x"
    return process


@pytest.mark.parametrize("rows", [ROWS, OTHERS], ids=["same", "other"])
def test_a_killed_builder_is_swept_by_the_next_and_a_living_one_is_not(tmp_path, rows):
    """The draft of a living builder outlasts the sweep of another entry, and goes with the next sweep after a kill."""
    cache = tmp_path / "cache"
    process = hangs(cache, rows)
    draft = next(cache.glob(".tmp-*"))
    if rows is OTHERS:
        assert same(cached(cache)[0]) and (draft / "tokens.bin").exists()
    process.kill()
    process.join()
    assert draft.exists()
    cached(cache, ROWS if rows is ROWS else comparisons(3, seed=9))
    assert not list(cache.glob(".*")) and not draft.exists()


def test_a_second_builder_waits_and_reads_what_the_first_made(tmp_path, monkeypatch):
    cache, started, go = tmp_path / "cache", threading.Event(), threading.Event()
    rendered, usual = [], Renderer.outcomes

    def outcomes(self, chunk):
        rendered.append(threading.current_thread().name)
        started.set()
        go.wait(30)
        return usual(self, chunk)

    monkeypatch.setattr(Renderer, "outcomes", outcomes)
    first = threading.Thread(target=cached, args=(cache,))
    first.start()
    started.wait(30)
    said = []

    def say(line):
        said.append(line)
        go.set()

    store = build_store(ROWS, RENDERER, training=True, cache=cache, say=say)
    first.join()
    assert same(store) and len(rendered) == 1 and ["waiting" in line for line in said] == [True]
    assert not list(cache.glob(".*"))


def test_a_builder_that_stands_still_is_not_waited_for(tmp_path, pristine, monkeypatch):
    monkeypatch.setattr(token_cache, "STALE_SECONDS", 0.0)
    monkeypatch.setattr(token_cache, "LOOK_SECONDS", 0.01)
    draft = tmp_path / f".tmp-{next(pristine.iterdir()).name}"
    draft.mkdir()
    with token_cache.folder_lock(draft):
        store, said = cached(tmp_path)
    assert same(store) and "stands still" in said[-1]


def test_builders_in_a_race_make_one_entry(tmp_path):
    cache = tmp_path / "cache"
    processes = [in_process(lambda: same(cached(cache)[0])) for _ in range(5)]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 5
    assert len(list(cache.iterdir())) == 1 and cached(cache)[1] == []


def test_an_old_draft_without_a_lock_is_swept_after_a_day(tmp_path, pristine):
    shutil.copytree(pristine, tmp_path / "cache")
    left = tmp_path / "cache" / f".tmp-{'a' * 32}-{'b' * 16}"
    left.mkdir()
    (left / "tokens.bin").write_bytes(b"1234")
    cached(tmp_path / "cache", OTHERS)
    assert left.exists()
    os.utime(left, (time.time() - 2 * token_cache.LEGACY_SECONDS,) * 2)
    cached(tmp_path / "cache", comparisons(3, seed=9))
    assert not left.exists()


@pytest.mark.parametrize("cache", [True, False])
def test_many_stores_need_few_open_files_and_the_limit_is_named(tmp_path, cache):
    """Twenty evaluation sets fit the 256 open files of macOS."""
    place = tmp_path if cache else None
    before = len(os.listdir("/dev/fd"))
    sets = [[replace(row, id=f"{number}-{row.id}") for row in ROWS] for number in range(20)]
    stores = [build_store(rows, RENDERER, training=False, cache=place) for rows in sets]
    assert len(os.listdir("/dev/fd")) - before <= 2 * len(stores) + 1
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        free = os.dup(0)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free + 3, hard))
        for again in (OTHERS, sets[0]):
            with pytest.raises(DiskError, match="too many open files") as caught:
                build_store(again, RENDERER, training=False, cache=place)
            assert "ulimit -n" in caught.value.hint
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(stores) == 20


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENAMETOOLONG])
def test_a_draft_that_cannot_be_made_is_an_error_and_no_wait(tmp_path, monkeypatch, number):
    """Everything of a cache folder may be read, and no folder made inside."""

    def refused(path):
        if path.name.startswith(".tmp-"):
            raise OSError(number, os.strerror(number), str(path))
        os.mkdir(path)

    monkeypatch.setattr(disk, "mkdir", refused)
    cache = tmp_path / "cache"
    cache.mkdir()
    with pytest.raises(DiskError, match=r"draft|cache|full|bytes|inodes") as caught:
        cached(cache)
    assert caught.value.exit_code == 7 and list(cache.iterdir()) == []


def test_a_draft_that_vanishes_again_and_again_is_not_waited_for(tmp_path, monkeypatch):
    def vanished(draft):
        raise DiskError("gone") from FileNotFoundError(errno.ENOENT, "gone", str(draft))

    monkeypatch.setattr(token_cache, "make_folder", lambda path: vanished(path) if ".tmp-" in path.name else None)
    monkeypatch.setattr(token_cache, "STALE_SECONDS", 0.3)
    monkeypatch.setattr(token_cache, "LOOK_SECONDS", 0.02)
    store, said = cached(tmp_path / "cache")
    assert same(store) and "not used" in said[-1]
