"""The documents say what is so: settings exist, commands exist, configurations load, the reference page is current."""

import ast
import gzip
import json
import math
import re
import runpy
import shutil
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args

import numpy as np
import pyarrow.parquet
import pytest
import torch
from datasets import Dataset
from pydantic import TypeAdapter, ValidationError
from torch.nn.functional import binary_cross_entropy_with_logits
from transformers import AutoConfig, AutoModelForCausalLM

import bradley
from bradley.cli.main import cli, run
from bradley.config import Config, Data, Render
from bradley.config.fields import Setting, find_setting, settings_of, suggest
from bradley.config.load import load_config
from bradley.data.formats import FORMATS, choose_format, to_comparisons
from bradley.data.render import Renderer
from bradley.data.rows import RowPlace
from bradley.losses import LOSSES, Targets
from bradley.model.folder.save_load import save_model
from bradley.records import Comparison, Rejected
from tests.helpers import GPT2, comparisons, tiny_model, tiny_run, tokenizer_for

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
CONFIGS = sorted((ROOT / "configs").rglob("*.toml"))
SWITCHES = {"--output", "--sanity", "--quiet", "--json", "--tokens", "--x", "--help", "--version"}
EVALUATION = ("evaluate", "compare", "calibrate", "power")
OWN_OPTIONS = [
    option
    for name in ("train", "plan", "score", "audit", *EVALUATION, "benchmark", "export", "verify", "doctor")
    for option in cli.commands[name].params
]
OWN_OPTIONS += cli.commands["launch"].commands["local"].params
SWITCHES |= {"--", *(name for option in OWN_OPTIONS for name in option.opts if name.startswith("--"))}
FLAG_MAP = ROOT / "docs" / "guides" / "coming-from.md"
NO_SETTING = ("always", "never", "none", "not yet")


class Mapped(NamedTuple):
    """One row of the flag map: names of another trainer, what is typed here instead, and why."""

    flags: list[str]
    here: str
    note: str

    @property
    def assignments(self) -> dict[str, str]:
        """Settings here, and the value that the row gives them in TOML, or ''."""
        code = (text.partition(" = ") for text in re.findall(r"`([^`]+)`", self.here) if not text.startswith("--"))
        return {name: value for name, _, value in code}


def flag_map() -> list[Mapped]:
    """Every row of every table of the flag map."""
    rows = []
    for line in FLAG_MAP.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| ") and cells[0] != "there":
            assert len(cells) == 3, line
            rows.append(Mapped(re.findall(r"`([^`]+)`", cells[0]), cells[1], cells[2]))
    return rows


def admits(setting: Setting, value: Any) -> bool:
    """Whether a setting, or an entry of one that is a table, takes a value."""
    try:
        TypeAdapter(Annotated[(setting.kind, "a setting", *setting.limits)]).validate_python(value)
    except ValidationError:
        return False
    return True


