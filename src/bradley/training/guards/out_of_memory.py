"""Explain running out of memory: the work under way, and a budget to try.

Budgets never change silently, because people compare runs by their settings.
"""

import contextlib
from collections.abc import Iterator

import numpy as np
import torch

from ...common.text import GIB, and_more, one_line
from ...config import Config
from ...data.plan import Plan, Step
from ...data.schedule import heaviest
from ...data.token_store import TokenStore
from ...errors import OutOfMemoryError
from ..distributed.full_tensors import local
from ..optimizer_bytes import state_bytes
from .culprits import Replay

SHOWN = 3
"""Comparisons named in an error, at most."""
WORDS = ("not enough memory: you tried to allocate", "out of memory", "can't allocate memory")
"""Texts of a plain RuntimeError about memory, from PyTorch on a CPU and from some CUDA libraries."""


class MemoryGuard:
    """Record of the work under way, for the error raised when memory runs out.

    Attributes:
        where: the work under way, in words.
        chosen: [G] comparisons of the running micro-batch; empty between micro-batches.
    """

    def __init__(self, config: Config, plan: Plan, store: TokenStore) -> None:
        self.config, self.plan, self.store = config, plan, store
        self.where = "the evaluation before the first step"
        self.chosen = np.zeros(0, dtype=np.int64)

    def enter(self, step: Step, piece: int, chosen: np.ndarray) -> None:
        """Note the start of micro-batch `piece` of a step, with comparisons [G] `chosen`."""
        self.where, self.chosen = f"micro-batch {piece + 1} of step {step.number}", chosen

    def probe(self, chosen: np.ndarray) -> None:
        """Note the trial of the run's largest micro-batch, before the first step."""
        self.where, self.chosen = "the largest micro-batch of the run, tried before it begins", chosen

    def leave(self, step: Step) -> None:
        """Note the end of the last micro-batch of a step."""
        self.where, self.chosen = f"the update of step {step.number}, or in what follows it", self.chosen[:0]

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Turn exhausted memory inside the block into an error naming comparisons, shapes and budgets.

        Raises:
            OutOfMemoryError: memory ran out. Any other exception passes through.
        """
        try:
            yield
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            limit = self.plan.limit
            raise OutOfMemoryError(
                f"out of memory in {self.where}{self._shape()}; {limit.name} is {limit.tokens}: {one_line(error)}",
                self._advice(),
            ) from error

    def _shape(self) -> str:
        if not len(self.chosen):
            return ""
        sizes = self.plan.load.sizes
        return (
            f", of {self._tokens():,} tokens as the engine runs them: {len(self.chosen)} comparisons of "
            f"{int(sizes.rows[self.chosen].sum())} responses of up to {int(sizes.longest[self.chosen].max())} tokens "
            f"({self._names()})"
        )

    def _names(self) -> str:
        """Return the first ids, the largest comparisons first: the largest are the likely cause."""
        largest = self.chosen[np.argsort(-self.plan.load.tokens[self.chosen], kind="stable")]
        return and_more([self.store.info[int(g)].id for g in largest], SHOWN)

    def _tokens(self) -> int:
        load = self.plan.load
        if load.padded:
            return int(load.sizes.rows[self.chosen].sum()) * int(load.sizes.longest[self.chosen].max())
        return int(load.tokens[self.chosen].sum())

    def _advice(self) -> str:
        """Return the budget to try: half of the failed micro-batch.

        The largest comparison is the lower bound, because comparisons are never split.
        """
        load = self.plan.load
        if not len(self.chosen):
            return "use an optimizer that keeps less, or model.adapter.kind = lora; see `bradley plan CONFIG --memory`"
        # Halving keeps the number of retries small. A budget below the largest comparison would end the run at the
        # start.
        tokens, largest = self._tokens(), int(load.tokens.max())
        wanted = max(tokens // 2, largest)
        if len(self.chosen) > 1 and wanted < tokens:
            return (
                f"use --train.micro_batch_tokens {wanted}: the gradient of a step stays the same but for rounding; a "
                "run that goes on with --resume needs --allow-change train.micro_batch_tokens as well"
            )
        name = self.store.info[int(self.chosen[load.tokens[self.chosen].argmax()])].id
        ways = ["lower render.max_tokens"]
        if not self.config.model.gradient_checkpointing and self.config.model.trainable != "head":
            ways.insert(0, "use --model.gradient_checkpointing true")
        return f"no smaller budget helps, because comparison {name} is never split: {', or '.join(ways)}"


def probe(
    replay: Replay, optimizer: torch.optim.Optimizer, gradients: int, config: Config, memory_guard: MemoryGuard
) -> str:
    """Run the largest micro-batch before the first step, and leave no weight, gradient or state changed.

    The micro-batch runs forward and backward twice, accumulating gradients as a step of several micro-batches does.
    Memory for the optimizer's state and for other gradients is reserved meanwhile.

    Args:
        replay: runs the comparisons.
        optimizer: of the run, before or after its first step.
        gradients: held at once, see `Strategy.gradients`.
        config: of the run.
        memory_guard: notes the trial, for the error raised when memory runs out.

    Returns:
        The peak in words; '' on a device without memory statistics.
    """
    model, comparisons, step = replay.model, heaviest(replay.plan), replay.plan.step(1)
    memory_guard.probe(comparisons)
    # A resumed optimizer has its state in memory already. A new optimizer allocates the state only at the first update,
    # hence the reserve.
    size = 0 if optimizer.state else optimizer_bytes(optimizer, config)
    size += (gradients - 1) * sum(local(w).nbytes for w in model.parameters() if w.requires_grad)
    reserve = torch.empty(size, dtype=torch.uint8, device=model.device)
    # The first backward pass allocates the gradients. Only the second shows activations and gradients in memory
    # together.
    for _ in range(2):
        replay.backward(step, 0, comparisons)
    model.zero_grad(set_to_none=True)
    del reserve
    if model.device.type != "cuda":
        return ""
    peak = torch.cuda.max_memory_allocated(model.device) / GIB
    total = torch.cuda.get_device_properties(model.device).total_memory / GIB
    return f"{peak:.2f} of {total:.2f} GiB for the largest micro-batch, {len(comparisons)} comparisons"


def optimizer_bytes(optimizer: torch.optim.Optimizer, config: Config) -> int:
    """Return the bytes held by this process for the run's optimizer, once the optimizer has taken a step."""
    shapes = [tuple(local(weight).shape) for group in optimizer.param_groups for weight in group["params"]]
    return sum(state_bytes(config.optim.name, dict(config.optim.options), shape) for shape in shapes)


def is_out_of_memory(error: BaseException) -> bool:
    """Return True if an exception reports exhausted memory, of the machine or of the device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in WORDS)
