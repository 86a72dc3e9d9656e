"""Any value of any file of a run folder, replaced by one of another kind: an error of one line, or nothing."""

import json
import math
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from bradley.config import Config
from bradley.errors import BradleyError
from bradley.report.html import load_template
from bradley.report.page import file_figures
from bradley.report.plots import style
from bradley.report.view import page_context
from bradley.runs.manifest import _signed, read_manifest
from bradley.runs.record import is_finished, read_record, refuse_trained
from bradley.runs.run import read_results, read_run
from bradley.runs.starts import count_start
from bradley.runs.status import read_status, write_last
from bradley.training.checkpoints.identity import check_identity
from bradley.training.checkpoints.state import read_saved
from bradley.training.loop import fit
from bradley.training.progress import Progress
from tests.report.runs import make_run
from tests.training.interrupted import SETTINGS

DEEP: Any = 0
for _ in range(150):
    DEEP = [DEEP]
KINDS = {
    "null": None,
    "list": [],
    "dict": {},
    "text": "x\n\x1b[2J",
    "number": 7,
    "negative": -3.5,
    "huge": 10**400,
    "large": 1e308,
    "deep": DEEP,
    "bool": True,
    "nan": math.nan,
    "inf": math.inf,
}
GONE = "gone"
"""A kind of its own: the key is removed."""


def places(value: Any, most: int = 3) -> list[list[Any]]:
    """Paths to every value inside a value; of a list, to the first few."""
    found: list[list[Any]] = [[]]
    entries = list(value.items()) if isinstance(value, dict) else list(enumerate(value))[:most]
    for key, inner in entries:
        found += [[key, *rest] for rest in (places(inner) if isinstance(inner, dict | list) else [[]])]
    return found


def replaced(value: Any, place: list[Any], new: Any) -> Any:
    """A copy of a value with another value at a place."""
    if not place:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    if new is GONE and len(place) == 1:
        del copy[place[0]]
    else:
        copy[place[0]] = replaced(value[place[0]], place[1:], new)
    return copy


def variants(value: Any, seed: int, count: int) -> list[tuple[str, Any]]:
    """So many of the values with one part replaced, drawn anew for each seed."""
    cases = [(place, kind) for place in places(value) for kind in (*KINDS, GONE) if place or kind is not GONE]
    drawn = random.Random(seed).sample(cases, min(count, len(cases)))
    return [(f"{place} {kind}", replaced(value, place, KINDS.get(kind, GONE))) for place, kind in drawn]


def fails_in_words(read: Any, what: str) -> None:
    """Call `read`: it works, or raises an error of bradley in one line, with a hint."""
    try:
        read()
    except BradleyError as error:
        assert error.hint and "\n" not in error.message and len(error.message) < 1500, what
        assert error.exit_code in (2, 3, 4, 7), what
    except Exception as error:
        raise AssertionError(f"{what}: {error!r}") from error


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = make_run(tmp_path_factory.mktemp("made") / "run")
    for path in folder.glob("eval/*-best.jsonl"):
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:40]))
    lines = (folder / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_bytes(b"".join(lines[:8] + lines[-8:]))
    return folder


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made, tmp_path / "run")


TEMPLATE = load_template("page.html.jinja")


def page(folder):
    """What a report reads and computes, without drawing."""
    TEMPLATE.render(**page_context(read_run(folder)), figures=[], lengths={})


