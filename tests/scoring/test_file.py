"""`bradley score`: whole files, streams, cuts in the middle, several processes, and what is said at the end."""

import gzip
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bradley.cli.main import run
from bradley.common.processes import Rank, rank_from
from bradley.model.folder.card import read_card, write_card
from bradley.scoring import file
from bradley.scoring.file import ahead, batched
from bradley.scoring.parts import Parts
from bradley.scoring.reward_model import RewardModel
from tests import copies
from tests.scoring.conftest import read, rows, write

UNREADABLE = {"id": "bad", "text": "no conversation"}


@pytest.fixture
def source(tmp_path):
    given = rows(11)
    return write(tmp_path / "in.jsonl", [*given[:4], UNREADABLE, *given[4:]])


def score(folder, source, output, *options):
    return run(["score", str(folder), str(source), "-o", str(output), "--device", "cpu", "--quiet", *options])


def test_rows_keep_their_place_and_fields_and_get_scores(folder, source, tmp_path, capsys):
    assert score(folder, source, tmp_path / "out.jsonl", "--part-rows", "5") == 0
    before, after = read(source), read(tmp_path / "out.jsonl")
    model = RewardModel.from_pretrained(folder)
    for given, found in zip(before, after, strict=True):
        assert {key: found[key] for key in given} == given
        if given["id"] == "bad":
            assert found["score"] is None and found["error"].startswith("shape: found the keys id, text")
            continue
        chats = [given["prompt"] + [{"role": "assistant", "content": c["content"]}] for c in given["completions"]]
        np.testing.assert_allclose(found["scores"], [model.score([chat])[0] for chat in chats], rtol=1e-4, atol=1e-6)
        assert found["truncated"] == [False] * 3 and min(found["tokens"]) > 3
    shown = capsys.readouterr().out
    assert shown.startswith("12 rows, 33 scores, 0 of them of truncated conversations")
    assert "rows without a score: shape 1; single responses without: 0; such as row 5: shape: found the keys" in shown
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]


def test_every_kind_of_file_says_the_same(folder, source, tmp_path):
    plain = tmp_path / "out.jsonl"
    assert score(folder, source, plain, "--part-rows", "5") == 0
    packed = tmp_path / "in.jsonl.gz"
    packed.write_bytes(gzip.compress(source.read_bytes()))
    assert score(folder, packed, tmp_path / "out.jsonl.gz", "--part-rows", "5") == 0
    assert gzip.decompress((tmp_path / "out.jsonl.gz").read_bytes()) == plain.read_bytes()
    pq.write_table(pa.Table.from_pylist(read(source)), tmp_path / "in.parquet")
    assert score(folder, tmp_path / "in.parquet", tmp_path / "out.parquet", "--part-rows", "5") == 0
    table = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [row["scores"] for row in table] == [row.get("scores") for row in read(plain)]
    assert [row["error"] for row in table].count(None) == 11


def test_the_best_response_of_each_row(folder, source, tmp_path):
    assert score(folder, source, tmp_path / "all.jsonl") == 0
    assert score(folder, source, tmp_path / "best.jsonl", "--best-of") == 0
    for every, best in zip(read(tmp_path / "all.jsonl"), read(tmp_path / "best.jsonl"), strict=True):
        if every["id"] != "bad":
            assert best["best"] == int(np.argmax(every["scores"])) and best["score"] == max(every["scores"])
            assert best["response"] == every["completions"][best["best"]]["content"]
            assert "completions" not in best and best["extra"] == every["extra"]


def killed_at_sync(count, words):
    """A command that is killed as it syncs for this number of times."""
    sync, seen = os.fsync, []

    def fsync(handle):
        seen.append(handle)
        if len(seen) == count:
            os.kill(os.getpid(), signal.SIGKILL)
        sync(handle)

    os.fsync = fsync
    sys.exit(run(words))


def test_a_killed_run_goes_on_and_gives_the_same_bytes(folder, source, tmp_path):
    assert score(folder, source, tmp_path / "whole.jsonl.gz", "--part-rows", "2") == 0
    output = tmp_path / "cut.jsonl.gz"
    words = ["score", str(folder), str(source), "-o", str(output), "--device", "cpu", "--part-rows", "2"]
    # A file and its folder are synced for each write: 7 for group and manifest, 4 for each part.
    assert copies.ended(copies.start(lambda: killed_at_sync(16, words))) == -signal.SIGKILL
    assert Parts(output).missing(6) == [2, 3, 4, 5] and not output.exists()
    assert list(Parts(output).folder.glob(".tmp-*"))  # it was writing
    assert score(folder, source, output, "--part-rows", "2") == 0
    assert output.read_bytes() == (tmp_path / "whole.jsonl.gz").read_bytes()
    assert not Parts(output).folder.exists()


