"""The network of a folder, the Hub or a config: a transformers classifier of one label, with dropout as asked.

Rule: no code runs, and no kernel is fetched, that the user did not name. Attention and kernels named by a config are
ignored, because both are chosen here.
"""

import contextlib
import copy
import inspect
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, NotRequired

import torch
from typing_extensions import TypedDict

from ..common.json_files import check_shape
from ..common.model_files import CONFIG, check_model_files, library_errors, quiet_transformers, refuse_sizes
from ..common.other_trainers import shards_of
from ..common.signatures import refuse_run_folder
from ..common.text import GIB, nearest
from ..config import Model
from ..data.tokenizer import locate
from ..errors import CheckpointError, UserError
from .finite import check_files_finite, check_finite, network_tensors
from .reward import is_head_weight
from .weight_files import ADAPTER_CONFIG, WEIGHT_FILES, weight_files

CONVERTED_KEYS = ("rope_theta", "rope_scaling")
"""Older names in configs, converted by transformers to `rope_parameters`."""
OPTIONAL_KEY = re.compile(r'getattr\((?:self\.)?config, "(\w+)"')
"""Reading of a config by the code of a network, with a default for configs without the key."""
LOADABLE = "give a folder with config.json and safetensors weights, or a Hub name owner/name"
"""Hint for a model impossible to load."""
CHOSEN_HERE = ("_attn_implementation", "_experts_implementation")
"""Attributes of a config for the code of attention and experts, possibly a kernel on the Hub."""
QUANTIZED = ("bitsandbytes",)
"""Kinds of quantized weights that load without code from the Hub."""
DROPOUT_NAMES = ("dropout", "pdrop", "layerdrop")
"""Parts of names of dropout rates."""


class TextConfig(TypedDict):
    """Settings of a config that bradley itself reads; transformers checks some settings of some models alone."""

    sliding_window: NotRequired[int | None]
    layer_types: NotRequired[list[str] | None]
    rope_parameters: NotRequired[dict[str, Any] | None]
    num_hidden_layers: NotRequired[int]
    is_encoder_decoder: NotRequired[bool]
    model_type: NotRequired[str]


KINDS = "give a model_type that transformers can classify with, such as llama, qwen2, gpt2 or bert"
VALUES = f"correct the values under model.config; or {KINDS}"
"""Hints for a `model.config` of no kind of classifier, and with values that no classifier takes."""
SLACK = 10**8
"""Numbers that a network may have beyond four times those of its files: tables computed from the config."""


class LoadedNetwork(NamedTuple):
    """A loaded network.

    Attributes:
        network: the classifier.
        missing: names of weights that the files lack, drawn by transformers.
        unexpected: names of tensors in the files without a place in the network, such as a language model's output.
    """

    network: Any
    missing: list[str]
    unexpected: list[str]


def load_network(
    path: str,
    *,
    dropout: bool,
    remote_code: bool,
    revision: str = "",
    exact: bool = False,
    quantized: dict[str, Any] | None = None,
) -> LoadedNetwork:
    """Load a one-label classifier in float32 from a folder or the Hub, and list the weights lacking a counterpart.

    The weights lie in memory of their own, see `own_memory`.

    Args:
        exact: refuse files with weights unknown to the classifier, such as the output layer of a language model.
        quantized: result of `quantized_on`, for linear layers in 4 bits.

    Raises:
        CheckpointError: no config, no safetensors, weights of other shapes, or a head of several labels. A file is
            unreadable or broken, or a weight is NaN or infinite.
    """
    place = locate(path, revision=revision)
    _check_folder(Path(place), path)
    config = load_config(path, place, dropout=dropout, remote_code=remote_code, revision=revision)
    # Code of the model's own may not run without memory; other code shows here what it would allocate.
    if Path(place).is_dir() and not remote_code:
        _check_size(Path(place), path, config)
    network, report = _read(path, place, config, quantized or {}, trust_remote_code=remote_code, revision=revision)
    # A language model brings weights without a place, and may be a base. A saved reward model must fit exactly.
    if exact and report["unexpected_keys"]:
        raise CheckpointError(
            f"{path} holds weights that its model has no place for, such as {min(report['unexpected_keys'])}",
            "copy the whole model folder again",
        )
    for name, found, wanted in sorted(report["mismatched_keys"]):
        raise _misfit(network, path, name, list(found), list(wanted))
    missing = sorted(report["missing_keys"])
    # Copied before the check: the check of a mapped tensor would read the file a page at a time.
    check_finite(network_tensors(own_memory(network)), path)
    if Path(place).is_dir() and (report["unexpected_keys"] or quantized):
        known = () if quantized else network.state_dict()
        check_files_finite(Path(place), weight_files(Path(place)), known)
    return LoadedNetwork(network, missing, sorted(report["unexpected_keys"]))


