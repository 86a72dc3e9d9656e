"""Benchmarks import names of the product that exist: they run by hand, so that a moved name would be found late."""

import ast
import importlib
import importlib.util
from pathlib import Path

import pytest

FILES = sorted((Path(__file__).parents[2] / "benchmarks").glob("*.py"))


def is_module(path: str) -> bool:
    """Return True for the path of a module; a parent that is no package has no modules."""
    parent = importlib.import_module(path.rpartition(".")[0])
    return hasattr(parent, "__path__") and importlib.util.find_spec(path) is not None


def missing(source: str) -> list[str]:
    """Names that a source imports from the product, and that the product does not have."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "bradley":
            module = importlib.import_module(node.module)
            names = {each.name: f"{node.module}.{each.name}" for each in node.names}
            found += [path for name, path in names.items() if not hasattr(module, name) and not is_module(path)]
    return found


@pytest.mark.parametrize("file", FILES, ids=[file.name for file in FILES])
def test_every_name_of_a_benchmark_exists(file):
    assert missing(file.read_text(encoding="utf-8")) == []


def test_a_missing_name_is_found():
    assert missing("from bradley.scoring.file import How, Nobody") == ["bradley.scoring.file.Nobody"]
