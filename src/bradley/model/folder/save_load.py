"""A model folder that says what it is: weights, tokenizer, and in `bradley.json` how text becomes a score."""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...common.files import replace_folder
from ...common.text import one_line
from ...config import Render
from ...data.chat_template import without_clock
from ...data.render import Renderer
from ...data.tokenizer import load_tokenizer
from ...errors import CheckpointError, DataError, UserError
from ...records import Message
from ..build import computes_bfloat16, own_memory
from ..choose_engine import choose_engine
from ..reward import ScoreModel, compute_name, is_head_weight
from .card import BFLOAT16, FLOAT32, FORMAT, hash_weights, read_card, write_card
from .card import CARD as CARD
from .checks import check_files, check_vocabulary, check_weights
from .normalization import Normalization
from .parity import Conversation, measure
from .readback import check_written
from .weights import load_saved, save_network

TEMPLATE = "bradley_template.jinja"
PROBE = "The quick brown fox jumps over the lazy dog, and the river runs.\n Is 1 + 1 two?  Yes, naïve café: 你好。"
"""Text whose ids a loaded tokenizer must reproduce: common words, blanks, digits, punctuation, other scripts."""
DTYPES = {FLOAT32: torch.float32, BFLOAT16: torch.bfloat16}
"""What a model may compute in, by its name in a card."""


class Loaded(NamedTuple):
    """A model ready to score, the renderer it was trained with, and the unit of its scores if the folder gives one."""

    model: ScoreModel
    renderer: Renderer
    normalization: Normalization | None = None


def save_model(
    folder: Path,
    model: ScoreModel,
    renderer: Renderer,
    facts: dict[str, Any],
    sample: Sequence[Conversation] = (),
) -> None:
    """Write a model folder, whole or not at all; plain transformers loads it to the same scores.

    Args:
        facts: what else the card should say, such as step and data.
        sample: conversations that the card keeps with their scores, for `bradley.verify` to compute again.
    """
    replace_folder(folder, lambda target: write_model(target, model, renderer, facts, sample))


def write_model(
    folder: Path,
    model: ScoreModel,
    renderer: Renderer,
    facts: dict[str, Any],
    sample: Sequence[Conversation] = (),
    weights: Mapping[str, Tensor] | None = None,
) -> None:
    """Fill an empty folder as `save_model` does. Nothing is synced; the caller makes the folder whole or absent.

    Args:
        weights: those of `tensors_to_save`, where the model holds shards of them; then no sample can be scored.

    Raises:
        CheckpointError: what was written is not what the model computes with.
    """
    parity = {"parity": measure(model, sample)} if sample else {}
    of_weights = save_network(model.network, folder, weights)
    check_written(model.network, folder, weights)
    template = renderer.template
    with _with_template(renderer) as tokenizer:
        tokenizer.save_pretrained(folder)
    if template is not None:
        (folder / TEMPLATE).write_text(template, encoding="utf-8")
    card = {
        "format": FORMAT,
        "render": renderer.settings.model_dump(),
        "template": "raw" if template is None else TEMPLATE,
        "template_sha256": _template_hash(template),
        "tokenization": {"add_special_tokens": template is None, "append_eos": renderer.eos},
        "probe": {"text": PROBE, "ids": _probe_ids(renderer)},
        "pooling": "last token, by stored index" if model.causal else "the encoder's own head",
        "compute": compute_name(model),
        "weights_sha256": hash_weights(folder),
        **of_weights,
        **facts,
        **parity,
    }
    write_card(folder, card)


@contextlib.contextmanager
def _with_template(renderer: Renderer) -> Iterator[Any]:
    """The tokenizer with the chat template of training, so that whoever uses it alone renders alike; `raw` has none."""
    tokenizer, template = renderer.tokenizer, renderer.template
    own = tokenizer.chat_template
    tokenizer.chat_template = None if template is None else without_clock(template, renderer.settings.date)
    try:
        yield tokenizer
    finally:
        tokenizer.chat_template = own


