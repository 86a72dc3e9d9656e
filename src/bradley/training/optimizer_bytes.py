"""Compute the memory of each optimizer's state, per weight tensor."""

import math
from collections.abc import Callable

from ..errors import UserError

Options = dict[str, object]
"""Settings of `optim.options`."""
Shape = tuple[int, ...]
"""Shape of a weight."""
FLOAT = 4
"""Bytes of a float32: states are float32, also for bfloat16 arithmetic."""
BLOCK, WHOLE_BELOW = 256, 4096
"""bitsandbytes keeps a float32 scale for each `BLOCK` 8-bit numbers. The state of weights below `WHOLE_BELOW` numbers
stays in float32."""


def state_bytes(name: str, options: Options, shape: Shape) -> int:
    """Return the bytes of an optimizer's state for a single weight.

    Args:
        name: of the optimizer, as in `optim.name`.
        options: as in `optim.options`.
        shape: of the weight, or of this process's shard.

    Raises:
        UserError: the class has no known state.
    """
    # A guess would let `bradley plan` promise a run that ends at the first update.
    if name not in BYTES_PER_WEIGHT:
        raise UserError(
            f"optim.name = {name}: what it keeps of a weight is not known here",
            f"known: {', '.join(BYTES_PER_WEIGHT)}",
        )
    return BYTES_PER_WEIGHT[name](shape, options)


def _adam(shape: Shape, options: Options) -> int:
    return FLOAT * math.prod(shape) * (3 if options.get("amsgrad") else 2)


def _rmsprop(shape: Shape, options: Options) -> int:
    return FLOAT * math.prod(shape) * (1 + bool(options.get("momentum")) + bool(options.get("centered")))


def _adafactor(shape: Shape, options: Options) -> int:
    """Return the bytes of a row and a column of second moments (Shazeer and Stern, 2018, arXiv:1804.04235)."""
    # Vectors cannot be factored; their second moments stay full.
    if len(shape) < 2:
        return FLOAT * math.prod(shape)
    return FLOAT * (math.prod(shape[:-1]) + math.prod(shape[:-2]) * shape[-1])


def _adam_8bit(shape: Shape, options: Options) -> int:
    """Return the bytes of two 8-bit moments per number (Dettmers et al., 2022, arXiv:2110.02861)."""
    size = math.prod(shape)
    return 2 * FLOAT * size if size < WHOLE_BELOW else 2 * size + 2 * FLOAT * math.ceil(size / BLOCK)


def _times(count: int) -> Callable[[Shape, Options], int]:
    return lambda shape, options: FLOAT * count * math.prod(shape)


BYTES_PER_WEIGHT: dict[str, Callable[[Shape, Options], int]] = {
    "ASGD": _times(1),
    "Adadelta": _times(2),
    "Adafactor": _adafactor,
    "Adagrad": _times(1),
    "Adam": _adam,
    "AdamW": _adam,
    "AdamW8bit": _adam_8bit,
    "Adamax": _times(2),
    "Muon": _times(1),
    "NAdam": _times(2),
    "RAdam": _times(2),
    "RMSprop": _rmsprop,
    "Rprop": _times(2),
    "SGD": lambda shape, options: FLOAT * math.prod(shape) * bool(options.get("momentum")),
}
"""`optim.name` -> bytes of the state for a weight of some shape, without scalars such as a step count."""
