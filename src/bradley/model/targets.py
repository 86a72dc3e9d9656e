"""Which linear layers of a network get an adapter: by kind or by name, always by full path, never the score head."""

import re
from typing import Any

from torch import nn

from ..config import Words, as_list
from ..errors import UserError, nearest
from .reward import is_head_weight

ALL, ATTENTION = "all-linear", "attention"
SHOWN = 12


def find_targets(network: Any, wanted: Words) -> list[str]:
    """Full paths of the layers that `model.adapter.targets` stands for, in the order of the network.

    Raises:
        UserError: a name that fits no linear layer, or layers in several kinds of places; no layer of the kind.
    """
    known, names = linear_layers(network), as_list(wanted)
    if names == [ALL]:
        found = known
    elif names == [ATTENTION]:
        found = [path for path in known if in_attention(path)]
    else:
        chosen = {path for name in names for path in _named(network, name, known)}
        found = [path for path in known if path in chosen]
    if not found:
        raise UserError(
            f"model.adapter.targets = {wanted}, but this {network.config.model_type} has no such layer",
            f"name some of {_shown(known)}" if known else "use --model.adapter.kind none: it has no linear layer",
        )
    return found


def linear_layers(network: Any) -> list[str]:
    """Full paths of every `nn.Linear`, and of GPT-2's `Conv1D`, below the head."""
    from transformers.pytorch_utils import Conv1D

    return [
        path
        for path, module in network.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and not is_head_weight(network, f"{path}.weight")
    ]


def in_attention(path: str) -> bool:
    """Whether a layer lies inside an attention module, such as `h.0.attn.c_proj`; `h.0.mlp.c_proj` does not."""
    return any("attn" in part or "attention" in part for part in path.lower().split(".")[:-1])


def _named(network: Any, name: str, known: list[str]) -> list[str]:
    """The layers whose path, or path with `*` for its numbers, is or ends in `name`."""
    found = [path for path in known if any(f".{form}".endswith(f".{name}") for form in (path, place(path)))]
    places = sorted({place(path) for path in found})
    if len(places) > 1:
        raise UserError(
            f"model.adapter.targets: {name} fits layers in {len(places)} kinds of places: {', '.join(places)}",
            f"say which: {' or '.join(_ends(places))}",
        )
    if not found:
        raise _unknown(network, name, known)
    return found


def _unknown(network: Any, name: str, known: list[str]) -> UserError:
    if is_head_weight(network, f"{name}.weight"):
        return UserError(
            f"model.adapter.targets: {name} is the score head, which is trained in full", f"leave {name} out"
        )
    ends = _ends(known)
    near = nearest(name, {*ends, *(end.rpartition(".")[2] for end in ends)})
    return UserError(
        f"model.adapter.targets: no linear layer is called {name}; there are {_shown(known)}",
        f"did you mean {near}?" if near else "name some of these, or use all-linear or attention",
    )


def place(path: str) -> str:
    """A path with `*` for its numbers: the same in every layer."""
    return re.sub(r"(?<![^.])\d+(?![^.])", "*", path)


def _ends(paths: list[str]) -> list[str]:
    """The last two parts of each place, once each."""
    return list(dict.fromkeys(".".join(place(path).split(".")[-2:]) for path in paths))


def _shown(paths: list[str]) -> str:
    ends = _ends(paths)
    more = len(ends) - SHOWN
    return ", ".join(ends[:SHOWN]) + (f" and {more} more" if more > 0 else "")