def load_config(path: str, place: str, *, dropout: bool, remote_code: bool, revision: str = "") -> Any:
    """Load the config of a one-label classifier, with dropout off unless requested.

    Args:
        path: folder or Hub name as given by the user, for messages.
        place: the same, as returned by `locate`.

    Raises:
        CheckpointError: no config, a broken config, or weights in a format that needs code from the Hub.
    """
    from transformers import AutoConfig

    check_model_files(Path(place))
    with quiet_transformers(), library_errors(f"no config could be loaded from {path}", LOADABLE):
        config = AutoConfig.from_pretrained(
            place, num_labels=1, trust_remote_code=remote_code, revision=revision or "main"
        )
        for name in CHOSEN_HERE:
            setattr(config, name, None)
        text = config.get_text_config()
        kinds = [getattr(part, "quantization_config", None) for part in (config, text)]
        if not dropout:
            silence_dropout(config)
    check_shape(vars(text), TextConfig, Path(place) / CONFIG, hint=LOADABLE)
    for kind in kinds:
        method = kind.get("quant_method") if isinstance(kind, dict) else kind
        if method is not None and method not in QUANTIZED:
            raise CheckpointError(
                f"the weights of {path} are quantized: {str(method)[:50]}", "give the model before its quantization"
            )
    return config


def build_shell(settings: Model) -> Any:
    """Build the network of a pretrained model without its weights.

    Raises:
        CheckpointError: no config, or a config that makes no classifier.
    """
    place, trusted = locate(settings.path, revision=settings.revision), settings.trust_remote_code
    config = load_config(
        settings.path, place, dropout=settings.dropout, remote_code=trusted, revision=settings.revision
    )
    return _empty(config, settings.path, trusted)


def from_config(settings: Model, tokenizer: Any) -> tuple[Any, bool]:
    """Build a network from `model.config`, in float32; also return True for a drawn head.

    Raises:
        UserError: the settings do not make a classifier, or make a classifier larger than the memory of this machine.
    """
    from transformers import AutoConfig, AutoModelForSequenceClassification

    refuse_sizes(settings.config, "model.config", UserError)
    # Defaults of the config class may name ids of another vocabulary.
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    values = {"vocab_size": len(tokenizer), "num_labels": 1, **ids, **settings.config}
    kind = values.pop("model_type")
    with _config_errors():
        plain = AutoConfig.for_model(kind)
    # Before the values are set: afterwards an unknown key is an attribute like any other.
    check_config_keys(plain, settings.config)
    with _config_errors(VALUES):
        config = AutoConfig.for_model(kind, **values)
        for name in CHOSEN_HERE:
            setattr(config, name, None)
        if not settings.dropout:
            silence_dropout(config)
        with reproducible_init(0), torch.device("meta"):
            outline = AutoModelForSequenceClassification.from_config(copy.deepcopy(config), dtype=torch.float32)
    # Under `meta` a plan is made, perhaps for another machine.
    if torch.empty(0).is_meta:
        return outline, True
    _check_memory(outline)
    with _config_errors(VALUES):
        network = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
    check_finite(network_tensors(network), "model.config")
    return network, True


@contextlib.contextmanager
def _config_errors(hint: str = KINDS) -> Iterator[None]:
    """Turn every exception of transformers about `model.config` into `UserError`."""
    try:
        with library_errors("model.config does not make a classifier", ""):
            yield
    except CheckpointError as error:
        raise UserError(error.message, hint) from error


def _check_memory(outline: Any) -> None:
    """Raise `UserError` for a network larger than the memory of this machine."""
    needed = sum(each.numel() * each.element_size() for _, each in network_tensors(outline))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else needed
    if needed > memory:
        raise UserError(
            f"model.config makes a network of {needed / GIB:,.0f} GiB, and this machine has {memory / GIB:,.0f} GiB",
            "make the network smaller; `bradley plan` shows the memory of a run",
        )


