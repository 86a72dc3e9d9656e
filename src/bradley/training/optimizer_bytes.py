"""What each optimizer keeps of a weight between steps."""

import math
from collections.abc import Callable

from ..errors import UserError

Options = dict[str, object]
Shape = tuple[int, ...]
FLOAT = 4
BLOCK, WHOLE_BELOW = 256, 4096
"""bitsandbytes keeps one float32 scale for each so many 8-bit numbers, and weights of fewer numbers than that in
float32."""


def _adam(shape: Shape, options: Options) -> int:
    return FLOAT * math.prod(shape) * (3 if options.get("amsgrad") else 2)


def _rmsprop(shape: Shape, options: Options) -> int:
    return FLOAT * math.prod(shape) * (1 + bool(options.get("momentum")) + bool(options.get("centered")))


def _adafactor(shape: Shape, options: Options) -> int:
    """A row and a column of second moments for each matrix (Shazeer and Stern, 2018, arXiv:1804.04235)."""
    if len(shape) < 2:
        return FLOAT * math.prod(shape)
    return FLOAT * (math.prod(shape[:-1]) + math.prod(shape[:-2]) * shape[-1])


def _adam_8bit(shape: Shape, options: Options) -> int:
    """Two numbers of 8 bits for each (Dettmers et al., 2022, arXiv:2110.02861)."""
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
"""`optim.name` -> bytes that the class keeps of a weight of some shape, scalars such as a step count aside."""


def state_bytes(name: str, options: Options, shape: Shape) -> int:
    """Bytes that an optimizer keeps of one weight.

    Raises:
        UserError: a class whose states are not known here.
    """
    if name not in BYTES_PER_WEIGHT:
        raise UserError(
            f"optim.name = {name}: what it keeps of a weight is not known here",
            f"known: {', '.join(BYTES_PER_WEIGHT)}",
        )
    return BYTES_PER_WEIGHT[name](shape, options)
