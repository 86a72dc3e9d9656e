"""The shape of the source: which part may import which, what is imported where, and that no setting is idle.

Each check is a function from a source tree to a list of complaints, so that a planted fault can prove that it bites.
"""

import ast
import functools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.parsed import parsed

SOURCE = Path(__file__).parents[1] / "src" / "bradley"
BASE = {"common", "config", "errors", "records"}
"""Rooms that every other room may import."""
TENSOR_ARM = {"losses", "model", "scoring", "estimate", "training", "export", "verify", "doctor"}
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "records": set(),
    "common": {"errors"},
    "config": {"common", "errors"},
    "losses": BASE,
    "data": BASE,
    "evaluate": BASE,
    "runs": BASE | {"evaluate"},
    "report": BASE | {"evaluate", "runs"},
    "audit": BASE | {"data", "evaluate", "report"},
    "launch": BASE | {"runs"},
    "model": BASE | {"data", "losses"},
    "scoring": BASE | {"data", "model"},
    "verify": BASE | {"data", "model", "scoring"},
    "export": BASE | {"data", "evaluate", "model", "report", "runs", "verify"},
    "training": BASE | {"data", "evaluate", "export", "launch", "losses", "model", "report", "runs", "scoring"},
    "estimate": BASE | {"data", "model", "training"},
    "doctor": BASE | {"data", "evaluate", "model", "runs", "scoring", "training"},
    "cli": TENSOR_ARM | BASE | {"audit", "data", "evaluate", "launch", "report", "runs"},
    "__init__": TENSOR_ARM | BASE | {"data", "evaluate", "report", "runs"},
    "__main__": {"cli", "common"},
}
"""The two arms: what reads and scores tensors, and what only reads numbers. They meet in `training`, `export`,
`doctor` and `cli` alone."""
LAZY = {
    "torch",
    "transformers",
    "matplotlib",
    "scipy",
    "pydantic",
    "pyarrow",
    "tokenizers",
    "safetensors",
    "rich",
    "jinja2",
    "datasets",
    "tensorboard",
    "wandb",
    "bitsandbytes",
    "peft",
    "pynvml",
    "huggingface_hub",
}
EARLY = {"torch": TENSOR_ARM, "pydantic": {"config"}}
"""Heavy packages are imported inside functions, except these, in these parts."""
GLOSSARY = Path(__file__).parents[1] / "docs" / "glossary.md"
PLAIN_NAMES = """
    bradley __main__ errors records losses
    common files json_files lock disk ownership space trees child deadline signatures model_files
    signals secrets seeds console plugins processes text version other_trainers
    config base data model run fields aliases toml load
    cli main options train launch report models
    messages transcripts candidates layout words labels ratings annotations answers
    prompts labelled preference reading detection refusals unread choice suspects watch ties orders turned raters
    measures fixed instructions weights places agreement texts
    sources formats hub folder files saved text csv_rows json_rows csv_columns pairs ranked mapped public turns
    rows faults judges table columns filters split token_report chat_template special_tokens tokenizer encoder
    render truncate dropped lengths prefetch copies word_ids row_info
    parquet_rows arrow_rows token_store token_cache row_cache sandbox micro_batches plan schedule synthetic preview
    runs layout reader record status starts manifest checkpoints claim
    evaluate summary intervals judgments calibration groups length moments rewards worst
    evaluation bootstrap power ece ranking auroc compare slices writers folds
    diagnostics expectation
    examine leaks independence learning short_run
    scored score_columns score_rows score_texts scores terminal temperature
    logit features matching shortcuts probes
    page view details plots curves distributions drawing style table training html scale sentences
    shortcut_tables figure_text evaluation_page evaluation_view comparison_page comparison_view figure_tables spread
    audit finding duplicates conflicts overlap languages surface hashing linear wrong_labels tokens clean
    audit_view audit_page audit_text
    benchmarks suite sections figures rewardbench rewardbench2 rm_bench rmb judgebench llmbar hhh evalbiasbench
    build network finite reward adapters trainable execution outline device cost choose_engine weight_files
    engine batch registry contract segments flex varlen
    save_load card checks safety weights readback parity tolerance normalization
    scoring core scorer file parts source output reward_model
    results loop job evaluation objective optim metrics progress saver resume publish announce optimizer_bytes
    guards nonfinite culprits divergence gradient_flow out_of_memory
    store state identity
    tracking jsonl_csv log_lines tensorboard wandb timing gpu samples distributed
    process_group strategy ddp fsdp reproducible full_tensors sharded_files consistency failures watchdog rank_watch
    torchrun
    estimate memory shapes memory_plan
    export metadata model_card
    verify plain rescore server local rank heartbeat exit
    """
