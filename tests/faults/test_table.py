"""The page on reliability says what the bench has seen, and nothing else."""

import re
from pathlib import Path

import pytest

from .elsewhere import GOALS, HELD
from .results import SEEN, read, record
from .rules import RULES
from .table import SEEN as ROWS
from .table import page

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_is_made_of_the_recorded_rows():
    assert (DOCS / "concepts" / "reliability.md").read_text(encoding="utf-8") == page(read(ROWS))


HOLDERS = [*(row[3] for row in (*HELD, *GOALS)), *(test for _, rules in RULES for _, _, test in rules)]
NAMED = {name for row in HOLDERS for name in re.findall(r"tests/[\w/]+\.py(?:::\w+)?", row)}


@pytest.mark.parametrize("name", sorted(NAMED))
def test_a_test_that_the_page_names_exists(name):
    path, _, function = name.partition("::")
    assert f"def {function}" in (DOCS.parent / path).read_text(encoding="utf-8")


def test_of_two_records_the_later_counts_and_rows_are_in_order(tmp_path, monkeypatch):
    monkeypatch.setenv(SEEN, str(tmp_path / "seen.jsonl"))
    record("C10", "flip", "named", "no")
    record("C2", "cut | off", "goes on", "yes")
    record("C10", "flip", "named", "yes")
    record("G1", "kills", "200 of 200", "200 of 200")
    rows = read(tmp_path / "seen.jsonl")
    assert [(row["number"], row["seen"]) for row in rows] == [("C2", "yes"), ("C10", "yes"), ("G1", "200 of 200")]
    tables = page(rows).split("## Goals")
    assert "| C2 | cut \\| off | goes on | yes |\n| C10 | flip | named | yes |" in tables[0]
    assert "| G1 | kills | 200 of 200 | 200 of 200 |" in tables[1] and "G1" not in tables[0]


def test_an_ordinary_run_records_nothing(tmp_path, monkeypatch):
    monkeypatch.delenv(SEEN, raising=False)
    monkeypatch.chdir(tmp_path)
    record("C1", "kill", "goes on", "yes")
    assert not list(tmp_path.iterdir())
