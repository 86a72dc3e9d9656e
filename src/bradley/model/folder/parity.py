"""The parity sample: a few real conversations in the card of a model, with token ids and scores.

Any copy of the model, in any library or server, can be held to the scores of training.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from ...common.seeds import generator
from ...data.chat_template import turn
from ...data.render import Rendered, Renderer
from ...data.truncate import excess_tokens
from ...losses import Targets
from ...records import Comparison, Message
from ..engine.batch import Batch
from ..reward import ScoreModel, compute_name
from .card import FLOAT32

SIZE = 8
"""Conversations of the sample."""
CANDIDATES = 64
"""Comparisons considered for the sample."""
LONGEST = 512
"""Most tokens of a conversation in the sample, unless all candidates are longer."""


class Conversation(NamedTuple):
    """A prompt with a response.

    Attributes:
        messages: turns for a chat template, the response last, with calls and reasoning as the template reads these.
            The role is `text` for plain text under `raw`, and `ids` for token ids.
        ids: token ids, as read in training.
        args: arguments of the chat template, `tools` among them.
    """

    messages: list[dict[str, Any]]
    ids: list[int]
    args: Mapping[str, Any] = MappingProxyType({})

    def to_row(self) -> dict[str, Any]:
        """Return plain values for a card."""
        row: dict[str, Any] = {"messages": self.messages, "ids": self.ids}
        return {**row, "args": dict(self.args)} if self.args else row


def draw(comparisons: Sequence[Comparison], renderer: Renderer, seed: int) -> list[Conversation]:
    """Draw about `SIZE` different conversations: mostly short, a long conversation, and several turns if possible.

    Conversations rendered differently by a plain tokenizer are left out: special tokens written out in a message.
    Conversations cut by a limit are left out too. Conversations with tools, template arguments, calls or reasoning are
    taken where there are no others. The sample may be empty.
    """
    # Few candidates: every candidate is rendered, and the data may have millions of rows.
    places = generator(seed, "parity").choice(len(comparisons), min(CANDIDATES, len(comparisons)), replace=False)
    rows = [comparisons[place] for place in sorted(places.tolist())]
    found = _drawn([row for row in rows if _is_plain(row)], renderer)
    return _choose(found or _drawn([row for row in rows if not _is_plain(row)], renderer))


def _drawn(rows: Sequence[Comparison], renderer: Renderer) -> list[Conversation]:
    """Render rows, and return the conversations fit for the sample, the shortest first."""
    # A row of training without a rendering was left out by `render.refused = "drop"`.
    outcomes = renderer.outcomes(rows)
    found = [
        conversation
        for row, outcome in zip(rows, outcomes, strict=True)
        if outcome.rendered is not None
        for conversation in _conversations(row, outcome.rendered, renderer)
    ]
    return sorted(found, key=lambda conversation: len(conversation.ids))


def measure(model: ScoreModel, sample: Sequence[Conversation]) -> dict[str, Any]:
    """Score the sample for the key `parity` of a card: as the model computes, and in float32 arithmetic.

    Other libraries can be held closely to float32 alone, because bfloat16 rounds differently in each of them. The model
    is left as before.
    """
    rows = [conversation.ids for conversation in sample]
    scores = score_ids(model, rows)
    with in_float32(model):
        exact = score_ids(model, rows)
    figures = zip(sample, scores, exact, strict=True)
    return {
        "compute": compute_name(model),
        "rows": [{**each.to_row(), "score": score, FLOAT32: plain} for each, score, plain in figures],
    }


def score_ids(model: ScoreModel, rows: Sequence[Sequence[int]]) -> list[float]:
    """Score rows of token ids in evaluation mode, as a single batch; the model is left as before."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            scores: list[float] = model(batch_of(rows).to(model.device)).tolist()
    finally:
        model.train(was_training)
    return scores


@contextlib.contextmanager
def in_float32(model: ScoreModel) -> Iterator[None]:
    """Let a model compute in float32 on its plain path, inside a `with` block."""
    compute, engine = model.compute, model.engine
    exact = contextlib.nullcontext() if compute == torch.float32 else _weights_in_float32(model)
    if compute != torch.float32:  # a float32 model keeps its engine, already held to `plain`
        model.compute = torch.float32
        model.use("plain")
    try:
        with exact:
            yield
    finally:
        model.compute = compute
        # Inside the block a caller may have chosen another engine, whatever the arithmetic.
        model.use(engine)


