"""The arms of `train_vs_trl.py` that are TRL: its `RewardTrainer` on the same ids, in turns of whole micro-batches.

    python benchmarks/arm_trl.py FOLDER {default,grouped,ordered} MICRO_BATCH [STEPS]

`default`: random order. `grouped`: batches of similar length. `ordered`: the rows of the dataset `ordered` as they
come, for STEPS steps, and the loss of each. A turn may end inside of a step: one can last minutes.
"""

import sys
from collections.abc import Iterator
from typing import Any

import torch
from datasets import load_from_disk
from torch.utils.data import Sampler
from transformers import AutoModelForSequenceClassification, AutoTokenizer, TrainerCallback
from trial import ENDLESS, Trial, read_trial
from trl import RewardConfig, RewardTrainer
from turns import Gate

SAMPLING = {"default": "random", "grouped": "group_by_length", "ordered": "sequential"}


class ShuffledBatches(Sampler[int]):
    """The batches of another sampler in random order, a last short one at the end.

    transformers' sampler for similar lengths begins each 50 batches with the longest: the steps of a short measurement
    would all be long ones.
    """

    def __init__(self, inner: Sampler[int], size: int) -> None:
        self.inner, self.size = inner, size

    def __len__(self) -> int:
        return len(self.inner)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[int]:
        indices = list(self.inner)
        whole = len(indices) // self.size
        starts = (torch.randperm(whole) * self.size).tolist()
        yield from (index for start in starts for index in indices[start : start + self.size])
        yield from indices[whole * self.size :]


class Trainer(RewardTrainer):
    """TRL's trainer, which notes what it has just run and what the loss was.

    Attributes:
        pairs, tokens: of the latest micro-batch, padding included.
        losses: of the steps so far.
    """

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.pairs = self.tokens = 0
        self.losses: list[float] = []
        self._parts: list[torch.Tensor] = []

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **settings: Any) -> Any:
        """TRL's own; called without outputs while it trains."""
        self.pairs, self.tokens = len(inputs["input_ids"]) // 2, inputs["input_ids"].numel()
        loss = super().compute_loss(model, inputs, *args, **settings)
        self._parts.append(loss.detach())
        return loss

    def forget(self) -> None:
        """What has run so far was no training."""
        self.pairs = self.tokens = 0
        self._parts = []

    def end_step(self) -> None:
        """Keep the loss of a step, the mean over its micro-batches: Trainer's log rounds it."""
        self.losses.append(float(torch.stack(self._parts).mean()))
        self._parts = []

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        sampler = super()._get_train_sampler(train_dataset)
        if self.args.train_sampling_strategy != "group_by_length":
            return sampler
        return ShuffledBatches(sampler, self.args.train_batch_size * self.args.gradient_accumulation_steps)


class Turns(TrainerCallback):  # type: ignore[misc]
    """Waits for the parent before the first micro-batch and after each."""

    def __init__(self, gate: Gate, trainer: Trainer) -> None:
        self.gate, self.trainer = gate, trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Nothing is read before the first turn."""
        control.should_training_stop = not self.gate.passed()

    def on_substep_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A micro-batch that the optimizer does not follow."""
        control.should_training_stop |= not self.gate.passed(self.trainer.pairs, self.trainer.tokens)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A micro-batch and the optimizer."""
        self.trainer.end_step()
        control.should_training_stop |= not self.gate.passed(self.trainer.pairs, self.trainer.tokens)


def run_largest(trainer: Trainer) -> None:
    """Forward and backward of the longest pairs, so that the memory they ask for is there in each turn."""
    lengths = trainer.train_dataset["length"]
    longest = sorted(range(len(lengths)), key=lengths.__getitem__)[-trainer.args.train_batch_size :]
    rows = [trainer.train_dataset[index] for index in longest]
    trainer.current_gradient_accumulation_steps = 1
    trainer.training_step(trainer.model, trainer.data_collator(rows))
    trainer.model.zero_grad(set_to_none=True)
    trainer.forget()


def epoch_tokens(trainer: Trainer) -> int:
    """Tokens of one pass over the pairs in the trainer's own order and micro-batches, padding included."""
    lengths, size = trainer.train_dataset["length"], trainer.args.train_batch_size
    order = [lengths[index] for index in trainer._get_train_sampler()]
    pieces = (order[start : start + size] for start in range(0, len(order), size))
    return sum(2 * len(piece) * max(piece) for piece in pieces)


def settings_of(trial: Trial, kind: str, micro_batch: int, steps: int) -> RewardConfig:
    """TRL's settings for the same training: no dropout, no checkpointing of activations, nothing saved."""
    return RewardConfig(
        output_dir=str(trial.path(f"trl-{kind}")),
        per_device_train_batch_size=micro_batch,
        gradient_accumulation_steps=max(1, round(trial.step_judgments / micro_batch)),
        max_steps=steps,
        train_sampling_strategy=SAMPLING[kind],
        max_length=None,
        learning_rate=trial.lr,
        lr_scheduler_type="constant",
        max_grad_norm=1.0,
        bf16=trial.bfloat16,
        use_cpu=trial.device == "cpu",
        gradient_checkpointing=False,
        dataloader_num_workers=0,
        dataloader_pin_memory=trial.device == "cuda",
        remove_unused_columns=False,  # it would remove `length`, which the order is made from
        seed=trial.seed,
        logging_steps=100,
        disable_tqdm=True,
        save_strategy="no",
        report_to="none",
    )


def main() -> None:
    """Train until the parent has seen enough."""
    trial, kind, micro_batch = read_trial(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    steps = int(sys.argv[4]) if len(sys.argv) > 4 else ENDLESS
    if trial.threads:
        torch.set_num_threads(trial.threads)
    gate = Gate(trial.device)
    model = str(trial.path("model"))
    trainer = Trainer(
        model=AutoModelForSequenceClassification.from_pretrained(model, num_labels=1, dtype=torch.float32),
        args=settings_of(trial, kind, micro_batch, steps),
        train_dataset=load_from_disk(str(trial.path("ordered" if kind == "ordered" else "pairs"))),
        processing_class=AutoTokenizer.from_pretrained(model),
    )
    gate.answers["losses"] = lambda _: {"losses": trainer.losses}
    gate.answers["epoch"] = lambda _: {"tokens": epoch_tokens(trainer), "judgments": len(trainer.train_dataset)}
    run_largest(trainer)
    trainer.add_callback(Turns(gate, trainer))
    trainer.train()


if __name__ == "__main__":
    main()
