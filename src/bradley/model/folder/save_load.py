"""Saving and loading a model folder: weights, tokenizer, and in `bradley.json` the steps from text to score."""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...common.files import replace_folder
from ...common.model_files import check_name
from ...common.ownership import real_path
from ...common.signatures import is_foreign, refuse_assumed
from ...common.text import one_line
from ...common.trees import sync_tree
from ...config import Render
from ...config.model import EngineName
from ...data.chat_template import template_text, with_pair_roles, without_clock
from ...data.render import Renderer
from ...data.tokenizer import load_tokenizer
from ...errors import CheckpointError, DataError, UserError
from ...records import Message
from ..build import computes_bfloat16
from ..choose_engine import choose_engine
from ..finite import check_finite
from ..reward import ScoreModel, compute_name, is_head_weight
from .card import BFLOAT16, FLOAT32, FORMAT, MODEL_MARK, hash_files, read_card, write_card
from .card import CARD as CARD
from .checks import check_files, check_vocabulary, check_weights
from .normalization import Normalization
from .other_trainers import Assumed as Assumed
from .other_trainers import load_foreign
from .parity import Conversation, measure
from .readback import check_written
from .temperature import SavedTemperature
from .weights import load_saved, save_network, tensors_to_save

TEMPLATE = "bradley_template.jinja"
"""File with the chat template of training."""
TOOL_TEMPLATE = "bradley_tool_template.jinja"
"""File with the chat template of conversations with tools, if the tokenizer of training has one of its own."""
PROBE = "The quick brown fox jumps over the lazy dog, and the river runs.\n Is 1 + 1 two?  Yes, naïve café: 你好。"
"""Text with known ids for a loaded tokenizer: common words, blanks, digits, punctuation, other scripts."""
DTYPES = {FLOAT32: torch.float32, BFLOAT16: torch.bfloat16}
"""Dtypes of the arithmetic, by their names in a card."""


class Loaded(NamedTuple):
    """A loaded reward model.

    Attributes:
        model: the model, in evaluation mode.
        renderer: the renderer of training, from conversations to token ids.
        normalization: the unit of the scores, or None if the folder has none.
        kind: kinds of the training rows, such as `text` or `messages and text`; "" if the folder does not say so.
        temperature: factor of score differences in probabilities, or None if none was fitted.
    """

    model: ScoreModel
    renderer: Renderer
    normalization: Normalization | None = None
    kind: str = ""
    temperature: SavedTemperature | None = None


def load_model(
    folder: Path | str,
    device: str = "cpu",
    *,
    trust_remote_code: bool = False,
    engine: EngineName = "auto",
    base: str = "",
    accept_edits: bool = False,
    assumed: Assumed = Assumed(),  # noqa: B008 - immutable
) -> Loaded:
    """Load a model folder as trained: the same token ids, dtype and pooled token.

    Example:
        import bradley

        row = {"prompt": "What is 2 + 2?", "chosen": "4", "rejected": "5"}
        loaded = bradley.load_model("runs/quickstart/model")
        scored = bradley.score_comparisons(loaded, list(bradley.to_comparisons([row])))
        print(scored[0].scores)  # (score of chosen, score of rejected)

    Args:
        folder: model folder of a run, an export or a checkpoint.
        device: device of the weights and the arithmetic, such as `cpu` or `cuda`.
        trust_remote_code: run code of the model from the folder.
        engine: as the setting `model.engine`.
        base: place of an adapter's base model, if moved since training.
        accept_edits: load a folder with files edited since saving, and log a line naming the files.
        assumed: template, pooling and pad token of a model of another trainer, without a card.

    Returns:
        Model in evaluation mode, giving float32 scores [R] of R responses, with its renderer and the unit of its
        scores.

    Raises:
        UserError: `engine` is given by name, and the model cannot run there, or not on this device.
        CheckpointError: the folder is missing, has no readable `bradley.json`, or holds a pickle or a damaged weight
            file. The model has more than one label, no head (scores would be random), or a weight missing or without a
            place. The device does not compute in the dtype of training. The tokenizer has more tokens than the model
            has embeddings. A file was edited, swapped, damaged, removed or added since saving. A weight is NaN or
            infinite.
    """
    path = folder = Path(folder)
    if is_foreign(path):
        foreign = load_foreign(path, assumed, torch.device(device), remote_code=trust_remote_code)
        choose_engine(foreign.model, engine, foreign.renderer.settings.max_tokens)
        return Loaded(foreign.model, foreign.renderer)
    refuse_assumed(path, assumed._asdict())
    # Cheap checks before slow loading; no weight is read until names, kinds and sizes of files are known to be safe.
    card = read_card(path, accept_edits=accept_edits)
    check_files(path, card, accept_edits)
    target = torch.device(device)
    compute = _trained_dtype(card, target, folder)
    network, missing = load_saved(path, card, remote_code=trust_remote_code, base=base, device=target, compute=compute)
    _refuse_missing(folder, network, missing)
    model = ScoreModel(network.to(target), compute).eval()
    # Before the engine, because the engine needs the longest rendered response.
    renderer = load_renderer(path, card, network, causal=model.causal, trust_remote_code=trust_remote_code)
    choose_engine(model, engine, renderer.settings.max_tokens)
    # Last: hashes would catch most faults above, but could not say which fault.
    check_weights(path, card, accept_edits)
    normalization = card.get("normalization")
    unit = None if normalization is None else Normalization.from_card(normalization)
    fitted = card.get("temperature")
    temperature = None if fitted is None else SavedTemperature.from_card(fitted)
    return Loaded(model, renderer, unit, card.get("kind", ""), temperature)


