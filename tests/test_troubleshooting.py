"""The errors that the troubleshooting guide prints are the ones that the program prints, to the letter."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from bradley.cli.main import run
from bradley.config import Render
from bradley.data.render import Renderer
from bradley.data.tokenizer import train_tokenizer
from bradley.errors import CheckpointError
from bradley.model.folder.save_load import load_model, save_model
from tests.helpers import LLAMA, tiny_model

PAGE = Path(__file__).parents[1] / "docs" / "guides" / "troubleshooting.md"
BLOCKS = re.findall(r"^```\n(error: .*?)^```", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
CONFIG = """
[data]
train = "pairs.jsonl"
valid = "valid.jsonl"

[model]
tokenizer = "train"
config = {model_type = "llama", hidden_size = 32, num_hidden_layers = 1, num_attention_heads = 2, \
num_key_value_heads = 2, intermediate_size = 64, max_position_embeddings = 512}

[render]
max_tokens = 128

[train]
batch_size = 16
max_steps = 4

[eval]
every = 100
train_probe = 0
"""
OTHER_TEMPLATE = "error: the model folder runs/x/model is not as bradley saved it"
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
TODAY = "{{ strftime_now('%d %b %Y') }}{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
CASES = {
    "the loss of step": ["--optim.lr", "1e30"],
    "12 of 60 rows": ["--data.train", "ranked.jsonl"],
    "nofield.jsonl": ["--data.train", "nofield.jsonl"],
    "broken.jsonl": ["--data.train", "broken.jsonl"],
    "openbmb/": ["--data.train", "openbmb/UltraFeedback"],
    "7 training": ["--data.valid", "leaked.jsonl"],
    "evaluation comparison": ["--data.valid", "long.jsonl"],
    "render.max_tokens": ["--render.max_tokens", "2048"],
    "comparison k:1": ["--data.train", "k.jsonl", "--render.max_tokens", "300", "--train.micro_batch_tokens", "500"],
    "comparison roles:1": ["--data.train", "roles.jsonl", "--render.template", "no_system.jinja"],
    "train: tools": ["--data.train", "tools.jsonl"],
    "render.template": ["--model.tokenizer", "bare"],
    "the chat template": ["--render.template", "today.jinja"],
    "command line": ["--optim.learning_rate", "1e-4"],
    "run.toml: train.patience": ["--train.patience", "2"],
    "run.toml: loss": ["--loss.label_smoothing", "0.1", "--train.past_interpolation", "0.9", "--eval.train_probe", "8"],
    "loss.margin_scale": ["--loss.margin_scale", "1"],
}
"""How the error that begins so comes about: options after `bradley train run.toml`."""


def pair(number: int, **more: Any) -> dict[str, Any]:
    row = {"prompt": f"Say {number} in words, please.", "chosen": f"That is {number} indeed.", "rejected": "No."}
    return {**row, **more}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a small run in it, and files that each have one fault."""
    ranked = [
        {"prompt": f"{n}?", "completions": [{"content": c, "score": s} for c, s in (("a", 1), ("b", 2))[n % 5 == 0 :]]}
        for n in range(60)
    ]
    many = [{"content": f"answer {i} " + "long " * 40, "score": i} for i in range(12)]
    system = [{"role": "system", "content": "Be nice."}, {"role": "user", "content": "Hi"}]
    files = {
        "pairs": [pair(n) for n in range(120)],
        "valid": [pair(n) for n in range(1000, 1030)],
        "leaked": [pair(n) for n in range(7)],
        "ranked": ranked,
        "long": [pair(n, chosen="word " * 600) for n in range(1000, 1030)],
        "k": [{"prompt": f"{n}?", "completions": many} for n in range(60)],
        "roles": [pair(0, prompt=system)],
        "tools": [pair(n, tools=[{"function": {"name": "look"}}]) for n in range(60)],
    }
    for name, rows in files.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    first = json.dumps(pair(0)) + "\n"
    (tmp_path / "broken.jsonl").write_text(first + '{"prompt": "x", "chosen": "y"\n')
    (tmp_path / "nofield.jsonl").write_text(first + '{"prompt": "x", "chosen": "y"}\n')
    (tmp_path / "no_system.jinja").write_text(NO_SYSTEM)
    (tmp_path / "today.jinja").write_text(TODAY)
    (tmp_path / "run.toml").write_text(CONFIG)
    bare = train_tokenizer(["a few words"], 300)
    bare.chat_template = None
    bare.save_pretrained(tmp_path / "bare")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BRADLEY_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_every_error_of_the_guide_has_a_case():
    beginnings = [block.removeprefix("error: ") for block in BLOCKS]
    assert len(BLOCKS) == len(CASES) + 1
    assert sum(block.startswith(OTHER_TEMPLATE) for block in BLOCKS) == 1
    for start in CASES:
        assert sum(text.startswith(start) for text in beginnings) == 1, start


@pytest.mark.parametrize("start", CASES)
def test_the_program_prints_what_the_guide_prints(start, folder, capfd):
    code = run(["train", "run.toml", "--quiet", "--output", "runs/new", *CASES[start]])
    printed = capfd.readouterr().err
    (wanted,) = (block for block in BLOCKS if block.startswith(f"error: {start}"))
    assert code in (2, 3, 4, 5)
    assert printed[printed.index("error: ") :] == wanted


def test_a_model_folder_with_another_template_does_not_load(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tokenizer = train_tokenizer(["a few words"], 300)
    save_model(Path("runs/x/model"), tiny_model(LLAMA, tokenizer), Renderer(tokenizer, Render(), causal=True), {})
    Path("runs/x/model/bradley_template.jinja").write_text("{{ messages[-1].content }}")
    with pytest.raises(CheckpointError) as caught:
        load_model(Path("runs/x/model"))
    assert f"error: {caught.value.message}\nhint: {caught.value.hint}\n" in BLOCKS
