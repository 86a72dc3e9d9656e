"""A network from a folder, the Hub or a config: one label, dropout as asked, the pad token where the model reads it."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ..config import Model
from ..data.tokenizer import locate
from ..errors import CheckpointError, UserError, nearest, one_line
from ..seeds import seed_for
from .engine import Engine, choose_engine
from .execution import checkpoint_activations, compile_backbone, fuse_layers
from .reward import CAUSAL_HEAD, RewardModel, draw_head, is_causal, is_head_weight
from .trainable import set_trainable

CONVERTED_KEYS = ("rope_theta", "rope_scaling")
"""Older names that transformers turns into `rope_parameters`."""
WEIGHT_FILES = ("model.safetensors", "model.safetensors.index.json")


class Built(NamedTuple):
    """A reward model, one line on where its head came from, and the engine it runs on."""

    model: RewardModel
    head: str
    engine: Engine


def build_model(settings: Model, tokenizer: Any, seed: int, device: torch.device, longest: int = 0) -> Built:
    """The model that the settings describe, on `device`, in training mode with dropout as asked.

    Args:
        longest: most tokens of a response with its prompt, see `choose_engine`.

    The head is drawn only where the checkpoint has none, and the same seed draws the same weights on every process.

    Raises:
        CheckpointError: a folder without weights, or a checkpoint that lacks more than a head.
        UserError: a model type that transformers cannot classify with, settings that it refuses, or a way of training
            or running it that this model or this device does not know.
    """
    with reproducible_init(seed_for(seed, "weights")):
        network, drawn = _pretrained(settings) if settings.path else _from_config(settings, tokenizer)
        _fit_vocabulary(network, tokenizer)
    if drawn and is_causal(network):
        draw_head(network, seed_for(seed, "head"))
    if network.config.is_encoder_decoder:
        raise UserError(
            f"a {network.config.model_type} is an encoder and a decoder, which transformers pools by the id of a token",
            "use a decoder such as Llama, or an encoder such as BERT",
        )
    network.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    network.config.problem_type = "regression"
    set_trainable(network, settings.trainable)
    _set_execution(network, settings, device)
    compute = compute_dtype(settings.precision, device)
    kind = f"{CAUSAL_HEAD}, pooled at the last token" if is_causal(network) else "the encoder's own"
    model = RewardModel(own_memory(network).to(device), compute).train()
    engine = choose_engine(model, settings.engine, longest, compiled=settings.compile)
    return Built(model, f"{'drawn' if drawn else 'loaded'}, {kind}", engine)


def _set_execution(network: Any, settings: Model, device: torch.device) -> None:
    if settings.liger:
        fuse_layers(network, device)
    if settings.gradient_checkpointing:
        checkpoint_activations(network)
    if settings.compile:
        compile_backbone(network)


def compute_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The dtype of the backbone's arithmetic.

    Raises:
        UserError: a dtype that the device does not compute in; it is never replaced by another one.
    """
    wants_bf16 = precision == "bfloat16" or (precision == "auto" and device.type == "cuda")
    if wants_bf16 and not computes_bfloat16(device):
        raise UserError(
            f"the precision {precision} means bfloat16 here, and {device} does not compute in it",
            "use --model.precision float32",
        )
    return torch.bfloat16 if wants_bf16 else torch.float32


def computes_bfloat16(device: torch.device) -> bool:
    """Whether a device computes in bfloat16, fast or not: every CPU does, a CUDA device where PyTorch says so."""
    return device.type == "cpu" or (device.type == "cuda" and torch.cuda.is_bf16_supported())


def _from_config(settings: Model, tokenizer: Any) -> tuple[Any, bool]:
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig, AutoModelForSequenceClassification

    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    values = {"vocab_size": len(tokenizer), "num_labels": 1, **ids, **settings.config}
    kind = values.pop("model_type")
    try:
        check_config_keys(AutoConfig.for_model(kind), settings.config)
        config = AutoConfig.for_model(kind, **values)
        if not settings.dropout:
            silence_dropout(config)
        return AutoModelForSequenceClassification.from_config(config, dtype=torch.float32), True
    except (ValueError, TypeError, KeyError, StrictDataclassError) as error:
        raise UserError(
            f"model.config does not make a classifier: {one_line(error)}",
            "give a model_type that transformers can classify with, such as llama, qwen2, gpt2 or bert",
        ) from error


