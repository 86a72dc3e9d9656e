"""Every change of the disk by the code of checkpoints goes through `bradley.common.disk`, where the bench sees it."""

import ast
from pathlib import Path

import bradley

from . import harness, seam

SOURCE = Path(bradley.__file__).parent
DURABLE = (
    "common/files.py",
    "runs/claim.py",
    "runs/manifest.py",
    "runs/starts.py",
    "training/checkpoints/store.py",
    "training/tracking/jsonl_csv.py",
)
"""What `disk` is meant for. The lock is no durable write: it means nothing after its process."""
CHANGES = {
    *("fsync", "replace", "rename", "unlink", "rmdir", "remove", "rmtree", "mkdir", "makedirs", "link", "symlink_to"),
    *("mkdtemp", "mkstemp", "copy2", "copyfile", "copytree", "move", "truncate", "ftruncate", "touch", "hardlink_to"),
    *("write_text", "write_bytes", "symlink"),
}


def bypasses(tree):
    """Calls that change a disk by themselves: of the system, of `shutil`, or of a path."""
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        owner = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
        texts = [str(given.value) for given in node.args if isinstance(given, ast.Constant)]
        opened = node.func.attr == "open" and any(set(text) & set("wax+") for text in texts)
        of_a_text = node.func.attr == "replace" and bool(texts)
        if opened or (node.func.attr in CHANGES and owner != "disk" and not of_a_text):
            yield f"{owner}.{node.func.attr} in line {node.lineno}"


def test_no_durable_write_goes_around_the_seam():
    found = {name: list(bypasses(ast.parse((SOURCE / name).read_text()))) for name in DURABLE}
    assert not any(found.values()), found


def test_a_planted_bypass_is_found():
    wrong = "os.replace(a, b)\npath.unlink()\npath.open('w')\nshutil.rmtree(x)\n"
    right = "disk.unlink(x)\nfile.open('rb')\ntext.replace('a', b)\n"
    assert len(list(bypasses(ast.parse(wrong + right)))) == 4


def test_every_function_of_the_seam_is_replaced_by_the_bench():
    """A call that `seam.CALLS` does not know would be no point at which a run can end."""
    tree = ast.parse((SOURCE / "common" / "disk.py").read_text())
    assert {node.name for node in tree.body if isinstance(node, ast.FunctionDef)} == set(seam.CALLS)


def test_a_write_of_a_buffered_file_is_a_call(calls):
    with harness.new_run() as run:
        done = harness.run_toy(run, lambda: seam.fail_at(0, 28, lasting=True, names=("write",)))
        assert done.code == 7
    assert calls.count("write") > 20 and calls.count("sync") > 60
