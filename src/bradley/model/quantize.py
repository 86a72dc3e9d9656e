"""4-bit weights of frozen linear layers, by bitsandbytes on CUDA."""

import importlib.util
from typing import Any

import torch

from ..errors import UserError
from .reward import HEAD_PREFIXES


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
