"""A model folder that says what it is: weights, tokenizer, and in `bradley.json` how text becomes a score."""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ..config import Render
from ..data.render import Renderer
from ..data.tokenizer import load_tokenizer
from ..errors import CheckpointError
from ..files import replace_folder
from .build import HEAD_PREFIXES, compute_dtype, load_network, own_memory, quiet_transformers
from .reward import RewardModel

CARD = "bradley.json"
TEMPLATE = "bradley_template.jinja"


class Loaded(NamedTuple):
    """A model ready to score, and the renderer it was trained with."""

    model: RewardModel
    renderer: Renderer


def save_model(folder: Path, model: RewardModel, renderer: Renderer, facts: dict[str, Any]) -> None:
    """Write a model folder, whole or not at all; plain transformers loads it to the same scores.

    Args:
        facts: what else the folder should say of itself, such as step and metric.
    """
    replace_folder(folder, lambda target: _write(target, model, renderer, facts))


def _write(folder: Path, model: RewardModel, renderer: Renderer, facts: dict[str, Any]) -> None:
    with quiet_transformers():
        model.network.save_pretrained(folder)
    renderer.tokenizer.save_pretrained(folder)
    template = renderer.template
    if template is not None:
        (folder / TEMPLATE).write_text(template, encoding="utf-8")
    card = {
        "format": 1,
        "render": renderer.settings.model_dump(),
        "template": "raw" if template is None else TEMPLATE,
        "template_sha256": None if template is None else hashlib.sha256(template.encode()).hexdigest(),
        "pooling": "last token, by stored index" if model.causal else "the encoder's own head",
        "compute": str(model.compute).removeprefix("torch."),
        **facts,
    }
    (folder / CARD).write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


def load_model(folder: Path, device: str = "cpu") -> Loaded:
    """A model folder as it was trained: same ids, same dtype, same pooled token.

    Raises:
        CheckpointError: no folder, no `bradley.json`, a missing head (scores would be random), or a missing weight.
    """
    path = Path(folder)
    if not path.is_dir():
        raise CheckpointError(f"model folder {folder} does not exist", "give the model folder of a run")
    if not (path / CARD).is_file():
        raise CheckpointError(f"{folder} holds no {CARD}, so how its texts were rendered is unknown", "train it here")
    card = json.loads((path / CARD).read_text(encoding="utf-8"))
    network, missing = load_network(str(path.resolve()), dropout=False, remote_code=False)
    if any(name.startswith(HEAD_PREFIXES) for name in missing):
        raise CheckpointError(
            f"{folder} has no trained score head ({', '.join(missing)} missing)",
            "scores would be random: retrain or re-export",
        )
    if missing:
        raise CheckpointError(f"{folder} lacks the weights {', '.join(missing[:3])}", "copy the whole model folder")
    template = "raw" if card["template"] == "raw" else str(path / TEMPLATE)
    settings = Render(**{**card["render"], "template": template})
    target = torch.device(device)
    model = RewardModel(own_memory(network).to(target), compute_dtype(card["compute"], target)).eval()
    return Loaded(model, Renderer(load_tokenizer(str(path.resolve())), settings, causal=model.causal))