def load_renderer(
    folder: Path, card: dict[str, Any], network: Any, *, causal: bool, trust_remote_code: bool = False
) -> Renderer:
    """Load the renderer of training from a folder with checked files.

    Args:
        card: `bradley.json` of the folder.
        network: of the folder, for the number of embeddings.

    Raises:
        CheckpointError: the tokenizer cannot be loaded, or has more tokens than the network has embeddings. Or the
            folder renders otherwise than the training.
    """
    tokenizer = load_tokenizer(str(real_path(folder)), trust_remote_code, checked=True)
    check_vocabulary(network, tokenizer, folder)
    return _trained_renderer(card, folder, tokenizer, causal)


def _refuse_missing(folder: Path, network: Any, missing: Sequence[str]) -> None:
    """Raise `CheckpointError` for weights missing in the files of a folder: transformers has drawn these at random."""
    # With a random head, scores would look normal.
    if any(is_head_weight(network, name) for name in missing):
        raise CheckpointError(
            f"{folder} has no trained score head ({', '.join(missing)} missing)",
            "scores would be random: retrain or re-export",
        )
    if missing:
        raise CheckpointError(f"{folder} lacks the weights {', '.join(missing[:3])}", "copy the whole model folder")


def save_model(
    folder: Path,
    model: ScoreModel,
    renderer: Renderer,
    facts: dict[str, Any],
    sample: Sequence[Conversation] = (),
) -> None:
    """Write a model folder, whole or not at all; plain transformers loads the folder to the same scores.

    Args:
        facts: further entries of the card, such as step and data.
        sample: conversations kept in the card with their scores, for `bradley.verify` to compute again.

    Raises:
        RunFolderError: the folder holds files, and no model of ours.
        DiskError: the folder cannot be written.
        CheckpointError: the files do not hold the tensors of the model.
    """
    replace_folder(folder, lambda target: write_model(target, model, renderer, facts, sample), (MODEL_MARK,))


def write_model(
    folder: Path,
    model: ScoreModel,
    renderer: Renderer,
    facts: dict[str, Any],
    sample: Sequence[Conversation] = (),
    weights: Mapping[str, Tensor] | None = None,
) -> dict[str, str]:
    """Fill an empty folder as `save_model` does; the caller syncs the card, and makes the folder whole or absent.

    Args:
        weights: tensors by the names of `tensors_to_save`, if the model holds shards; no sample can be scored then.

    Returns:
        SHA-256 of each file named in the card, so that a caller need not read gigabytes again for them.

    Raises:
        CheckpointError: the files do not hold the tensors of the model, or a weight is NaN or infinite.
    """
    check_name(folder)
    # Scored by the engine in training, so a later loader is held to the numbers of the run.
    parity = {"parity": measure(model, sample)} if sample else {}
    # Before the first byte: weights that are no numbers are no model.
    check_finite(tensors_to_save(model.network) if weights is None else weights, str(folder))
    of_weights = save_network(model.network, folder, weights)
    # Read back now: a save damaged by the disk would otherwise be found when it is the only copy.
    check_written(model.network, folder, weights)
    write_renderer(folder, renderer)
    with ThreadPoolExecutor(1) as pool:
        # Disk and processor work side by side: the files are read for the hashes while they are flushed.
        flushed = pool.submit(sync_tree, folder)
        digests = hash_files(folder)
        flushed.result()
    # The card comes last, because it holds hashes of files written before.
    write_card(folder, {**card_start(model, renderer), **digests, **of_weights, **facts, **parity})
    return {name: digest for group in digests.values() for name, digest in group.items()}


def card_start(model: ScoreModel, renderer: Renderer) -> dict[str, Any]:
    """Return the entries of a card about the steps from text to score."""
    template = renderer.template
    return {
        "format": FORMAT,
        "render": renderer.settings.model_dump(),
        "template": "raw" if template is None else TEMPLATE,
        "template_sha256": _template_hash(template),
        **_tool_hash(renderer, "tool_template_sha256"),
        "tokenization": {"add_special_tokens": template is None, "append_eos": renderer.eos},
        "probe": {"text": PROBE, "ids": _probe_ids(renderer)},
        "pooling": "last token, by stored index" if model.causal else "the encoder's own head",
        "compute": compute_name(model),
    }


def write_renderer(folder: Path, renderer: Renderer) -> None:
    """Write tokenizer and chat templates of training into a folder."""
    with _with_template(renderer) as tokenizer:
        tokenizer.save_pretrained(folder)
    write_templates(folder, renderer)


