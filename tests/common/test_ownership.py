"""Only what is ours is removed or replaced; nothing that a link leads to is ever touched; an input is no output."""

import contextlib
import json
import os
import secrets
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bradley.common import files, ownership
from bradley.common.ownership import Mark, is_ours, refuse_filled, refuse_foreign, refuse_input_as_output, refuse_inside
from bradley.errors import BradleyError, DiskError, DiskFullError, RunFolderError, UserError
from bradley.model.folder.card import CARD, MODEL_MARK
from bradley.runs.claim import make_run_folder
from bradley.runs.layout import CHECKPOINT_MARK, MANIFEST, RECORD, RUN_MARKS, STARTS, STATUS
from bradley.runs.record import read_record

pytestmark = pytest.mark.transformers

MARK = Mark("mark.json", frozenset({"ours"}))
TOKEN = "0123456789abcdef"
NAMES = (
    "a",
    "model",
    "checkpoints",
    "eval",
    ".old-model",
    "step-000001",
    f".tmp-x-{TOKEN}",
    f".trash-y-{TOKEN}",
    "mark.json",
)
KINDS = ("file", "folder", "link to file", "link to folder", "link to outside", "link to itself", "dangling link")
TREES = st.recursive(
    st.sampled_from(KINDS),
    lambda inner: st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)
"""A kind of entry, or a folder with entries by name."""


def grow(place: Path, tree, outside: Path) -> None:
    """Make a tree; links lead to `outside`, which holds a file and a folder with content."""
    if isinstance(tree, dict) or tree == "folder":
        place.mkdir()
        for name, inner in tree.items() if isinstance(tree, dict) else ():
            grow(place / name, inner, outside)
    elif tree == "file":
        place.write_text("{}")
    else:
        targets = {"link to file": outside / "file", "link to folder": outside / "folder", "link to outside": outside}
        place.symlink_to(targets.get(tree, place if tree == "link to itself" else outside / "nothing"))


def tree_of(folder: Path) -> dict[str, str]:
    """Every entry below a folder, links by where they lead."""
    found = {}
    for place, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(place, name)
            kind = f"link {os.readlink(path)}" if path.is_symlink() else "folder" if path.is_dir() else path.read_text()
            found[str(path.relative_to(folder))] = kind
    return found


def fill(target: Path) -> None:
    (target / "new").write_text("new")


DEEDS = {
    "remove_folder": lambda folder: files.remove_folder(folder, [MARK]),
    "replace_folder": lambda folder: files.replace_folder(folder, fill, [MARK]),
    "replace_new": lambda folder: files.replace_folder(folder, fill),
    "remove_inside": lambda folder: files.remove_inside(folder, NAMES, [MARK]),
    "recover": lambda folder: files.recover(folder, [MARK]),
    "sweep": lambda folder: files.sweep(folder, [MARK]),
    "set_aside": lambda folder: files.set_aside(folder, ".bad"),
    "remove_draft": lambda folder: files.remove_draft(folder, TOKEN),
}


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    return tmp_path_factory.mktemp("trees")


def planted(ground: Path, tree, beside) -> tuple[Path, Path]:
    """A new folder `place/top` with a tree, entries beside it, and an outside."""
    root = ground / f"{secrets.token_hex(8)}"
    outside = root / "outside"
    (outside / "folder").mkdir(parents=True)
    (outside / "file").write_text("mine")
    (outside / "folder" / "mark.json").write_text(json.dumps({"ours": 1}))
    (root / "place").mkdir()
    grow(root / "place" / "top", tree, outside)
    for name, inner in beside.items():
        grow(root / "place" / name, inner, outside)
    return root / "place" / "top", outside


BESIDE = st.dictionaries(st.sampled_from((".old-top", f".tmp-top-{TOKEN}", "other")), TREES, max_size=2)


@pytest.mark.parametrize("deed", DEEDS)
@given(tree=TREES, beside=BESIDE, ours=st.booleans())
def test_no_deed_changes_what_a_link_leads_to(ground, deed, tree, beside, ours):
    top, outside = planted(ground, tree, beside)
    if ours and top.is_dir() and not top.is_symlink() and not os.path.lexists(top / "mark.json"):
        (top / "mark.json").write_text(json.dumps({"ours": True}))
    before = tree_of(outside)
    with contextlib.suppress(BradleyError, OSError):  # a refusal is as good
        DEEDS[deed](top)
    assert tree_of(outside) == before


@pytest.mark.parametrize("deed", ["remove_folder", "replace_folder", "replace_new", "remove_inside"])
@given(tree=TREES, beside=BESIDE)
def test_what_is_not_ours_is_refused_before_the_first_byte(ground, deed, tree, beside):
    top, _ = planted(ground, tree, beside)
    if top.is_symlink() or is_ours(top, [MARK]) or (top.is_dir() and not any(top.iterdir())):
        return
    before = tree_of(top.parent)
    with pytest.raises(RunFolderError) as caught:
        DEEDS[deed](top)
    assert caught.value.exit_code == 6 and caught.value.hint and tree_of(top.parent) == before


