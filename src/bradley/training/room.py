"""Running out of memory: what was being run, and the budget to try. A budget is never changed silently: people compare
runs by their settings.
"""

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

from ..config import Config
from ..data.plan import Plan
from ..data.store import TokenStore
from ..errors import OutOfMemoryError, one_line

WORDS = ("not enough memory: you tried to allocate", "out of memory", "can't allocate memory")
"""What PyTorch says in a plain RuntimeError on a CPU, and by way of some CUDA libraries."""


class Held(NamedTuple):
    """What goes through the model at once.

    Attributes:
        where: in words, such as `micro-batch 2 of step 5`.
        chosen: [G] its comparisons.
    """

    where: str
    chosen: np.ndarray


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory has run out, of the machine or of the device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in WORDS)


@contextlib.contextmanager
def room_for(held: Held, plan: Plan, store: TokenStore, config: Config) -> Iterator[None]:
    """Turn running out of memory inside the block into an error that names shapes and budgets.

    Raises:
        OutOfMemoryError: memory ran out. Any other exception passes through.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemoryError(
            f"out of memory in {held.where}: {shape(held, plan)}, with {plan.limit.name} = {plan.limit.tokens}: "
            f"{one_line(error)}",
            advice(held, plan, store, config),
        ) from error


def shape(held: Held, plan: Plan) -> str:
    """`2,048 tokens as the engine runs them, 14 responses of up to 512 in 7 comparisons`."""
    rows, longest = plan.load.sizes.rows[held.chosen], plan.load.sizes.longest[held.chosen]
    return (
        f"{tokens_of(plan, held.chosen):,} tokens as the engine runs them, {int(rows.sum())} responses of up to "
        f"{int(longest.max())} tokens in {len(held.chosen)} comparisons"
    )


def tokens_of(plan: Plan, chosen: np.ndarray) -> int:
    """Tokens of a micro-batch as the engine runs them, padding included."""
    sizes = plan.load.sizes
    if plan.load.padded:
        return int(sizes.rows[chosen].sum()) * int(sizes.longest[chosen].max())
    return int(plan.load.tokens[chosen].sum())


def advice(held: Held, plan: Plan, store: TokenStore, config: Config) -> str:
    """The budget to try: half of what did not fit, but no less than the largest comparison, which is never split."""
    tokens, largest = tokens_of(plan, held.chosen), int(plan.load.tokens.max())
    wanted = max(tokens // 2, largest)
    if len(held.chosen) > 1 and wanted < tokens:
        return f"use --train.micro_batch_tokens {wanted}: the gradient of a step stays the same but for rounding"
    name = store.info[int(held.chosen[plan.load.tokens[held.chosen].argmax()])].id
    ways = ["lower render.max_tokens"]
    if not config.model.gradient_checkpointing and config.model.trainable != "head":
        ways.insert(0, "use --model.gradient_checkpointing true")
    return f"no smaller budget helps, because comparison {name} is never split: {', or '.join(ways)}"
