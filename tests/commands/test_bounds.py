"""What data and arguments may do: reach a terminal escaped, on one line, in part, and with bounded memory and time."""

import json
import os
import resource
from pathlib import Path
from typing import Any

import pytest

from .conftest import Commands, checked

pytestmark = [pytest.mark.slow, pytest.mark.nightly, pytest.mark.transformers]


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Show what a terminal would get: into a file, click writes no escape sequence."""
    monkeypatch.setattr("click.utils.should_strip_ansi", lambda *_, **__: False)


EVIL = {
    "the entry": "\x1b[2Jb",
    "title": "\x1b]0;title\x07",
    "clipboard": "\x1b]52;c;eA==\x07",
    "one byte": "\x9b2J",
    "delete": "\x7f\x08\x08",
    "direction": "\u202eabc",
    "a line": "a\rhint: rm -rf y",
}


def printable(text: str) -> bool:
    """Return True for a text whose lines hold no control character."""
    return all(line.replace("\t", "").isprintable() for line in text.split("\n"))


@pytest.mark.parametrize("evil", EVIL.values(), ids=EVIL)
@pytest.mark.parametrize("field", ["chosen", "prompt", "id", "source"])
def test_no_control_character_of_data_reaches_the_screen(bradley: Commands, evil: str, field: str) -> None:
    row = {"prompt": "a", "chosen": "b", "rejected": "c", field: evil}
    (bradley.folder / "esc.jsonl").write_text(json.dumps(row) + "\n")
    ended = bradley("data", "esc.jsonl")
    assert printable(ended.out) and printable(ended.err)


@pytest.mark.parametrize("evil", EVIL.values(), ids=EVIL)
def test_no_control_character_of_data_is_shown_by_a_training(bradley: Commands, evil: str) -> None:
    """In the name of a subset, an id, a field or a row that is refused."""
    rows: list[dict[str, Any]] = [
        {"prompt": f"q{i}", "chosen": f"a{i}", "rejected": f"b{i}", "id": f"{evil}{i}", "subset": f"{evil}{i % 2}"}
        for i in range(40)
    ]
    (bradley.folder / "esc.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    bad = [*rows[:3], {"prompt": evil, "chosen": {evil: 1}, "rejected": [evil], evil: evil}]
    (bradley.folder / "bad.jsonl").write_text("".join(json.dumps(row) + "\n" for row in bad))
    names = {"data__train": "esc.jsonl", "data__valid_share": 0.2, "data__synthetic__comparisons": None}
    for name, more in (("esc.jsonl", []), ("bad.jsonl", []), ("esc.jsonl", ["--log.samples", "2"])):
        names["data__train"] = name
        settings = bradley.settings(**names)
        ended = bradley("train", settings, "--output", f"run-{name}-{len(more)}", *more)
        assert printable(ended.err.replace("\r", "\n")) and printable(ended.out), (name, ended)


@pytest.mark.parametrize("evil", EVIL.values(), ids=EVIL)
@pytest.mark.parametrize(
    "args", [["data", "X.jsonl"], ["plan", "X.toml"], ["X"], ["plot", "X"], ["plan", "a.toml", "--X", "1"]], ids=str
)
def test_no_control_character_of_an_argument_reaches_the_screen(bradley: Commands, evil: str, args: list[str]) -> None:
    ended = bradley(*(arg.replace("X", evil) for arg in args))
    assert printable(ended.err) and len(ended.lines("error")) == 1 and ended.code in (2, 3, 4)


@pytest.mark.parametrize("kind", ["error", "hint", "warning"])
@pytest.mark.parametrize("args", [["data", "X.jsonl"], ["plan", "X"], ["verify", "X"]], ids=str)
def test_a_line_in_an_argument_is_no_line_of_ours(bradley: Commands, kind: str, args: list[str]) -> None:
    ended = bradley(*(arg.replace("X", f"x\n{kind}: rm -rf y") for arg in args))
    assert [line.partition(":")[0] for line in ended.err.splitlines()] == ["error", "hint"]
    assert "rm -rf y" in ended.err


@pytest.mark.parametrize(
    "text",
    ["{{ 10**(10**8) }}", "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
     "{% for a in range(99999) %}{% for b in range(99999) %}{{ 'xxxxxxxxxxxxxxxx' }}{% endfor %}{% endfor %}",
     "{{ 'x' * 10**10 }}"],
    ids=["the entry", "loops", "output", "memory"],
)  # fmt: skip
def test_a_template_without_end_is_refused_soon(bradley: Commands, text: str) -> None:
    (bradley.folder / "t.jinja").write_text(text)
    ended = bradley.alone(
        "train", bradley.settings(), "--output", "run", "--quiet", "--render.template", "t.jinja", seconds=60
    )
    checked(ended, 2)


HUGE = "v" * 200_000
ROWS: dict[str, dict[str, Any]] = {
    "votes": {"info": {"post": "a"}, "summaries": [{"text": "a"}, {"text": "b"}], "choice": HUGE},
    "a turn": {"chosen": [{"role": HUGE, "content": "b"}], "rejected": [{"role": "user", "content": "b"}]},
    "a field": {"prompt": "a", "chosen": {"x": HUGE}, "rejected": "c"},
    "a margin": {"prompt": "a", "chosen": "b", "rejected": "c", "margin": HUGE},
    "a label": {"prompt": "a", "completion": "b", "label": HUGE},
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_a_long_value_is_quoted_in_part(bradley: Commands, row: dict[str, Any]) -> None:
    (bradley.folder / "long.jsonl").write_text((json.dumps(row) + "\n") * 3)
    ended = bradley("data", "long.jsonl")
    assert len(ended.out) + len(ended.err) < 20_000


def few_files() -> None:
    """Let this process have 256 open files, as on macOS."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))


