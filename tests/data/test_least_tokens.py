"""Every token once under separate cuts: micro-batches compute no more tokens than the token ids themselves ask for.

Counted twice: by the arrays that a micro-batch of a plan puts before the engine, and anew from the raw token ids.
Neither `plain` rows, which are padded, nor the padding of `flex` to whole blocks is counted.
"""

from collections import defaultdict
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bradley.config import Render
from bradley.data.micro_batches import Limit, load_of, measure
from bradley.data.plan import make_plan
from bradley.data.render import Rendered
from bradley.data.token_store import store_of
from bradley.data.truncate import Ledger, truncate
from bradley.model.engine.batch import collate
from tests.helpers import comparisons

BOS = 1
SIZES = st.integers(1, 40)
RESPONSES = st.lists(SIZES, min_size=2, max_size=8)
GIVEN = st.lists(st.tuples(SIZES, RESPONSES), min_size=1, max_size=6)
"""By comparison: tokens of the prompt and of each response."""
EIGHT = [(30, [5, 5, 9, 9, 9, 20, 38, 38]), (12, [1, 2, 3, 4]), (40, [3, 3, 3, 3])]
"""Cut at 40, the first has a prompt for each of four lengths; cut at 20, nothing of the prompt is left for three."""


class Kept(NamedTuple):
    """Prompt and response of a conversation after the cut."""

    prompt: tuple[int, ...]
    response: tuple[int, ...]


class Count(NamedTuple):
    """Tokens of a comparison, from the token ids.

    Attributes:
        least: each distinct prompt once, and each response.
        begun: beginnings that responses of a prompt have in common, which need not be computed again.
        repeated: prompts of nothing but protected tokens, computed again for responses that are cut themselves.
    """

    least: int
    begun: int
    repeated: int


def rendered_of(prompt: int, responses: list[int], protected: int, rng: np.random.Generator) -> Rendered:
    """A comparison of drawn ids; few ids, so that responses begin alike now and then."""
    head = [BOS] * protected + rng.integers(10, 13, prompt).tolist()
    rows = [head + rng.integers(20, 22, size).tolist() for size in responses]
    return Rendered(rows, [len(head)] * len(rows), protected)


def kept_of(rendered: Rendered, limits: Render) -> list[Kept]:
    """Cut each conversation by its own length: the oldest tokens of the prompt, then those of the response."""
    kept = []
    for row, size in zip(rendered.ids, rendered.prompt_tokens, strict=True):
        head, prompt, response = row[: rendered.protected], row[rendered.protected : size], row[size:]
        most = limits.max_prompt_tokens or size
        while len(head) + len(prompt) > most and prompt:
            prompt = prompt[1:]
        while len(head) + len(prompt) + len(response) > limits.max_tokens:
            prompt, response = (prompt[1:], response) if prompt else ([], response[1:])
        kept.append(Kept((*head, *prompt), tuple(response)))
    return kept


def count(kept: list[Kept], uncut: list[int]) -> Count:
    """Count the tokens of a comparison by its distinct prompts.

    Args:
        kept: conversations after the cut.
        uncut: tokens of each response before the cut.
    """
    least = sum(map(len, {each.prompt for each in kept})) + sum(len(each.response) for each in kept)
    alike: dict[tuple[int, ...], dict[int, list[tuple[int, ...]]]] = defaultdict(lambda: defaultdict(list))
    for each, size in zip(kept, uncut, strict=True):
        alike[each.prompt][size - len(each.response)].append(each.response)
    groups = [group for cuts in alike.values() for group in cuts.values()]
    # A response keeps its last token, where the score is read.
    shared = [min(common(group), min(map(len, group)) - 1) for group in groups]
    begun = sum(size * (len(group) - 1) for size, group in zip(shared, groups, strict=True))
    return Count(least, begun, sum(len(prompt) * (len(cuts) - 1) for prompt, cuts in alike.items()))


def common(rows: list[tuple[int, ...]]) -> int:
    """Count the leading tokens that rows have in common."""
    return next((n for n, ids in enumerate(zip(*rows, strict=False)) if len(set(ids)) > 1), min(map(len, rows)))


