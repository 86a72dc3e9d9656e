"""Probes of the way from text to pooled token: ends of responses, the pooled token, one template for every set."""

import re
from collections.abc import Sequence

import numpy as np
import torch

from ..data.render import Renderer
from ..data.token_store import TokenStore, build_store
from ..model.folder.card import FLOAT32
from ..model.folder.parity import in_float32
from ..model.folder.tolerance import Check, compare
from ..model.reward import ScoreModel
from ..records import Comparison, Response
from ..scoring.core import score_store
from .results import Advice, ProbeResult, found

TAIL_WORDS, TAIL_CHARACTERS = 5, 40
"""End of a response looked for in the decoded text."""
TAIL_TOKENS = 8
"""Tokens at the end of a rendering that no limit may touch."""
SHOWN = 2
"""Different pooled tokens shown."""
ENDS = Advice(
    "ends of responses",
    "texts are cut on the right, or the template leaves the end of a response out",
    "use a render.template that writes the whole response; bradley's limits cut the oldest tokens, never the end",
)
POOLED = Advice(
    "pooled token",
    "the score is read at another token than the last one: padding, or a search for an end token",
    "read the hidden state at the stored index of the last token; for another trainer's model see --pooling",
)
SAME = Advice(
    "one template",
    "training and evaluation render by different templates, tokenizers or limits",
    "render both with the same render section, or load the renderer from the model folder",
)


def ends_kept(store: TokenStore, rows: Sequence[Comparison], renderer: Renderer) -> ProbeResult:
    """Look for the end of each response in the tokens that the model reads, by tokens and by decoded text.

    Args:
        store: token store of the rows.
        rows: rows by `TokenStore.number`.
        renderer: of the store.
    """
    lost, total, example = 0, 0, ""
    for place in range(len(store)):
        row = rows[int(store.number[place])]
        (rendered,) = renderer.comparisons([row])
        for side, whole in enumerate(rendered.ids):
            read = store.response_ids(place, side).tolist()
            size = min(TAIL_TOKENS, len(whole))
            kept = read[-size:] == whole[-size:] and _decoded(read, row.responses[side], renderer)
            total, lost = total + 1, lost + (not kept)
            example = example or ("" if kept else f", such as response {side} of {row.id}")
    return found(
        ENDS,
        not lost,
        f"the end of {lost:,} of {total:,} responses is lost{example}",
        "none lost",
        "a score is read at the end, and a cut answer is another answer",
        n=total,
    )


def pooled_last(model: ScoreModel, renderer: Renderer, rows: Sequence[Comparison]) -> ProbeResult:
    """Compare scores with a plain forward pass read at the last token (an encoder: with its own head).

    Args:
        model: of the scores.
        renderer: turns the rows into tokens, and decodes the pooled token.
        rows: a few rows.
    """
    store = build_store(rows, renderer, training=False)
    ids = [store.response_ids(place, side).tolist() for place in range(len(store)) for side in _sides(store, place)]
    with in_float32(model):
        # By the path of evaluation: another batch would say nothing about its index.
        scores = [score for row in score_store(model, store, 0) for score in row.scores]
        places = [_by_place(model, each) for each in ids]
    layers = int(model.network.config.get_text_config().num_hidden_layers)
    check = compare("pooled", scores, [each[-1] for each in places], FLOAT32, layers)
    tokens = list(dict.fromkeys(renderer.pooled_token(each) for each in ids))
    shown = f"{', '.join(tokens[:SHOWN])}{' and others' if len(tokens) > SHOWN else ''}"
    measured = f"pooled at {shown}; largest difference {check.largest:.1e}"
    if not check.passed and model.causal:
        measured += f"; the scores fit {_fitting(scores, places, check)}"
    expected = f"the score at the {'last' if model.causal else 'first'} token, within {check.allowed:.1e}"
    why = "only the last token has read the whole response" if model.causal else "an encoder's own head reads it"
    return found(POOLED, check.passed, measured, expected, why, n=len(ids))


