"""The reward model of the settings: a network with a head, a pad token, trained parts, and an engine."""

import contextlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ..common.seeds import seed_for
from ..common.text import and_more
from ..config import Model
from ..data.tokenizer import locate
from ..errors import CheckpointError, UserError
from .adapters import add_adapter, import_peft
from .choose_engine import Engine, choose_engine
from .execution import checkpoint_activations, compile_backbone, fuse_layers
from .folder.checks import check_base_folder, check_base_weights
from .folder.warm_start import base_of, continue_adapter
from .heads import Head, find_head, is_head_name, put_head
from .network import build_shell, from_config, load_network, reproducible_init
from .quantize import check_quantize, quantized_on
from .reward import CAUSAL_HEAD, ScoreModel, draw_head, is_causal, is_head_weight
from .trainable import set_trainable
from .weight_files import VALUE_HEAD, weights_folder, weights_hash

RAW_SCORE = "torch.nn.modules.linear.Identity"
"""Activation by which sentence-transformers returns raw scores, without a sigmoid."""


class Built(NamedTuple):
    """A built reward model in training mode.

    Attributes:
        model: the model.
        head: a line for the screen on the origin of the head.
        engine: the engine.
        notes: lines for the screen on weights of the base that are not used.
    """

    model: ScoreModel
    head: str
    engine: Engine
    notes: tuple[str, ...] = ()


DRAWN = "drawn"
TWO_HEADS = f"not used: {VALUE_HEAD}, because the model has a head of its own"


class Network(NamedTuple):
    """A network before training.

    Attributes:
        network: the classifier.
        head: origin of the head: `drawn`, `loaded`, or the place where another trainer has put the head.
        notes: as of `Built`.
    """

    network: Any
    head: str
    notes: tuple[str, ...] = ()


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
    settings, adapter = base_of(settings)
    if settings.adapter.kind != "none":
        check_quantize(settings.adapter.quantize, device)
    compute = compute_dtype(settings.precision, device)
    place = place or device
    shell = place.type == "meta"
    # Head, pooler and added embedding rows are all drawn inside: other code may have used the global generator.
    with reproducible_init(seed_for(seed, "weights")), place if shell else contextlib.nullcontext():
        if settings.path:
            made = Network(build_shell(settings), DRAWN) if shell else _pretrained(settings, device, compute)
        else:
            made = Network(from_config(settings, tokenizer)[0], DRAWN)
        network = made.network
        _fit_vocabulary(network, tokenizer, frozen=settings.adapter.kind != "none")
    if made.head == DRAWN and is_causal(network):
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
    network.config.sentence_transformers = {"activation_fn": RAW_SCORE}
    head = _set_trained(network, settings, seed, adapter) or made.head
    _set_execution(network, settings, device)
    kind = f"{CAUSAL_HEAD}, pooled at the last token" if is_causal(network) else "the encoder's own"
    model = ScoreModel(network if shell else network.to(place), compute).train()
    # The trial of an engine needs real weights on the final device; in shards the engine is chosen later.
    is_final = place == device
    engine = choose_engine(model, settings.engine, longest, compiled=settings.compile) if is_final else Engine("plain")
    return Built(model, f"{head}, {kind}", engine, made.notes)


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


def _set_trained(network: Any, settings: Model, seed: int, adapter: Path | None) -> str:
    """Mark or add the trained weights; return the origin of a head that an adapter brings, or "".

    Args:
        adapter: folder of an adapter that training continues.
    """
    if settings.adapter.kind == "none":
        set_trainable(network, settings.trainable)
        return ""
    with reproducible_init(seed_for(seed, "adapter")):
        if adapter is None:
            add_adapter(network, settings, weights_hash(settings.path, settings.revision))
            return ""
        return continue_adapter(network, settings, adapter)


def _set_execution(network: Any, settings: Model, device: torch.device) -> None:
    if settings.liger:
        fuse_layers(network, device)
    if settings.gradient_checkpointing:
        checkpoint_activations(network)
    if settings.compile:
        compile_backbone(network)


def _pretrained(settings: Model, device: torch.device, compute: torch.dtype) -> Network:
    folder = Path(locate(settings.path, revision=settings.revision))
    check_base_folder(folder)
    # Hashing releases the interpreter: the file is hashed while it is read, and the identity of the run takes the hash.
    with ThreadPoolExecutor(1) as pool:
        hashed = pool.submit(check_base_weights, folder)
        network, missing, unexpected = load_network(
            settings.path,
            dropout=settings.dropout,
            remote_code=settings.trust_remote_code,
            revision=settings.revision,
            quantized=quantized_on(device, compute) if settings.adapter.quantize != "none" else None,
        )
        hashed.result()
    # transformers draws missing weights at random. Only a head may be drawn: a random layer would raise no error.
    body = [name for name in missing if not is_head_weight(network, name)]
    if body:
        without = f", and holds {and_more(unexpected, 3)} without a place" if unexpected else ""
        raise CheckpointError(
            f"{settings.path} lacks {len(body)} weights besides the head, {body[0]} among them{without}",
            "check that the folder holds this architecture's weights",
        )
    head = find_head(network, weights_folder(settings.path, settings.revision), unexpected) if missing else None
    if head is None:
        beside = () if missing or not (folder / VALUE_HEAD).is_file() else (TWO_HEADS,)
        return Network(network, DRAWN if missing else "loaded", (*_unused(unexpected), *beside))
    put_head(network, head)
    return Network(network, f"taken over from {head.name}", _unused(unexpected, head))


def _unused(unexpected: Sequence[str], head: Head | None = None) -> tuple[str, ...]:
    """Return lines on the tensors of a base without a place in the reward model."""
    left = [name for name in unexpected if head is None or not is_head_name(name)]
    lines = [f"not used: {and_more(left, 4)}, without a place in a reward model"] if left else []
    if head is not None and head.bias is not None:
        lines.append(f"not used: the bias of the head, {head.bias.item():.4g}, which shifts all scores alike")
    return tuple(lines)


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
