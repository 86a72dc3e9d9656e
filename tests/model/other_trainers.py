"""Folders as other trainers leave their reward models, and the scores that those trainers give."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from tests.helpers import LLAMA
from tests.model.adapted import IDS, base_model

HIDDEN = LLAMA["hidden_size"]


def head_of(seed: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight [1, H] and bias [1] of a head."""
    source = torch.Generator().manual_seed(seed)
    return torch.randn(1, HIDDEN, generator=source) * 0.5, torch.randn(1, generator=source)


def with_tensors(folder: Path, name: str = "model.safetensors", **tensors: torch.Tensor) -> Path:
    """A folder with more tensors in one of its files."""
    path = folder / name
    known = load_file(path) if path.exists() else {}
    save_file({**known, **tensors}, path, metadata={"format": "pt"})
    return folder


def llama_factory(folder: Path) -> Path:
    """A causal language model, with its head in a file beside."""
    weight, bias = head_of()
    head = {"v_head.summary.weight": weight, "v_head.summary.bias": bias}
    return with_tensors(base_model(folder, LLAMA), "value_head.safetensors", **head)


def trl_value_head(folder: Path) -> Path:
    """A causal language model with a value head in the same file."""
    weight, bias = head_of()
    return with_tensors(base_model(folder, LLAMA), **{"v_head.summary.weight": weight, "v_head.summary.bias": bias})


def open_rlhf(folder: Path, prefix: str = "value_head") -> Path:
    """The weights of a language model without its output, and a head under the name that the user chose."""
    folder = base_model(folder, LLAMA)
    known = load_file(folder / "model.safetensors")
    known.pop("lm_head.weight", None)
    save_file({**known, f"{prefix}.weight": head_of()[0]}, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["RewardModel"]}))
    return folder


def classifier(folder: Path, architecture: str = "LlamaForSequenceClassification") -> Path:
    """A classifier of transformers with one label, as TRL, open-instruct, ms-swift and Skywork save it."""
    folder = open_rlhf(folder, "score")
    config = json.loads((folder / "config.json").read_text())
    labels = {"num_labels": 1, "id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
    (folder / "config.json").write_text(json.dumps({**config, **labels, "architectures": [architecture]}))
    return folder


def own_scores(folder: Path, bias: bool = False, rows: list[list[int]] = IDS) -> torch.Tensor:
    """Scores of token ids by the head of another trainer on the hidden states of transformers, at the last token."""
    from transformers import AutoModel

    network = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    weight, added = head_of()
    with torch.no_grad():
        hidden = torch.stack([network(torch.tensor([row])).last_hidden_state[0, -1] for row in rows])
    return hidden @ weight[0] + (added if bias else 0.0)