def _check_size(folder: Path, path: str, config: Any) -> None:
    """Raise `CheckpointError` unless the network of a config fits the weight files, before memory is allocated."""
    from safetensors import safe_open

    shapes: dict[str, list[int]] = {}
    packed: set[str] = set()
    dtypes: dict[str, str] = {}
    for name in weight_files(folder):
        with library_errors(f"{folder / name} cannot be read", LOADABLE), safe_open(folder / name, "numpy") as file:
            slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118 - no dictionary
            shapes |= {key: part.get_shape() for key, part in slices.items()}
            # Weights of 4 bits are packed as bytes, in another shape.
            packed |= {key for key, part in slices.items() if part.get_dtype() in ("U8", "I8")}
            dtypes |= {key: part.get_dtype() for key, part in slices.items()}
    with reproducible_init(0), torch.device("meta"):
        outline = _empty(copy.deepcopy(config), path, False)
    quantized = getattr(config, "quantization_config", None) is not None
    for name, tensor in sorted(outline.state_dict().items()):
        # transformers would take the real part of complex numbers, and whole numbers as they are.
        if tensor.is_floating_point() and not quantized and not dtypes.get(name, "F").startswith(("F", "BF")):
            raise CheckpointError(
                f"{path}: {name} holds numbers of the kind {dtypes[name]}, and floating-point numbers are wanted",
                "give the model before its quantization",
            )
        if name in shapes and name not in packed and list(tensor.shape) != shapes[name]:
            raise _misfit(outline, path, name, shapes[name], list(tensor.shape))
    wanted = sum(each.numel() for _, each in network_tensors(outline))
    held = sum(torch.Size(shape).numel() for shape in shapes.values())
    if wanted > 4 * held + SLACK:
        raise CheckpointError(
            f"no model could be loaded from {path}: its config.json wants {wanted:,} numbers, and its files hold "
            f"{held:,}",
            LOADABLE,
        )


def _empty(config: Any, path: str, trusted: bool) -> Any:
    """Build the network of a config, for a caller under `torch.device("meta")`."""
    from transformers import AutoModelForSequenceClassification

    with library_errors(f"no model could be built from the config of {path}", LOADABLE):
        return AutoModelForSequenceClassification.from_config(config, dtype=torch.float32, trust_remote_code=trusted)


def check_config_keys(config: Any, values: dict[str, Any]) -> None:
    """Raise `UserError` for a key unknown to this kind of config; transformers would store and ignore the key."""
    known = {*config.to_dict(), *config.attribute_map, *CONVERTED_KEYS}
    if not known.issuperset(values):
        known |= _optional_keys(config)
    for key in values:
        if key not in known:
            near = nearest(key, known)
            raise UserError(
                f"model.config.{key}: a {config.model_type} has no such setting",
                f"did you mean {near}?" if near else "see the configuration class of this model in transformers",
            )


def _optional_keys(config: Any) -> set[str]:
    """Return the keys that the code of a network reads if a config has them, such as `head_dim` of a `qwen3_moe`."""
    from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING

    network = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING.get(type(config), None)
    # Configs declare such keys nowhere; the module of the network is the only place that names them.
    code = inspect.getsource(sys.modules[network.__module__]) if network else ""
    return set(OPTIONAL_KEY.findall(code))


def silence_dropout(config: Any) -> None:
    """Set every dropout rate of a config to 0 in place, in nested configs too, and for attention functions."""
    for name, value in list(vars(config).items()):
        if hasattr(value, "to_dict"):
            silence_dropout(value)
        elif any(word in name for word in DROPOUT_NAMES) and is_rate(value):
            setattr(config, name, 0.0)


def is_rate(value: Any) -> bool:
    """Return True for a number, whole or not: a rate of 1 drops as much as a rate of 1.0."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


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


def _read(
    path: str, place: str, config: Any, quantized: dict[str, Any], *, trust_remote_code: bool, revision: str
) -> tuple[Any, dict[str, Any]]:
    """Load a folder or a Hub name with transformers, and return transformers' report on the weights too."""
    from transformers import AutoModelForSequenceClassification

    with quiet_transformers(), library_errors(f"no model could be loaded from {path}", LOADABLE):
        network, report = AutoModelForSequenceClassification.from_pretrained(
            place,
            config=config,
            dtype=torch.float32,
            # Pickled weights may run code.
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # listed in the report, and refused with a clearer error
            trust_remote_code=trust_remote_code,
            revision=revision or "main",
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
    if not (folder / CONFIG).exists():
        refuse_run_folder(folder)
    whole = any((folder / name).is_file() for name in WEIGHT_FILES)
    # transformers would load base model and adapter through PEFT, and train on a network of another kind.
    if (folder / ADAPTER_CONFIG).is_file() and not whole:
        raise CheckpointError(
            f"{given} holds an adapter and no model of its own", "fold it into its base model first: bradley export"
        )
    # The same for a whole model: an adapter's config beside it would have the base model fetched that is named there.
    if (folder / ADAPTER_CONFIG).is_file():
        raise CheckpointError(f"{given} holds a whole model and {ADAPTER_CONFIG}", f"remove {ADAPTER_CONFIG}")
    if not whole and (shards := shards_of(folder)):
        raise CheckpointError(f"{given} holds shards of {shards.trainer}, and no whole weights", shards.advice)
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"model folder {given} has no config.json", "give a transformers model folder")
    if not whole:
        raise CheckpointError(
            f"model folder {given} has no safetensors weights",
            "save the model with safetensors; pickled weights (.bin, .pt) are never read",
        )
