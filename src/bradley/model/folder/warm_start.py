"""Training from an earlier model: an adapter that training continues, and the rendering of the earlier model."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from ...config import Adapter, Model
from ...data.render import Renderer
from ...data.tokenizer import locate
from ...errors import CheckpointError, UserError
from ..adapters import PREFIX, Adapted, adapter_state, find_base, find_targets, inject, trained_modules
from ..heads import find_head, is_head_name
from ..reward import is_head_weight
from ..weight_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, WEIGHT_FILES, weights_hash
from .card import CARD, read_card
from .checks import check_adapter_config, check_base_folder, check_base_weights
from .weights import read_adapter_config, read_adapter_weights

SAME = {"rank": "r", "alpha": "lora_alpha", "rslora": "use_rslora", "dora": "use_dora"}
"""Setting below `model.adapter` -> setting of PEFT, for what an adapter cannot change."""
RENDERING = (
    *("system_prompt", "template_kwargs", "date", "control_tokens", "eos"),
    *("max_tokens", "max_prompt_tokens", "over_long"),
)
"""Settings of `render` that decide what a model reads."""


def is_adapter(folder: Path) -> bool:
    """Return True for a folder with an adapter and no whole model."""
    return (folder / ADAPTER_CONFIG).is_file() and not any((folder / name).is_file() for name in WEIGHT_FILES)


def base_of(settings: Model) -> tuple[Model, Path | None]:
    """Return the settings of the base below an adapter that `model.path` names, and the folder of the adapter.

    Any other settings come back unchanged, with None.

    Raises:
        CheckpointError: an adapter in a run without adapters, or an adapter that names no base.
        UserError: settings that the adapter contradicts.
    """
    folder = Path(locate(settings.path, revision=settings.revision)) if settings.path else Path()
    if not settings.path or not is_adapter(folder):
        return settings, None
    if settings.adapter.kind == "none":
        raise CheckpointError(
            f"{settings.path} holds an adapter and no model of its own",
            "continue the adapter: --model.adapter.kind lora; or fold it into its base model: bradley export",
        )
    check_base_folder(folder)
    check_adapter_config(folder)
    config = read_adapter_config(folder)
    known = read_card(folder).get("adapter", {}) if (folder / CARD).is_file() else {}
    kept = str(known.get("base") or config.base_model_name_or_path or "")
    if not kept:
        raise CheckpointError(f"{folder / ADAPTER_CONFIG} names no base model", "fold the adapter in with its trainer")
    adapter = _adapter_settings(settings, config, known)
    base = find_base(folder, kept)
    # A folder has no revision.
    revision = str(known.get("revision") or config.revision or "") if base == kept else ""
    return settings.model_copy(update={"path": base, "revision": revision, "adapter": adapter}), folder


def _adapter_settings(settings: Model, config: Any, known: dict[str, Any]) -> Adapter:
    """Return the settings of an adapter, with what the user gave about its training."""
    given = settings.adapter
    values = {name: getattr(config, key) for name, key in SAME.items()}
    values |= {"quantize": known["quantize"]} if "quantize" in known else {}
    for name, value in values.items():
        if name in given.model_fields_set and getattr(given, name) != value:
            raise UserError(
                f"model.adapter.{name} = {getattr(given, name)}, and the adapter in {settings.path} has {value}",
                f"leave model.adapter.{name} out, or begin a new adapter on the base model",
            )
    dropout = given.dropout if "dropout" in given.model_fields_set else config.lora_dropout
    return given.model_copy(update={**values, "dropout": dropout})


def continue_adapter(network: Any, settings: Model, folder: Path) -> str:
    """Put the adapter of a folder into its base network, in place, for further training.

    Args:
        network: the base, on `meta` for shapes alone.
        settings: settings of `base_of`.
        folder: the adapter.

    Returns:
        Origin of the head; "" for an adapter without a head, above which the head of the base stays.

    Raises:
        CheckpointError: the adapter does not fit the network, or was trained on another base.
        UserError: targets or norms that the adapter contradicts.
    """
    check_base_weights(folder)
    config, state = read_adapter_config(folder), read_adapter_weights(folder)
    known = read_card(folder).get("adapter", {}) if (folder / CARD).is_file() else {}
    # On `meta` no number is read, so no hash is known.
    meta = next(network.parameters()).is_meta
    found = "" if meta else weights_hash(settings.path, settings.revision)
    if known and not meta and found != known["base_sha256"]:
        raise CheckpointError(
            f"{folder} was trained on another base model than {settings.path}: its weights have the hash {found[:12]}, "
            f"wanted {known['base_sha256'][:12]}",
            "put the base model of the adapter back",
        )
    modules = trained_modules(network, norms=False)
    norms = tuple(name for name in trained_modules(network, norms=True) if name not in modules) if known else ()
    kept = tuple(name for name in norms if any(key.startswith(f"{PREFIX}{name}.") for key in state))
    _check_given(network, settings, config, bool(kept))
    adapted = Adapted(settings.path, settings.revision, found, settings.adapter.quantize, (*modules, *kept))
    config.lora_dropout = settings.adapter.dropout
    inject(network, config, adapted)
    return "loaded" if meta else _fill(network, state, folder)


def _check_given(network: Any, settings: Model, config: Any, norms: bool) -> None:
    """Raise `UserError` for targets or norms in the settings other than those of an adapter."""
    given = settings.adapter
    if "norms" in given.model_fields_set and given.norms != norms:
        raise UserError(
            f"model.adapter.norms = {given.norms}, and the adapter trained {'its' if norms else 'no'} norms",
            "leave model.adapter.norms out",
        )
    if "targets" in given.model_fields_set:
        wanted = set(find_targets(network, given.targets))
        ends = tuple(config.target_modules)
        there = {
            name for name, _ in network.named_modules() if name in ends or name.endswith(tuple(f".{e}" for e in ends))
        }
        if wanted != there:
            raise UserError(
                f"model.adapter.targets = {given.targets} names {len(wanted)} layers, and the adapter has other "
                f"{len(there)}",
                "leave model.adapter.targets out",
            )


def _fill(network: Any, state: dict[str, Tensor], folder: Path) -> str:
    """Write the tensors of an adapter into a network; return the origin of the head, or ""."""
    own = adapter_state(network)
    heads = {name for name in own if is_head_weight(network, name.removeprefix(PREFIX))}
    foreign = {name for name in state if name not in own and is_head_name(name)}
    lacks, extra = own.keys() - state.keys() - heads, state.keys() - own.keys() - foreign
    for word, names in (("lacks", lacks), ("has unexpected", extra)):
        if names:
            raise CheckpointError(
                f"{folder / ADAPTER_WEIGHTS} {word} {', '.join(sorted(names)[:3])} ({len(names)} in all), so training "
                "cannot continue it",
                "fold the adapter into its base with its own trainer, and give the whole model",
            )
    for name in own.keys() & state.keys():
        if own[name].shape != state[name].shape:
            found, wanted = list(state[name].shape), list(own[name].shape)
            raise CheckpointError(
                f"{folder / ADAPTER_WEIGHTS}: {name} is {found}, and its base model wants {wanted}",
                "give the base model of the adapter",
            )
        own[name].copy_(state[name])
    if heads <= state.keys():
        return "loaded"
    head = find_head(network, folder, foreign)
    if head is None:
        return ""
    for name in heads:
        own[name].copy_(head.weight)
    return f"taken over from {head.name}"


def rendering_changes(path: str, renderer: Renderer, kind: str) -> Iterator[str]:
    """Yield a line for each difference between the rendering of an earlier model and of a run that starts from it.

    Args:
        path: `model.path` of the run; only a model folder of bradley says how its texts were rendered.
        renderer: renderer of the run.
        kind: kinds of the training rows of the run.
    """
    folder = Path(locate(path)) if path else Path()
    if not path or not (folder / CARD).is_file():
        return
    card = read_card(folder)
    before = card["render"]
    text = renderer.template
    digest = None if text is None else hashlib.sha256(text.encode()).hexdigest()
    if "template_sha256" in card and card["template_sha256"] != digest:
        was = before.get("template", "another")
        yield f"the template was {was}, and is {renderer.settings.template} here, another text"
    for name in RENDERING:
        old, new = before.get(name), getattr(renderer.settings, name)
        if name in before and old != new:
            yield f"render.{name} was {old!r}, and is {new!r} here"
    if card.get("kind") and card["kind"] != kind and text is None:
        yield f"the rows were {card['kind']}, and are {kind} here, which raw writes otherwise"
