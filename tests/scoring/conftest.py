"""One small model folder for all tests of scoring, and rows for it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bradley.config import Render
from bradley.data.render import Renderer
from bradley.model.folder.normalization import Normalization
from bradley.model.folder.save_load import add_normalization, save_model
from tests.helpers import LLAMA, comparisons, sentence, tiny_model, tokenizer_for

TOKENIZER = tokenizer_for(comparisons(20))
MAX_TOKENS = 128


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with a limit of 128 tokens, and the unit (mean 0.5, deviation 2)."""
    path = tmp_path_factory.mktemp("model") / "m"
    renderer = Renderer(TOKENIZER, Render(max_tokens=MAX_TOKENS), causal=True)
    save_model(path, tiny_model(LLAMA, TOKENIZER), renderer, {})
    add_normalization(path, Normalization("valid", 10, "", 0.5, 2.0))
    return path


def rows(count: int, responses: int = 3, seed: int = 0) -> list[dict[str, Any]]:
    """Rows of K responses to a prompt, with fields of their own."""
    rng = np.random.default_rng(seed)
    return [
        {
            "id": f"r{number}",
            "prompt": [{"role": "user", "content": f"{number} {sentence(rng)}"}],
            "completions": [{"content": f"{k} {sentence(rng)}", "rank": k} for k in range(responses)],
            "extra": {"kept": [1.5, None], "word": "naïve"},
        }
        for number in range(count)
    ]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Rows as a .jsonl file."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a .jsonl file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