NAMES = set(PLAIN_NAMES.split())
"""Module names that a newcomer knows or guesses; any other name needs an entry in the glossary."""
HEADLESS = re.compile(r"(Whether|What|How|Why|Where)\b")
MAX_LINES = 400
MACHINERY = {"config.fields", "config.aliases", "config.load", "config.toml"}
"""Modules of `config` that read settings and declare none."""


class Import(NamedTuple):
    """One import statement's target: dotted name, line, and whether it runs when the module is imported."""

    target: str
    line: int
    early: bool


@pytest.fixture(scope="module", autouse=True)
def parsed_for_these_tests_alone() -> Iterator[None]:
    """Drop the trees afterwards, which every later fork would copy."""
    yield
    parsed.cache_clear()
    all_imports.cache_clear()


def modules(root: Path) -> dict[str, Path]:
    """Every module of a tree by its dotted name below the root; a package is called by its folder."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)] = path
    return found


def part(module: str) -> str:
    """The part of the product that a module belongs to: its first name."""
    return module.partition(".")[0]


@functools.cache
def all_imports(root: Path) -> tuple[tuple[str, Import], ...]:
    """Every import of a tree, with the module that holds it; a tree is read once, and none changes under its checks."""
    known = modules(root)
    names = set(known)
    return tuple((module, found) for module, path in known.items() for found in imports(root, module, path, names))


def imports(root: Path, module: str, path: Path, known: set[str]) -> Iterator[Import]:
    """The imports of a module; those of its own package are named relative to the root and begin with a dot."""
    tree = parsed(path.read_text(encoding="utf-8"))
    for node, early in walk(tree, True):
        if isinstance(node, ast.Import):
            yield from (Import(own_name(alias.name, root), node.lineno, early) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = own_name(node.module or "", root) if node.level == 0 else "." + above(module, path, node)
            for alias in node.names:
                full = f"{base}.{alias.name}".replace("..", ".")
                yield Import(full if full.removeprefix(".") in known else base, node.lineno, early)


def own_name(name: str, root: Path) -> str:
    return "." + name.removeprefix(root.name).lstrip(".") if name.split(".")[0] == root.name else name


def above(module: str, path: Path, node: ast.ImportFrom) -> str:
    """The module that a relative import names, below the root."""
    package = [] if module == "__init__" else module.split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    package = package[: len(package) - (node.level - 1)]
    return ".".join([*package, *((node.module or "").split(".") if node.module else [])])


def walk(node: ast.AST, early: bool) -> Iterator[tuple[ast.AST, bool]]:
    """Every node below one, with whether it runs on import; blocks for type checkers do not."""
    for child in ast.iter_child_nodes(node):
        later = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        later = later or (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test))
        yield child, early
        yield from walk(child, early and not later)


def inner_imports(root: Path) -> Iterator[tuple[str, str, int]]:
    """(module, module it imports, line) inside the package. The bare package is no module: it is always imported."""
    for module, found in all_imports(root):
        if found.target.startswith(".") and found.target != ".":
            yield module, found.target[1:], found.line


def wrong_arrows(root: Path) -> list[str]:
    """Imports against the direction of `MAY_IMPORT`, at any level, and parts without a place in it."""
    complaints = [f"{name}: give it a place in MAY_IMPORT" for name in modules(root) if part(name) not in MAY_IMPORT]
    for module, target, line in inner_imports(root):
        if part(target) != part(module) and part(target) not in MAY_IMPORT.get(part(module), set()):
            complaints.append(f"{module}:{line} imports {target}")
    return complaints


def torch_outside(root: Path) -> list[str]:
    """Imports of torch, at any level, outside the tensor arm."""
    return [
        f"{module}:{found.line} imports {found.target}"
        for module, found in all_imports(root)
        if part(found.target) == "torch" and part(module) not in TENSOR_ARM
    ]


def early_imports(root: Path) -> list[str]:
    """Heavy packages imported with the module where the house rule wants them inside functions."""
    return [
        f"{module}:{found.line} imports {found.target} at the top"
        for module, found in all_imports(root)
        if found.early and part(found.target) in LAZY and part(module) not in EARLY.get(part(found.target), set())
    ]


def cycles(root: Path) -> list[str]:
    """Modules that import each other, directly or through others, wherever the imports stand."""
    edges: dict[str, set[str]] = {}
    for module, target, _ in inner_imports(root):
        edges.setdefault(module, set()).add(target)
    complaints = []
    for start in edges:
        seen: set[str] = set()
        queue = sorted(edges[start])
        while queue:
            module = queue.pop()
            if module not in seen:
                seen.add(module)
                queue += edges.get(module, set())
        if start in seen:
            complaints.append(f"{start} imports itself through others")
    return complaints


def config_fields(root: Path) -> Iterator[tuple[str, str, bool]]:
    """(class, field, whether a docstring follows) of every annotated field of the settings in `config`."""
    paths = [path for name, path in modules(root).items() if part(name) == "config" and name not in MACHINERY]
    for node in (node for path in paths for node in parsed(path.read_text(encoding="utf-8")).body):
        if not isinstance(node, ast.ClassDef):
            continue
        for this, following in zip(node.body, [*node.body[1:], None], strict=True):
            if isinstance(this, ast.AnnAssign) and isinstance(this.target, ast.Name):
                text = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
                yield node.name, this.target.id, text


def silent_fields(root: Path) -> list[str]:
    """Config fields without a docstring."""
    return [f"{owner}.{name} has no docstring" for owner, name, described in config_fields(root) if not described]


def idle_fields(root: Path) -> list[str]:
    """Config fields that nothing outside the part `config` reads, as an attribute or through `getattr` by name."""
    trees = {name: parsed(path.read_text(encoding="utf-8")) for name, path in modules(root).items()}
    nodes = {name: list(ast.walk(tree)) for name, tree in trees.items() if part(name) != "config"}
    edges = list(inner_imports(root))
    used: set[str] = set()
    for inside in nodes.values():
        used |= {node.attr for node in inside if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)}
    for module in nodes:
        if any(isinstance(node, ast.Name) and node.id == "getattr" for node in nodes[module]):
            tables = {target for name, target, _ in edges if name == module and target in nodes}
            keys = [key for table in tables for node in nodes[table] if isinstance(node, ast.Dict) for key in node.keys]
            used |= {text for text in map(constant, [*nodes[module], *keys]) if text}
    return [f"{owner}.{name} is read nowhere" for owner, name, _ in config_fields(root) if name not in used]


def constant(node: ast.AST | None) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def long_files(root: Path) -> list[str]:
    """Files of more than `MAX_LINES` lines."""
    counts = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in modules(root).items()}
    return [f"{name} has {count} lines" for name, count in counts.items() if count > MAX_LINES]


def headless(root: Path) -> list[str]:
    """Docstrings that open with a clause instead of a verb or a noun."""
    owners = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    complaints = []
    for name, path in modules(root).items():
        for node in ast.walk(parsed(path.read_text(encoding="utf-8"))):
            if isinstance(node, owners) and HEADLESS.match(text := ast.get_docstring(node) or ""):
                complaints.append(f"{name}:{getattr(node, 'lineno', 1)} opens with {text.split()[0]}")
    return complaints


def unknown_names(root: Path) -> list[str]:
    """Modules whose names stand neither in `NAMES` nor in the glossary, in the singular or the plural."""
    terms = {re.sub(r"[ -]+", "_", term.lower()) for term in re.findall(r"^\*\*(.+?)\*\*:", GLOSSARY.read_text(), re.M)}
    names = {name.rpartition(".")[2] for name in modules(root)} - {"__init__"}
    return [
        f"{name}: give it an entry in docs/glossary.md"
        for name in sorted(names - NAMES)
        if name.removesuffix("s") not in terms and name not in terms
    ]


CHECKS: list[Callable[[Path], list[str]]] = [
    wrong_arrows,
    torch_outside,
    early_imports,
    cycles,
    silent_fields,
    idle_fields,
    long_files,
    headless,
    unknown_names,
]
CLEAN = {
    "__init__.py": "def train():\n    from .training.run import train\n",
    "errors.py": "",
    "config.py": 'import pydantic\nclass Data:\n    limit: int = 0\n    """How many."""\n',
    "data/__init__.py": "",
    "data/load.py": "from ..config import Data\nfrom .split import x\nprint(Data().limit)\n",
    "data/split.py": "x = 1\n",
    "model/__init__.py": "",
    "model/reward.py": "import torch\nfrom bradley.data import load\n",
    "training/__init__.py": "",
    "training/run.py": "import torch.nn\nfrom ..model import reward\nfrom .. import __version__\n",
    "cli.py": "def go():\n    import rich\n    from .training import run\n",
    "__main__.py": "from .cli import go\n",
}
PLANTED = [
    (wrong_arrows, "data/bad.py", "def f():\n    from ..model import reward\n", "data.bad:2 imports model.reward"),
    (wrong_arrows, "data/bad.py", "import bradley.evaluate.x\n", "data.bad:1 imports evaluate.x"),
    (wrong_arrows, "errors.py", "from .config import Data\n", "errors:1 imports config"),
    (wrong_arrows, "runs/x.py", "from ..training import run\n", "runs.x:1 imports training.run"),
    (wrong_arrows, "launch/x.py", "from ..model import reward\n", "launch.x:1 imports model.reward"),
    (wrong_arrows, "evaluate/x.py", "from ..data.load import y\n", "evaluate.x:1 imports data.load"),
    (wrong_arrows, "evaluate/x.py", "from bradley import training\n", "evaluate.x:1 imports training"),
    (wrong_arrows, "audit/x.py", "from ..model import reward\n", "audit.x:1 imports model.reward"),
    (wrong_arrows, "report/__init__.py", "from ..scoring import y\n", "report:1 imports scoring"),
    (wrong_arrows, "losses.py", "from .training import loop\n", "losses:1 imports training"),
    (wrong_arrows, "training/x.py", "from ..cli import go\n", "training.x:1 imports cli"),
    (wrong_arrows, "novel.py", "", "novel: give it a place in MAY_IMPORT"),
    (torch_outside, "data/bad.py", "def f():\n    import torch\n", "data.bad:2 imports torch"),
    (torch_outside, "config.py", "from torch import nn\n", "config:1 imports torch"),
    (torch_outside, "runs/x.py", "import torch\n", "runs.x:1 imports torch"),
    (torch_outside, "launch/x.py", "def f():\n    import torch\n", "launch.x:2 imports torch"),
    (torch_outside, "report/x.py", "def f():\n    from torch.nn import Linear\n", "report.x:2 imports torch.nn"),
    (early_imports, "data/bad.py", "import tokenizers\n", "data.bad:1 imports tokenizers at the top"),
    (
        early_imports,
        "model/bad.py",
        "if True:\n    import transformers\n",
        "model.bad:2 imports transformers at the top",
    ),
    (early_imports, "report/x.py", "from matplotlib import pyplot\n", "report.x:1 imports matplotlib at the top"),
    (early_imports, "data/bad.py", "from pydantic import Field\n", "data.bad:1 imports pydantic at the top"),
    (cycles, "data/split.py", "def f():\n    from . import load\n", "data.load imports itself through others"),
    (cycles, "data/split.py", "from bradley.data.load import y\n", "data.split imports itself through others"),
    (silent_fields, "config.py", "class Data:\n    limit: int = 0\n", "Data.limit has no docstring"),
    (silent_fields, "config.py", "class A:\n    x: int\n    y: int\n    '''Why.'''\n", "A.x has no docstring"),
    (silent_fields, "config/data.py", "class A:\n    x: int\n", "A.x has no docstring"),
    (idle_fields, "config/data.py", "class A:\n    x: int\n    '''Why.'''\nA().x\n", "A.x is read nowhere"),
    (idle_fields, "data/load.py", "d.limit = 3\n", "Data.limit is read nowhere"),
    (idle_fields, "data/load.py", "'limit'\n", "Data.limit is read nowhere"),
    (long_files, "data/bad.py", "x = 1\n" * 401, "data.bad has 401 lines"),
    (headless, "data/bad.py", 'def f():\n    """Whether it is."""\n', "data.bad:1 opens with Whether"),
    (headless, "data/bad.py", '"""How rows are read."""\n', "data.bad:1 opens with How"),
    (unknown_names, "data/blame.py", "", "blame: give it an entry in docs/glossary.md"),
]


def plant(folder: Path, files: dict[str, str]) -> Path:
    root = folder / "bradley"
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_source_is_clean(check: Callable[[Path], list[str]]) -> None:
    assert check(SOURCE) == []


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_clean_tree_raises_no_complaint(check: Callable[[Path], list[str]], tmp_path: Path) -> None:
    assert check(plant(tmp_path, CLEAN)) == []


@pytest.mark.parametrize(("check", "name", "text", "complaint"), PLANTED)
def test_planted_fault_is_found(
    check: Callable[[Path], list[str]], name: str, text: str, complaint: str, tmp_path: Path
) -> None:
    assert complaint in check(plant(tmp_path, CLEAN | {name: text}))


def test_every_check_has_a_planted_fault() -> None:
    assert {check for check, *_ in PLANTED} == set(CHECKS)


def test_getattr_and_type_checking_blocks_are_understood(tmp_path: Path) -> None:
    typed = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import tokenizers\ngetattr(d, 'limit')\n"
    root = plant(tmp_path, CLEAN | {"data/load.py": typed})
    assert early_imports(root) == []
    assert idle_fields(root) == []


def test_a_field_read_by_the_keys_of_an_imported_table_is_not_idle(tmp_path: Path) -> None:
    reader = "from .split import TABLE\nfor name in TABLE:\n    getattr(d, name)\n"
    files = CLEAN | {"data/load.py": reader, "data/split.py": "TABLE = {'limit': 1}\n"}
    assert idle_fields(plant(tmp_path, files)) == []
    files["data/load.py"] = reader.replace("getattr", "print")
    assert idle_fields(plant(tmp_path, files)) == ["Data.limit is read nowhere"]
