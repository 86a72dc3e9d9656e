"""Model folders to export, made in a moment."""

from pathlib import Path
from typing import Any

from bradley.config import Render
from bradley.data.render import Renderer
from bradley.model.folder.parity import draw
from bradley.model.folder.save_load import save_model
from bradley.model.reward import ScoreModel
from tests.helpers import LLAMA, comparisons, tiny_model, tokenizer_for

ROWS = comparisons(12, seed=3)
TOKENIZER = tokenizer_for(ROWS)


def saved(folder: Path, config: dict[str, Any] = LLAMA, tokenizer: Any = None, **render: Any) -> ScoreModel:
    """A model folder with a parity sample; `render` are its settings."""
    tokenizer = tokenizer or TOKENIZER
    model = tiny_model(config, tokenizer)
    renderer = Renderer(tokenizer, Render(**{"max_tokens": 200, **render}), causal=model.causal)
    save_model(folder, model, renderer, {"step": 3}, draw(ROWS, renderer, 0))
    return model
