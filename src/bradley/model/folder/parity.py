"""The parity sample: a few real conversations, kept in the card with their ids and scores, so that any copy of a model,
in any library or server, can be held to what was trained.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from ...common.seeds import generator
from ...data.render import Rendered, Renderer
from ...losses import Targets
from ...records import Comparison, Message
from ..engine.batch import Batch
from ..reward import ScoreModel, compute_name
from .card import FLOAT32

SIZE = 8
CANDIDATES = 64
"""Comparisons that are looked at for the sample."""
LONGEST = 512
"""Most tokens of a conversation in the sample, as long as there is a shorter one."""


class Conversation(NamedTuple):
    """A prompt with one response.

    Attributes:
        messages: turns as a chat template wants them, the response last. Of plain text under `raw` the role is `text`,
            of token ids it is `ids`.
        ids: the token ids that training reads.
    """

    messages: list[dict[str, str]]
    ids: list[int]


def draw(comparisons: Sequence[Comparison], renderer: Renderer, seed: int) -> list[Conversation]:
    """About `SIZE` different conversations of `comparisons`: mostly short, one long, one of several turns if there is.

    Left out are those that no call of a plain tokenizer renders alike (tools and template arguments, special tokens
    written out in a message) and those that a limit cuts; so there may be none.
    """
    places = generator(seed, "parity").choice(len(comparisons), min(CANDIDATES, len(comparisons)), replace=False)
    rows = [row for row in (comparisons[place] for place in sorted(places.tolist())) if _is_plain(row)]
    rendered = renderer.comparisons(rows)
    found = [each for row, ids in zip(rows, rendered, strict=True) for each in _conversations(row, ids, renderer)]
    return _choose(sorted(found, key=lambda conversation: len(conversation.ids)))


def _is_plain(row: Comparison) -> bool:
    return not row.template_args and not any(m.extra for r in row.responses for m in (*row.prompt, *r.messages))


def _conversations(row: Comparison, rendered: Rendered, renderer: Renderer) -> Iterator[Conversation]:
    limits = renderer.settings
    if rendered.control_tokens or 0 < limits.max_prompt_tokens < rendered.prompt_tokens:
        return
    prompt = [_turn(message, "user", renderer) for message in row.prompt]
    for response, ids in zip(row.responses, rendered.ids, strict=True):
        if 0 < len(ids) <= limits.max_tokens:
            yield Conversation([*prompt, *(_turn(m, "assistant", renderer) for m in response.messages)], ids)


def _turn(message: Message, plain_role: str, renderer: Renderer) -> dict[str, str]:
    """A turn as JSON; plain text has the role that a chat template reads it as."""
    named = message.role != "text" or renderer.template is None
    return {"role": message.role if named else plain_role, "content": message.content}


def conversation_ids(messages: Sequence[dict[str, str]], renderer: Renderer) -> list[int]:
    """The token ids that training reads of a conversation of the sample."""
    if messages[0]["role"] == "ids":
        return written_ids(messages)
    turns = tuple(Message(turn["role"], turn["content"]) for turn in messages)
    return renderer.ids([renderer.text(turns[:-1], turns[-1:])])[0]


def written_ids(messages: Sequence[dict[str, str]]) -> list[int]:
    """The token ids that turns of the role `ids` write out as numbers."""
    return [int(word) for turn in messages for word in turn["content"].split()]


def _choose(by_length: Sequence[Conversation]) -> list[Conversation]:
    fitting = [each for each in by_length if len(each.ids) <= LONGEST] or by_length[:1]
    several = [each for each in fitting if sum(turn["role"] == "user" for turn in each.messages) > 1]
    wanted = {tuple(each.ids): each for each in (*fitting[-1:], *several[:1], *fitting)}
    return sorted(list(wanted.values())[:SIZE], key=lambda each: len(each.ids))


def measure(model: ScoreModel, sample: Sequence[Conversation]) -> dict[str, Any]:
    """What a card says in `parity`: each conversation with its score as the model computes, and in float32 arithmetic.

    The second is what other libraries can be held to closely: bfloat16 rounds otherwise in each of them. The model is
    left as it was.
    """
    rows = [conversation.ids for conversation in sample]
    scores = score_ids(model, rows)
    with in_float32(model):
        exact = score_ids(model, rows)
    figures = zip(sample, scores, exact, strict=True)
    return {
        "compute": compute_name(model),
        "rows": [{**each._asdict(), "score": score, FLOAT32: plain} for each, score, plain in figures],
    }


def score_ids(model: ScoreModel, rows: Sequence[Sequence[int]]) -> list[float]:
    """The scores of rows of token ids, in evaluation mode, as one batch; the model is left as it was."""
    was_training = model.training
    model.eval()
    with torch.no_grad():
        scores: list[float] = model(batch_of(rows).to(model.device)).tolist()
    model.train(was_training)
    return scores


@contextlib.contextmanager
def in_float32(model: ScoreModel) -> Iterator[None]:
    """Let a model compute in float32 on its plain path for a while."""
    compute, engine = model.compute, model.engine
    if compute != torch.float32:  # else its own engine is held to float32 already
        model.compute = torch.float32
        model.use("plain")
    try:
        yield
    finally:
        model.compute = compute
        model.use(engine)


def batch_of(rows: Sequence[Sequence[int]]) -> Batch:
    """Rows of token ids as a batch of comparisons of one response each, which share nothing and judge nothing."""
    sizes = np.array([size for row in rows for size in (0, len(row))], dtype=np.int64)
    ends = np.concatenate([[0], np.cumsum(sizes)])
    numbers = np.arange(len(rows))
    none, some = torch.zeros(0, dtype=torch.int64), torch.zeros(0)
    return Batch(
        tokens=torch.tensor([id for row in rows for id in row], dtype=torch.int64),
        positions=torch.from_numpy(np.concatenate([np.arange(len(row)) for row in rows])),
        segments=torch.from_numpy(ends),
        prefix=torch.from_numpy(2 * numbers),
        own=torch.from_numpy(2 * numbers + 1),
        last=torch.from_numpy(ends[2 * numbers + 2] - 1),
        targets=Targets(none, none, some, some, some, torch.from_numpy(numbers), torch.full((len(rows),), torch.nan)),
    )