@pytest.mark.parametrize("deed", ["remove_folder", "replace_folder", "replace_new"])
def test_of_a_link_the_link_alone_goes(deed, tmp_path):
    top, outside = planted(tmp_path, "link to folder", {})
    DEEDS[deed](top)
    assert not top.is_symlink() and (outside / "folder" / "mark.json").exists()
    assert [path.name for path in top.parent.iterdir()] == (["top"] if deed.startswith("replace") else [])


def test_an_old_folder_of_somebody_else_is_neither_taken_nor_removed(tmp_path):
    (tmp_path / ".old-out").mkdir()
    (tmp_path / ".old-out" / "thesis.txt").write_text("mine")
    for _ in range(2):
        files.replace_folder(tmp_path / "out", lambda target: (target / "mark.json").write_text("{}"), [])
        assert (tmp_path / ".old-out" / "thesis.txt").read_text() == "mine"
        (tmp_path / "out" / "mark.json").unlink()


def test_files_that_come_while_a_folder_is_written_are_not_replaced(tmp_path):
    def slow(target):
        fill(target)
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "thesis.txt").write_text("mine")

    with pytest.raises(RunFolderError, match="holds files"):
        files.replace_folder(tmp_path / "out", slow)
    assert tree_of(tmp_path) == {"out": "folder", "out/thesis.txt": "mine"}


MARKS = [(mark, RUN_MARKS) for mark in RUN_MARKS] + [(MODEL_MARK, [MODEL_MARK]), (CHECKPOINT_MARK, [CHECKPOINT_MARK])]


OTHERS = st.dictionaries(st.sampled_from(("step", "starts", "state", "x")), st.integers()).map(json.dumps)


@pytest.mark.parametrize(("mark", "marks"), MARKS, ids=lambda given: getattr(given, "name", ""))
@given(content=st.one_of(st.text(), OTHERS))
def test_a_file_of_the_same_name_is_no_mark(ground, mark, marks, content):
    folder = ground / f"{secrets.token_hex(8)}"
    folder.mkdir()
    (folder / mark.name).write_text(content, encoding="utf-8", errors="replace")
    (folder / "thesis.txt").write_text("mine")
    try:
        found = json.loads(content)
    except ValueError:
        found = None
    ours = isinstance(found, dict) and mark.keys <= found.keys()
    assert is_ours(folder, marks) == ours
    if not ours:
        with pytest.raises(RunFolderError):
            refuse_foreign(folder, marks)


def test_marks_are_the_files_that_are_written():
    assert [mark.name for mark in RUN_MARKS] == [RECORD, STARTS, STATUS]
    assert (MODEL_MARK.name, CHECKPOINT_MARK.name) == (CARD, MANIFEST)


@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
def test_a_mark_is_a_file(kind, tmp_path):
    (tmp_path / "elsewhere").write_text(json.dumps({"ours": 1}))
    (tmp_path / "top").mkdir()
    place = tmp_path / "top" / "mark.json"
    {"link": lambda: place.symlink_to(tmp_path / "elsewhere"), "folder": place.mkdir, "pipe": lambda: os.mkfifo(place)}[
        kind
    ]()
    assert not is_ours(tmp_path / "top", [MARK])


FOREIGN = {
    "empty checkpoints": {"checkpoints": {}, "eval": {"mine": "x"}, "model": {"mine": "x"}, "metrics.csv": "mine"},
    "checkpoints of another program": {"checkpoints": {"step-000100": {"model.bin": "x"}, "index.json": "{}"}},
    "their manifest": {"checkpoints": {"step-000100": {"manifest.json": '{"short_name": "app"}'}}},
    "their run.json": {"run.json": '{"scripts": {}}', "checkpoints": {}, "eval": {"mine": "x"}},
    "their attempts": {"attempts.json": "[]", "checkpoints": {}, "tensorboard": {"mine": "x"}},
    "a list as status": {"status.json": '["state", "code"]', f".tmp-x-{TOKEN}": {"mine": "x"}, "checkpoints": {}},
    "a broken record alone": {"run.json": "{", "metrics.jsonl": "{}"},
    "a name like a draft": {f".tmp-attempts.json-{TOKEN}x": "mine"},
}


def plant(folder: Path, content) -> None:
    if isinstance(content, str):
        folder.write_text(content)
        return
    folder.mkdir()
    for name, inner in content.items():
        plant(folder / name, inner)


@pytest.mark.parametrize("name", FOREIGN)
def test_a_run_goes_on_only_where_a_file_of_ours_says_that_one_was_begun(name, tmp_path):
    plant(tmp_path / "p", FOREIGN[name])
    before = tree_of(tmp_path)
    with pytest.raises(RunFolderError, match="no run to go on with") as caught:
        read_record(tmp_path / "p")
    assert caught.value.exit_code == 6 and caught.value.hint
    for again in (True, False):
        with pytest.raises(RunFolderError, match="already holds files"):
            make_run_folder(tmp_path / "p", again=again)
    assert tree_of(tmp_path) == before


