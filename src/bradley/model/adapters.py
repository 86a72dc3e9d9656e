"""Low-rank adapters on a frozen backbone, through PEFT: LoRA, rsLoRA and DoRA, with the score head trained in full.

The network keeps its transformers class. Only linear layers are replaced, by layers of PEFT adding the trained change.
Head and norms are trained in place.
"""

import re
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from ..common.text import and_more, nearest, one_line
from ..config import Model, Words, as_list
from ..errors import UserError
from .reward import is_head_weight
from .trainable import weight_kinds

ALL, ATTENTION = "all-linear", "attention"
"""Values of `model.adapter.targets` for groups of layers."""
SHOWN = 12
"""Most layer names in an error."""
NAME = "default"
"""Name of an adapter in PEFT; a network here has a single adapter."""
PREFIX = "base_model.model."
"""Prefix of all weight names in PEFT's files."""


class Adapted(NamedTuple):
    """Facts about the adapter of a network beyond PEFT's config, kept as `network.adapted`.

    Attributes:
        base: folder, Hub name or `package:NAME` of the base model, see `kept_base`.
        revision: branch, tag or commit of the base model on the Hub, or ''.
        base_sha256: hash of the base model's weight files, see `weights_hash`.
        quantize: number format of the frozen linear layers in training, see `model.adapter.quantize`.
        modules: full paths of the modules trained beside the adapter: head and, if requested, norms.
    """

    base: str
    revision: str
    base_sha256: str
    quantize: str
    modules: tuple[str, ...]


def add_adapter(network: Any, settings: Model, sha256: str) -> None:
    """Freeze a network in place except for its score head and, if requested, its norms, and add adapters.

    A layer W becomes W + s B A, with A [r, in] drawn and B [out, r] zero: at first no score changes.
    LoRA has s = alpha / r (Hu et al., 2021, arXiv:2106.09685), and rsLoRA s = alpha / sqrt(r) (Kalajdzievski, 2023,
    arXiv:2312.03732). DoRA also trains the length of each row of W + s B A (Liu et al., 2024, arXiv:2402.09353).

    Args:
        sha256: hash of the weight files of the loaded network.

    Raises:
        UserError: PEFT is not installed, the network lacks the targets, or the network has no norms to train.
    """
    adapter, base = settings.adapter, kept_base(settings.path)
    targets = find_targets(network, adapter.targets)
    config = import_peft().LoraConfig(
        r=adapter.rank,
        lora_alpha=adapter.alpha,
        lora_dropout=adapter.dropout,
        target_modules=targets,
        use_rslora=adapter.rslora,
        use_dora=adapter.dora,
        fan_in_fan_out=transposed(network, targets),  # PEFT would find out too, with a warning
        base_model_name_or_path=base,
        revision=settings.revision or None,
    )
    modules = trained_modules(network, norms=adapter.norms)
    inject(network, config, Adapted(base, settings.revision, sha256, adapter.quantize, modules))


def kept_base(path: str) -> str:
    """Return the place of a base model as kept by an adapter: a folder as a whole path, any other name as given."""
    # A relative path is lost with the working directory, and looks like a name on the Hub.
    folder = Path(path).expanduser()
    return str(folder.absolute()) if folder.is_dir() else path


def find_base(folder: Path, base: str) -> str:
    """Find the base model of an adapter: the kept place, or the same folder of a project moved as a whole.

    A moved project keeps its layout. The end of the kept path is looked for in the adapter's folder and in each folder
    above, the longest end first. The hash of the weights tells another base of the same name.

    Args:
        folder: folder of the adapter.
        base: place kept by the adapter; a relative path in folders of earlier releases.

    Returns:
        The folder found, or `base` if no such folder exists.
    """
    kept = Path(base).expanduser()
    if kept.is_dir() or base.startswith("package:"):
        return base
    ends = [Path(*kept.parts[start:]) for start in range(1, len(kept.parts))] if kept.is_absolute() else [kept]
    here = folder.absolute()
    places = (above / end for end in ends for above in (here, *here.parents))
    # A folder of this name may hold anything; a model has a configuration.
    return next((str(place) for place in places if (place / "config.json").is_file()), base)


def inject(network: Any, config: Any, adapted: Adapted) -> None:
    """Put the adapters of a PEFT config into a network, in place.

    Only the adapters and `adapted.modules` are trained, all in float32.
    """
    # PEFT freezes every weight. Weights frozen by the network before, such as sinusoids, must not be thawed below.
    free = {name for name, weight in network.named_parameters() if weight.requires_grad}
    config.modules_to_save = None  # PEFT would train copies of head and norms; here both are trained in place
    import_peft().inject_adapter_in_model(config, network)
    # With the dot: `layers.1.` must not match `layers.10.`.
    inside = tuple(f"{module}." for module in adapted.modules)
    for name, weight in network.named_parameters():
        if name in free and name.startswith(inside):
            weight.requires_grad_(True)
        if weight.requires_grad:
            # Small updates would round away in bfloat16.
            weight.data = weight.data.float()
    network.adapted = adapted


