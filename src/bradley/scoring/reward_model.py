"""Trained reward models in Python: scores of conversations, a ranking of responses, rewards for a trainer."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from ..common.text import quoted
from ..data.rows import Row, RowPlace
from ..errors import DataError, UserError
from ..model.folder.save_load import load_model
from ..records import Candidates
from .rows import parse
from .scorer import Scored, Scorer

Conversation = Sequence[dict[str, Any]]
Text = str | Sequence[dict[str, Any]]
"""Plain text, or messages `{"role": ..., "content": ...}`."""
RewardFunc = Callable[..., list[float]]
HINT = 'give over_long="truncate_response" to RewardModel.from_pretrained, or leave it out'
ALSO_READ = ("tools", "chat_template_kwargs")
"""Columns of a trainer's data set read by chat templates."""


class RewardModel:
    """Reward model loaded from a model folder, with the chat template and the dtype of training.

    Example:
        model = bradley.RewardModel.from_pretrained("runs/x/model")
        model.score([[{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]])
        model.rank("2 + 2?", ["5", "4"])

    A score depends on the conversation alone, not on other conversations in the call. A prompt shared by several
    conversations is computed once.
    """

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        device: str = "cpu",
        *,
        over_long: str = "",
        token_budget: int = 0,
        normalize: bool = False,
        trust_remote_code: bool = False,
        base: str = "",
        accept_edits: bool = False,
    ) -> Self:
        """Load a model folder onto a device.

        Args:
            folder: model folder, such as `runs/x/model`.
            device: device of the model, such as `cpu` or `cuda`.
            over_long: policy for conversations above the model's token limit. `error` raises. `truncate_prompt`
                removes the oldest tokens of the prompt; `truncate_response` then also the oldest tokens of the
                response. "" is the policy of the model's evaluation.
            token_budget: maximum tokens per micro-batch (0: suitable for the device).
            normalize: return (score - mean) / std over the reference set named by the folder.
            trust_remote_code: run the model code in the folder.
            base: folder or Hub name of an adapter's base model, if the base model has moved since the run.
            accept_edits: load a folder with files edited since saving, and log their names.

        Raises:
            CheckpointError: an unusable folder, `normalize` without a reference set, or `base` without an adapter.
            UserError: unknown `over_long`.
        """
        loaded = load_model(
            Path(folder), device, trust_remote_code=trust_remote_code, base=base, accept_edits=accept_edits
        )
        return cls(Scorer(loaded, over_long, token_budget, normalize))

    def score(self, conversations: Sequence[Conversation]) -> list[float]:
        """Score conversations.

        Args:
            conversations: lists of messages `{"role": ..., "content": ...}`, the last from the assistant.

        Returns:
            A score for each conversation; no conversation is left out.

        Raises:
            DataError: a conversation cannot be scored; the message gives the conversation's number from 1.
        """
        return self._of_rows([{"messages": list(messages)} for messages in conversations])

    def rank(self, prompt: Text, responses: Sequence[Text]) -> list[tuple[int, float]]:
        """Rank responses to a prompt, the best first; raises as `score`.

        Args:
            prompt: text or messages.
            responses: texts or messages.

        Returns:
            (index from 0, score) of each response; equal scores keep the given order.

        Raises:
            UserError: a text in place of the responses.
        """
        if isinstance(responses, str):
            # A text is a sequence of characters, and each would be ranked as a response.
            raise UserError(f"responses is a text, {quoted(responses)}, wanted a list", "give rank(prompt, [response])")
        row = {"prompt": _plain(prompt), "responses": [_plain(response) for response in responses]}
        (scores,) = self._results([_candidates(row, 1)])
        return sorted(enumerate(scores), key=lambda one: -one[1])

    def as_reward_func(self, name: str = "bradley") -> RewardFunc:
        """Make a function for TRL's `reward_funcs`: `(prompts, completions, **columns) -> rewards`.

        Prompts and completions are texts or messages. Among the other columns, `tools` and `chat_template_kwargs` reach
        the chat template.

        Args:
            name: name of the rewards in TRL's logs.
        """

        def rewards(prompts: Sequence[Text], completions: Sequence[Text], **columns: Any) -> list[float]:
            also = {key: columns[key] for key in ALSO_READ if columns.get(key)}
            return self._of_rows(
                [
                    {
                        "prompt": _plain(prompt),
                        "response": _plain(completion),
                        **{key: values[place] for key, values in also.items()},
                    }
                    for place, (prompt, completion) in enumerate(zip(prompts, completions, strict=True))
                ]
            )

        # TRL logs a reward function under its `__name__`.
        rewards.__name__ = name
        return rewards

    def _of_rows(self, rows: Sequence[Row]) -> list[float]:
        """Score rows of a single response; rows with equal prompts go through the model together."""
        each = [_candidates(row, number) for number, row in enumerate(rows, start=1)]
        # Template arguments are dicts, which cannot be part of a key; their `repr` can.
        groups: dict[str, list[int]] = {}
        for place, row in enumerate(each):
            groups.setdefault(repr((row.prompt, row.template_args)), []).append(place)
        found = self._results([_together([each[place] for place in places]) for places in groups.values()])
        scores = [0.0] * len(rows)
        for places, result in zip(groups.values(), found, strict=True):
            for place, score in zip(places, result, strict=True):
                scores[place] = score
        return scores

    def _results(self, rows: Sequence[Candidates]) -> list[list[float]]:
        """Scores of all responses of each row; raises if any score is missing."""
        return [_whole(row, result) for row, result in zip(rows, self._scorer(rows), strict=True)]


def _plain(value: Text) -> str | list[dict[str, Any]]:
    return value if isinstance(value, str) else list(value)


def _candidates(row: Row, number: int) -> Candidates:
    """Parse conversation `number`, or raise `DataError`."""
    parsed = parse(row, RowPlace("conversations", "", number))
    if isinstance(parsed, str) or parsed.gaps:
        reason = parsed if isinstance(parsed, str) else next(iter(parsed.gaps.values()))
        raise DataError(f"conversation {number} cannot be scored: {reason}", "correct it")
    return replace(parsed.candidates, id=f"conversation {number}")


def _whole(row: Candidates, found: Scored | str) -> list[float]:
    """Return all scores of a row, or raise `DataError` naming the first conversation without a score."""
    if isinstance(found, str):
        raise DataError(f"{row.id} cannot be scored: {found}", HINT)
    if None in found.scores:
        # The id of merged candidates lists a name for each response, see `_together`.
        names, place = row.id.split(", "), found.scores.index(None)
        name = names[place] if len(names) > 1 else f"response {place}"
        raise DataError(f"{name} cannot be scored: {found.error}", HINT)
    return [score for score in found.scores if score is not None]


def _together(rows: Sequence[Candidates]) -> Candidates:
    """Merge candidates of the same prompt; the new id lists the ids of all."""
    names = ", ".join(row.id for row in rows)
    return replace(rows[0], id=names, responses=tuple(response for row in rows for response in row.responses))
