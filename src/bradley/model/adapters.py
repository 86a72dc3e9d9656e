"""Low-rank adapters on a frozen backbone, through PEFT: LoRA, rsLoRA and DoRA; the score head is trained in full.

The network stays the transformers class that it was: its linear layers alone are replaced by PEFT's, which add to each
the change that is trained. Head and norms are trained in place.
"""

import re
from typing import Any, NamedTuple

from torch import Tensor, nn

from ..common.text import nearest, one_line
from ..config import Model, Words, as_list
from ..errors import UserError
from .reward import is_head_weight
from .trainable import weight_kinds

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


NAME = "default"
"""What PEFT calls an adapter among several; here there is one."""
PREFIX = "base_model.model."
"""What PEFT puts before the names of all weights in its files."""


class Adapted(NamedTuple):
    """What a network with adapters knows of them besides PEFT's config, under `network.adapted`.

    Attributes:
        base: folder, Hub name or `package:NAME` of the model below, as the run was given it.
        revision: its branch, tag or commit on the Hub, if one was given.
        base_sha256: of its files of weights.
        quantize: how its linear layers were kept in training, see `model.adapter.quantize`.
        modules: full paths of the modules that are trained beside the adapters: head and, if asked, norms.
    """

    base: str
    revision: str
    base_sha256: str
    quantize: str
    modules: tuple[str, ...]


def add_adapter(network: Any, settings: Model, sha256: str) -> None:
    """Freeze a network in place, but for its score head and, where they are asked for, its norms, and add adapters.

    A layer W becomes W + s B A, with A [r, in] drawn, B [out, r] zero, and s = alpha / r, or alpha / sqrt(r) as rsLoRA
    has it; DoRA scales each row of that to a length of its own, which is trained too. At first nothing is changed.

    Args:
        sha256: of the files of weights that the network was loaded from.

    Raises:
        UserError: PEFT is not installed, targets that the network does not have, or no norms to train.
    """
    asked = settings.adapter
    targets = find_targets(network, asked.targets)
    config = import_peft().LoraConfig(
        r=asked.rank,
        lora_alpha=asked.alpha,
        lora_dropout=asked.dropout,
        target_modules=targets,
        use_rslora=asked.rslora,
        use_dora=asked.dora,
        fan_in_fan_out=transposed(network, targets),  # PEFT finds out by itself, and warns
        base_model_name_or_path=settings.path,
        revision=settings.revision or None,
    )
    modules = trained_modules(network, norms=asked.norms)
    inject(network, config, Adapted(settings.path, settings.revision, sha256, asked.quantize, modules))


def inject(network: Any, config: Any, adapted: Adapted) -> None:
    """Put the adapters of a PEFT config into a network, in place; they and `adapted.modules` alone are trained.

    Everything that is trained is float32.
    """
    free = {name for name, weight in network.named_parameters() if weight.requires_grad}
    config.modules_to_save = None  # head and norms are trained in place, without the copies that PEFT would make
    import_peft().inject_adapter_in_model(config, network)
    inside = tuple(f"{module}." for module in adapted.modules)
    for name, weight in network.named_parameters():
        if name in free and name.startswith(inside):
            weight.requires_grad_(True)
        if weight.requires_grad:
            weight.data = weight.data.float()
    network.adapted = adapted


def trained_modules(network: Any, *, norms: bool) -> tuple[str, ...]:
    """Full paths of the modules of a network that are trained beside adapters: its head and, if asked, its norms.

    Raises:
        UserError: no module is known as the head, or as a norm where norms are asked for.
    """
    kinds = weight_kinds(network)
    heads = {_head_module(network, name) for name, kind in kinds.items() if kind == "head"}
    found = {name.rpartition(".")[0] for name, kind in kinds.items() if kind == "norms"} if norms else set()
    if not heads or (norms and not found):
        raise UserError(
            f"model.adapter: no weight of this {network.config.model_type} is known as part of its "
            f"{'norms' if heads else 'head'}",
            "leave model.adapter.norms off" if heads else "use --model.adapter.kind none",
        )
    return tuple(sorted(heads | found))


def _head_module(network: Any, name: str) -> str:
    """The whole head that a weight belongs to, such as `score` or `bert.pooler`: PEFT replaces it as one."""
    below = f"{network.base_model_prefix}."
    place = below if name.startswith(below) else ""
    return place + name.removeprefix(place).partition(".")[0]


def is_adapted(network: Any) -> bool:
    """Whether there are adapters in a network."""
    return hasattr(network, "adapted")


def adapter_state(network: Any) -> dict[str, Tensor]:
    """All that was trained, under PEFT's names: adapters, head and norms. Not copies: to write into them is to load."""
    factors = import_peft().get_peft_model_state_dict(network, save_embedding_layers=False)
    kinds = weight_kinds(network)
    rest = {name: p for name, p in network.named_parameters() if p.requires_grad and kinds[name] != "adapter"}
    return {f"{PREFIX}{name}": weight.detach() for name, weight in {**factors, **rest}.items()}


def merged(network: Any) -> Any:
    """The network with its adapters folded into its weights, a plain transformers model again: W becomes W + s B A.

    Works in place on a network in float32; one with 4-bit layers is given in full size first, since 4 bits cannot hold
    what is added. A network without adapters is returned as it is.
    """
    if not is_adapted(network):
        return network
    if network.adapted.quantize != "none":
        network = _full_size(network)
    _take_out(network, merge=True)
    return network


def _take_out(network: Any, *, merge: bool) -> None:
    """Put the layers back that PEFT's stand around, in place, with what these add if `merge` says so."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for path, module in list(network.named_modules()):
        if isinstance(module, BaseTunerLayer):
            if merge:
                module.merge()
            network.set_submodule(path, module.get_base_layer())
    del network.peft_config, network.adapted


def _full_size(network: Any) -> Any:
    """An adapted network with its 4-bit layers as float32 ones of the values that they stood for."""
    config, adapted = network.peft_config[NAME], network.adapted
    state = {name: weight.clone() for name, weight in adapter_state(network).items()}
    _take_out(network, merge=False)
    network = network.dequantize().float().requires_grad_(True)
    inject(network, config, adapted._replace(quantize="none"))
    for name, weight in adapter_state(network).items():
        weight.copy_(state[name])
    return network


def transposed(network: Any, targets: list[str]) -> bool:
    """Whether layers keep their weights as [in, out], which GPT-2's `Conv1D` does."""
    from transformers.pytorch_utils import Conv1D

    return isinstance(network.get_submodule(targets[0]), Conv1D)


def import_peft() -> Any:
    """The package peft, which takes seconds to import, or `UserError`."""
    try:
        import peft
    except ImportError as error:
        raise UserError(
            f"adapters need the package peft, which cannot be imported: {one_line(error)}",
            'install it with `pip install "bradley[lora]"`',
        ) from error
    return peft
