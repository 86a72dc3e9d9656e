"""Rewards that TRL's trainers compute with a model folder: GRPO, RLOO and online DPO, each for a whole step.

A trainer computes its rewards as always, for a tiny policy. The completions alone are given and not drawn: the ids that
generation returns are those of the wanted texts.
"""

import json
import tempfile
from collections.abc import Callable, Iterator
from itertools import cycle
from typing import Any

import torch
from client_tokenizers import llama_tokenizer

Turns = list[dict[str, str]]
DRAWS = 2
"""Completions for each prompt of a batch, the least that the trainers take."""
METHODS = ("GRPO", "RLOO", "online DPO")


class Completions:
    """Completions in place of generation, by prompt.

    Args:
        tokenizer: tokenizer of the policy.
        rows: prompt and completion of each conversation: messages and messages, or text and text.
    """

    def __init__(self, tokenizer: Any, rows: list[tuple[Any, Any]]) -> None:
        self.tokenizer = tokenizer
        grouped: dict[str, list[list[int]]] = {}
        for prompt, completion in rows:
            text = completion if isinstance(completion, str) else completion[0]["content"]
            ids = [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
            grouped.setdefault(key_of(prompt), []).append(ids)
        # A batch asks for a prompt more often than the prompt has completions, so that every completion is given.
        self.ids = {key: cycle(completions) for key, completions in grouped.items()}

    def of(self, prompts: list[Any]) -> list[list[int]]:
        """Return the ids of the next completion of each prompt."""
        return [next(self.ids[key_of(prompt)]) for prompt in prompts]


def key_of(*parts: Any) -> str:
    """Return a text that tells prompts, or prompts with completions, from each other."""
    return json.dumps(parts, ensure_ascii=False)


def watched(method: str, given: Completions) -> tuple[Any, dict[str, float]]:
    """Make a trainer class with given completions, and a mapping that its rewards are written to."""
    rewards: dict[str, float] = {}
    if method == "online DPO":
        from trl.experimental.online_dpo import OnlineDPOTrainer

        class Online(OnlineDPOTrainer):
            """Online DPO with given completions."""

            def _generate(self, model: Any, prompts: list[Any], images: Any = None) -> Any:
                pad = given.tokenizer.pad_token_id
                wanted = given.of(2 * prompts)
                before = torch.tensor([[pad, 1]] * len(wanted))
                return before, (before != pad).long(), *padded(wanted, pad), None

            def _calculate_rewards_from_functions(self, prompts: Any, completions: Any, *rest: Any, **more: Any) -> Any:
                found = super()._calculate_rewards_from_functions(prompts, completions, *rest, **more)
                rewards.update(zip(map(key_of, prompts, completions), found.tolist(), strict=True))
                return found

        return Online, rewards
    import trl

    class Watched(getattr(trl, f"{method}Trainer")):
        """GRPO or RLOO with given completions."""

        def _generate(self, prompts: list[Any]) -> Any:
            self.wanted = given.of(prompts)
            return super()._generate(prompts)

        def _generate_single_turn(self, *_: Any, **__: Any) -> Any:
            # GRPO asks for log-probabilities too, and computes them itself without an answer.
            return (self.wanted, None) if method == "GRPO" else self.wanted

        def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, ids: Any) -> Any:
            found = super()._calculate_rewards(inputs, prompts, completions, ids)
            rewards.update(zip(map(key_of, prompts, completions), found[:, 0].tolist(), strict=True))
            return found

    return Watched, rewards


def padded(rows: list[list[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad ids on the right; return ids and mask."""
    longest = max(map(len, rows))
    ids = torch.tensor([row + [pad] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    return ids, mask


def policy(tokenizer: Any, folder: str) -> Any:
    """Make a tiny policy, kept in a folder: RLOO loads its reference model from there."""
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(folder)
    return LlamaForCausalLM.from_pretrained(folder)


def rewards_of(method: str, reward: Any, rows: list[tuple[Any, Any]], bf16: bool = False) -> list[float]:
    """Train a policy for a step, and return the reward that the trainer computed for each row.

    Args:
        method: one of `METHODS`.
        reward: function, or name of a folder.
        rows: prompt and completion of each conversation.
        bf16: the setting of the trainer, which is on unless somebody sets it.
    """
    from datasets import Dataset

    tokenizer = llama_tokenizer()
    tokenizer.add_special_tokens({"pad_token": "<pad>"})
    trainer_class, found = watched(method, Completions(tokenizer, rows))
    size = len(rows) * (1 if method == "online DPO" else DRAWS)
    with tempfile.TemporaryDirectory() as place:
        args = config_of(method)(
            output_dir=place,
            per_device_train_batch_size=size,
            max_steps=1,
            bf16=bf16,
            use_cpu=True,
            report_to="none",
            save_strategy="no",
            gradient_checkpointing=False,
            disable_tqdm=True,
            **({} if method == "online DPO" else {"num_generations": DRAWS}),
        )
        trainer_class(
            model=policy(tokenizer, place),
            reward_funcs=reward,
            args=args,
            train_dataset=Dataset.from_list([{"prompt": prompt} for prompt, _ in rows]),
            processing_class=tokenizer,
        ).train()
    return [found[key_of(prompt, completion)] for prompt, completion in rows]


def config_of(method: str) -> Any:
    """Return the class of a trainer's settings."""
    if method == "online DPO":
        from trl.experimental.online_dpo import OnlineDPOConfig

        return OnlineDPOConfig
    import trl

    return getattr(trl, f"{method}Config")


def trl_ways(
    folder: str, conversations: list[Turns], options: dict[str, Any]
) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield ways through TRL's trainers: by function and by the name of the folder, messages and plain texts.

    Plain texts ask the two-turn conversations alone.
    """
    import bradley

    model = bradley.RewardModel.from_pretrained(folder)
    messages = [(turns[:-1], turns[-1:]) for turns in conversations]
    texts = [(turns[0]["content"], turns[1]["content"]) for turns in conversations if len(turns) == 2]
    for method in METHODS:
        yield f"{method} function", lambda m=method: rewards_of(m, model.as_reward_func(), messages)
        yield f"{method} function pairs", lambda m=method: rewards_of(m, model.as_reward_func(), texts)
        yield f"{method} name", lambda m=method: rewards_of(m, folder, messages)
        yield f"{method} name pairs", lambda m=method: rewards_of(m, folder, texts)
        yield f"{method} name, bf16 as set by TRL", lambda m=method: rewards_of(m, folder, messages, bf16=True)