def load_model(
    folder: Path, device: str = "cpu", *, trust_remote_code: bool = False, engine: str = "auto", base: str = ""
) -> Loaded:
    """A model folder as it was trained: same ids, same dtype, same pooled token.

    Args:
        engine: as the setting `model.engine`.
        base: where the base model of an adapter is, if no longer where the run found it.

    Raises:
        UserError: `engine` is given by name, and the model cannot take it, or not on this device.
        CheckpointError: no folder, no readable `bradley.json`, a pickle, a damaged weight file, more than one label, a
            missing head (scores would be random), a weight that is missing or has no place, a device that does not
            compute in the dtype of training, a tokenizer of more tokens than there are embeddings, a template or
            tokenizer that is not the one of training, or weights that are not.
    """
    path = Path(folder)
    card = read_card(path)
    check_files(path, card)
    target = torch.device(device)
    compute = _trained_dtype(card, target, folder)
    network, missing = load_saved(path, card, remote_code=trust_remote_code, base=base, device=target, compute=compute)
    if any(is_head_weight(network, name) for name in missing):
        raise CheckpointError(
            f"{folder} has no trained score head ({', '.join(missing)} missing)",
            "scores would be random: retrain or re-export",
        )
    if missing:
        raise CheckpointError(f"{folder} lacks the weights {', '.join(missing[:3])}", "copy the whole model folder")
    model = ScoreModel(own_memory(network).to(target), compute).eval()
    tokenizer = load_tokenizer(str(path.resolve()), trust_remote_code)
    check_vocabulary(network, tokenizer, path)
    renderer = _trained_renderer(card, path, tokenizer, model.causal)
    choose_engine(model, engine, renderer.settings.max_tokens)
    check_weights(path, card)
    known = card.get("normalization")
    return Loaded(model, renderer, None if known is None else Normalization.from_card(known))


def _trained_renderer(card: dict[str, Any], folder: Path, tokenizer: Any, causal: bool) -> Renderer:
    """The renderer of training, or an error where a card does not give it."""
    try:
        template = {"raw": "raw", TEMPLATE: str(folder / TEMPLATE)}[card["template"]]
        renderer = Renderer(tokenizer, Render(**{**card["render"], "template": template}), causal=causal)
        found = _template_hash(renderer.template), _probe_ids(renderer)
        same = found == (card["template_sha256"], card["probe"]["ids"])
    except (KeyError, TypeError, ValueError, UserError, DataError) as error:
        raise CheckpointError(
            f"{folder} does not say how its texts become tokens: {one_line(error)}", "copy the whole model folder again"
        ) from error
    if not same:
        raise CheckpointError(
            f"the template or the tokenizer of {folder} is not the one the model was trained with",
            "copy the whole model folder again; a changed template needs a new training",
        )
    return renderer


def add_normalization(folder: Path, normalization: Normalization) -> None:
    """Write the unit of a model's scores into its card, once: a later set of scores never changes what they mean.

    Raises:
        CheckpointError: the folder has one already, or no readable card.
    """
    card = read_card(folder)
    if "normalization" in card:
        raise CheckpointError(
            f"{folder} has a normalization already, measured on {card['normalization']['set']}",
            "it is never overwritten: train again, or normalize the scores in your own code",
        )
    write_card(folder, {**card, "normalization": normalization._asdict()})


def _trained_dtype(card: dict[str, Any], device: torch.device, folder: Path) -> torch.dtype:
    """The dtype that the model was trained in, or an error where `device` would compute in another one."""
    name = card.get("compute")
    if not isinstance(name, str) or name not in DTYPES:
        raise CheckpointError(
            f"{folder / CARD} says compute = {name!r}, wanted {' or '.join(DTYPES)}",
            "copy the whole model folder again",
        )
    if name == BFLOAT16 and not computes_bfloat16(device):
        raise CheckpointError(
            f"{folder} was trained in bfloat16, and {device} does not compute in it: its scores would be others",
            'load it with device="cpu"',
        )
    return DTYPES[name]


def _template_hash(template: str | None) -> str | None:
    return None if template is None else hashlib.sha256(template.encode()).hexdigest()


def rendering_hashes(renderer: Renderer) -> dict[str, str | None]:
    """SHA-256 of what decides how text becomes ids: the chat template, and the whole tokenizer."""
    tokenizer = renderer.tokenizer
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = backend.to_str() if backend is not None else json.dumps(sorted(tokenizer.get_vocab().items()))
    special = json.dumps([str(tokenizer.special_tokens_map), _probe_ids(renderer)])
    return {
        "template": _template_hash(renderer.template),
        "rules": hashlib.sha256((rules + special).encode()).hexdigest(),
    }


def _probe_ids(renderer: Renderer) -> list[int]:
    """The ids of a fixed conversation, the pooled one last."""
    text = renderer.text((Message("user", PROBE),), (Message("assistant", PROBE),))
    return renderer.ids([text])[0]
