"""Models of other trainers in plain transformers: conversations of ours, their token ids, and the network."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..common.model_files import COPY, library_errors
from ..data.chat_template import transcript
from ..errors import CheckpointError, DataError
from ..model.folder.other_trainers import ForeignRenderer
from ..model.folder.parity import conversation_ids
from ..model.folder.save_load import Loaded
from ..model.heads import find_head, put_head
from ..model.network import load_config
from ..model.reward import CAUSAL_HEAD
from ..records import Message

Turns = Sequence[dict[str, str]]
ASKED = (
    ("What is 2 + 2?", "4"),
    ("Name a river.", "The Danube runs through ten countries, more than any other river."),
    ("Écris « bonjour » en chinois.", "你好。  \n"),
    ("def f(x):", "    return x + 1\n\nThe function adds one."),
    ("Which is longer, a mile or a kilometre?", "A mile. " * 40),
)
"""Prompt and response of each conversation; the last is long."""


def foreign_rows(loaded: Loaded) -> Iterator[dict[str, Any]]:
    """Yield messages and token ids of the conversations that the template of a model takes.

    Raises:
        CheckpointError: the template refuses every conversation.
    """
    asked = [[_turn("user", prompt), _turn("assistant", response)] for prompt, response in ASKED]
    refusal, found = "", 0
    for messages in (*asked, [*asked[0], *asked[1]]):
        try:
            ids = conversation_ids(messages, loaded.renderer)
        except DataError as error:
            refusal = error.message
            continue
        if len(ids) <= loaded.renderer.settings.max_tokens:
            found += 1
            yield {"messages": messages, "ids": ids}
    if not found:
        raise CheckpointError(f"no conversation could be rendered: {refusal}", "give another template: --template")


def foreign_tokenizer(folder: Path, trust: bool, renderer: ForeignRenderer) -> Any:
    """Load the tokenizer of a folder by `AutoTokenizer`, with the assumed template and pad token."""
    from transformers import AutoTokenizer

    with library_errors(f"plain transformers cannot load {folder}", COPY):
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust)
    tokenizer.chat_template = renderer.template
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(renderer.pad_id)
    return tokenizer


def foreign_ids(tokenizer: Any, renderer: ForeignRenderer, messages: Turns) -> list[int]:
    """Token ids of a conversation by the tokenizer alone; tokens behind the pooled token may follow."""
    if renderer.template is None:
        turns = tuple(Message(turn["role"], turn["content"]) for turn in messages)
        ids = list(tokenizer(transcript(turns[:-1], turns[-1:]))["input_ids"])
    else:
        text = tokenizer.apply_chat_template(list(messages), tokenize=False)
        ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    ends = renderer.eos is not None or renderer.pooling == "end"
    return [*ids, tokenizer.eos_token_id] if ends and ids[-1:] != [tokenizer.eos_token_id] else ids


def foreign_network(folder: Path, trust: bool, renderer: ForeignRenderer, dtype: torch.dtype) -> Any:
    """Load the classifier by transformers in a dtype, with the head that the folder keeps elsewhere, if any."""
    from transformers import AutoModelForSequenceClassification

    config = load_config(str(folder), str(folder), dropout=True, remote_code=trust, revision="main")
    config.get_text_config().pad_token_id = renderer.pad_id
    with library_errors(f"plain transformers cannot load {folder}", COPY):
        network, report = AutoModelForSequenceClassification.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=trust,
            output_loading_info=True,
        )
    head = find_head(network, folder, report["unexpected_keys"]) if report["missing_keys"] else None
    if head is not None:
        put_head(network, head)
        bias = head.bias
        getattr(network, CAUSAL_HEAD).bias = None if bias is None else nn.Parameter(bias.to(dtype))
    return network.eval()


def _turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}
