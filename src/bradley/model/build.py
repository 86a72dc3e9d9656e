"""The network of a reward model from a folder, the Hub or a config: one label, dropout as asked, and a pad token."""

import contextlib
import importlib.util
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ..common.other_trainers import shards_of
from ..common.seeds import seed_for
from ..common.text import nearest, one_line
from ..config import Model
from ..data.tokenizer import locate
from ..errors import CheckpointError, UserError
from .adapters import add_adapter, import_peft
from .choose_engine import Engine, choose_engine
from .execution import checkpoint_activations, compile_backbone, fuse_layers
from .reward import CAUSAL_HEAD, HEAD_PREFIXES, ScoreModel, draw_head, is_causal, is_head_weight
from .trainable import set_trainable
from .weight_files import ADAPTER_CONFIG, WEIGHT_FILES, weights_hash

CONVERTED_KEYS = ("rope_theta", "rope_scaling")
"""Older names in configs, converted by transformers to `rope_parameters`."""
LOADABLE = "give a folder with config.json and safetensors weights, or a Hub name owner/name"
"""Hint for a model impossible to load."""


class Built(NamedTuple):
    """A built reward model in training mode, a line for the screen on the origin of its head, and its engine."""

    model: ScoreModel
    head: str
    engine: Engine


def build_model(
    settings: Model,
    tokenizer: Any,
    seed: int,
    device: torch.device,
    longest: int = 0,
    *,
    place: torch.device | None = None,
) -> Built:
    """Build the model of the settings, on `device`, in training mode with dropout as asked.

    The head is drawn only if the checkpoint has none. The same seed draws the same weights on every process.

    Args:
        longest: most tokens of a response with its prompt, see `choose_engine`.
        place: device of the weights for the moment, if not `device`; such a model is on the plain engine. On `meta` the
            model has no numbers, and receives them from another process.

    Raises:
        CheckpointError: a folder has no weights, or a checkpoint lacks more than a head.
        UserError: transformers cannot classify with the model type, or refuses the settings. Or this model or device
            does not allow the way of training or running.
    """
    if settings.adapter.kind != "none":  # checked before the weights are loaded, perhaps for minutes
        import_peft()
        check_quantize(settings.adapter.quantize, device)
    compute = compute_dtype(settings.precision, device)
    place = place or device
    shell = place.type == "meta"
    # Head, pooler and added embedding rows are all drawn inside: other code may have used the global generator.
    with reproducible_init(seed_for(seed, "weights")), place if shell else contextlib.nullcontext():
        if settings.path:
            network, drawn = (_shell(settings), True) if shell else _pretrained(settings, device, compute)
        else:
            network, drawn = from_config(settings, tokenizer)
        _fit_vocabulary(network, tokenizer, frozen=settings.adapter.kind != "none")
    if drawn and is_causal(network):
        draw_head(network, seed_for(seed, "head"))
    # Pooling by id reads another token if the text holds this id, and no stored index reaches into such a model.
    if network.config.is_encoder_decoder:
        raise UserError(
            f"a {network.config.model_type} is an encoder and a decoder, which transformers pools by the id of a token",
            "use a decoder such as Llama, or an encoder such as BERT",
        )
    # A composite config has a config for text inside, and only the inner pad token is read.
    network.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    # Servers such as vLLM then give the raw score, without a sigmoid.
    network.config.problem_type = "regression"
    _set_trained(network, settings, seed)
    _set_execution(network, settings, device)
    kind = f"{CAUSAL_HEAD}, pooled at the last token" if is_causal(network) else "the encoder's own"
    model = ScoreModel(network if shell else own_memory(network).to(place), compute).train()
    # The trial of an engine needs real weights on the final device; in shards the engine is chosen later.
    is_final = place == device
    engine = choose_engine(model, settings.engine, longest, compiled=settings.compile) if is_final else Engine("plain")
    return Built(model, f"{'drawn' if drawn else 'loaded'}, {kind}", engine)


def load_network(
    path: str,
    *,
    dropout: bool,
    remote_code: bool,
    revision: str = "",
    exact: bool = False,
    quantized: dict[str, Any] | None = None,
) -> tuple[Any, list[str]]:
    """Load a one-label classifier in float32 from a folder or the Hub, and list the missing weights by name.

    Args:
        exact: refuse files with weights unknown to the classifier, such as the output layer of a language model.
        quantized: result of `quantized_on`, for linear layers in 4 bits.

    Raises:
        CheckpointError: no config, no safetensors, weights of other shapes, or a head of several labels.
    """
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    place = locate(path, revision=revision)
    _check_folder(Path(place), path)
    try:
        network, report = _read(place, dropout, quantized or {}, trust_remote_code=remote_code, revision=revision)
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError, StrictDataclassError) as error:
        raise CheckpointError(f"no model could be loaded from {path}: {one_line(error)}", LOADABLE) from error
    # A language model brings weights without a place, and may be a base. A saved reward model must fit exactly.
    if exact and report["unexpected_keys"]:
        raise CheckpointError(
            f"{path} holds weights that its model has no place for, such as {min(report['unexpected_keys'])}",
            "copy the whole model folder again",
        )
    for name, found, wanted in sorted(report["mismatched_keys"]):
        raise _misfit(network, path, name, list(found), list(wanted))
    return network, sorted(report["missing_keys"])


