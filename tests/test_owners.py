"""Who may remove, replace and start: calls of the system that destroy files or start processes stand in their owners.

`common/files.py`, `common/trees.py` and `common/disk.py` are the only way to remove or replace a file or folder; they
ask `common/ownership.py` first. A file that exists is cut or written over by few modules, in drafts of their own.
Processes are started by few modules, which end what they start.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

MODE = re.compile(r"[rwax][bt+]{0,2}")
SOURCE = Path(__file__).parents[1] / "src" / "bradley"
OF_OS = {
    *("unlink", "remove", "rmdir", "removedirs", "rename", "renames", "replace", "symlink", "link", "truncate"),
    *("ftruncate", "mkfifo", "mknod"),
}
"""Functions of `os` that remove, replace or cut; only `common/disk.py` calls them."""
OF_SHUTIL = {"rmtree", "move"}
OF_PATHS = {"unlink", "rmdir", "rename", "symlink_to", "hardlink_to", "resolve"}
"""Methods of a path, unmistakable by name. `replace` of a text has two arguments, of a path one.

`resolve` removes nothing, but raises RuntimeError for a link to itself: `ownership.real_path` does not.
"""
OF_TEMPFILE = {
    "TemporaryDirectory",
    "TemporaryFile",
    "NamedTemporaryFile",
    "SpooledTemporaryFile",
    "mkdtemp",
    "mkstemp",
}
REMOVING = {"unlink", "rename", "rmdir", "remove_tree", "_remove_whole"}
"""Functions of ours under `ownership`: nobody else may call them."""
STARTS = {"fork", "forkpty", "system", "popen", "posix_spawn", "posix_spawnp", "startfile"}
OF_PROCESSES = {"subprocess", "multiprocessing", "pty", "torch.multiprocessing", "concurrent.futures.process"}
POOL = "ProcessPoolExecutor"
OWNERS: dict[str, set[str]] = {
    "common/disk.py": {"os"},
    "common/files.py": {"disk", "trees"},
    "common/trees.py": {"disk"},
    # A lock file is the lock's own; `_refuse_foreign_file` looks before.
    "common/lock.py": {"disk"},
    # Each removes what it has made itself, in a folder with a random name.
    "audit/linear.py": {"tempfile"},
    "data/prefetch.py": {"tempfile"},
    "doctor/readback.py": {"tempfile"},
    "doctor/short_run.py": {"tempfile"},
    "data/tokenizer.py": {"tempfile", "write"},
    "model/folder/roundtrip.py": {"tempfile", "write"},
    "data/token_store.py": {"tempfile", "write"},
    "data/table.py": {"tempfile"},
    "launch/local.py": {"tempfile", "process", "write"},
    # The path of this very file; and a copy of this process that opens nothing.
    "common/processes.py": {"path", "process"},
    "launch/rank.py": {"path", "process", "write"},
    "verify/__init__.py": {"process"},
    # Each writes into a draft, made anew by this process under another name.
    "data/row_cache.py": {"write"},
    "data/token_cache.py": {"write"},
    "model/folder/save_load.py": {"write"},
    "model/folder/weights.py": {"write"},
    "training/checkpoints/state.py": {"write"},
    "export/folder.py": {"write"},
    # The null device.
    "common/console.py": {"write"},
    "scoring/output.py": {"write"},
    # A handle of the process that asked.
    "verify/rescore.py": {"write"},
}
"""Modules that may call, and what: a new entry needs a reason."""


def kinds(tree: ast.Module) -> Iterator[tuple[str, str, int]]:
    """(kind, name, line) of each use that removes, replaces or starts something."""
    own = {
        alias.asname or alias.name: (node.module or "", alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    modules = {
        alias.asname or alias.name.partition(".")[0]: alias.name if alias.asname else alias.name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    modules |= {name: found for name, (above, found) in own.items() if found in {"disk", "trees", "os", "shutil"}}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from (("process", name, node.lineno) for name in started(node))
        elif isinstance(node, ast.Attribute):
            # Also without a call: a function that is passed on is called elsewhere.
            called = isinstance(node.value, ast.Name) and modules.get(node.value.id, "")
            if kind := of_module(called or "", node.attr):
                yield kind, f"{called}.{node.attr}", node.lineno
        elif isinstance(node, ast.Name) and node.id in own:
            above, name = own[node.id]
            if kind := of_module(above.rpartition(".")[2], name):
                yield kind, f"{above}.{name}", node.lineno
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and of_path(node, node.func, modules):
            yield "path", node.func.attr, node.lineno
        if isinstance(node, ast.Call) and (what := writes(node)):
            yield "write", what, node.lineno


def writes(node: ast.Call) -> str:
    """Name of a call that may write over an existing file; '' for any other."""
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if name in ("write_text", "write_bytes") and isinstance(node.func, ast.Attribute):
        return name
    given = node.args[1:] if isinstance(node.func, ast.Name) else node.args
    values = [*given, *(keyword.value for keyword in node.keywords if keyword.arg == "mode")]
    modes = [each.value for each in values if isinstance(each, ast.Constant) and isinstance(each.value, str)]
    # A mode with `w` cuts, and `+` writes over; `a` only adds, and `x` refuses what exists.
    cuts = any(MODE.fullmatch(mode) and {"w", "+"} & set(mode) for mode in modes)
    return name if name in ("open", "fdopen", "TarFile", "ZipFile", "GzipFile") and cuts else ""


def started(node: ast.Import | ast.ImportFrom) -> list[str]:
    """Modules and classes that start processes, imported by a statement."""
    names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
    if isinstance(node, ast.ImportFrom) and node.level:
        return []
    if isinstance(node, ast.ImportFrom):
        names += [f"{node.module}.{alias.name}" for alias in node.names]
    found = [name for name in names for part in OF_PROCESSES if name == part or name.startswith(f"{part}.")]
    return [*found[:1], *(POOL for name in names if name.endswith(f".{POOL}"))]


def of_module(module: str, name: str) -> str:
    """Kind of a function of a module; '' for a harmless one."""
    if module == "os" and name in OF_OS:
        return "os"
    if module == "os" and (name in STARTS or name.startswith(("exec", "spawn"))):
        return "process"
    if module == "shutil" and name in OF_SHUTIL:
        return "shutil"
    if module == "tempfile" and name in OF_TEMPFILE:
        return "tempfile"
    if module in ("disk", "trees") and name in REMOVING:
        return module
    return ""


def of_path(node: ast.Call, called: ast.Attribute, modules: dict[str, str]) -> bool:
    """Tell if a call is a method of a path that removes or replaces."""
    owner = called.value.id if isinstance(called.value, ast.Name) else ""
    if owner in modules:
        return False
    one = len(node.args) == 1 and not node.keywords
    return called.attr in OF_PATHS or (called.attr == "replace" and one and not isinstance(node.args[0], ast.Starred))


def outside(root: Path) -> list[str]:
    """Uses outside their owners."""
    complaints = []
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root).as_posix()
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found = {(kind, what, line) for kind, what, line in kinds(tree) if kind not in OWNERS.get(name, set())}
        complaints += [f"{name}:{line} uses {what}" for kind, what, line in sorted(found)]
    return complaints


def test_nothing_is_removed_replaced_or_started_outside_its_owner() -> None:
    assert outside(SOURCE) == []


PLANTED = [
    ("import os\nos.unlink(x)\n", "os.unlink"),
    ("import os as system\nsystem.replace(a, b)\n", "os.replace"),
    ("from os import rename\nrename(a, b)\n", "os.rename"),
    ("from os import remove as gone\nmap(gone, names)\n", "os.remove"),
    ("import os\nlist(map(os.rmdir, names))\n", "os.rmdir"),
    ("import os\nos.symlink(a, b)\n", "os.symlink"),
    ("import os\nos.truncate(a, 0)\n", "os.truncate"),
    ("import shutil\nshutil.rmtree(x)\n", "shutil.rmtree"),
    ("from shutil import move\nmove(a, b)\n", "shutil.move"),
    ("def f(path):\n    path.unlink(missing_ok=True)\n", "unlink"),
    ("def f(path):\n    (path / 'x').rmdir()\n", "rmdir"),
    ("def f(path):\n    path.rename(other)\n", "rename"),
    ("def f(path):\n    path.with_name('x').replace(path)\n", "replace"),
    ("def f(path):\n    path.resolve()\n", "resolve"),
    ("import tempfile\nwith tempfile.TemporaryDirectory() as x:\n    pass\n", "tempfile.TemporaryDirectory"),
    ("from tempfile import mkdtemp\nmkdtemp()\n", "tempfile.mkdtemp"),
    ("from ..common import disk\ndisk.unlink(x)\n", "disk.unlink"),
    ("from ..common.disk import rename\nrename(a, b)\n", "common.disk.rename"),
    ("from ..common.trees import remove_tree\nremove_tree(x)\n", "common.trees.remove_tree"),
    ("def f(path):\n    path.write_text('x')\n", "write_text"),
    ("def f(path):\n    path.write_bytes(b'x')\n", "write_bytes"),
    ("open(name, 'w')\n", "open"),
    ("open(name, mode='wb')\n", "open"),
    ("def f(path):\n    path.open('r+b')\n", "open"),
    ("import gzip\ngzip.open(name, 'wb')\n", "open"),
    ("def f():\n    import subprocess\n", "subprocess"),
    ("from subprocess import run\n", "subprocess"),
    ("import multiprocessing.pool\n", "multiprocessing.pool"),
    ("from concurrent.futures import ProcessPoolExecutor\n", "ProcessPoolExecutor"),
    ("from torch import multiprocessing\n", "torch.multiprocessing"),
    ("import os\nos.fork()\n", "os.fork"),
    ("import os\nos.execvp(a, b)\n", "os.execvp"),
    ("import os\nos.spawnl(a, b)\n", "os.spawnl"),
    ("import os\nos.system('x')\n", "os.system"),
]


@pytest.mark.parametrize(("text", "what"), PLANTED)
def test_a_planted_use_is_found(text: str, what: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "bad.py").write_text(text)
    line = len(text.splitlines()) - ("with " in text)
    assert f"data/bad.py:{line} uses {what}" in outside(tmp_path)


def test_a_permission_is_for_one_kind(tmp_path: Path) -> None:
    (tmp_path / "launch").mkdir()
    (tmp_path / "launch" / "local.py").write_text("import subprocess\nimport shutil\nshutil.rmtree(x)\n")
    assert outside(tmp_path) == ["launch/local.py:3 uses shutil.rmtree"]


def test_what_only_looks_alike_is_no_use(tmp_path: Path) -> None:
    harmless = "import os\nimport dataclasses\ntext.replace('a', 'b')\ndataclasses.replace(x, y=1)\nos.path.exists(x)\n"
    harmless += "open(name)\nopen('w')\nopen(log, 'a')\npath.open('rb')\n"
    (tmp_path / "good.py").write_text(harmless + "from .launch import multiprocessing\nfrom ..x import remove\n")
    assert outside(tmp_path) == []
