"""How a backbone is run without changing what it computes: recomputed activations, a compiled forward, fused layers."""

import functools
import sys
from collections.abc import Callable
from typing import Any

import torch

from ..common.text import one_line
from ..errors import UserError

ROTARY = "apply_rotary_pos_emb"
"""What transformers calls the function in each model's code that turns queries and keys by their positions."""


def checkpoint_activations(network: Any) -> None:
    """Keep only the inputs of each layer for the backward pass, and compute the rest again there.

    Dropout draws the same numbers both times. Scores and gradients stay as they are.

    Raises:
        UserError: a model that transformers cannot do this with.
    """
    new = hasattr(network, "activation_checkpointing_enable")  # the older name is deprecated
    enable = network.activation_checkpointing_enable if new else network.gradient_checkpointing_enable
    try:
        enable({"use_reentrant": False})
    except ValueError as error:
        raise UserError(
            f"model.gradient_checkpointing: a {network.config.model_type} cannot: {one_line(error)}",
            "leave it off, and lower train.micro_batch_tokens to save memory",
        ) from error


def compile_backbone(network: Any) -> None:
    """Compile the backbone's forward in place, for any number and length of rows.

    The function is compiled and not the module, so that weights keep their names and files. Without gradients it stays
    as it is: compiled arithmetic rounds otherwise, and the scores of an evaluation must be those of the saved model.
    """
    backbone = network.base_model
    plain = backbone.forward
    compiled: Any = torch.compile(plain, dynamic=True)

    @functools.wraps(plain)
    def forward(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return plain(*args, **kwargs)
        try:
            return compiled(*args, **kwargs)
        except torch._dynamo.exc.TorchDynamoException as error:
            raise UserError(
                f"model.compile: the backbone cannot be compiled here: {type(error).__name__}: {one_line(error)}",
                "leave model.compile off; on a CPU it needs a C++ compiler, such as g++",
            ) from error

    backbone.forward = forward


def fuse_layers(network: Any, device: torch.device) -> None:
    """Run norms, gated feed-forward layers and rotary positions on the CUDA kernels of Liger, in place.

    Liger puts its own classes into the module of the model's code as well; they are taken out again, so that models
    built later in the same process are their own. Only the rotary function has to stay, for tensors on CUDA.

    Raises:
        UserError: no CUDA device, no Liger, or a model type that Liger does not know.
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
    code = vars(sys.modules[type(network).__module__])
    before = dict(code)
    apply_liger_kernel(network, {"cross_entropy": False, "fused_linear_cross_entropy": False})
    fused = code.get(ROTARY)
    code.update(before)
    if fused is not before.get(ROTARY):
        code[ROTARY] = _on_cuda(fused, before[ROTARY])


def _on_cuda(fused: Any, plain: Any) -> Callable[..., Any]:
    """`fused` for tensors on CUDA, which it is written for, and `plain` elsewhere."""

    @functools.wraps(plain)
    def either(query: Any, *args: Any, **kwargs: Any) -> Any:
        return (fused if query.is_cuda else plain)(query, *args, **kwargs)

    return either