def interrupted(monkeypatch, after):
    """Have the next run end after so many parts."""
    add, done = Parts.add, []

    def adding(self, *args):
        if len(done) == after:
            raise KeyboardInterrupt
        done.append(add(self, *args))

    monkeypatch.setattr(Parts, "add", adding)


@pytest.mark.parametrize("change", ["input", "model", "options", "restart"])
def test_parts_of_other_work_are_refused_or_thrown_away(folder, source, tmp_path, monkeypatch, capsys, change):
    model, output = shutil.copytree(folder, tmp_path / "m"), tmp_path / "out.jsonl"
    with monkeypatch.context() as patch:
        interrupted(patch, 2)
        assert score(model, source, output, "--part-rows", "3") == 130
    assert len(Parts(output).missing(4)) == 2
    options = ["--part-rows", "3"]
    if change == "input":
        write(source, read(source)[::-1])
    elif change == "model":
        write_card(model, {**read_card(model), "step": 1})
    else:
        options += ["--best-of"]
    if change == "restart":
        assert score(model, source, output, *options, "--restart") == 0
        assert "best" in read(output)[0]
    else:
        assert score(model, source, output, *options) == 6
        assert f"parts of other work: {'best_of' if change == 'options' else change} differ" in capsys.readouterr().err


def test_an_output_is_not_replaced_unasked(folder, source, tmp_path, capsys):
    output = write(tmp_path / "out.jsonl", [{"old": 1}])
    assert score(folder, source, output) == 6
    assert "out.jsonl exists" in capsys.readouterr().err and read(output) == [{"old": 1}]
    assert score(folder, source, output, "--restart") == 0
    assert len(read(output)) == 12


def test_streams_from_stdin_to_stdout(folder, source, tmp_path, monkeypatch, capsysbinary):
    assert score(folder, source, tmp_path / "out.jsonl", "--part-rows", "4") == 0
    capsysbinary.readouterr()
    for given, options in (("-", ["--part-rows", "4"]), (str(source), ["--part-rows", "4"])):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(source.read_bytes())))
        assert score(folder, given, "-", *options) == 0
        assert capsysbinary.readouterr().out == (tmp_path / "out.jsonl").read_bytes()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(source.read_bytes())))
    assert score(folder, "-", tmp_path / "from-stdin.jsonl", "--part-rows", "4") == 0
    assert (tmp_path / "from-stdin.jsonl").read_bytes() == (tmp_path / "out.jsonl").read_bytes()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"\n")))
    for output in ("-", tmp_path / "empty.jsonl"):
        assert score(folder, "-", output) == 3
        assert b"stdin holds no rows" in capsysbinary.readouterr().err
    assert not list(tmp_path.glob("empty*"))


def as_rank(monkeypatch, rank, world=2):
    for name, value in {"RANK": rank, "WORLD_SIZE": world, "LOCAL_RANK": rank}.items():
        monkeypatch.setenv(name, str(value))


def test_two_processes_write_the_bytes_of_one(folder, source, tmp_path, capfd):
    assert score(folder, source, tmp_path / "one.jsonl", "--part-rows", "2") == 0
    output = tmp_path / "two.jsonl"
    capfd.readouterr()
    words = ["score", str(folder), str(source), "-o", str(output), "--device", "cpu", "--part-rows", "2", "--quiet"]
    ranks = [copies.start(copies.bradley(words), **rank_env(rank)) for rank in (1, 0)]
    assert [copies.ended(rank) for rank in ranks] == [0, 0]
    assert output.read_bytes() == (tmp_path / "one.jsonl").read_bytes() and not Parts(output).folder.exists()
    assert capfd.readouterr().out.startswith("12 rows, 33 scores")


def rank_env(rank, world=2):
    return {"RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_RANK": str(rank)}


def test_streams_and_restart_are_for_one_process(folder, source, tmp_path, monkeypatch):
    as_rank(monkeypatch, 0)
    for words in ((source, "-"), ("-", tmp_path / "out.jsonl"), (source, tmp_path / "out.jsonl", "--restart")):
        assert score(folder, *words) == 2


@pytest.mark.parametrize(
    "given",
    [
        {"RANK": "5", "WORLD_SIZE": "2"},
        {"RANK": "3"},
        {"WORLD_SIZE": "2"},
        {"RANK": "1", "WORLD_SIZE": ""},
        {"RANK": "x", "WORLD_SIZE": "2"},
        {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "one"},
        {"RANK": "-1", "WORLD_SIZE": "2"},
    ],
    ids=str,
)
def test_every_process_with_a_broken_environment_says_so(given, folder, source, tmp_path, monkeypatch, capsys):
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert score(folder, source, tmp_path / "out.jsonl") == 2
    shown = capsys.readouterr().err
    assert "the environment names no process of a group: " in shown and "bradley score" in shown
    assert "train" not in shown and sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl"]


