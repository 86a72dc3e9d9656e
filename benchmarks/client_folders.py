"""Model folders for other programs: tiny models in the shape of published families, each a run and its exports."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from client_tokenizers import (
    TEXTS,
    bert_tokenizer,
    gemma_tokenizer,
    gpt2_tokenizer,
    llama_tokenizer,
    mistral_tokenizer,
    neox_tokenizer,
    qwen_tokenizer,
    qwen_words,
)

from bradley.config import Model, Render
from bradley.data.render import Renderer
from bradley.export.folder import export_model
from bradley.model.build import build_model
from bradley.model.folder.parity import draw
from bradley.model.folder.save_load import save_model
from bradley.records import Comparison, Judgment, Message, Response, prompt_key

Turns = list[dict[str, str]]
SIZES = {
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 128,
    "max_position_embeddings": 1024,
}
"""Sizes with heads of 32, the least that vLLM's attention computes on a CPU."""
ENCODER = {key: SIZES[key] for key in SIZES if key != "num_key_value_heads"}
GPT2 = {"n_embd": 128, "n_layer": 2, "n_head": 4, "n_positions": 1024}
SPREAD = 0.15
"""Standard deviation of the drawn weights: with the 0.02 of most families a tiny model hardly reads its input."""


class Family(NamedTuple):
    """Shape of a published family.

    Attributes:
        tokenizer: makes the tokenizer.
        config: configuration of the model, `model_type` included.
        render: settings of the rendering.
        attention: implementations that transformers has for the family.
    """

    tokenizer: Callable[[], Any]
    config: dict[str, Any]
    render: Mapping[str, Any] = MappingProxyType({})
    attention: tuple[str, ...] = ("sdpa", "eager")


LAYERS = ["sliding_attention", "full_attention"]
ROPE = {"rope_type": "default", "rope_theta": 500000.0}
FAMILIES = {
    "llama": Family(llama_tokenizer, {"model_type": "llama", **SIZES, "rope_parameters": ROPE}),
    "qwen2": Family(qwen_tokenizer, {"model_type": "qwen2", **SIZES, "rope_parameters": ROPE}),
    "gpt2": Family(gpt2_tokenizer, {"model_type": "gpt2", **GPT2}, {"template": "raw"}),
    "gemma2": Family(gemma_tokenizer, {"model_type": "gemma2", **SIZES, "head_dim": 32}, attention=("eager",)),
    "mistral": Family(mistral_tokenizer, {"model_type": "mistral", **SIZES, "sliding_window": 64}),
    "bert": Family(bert_tokenizer, {"model_type": "bert", **ENCODER}, {"template": "raw"}),
    "neox": Family(neox_tokenizer, {"model_type": "gpt_neox", **ENCODER}),
    "gemma3": Family(gemma_tokenizer, {"model_type": "gemma3_text", **SIZES, "head_dim": 32, "layer_types": LAYERS}),
    "qwen3": Family(qwen_tokenizer, {"model_type": "qwen3", **SIZES, "head_dim": 32, "rope_parameters": ROPE}),
    "words": Family(qwen_words, {"model_type": "qwen2", **SIZES, "rope_parameters": ROPE}),
}
"""Families by short name; `words` has a vocabulary that bradley learned."""
NEWLINE = ("qwen2", "gemma2", "neox", "gemma3", "qwen3")
"""Families whose template writes a newline after the token at which a policy stops."""
NO_SYSTEM = ("gemma2", "gemma3")
"""Families whose template refuses a system turn."""
BFLOAT16 = ("llama", "qwen2", "bert", "lora")
"""Families and adapters that are exported in bfloat16 too."""
ADAPTERS = {
    "lora": {"kind": "lora", "alpha": 8.0},
    "dora": {"kind": "lora", "dora": True, "norms": True},
    "rslora": {"kind": "lora", "rslora": True, "alpha": 4.0},
}
"""Settings of adapters on the Llama."""


def conversations(family: str) -> list[Turns]:
    """List conversations: a turn, several turns, a system turn where the family has one, code, blanks, scripts."""
    pairs = [(TEXTS[0], text) for text in TEXTS[1:]] + [(text, "Yes.") for text in TEXTS[3:6]]
    found = [[_turn("user", prompt), _turn("assistant", response)] for prompt, response in pairs]
    found.append([*found[0], _turn("user", TEXTS[3]), _turn("assistant", " ".join(TEXTS[9:13]))])
    if family not in NO_SYSTEM:
        found.append([_turn("system", "Be brief."), *found[1]])
    return found


