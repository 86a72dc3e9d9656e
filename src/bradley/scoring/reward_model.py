"""A trained reward model in Python: scores for conversations, an order for responses, rewards for a trainer."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from ..data.rows import Row, RowPlace
from ..errors import DataError
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
"""Columns of a trainer's data set that chat templates read."""


class RewardModel:
    """A model folder, loaded to score: with its own template, in the dtype of training, prompts that repeat read once.

        model = RewardModel.from_pretrained("runs/x/model")
        model.score([[{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]])
        model.rank("2 + 2?", ["5", "4"])

    A score depends on its conversation alone, not on what else is scored with it.
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
    ) -> Self:
        """Load a model folder onto a device.

        Args:
            over_long: what happens to conversations above the model's limit: `error`; `truncate_prompt`, the oldest
                tokens of the prompt go; or `truncate_response`, then those of the response too. "" for what the model
                was evaluated with.
            token_budget: most tokens at once (0: what suits the device).
            normalize: give scores in the unit of the reference set that the folder names.
            trust_remote_code: run code that comes with the model.
            base: where the base model of an adapter is, if no longer where the run found it.

        Raises:
            CheckpointError: a folder that cannot score, has no unit for `normalize`, or no need of `base`.
            UserError: no such `over_long`.
        """
        loaded = load_model(Path(folder), device, trust_remote_code=trust_remote_code, base=base)
        return cls(Scorer(loaded, over_long, token_budget, normalize))

    def score(self, conversations: Sequence[Conversation]) -> list[float]:
        """The score of each conversation, a list of messages `{"role": ..., "content": ...}` that the assistant ends.

        Raises:
            DataError: a conversation that cannot be scored, by its number from 1; none is left out.
        """
        return self._of_rows([{"messages": list(messages)} for messages in conversations])

    def rank(self, prompt: Text, responses: Sequence[Text]) -> list[tuple[int, float]]:
        """(index, score) of responses to one prompt, the best first; equal ones in the order given. Raises as `score`.

        Args:
            responses: texts or messages; the index counts them from 0.
        """
        row = {"prompt": _plain(prompt), "responses": [_plain(response) for response in responses]}
        (scores,) = self._results([_candidates(row, 1)])
        return sorted(enumerate(scores), key=lambda one: -one[1])

    def as_reward_func(self, name: str = "bradley") -> RewardFunc:
        """A function for TRL's `reward_funcs`: `(prompts, completions, **columns) -> rewards`.

        Prompts and completions are texts or messages; of the other columns `tools` and `chat_template_kwargs` are read.

        Args:
            name: under which TRL logs the rewards.
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

        rewards.__name__ = name
        return rewards

    def _of_rows(self, rows: Sequence[Row]) -> list[float]:
        """One score for each row of one response; rows with the same prompt go through the model together."""
        each = [_candidates(row, number) for number, row in enumerate(rows, start=1)]
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
        """The scores of each row, all of them."""
        return [_whole(row, result) for row, result in zip(rows, self._scorer(rows), strict=True)]


def _plain(value: Text) -> str | list[dict[str, Any]]:
    return value if isinstance(value, str) else list(value)


def _candidates(row: Row, number: int) -> Candidates:
    parsed = parse(row, RowPlace("conversations", "", number))
    if isinstance(parsed, str):
        raise DataError(f"conversation {number} cannot be scored: {parsed}", "correct it")
    return replace(parsed.candidates, id=f"conversation {number}")


def _whole(row: Candidates, found: Scored | str) -> list[float]:
    if isinstance(found, str):
        raise DataError(f"{row.id} cannot be scored: {found}", HINT)
    if None in found.scores:
        names, place = row.id.split(", "), found.scores.index(None)
        name = names[place] if len(names) > 1 else f"response {place}"
        raise DataError(f"{name} cannot be scored: {found.error}", HINT)
    return [score for score in found.scores if score is not None]


def _together(rows: Sequence[Candidates]) -> Candidates:
    """Candidates of one prompt as one, called by all their names."""
    names = ", ".join(row.id for row in rows)
    return replace(rows[0], id=names, responses=tuple(response for row in rows for response in row.responses))
