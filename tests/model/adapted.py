"""Base models on disk, and adapters on them, for tests."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from bradley.config import Model, Optim, Render
from bradley.data.render import Renderer
from bradley.model.build import build_model
from bradley.model.engine.batch import collate
from bradley.model.folder.save_load import save_model
from bradley.model.reward import ScoreModel
from bradley.training.optim import make_optimizer
from tests.helpers import comparisons, store_for, tokenizer_for

ROWS = comparisons(6)
TOKENIZER = tokenizer_for(ROWS)
STORE = store_for(ROWS, TOKENIZER)
BATCH = collate(STORE, np.arange(len(ROWS)), STORE.judgment_weights("pair"))
IDS = [STORE.response_ids(number, k).tolist() for number in range(len(ROWS)) for k in range(2)]


def base_model(folder: Path, config: dict[str, Any], seed: int = 0) -> Path:
    """A language model without a score head, as it would come from the Hub."""
    from transformers import AutoConfig, AutoModelForCausalLM

    kind = config["model_type"]
    values = {key: value for key, value in config.items() if key != "model_type"}
    torch.manual_seed(seed)
    network = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, vocab_size=len(TOKENIZER), **values))
    for name, weight in network.named_parameters():
        if "bias" in name or "norm" in name or "ln_" in name:
            torch.nn.init.normal_(weight, 1.0 if name.endswith("weight") else 0.0, 0.2)
    network.save_pretrained(folder)
    TOKENIZER.save_pretrained(folder)
    return folder


def adapted(base: Path, engine: str = "auto", **adapter: Any) -> ScoreModel:
    """A reward model with adapters on a base model; `kind="none"` trains all of it."""
    settings = Model(path=str(base), engine=engine, adapter={"kind": "lora", "rank": 4, **adapter})
    return build_model(settings, TOKENIZER, 0, torch.device("cpu")).model


def train(model: ScoreModel, steps: int = 20, lr: float = 5e-3) -> ScoreModel:
    """Steps on one batch, each response preferred by its place."""
    optimizer = make_optimizer(model, Optim(lr=lr))
    for _ in range(steps):
        scores = model(BATCH)
        torch.nn.functional.softplus(scores[1::2] - scores[::2]).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


def scores(model: ScoreModel) -> torch.Tensor:
    """Scores [R] of the batch, as in evaluation."""
    model.eval()
    with torch.no_grad():
        found: torch.Tensor = model(BATCH)
    return found


def save(folder: Path, model: ScoreModel) -> Path:
    """The folder of a model."""
    save_model(folder, model, Renderer(TOKENIZER, Render(max_tokens=200), causal=model.causal), {})
    return folder
