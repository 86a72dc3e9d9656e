"""What many tests share: small comparisons, a tokenizer of their texts, tiny models, the place of the real data."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bradley.config import Model, Render
from bradley.data.plan import Plan, Step
from bradley.data.render import Renderer
from bradley.data.token_store import TokenStore, build_store
from bradley.data.tokenizer import texts_of, train_tokenizer
from bradley.model.build import build_model
from bradley.model.reward import ScoreModel
from bradley.records import Comparison, Judgment, Message, Response, prompt_key

DATA = Path(__file__).parents[2] / "shared" / "data"
WORDS = [
    "the",
    "river",
    "runs",
    "under",
    "a",
    "stone",
    "bridge",
    "while",
    "birds",
    "watch",
    "from",
    "tall",
    "trees",
    "and",
    "nobody",
    "counts",
    "them",
]

LLAMA = {
    "model_type": "llama",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 512,
}
GPT2 = {"model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512}
BERT = {
    "model_type": "bert",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 512,
}
QWEN = {**LLAMA, "model_type": "qwen2"}
GPT_NEOX = {
    "model_type": "gpt_neox",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 512,
}


def dealt(plan: Plan, step: Step, processes: int) -> list[list[np.ndarray]]:
    """The micro-batches of a step for each process, an empty one where there is no more."""
    rounds, nothing = plan.rounds(step, processes), np.zeros(0, dtype=np.int64)
    return [[step.micro_batches[k] if k >= 0 else nothing for k in rounds[:, rank]] for rank in range(processes)]


def needs_data(*parts: str) -> Path:
    """The path of a real data file; skips the test where the data is not on this machine."""
    path = DATA.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"real data {'/'.join(parts)} is not on this machine")
    return path


def read_gz(path: Path, limit: int | None = None) -> list[dict[str, Any]]:
    """The rows of a gzipped JSONL file."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line, _ in zip(file, range(limit or 10**9), strict=False)]


def sentence(rng: np.random.Generator, low: int = 1, high: int = 12) -> str:
    """A few random words."""
    return " ".join(rng.choice(WORDS, int(rng.integers(low, high + 1))))


def comparison(number: int, rng: np.random.Generator, responses: int = 2, **fields: Any) -> Comparison:
    """A comparison of random words, the first response preferred to each other one."""
    prompt = (Message("user", f"{number} {sentence(rng)}"),)
    answers = tuple(Response((Message("assistant", f"{k} {sentence(rng)}"),)) for k in range(responses))
    judgments = tuple(Judgment(0, k) for k in range(1, responses))
    return Comparison(f"c{number}", prompt_key(prompt), prompt, answers, judgments, **fields)


def comparisons(count: int, responses: int = 2, seed: int = 0, first: int = 0) -> list[Comparison]:
    """`count` such comparisons, numbered from `first`."""
    rng = np.random.default_rng(seed)
    return [comparison(number, rng, responses) for number in range(first, first + count)]


def tokenizer_for(rows: list[Comparison], size: int = 320) -> Any:
    """A tokenizer learned from the comparisons."""
    return train_tokenizer(texts_of(rows), size)


def store_for(rows: list[Comparison], tokenizer: Any = None, *, training: bool = True, **render: Any) -> TokenStore:
    """A token store of the comparisons, in memory."""
    settings = Render(**{"max_tokens": 512, **render})
    renderer = Renderer(tokenizer or tokenizer_for(rows), settings, causal=True)
    return build_store(rows, renderer, training=training)


def tiny_model(config: dict[str, Any], tokenizer: Any, seed: int = 0, **settings: Any) -> ScoreModel:
    """A reward model of a few thousand weights."""
    model = Model(config=config, tokenizer="train", **settings)
    return build_model(model, tokenizer, seed, torch.device("cpu")).model


def tiny_run(**sections: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Settings of a run of a few steps, `changed` by the sections that are given."""
    base = {
        "model": {"config": LLAMA, "tokenizer": "train", "vocab_size": 320},
        "render": {"max_tokens": 128},
        "train": {"batch_size": 8, "max_steps": 4, "micro_batch_tokens": 1024},
        "eval": {"every": 2, "train_probe": 8},
    }
    return changed(base, **sections)


def changed(settings: dict[str, dict[str, Any]], **sections: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Settings with other values in some sections."""
    return settings | {name: {**settings.get(name, {}), **values} for name, values in sections.items()}


def counting_rows(count: int) -> list[dict[str, str]]:
    """Rows of a preference file about numbers."""
    return [{"prompt": f"What follows {i}?", "chosen": f"It is {i + 1}.", "rejected": "No idea."} for i in range(count)]
