"""Execution of a backbone without a change of results: recomputed activations, a compiled forward, fused layers."""

import functools
import sys
from collections.abc import Callable
from typing import Any

import torch

from ..common.text import one_line
from ..errors import UserError

ROTARY = "apply_rotary_pos_emb"
"""Name of the function rotating queries and keys by position, in each model's code in transformers."""


def checkpoint_activations(network: Any) -> None:
    """Keep only the inputs of each layer for the backward pass, and recompute the activations there.

    Dropout draws the same numbers both times. Scores and gradients do not change.

    Raises:
        UserError: transformers cannot recompute the activations of this model.
    """
    has_new_name = hasattr(network, "activation_checkpointing_enable")  # the older name is deprecated
    enable = network.activation_checkpointing_enable if has_new_name else network.gradient_checkpointing_enable
    try:
        # The reentrant form gives no gradients if the inputs of a layer need none, as above frozen embeddings.
        enable({"use_reentrant": False})
    except ValueError as error:
        raise UserError(
            f"model.gradient_checkpointing: a {network.config.model_type} cannot: {one_line(error)}",
            "leave it off, and lower train.micro_batch_tokens to save memory",
        ) from error


def compile_backbone(network: Any) -> None:
    """Compile the forward function of the backbone in place, for any number and length of rows.

    The function is compiled, not the module, and weights keep their names and files. Without gradients the plain
    function runs: compiled arithmetic rounds differently, and an evaluation must give the scores of the saved model.
    """
    backbone = network.base_model
    plain = backbone.forward
    # Every micro-batch has another shape. With static shapes, each would be compiled anew.
    compiled: Any = torch.compile(plain, dynamic=True)

    @functools.wraps(plain)
    def forward(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return plain(*args, **kwargs)
        try:
            # The compiler runs at the first forward, far from the setting; the error has to name the setting.
            return compiled(*args, **kwargs)
        except torch._dynamo.exc.TorchDynamoException as error:
            raise UserError(
                f"model.compile: the backbone cannot be compiled here: {type(error).__name__}: {one_line(error)}",
                "leave model.compile off; on a CPU it needs a C++ compiler, such as g++",
            ) from error

    backbone.forward = forward


def fuse_layers(network: Any, device: torch.device) -> None:
    """Run norms, gated feed-forward layers and rotary positions on the CUDA kernels of Liger, in place.

    Liger also puts classes into the Python module of the model's code. These are taken out again, and models built
    later in the same process stay plain. Only the rotary function has to stay, for tensors on CUDA.

    Raises:
        UserError: no CUDA device, no Liger, or a model type unknown to Liger.
    """
    if device.type != "cuda":
        raise UserError(f"model.liger needs CUDA, and the model is on {device.type}", "leave model.liger off")
    try:
        from liger_kernel.transformers.monkey_patch import MODEL_TYPE_TO_APPLY_LIGER_FN as KNOWN
        from transformers.integrations.liger import apply_liger_kernel
    except ImportError as error:
        raise UserError(
            f"model.liger needs the package liger-kernel: {one_line(error)}", 'type `pip install "bradley[liger]"`'
        ) from error
    kind = network.config.model_type
    if kind not in KNOWN:
        raise UserError(f"model.liger: Liger has no kernels for a {kind}", "leave model.liger off")
    # Liger patches by assignment into this namespace, so a copy of the namespace undoes the patch.
    code = vars(sys.modules[type(network).__module__])
    before = dict(code)
    # The fused losses are for language models; a reward model has no logits over a vocabulary.
    apply_liger_kernel(network, {"cross_entropy": False, "fused_linear_cross_entropy": False})
    # Layers were replaced on the network itself. The rotary function is looked up by name at each call, and must stay.
    fused = code.get(ROTARY)
    code.update(before)
    if fused is not before.get(ROTARY):
        code[ROTARY] = _on_cuda(fused, before[ROTARY])


def _on_cuda(fused: Any, plain: Any) -> Callable[..., Any]:
    """Return a function calling `fused` for tensors on CUDA, as its kernels require, and `plain` for all others."""

    @functools.wraps(plain)
    def either(query: Any, *args: Any, **kwargs: Any) -> Any:
        return (fused if query.is_cuda else plain)(query, *args, **kwargs)

    return either