def test_a_run_without_a_finished_model_is_named_with_its_last_checkpoint(folder, source, tmp_path, capsys):
    for step in ("step-1", "step-2"):
        shutil.copytree(folder, tmp_path / "run" / "checkpoints" / step)
    assert score(tmp_path / "run", source, tmp_path / "out.jsonl") == 4
    assert f"hint: give {tmp_path}/run/checkpoints/step-2" in capsys.readouterr().err


def test_a_full_stdout_is_an_error_in_words(folder, source, capfd):
    words = ["score", str(folder), str(source), "-o", "-", "--quiet", "--device", "cpu"]
    with open("/dev/full", "wb") as full:
        assert copies.ended(copies.start(copies.bradley(words), full.fileno())) == 7
    error, hint = capfd.readouterr().err.splitlines()
    assert hint.startswith("hint: ")
    assert error.startswith("error: ") and "stdout" in error and error.endswith("No space left on device")


def test_a_closed_stdout_is_an_error_before_the_model_is_loaded(source, tmp_path, monkeypatch, capsys):
    """The entry point opens a closed stdout to nowhere."""
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(fileno=lambda: 1, flush=lambda: None))
    monkeypatch.setattr(sys, "__stdout__", None)
    assert score(tmp_path / "no model", source, "-") == 7
    assert "stdout is closed" in capsys.readouterr().err


def test_half_of_a_surrogate_pair_is_kept_in_lines_and_refused_by_parquet(folder, tmp_path, capsys):
    source = write(tmp_path / "in.jsonl", [rows(1)[0], {**rows(1)[0], "note": "\ud800"}])
    assert score(folder, source, tmp_path / "out.jsonl") == 0
    assert read(tmp_path / "out.jsonl")[1]["note"] == "\ud800"
    assert score(folder, source, tmp_path / "out.parquet") == 3
    assert f"error: {source}, row 2, field note: cannot be written as Parquet: " in capsys.readouterr().err


def test_a_reader_of_stdout_that_has_gone_ends_the_command(folder, tmp_path, capfd):
    source = write(tmp_path / "in.jsonl", rows(200, responses=1))
    words = ["score", str(folder), str(source), "-o", "-", "--quiet", "--device", "cpu", "--part-rows", "5"]
    reader, writer = os.pipe()

    def command():
        os.close(reader)
        copies.bradley(words)()

    child = copies.start(command, writer)
    os.close(writer)
    shown = b""
    while b"\n" not in shown:
        shown += os.read(reader, 256)
    os.close(reader)
    assert copies.ended(child) == 1
    assert json.loads(shown.partition(b"\n")[0])["id"] == "r0" and capfd.readouterr().err == ""


@pytest.mark.nightly
def test_a_reader_of_stdout_that_has_gone_ends_a_fresh_interpreter_without_a_word(folder, tmp_path):
    source = write(tmp_path / "in.jsonl", rows(200, responses=1))
    words = f"{sys.executable} -m bradley score {folder} {source} -o - --quiet --device cpu --part-rows 5 | head -n 1"
    done = subprocess.run(["sh", "-c", words], capture_output=True, text=True)
    assert json.loads(done.stdout)["id"] == "r0" and done.stderr == ""


def test_the_summary_counts_the_whole_output_after_a_cut(folder, source, tmp_path, monkeypatch, capsys):
    output = tmp_path / "out.jsonl"
    with monkeypatch.context() as patch:
        interrupted(patch, 3)
        assert score(folder, source, output, "--part-rows", "2") == 130
    capsys.readouterr()
    words = ["score", str(folder), str(source), "-o", str(output), "--device", "cpu", "--part-rows", "2", "--json"]
    assert run(words) == 0
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    tokens = sum(sum(row.get("tokens", [])) for row in read(output))
    counted = {"rows": 12, "scored": 11, "responses": 33, "tokens": tokens, "truncated": 0, "failed": {"shape": 1}}
    assert {name: found[name] for name in counted} == counted
    assert json.loads(shown.err.splitlines()[-1])["total"] == 6  # the rows that were left


def test_a_response_above_the_limit_leaves_the_others(folder, tmp_path, capsys):
    given = rows(3)
    given[1]["completions"][2]["content"] = "river " * 200
    source = write(tmp_path / "in.jsonl", given)
    assert score(folder, source, tmp_path / "all.jsonl") == 0
    assert (
        "rows without a score: none; single responses without: 1; such as row 2: over_long" in capsys.readouterr().out
    )
    first, gap, last = read(tmp_path / "all.jsonl")
    assert gap["scores"][2] is None and gap["tokens"][2] > 200 and gap["error"].startswith("over_long: a response of ")
    assert all(isinstance(found, float) for found in (*first["scores"], *gap["scores"][:2], *last["scores"]))
    assert "error" not in first and "error" not in last
    assert score(folder, source, tmp_path / "best.jsonl", "--best-of") == 0
    best = read(tmp_path / "best.jsonl")[1]
    assert best["score"] == max(gap["scores"][:2]) and best["error"] == gap["error"]