def from_config(settings: Model, tokenizer: Any) -> tuple[Any, bool]:
    """Build a network from `model.config`, in float32; also return True for a drawn head.

    Raises:
        UserError: the settings do not make a classifier.
    """
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig, AutoModelForSequenceClassification

    # Defaults of the config class may name ids of another vocabulary.
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    values = {"vocab_size": len(tokenizer), "num_labels": 1, **ids, **settings.config}
    kind = values.pop("model_type")
    try:
        # Before the values are set: afterwards an unknown key is an attribute like any other.
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


def compute_dtype(precision: str, device: torch.device) -> torch.dtype:
    """Return the dtype of the backbone's arithmetic.

    Raises:
        UserError: the device does not compute in the dtype; another dtype is never taken instead.
    """
    # On a CPU `auto` is float32: the loss of accuracy in bfloat16 has not been measured there.
    wants_bf16 = precision == "bfloat16" or (precision == "auto" and device.type == "cuda")
    if wants_bf16 and not computes_bfloat16(device):
        raise UserError(
            f"the precision {precision} means bfloat16 here, and {device} does not compute in it",
            "use --model.precision float32",
        )
    return torch.bfloat16 if wants_bf16 else torch.float32


def computes_bfloat16(device: torch.device) -> bool:
    """Return True if a device computes in bfloat16, fast or not: every CPU, and CUDA devices according to PyTorch."""
    return device.type == "cpu" or (device.type == "cuda" and torch.cuda.is_bf16_supported())


def check_quantize(quantize: str, device: torch.device) -> None:
    """Raise `UserError` for 4-bit layers without a CUDA device, or without bitsandbytes."""
    if quantize == "none":
        return
    if device.type != "cuda":
        raise UserError(
            f"model.adapter.quantize = {quantize} needs CUDA, and the model is on {device.type}",
            "use --model.adapter.quantize none",
        )
    if importlib.util.find_spec("bitsandbytes") is None:
        raise UserError(
            f"model.adapter.quantize = {quantize} needs the package bitsandbytes",
            'install it with `pip install "bradley[lora,8bit]"`',
        )


def quantized_on(device: torch.device, compute: torch.dtype) -> dict[str, Any]:
    """Return arguments of `from_pretrained` for linear layers in 4 bits on a CUDA device, the head excepted.

    NF4 after Dettmers et al. (2023, arXiv:2305.14314), without their second quantisation, of the constants.
    """
    from transformers import BitsAndBytesConfig

    # The head is trained in full, and 4-bit weights cannot be trained. Its name may follow a prefix.
    heads = [rf"(.*\.)?{prefix.removesuffix('.')}" for prefix in HEAD_PREFIXES]
    settings = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=compute,
        llm_int8_skip_modules=heads,
    )
    return {"quantization_config": settings, "device_map": {"": device}}


def check_config_keys(config: Any, values: dict[str, Any]) -> None:
    """Raise `UserError` for a key unknown to this kind of config; transformers would store and ignore the key."""
    known = {*config.to_dict(), *config.attribute_map, *CONVERTED_KEYS}
    for key in values:
        if key not in known:
            near = nearest(key, known)
            raise UserError(
                f"model.config.{key}: a {config.model_type} has no such setting",
                f"did you mean {near}?" if near else "see the configuration class of this model in transformers",
            )


def silence_dropout(config: Any) -> None:
    """Set every dropout rate of a config to 0 in place, in nested configs too, and for attention functions."""
    for name, value in list(vars(config).items()):
        if hasattr(value, "to_dict"):
            silence_dropout(value)
        elif any(word in name for word in ("dropout", "pdrop", "layerdrop")) and isinstance(value, float):
            setattr(config, name, 0.0)


def own_memory(network: Any) -> Any:
    """Copy each tensor out of the file mapped into memory.

    Mapped tensors keep the alignment of the file, and PyTorch chooses kernels by alignment: two saves of equal weights
    then score 4e-9 apart. In memory of their own, equal weights give equal bits.
    """
    for tensor in (*network.parameters(), *network.buffers()):
        tensor.data = tensor.data.clone()
    return network


@contextlib.contextmanager
def reproducible_init(seed: int) -> Iterator[None]:
    """Draw all initial weights of transformers from a seed, and leave torch's own generator as before."""
    # Networks are built on the CPU; the default would also fork the generators of every GPU.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence the loading report and progress bars of transformers: missing weights are checked and reported here."""
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