def leaves(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of a TOML table by dotted name, down to those that no section of ours contains."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        name = f"{prefix}{key}"
        section = isinstance(value, dict) and find_setting(name, settings_of(Config)) is None
        found |= leaves(value, f"{name}.") if section else {name: value}
    return found


def test_the_table_of_computed_memory_is_what_the_code_computes():
    written = (ROOT / "docs" / "guides" / "memory.md").read_text(encoding="utf-8")
    assert runpy.run_path(str(ROOT / "docs" / "scripts" / "make_memory.py"))["page"](written) == written
    assert "| 8B | QLoRA, rank 16 |" in written


def test_the_reference_of_settings_is_what_the_code_says():
    page = runpy.run_path(str(ROOT / "docs" / "scripts" / "make_reference.py"))["page"]()
    written = (ROOT / "docs" / "reference" / "settings.md").read_text(encoding="utf-8")
    assert written == page, "run: python docs/scripts/make_reference.py"


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


def test_the_tables_about_other_launchers_name_settings_that_exist():
    text = (ROOT / "docs" / "guides" / "deepspeed-accelerate.md").read_text(encoding="utf-8")
    cells = [
        line.strip("|").split("|")[1] for line in text.splitlines() if line.startswith("| ") and line.count("|") == 4
    ]
    code = [found for cell in cells for found in re.findall(r"`([a-z_.0-9]+)(?: = ([^`]+))?`", cell)]
    known = settings_of(Config)
    assert len(code) > 20
    for name, value in code:
        found = find_setting(name, known)
        assert found, name
        assert not value or admits(found[0], tomllib.loads(f"x = {value}")["x"]), (name, value)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_configuration_loads_and_says_what_it_is_for(path):
    assert load_config(path, {}).model_dump()
    assert path.read_text(encoding="utf-8").startswith("# ")


def test_the_double_descent_study_is_one_configuration():
    guide = FLAG_MAP.read_text(encoding="utf-8").partition("## The double-descent study")[2]
    shown = dict(leaves(tomllib.loads(re.findall(r"^```toml\n(.*?)^```", guide, flags=re.MULTILINE | re.DOTALL)[0])))
    file = ROOT / "configs" / "launch" / "eight-gpus.toml"
    whole = dict(leaves(tomllib.loads(file.read_text(encoding="utf-8"))))
    assert shown.items() <= whole.items()
    # 160,800 pairs, none held out: the warm-up is a fifth of the first pass, in steps.
    config = load_config(file, {})
    assert round(config.optim.warmup / (160_800 / config.train.batch_size), 2) == 0.2


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_toml_block_on_a_page_holds_settings_with_values_that_they_take(path):
    for block in re.findall(r"^```toml\n(.*?)^```", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL):
        for name, value in leaves(tomllib.loads(block)).items():
            found = find_setting(name, settings_of(Config))
            assert found, name
            setting, entry = found
            kind = get_args(setting.kind)[1] if entry else setting.kind
            assert admits(setting._replace(kind=kind, limits=[] if entry else setting.limits), value), name


def test_every_row_of_the_flag_map_names_settings_or_says_why_there_is_none():
    rows = flag_map()
    assert len(rows) > 150
    for row in rows:
        names = row.assignments
        if row.here.startswith(NO_SETTING):
            assert not names or row.note, row
        elif not names:
            assert row.here.strip("`") in SWITCHES, row
        for name, value in names.items():
            assert name in settings_of(Config), row
            assert not value or admits(settings_of(Config)[name], tomllib.loads(f"x = {value}")["x"]), row


def test_an_unknown_name_gets_the_setting_that_the_flag_map_gives_it():
    settings = settings_of(Config)
    for row in flag_map():
        wanted = set(row.assignments) | ({"--output"} if row.here == "`--output`" else set())
        for flag in row.flags if wanted else []:
            assert suggest(flag.removeprefix("--"), settings) in wanted, (flag, suggest(flag, settings), wanted)


def test_the_flag_map_has_every_flag_of_trls_own_classes():
    trl = find_spec("trl")
    if trl is None:
        pytest.skip("trl is not installed")
    folder = Path(str(trl.origin)).parent
    files = {"trainer/reward_config.py": "RewardConfig", "trainer/model_config.py": "ModelConfig"}
    files |= {"scripts/utils.py": "ScriptArguments", "trainer/base_config.py": "_BaseConfig"}
    known = {flag for row in flag_map() for flag in row.flags}
    for file, name in files.items():
        classes = [n for n in ast.parse((folder / file).read_text()).body if isinstance(n, ast.ClassDef)]
        body = next(node for node in classes if node.name == name).body
        fields = {ast.unparse(node.target) for node in body if isinstance(node, ast.AnnAssign)}
        assert len(fields) > 5 and fields <= known, fields - known


def blocks(name: str, language: str) -> list[str]:
    """The fenced blocks of one language on a page of the guides."""
    text = (ROOT / "docs" / "guides" / name).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def test_the_rows_of_the_guide_are_found_by_the_format_that_it_names():
    text = (ROOT / "docs" / "guides" / "your-data.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| `(\{.+\})` \|$", text, flags=re.MULTILINE)
    assert {name for name, _ in rows} == set(FORMATS)
    for name, row in rows:
        reading, numbered = choose_format([(1, json.loads(row))], RowPlace(name, name))
        assert reading.format == name
        (comparison,) = to_comparisons([row for _, row in numbered])
        assert isinstance(comparison, Comparison), comparison
        if len(comparison.responses) == 2:
            assert comparison.responses[comparison.judgments[0].better].text.strip() not in ("Nine.", "Likes nine.")


def test_the_function_of_the_guide_reads_rows(tmp_path, monkeypatch):
    (code,) = (block for block in blocks("your-data.md", "python") if block.startswith("# my_code.py"))
    (tmp_path / "my_code.py").write_text(code, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    row = {"key": "k", "question": "2 + 2?", "answers": ["5", "4"], "verdict": "second"}
    settings = Data(format="my_code:read")
    kept, left_out = to_comparisons([row, {**row, "verdict": "unclear"}], settings)
    assert isinstance(kept, Comparison) and kept.id == "k"
    assert [response.text for response in kept.responses] == ["4", "5"]
    assert isinstance(left_out, Rejected) and left_out.reason == "left_out"


def test_the_notebook_of_the_guide_runs(tmp_path, monkeypatch, capsys):
    (code,) = (block for block in blocks("your-data.md", "python") if "bradley.train(" in block)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("bradley.training.run.write_pages", lambda *_: None)  # figures take longer than all the rest
    names: dict[str, Any] = {}
    exec(code, names)
    held_out = names["splits"].evals["valid"]
    assert [row.id for row in names["scored"]] == [row.id for row in held_out]
    assert "accuracy" in capsys.readouterr().out


ANSWERS = (["Thorough", "careful", "clear"], ["maybe", "whatever", "nothing"])


def judged_rows(count: int, seed: int) -> list[dict[str, Any]]:
    """Rows of two prompts each whose better answer has other words, with one label in ten turned."""
    generator = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        sides = [" ".join(generator.choice(words, size=4)) for words in ANSWERS][:: -1 if i % 10 == 0 else 1]
        rows.append({"id": f"r{i}", "prompt": f"Question {seed} {i // 2}?", "chosen": sides[0], "rejected": sides[1]})
    return rows


def write_lines(path: str, rows: list[dict[str, Any]]) -> None:
    Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def evaluated(tmp_path, monkeypatch):
    """The files that the guide to evaluation names, with a run of six steps under each name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("bradley.training.run.write_pages", lambda *_: None)
    monkeypatch.setattr("bradley.report.evaluation_page.evaluation_figures", lambda found: iter(()))
    settings = tiny_run(train={"max_steps": 6}, optim={"lr": 1e-2, "warmup": 0}, eval={"every": 6}, log={"samples": 0})
    bradley.train(settings, train=judged_rows(60, 1), valid=judged_rows(30, 2), output="runs/a")
    for name in ("b", "a0", "a1", "b0", "b1"):
        shutil.copytree("runs/a", f"runs/{name}")
    write_lines("held_out.jsonl", judged_rows(30, 3))
    generator = np.random.default_rng(4)
    columns = ("good", "bad")
    for name in ("scores", "a", "b", "c"):
        rows = [dict(zip(columns, generator.normal((0.5, 0.0)).tolist(), strict=True)) for _ in range(30)]
        found = [{"id": f"r{i}", "chosen_score": r["good"], "rejected_score": r["bad"]} for i, r in enumerate(rows)]
        write_lines(f"{name}.jsonl", found)
    lines = [f"r{i},{row['good']},{row['bad']}" for i, row in enumerate(rows)]
    Path("scores.csv").write_text("\n".join(["id,good,bad", *lines]) + "\n", encoding="utf-8")


def test_the_guide_to_evaluation_runs_as_it_is_written(evaluated, capsys):
    text = (ROOT / "docs" / "guides" / "evaluate.md").read_text(encoding="utf-8")
    typed = list(dict.fromkeys(re.findall(r"^    bradley (.+)$", text, flags=re.MULTILINE)))
    assert {line.split()[0] for line in typed} >= set(EVALUATION)
    for line in typed:
        capsys.readouterr()
        assert run(line.split()) == 0, (line, capsys.readouterr().err)
        shown = capsys.readouterr().out.strip()
        assert not line.startswith("power") or "discordant" in line or f"```\n{shown}\n```" in text
    assert "<html" in Path("evaluation.html").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    for block in blocks("evaluate.md", "python"):
        exec(block, names)
    by_command = json.loads(Path("rows.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert list(names["a"][0].scores) == by_command["scores"]
    assert names["scored"].rows[0].scores[0] == pytest.approx(float(Path("scores.csv").read_text().split(",")[3]))


def section(title: str) -> str:
    """A section of the README."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (found,) = re.findall(rf"^## {title}\n(.*?)^## ", text, flags=re.MULTILINE | re.DOTALL)
    return str(found)


def test_use_your_reward_model_runs_as_it_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = comparisons(4, responses=3)
    tokenizer = tokenizer_for(rows)
    renderer = Renderer(tokenizer, Render(template="raw", max_tokens=512), causal=True)
    save_model(tmp_path / "runs/gpt2-hh/model", tiny_model(GPT2, tokenizer), renderer, {})
    chats = [[{"role": m.role, "content": m.content} for m in row.prompt] for row in rows]
    asked = [{"prompt": c, "responses": [r.text for r in row.responses]} for c, row in zip(chats, rows, strict=True)]
    Path("candidates.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked), encoding="utf-8")
    text = section("Use your reward model")
    typed = re.findall(r"^    bradley (.+)$", text, flags=re.MULTILINE)
    # The export of a whole run, in processes of its own, is tested with the exports.
    assert "export runs/gpt2-hh served" in typed
    for line in typed:
        assert line.startswith("export") or run(line.split("  #")[0].split()) == 0, capsys.readouterr().err
    scored = [json.loads(line) for line in gzip.decompress(Path("scored.jsonl.gz").read_bytes()).splitlines()]
    best = [row["response"] for row in pyarrow.parquet.read_table("best.parquet").to_pylist()]
    assert best == [row["responses"][int(np.argmax(row["scores"]))] for row in scored]
    plain, trainer, alone = re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(plain, names)
    assert sorted(index for index, _ in names["ranked"]) == [0, 1]
    exec(alone, names)
    assert names["score"] == pytest.approx(names["scores"][0], rel=1e-4, abs=1e-6)
    if find_spec("trl"):
        from trl import GRPOConfig

        policy, prompts = save_policy(tmp_path / "policy", tokenizer), Dataset.from_dict({"prompt": chats * 2})
        args = GRPOConfig(output_dir="grpo", use_cpu=True, bf16=False, report_to="none")
        exec(trainer, names | {"policy": policy, "args": args, "prompts": prompts})


def save_policy(folder: Path, tokenizer: Any) -> str:
    """A language model of a few thousand weights on disk."""
    config = AutoConfig.for_model(**GPT2, vocab_size=len(tokenizer))
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def test_the_scales_that_the_flag_map_gives_for_ludics_terms_hold():
    torch.manual_seed(0)
    scores, pairs = torch.randn(10), torch.arange(10).view(5, 2)
    chosen, rejected = scores[::2], scores[1::2]
    none = torch.full((10,), math.nan)
    targets = Targets(pairs[:, 0], pairs[:, 1], torch.ones(5), none[:5], torch.ones(5), torch.arange(10) // 2, none)
    smoothed = LOSSES["bradley_terry"](scores, targets, label_smoothing=0.05 / 2).sum / 5
    label = torch.full((5,), 1 * (1 - 0.05) + 0.5 * 0.05)
    assert smoothed.item() == pytest.approx(binary_cross_entropy_with_logits(chosen - rejected, label).item(), rel=1e-5)
    penalty = 2 * 0.1 * LOSSES["score_penalty"](scores, targets).sum / 10
    assert penalty.item() == pytest.approx(0.1 * (chosen.square().mean() + rejected.square().mean()).item(), rel=1e-5)


WAY = re.compile(r"^\d+\. `([\w/]+\.py)`: `(?:\w+\.)?(\w+)` ", re.M)


@pytest.mark.parametrize(("heading", "most"), [("a configuration to the step", 10), ("a checkpoint to the disk", 10)])
def test_the_ways_through_the_code_are_true(heading, most):
    """Each function is where the page says, and is called by one that the page names before."""
    section = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition(f"### The way of {heading}")[2]
    way = WAY.findall(section.partition("\n##")[0])
    assert 0 < len(way) <= most
    bodies: list[str] = []
    for file, name in way:
        text = (ROOT / "src" / "bradley" / file).read_text(encoding="utf-8")
        found = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef) and node.name == name]
        assert found, f"{file} has no {name}"
        called = re.compile(rf"\b{name}\b")
        assert not bodies or any(called.search(body) for body in bodies), f"nothing before calls {name}"
        bodies.append(ast.get_source_segment(text, found[0]) or "")


def test_every_folder_and_every_file_of_the_tour_is_there():
    """A name in the third column is a module or a folder in that row's folder, `FORMATS` and file names aside."""
    page, source = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), ROOT / "src" / "bradley"
    tour = page.partition("### Every folder")[2].partition("\nTwo arms")[0]
    rows = re.findall(r"^\| `([\w/]+)/` \|[^|]*\|([^|]*)\|", tour, re.M)
    folders = {path.parent.relative_to(source).as_posix() for path in source.rglob("__init__.py")} - {"."}
    assert {name for name, _ in rows} | {"report/plots"} == folders
    for folder, files in rows:
        named = [name.rstrip("/") for name in re.findall(r"`([\w/]+)`", files) if name != "FORMATS"]
        missing = [
            n for n in named if not (source / folder / n).is_dir() and not (source / folder / f"{n}.py").exists()
        ]
        assert not missing, f"{folder}/ has no {missing}"