def write_templates(folder: Path, renderer: Renderer) -> None:
    """Write the chat templates of training into a folder; `raw` has none."""
    for name, template in {TEMPLATE: renderer.template, TOOL_TEMPLATE: renderer.tool_template}.items():
        if template is not None:
            # Written as bytes and read back as bytes: another line end would be another template.
            (folder / name).write_bytes(template.encode())


def add_normalization(folder: Path, normalization: Normalization) -> None:
    """Write the unit of a model's scores into its card, once: later scores never change the meaning of earlier ones.

    Raises:
        CheckpointError: the folder has a unit already, or no readable card.
    """
    card = read_card(folder)
    # Only the card is signed again: hashing the files anew would take over an edit made in between.
    # A second unit would silently change the meaning of scores already written with the first.
    if "normalization" in card:
        raise CheckpointError(
            f"{folder} has a normalization already, measured on {card['normalization']['set']}",
            "it is never overwritten: train again, or normalize the scores in your own code",
        )
    write_card(folder, {**card, "normalization": normalization._asdict()})


def add_temperature(folder: Path, temperature: Mapping[str, Any], *, replace: bool = False) -> None:
    """Write a fitted temperature into the card of a model folder.

    Args:
        temperature: fields of `SavedTemperature`.
        replace: True to replace an earlier temperature.

    Raises:
        CheckpointError: the folder has a temperature already, or no readable card.
    """
    card = read_card(folder)
    # As with a unit of scores: another factor changes the meaning of probabilities written before.
    if "temperature" in card and not replace:
        known = card["temperature"]
        raise CheckpointError(
            f"{folder} has the temperature {known['temperature']:.4g} already, fitted on {known['set']}",
            "replace it on purpose: --replace",
        )
    write_card(folder, {**card, "temperature": SavedTemperature(**temperature)._asdict()})


def rendering_hashes(renderer: Renderer) -> dict[str, str | None]:
    """Compute SHA-256 of the rules from text to ids: the chat template, and the whole tokenizer."""
    tokenizer = renderer.tokenizer
    # A slow tokenizer has no serialized rules; its vocabulary and the probe stand for them.
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = backend.to_str() if backend is not None else json.dumps(sorted(tokenizer.get_vocab().items()))
    special = json.dumps([str(tokenizer.special_tokens_map), _probe_ids(renderer)])
    return {
        "template": _template_hash(renderer.template),
        **_tool_hash(renderer, "tool_template"),
        "rules": hashlib.sha256((rules + special).encode()).hexdigest(),
    }


@contextlib.contextmanager
def _with_template(renderer: Renderer) -> Iterator[Any]:
    """Give the tokenizer the chat template of training, inside a `with` block; `raw` has none.

    A program using the saved tokenizer alone then renders alike.
    """
    tokenizer, template, day = renderer.tokenizer, renderer.template, renderer.settings.date
    own = tokenizer.chat_template
    tokenizer.chat_template = None if template is None else with_pair_roles(without_clock(template, day))
    if renderer.tool_template is not None:
        tool_use = without_clock(renderer.tool_template, day)
        tokenizer.chat_template = {"default": tokenizer.chat_template, "tool_use": tool_use}
    try:
        yield tokenizer
    finally:
        tokenizer.chat_template = own


def _trained_renderer(card: dict[str, Any], folder: Path, tokenizer: Any, causal: bool) -> Renderer:
    """Build the renderer of training, or raise an error if the card does not say how."""
    try:
        template = {"raw": "raw", TEMPLATE: str(folder / TEMPLATE)}[card["template"]]
        # Whoever scores names the rows that cannot be rendered; none is left out.
        settings = Render(**{**card["render"], "template": template, "refused": "error"})
        tool_template = None
        if "tool_template_sha256" in card:
            tool_template = template_text(tokenizer, str(folder / TOOL_TEMPLATE))
        renderer = Renderer(tokenizer, settings, causal=causal, tool_template=tool_template)
        # Hash and probe together: a template may be unchanged while the tokenizer under it is not.
        found = _template_hash(renderer.template), _template_hash(renderer.tool_template), _probe_ids(renderer)
        same = found == (card["template_sha256"], card.get("tool_template_sha256"), card["probe"]["ids"])
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


def _trained_dtype(card: dict[str, Any], device: torch.device, folder: Path) -> torch.dtype:
    """Return the dtype of training, or raise an error if `device` would compute in another dtype."""
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


def _tool_hash(renderer: Renderer, name: str) -> dict[str, str | None]:
    """Return the hash of the chat template for conversations with tools as an entry, if there is one."""
    return {} if renderer.tool_template is None else {name: _template_hash(renderer.tool_template)}


def _template_hash(template: str | None) -> str | None:
    return None if template is None else hashlib.sha256(template.encode()).hexdigest()


def _probe_ids(renderer: Renderer) -> list[int]:
    """Return the ids of a fixed conversation, the pooled token last."""
    text = renderer.text((Message("user", PROBE),), (Message("assistant", PROBE),))
    return renderer.ids([text])[0]