def _turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def rows(family: str) -> list[Comparison]:
    """List the conversations as comparisons with a second response."""
    found = []
    for number, turns in enumerate(conversations(family)):
        prompt = tuple(Message(turn["role"], turn["content"]) for turn in turns[:-1])
        answers = tuple(Response((Message("assistant", text),)) for text in (turns[-1]["content"], f"No {number}."))
        found.append(Comparison(f"c{number}", prompt_key(prompt), prompt, answers, (Judgment(0, 1),)))
    return found


def spread(network: Any) -> None:
    """Draw every weight of a network anew, wide enough for scores of about 1."""
    generator = torch.Generator().manual_seed(7)
    for name, weight in network.named_parameters():
        if weight.requires_grad:
            # A norm multiplies by its weight, or by 1 plus its weight; the first kind begins at 1.
            middle = float(weight.data.mean().round()) if weight.dim() == 1 and name.endswith("weight") else 0.0
            weight.data.copy_(middle + SPREAD * torch.randn(weight.shape, generator=generator))


def write_run(folder: Path, name: str, *, path: Path | None = None, **adapter: Any) -> None:
    """Write the model folder of a run.

    Args:
        path: base model for an adapter with the settings `adapter`.
    """
    family = FAMILIES[name]
    tokenizer = family.tokenizer()
    settings = (
        Model(config=family.config, tokenizer="train") if path is None else Model(path=str(path), adapter=adapter)
    )
    from bradley.data.tokenizer import with_distinct_pad

    model = build_model(settings, with_distinct_pad(tokenizer), 0, torch.device("cpu")).model.eval()
    spread(model.network)
    renderer = Renderer(tokenizer, Render(max_tokens=512, **family.render), causal=model.causal)
    save_model(folder, model, renderer, {"kind": "messages"}, draw(rows(name), renderer, 0))


def write_base(folder: Path, name: str) -> None:
    """Write a language model in bfloat16 without a score head, as bases of adapters are published."""
    from transformers import AutoConfig, AutoModelForCausalLM

    family = FAMILIES[name]
    tokenizer = family.tokenizer()
    values = {key: value for key, value in family.config.items() if key != "model_type"}
    config = AutoConfig.for_model(family.config["model_type"], vocab_size=len(tokenizer), **values)
    network = AutoModelForCausalLM.from_config(config)
    spread(network)
    network.bfloat16().save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def family_of(name: str) -> str:
    """Return the family of a folder's name, such as `qwen2` of `qwen2 run`; adapters are on the Llama."""
    return name.split()[0] if name.split()[0] in FAMILIES else "llama"


def write_all(place: Path, names: list[str], bfloat16: bool = True) -> Iterator[tuple[str, Path]]:
    """Write the folders of families and yield the name and path of each: runs, exports, adapters on a Llama."""
    for name in names:
        write_run(place / name / "run", name)
        yield from exports(place, name, bfloat16)
    if "llama" in names:
        write_base(place / "llama" / "base", "llama")
        for name, settings in ADAPTERS.items():
            write_run(place / name / "run", "llama", path=place / "llama" / "base", **settings)
            yield from exports(place, name, bfloat16)
            export(place / name / "run", place / name / "adapter", adapter=True)
            yield f"{name} adapter", place / name / "adapter"


def exports(place: Path, name: str, bfloat16: bool) -> Iterator[tuple[str, Path]]:
    """Export a run in the dtypes of its name; yield the run and the exports."""
    yield f"{name} run", place / name / "run"
    for dtype in ("float32", *(["bfloat16"] if bfloat16 and name in BFLOAT16 else [])):
        export(place / name / "run", place / name / dtype, dtype=dtype)
        yield f"{name} {dtype}", place / name / dtype


def export(run: Path, folder: Path, **more: Any) -> None:
    """Export a run without the proof in a fresh process: here other programs are the proof."""
    with patch("bradley.export.folder.verify", return_value=[]):
        export_model(run, folder, **more)
