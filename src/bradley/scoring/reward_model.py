"""Trained reward models in Python: scores of conversations, a ranking of responses, rewards for a trainer."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from ..common.text import quoted
from ..data.rows import Row, RowPlace
from ..data.truncate import kind_of
from ..errors import DataError, UserError
from ..model.folder.save_load import Assumed, Loaded, load_model
from ..records import Candidates, Comparison, ScoredComparison
from .kinds import REFUSED
from .rows import RESPONSE_IDS, parse
from .scorer import LONGER_HINT, Scored, Scorer, sigmoid

log = logging.getLogger("bradley")
Found = TypeVar("Found", float, Candidates)
Conversation = Sequence[dict[str, Any]] | Sequence[int] | Mapping[str, Any]
"""Messages, token ids, or a row of a single response, such as `{"prompt": "...", "response": "..."}`."""
Text = str | Sequence[dict[str, Any]] | Sequence[int]
"""Plain text, messages `{"role": ..., "content": ...}`, or token ids."""
RewardFunc = Callable[..., list[float | None]]
FAULTY = ("error", "none")
"""Policies for a completion without a possible score."""
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

    @property
    def scorer(self) -> Scorer:
        """Scorer of the model, with the options of loading."""
        return self._scorer

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        device: str = "cpu",
        *,
        over_long: Literal["", "error", "truncate_prompt", "truncate_response"] = "",
        token_budget: int = 0,
        normalize: bool = False,
        trust_remote_code: bool = False,
        base: str = "",
        accept_edits: bool = False,
        template: str = "",
        pooling: str = "",
        pad: str = "",
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
            template, pooling, pad: of a model of another trainer, see `other_trainers.Assumed`; what is assumed is
                logged.

        Raises:
            CheckpointError: an unusable folder, `normalize` without a reference set, or `base` without an adapter.
            UserError: unknown `over_long`.
        """
        loaded = load_model(
            Path(folder),
            device,
            trust_remote_code=trust_remote_code,
            base=base,
            accept_edits=accept_edits,
            assumed=Assumed(template, pooling, pad),
        )
        return cls(Scorer(loaded, over_long, token_budget, normalize))

    def score(self, conversations: Sequence[Conversation]) -> list[float]:
        """Score conversations, each in a kind that the model was trained on, see `kinds`.

        Args:
            conversations: lists of messages `{"role": ..., "content": ...}`, the last from the assistant. Or rows of a
                single response, as `bradley score` reads them: plain text, and messages with `tools` or
                `chat_template_kwargs`. Or lists of token ids.

        Returns:
            A score for each conversation; no conversation is left out.

        Raises:
            DataError: a conversation cannot be scored; the message gives the conversation's number from 1.
        """
        if isinstance(conversations, str | Mapping):
            what = "a text" if isinstance(conversations, str) else "a row"
            raise UserError(f"conversations is {what}, wanted a list", "give score([conversation])")
        if conversations and all(isinstance(turn, Mapping) and "role" in turn for turn in conversations):
            raise UserError("conversations is one conversation, wanted a list of them", "give score([conversation])")
        return self._of_rows([_row(conversation) for conversation in conversations])

    def probability(self, a: Conversation, b: Conversation) -> float:
        """Probability that conversation `a` is better than `b`, under the temperature saved with the model.

        The probability is sigmoid(scale * (score of a - score of b)), scale = beta / temperature. Swapping the two
        gives 1 minus the probability.

        Raises:
            CheckpointError: no temperature was fitted: `bradley calibrate`.
            DataError: as `score`.

        Example:
            model.probability({"prompt": "2 + 2?", "response": "4"}, {"prompt": "2 + 2?", "response": "5"})  # 0.93
        """
        scale = self._scorer.scale
        better, worse = self.score([a, b])
        return sigmoid(scale * (better - worse))

    def rank(
        self,
        prompt: Text,
        responses: Sequence[Text],
        *,
        tools: Sequence[dict[str, Any]] | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ) -> list[tuple[int, float]]:
        """Rank responses to a prompt, the best first; raises as `score`.

        Args:
            prompt: text, messages or token ids.
            responses: texts, messages or lists of token ids.
            tools: JSON schemas, for the chat template.
            chat_template_kwargs: further arguments for the chat template.

        Returns:
            (index from 0, score) of each response; equal scores keep the given order.

        Raises:
            UserError: a text in place of the responses.
        """
        if isinstance(responses, str):
            # A text is a sequence of characters, and each would be ranked as a response.
            raise UserError(f"responses is a text, {quoted(responses)}, wanted a list", "give rank(prompt, [response])")
        also = {
            "tools": tools and list(tools),
            "chat_template_kwargs": chat_template_kwargs and dict(chat_template_kwargs),
        }
        row = _sure(_alternatives(_plain(prompt), [_plain(one) for one in responses], also))
        (found,) = self._scorer([row])
        names = [f"response {place}" for place in range(len(responses))]
        if isinstance(found, str):
            names = ["conversation 1"] * len(responses)
        scores = [_sure(self._score(found, place, name)) for place, name in enumerate(names)]
        return sorted(enumerate(scores), key=lambda one: -one[1])

    def as_reward_func(self, name: str = "bradley", faulty: Literal["error", "none"] = "error") -> RewardFunc:
        """Make a function for TRL's `reward_funcs`: `(prompts, completions, **columns) -> rewards`.

        Prompts and completions are texts or messages. Among the other columns, `tools` and `chat_template_kwargs` reach
        the chat template.

        Args:
            name: name of the rewards in TRL's logs.
            faulty: policy for a completion that cannot be scored, such as an over-long one. `error` raises, and ends
                the trainer. `none` gives None and logs the reason; TRL leaves such a completion out of the rewards.

        Raises:
            UserError: unknown `faulty`.
        """
        if faulty not in FAULTY:
            raise UserError(f"faulty = {faulty!r} is unknown", f"give one of {', '.join(FAULTY)}")

        def rewards(prompts: Sequence[Text], completions: Sequence[Text], **columns: Any) -> list[float | None]:
            also = {key: columns[key] for key in ALSO_READ if columns.get(key)}
            rows = [
                {
                    "prompt": _plain(prompt),
                    "response": _plain(completion),
                    **{key: values[place] for key, values in also.items()},
                }
                for place, (prompt, completion) in enumerate(zip(prompts, completions, strict=True))
            ]
            return _without_faults(self._each(rows), name) if faulty == "none" else list(self._of_rows(rows))

        # TRL logs a reward function under its `__name__`.
        rewards.__name__ = name
        return rewards

    def _of_rows(self, rows: Sequence[Row]) -> list[float]:
        """Score rows of a single response; raises for the first row without a score."""
        return [_sure(found) for found in self._each(rows)]

    def _each(self, rows: Sequence[Row]) -> list[float | DataError]:
        """Score rows of a single response, or say for a row why there is no score.

        Rows with equal prompts go through the model together.
        """
        scores: dict[int, float | DataError] = {}
        groups: dict[str, list[tuple[int, Candidates]]] = {}
        for number, given in enumerate(rows, start=1):
            row = _candidates(given, number)
            if isinstance(row, DataError):
                scores[number] = row
            else:
                # Template arguments are dicts, which cannot be part of a key; their `repr` can.
                key = repr((kind_of(row), row.prompt, row.template_args))
                groups.setdefault(key, []).append((number, row))
        found = self._scorer([_together([row for _, row in group]) for group in groups.values()])
        for group, result in zip(groups.values(), found, strict=True):
            for place, (number, _) in enumerate(group):
                scores[number] = self._score(result, place, f"conversation {number}")
        return [scores[number] for number in sorted(scores)]

    def _score(self, found: Scored | str, place: int, name: str) -> float | DataError:
        """Return the score of a row's response at a place, or the error."""
        reason = found if isinstance(found, str) else found.error
        score = None if isinstance(found, str) else found.scores[place]
        if score is not None:
            return score
        hint = self._scorer.kinds.advice if reason.startswith(f"{REFUSED}:") else LONGER_HINT
        return DataError(f"{name} cannot be scored: {reason}", hint)