@contextlib.contextmanager
def _weights_in_float32(model: ScoreModel) -> Iterator[None]:
    """Give each module its weights in float32 for the time of a forward pass, inside a `with` block.

    A full model has float32 weights, and nothing changes. A model in shards gathers the weights of matrix products in
    bfloat16, and without autocast a product of both dtypes is an error.
    """
    given: dict[nn.Module, list[tuple[str, nn.Parameter, nn.Parameter]]] = {}

    def enter(module: nn.Module, _inputs: Any) -> None:
        for name, weight in list(module.named_parameters(recurse=False)):
            if weight.is_floating_point() and weight.dtype != torch.float32:
                exact = nn.Parameter(weight.detach().float(), requires_grad=False)
                given.setdefault(module, []).append((name, exact, weight))
                setattr(module, name, exact)

    def leave(module: nn.Module, _inputs: Any, _output: Any) -> None:
        for name, exact, weight in given.pop(module, []):
            # A layer that has gone back to its shards keeps the shards.
            if getattr(module, name) is exact:
                setattr(module, name, weight)

    hooks = [
        hook
        for module in model.modules()
        for hook in (module.register_forward_pre_hook(enter), module.register_forward_hook(leave, always_call=True))
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def batch_of(rows: Sequence[Sequence[int]]) -> Batch:
    """Build a batch from rows of token ids: comparisons of a single response, without shared prefix or judgment."""
    # Each row is an empty prefix and a response, as `collate` makes of a lone response.
    sizes = np.array([size for row in rows for size in (0, len(row))], dtype=np.int64)
    ends = np.concatenate([[0], np.cumsum(sizes)])
    numbers = np.arange(len(rows))
    no_ids, no_numbers = torch.zeros(0, dtype=torch.int64), torch.zeros(0)
    return Batch(
        tokens=torch.tensor([id for row in rows for id in row], dtype=torch.int64),
        positions=torch.from_numpy(np.concatenate([np.arange(len(row)) for row in rows])),
        segments=torch.from_numpy(ends),
        prefix=torch.from_numpy(2 * numbers),
        own=torch.from_numpy(2 * numbers + 1),
        last=torch.from_numpy(ends[2 * numbers + 2] - 1),
        targets=Targets(
            no_ids,
            no_ids,
            no_numbers,
            no_numbers,
            no_numbers,
            torch.from_numpy(numbers),
            torch.full((len(rows),), torch.nan),
        ),
    )


def conversation_ids(
    messages: Sequence[Mapping[str, Any]], renderer: Renderer, args: Mapping[str, Any] | None = None
) -> list[int]:
    """Return the token ids of a sample conversation, as read in training."""
    if messages[0]["role"] == "ids":
        return written_ids(messages)
    turns = tuple(Message(turn["role"], turn["content"], _extra(turn)) for turn in messages)
    return renderer.ids([renderer.text(turns[:-1], turns[-1:], args)])[0]


def row_ids(row: Mapping[str, Any], renderer: Renderer) -> list[int]:
    """Return the token ids of a row of a card's sample, as read in training."""
    return conversation_ids(row["messages"], renderer, row.get("args"))


def _extra(turn: Mapping[str, Any]) -> str:
    """Return the further keys of a turn as JSON, as in `Message.extra`."""
    more = {key: turn[key] for key in sorted(turn) if key not in ("role", "content")}
    return json.dumps(more, ensure_ascii=False) if more else ""


def written_ids(messages: Sequence[Mapping[str, Any]]) -> list[int]:
    """Return the token ids written out as numbers in turns of the role `ids`."""
    return [int(word) for turn in messages for word in turn["content"].split()]


def _is_plain(row: Comparison) -> bool:
    return not row.template_args and not any(m.extra for r in row.responses for m in (*row.prompt, *r.messages))


def _conversations(row: Comparison, rendered: Rendered, renderer: Renderer) -> Iterator[Conversation]:
    limits = renderer.settings
    # A plain tokenizer reads a written-out special token as the token itself, and would give other ids.
    if rendered.control_tokens:
        return
    prompt = [_turn(message, "user", renderer) for message in row.prompt]
    for response, ids, prompt_tokens in zip(row.responses, rendered.ids, rendered.prompt_tokens, strict=True):
        if ids and excess_tokens(len(ids), prompt_tokens, limits) <= 0:
            messages = [*prompt, *(_turn(message, "assistant", renderer) for message in response.messages)]
            # A template may write a whole turn out, key by key: only turns that are read back alike prove anything.
            told = row.template_args or any(len(each) > 2 for each in messages)
            if told and conversation_ids(messages, renderer, row.template_args) != ids:
                continue
            yield Conversation(messages, ids, row.template_args)


def _turn(message: Message, plain_role: str, renderer: Renderer) -> dict[str, Any]:
    """Return a turn as the chat template gets the turn; plain text gets the role given by the chat template."""
    named = message.role != "text" or renderer.template is None
    extra = json.loads(message.extra) if message.extra else {}
    return turn(message.role if named else plain_role, message.content, extra)


def _choose(by_length: Sequence[Conversation]) -> list[Conversation]:
    # Long conversations would make the card large and each check slow.
    fitting = [each for each in by_length if len(each.ids) <= LONGEST] or by_length[:1]
    several = [each for each in fitting if sum(turn["role"] == "user" for turn in each.messages) > 1]
    # A long row shows faults of positions, several turns show pooling at an earlier end token. A dict drops duplicates.
    wanted = {tuple(each.ids): each for each in (*fitting[-1:], *several[:1], *fitting)}
    return sorted(list(wanted.values())[:SIZE], key=lambda each: len(each.ids))