@pytest.mark.parametrize("left", [{}, {f".tmp-attempts.json-{TOKEN}": '{"st'}])
def test_a_claim_that_was_killed_is_begun_anew(left, tmp_path):
    plant(tmp_path / "run", left)
    assert read_record(tmp_path / "run") is None
    make_run_folder(tmp_path / "run")
    assert is_ours(tmp_path / "run", RUN_MARKS) and (tmp_path / "run" / "checkpoints").is_dir()
    assert read_record(tmp_path / "run") is None
    make_run_folder(tmp_path / "run", again=True)
    with pytest.raises(RunFolderError, match="taken by another run"):
        make_run_folder(tmp_path / "run")


def test_a_disk_without_hard_links_has_one_winner_too(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("bradley.common.disk.link", none)
    assert files.write_new(tmp_path / "x", b"first") and not files.write_new(tmp_path / "x", b"second")
    assert tree_of(tmp_path) == {"x": "first"}


@pytest.mark.parametrize("place", ["same", "./same", "link", "hard", "in", "in/deep/er"])
def test_an_input_is_never_an_output(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("same").write_text("mine")
    Path("link").symlink_to("same")
    os.link("same", "hard")
    Path("in/deep").mkdir(parents=True)
    Path("in/deep/er").write_text("mine")
    outputs = {"in": "in", "in/deep/er": "in"}
    with pytest.raises(RunFolderError, match=r"the input .* the output"):
        refuse_input_as_output(Path(outputs.get(place, "same")), ["", "synthetic:", "owner/name", place])


@pytest.mark.parametrize("mark", [*RUN_MARKS, MODEL_MARK], ids=lambda mark: mark.name)
@pytest.mark.parametrize("place", ["out", "eval/out", "a/b/c", "link/out"])
def test_nothing_is_written_inside_a_run_or_a_model(place, mark, tmp_path):
    (tmp_path / "mine" / "eval").mkdir(parents=True)
    (tmp_path / "mine" / "link").symlink_to("eval")
    refuse_inside(tmp_path / "mine" / place, (*RUN_MARKS, MODEL_MARK))
    (tmp_path / "mine" / mark.name).write_text(json.dumps(dict.fromkeys(mark.keys, 1)))
    with pytest.raises(RunFolderError, match=r"lies in .*mine, a run or model of bradley"):
        refuse_inside(tmp_path / "mine" / place, (*RUN_MARKS, MODEL_MARK))
    refuse_inside(tmp_path / "mine", (*RUN_MARKS, MODEL_MARK))
    refuse_inside(tmp_path / "mine2", (*RUN_MARKS, MODEL_MARK))


def test_other_inputs_are_no_outputs(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x.jsonl").write_text("{}")
    inputs = ["", "x" * 5000, "a\0b", tmp_path / "data", tmp_path / "data" / "x.jsonl", tmp_path]
    refuse_input_as_output(tmp_path / "data" / "out.jsonl", inputs)
    refuse_input_as_output(tmp_path / "data2", inputs)


WORDS = {
    "/dev/null": "is a device",
    "file": "is a file, and a folder is wanted",
    "file/deep/er": "is a file, and a folder is wanted",
    "a\0b": "is no name of a folder",
    "full": "already holds files",
    "link": "is a link to",
}


@pytest.mark.parametrize(("place", "words"), WORDS.items())
def test_a_place_that_cannot_be_used_is_named(place, words, tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    with pytest.raises(RunFolderError, match=words) as caught:
        refuse_filled(tmp_path / place)
    assert caught.value.hint


def test_an_empty_name_is_not_this_folder():
    with pytest.raises(UserError, match="the output is empty"):
        ownership.named("")
    assert ownership.named(".") == Path()


def test_an_error_inside_a_draft_names_the_final_place(tmp_path):
    draft = tmp_path / "checkpoints" / f".tmp-step-000004-{TOKEN}" / "training"
    final = r"checkpoints/step-000004/training could not be written"
    with pytest.raises(DiskError, match=final) as caught, files.disk_errors(draft):
        raise OSError(5, "Input/output error")
    assert ".tmp-" not in caught.value.message
    assert ownership.final_name(tmp_path / f".tmp-{TOKEN}") == tmp_path / f".tmp-{TOKEN}"


def test_a_disk_out_of_inodes_is_said(tmp_path, monkeypatch):
    from bradley.common import space

    monkeypatch.setattr(space, "out_of_inodes", lambda folder: True)
    monkeypatch.setattr(files, "out_of_inodes", lambda folder: True)
    with pytest.raises(DiskFullError, match="no inode is free"):
        space.check_space(tmp_path, 1)
    with pytest.raises(DiskFullError, match="no inode is free") as caught, files.disk_errors(tmp_path):
        raise OSError(28, "No space left on device")
    assert caught.value.hint.startswith("remove files")