def score_comparisons(
    model: Loaded | RewardModel | Path | str,
    comparisons: Sequence[Comparison],
    token_budget: int = 0,
    device: str = "cpu",
    *,
    normalize: bool = False,
) -> list[ScoredComparison]:
    """Score comparisons with a model folder or a loaded model; no comparison is dropped.

    Each response is scored on its own conversation, as by `RewardModel.score`, whatever its rivals are. Responses with
    equal token ids get one score. Rows of another kind than the training rows are read as given, and logged: a
    comparison names the role of every turn.

    Example:
        rows = [{"prompt": "2 + 2?", "chosen": "4", "rejected": "5"}]
        scored = bradley.score_comparisons("runs/x/model", list(bradley.to_comparisons(rows)))
        print(scored[0].scores)

    Args:
        model: model folder, the result of `load_model`, or a `RewardModel` with its own options of scoring.
        comparisons: comparisons to score.
        token_budget: maximum tokens per micro-batch (0: the option of the `RewardModel`, or suitable for the device).
        device: device for loading a model folder, such as `cpu` or `cuda`; unused for a loaded model.
        normalize: return (score - mean) / std instead of the score, with mean and standard deviation over the
            reference set named by the model folder.

    Returns:
        A scored comparison for each comparison, in the given order.

    Raises:
        CheckpointError: an unusable model folder, see `load_model`, a score that is not a finite number, or `normalize`
            for a model without reference set.
        DataError: a response longer than the model's limit, or a comparison above the budget.
    """
    if isinstance(model, RewardModel):
        scorer = model.scorer
    else:
        scorer = Scorer(load_model(Path(model), device) if isinstance(model, (str, Path)) else model)
    return scorer.comparisons(comparisons, token_budget, normalize)


