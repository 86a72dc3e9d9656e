"""Model folders for other programs: tiny models in the shape of published families, each a run folder and its exports.

The tokenizers are learned here and built as the families build theirs: where the first token comes from, what ends a
turn, and whether anything follows it.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch

from bradley.config import Model, Render
from bradley.data.render import Renderer
from bradley.export.folder import export_model
from bradley.model.build import build_model
from bradley.model.folder.parity import draw
from bradley.model.folder.save_load import save_model
from bradley.records import Comparison, Judgment, Message, Response, prompt_key

Turns = list[dict[str, str]]
LLAMA_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
LLAMA_CHAT = (
    "{% for message in messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' "
    "+ message['content'] | trim + '<|eot_id|>' %}{{ bos_token + content if loop.first else content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
GEMMA_CHAT = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{% for message in messages %}{% set role = 'model' if message['role'] == 'assistant' else "
    "message['role'] %}{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"
)
MISTRAL_CHAT = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'assistant' %}"
    "{{ ' ' + message['content'] + eos_token }}{% else %}{{ '[INST] ' + message['content'] + ' [/INST]' }}{% endif %}"
    "{% endfor %}"
)
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
TEXTS = [
    "Name a prime number.",
    "Seven is one.",
    "I do not know any.",
    "def f(x):\n\treturn x ** 2  # fine\n",
    "1234567890 and 3.14159",
    "  blanks  before and after  ",
    "你好，世界。素数是什么？",
    "مرحبا بالعالم",
    "Привет, мир!",
    "naïve café 👩‍👩‍👧 done",
    "a\n\nb\n\n\nc",
    "The river runs under a stone bridge while birds watch.",
    "Yes.",
    "It's 5 o'clock",
]


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


def learned(first: str, end: str, others: tuple[str, ...], chat: str | None, words: str = "") -> Any:
    """Learn a byte-level tokenizer whose post-processor writes `first` before a text."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not words)
    split = [pre_tokenizers.Split(Regex(words), "isolated")] if words else []
    core.pre_tokenizer = pre_tokenizers.Sequence([*split, level])
    core.decoder = decoders.ByteLevel()
    special = list(dict.fromkeys([*([first] if first else []), end, *others]))
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=480, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator(TEXTS, trainer)
    if first:
        core.post_processor = processors.TemplateProcessing(
            single=f"{first} $A", pair=f"{first} $A $B", special_tokens=[(first, core.token_to_id(first))]
        )
    named = {"bos_token": first} if first else {}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token=end, extra_special_tokens=list(others), **named
    )
    tokenizer.chat_template = chat
    return tokenizer


def llama_tokenizer() -> Any:
    """Llama 3: the first token comes from the post-processor and from the template; no pad token."""
    others = ("<|start_header_id|>", "<|end_header_id|>", "<|end_of_text|>")
    return learned("<|begin_of_text|>", "<|eot_id|>", others, LLAMA_CHAT, LLAMA_WORDS)


def qwen_tokenizer() -> Any:
    """Qwen 2: no first token, a newline after the end of each turn, and a tokenizer class of its own."""
    import json

    from transformers import Qwen2Tokenizer

    core = json.loads(learned("", "<|im_end|>", (), None, LLAMA_WORDS).backend_tokenizer.to_str())["model"]
    vocabulary = {token: number for number, token in enumerate(key for key in core["vocab"] if key != "<|im_end|>")}
    tokenizer = Qwen2Tokenizer(
        vocab=vocabulary,
        merges=[tuple(merge) for merge in core["merges"]],
        eos_token="<|im_end|>",
        extra_special_tokens=["<|im_start|>"],
    )
    tokenizer.chat_template = CHATML
    return tokenizer


def gpt2_tokenizer() -> Any:
    """GPT-2: one token for the beginning and the end, no pad token, no chat template."""
    return learned("", "<|endoftext|>", (), None)


def gemma_tokenizer() -> Any:
    """Gemma: the first token from the post-processor and the template, a newline after the end of each turn."""
    return learned("<bos>", "<eos>", ("<start_of_turn>", "<end_of_turn>", "<pad>"), GEMMA_CHAT)


def mistral_tokenizer() -> Any:
    """Mistral: instructions between marks, the end token after a response."""
    return learned("<s>", "</s>", ("[INST]", "[/INST]"), MISTRAL_CHAT)


def bert_tokenizer() -> Any:
    """MiniLM: [CLS] before and [SEP] after a text, from the post-processor; no chat template."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    core.normalizer = normalizers.BertNormalizer(lowercase=True)
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    core.train_from_iterator(
        TEXTS, trainers.WordPieceTrainer(vocab_size=400, special_tokens=special, show_progress=False)
    )
    ends = [(token, core.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


ROPE = {"rope_type": "default", "rope_theta": 500000.0}
FAMILIES = {
    "llama": Family(llama_tokenizer, {"model_type": "llama", **SIZES, "rope_parameters": ROPE}),
    "qwen2": Family(qwen_tokenizer, {"model_type": "qwen2", **SIZES, "rope_parameters": ROPE}),
    "gpt2": Family(gpt2_tokenizer, {"model_type": "gpt2", **GPT2}, {"template": "raw"}),
    "gemma2": Family(gemma_tokenizer, {"model_type": "gemma2", **SIZES, "head_dim": 32}, attention=("eager",)),
    "mistral": Family(mistral_tokenizer, {"model_type": "mistral", **SIZES, "sliding_window": 64}),
    "bert": Family(bert_tokenizer, {"model_type": "bert", **ENCODER}, {"template": "raw"}),
}


def conversations(family: str) -> list[Turns]:
    """List conversations: a turn, several turns, a system turn where the family has one, code, blanks, scripts."""
    pairs = [(TEXTS[0], text) for text in TEXTS[1:]] + [(text, "Yes.") for text in TEXTS[3:6]]
    found = [[_turn("user", prompt), _turn("assistant", response)] for prompt, response in pairs]
    found.append([*found[0], _turn("user", TEXTS[3]), _turn("assistant", " ".join(TEXTS[9:13]))])
    if family != "gemma2":
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
    """Write a language model without a score head, as the base of an adapter."""
    from transformers import AutoConfig, AutoModelForCausalLM

    family = FAMILIES[name]
    tokenizer = family.tokenizer()
    values = {key: value for key, value in family.config.items() if key != "model_type"}
    config = AutoConfig.for_model(family.config["model_type"], vocab_size=len(tokenizer), **values)
    network = AutoModelForCausalLM.from_config(config)
    spread(network)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


ADAPTERS = {"lora": {"kind": "lora"}, "dora": {"kind": "lora", "dora": True, "norms": True}}


def write_all(place: Path, names: list[str], bfloat16: bool = True) -> Iterator[tuple[str, Path]]:
    """Write the folders of families and yield the name and path of each: run, exports, adapters on a Llama."""
    for name in names:
        write_run(place / name / "run", name)
        yield f"{name} run", place / name / "run"
        for dtype in ("float32", *(["bfloat16"] if bfloat16 else [])):
            export_model(place / name / "run", place / name / dtype, dtype=dtype)
            yield f"{name} {dtype}", place / name / dtype
    if "llama" in names:
        write_base(place / "llama" / "base", "llama")
        for kind, settings in ADAPTERS.items():
            write_run(place / kind / "run", "llama", path=place / "llama" / "base", **settings)
            yield f"{kind} run", place / kind / "run"
            export_model(place / kind / "run", place / kind / "float32")
            yield f"{kind} float32", place / kind / "float32"
