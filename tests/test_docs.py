"""The documents say what is so: settings exist, commands exist, configurations load, the reference page is current."""

import re
import runpy
from pathlib import Path

import pytest

from bradley.cli import cli
from bradley.config import Config
from bradley.configfile import load_config
from bradley.settings import find_setting, settings_of

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
CONFIGS = sorted((ROOT / "configs").glob("*.toml"))
SWITCHES = {"--output", "--sanity", "--quiet", "--json", "--help", "--version"}


def test_the_reference_of_settings_is_what_the_code_says():
    page = runpy.run_path(str(ROOT / "docs" / "make_reference.py"))["page"]()
    written = (ROOT / "docs" / "reference" / "settings.md").read_text(encoding="utf-8")
    assert written == page, "run: python docs/make_reference.py"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_option_and_command_on_a_page_exists(path):
    text = path.read_text(encoding="utf-8")
    known = settings_of(Config)
    for name in re.findall(r"--([a-z_]+\.[a-z_.]+[a-z_])", text):
        assert find_setting(name, known), name
    for line in re.findall(r"^\s*(?:\.venv/bin/)?bradley (.+)$", text, flags=re.MULTILINE):
        words = line.split()
        assert words[0] in cli.commands or words[0] in SWITCHES, line
        assert {w for w in words if w.startswith("--") and "." not in w} <= SWITCHES, line


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_link_and_named_file_exists(path):
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)\)", text):
        if "://" not in target:
            assert (path.parent / target).exists(), target
    for name in re.findall(r"`((?:configs|docs|benchmarks|src|tests)/[\w./-]+\.\w+)`", text):
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_configuration_loads_and_says_what_it_is_for(path):
    assert load_config(path, {}).model_dump()
    assert path.read_text(encoding="utf-8").startswith("# ")
