"""A finished run whose files changed: named, and made again or refused; never a number, never "nothing to do"."""

import errno
import io
import json
import os
import shutil
from pathlib import Path

import pytest

from bradley.common.files import write_text
from bradley.errors import BradleyError, CheckpointError, UserError
from bradley.report.page import write_report
from bradley.runs import checks
from bradley.runs.run import read_results, read_run
from bradley.runs.status import read_status
from tests.training.interrupted import fingerprint, quick_runs, run

pytestmark = pytest.mark.slow
AT_NIGHT = pytest.mark.nightly
MADE_AGAIN = (
    "model/bradley.json",
    "model/model.safetensors",
    "model/tokenizer.json",
    "model/config.json",
    "results.json",
    "config.json",
    "environment.json",
    "data_report.json",
    "examples.json",
    "eval/valid-best.jsonl",
    "eval/train_probe-last.jsonl",
)
ONLY_COPY = ("run.json", "metrics.jsonl", "timing.jsonl", "eval/valid-step-0.jsonl", "eval/samples.jsonl")


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def edit(path):
    data = bytearray(path.read_bytes())
    # A digit, if there is any: the file stays readable, and says another number.
    place = next((i for i, byte in enumerate(data) if i > len(data) // 2 and byte in b"2345678"), len(data) // 2)
    data[place] ^= 1
    path.write_bytes(data)


def swap(path):
    path.write_bytes(b"{}\n")


def put_folder(path):
    path.unlink()
    path.mkdir()


HARM = {"gone": os.unlink, "empty": lambda path: path.write_bytes(b""), "cut": cut, "edited": edit, "swapped": swap,
        "a folder": put_folder}  # fmt: skip


@pytest.fixture(autouse=True)
def quick(tmp_path_factory, monkeypatch):
    """One cache of tokens for all runs, and no figures."""
    quick_runs(monkeypatch, tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """A finished run, never changed."""
    with pytest.MonkeyPatch.context() as patch:
        quick_runs(patch, tmp_path_factory.getbasetemp())
        run(tmp_path_factory.mktemp("ended") / "run")
    return tmp_path_factory.getbasetemp() / "ended0" / "run"


@pytest.fixture
def folder(ended, tmp_path):
    return shutil.copytree(ended, tmp_path / "run")


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_file_that_is_read_back_has_its_hash(ended):
    assert set(MADE_AGAIN) | set(ONLY_COPY) <= set(read_status(ended)["files"])


def test_a_whole_run_is_left_as_it_is(folder, capsys):
    before = contents(folder)
    assert run(folder).results["steps"] == 15
    assert contents(folder) == before and capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("name", "harm"),
    [("model/model.safetensors", "gone"), ("model/tokenizer.json", "edited"), ("results.json", "edited"),
     pytest.param("config.json", "cut", marks=AT_NIGHT), ("model", "gone"), ("status.json", "empty"),
     pytest.param("eval/valid-best.jsonl", "swapped", marks=AT_NIGHT),
     ("examples.json", "a folder")],
)  # fmt: skip
def test_a_changed_file_is_named_and_made_again(ended, folder, capsys, name, harm):
    if name == "model":
        shutil.rmtree(folder / name)
    else:
        HARM[harm](folder / name)
    if harm == "a folder":
        # A folder in the place of a file is nothing that bradley may remove.
        with pytest.raises(BradleyError, match=r"examples\.json"):
            run(folder)
        return
    assert run(folder).results["sets"] == read_results(ended).results["sets"]
    assert f"{folder / name}" in capsys.readouterr().err.replace("\n", "")
    # The edited model is kept beside the new one: the edit may be somebody's work.
    made = {name: digest for name, digest in fingerprint(folder).items() if not name.startswith(".bad")}
    assert made == fingerprint(ended) and (folder / ".bad-model").exists() == (harm == "edited" and "model/" in name)
    assert run(folder).results["steps"] == 15 and "again" not in capsys.readouterr().err


@pytest.mark.parametrize("name", ONLY_COPY)
@pytest.mark.parametrize("harm", ["gone", "edited"])
def test_a_changed_file_that_cannot_be_made_again_is_refused(folder, name, harm):
    HARM[harm](folder / name)
    before = contents(folder)
    with pytest.raises(CheckpointError, match=name) as caught:
        run(folder)
    assert caught.value.exit_code == 4 and caught.value.hint and contents(folder) == before


def test_without_a_checkpoint_nothing_is_made_again(folder, capsys):
    shutil.rmtree(folder / "checkpoints")
    assert run(folder).results["steps"] == 15
    (folder / "model/model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="none of its checkpoints is there") as caught:
        run(folder)
    assert caught.value.exit_code == 4 and "model/model.safetensors is missing" in capsys.readouterr().err


@pytest.mark.parametrize("name", [*MADE_AGAIN[4:], *ONLY_COPY[1:]])
@pytest.mark.parametrize("harm", HARM)
def test_no_reader_believes_a_changed_file(folder, name, harm):
    HARM[harm](folder / name)
    for read in (read_run, write_report):
        with pytest.raises(BradleyError, match=name.rpartition("/")[2]) as caught:
            read(folder)
        assert caught.value.exit_code in (2, 3, 4) and caught.value.hint
    if name == "results.json":
        with pytest.raises(CheckpointError, match=r"results\.json"):
            read_results(folder)


def test_rows_of_a_run_are_checked_and_a_wrong_name_is_said(folder):
    ended = read_results(folder)
    assert len(ended.rows("valid")) == 12
    for name, label in (("test", "best"), ("valid", "worst"), ("../../x", "best"), ("x\x00", "best")):
        with pytest.raises(UserError, match="holds no scored rows"):
            ended.rows(name, label)
    edit(folder / "eval/valid-best.jsonl")
    with pytest.raises(CheckpointError, match=r"valid-best\.jsonl"):
        ended.rows("valid")
    (folder / "eval/valid-best.jsonl").unlink()
    with pytest.raises(CheckpointError, match=r"valid-best\.jsonl is missing"):
        ended.rows("valid")


def forget_hashes(folder, *names):
    status = json.loads((folder / "status.json").read_text())
    for name in names or ("files", checks.ITSELF):
        del status[name]
    (folder / "status.json").write_text(json.dumps(status))


def without(name):
    return lambda status: status["files"].pop(name)


EDITS = {
    "an entry less": without("results.json"),
    "no entries": lambda status: status["files"].clear(),
    "no hashes": lambda status: status.pop("files"),
    "another state": lambda status: status.update(state="failed"),
    "another hash": lambda status: status["files"].update({"results.json": "0" * 64}),
    "a key more": lambda status: status.update(more=1),
    "another hash of itself": lambda status: status.update({checks.ITSELF: "0" * 64}),
}
EDITS_BY_DAY = ("an entry less", "no hashes", "another hash of itself")
"""Each ends in the same refusal of a wrong hash of the whole file; the rest is tried at night."""


def edit_results(folder):
    results = json.loads((folder / "results.json").read_text())
    results["sets"]["valid"]["accuracy"]["value"] = 0.99
    (folder / "results.json").write_text(json.dumps(results))


@pytest.mark.parametrize(
    "edit", [name if name in EDITS_BY_DAY else pytest.param(name, marks=AT_NIGHT) for name in EDITS]
)
def test_an_edited_status_is_named_and_nothing_there_is_believed(ended, folder, capsys, edit):
    edit_results(folder)
    status = json.loads((folder / "status.json").read_text())
    EDITS[edit](status)
    (folder / "status.json").write_text(json.dumps(status))
    for read in (read_run, read_results, write_report):
        with pytest.raises(CheckpointError, match=r"status\.json was edited") as caught:
            read(folder)
        assert caught.value.hint
    assert run(folder).results["sets"] == read_results(ended).results["sets"]
    assert "status.json was edited" in capsys.readouterr().err.replace("\n", "")
    assert fingerprint(folder) == fingerprint(ended)


@pytest.mark.parametrize(
    "name",
    [
        name if name in ("run.json", "results.json", checks.MODEL_CARD) else pytest.param(name, marks=AT_NIGHT)
        for name in (*checks.READ_BACK, checks.MODEL_CARD)
    ],
)
def test_a_file_without_its_hash_in_an_older_status_is_not_believed(ended, folder, capsys, name):
    forget_hashes(folder, checks.ITSELF)
    status = json.loads((folder / "status.json").read_text())
    without(name)(status)
    (folder / "status.json").write_text(json.dumps(status))
    if name not in ("run.json", checks.MODEL_CARD):
        with pytest.raises(CheckpointError, match=f"holds no hash of {name}"):
            read_run(folder)
    assert run(folder).results["sets"] == read_results(ended).results["sets"]
    assert f"holds no hash of {name}" in capsys.readouterr().err.replace("\n", "")
    assert fingerprint(folder) == fingerprint(ended)


def test_a_status_without_a_hash_of_itself_is_taken_and_that_is_said_once(folder, capsys):
    forget_hashes(folder, checks.ITSELF)
    checks.say_once.cache_clear()
    assert run(folder).results["steps"] == 15
    assert capsys.readouterr().err.count("without a hash of status.json") == 1
    read_run(folder)
    write_report(folder)
    assert capsys.readouterr().err.count("without a hash of status.json") == 1


@pytest.mark.parametrize("own", [True, False], ids=["signed", "older"])
@pytest.mark.parametrize(
    "name",
    ["eval/other-best.jsonl", "eval/valid-worst.jsonl", "model/vocab.txt", "model/added_tokens.json",
     "model/model-00002-of-00002.safetensors", "model/templates/other.jinja"],
)  # fmt: skip
def test_an_added_file_that_would_be_believed_is_refused_and_left_alone(folder, name, own):
    if not own:
        forget_hashes(folder, checks.ITSELF)
    (folder / name).parent.mkdir(exist_ok=True)
    shutil.copy(folder / "eval/valid-best.jsonl", folder / name)
    before = contents(folder)
    for read in (run, read_run, write_report) if name.startswith("eval") else (run,):
        with pytest.raises(CheckpointError, match=name) as caught:
            read(folder)
        assert "move" in caught.value.hint and contents(folder) == before


def test_an_added_file_that_nobody_believes_harms_nothing(folder, capsys):
    for name in ("notes.txt", "eval/notes.txt", "model/README.md", "model/.DS_Store", "plots/more.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("mine")
    assert run(folder).results["steps"] == 15
    read_run(folder)
    assert capsys.readouterr().err == ""


def test_a_run_of_an_earlier_version_is_taken_as_it_is_and_that_is_said_once(folder, capsys):
    forget_hashes(folder)
    checks.say_once.cache_clear()
    assert run(folder).results["steps"] == 15
    assert capsys.readouterr().err.count("without hashes") == 1
    read_run(folder)
    write_report(folder)
    assert capsys.readouterr().err.count("without hashes") == 1


CARDS = [
    (harm, older)
    for harm in ("gone", "empty", "cut", "swapped", "a folder", "a brace", "no text")
    for older in (False, True)
]
CARDS_BY_DAY = [("gone", False), ("swapped", True), ("a folder", False), ("no text", True)]
"""A card that is absent, of another content, of another kind, and of no text."""


@pytest.mark.parametrize(
    ("harm", "older"), [card if card in CARDS_BY_DAY else pytest.param(*card, marks=AT_NIGHT) for card in CARDS]
)
def test_a_model_without_a_usable_card_is_set_aside_and_published_again(ended, folder, capsys, harm, older):
    """Nothing inside says that bradley wrote the files: they may be somebody's, and are kept."""
    card, model = folder / "model/bradley.json", folder / "model"
    if older:
        forget_hashes(folder)
    broken = {"a brace": lambda path: path.write_text("{"), "no text": lambda path: path.write_bytes(b"\xff\xfe")}
    {**HARM, **broken}[harm](card)
    (model / "mine.txt").write_text("mine")
    before = {path.relative_to(model): path.read_bytes() for path in model.rglob("*") if path.is_file()}
    assert run(folder).results["sets"] == read_results(ended).results["sets"]
    aside = folder / ".bad-model"
    said = capsys.readouterr().err.replace("\n", "")
    assert {path.relative_to(aside): path.read_bytes() for path in aside.rglob("*") if path.is_file()} == before
    assert said.count("now called .bad-model") == 1
    wanted = fingerprint(ended)
    assert {name: digest for name, digest in fingerprint(folder).items() if not name.startswith(".bad")} == wanted
    assert run(folder).results["steps"] == 15 and "again" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "name",
    [
        *("mine/a.txt", "config.json"),  # a file more, and one of the run that was edited
        *(pytest.param(name, marks=AT_NIGHT) for name in ("README.md", "model.py", "chat_template.jinja")),
    ],
)
def test_what_somebody_put_into_the_model_folder_is_kept(folder, capsys, name):
    """Another file of the run is gone, so the model is published again."""
    path = folder / "model" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text((path.read_text() if path.exists() else "") + "\n")
    before = path.read_bytes()
    (folder / "results.json").unlink()
    run(folder)
    assert (folder / ".bad-model" / name).read_bytes() == before
    assert f"what bradley did not write ({name})" in capsys.readouterr().err.replace("\n", "")
    (folder / "results.json").unlink()
    run(folder)
    assert not (folder / ".bad-model-2").exists(), "nothing of anybody else was inside the second time"


def test_a_second_unusable_model_gets_a_name_of_its_own(folder):
    for name in (".bad-model", ".bad-model-2"):
        (folder / "model/bradley.json").unlink()
        run(folder)
        assert (folder / name / "model.safetensors").is_file()


def test_a_file_in_the_place_of_the_model_is_set_aside(ended, folder):
    shutil.rmtree(folder / "model")
    (folder / "model").write_text("mine")
    run(folder)
    assert (folder / ".bad-model").read_text() == "mine"
    wanted = fingerprint(ended)
    assert {name: digest for name, digest in fingerprint(folder).items() if not name.startswith(".bad")} == wanted


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        *(("model/model.safetensors", "gone"), ("results.json", "cut")),
        *(
            pytest.param(name, harm, marks=AT_NIGHT)
            for name, harm in (
                ("model/model.safetensors", "cut"), ("results.json", "gone"), ("config.json", "gone"),
                ("config.json", "cut"),
            )
        ),
    ],
)  # fmt: skip
def test_a_run_of_an_earlier_version_is_made_whole_again(ended, folder, capsys, name, harm):
    forget_hashes(folder)
    HARM[harm](folder / name)
    assert run(folder).results["sets"] == read_results(ended).results["sets"]
    assert name in capsys.readouterr().err.replace("\n", "")
    assert fingerprint(folder) == fingerprint(ended)


def forbid(monkeypatch, path):
    """Let the system refuse to open a file, as for another user; the superuser may open any."""
    real = io.open

    def refusing(file, *given, **named):
        if isinstance(file, Path) and file == path:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(file))
        return real(file, *given, **named)

    monkeypatch.setattr(io, "open", refusing)


@pytest.mark.parametrize(
    ("name", "read", "hashed"),
    [("run.json", run, True), ("metrics.jsonl", run, True), ("run.json", run, False)]
    + [(name, read, hashed) for hashed in (True, False) for name, read in (
        ("status.json", read_run), ("results.json", read_run), ("metrics.jsonl", read_run),
        ("eval/valid-best.jsonl", write_report), ("results.json", read_results))],
)  # fmt: skip
def test_a_file_that_may_not_be_read_is_named(folder, monkeypatch, name, read, hashed):
    if not hashed:
        forget_hashes(folder)
    forbid(monkeypatch, folder / name)
    with pytest.raises(BradleyError, match="Permission denied") as caught:
        read(folder)
    assert caught.value.exit_code in (3, 4, 7) and name in caught.value.message


def test_a_report_that_is_gone_is_written_again_and_another_is_not(folder, monkeypatch):
    monkeypatch.setattr(
        "bradley.training.run.write_pages", lambda folder, console: write_text(folder / "report.html", "new")
    )
    run(folder)
    assert (folder / "report.html").read_text() == "new"
    (folder / "report.html").write_text("old")
    run(folder)
    assert (folder / "report.html").read_text() == "old"