def find_targets(network: Any, wanted: Words) -> list[str]:
    """Find the layers of `model.adapter.targets`: full paths, in the order of the network.

    Raises:
        UserError: a name fits no linear layer, or layers in several kinds of places; or no layer is of the group.
    """
    known, names = linear_layers(network), as_list(wanted)
    if names == [ALL]:
        found = known
    elif names == [ATTENTION]:
        found = [path for path in known if in_attention(path)]
    else:
        # A set, because names may overlap, and a layer must get a single adapter.
        named = {path for name in names for path in _named(network, name, known)}
        found = [path for path in known if path in named]
    if not found:
        raise UserError(
            f"model.adapter.targets = {wanted}, but this {network.config.model_type} has no such layer",
            f"name some of {_shown(known)}" if known else "use --model.adapter.kind none: it has no linear layer",
        )
    return found


def trained_modules(network: Any, *, norms: bool) -> tuple[str, ...]:
    """List the modules trained beside adapters: full paths of the head and, if requested, of the norms.

    Raises:
        UserError: no module is known as the head, or no module as a norm with norms requested.
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


def is_adapted(network: Any) -> bool:
    """Return True if a network has adapters."""
    return hasattr(network, "adapted")


def adapter_state(network: Any) -> dict[str, Tensor]:
    """Return all trained tensors under PEFT's names: adapters, head and norms.

    The tensors are not copies: writing into the tensors loads the network.
    """
    # PEFT by default looks up the vocabulary of the base model, perhaps on the Hub, to decide about embeddings.
    factors = import_peft().get_peft_model_state_dict(network, save_embedding_layers=False)
    kinds = weight_kinds(network)
    rest = {name: p for name, p in network.named_parameters() if p.requires_grad and kinds[name] != "adapter"}
    return {f"{PREFIX}{name}": weight.detach() for name, weight in {**factors, **rest}.items()}


def merged(network: Any) -> Any:
    """Return the network with its adapters folded into its weights, a plain transformers model: W becomes W + s B A.

    A network in float32 is changed in place. 4 bits cannot hold the added change, and 4-bit layers are first restored
    in full size. A network without adapters is returned unchanged.
    """
    if not is_adapted(network):
        return network
    if network.adapted.quantize != "none":
        network = _full_size(network)
    _take_out(network, merge=True)
    return network


def linear_layers(network: Any) -> list[str]:
    """List the full paths of every `nn.Linear`, and of GPT-2's `Conv1D`, below the head."""
    from transformers.pytorch_utils import Conv1D

    return [
        path
        for path, module in network.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and not is_head_weight(network, f"{path}.weight")
    ]


def in_attention(path: str) -> bool:
    """Return True if a layer lies in an attention module: `h.0.attn.c_proj` does, `h.0.mlp.c_proj` does not."""
    # Without the last part: the name of the layer itself does not tell the module around the layer.
    return any("attn" in part or "attention" in part for part in path.lower().split(".")[:-1])


def place(path: str) -> str:
    """Replace the numbers of a path by `*`: equal places in different layers then have equal names."""
    return re.sub(r"(?<![^.])\d+(?![^.])", "*", path)


def transposed(network: Any, targets: list[str]) -> bool:
    """Return True if the layers keep weights as [in, out], as GPT-2's `Conv1D` does."""
    from transformers.pytorch_utils import Conv1D

    return isinstance(network.get_submodule(targets[0]), Conv1D)


def import_peft() -> Any:
    """Import the package peft, or raise `UserError`."""
    try:
        # Inside the function, because the import takes seconds and most runs have no adapter.
        import peft
    except ImportError as error:
        raise UserError(
            f"adapters need the package peft, which cannot be imported: {one_line(error)}",
            'install it with `pip install "bradley[lora]"`',
        ) from error
    return peft


def _named(network: Any, name: str, known: list[str]) -> list[str]:
    """Find the layers with `name` as their path or the end of their path; `*` stands for any number."""
    found = [path for path in known if any(f".{form}".endswith(f".{name}") for form in (path, place(path)))]
    places = sorted({place(path) for path in found})
    # `c_proj` of GPT-2 is in attention and in feed-forward layers. Taking both silently would train another adapter.
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


def _ends(paths: list[str]) -> list[str]:
    """List the last two parts of each place, once each."""
    return list(dict.fromkeys(".".join(place(path).split(".")[-2:]) for path in paths))


def _shown(paths: list[str]) -> str:
    ends = _ends(paths)
    return and_more(ends, SHOWN)


def _head_module(network: Any, name: str) -> str:
    """Return the path of the whole head of a weight, such as `score` or `bert.pooler`; PEFT replaces whole heads."""
    backbone = f"{network.base_model_prefix}."
    outer = backbone if name.startswith(backbone) else ""
    return outer + name.removeprefix(outer).partition(".")[0]


def _take_out(network: Any, *, merge: bool) -> None:
    """Restore the layers inside of PEFT's layers, in place, with the trained change folded in if `merge` is True."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for path, module in list(network.named_modules()):
        if isinstance(module, BaseTunerLayer):
            if merge:
                module.merge()
            network.set_submodule(path, module.get_base_layer())
    del network.peft_config, network.adapted


def _full_size(network: Any) -> Any:
    """Turn the 4-bit layers of an adapted network into float32 layers of equal values."""
    config, adapted = network.peft_config[NAME], network.adapted
    # Copied first: taking the adapters out removes the only other copy of the trained values.
    state = {name: weight.clone() for name, weight in adapter_state(network).items()}
    _take_out(network, merge=False)
    # `dequantize` knows plain 4-bit layers only, so adapters come out before, and go in again after.
    network = network.dequantize().float().requires_grad_(True)
    inject(network, config, adapted._replace(quantize="none"))
    for name, weight in adapter_state(network).items():
        weight.copy_(state[name])
    return network