def check_config_keys(config: Any, values: dict[str, Any]) -> None:
    """Raise `UserError` for a key that this kind of config does not have: transformers would store and ignore it."""
    known = {*config.to_dict(), *config.attribute_map, *CONVERTED_KEYS}
    for key in values:
        if key not in known:
            near = nearest(key, known)
            raise UserError(
                f"model.config.{key}: a {config.model_type} has no such setting",
                f"did you mean {near}?" if near else "see the configuration class of this model in transformers",
            )


def _pretrained(settings: Model) -> tuple[Any, bool]:
    network, missing = load_network(
        settings.path,
        dropout=settings.dropout,
        remote_code=settings.trust_remote_code,
        revision=settings.revision,
    )
    body = [name for name in missing if not is_head_weight(network, name)]
    if body:
        raise CheckpointError(
            f"{settings.path} lacks {len(body)} weights besides the head, {body[0]} among them",
            "check that the folder holds this architecture's weights",
        )
    return network, bool(missing)


def load_network(
    path: str, *, dropout: bool, remote_code: bool, revision: str = "", exact: bool = False
) -> tuple[Any, list[str]]:
    """A one-label classifier in float32 from a folder or the Hub, and the names of the weights it did not find.

    Args:
        exact: refuse files with weights that the classifier has no place for, as those of a language model have.

    Raises:
        CheckpointError: no config, no safetensors, or weights that do not fit.
    """
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModelForSequenceClassification

    place = locate(path, revision=revision)
    _check_folder(Path(place), path)
    try:
        version = revision or "main"
        config = AutoConfig.from_pretrained(place, num_labels=1, trust_remote_code=remote_code, revision=version)
        if not dropout:
            silence_dropout(config)
        with quiet_transformers():
            network, report = AutoModelForSequenceClassification.from_pretrained(
                place,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=remote_code,
                revision=version,
                output_loading_info=True,
            )
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError, StrictDataclassError) as error:
        raise CheckpointError(
            f"no model could be loaded from {path}: {one_line(error)}",
            "give a folder with config.json and safetensors weights, or a Hub name owner/name",
        ) from error
    if exact and report["unexpected_keys"]:
        raise CheckpointError(
            f"{path} holds weights that its model has no place for, such as {min(report['unexpected_keys'])}",
            "copy the whole model folder again",
        )
    return network, sorted(report["missing_keys"])


def _check_folder(folder: Path, given: str) -> None:
    if not folder.is_dir():
        return  # a Hub name
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"model folder {given} has no config.json", "give a transformers model folder")
    if not any((folder / name).is_file() for name in WEIGHT_FILES):
        raise CheckpointError(
            f"model folder {given} has no safetensors weights",
            "save the model with safetensors; pickled weights (.bin, .pt) are never read",
        )


def _fit_vocabulary(network: Any, tokenizer: Any) -> None:
    rows = network.get_input_embeddings().num_embeddings
    if len(tokenizer) > rows:
        network.resize_token_embeddings(len(tokenizer), mean_resizing=False)


def silence_dropout(config: Any) -> None:
    """Set every dropout rate of a config to 0 in place: those that attention functions read, and nested configs too."""
    for name, value in list(vars(config).items()):
        if hasattr(value, "to_dict"):
            silence_dropout(value)
        elif any(word in name for word in ("dropout", "pdrop", "layerdrop")) and isinstance(value, float):
            setattr(config, name, 0.0)


def own_memory(network: Any) -> Any:
    """Copy each tensor out of the file it was mapped from.

    Mapped tensors keep the file's alignment, and the kernels chosen for it: two saves of equal weights then score 4e-9
    apart. In memory of their own, equal weights give equal bits.
    """
    for tensor in (*network.parameters(), *network.buffers()):
        tensor.data = tensor.data.clone()
    return network


@contextlib.contextmanager
def reproducible_init(seed: int) -> Iterator[None]:
    """Draw whatever transformers initialises from one seed, and leave torch's own generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence the loading report and the bars of transformers: what was missing is checked and said here instead."""
    from transformers.utils import logging as bars

    logger = logging.getLogger("transformers")
    level, shown = logger.level, bars.is_progress_bar_enabled()
    logger.setLevel(logging.CRITICAL)
    bars.disable_progress_bar()
    try:
        yield
    finally:
        logger.setLevel(level)
        if shown:
            bars.enable_progress_bar()