def same_template(first: TokenStore, second: TokenStore, sets: str = "training and evaluation") -> ProbeResult:
    """Compare the token ids of rows that stand in two stores, matched by source and id.

    Rows within the limits must be equal; a row with tokens cut must be equal in what both keep at the end.

    Args:
        first, second: stores that share rows.
        sets: names of both.
    """
    known = {(info.source, info.id): place for place, info in enumerate(second.info)}
    other, total, example = 0, 0, ""
    for place, info in enumerate(first.info):
        there = known.get((info.source, info.id))
        if there is None:
            continue
        total += 1
        if not _alike(first, place, second, there):
            other, example = other + 1, example or f", such as {info.id}"
    return found(
        SAME,
        "undecided" if not total else other == 0,
        f"{other:,} of {total:,} rows have other token ids in {sets}{example}",
        "equal token ids",
        "a model is measured on what was trained only if both read the same tokens",
        n=total,
    )


def rendered_alike(store: TokenStore, rows: Sequence[Comparison], renderer: Renderer, name: str) -> ProbeResult:
    """Render rows of an evaluation store by the renderer of training, and compare the token ids."""
    chosen = [rows[int(number)] for number in store.number]
    return same_template(build_store(chosen, renderer, training=False), store, f"training and {name}")


def _alike(first: TokenStore, place: int, second: TokenStore, there: int) -> bool:
    for side in _sides(first, place):
        one, two = first.response_ids(place, side), second.response_ids(there, side)
        cut = (
            first.truncated[first.first_response[place] + side] or second.truncated[second.first_response[there] + side]
        )
        size = min(len(one), len(two)) if cut else max(len(one), len(two))
        # A cut removes tokens behind the protected first token.
        size -= bool(cut)
        if not np.array_equal(one[-size:], two[-size:]):
            return False
    return True


def _sides(store: TokenStore, place: int) -> range:
    return range(int(store.first_response[place + 1] - store.first_response[place]))


def _decoded(ids: Sequence[int], response: Response, renderer: Renderer) -> bool:
    """Return True if the decoded ids end with the last words of a response, blanks apart."""
    last = response.messages[-1]
    tail = " ".join(last.content.split()[-TAIL_WORDS:])[-TAIL_CHARACTERS:]
    if last.role == "ids" or not tail:
        return True
    read = renderer.tokenizer
    # Through the tokenizer too: one without case, or with unknown tokens, does not give the characters back.
    wanted = read.decode(read(tail, add_special_tokens=False)["input_ids"], skip_special_tokens=True)
    return _squeezed(wanted) in _squeezed(read.decode(ids, skip_special_tokens=True))


def _squeezed(text: str) -> str:
    return re.sub(r"\s|##", "", text)


def _by_place(model: ScoreModel, ids: Sequence[int]) -> list[float]:
    """Scores read at each token of a row by a plain forward pass; for an encoder the logit of its own head."""
    was_training, engine = model.training, model.engine
    model.eval()
    model.use("plain")
    try:
        with torch.no_grad():
            row = torch.tensor([list(ids)], device=model.device)
            if not model.causal:
                return [float(model.network(input_ids=row).logits[0, 0])]
            hidden = model.network.base_model(input_ids=row, use_cache=False).last_hidden_state[0].float()
            head = model.network.score
            bias = None if head.bias is None else head.bias.float()
            scores: list[float] = torch.nn.functional.linear(hidden, head.weight.float(), bias)[:, 0].tolist()
            return scores
    finally:
        model.use(engine)
        model.train(was_training)


def _fitting(scores: Sequence[float], places: Sequence[Sequence[float]], check: Check) -> str:
    """Name the place from the end that explains every score, if one does."""
    for back in range(2, min(map(len, places)) + 1):
        if all(abs(score - each[-back]) <= check.allowed for score, each in zip(scores, places, strict=True)):
            return f"the token {back - 1} before the last"
    return "no single place"