def _set_trained(network: Any, settings: Model, seed: int) -> None:
    if settings.adapter.kind == "none":
        set_trainable(network, settings.trainable)
        return
    with reproducible_init(seed_for(seed, "adapter")):
        add_adapter(network, settings, weights_hash(settings.path, settings.revision))


def _set_execution(network: Any, settings: Model, device: torch.device) -> None:
    if settings.liger:
        fuse_layers(network, device)
    if settings.gradient_checkpointing:
        checkpoint_activations(network)
    if settings.compile:
        compile_backbone(network)


def _pretrained(settings: Model, device: torch.device, compute: torch.dtype) -> tuple[Any, bool]:
    network, missing = load_network(
        settings.path,
        dropout=settings.dropout,
        remote_code=settings.trust_remote_code,
        revision=settings.revision,
        quantized=quantized_on(device, compute) if settings.adapter.quantize != "none" else None,
    )
    # transformers draws missing weights at random. Only a head may be drawn: a random layer would raise no error.
    body = [name for name in missing if not is_head_weight(network, name)]
    if body:
        raise CheckpointError(
            f"{settings.path} lacks {len(body)} weights besides the head, {body[0]} among them",
            "check that the folder holds this architecture's weights",
        )
    return network, bool(missing)


def _shell(settings: Model) -> Any:
    """Build the network of a pretrained model without its weights."""
    from transformers import AutoModelForSequenceClassification

    place, trusted = locate(settings.path, revision=settings.revision), settings.trust_remote_code
    config = _config_of(place, settings.dropout, trust_remote_code=trusted, revision=settings.revision or "main")
    return AutoModelForSequenceClassification.from_config(config, dtype=torch.float32, trust_remote_code=trusted)


def _config_of(place: str, dropout: bool, **common: Any) -> Any:
    """Load the config of a one-label classifier, with dropout off unless requested."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(place, num_labels=1, **common)
    if not dropout:
        silence_dropout(config)
    return config


def _read(
    place: str, dropout: bool, quantized: dict[str, Any], *, trust_remote_code: bool, revision: str
) -> tuple[Any, dict[str, Any]]:
    """Load a folder or a Hub name with transformers, and return transformers' report on the weights too."""
    from transformers import AutoModelForSequenceClassification

    common = {"trust_remote_code": trust_remote_code, "revision": revision or "main"}
    config = _config_of(place, dropout, **common)
    with quiet_transformers():
        network, report = AutoModelForSequenceClassification.from_pretrained(
            place,
            config=config,
            dtype=torch.float32,
            # Pickled weights may run code.
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # listed in the report, and refused with a clearer error
            **common,
            **quantized,
        )
    return network, report


def _misfit(network: Any, path: str, name: str, found: list[int], wanted: list[int]) -> CheckpointError:
    """Build the error for a weight of another shape than the config says."""
    if is_head_weight(network, name) and wanted[:1] == [1]:
        return CheckpointError(
            f"{path} has a head of {found[0]} labels ({name}), and a reward model has one score",
            "give a model with one label, or the language model that this one was made from",
        )
    return CheckpointError(
        f"no model could be loaded from {path}: {name} is {found}, and its config.json wants {wanted}",
        LOADABLE,
    )


def _check_folder(folder: Path, given: str) -> None:
    if not folder.is_dir():
        return  # a Hub name
    whole = any((folder / name).is_file() for name in WEIGHT_FILES)
    # transformers would load base model and adapter through PEFT, and train on a network of another kind.
    if (folder / ADAPTER_CONFIG).is_file() and not whole:
        raise CheckpointError(
            f"{given} holds an adapter and no model of its own", "fold it into its base model first: bradley export"
        )
    if not whole and (shards := shards_of(folder)):
        raise CheckpointError(f"{given} holds shards of {shards.trainer}, and no whole weights", shards.advice)
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"model folder {given} has no config.json", "give a transformers model folder")
    if not whole:
        raise CheckpointError(
            f"model folder {given} has no safetensors weights",
            "save the model with safetensors; pickled weights (.bin, .pt) are never read",
        )


def _fit_vocabulary(network: Any, tokenizer: Any, *, frozen: bool) -> None:
    """Give every token an embedding row; a frozen embedding is not saved, and grows for the pad token alone."""
    rows = network.get_input_embeddings().num_embeddings
    # The pad token is masked, so no score depends on its row; other new tokens would be random after loading.
    beyond = {token for token, number in tokenizer.get_vocab().items() if number >= rows} - {tokenizer.pad_token}
    if frozen and beyond:
        raise UserError(
            f"the tokenizer has {len(beyond)} tokens beyond the {rows} rows of the model's embedding, {min(beyond)!r} "
            "among them, and an adapter keeps no embedding",
            "leave model.tokenizer out, or use --model.adapter.kind none",
        )
    if len(tokenizer) > rows:
        # The default draws around the mean of all rows, with a covariance of the whole embedding.
        network.resize_token_embeddings(len(tokenizer), mean_resizing=False)