@pytest.mark.parametrize("sets", [20, 40, 60])
def test_many_evaluation_sets_need_few_open_files(bradley: Commands, sets: int) -> None:
    rows = [{"prompt": f"q{i}", "chosen": f"a{i}", "rejected": f"b{i}"} for i in range(12)]
    (bradley.folder / "few.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    names = {f"data__eval_sets__s{number}": "few.jsonl" for number in range(sets)}
    settings = bradley.settings(**names, train__max_steps=2)
    ended = bradley.alone("train", settings, "--output", "run", "--quiet", seconds=200, prepare=few_files)
    assert ended.code == 0, ended


def without_inodes(patch: pytest.MonkeyPatch, names: str) -> None:
    """Be on a disk with room and without inodes: a new file with one of some names is refused."""
    from bradley.common import disk

    create, statvfs = disk.create, os.statvfs

    def refuse(path: Path) -> int:
        if names in str(path):
            raise OSError(28, os.strerror(28), str(path))
        return create(path)

    def full(path: Any) -> os.statvfs_result:
        found = list(statvfs(path))
        found[5] = max(found[5], 10**6)
        found[6] = found[7] = 0
        return os.statvfs_result(found)

    patch.setattr(disk, "create", refuse)
    patch.setattr(os, "statvfs", full)


@pytest.mark.parametrize(
    ("args", "names"),
    [
        (["train", "run.toml", "--output", "run", "--quiet"], "step-"),
        (["score", "--quiet", "model", "in.jsonl", "-o", "out.jsonl"], "out.jsonl"),
        (["train", "run.toml", "--output", "run", "--quiet"], "run.json"),
    ],
    ids=["a checkpoint", "scores", "a record"],
)
def test_a_disk_without_inodes_is_said_to_be(
    bradley: Commands, args: list[str], names: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bradley.settings()
    bradley.rows(3)
    bradley.copy("model", "model")
    without_inodes(monkeypatch, names)
    ended = bradley(*args)
    assert "inode" in checked(ended, 7), ended


def bomb(path: Path, rows: int, text: str) -> None:
    """Write a Parquet file whose rows share a long text."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    shared = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([text]))
    columns = dict.fromkeys(("prompt", "chosen", "rejected"), shared)
    pq.write_table(pa.table(columns), path, compression="zstd")


@pytest.mark.parametrize(("rows", "size"), [(300, 10**6), (30, 10**7), (100_000, 10_000)])
def test_a_small_file_cannot_ask_for_much_memory(bradley: Commands, rows: int, size: int) -> None:
    path = bradley.folder / "bomb.parquet"
    bomb(path, rows, "x" * size)
    checked(bradley.alone("data", path), 3, "bomb.parquet")