def _plain(value: Text) -> str | list[Any]:
    return value if isinstance(value, str) else list(value)


def _is_ids(value: Any) -> bool:
    """Return True for a list of token ids."""
    return isinstance(value, list) and bool(value) and all(isinstance(id, int) for id in value)


def _row(conversation: Conversation) -> Row:
    """Return the row of a conversation."""
    if isinstance(conversation, Mapping):
        return dict(conversation)
    given = _plain(conversation)
    if isinstance(given, str):
        # A text is a sequence of characters, and says not where its response begins.
        return {"messages": given}
    return {RESPONSE_IDS: given} if _is_ids(given) else {"messages": given}


def _alternatives(prompt: Any, responses: list[Any], also: Row) -> Candidates | DataError:
    """Parse a prompt and several responses."""
    if not responses or not any(map(_is_ids, (prompt, *responses))):
        return _candidates({"prompt": prompt, "responses": responses, **also}, 1)
    rows = [_candidates({"prompt_ids": prompt or None, RESPONSE_IDS: response}, 1) for response in responses]
    fault = next((row for row in rows if isinstance(row, DataError)), None)
    return fault or _together([row for row in rows if not isinstance(row, DataError)])


def _candidates(row: Row, number: int) -> Candidates | DataError:
    """Parse conversation `number`; a conversation that cannot be scored gives the error."""
    parsed = parse(row, RowPlace("conversations", "", number))
    if isinstance(parsed, str) or parsed.gaps:
        reason = parsed if isinstance(parsed, str) else next(iter(parsed.gaps.values()))
        return DataError(f"conversation {number} cannot be scored: {reason}", "correct it")
    return replace(parsed.candidates, id=f"conversation {number}")


def _sure(found: Found | DataError) -> Found:
    """Return what was found, or raise the error."""
    if isinstance(found, DataError):
        raise found
    return found


def _without_faults(scores: Sequence[float | DataError], name: str) -> list[float | None]:
    """Return None in place of an error, and log the number of errors with the first one."""
    faults = [found for found in scores if isinstance(found, DataError)]
    if faults:
        log.warning("%s: %d of %d completions have no reward: %s", name, len(faults), len(scores), faults[0].message)
    return [None if isinstance(found, DataError) else found for found in scores]


def _together(rows: Sequence[Candidates]) -> Candidates:
    """Merge candidates of the same prompt."""
    responses = tuple(response for row in rows for response in row.responses)
    return replace(rows[0], responses=responses)
