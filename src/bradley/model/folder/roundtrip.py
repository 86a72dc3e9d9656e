"""Round trip of a model folder without weights: save tokenizer, templates, config and card, load, and compare.

Weights take minutes and are compared after each save. All the rest takes a moment, and a folder that cannot be loaded
shows before the first step instead of after the last.
"""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...common.model_files import library_errors, quiet_transformers
from ...common.signatures import hash_files, sign
from ...data.render import Renderer
from ...errors import BradleyError, CheckpointError
from ..reward import ScoreModel
from .card import CARD, read_card
from .checks import check_files
from .parity import Conversation, conversation_ids
from .save_load import card_start, load_renderer, write_renderer
from .weights import load_shapes, save_config, tensors_to_save

HINT = "no model of this run could be used: correct the tokenizer, the template or the config named here"


def check_roundtrip(
    model: ScoreModel, renderer: Renderer, sample: Sequence[Conversation] = (), *, trust_remote_code: bool = False
) -> None:
    """Check that tokenizer, templates, config and card of a model can be saved, and loaded with the same meaning.

    Args:
        model: the model; weights are neither read nor written, and may be shards.
        sample: conversations with token ids, to be rendered again.
        trust_remote_code: as for `load_model`; the network of such code is not built a second time.

    Raises:
        CheckpointError: a part cannot be saved or loaded, or is another part after loading.
    """
    with tempfile.TemporaryDirectory(prefix="bradley-") as place:
        folder = Path(place) / "model"
        folder.mkdir()
        try:
            _write(folder, model, renderer)
            _read(folder, model, sample, trust_remote_code)
        except BradleyError as error:
            # The folder is gone when the message is read.
            message = error.message.replace(str(folder), "the folder")
            raise CheckpointError(
                f"the model of this run could not be loaded from its folder: {message}", HINT
            ) from error


def _write(folder: Path, model: ScoreModel, renderer: Renderer) -> None:
    """Write the folder as `write_model` does, without weights."""
    with quiet_transformers(), library_errors("config, tokenizer or template cannot be saved", HINT):
        of_weights = save_config(model.network, folder)
        write_renderer(folder, renderer)
        card = sign({**card_start(model, renderer), **hash_files(folder), **of_weights})
        # Not by `write_card`: a file of a moment needs no sync of the disk.
        (folder / CARD).write_text(json.dumps(card, indent=2), encoding="utf-8")


def _read(folder: Path, model: ScoreModel, sample: Sequence[Conversation], trusted: bool) -> None:
    """Load the folder as `load_model` does, without weights, and compare."""
    card = read_card(folder)
    check_files(folder, card)
    # Code of the model's own may not run without memory.
    if not trusted:
        _check_network(folder, card, model.network)
    loaded = load_renderer(folder, card, model.network, causal=model.causal, trust_remote_code=trusted)
    for conversation in sample:
        if conversation_ids(conversation.messages, loaded, conversation.args) != conversation.ids:
            raise CheckpointError("a conversation of the data becomes other token ids")


def _check_network(folder: Path, card: dict[str, Any], network: Any) -> None:
    """Raise `CheckpointError` unless the saved config makes a network with tensors of the same names and shapes."""
    with quiet_transformers(), library_errors("its config makes no network", HINT):
        found = load_shapes(folder, card)
    own = {name: tensor.shape for name, tensor in tensors_to_save(network).items()}
    for name in sorted(name for name in {*found, *own} if found.get(name) != own.get(name)):
        raise CheckpointError(
            f"its config makes {_shape(found.get(name))} of {name}, and the model has {_shape(own.get(name))}"
        )


def _shape(shape: Any) -> str:
    return "nothing" if shape is None else str(list(shape))
