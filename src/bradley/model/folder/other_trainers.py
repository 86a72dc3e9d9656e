"""Reward models of other trainers: folders without a card, loaded by what is given, found or assumed, and said.

Rule: nothing about the way from text to score is guessed in silence. The template is given or is the tokenizer's own,
the pooled token is given or is that of transformers, and one line says everything assumed.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from ...common.model_files import check_model_files
from ...common.ownership import real_path
from ...common.signatures import refuse_run_folder, say_once
from ...config import Model, Render
from ...data.encoder import Ids
from ...data.render import Renderer
from ...data.tokenizer import load_tokenizer
from ...errors import CheckpointError, UserError
from ..heads import find_head, put_head
from ..network import load_network
from ..reward import CAUSAL_HEAD, ScoreModel, is_causal, is_head_weight
from .card import CARD
from .checks import check_labels, check_vocabulary
from .safety import COPY
from .warm_start import base_of, continue_adapter

POOLINGS = ("last", "end")
"""`last`: the last token that is no pad token, as transformers pools. `end`: the last end token, as OpenRLHF pools."""
LARGEST = 10**7
"""Number of positions from which on a tokenizer states no limit."""


class Assumed(NamedTuple):
    """Facts given by the user about a model of another trainer; "" for a fact to be found.

    Attributes:
        template: as `render.template`.
        pooling: of `POOLINGS`.
        pad: the pad token, as text; transformers finds the pooled token by this token.
    """

    template: str = ""
    pooling: str = ""
    pad: str = ""


class ForeignRenderer(Renderer):
    """Renderer that ends a text at the token that the other trainer pools.

    A decoder reads nothing behind the pooled token, so the tokens behind are left out.

    Args:
        pooling: of `POOLINGS`.
        pad_id: id of the pad token.
        tokenizer, settings, causal: as of `Renderer`.

    Attributes:
        assumed: everything that was given, found and assumed, in words.
    """

    def __init__(self, tokenizer: Any, settings: Render, *, causal: bool, pooling: str, pad_id: int) -> None:
        super().__init__(tokenizer, settings, causal=causal)
        self.pooling, self.pad_id = pooling, pad_id
        self.assumed: tuple[str, ...] = ()

    def _ended(self, row: Ids) -> Ids:
        row, end = super()._ended(row), self.tokenizer.eos_token_id
        if not self.causal:
            return row
        if self.pooling == "end":
            places = [place for place, id in enumerate(row) if id == end]
            return row[: places[-1] + 1] if places else [*row, end]
        while len(row) > 1 and row[-1] == self.pad_id:
            row = row[:-1]
        return row


def assumed_of(renderer: Renderer) -> dict[str, Any]:
    """Return everything assumed about a model of another trainer; {} for a model with a card, which has a hash."""
    if not isinstance(renderer, ForeignRenderer):
        return {}
    # The text of a template counts, whatever the name of its file.
    return {"assumed": list(renderer.assumed), "template": renderer.template}


class Foreign(NamedTuple):
    """A loaded model of another trainer, and its renderer."""

    model: ScoreModel
    renderer: ForeignRenderer


def load_foreign(folder: Path, assumed: Assumed, device: torch.device, *, remote_code: bool = False) -> Foreign:
    """Load a reward model of another trainer in evaluation mode and in float32, and say what was assumed.

    Raises:
        CheckpointError: no weights, no head, several labels, or no template given and none found.
        UserError: an unknown pooling or pad token.
    """
    if assumed.pooling not in ("", *POOLINGS):
        raise UserError(f"pooling = {assumed.pooling!r} is unknown", f"give one of {', '.join(POOLINGS)}")
    refuse_run_folder(folder)
    check_model_files(folder)
    check_labels(folder)
    tokenizer = load_tokenizer(str(real_path(folder)), remote_code)
    _check_template(folder, assumed, tokenizer)
    network, head = _network(folder, remote_code)
    check_vocabulary(network, tokenizer, folder)
    causal = is_causal(network)
    text = network.config.get_text_config()
    pad, whence = _pad(folder, assumed, tokenizer, text)
    # Padding is masked here, so the id only has to have an embedding; transformers pools by this id.
    text.pad_token_id = pad
    settings = Render(
        template=assumed.template or "tokenizer", max_tokens=_limit(text, tokenizer), control_tokens="keep"
    )
    pooling = assumed.pooling or "last"
    try:
        renderer = ForeignRenderer(tokenizer, settings, causal=causal, pooling=pooling, pad_id=pad)
    except UserError as error:
        hint = "write a date into a copy of the template, and give the copy: --template FILE"
        raise UserError(error.message, hint if "date" in error.message else error.hint) from error
    if pooling == "end" and tokenizer.eos_token_id is None:
        raise UserError("pooling = end, and the tokenizer has no end token", "leave pooling out")
    pooled = {"last": "the last token that is no pad token", "end": "the last end token"}[pooling]
    renderer.assumed = (
        f"template {settings.template}{'' if assumed.template else ', found in the tokenizer'}",
        f"head {head}",
        f"pooled at {pooled if causal else 'the first token, by the head of the encoder'}",
        f"pad token {tokenizer.convert_ids_to_tokens(pad)!r}, {whence}",
        f"at most {settings.max_tokens} tokens",
        "computed in float32, special tokens inside messages read as such",
    )
    say_once(f"{folder} has no {CARD}, so it is assumed: {'; '.join(renderer.assumed)}")
    return Foreign(ScoreModel(network.to(device), torch.float32).eval(), renderer)


def _check_template(folder: Path, assumed: Assumed, tokenizer: Any) -> None:
    if not assumed.template and not tokenizer.chat_template:
        raise CheckpointError(
            f"{folder} holds no {CARD} and no chat template, so how its texts were rendered is unknown",
            f"say how: --template raw, a named template or a Jinja file; for a model of ours {COPY}",
        )


def _network(folder: Path, remote_code: bool) -> tuple[Any, str]:
    """Load the network with its head; return the origin of the head too."""
    settings, adapter = base_of(Model(path=str(real_path(folder)), adapter={"kind": "lora"}))
    if adapter is None:
        settings = Model(path=str(real_path(folder)))
    network, missing, unexpected = load_network(settings.path, dropout=False, remote_code=remote_code)
    body = [name for name in missing if not is_head_weight(network, name)]
    if body:
        raise CheckpointError(f"{folder} lacks the weights {', '.join(body[:3])}", COPY)
    if adapter is not None:
        origin = continue_adapter(network, settings, adapter)
        network.requires_grad_(False)
        missing = [] if origin else missing
        return _headed(folder, network, missing, ()), f"{origin or 'of the base model'}, adapter on {settings.path}"
    head = find_head(network, folder, unexpected) if missing else None
    if head is None:
        return _headed(folder, network, missing, unexpected), "score, in the weights"
    put_head(network, head)
    if head.bias is not None:
        # A bias changes no comparison, but belongs to the scores of the other trainer.
        getattr(network, CAUSAL_HEAD).bias = nn.Parameter(head.bias)
    return network, head.name


def _headed(folder: Path, network: Any, missing: Sequence[str], unexpected: Sequence[str]) -> Any:
    """Return a network whose head is loaded, or raise `CheckpointError`."""
    if missing:
        held = f"; it holds {', '.join(unexpected[:3])}" if unexpected else ""
        raise CheckpointError(
            f"{folder} has no trained score head ({', '.join(missing[:3])} missing){held}",
            "give a reward model; a language model is given to `bradley train` as model.path",
        )
    return network


def _pad(folder: Path, assumed: Assumed, tokenizer: Any, config: Any) -> tuple[int, str]:
    """Return the id of the pad token, and where it was found."""
    rows = int(config.vocab_size)
    if assumed.pad:
        found = tokenizer.get_vocab().get(assumed.pad)
        if found is None or found >= rows:
            raise UserError(f"pad = {assumed.pad!r} is no token of {folder}", "give a token of its vocabulary")
        return int(found), "given"
    if isinstance(config.pad_token_id, int) and 0 <= config.pad_token_id < rows:
        return config.pad_token_id, "of config.json"
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id < rows:
        return int(tokenizer.pad_token_id), "of the tokenizer"
    return 0, "any, because none is named: transformers scores one conversation at a time"


def _limit(config: Any, tokenizer: Any) -> int:
    """Return the limit of tokens: positions of the model, or less where the tokenizer says so."""
    sizes = (getattr(config, "max_position_embeddings", None), getattr(tokenizer, "model_max_length", None))
    known = [int(size) for size in sizes if isinstance(size, int) and 8 <= size < LARGEST]
    return min(known, default=1024)
