"""The outline of a network: every name and shape, on PyTorch's `meta` device, without memory for weights."""

from typing import Any

import torch

from ..config import Model
from ..data.tokenizer import load_tokenizer
from .adapters import add_adapter, import_peft
from .folder.warm_start import base_of, continue_adapter
from .network import build_shell, from_config
from .trainable import set_trainable


def outline(settings: Model) -> Any:
    """Build the network of the settings on the `meta` device, with trained weights marked.

    A vocabulary still to be learned counts as `model.vocab_size`, the upper bound. For a model with a path, only the
    config is read.

    Raises:
        BradleyError: settings without a classifier, a folder without a config, or no layers to adapt by the given
            names.
    """
    if settings.adapter.kind != "none":
        # A missing package must be reported before the config is read, perhaps from the Hub.
        import_peft()
    settings, adapter = base_of(settings)
    # Adapters are added inside too: their factors would otherwise be drawn, and take memory.
    with torch.device("meta"):
        network = build_shell(settings) if settings.path else from_config(settings, _tokenizer(settings))[0]
        if settings.adapter.kind == "none":
            set_trainable(network, settings.trainable)
        elif adapter is None:
            add_adapter(network, settings, "")
        else:
            continue_adapter(network, settings, adapter)
    return network


def _tokenizer(settings: Model) -> Any:
    if settings.tokenizer != "train":
        return load_tokenizer(settings.tokenizer, settings.trust_remote_code)
    # Learning a vocabulary would read all texts; names and shapes need only its size.
    return _Learned(settings.vocab_size)


class _Learned:
    """Stand-in for a tokenizer to be learned, with as much as the config of a network asks for."""

    bos_token_id = eos_token_id = pad_token_id = None

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size