@pytest.mark.parametrize("count", [40, pytest.param(160, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("name", ["config", "environment", "data_report", "results", "examples"])
def test_any_value_of_a_file_of_the_report(folder, name, count):
    path = folder / f"{name}.json"
    value = json.loads(path.read_text())
    for what, other in variants(value, 0, count):
        path.write_text(json.dumps(other))
        fails_in_words(lambda: page(folder), f"{name}: {what}")


@pytest.mark.parametrize("count", [20, pytest.param(50, marks=pytest.mark.nightly)])
@pytest.mark.parametrize(
    "name", ["metrics", "timing", "eval/distributions", "eval/samples", "eval/valid-best", "eval/hhh_alignment-best"]
)
def test_any_value_of_a_line_of_the_report(folder, name, count):
    path = folder / f"{name}.jsonl"
    lines = path.read_text().splitlines()
    for number in (0, len(lines) - 1):
        for what, other in variants(json.loads(lines[number]), number, count):
            path.write_text("\n".join([*lines[:number], json.dumps(other), *lines[number + 1 :]]) + "\n")
            fails_in_words(lambda: page(folder), f"{name} {number}: {what}")


@pytest.mark.nightly
def test_figures_of_damaged_values_are_drawn_or_refused(folder, monkeypatch):
    monkeypatch.setattr(style, "PANEL_SIZE", (1.0, 0.8))
    for number, name in enumerate(("metrics", "timing", "eval/distributions", "results.json", "data_report.json")):
        path = folder / (name if "." in name else f"{name}.jsonl")
        text = path.read_text()
        lines = [text] if path.suffix == ".json" else text.splitlines()
        for what, other in variants(json.loads(lines[-1]), number, 40):
            path.write_text("\n".join([*lines[:-1], json.dumps(other)]) + "\n")

            def draw():
                for _, figure in file_figures(read_run(folder)):
                    style.svg_text(figure)

            fails_in_words(draw, f"{name}: {what}")
        path.write_text(text)


RECORD = {
    "format": 1,
    "identity": {
        "config": {"seed": 1},
        "data": {"train": "a" * 64},
        "threads": {"number": 2},
        "base": {"weights": "x"},
    },
    "starts": [{"step": 0, "changed": {}}, {"step": 4, "changed": {"seed": [1, 2]}}],
}


def test_any_value_of_the_record(tmp_path):
    def read():
        known = read_record(tmp_path)
        assert 1 <= known["identity"]["threads"]["number"] <= 4096
        check_identity(known["identity"], RECORD["identity"], [], exact=False)

    for what, other in variants(RECORD, 0, 10_000):
        (tmp_path / "run.json").write_text(json.dumps(other))
        try:
            read()
        except BradleyError as error:
            assert error.hint, what
        except Exception as error:
            raise AssertionError(f"{what}: {error!r}") from error


def test_any_value_of_status_results_attempts_and_settings(tmp_path, folder):
    status = {"state": "done", "code": 0, "what": "", "where": "x", "fix": "", "files": {"results.json": "0" * 64}}
    results = {"headline": "valid", "compute": "float32", **json.loads((folder / "results.json").read_text())}
    del results["sets"]["train_probe"], results["sets"]["hhh_alignment"]
    config = Config.model_validate(SETTINGS)
    files = {
        "status.json": status,
        "results.json": results,
        "attempts.json": {"step": 3, "starts": 2},
        "config.json": json.loads(config.model_dump_json()),
    }
    run = tmp_path / "ended"
    run.mkdir()

    def read():
        read_status(run)
        is_finished(run, config, lambda line: None)
        read_results(run).summary()
        count_start(run, 3)

    for name in files:
        for changed in (True, False):
            for each, value in files.items():
                (run / each).write_text(json.dumps(value))
            if changed:
                (run / "status.json").write_text(json.dumps({key: status[key] for key in status if key != "files"}))
            for what, other in variants(files[name], 1, 120):
                (run / name).write_text(json.dumps(other))
                (run / "attempts.json").unlink(missing_ok=name != "attempts.json")
                if name == "attempts.json":
                    (run / name).write_text(json.dumps(other))
                fails_in_words(read, f"{name}: {what}")


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000, b"\xff", b"null", b'{"state": "running"}'])
def test_a_broken_status_does_not_hide_the_failure(tmp_path, content):
    (tmp_path / "status.json").write_bytes(content)
    write_last(tmp_path, 8, "rank 1 was killed", "go on")
    assert json.loads((tmp_path / "status.json").read_text())["what"] == "rank 1 was killed"


def test_any_value_of_a_signed_manifest(tmp_path):
    content = {"format": 1, "step": 3, "files": {"a": {"sha256": "0" * 64, "bytes": 3}}, "best": 3, "facts": {"x": 1}}
    for what, other in variants(content, 0, 10_000):
        (tmp_path / "manifest.json").write_text(_signed(other) if isinstance(other, dict) else json.dumps(other))
        try:
            read_manifest(tmp_path)
        except BradleyError as error:
            assert error.exit_code == 4, what


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A job of four steps with its last checkpoint."""
    from tests.training.jobs import config, job

    made = job(tmp_path_factory.mktemp("saved") / "run", config(train={"max_steps": 4}))
    fit(made)
    return made


def test_any_value_of_the_training_state(saved, tmp_path):
    newest = max((saved.folder / "checkpoints").glob("step-*"))
    shutil.copytree(newest / "training", tmp_path / "training")
    path = tmp_path / "training" / "state.json"
    state = json.loads(path.read_text())

    def read():
        known = read_saved(tmp_path)
        Progress.from_json(known.progress)

    for what, other in variants(state, 0, 600):
        path.write_text(json.dumps(other))
        fails_in_words(read, what)


NAMES = ("config.json", "environment.json", "data_report.json", "results.json", "examples.json", "metrics.jsonl",
         "timing.jsonl", "eval/samples.jsonl", "eval/valid-best.jsonl")  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "content", [b"\x00", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 100_000, b"9" * 5000, b"{}", b"[]", b"null", b"{]}\n"]
)
def test_other_bytes_in_a_file_of_the_report(folder, name, content):
    (folder / name).write_bytes(content + b"\n")
    fails_in_words(lambda: page(folder), name)


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_or_a_pipe_in_the_place_of_a_file(folder, name):
    for make in (os.mkdir, os.mkfifo):
        path = Path(folder / name)
        path.unlink() if not path.is_dir() else path.rmdir()
        make(path)
        with pytest.raises(BradleyError, match=path.name):
            page(folder)


def test_a_last_line_cut_short_by_a_crash_is_normal(folder):
    path = folder / "metrics.jsonl"
    whole = len(read_run(folder).events)
    path.write_bytes(path.read_bytes()[:-5])
    assert len(read_run(folder).events) == whole - 1
    refuse = pytest.raises(BradleyError, match="none of its checkpoints")
    with refuse:
        refuse_trained(folder)
