"""Nothing in the source opens a pickle, runs text as code, or goes through a shell.

As in test_layers, the check is a function from source to complaints, and planted faults prove that it bites.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "bradley"
MODULES = {"pickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle"}
"""Modules that make objects of bytes, and run code on the way."""
CALLS = {
    "torch.load",
    "torch.jit.load",
    "torch.hub.load",
    "torch.package.PackageImporter",
    "torch.distributed.checkpoint.save",
    "yaml.load",
    "yaml.full_load",
    "yaml.unsafe_load",
    "yaml.load_all",
    "os.system",
    "os.popen",
    "tempfile.mktemp",
    "builtins.eval",
    "builtins.exec",
    "pandas.read_pickle",
    "numpy.lib.format.read_array",
    "tarfile.open",
    "zipfile.ZipFile",
    "shutil.unpack_archive",
}
"""Calls that open pickles, run text, use a shell, or unpack archives to wherever these say."""
BUILTINS = {"eval", "exec", "compile", "__import__"}
TRUE = {"shell", "allow_pickle", "trust_remote_code"}
"""Arguments that may not be the literal True: each hands control to a file or a text."""


def complaints(text: str) -> list[str]:
    """What is wrong with one module, a line for each."""
    tree = ast.parse(text)
    names = aliases(tree)
    return [f"{node.lineno}: {problem}" for node in ast.walk(tree) for problem in problems(node, names)]


def aliases(tree: ast.AST) -> dict[str, str]:
    """What each imported name stands for, by its full dotted name."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for one in node.names:
                first = one.name.partition(".")[0]
                found[one.asname or first] = one.name if one.asname else first
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found |= {one.asname or one.name: f"{node.module}.{one.name}" for one in node.names}
    return found


def problems(node: ast.AST, names: dict[str, str]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (f"imports {one.name}" for one in node.names if one.name.partition(".")[0] in MODULES)
    elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in MODULES:
        yield f"imports {node.module}"
    elif isinstance(node, ast.Attribute | ast.Name):
        full = dotted(node, names)
        if full in CALLS:
            yield f"uses {full}"
        elif full in ("numpy.load", "numpy.memmap.load"):
            yield f"uses {full}, which follows allow_pickle"
    if isinstance(node, ast.Call):
        if isinstance(node.func, ast.Name) and node.func.id in BUILTINS:
            yield f"calls {node.func.id}"
        yield from (
            f"{one.arg}=True"
            for one in node.keywords
            if one.arg in TRUE and isinstance(one.value, ast.Constant) and one.value.value is True
        )


def dotted(node: ast.expr, names: dict[str, str]) -> str:
    """The full name of what an expression such as `np.load` names; '' of any other."""
    if isinstance(node, ast.Name):
        return names.get(node.id, "").replace("np.", "numpy.")
    if isinstance(node, ast.Attribute):
        inner = dotted(node.value, names)
        return f"{inner}.{node.attr}" if inner else ""
    return ""


ALLOWED = {
    (
        "data/table.py",
        "imports marshal",
    ): "of files of this process, or of a cache entry whose hash was checked",
    ("data/row_cache.py", "calls compile"): "compares the user's own function with its file, and runs nothing",
}
"""What is left, and why it can do no harm."""
PLANTED = {
    "import pickle": "imports pickle",
    "from pickle import loads": "imports pickle",
    "def f():\n    import dill as d": "imports dill",
    "import torch\ntorch.load('x')": "uses torch.load",
    "import torch as t\nt.load('x', weights_only=True)": "uses torch.load",
    "from torch import load\nload('x')": "uses torch.load",
    "from torch import load as read\nf = read": "uses torch.load",
    "import torch.hub\ntorch.hub.load('x')": "uses torch.hub.load",
    "import yaml\nyaml.load('x', Loader=None)": "uses yaml.load",
    "eval('1')": "calls eval",
    "exec('1')": "calls exec",
    "compile('1', 'x', 'exec')": "calls compile",
    "__import__('pickle')": "calls __import__",
    "import subprocess\nsubprocess.run('ls', shell=True)": "shell=True",
    "import os\nos.system('ls')": "uses os.system",
    "from os import popen\npopen('ls')": "uses os.popen",
    "import numpy as np\nnp.load('x', allow_pickle=True)": "allow_pickle=True",
    "import numpy as np\nnp.load('x')": "uses numpy.load, which follows allow_pickle",
    "import transformers\ntransformers.pipeline('x', trust_remote_code=True)": "trust_remote_code=True",
    "import tarfile\ntarfile.open('x').extractall()": "uses tarfile.open",
}
CLEAN = """
import numpy as np, torch, re, subprocess
re.compile('x'); model.eval(); model.compile(); np.memmap('x', dtype='uint8'); subprocess.run(['ls'], shell=False)
torch.compile(model); load('x'); json.load(file); yaml.safe_load('x'); read(trust_remote_code=trusted)
"""


def test_no_module_opens_pickles_or_runs_text() -> None:
    found = {
        (path.relative_to(SOURCE).as_posix(), complaint.partition(": ")[2])
        for path in SOURCE.rglob("*.py")
        for complaint in complaints(path.read_text(encoding="utf-8"))
    }
    assert found == set(ALLOWED)


@pytest.mark.parametrize(("text", "complaint"), PLANTED.items())
def test_planted_faults_are_found(text: str, complaint: str) -> None:
    assert any(found.endswith(complaint) for found in complaints(text)), complaints(text)


def test_what_only_looks_alike_is_left_alone() -> None:
    assert complaints(CLEAN) == []