def test_a_file_without_any_score_is_written_and_an_error(folder, tmp_path, capsys):
    source = write(tmp_path / "in.jsonl", [{"prompt": "Q", "responses": ["A\0", "B\0"]}] * 3)
    assert score(folder, source, tmp_path / "out.jsonl") == 3
    assert "none of 3 rows could be scored; row 1: bad_characters: NUL" in capsys.readouterr().err
    assert all(row["score"] is None for row in read(tmp_path / "out.jsonl"))


def test_a_file_without_a_row_to_read_stops_before_the_model_is_loaded(source, tmp_path, capsys):
    source = write(tmp_path / "in.jsonl", [UNREADABLE] * 3)
    assert score(tmp_path / "no model", source, tmp_path / "out.jsonl") == 3
    shown = capsys.readouterr().err
    assert (
        "no column holds answers to score; the columns of the first 3 rows are id (bad 3), text (no conversation 3)"
        in shown
    )
    assert "--data.columns.prompt NAME --data.columns.response NAME" in shown
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize(
    "words, code, message",
    [
        (["in.csv", "-o", "out.csv"], 2, "out.csv is not a kind of file"),
        (["in.csv", "-o", "./"], 2, ". is not a kind of file"),
        (["in.csv", "-o", "/"], 2, "/ is not a kind of file"),
        (["in.csv", "-o", ".."], 2, ".. is not a kind of file"),
        (["missing.jsonl", "-o", "out.jsonl"], 3, "missing.jsonl is not a file"),
        (["in.jsonl", "-o", "-", "--restart"], 2, "--restart has no effect with -o -"),
        (["in.jsonl", "-o", "-", "--json"], 2, "stdout holds either"),
        (["in.jsonl", "-o", "out.jsonl", "--json", "--quiet"], 2, "--quiet and --json are both given"),
        (["torn.jsonl", "-o", "out.jsonl"], 3, "torn.jsonl, line 2: not JSON"),
        (["in.jsonl"], 2, "Missing option '-o'"),
    ],
)
def test_bad_command_lines(folder, tmp_path, monkeypatch, capsys, words, code, message):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "in.jsonl", rows(2))
    (tmp_path / "torn.jsonl").write_text((tmp_path / "in.jsonl").read_text()[:-30])
    (tmp_path / "in.csv").write_text("prompt,response\nQ,A\n")
    assert run(["score", str(folder), *words, "--device", "cpu"]) == code
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("out.*"))


def test_torchrun_says_who_this_process_is(monkeypatch):
    assert rank_from(os.environ) == Rank()
    as_rank(monkeypatch, 3, 4)
    assert rank_from(os.environ) == Rank(3, 4, 3, 4)


def test_batches_and_reading_ahead_keep_order():
    assert list(batched(zip(range(5), "abcde", strict=True), 2)) == [
        (0, [(0, "a"), (1, "b")]),
        (1, [(2, "c"), (3, "d")]),
        (2, [(4, "e")]),
    ]
    assert list(ahead(iter(range(50)))) == list(range(50))

    made = []
    found = ahead(made.append(number) or number for number in range(1, 9))
    assert next(found) == 1
    deadline = time.monotonic() + 5
    while made != [1, 2] and time.monotonic() < deadline:
        time.sleep(0.01)
    assert made == [1, 2]
    found.close()

    def broken():
        yield 1
        raise ValueError("here")

    found = ahead(broken())
    assert next(found) == 1
    with pytest.raises(ValueError, match="here"):
        next(found)


def test_memory_holds_a_few_parts_at_most(folder, tmp_path, monkeypatch):
    source, held, most = write(tmp_path / "in.jsonl", rows(40, responses=1)), [0], [0]
    prepare, add = file.Work.prepare, Parts.add

    def preparing(self, number, rows):
        held[0] += 1
        most[0] = max(most[0], held[0])
        return prepare(self, number, rows)

    def adding(self, *args):
        held[0] -= 1
        add(self, *args)

    monkeypatch.setattr(file.Work, "prepare", preparing)
    monkeypatch.setattr(Parts, "add", adding)
    assert score(folder, source, tmp_path / "out.jsonl", "--part-rows", "2") == 0
    assert most[0] <= 2
    assert os.path.getsize(tmp_path / "out.jsonl") > os.path.getsize(source)