def computed(rows: list[Rendered], limits: Render, budget: int, training: bool) -> dict[int, int]:
    """Plan comparisons, and count the tokens of each in the micro-batches of an epoch, by its number.

    A comparison that training leaves out has no count.
    """
    records = [comparisons(1, responses=len(row.ids))[0] for row in rows]
    every = [truncate(record, row, limits, training, Ledger()) for record, row in zip(records, rows, strict=True)]
    fitted = {number: (records[number], each) for number, each in enumerate(every) if each is not None}
    if not fitted:
        return {}
    store = store_of(list(fitted.values()))
    load = load_of(measure(store), padded=False)
    plan = make_plan(store, load, Limit(budget, strict=False), batch_size=3, seed=0)
    numbers, tokens = list(fitted), dict.fromkeys(fitted, 0)
    for step in plan.steps():
        for micro_batch in step.micro_batches:
            batch = collate(store, micro_batch, store.weight)
            # A comparison is a run of segments in the batch.
            ends = np.cumsum([0, *np.diff(store.first_segment)[micro_batch]])
            for one, size in zip(micro_batch, np.diff(batch.segments[ends]), strict=True):
                tokens[numbers[one]] += int(size)
            assert len(batch.tokens) == plan.load.tokens[micro_batch].sum()
    return tokens


@given(GIVEN, st.integers(0, 10**6), st.integers(0, 2), st.integers(50, 85), st.integers(0, 30), st.booleans())
@example(EIGHT, 0, 1, 75, 0, True)
@example(EIGHT, 0, 1, 20, 0, True)
@example(EIGHT, 0, 2, 75, 9, False)
def test_a_plan_computes_the_least_tokens_of_separate_cuts(drawn, seed, protected, percent, most_of_prompt, responses):
    """The bound: each distinct prompt that the cuts of a comparison leave, once, and every token of every response.

    The bound is the least where each response is scored on its own conversation and reads one prompt, shared whole.
    The plan goes below the bound where all responses of a prompt begin alike. The plan goes above in one case: a
    response that is cut itself keeps no tokens of the prompt but the protected ones, such as BOS, and may repeat them.
    The limit of a micro-batch costs no token, because no comparison is divided.

    A tree of prefixes would save more in two cases: the protected tokens of each prompt after the first, and
    beginnings that some responses of a prompt have in common, but not all.
    """
    rng = np.random.default_rng(seed)
    rows = [rendered_of(*each, protected, rng) for each in drawn]
    # About a third of the conversations are above the limit.
    lengths = sorted(len(ids) for row in rows for ids in row.ids)
    most = max(lengths[len(lengths) * percent // 100], 8)
    policy = "truncate_response" if responses else "truncate_prompt"
    limits = Render(max_tokens=most, max_prompt_tokens=most_of_prompt, over_long=policy)
    for budget in (most, 10**6):
        # In training, `truncate_prompt` leaves out a comparison with a response above the limit.
        found = computed(rows, limits, budget, training=not responses)
        assert len(found) == len(rows) or not responses
        for number, tokens in found.items():
            kept = kept_of(rows[number], limits)
            uncut = [len(ids) - rows[number].prompt_tokens[0] for ids in rows[number].ids]
            least, begun, repeated = count(kept, uncut)
            assert tokens == least - begun + repeated
            cut = sum(len(each.response) < size for each, size in zip(kept, uncut, strict=True))
            assert repeated <= protected * cut


@pytest.mark.parametrize("responses", [2, 4])
def test_cuts_raise_the_tokens_of_a_judgment_by_as_much_as_the_ids_say(responses):
    """Lengths as in HH, log-normal, prompts of about 100 tokens and responses of about 50, a third cut."""
    rng = np.random.default_rng(4)
    sizes = np.exp(rng.normal(np.log([100, *[50] * responses]), 0.6, (120, responses + 1))).astype(int) + 2
    rows = []
    for prompt, *lengths in sizes.tolist():
        head = [BOS, *range(100, 100 + prompt)]
        # A token of its own for each response: nothing but the prompt is shared.
        own = [[10_000 + k] * size for k, size in enumerate(lengths)]
        rows.append(Rendered([head + ids for ids in own], [len(head)] * responses, 1))
    longest = sorted(max(map(len, row.ids)) for row in rows)
    limit = longest[len(rows) * 2 // 3]
    planned, counted = [], []
    for most in (longest[-1], limit):
        limits = Render(max_tokens=most, over_long="truncate_response")
        planned.append(sum(computed(rows, limits, 2048, training=True).values()))
        kept = [kept_of(row, limits) for row in rows]
        counted.append(sum(len(tokens) for row in kept for tokens in {each.prompt for each in row}))
        counted[-1] += sum(len(each.response) for row in kept for each in row)
    uncut, cut = planned
    assert cut / uncut == counted[1] / counted[0] > 1
    assert planned == counted
