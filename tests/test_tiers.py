"""The choice of tests: the marker `transformers` on each module that needs it, and no module that imports another.

Each check is a function from a tree of tests to a list of complaints, so that a planted fault can prove that it bites.
"""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import LONGEST
from tests.parsed import parsed

TESTS = Path(__file__).parent
REACHES = ("transformers", "peft", "bradley.model", "bradley.data.chat_template")
"""Packages and modules whose direct import asks for the marker `transformers`."""
BATCH = "packs token ids with `engine.batch` or `cost`, which know nothing of transformers"
CARD = "reads names, cards or tolerances of a folder, which are files of ours"
WITHOUT = {
    "data/test_least_tokens.py": BATCH,
    "estimate/test_grouping.py": BATCH,
    "estimate/test_memory_measured.py": "measures the formula that test_memory.py holds to autograd on each release",
    "export/test_whole_path.py": "runs the code of the model card; test_folder.py loads such folders on each release",
    "faults/test_export.py": CARD,
    "scoring/test_file.py": "files, parts and streams; test_scorer.py loads and scores on each release",
    "scoring/test_reward_model.py": "loads one folder, as test_scorer.py does, and TRL needs the newer release",
    "security/test_current_folder.py": "imports of Python files; verify/test_verify.py verifies on each release",
    "security/test_model_folders.py": "checks made before transformers sees the folder; model/folder/ loads good ones",
    "model/test_device.py": "threads and memory, with torch alone",
    "test_docs.py": "the pages describe the pinned release",
    "test_troubleshooting.py": "the page quotes errors of ours",
    "training/distributed/test_reproducible.py": BATCH,
    "training/distributed/test_sharded_files.py": CARD,
    "training/guards/test_gradient_flow.py": BATCH,
    "training/guards/test_nonfinite.py": "loads a model that training saved, as training/test_loop.py does",
    "training/test_optim.py": BATCH,
    "training/test_optimizers.py": BATCH,
    "verify/test_moved_base.py": "the doors of `--base`; model/test_adapters.py loads adapters on each release",
}
"""Test modules without the marker though they import one of `REACHES`, each with the reason."""


@pytest.fixture(scope="module", autouse=True)
def parsed_for_these_tests_alone() -> Iterator[None]:
    """Drop the trees afterwards, which every later fork would copy."""
    yield
    parsed.cache_clear()


def modules(root: Path) -> Iterator[tuple[str, ast.Module]]:
    """Every test module of a tree: the path below the root, and the parsed text."""
    for path in sorted(root.rglob("test_*.py")):
        yield path.relative_to(root).as_posix(), parsed(path.read_text(encoding="utf-8"))


def imported(tree: ast.Module) -> set[str]:
    """Dotted names that a module imports, at any level; a name that is imported from a module counts below that."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return found


def reaches(tree: ast.Module) -> bool:
    """Tell if a module imports one of `REACHES`, or something below it."""
    return any(name == part or name.startswith(f"{part}.") for name in imported(tree) for part in REACHES)


def is_marked(tree: ast.Module) -> bool:
    """Tell if `pytest.mark.transformers` is on the module or on some of its tests."""
    return any(ast.unparse(node) == "pytest.mark.transformers" for node in ast.walk(tree))


def unmarked(root: Path) -> list[str]:
    """Test modules that reach transformers and carry no marker, without a reason in `WITHOUT`."""
    return [
        f"{name}: set pytestmark = pytest.mark.transformers, or give a reason in WITHOUT"
        for name, tree in modules(root)
        if reaches(tree) and not is_marked(tree) and name not in WITHOUT
    ]


def idle_reasons(root: Path) -> list[str]:
    """Rows of `WITHOUT` for modules that are marked, or reach nothing."""
    return [
        f"{name}: needs no reason in WITHOUT"
        for name, tree in modules(root)
        if name in WITHOUT and (is_marked(tree) or not reaches(tree))
    ]


def borrowed(root: Path) -> list[str]:
    """Modules, helpers included, that import a test module: its fixtures and models would be made twice."""
    return [
        f"{path.relative_to(root).as_posix()} imports {name}"
        for path in sorted(root.rglob("*.py"))
        for name in sorted(imported(parsed(path.read_text(encoding="utf-8"))))
        if name.startswith(("tests", ".")) and name.rpartition(".")[2].startswith("test_")
    ]


CHECKS: list[Callable[[Path], list[str]]] = [unmarked, idle_reasons, borrowed]
CLEAN = {
    "test_docs.py": "import transformers\n",
    "helpers.py": "from bradley.model.build import build_model\n",
    "model/test_net.py": "from bradley.model import net\npytestmark = [pytest.mark.skip, pytest.mark.transformers]\n",
    "data/test_some.py": "def f():\n    import peft\n\n\n@pytest.mark.transformers\ndef test_one():\n    f()\n",
    "data/test_other.py": "from bradley.data.render import Renderer\nfrom tests.helpers import f\nfrom . import toy\n",
}
MISSING = "data/test_bad.py: set pytestmark = pytest.mark.transformers, or give a reason in WITHOUT"
PLANTED = [
    (unmarked, "data/test_bad.py", "import transformers\n", MISSING),
    (unmarked, "data/test_bad.py", "def f():\n    from peft import LoraConfig\n", MISSING),
    (unmarked, "data/test_bad.py", "from bradley.model.build import x\npytestmark = pytest.mark.nightly\n", MISSING),
    (unmarked, "data/test_bad.py", "from bradley import model\n", MISSING),
    (unmarked, "data/test_bad.py", "from bradley.data import chat_template\n", MISSING),
    (idle_reasons, "test_docs.py", "import bradley\n", "test_docs.py: needs no reason in WITHOUT"),
    (
        idle_reasons,
        "test_docs.py",
        "import peft\npytestmark = pytest.mark.transformers\n",
        "test_docs.py: needs no reason in WITHOUT",
    ),
    (borrowed, "a/x.py", "from tests.b.test_c import f\n", "a/x.py imports tests.b.test_c"),
    (borrowed, "a/test_x.py", "def f():\n    from .test_y import g\n", "a/test_x.py imports .test_y"),
    (borrowed, "a/test_x.py", "from tests.b import test_c\n", "a/test_x.py imports tests.b.test_c"),
    (borrowed, "a/test_x.py", "import tests.b.test_c\n", "a/test_x.py imports tests.b.test_c"),
]


def plant(folder: Path, files: dict[str, str]) -> Path:
    """Write a tree of tests."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_tests_are_clean(check: Callable[[Path], list[str]]) -> None:
    assert check(TESTS) == []


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_clean_tree_raises_no_complaint(check: Callable[[Path], list[str]], tmp_path: Path) -> None:
    assert check(plant(tmp_path, CLEAN)) == []


@pytest.mark.parametrize(("check", "name", "text", "complaint"), PLANTED)
def test_a_planted_fault_is_found(
    check: Callable[[Path], list[str]], name: str, text: str, complaint: str, tmp_path: Path
) -> None:
    assert complaint in check(plant(tmp_path, CLEAN | {name: text}))


def test_every_check_has_a_planted_fault() -> None:
    assert {check for check, *_ in PLANTED} == set(CHECKS)


def test_every_module_that_is_named_is_there() -> None:
    assert [name for name in (*WITHOUT, *LONGEST) if not (TESTS / name).is_file()] == []
