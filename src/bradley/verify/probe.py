"""Probe of a tokenizer: texts of many kinds read through bradley and through `AutoTokenizer`, with a look at its size.

The parity sample holds eight conversations, and a tokenizer that divides words otherwise may read all of these alike.
"""

from collections.abc import Sequence
from typing import Any

from ..common.signatures import say_once
from ..model.folder.parity import in_float32, score_ids
from ..model.folder.save_load import Loaded
from ..model.folder.tolerance import Check

TEXTS = (
    "def f(x: int) -> int:\n    return x ** 2  # it's 42, isn't it?\n\n\n",
    "\tif (a[0] != b['k']) {\n\t\tx += 0x1F;\n\t}",
    "1234567890 3.14159 1,000,000 2024-02-29 v2.0.1",
    "   three blanks,   and\n\n  lines \n \n",
    "你好，世界。素数是什么？  これは日本語です。 한국어",
    "Привет! مرحبا שלום γειά naïve café e\u0301 👩‍👩‍👧 …",
    "I'm HERE, we'LL see: don't—stop “quoted”",
)
"""Code, numbers, runs of blanks, scripts, marks and contractions: where divisions into words differ."""


def tokenizer_checks(loaded: Loaded, plain: Any) -> list[Check]:
    """Compare the tokenizer of a loaded model with the tokenizer that `AutoTokenizer` makes of the same folder.

    Args:
        plain: tokenizer by `AutoTokenizer`.
    """
    ours = loaded.renderer.tokenizer
    differ = sum(_bare(ours, text) != _bare(plain, text) for text in TEXTS)
    # A text with such a token would end a program with an index error.
    beyond = len(plain) - loaded.model.network.get_input_embeddings().num_embeddings
    return [
        Check("token ids of code, numbers, blanks and scripts, transformers", float(differ), 0.0),
        Check("tokens without an embedding, transformers", float(max(0, beyond)), 0.0),
    ]


def tell_double_tokens(loaded: Loaded, plain: Any, rows: Sequence[dict[str, Any]]) -> None:
    """Say how far scores move in a program that adds special tokens to the texts of the template, if it adds any.

    The template has written these tokens already. No folder can prevent the second ones: other programs count on the
    tokenizer to add the first token.
    """
    rendered = [row for row in rows if plain.chat_template and row["messages"][0]["role"] not in ("ids", "text")]
    texts = [plain.apply_chat_template(row["messages"], tokenize=False, **row.get("args", {})) for row in rendered]
    twice = [list(plain(text)["input_ids"]) for text in texts]
    once = [_bare(plain, text) for text in texts]
    if twice == once:
        return
    with in_float32(loaded.model):
        double, single = score_ids(loaded.model, twice), score_ids(loaded.model, once)
    moved = max(abs(a - b) for a, b in zip(double, single, strict=True))
    added = plain.convert_ids_to_tokens(_added(plain))
    say_once(
        f"a program that tokenises texts of the chat template and adds special tokens writes {' '.join(added)} twice, "
        f"and scores move by up to {moved:.1e}: give add_special_tokens=False"
    )


def _bare(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _added(tokenizer: Any) -> list[int]:
    """Return the special tokens that a tokenizer adds around a text."""
    return list(tokenizer("")["input_ids"])
