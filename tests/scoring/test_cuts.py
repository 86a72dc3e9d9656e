"""Cuts belong to the conversation: no rival changes the tokens or the score of a response, whoever asks."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bradley
from bradley.config import Render
from bradley.data.micro_batches import measure
from bradley.data.render import Renderer
from bradley.data.token_store import build_store, store_of
from bradley.data.truncate import Fitted
from bradley.errors import DataError
from bradley.model.folder.normalization import Normalization
from bradley.model.folder.save_load import add_normalization, save_model
from bradley.records import Candidates, Comparison, Judgment, Message, Response
from bradley.scoring.core import first_equals, score_store
from tests.helpers import GPT2, comparisons, tiny_model, tokenizer_for

pytestmark = pytest.mark.transformers

PAIRS, LISTS = comparisons(12, seed=4), comparisons(9, responses=4, seed=5)
TOKENIZER = tokenizer_for([*PAIRS, *LISTS])
MODEL = tiny_model(GPT2, TOKENIZER)
POLICIES = ("drop", "truncate_prompt", "truncate_response")


def plain(row: Comparison) -> Comparison:
    """A comparison of texts without turns."""
    texts = [replace(r, messages=(Message("text", f" {r.text}"),)) for r in row.responses]
    return replace(row, prompt=(Message("text", row.prompt[0].content),), responses=tuple(texts))


def alone(row: Comparison) -> list[Candidates]:
    """Each response of a comparison as a row of its own."""
    return [Candidates(row.id, "", row.prompt, (response,)) for response in row.responses]


def limits(rows: list[Comparison], template: str, policy: str) -> Render:
    """Limits that cut about a third of the comparisons, or also whole prompts."""
    rendered = Renderer(TOKENIZER, Render(template=template), causal=True).comparisons(rows)
    longest = [max(map(len, each.ids)) for each in rendered]
    most = int(np.quantile(longest, 0.67)) if policy != "truncate_response" else min(longest) - 2
    return Render(template=template, max_tokens=max(8, most), over_long=policy)


def ids_of(store) -> list[list[list[int]]]:
    """Token ids of every response of a store."""
    return [[store.response_ids(g, k).tolist() for k in range(n)] for g, n in enumerate(np.diff(store.first_response))]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("template", ["tokenizer", "raw"])
@pytest.mark.parametrize("rows", [PAIRS, LISTS], ids=["pairs", "lists"])
def test_evaluation_scores_each_response_as_the_deployed_model_does(tmp_path, rows, template, policy):
    rows = [plain(row) for row in rows] if template == "raw" else rows
    renderer = Renderer(TOKENIZER, limits(rows, template, policy), causal=True)
    save_model(tmp_path / "m", MODEL, renderer, {})
    store = build_store(rows, renderer, training=False)
    cut = [any(store.truncated[a:b]) for a, b in zip(store.first_response, store.first_response[1:], strict=False)]
    assert np.mean(cut) > 0.2 and any(len({*map(len, ids)}) > 1 for ids in ids_of(store))
    model = bradley.RewardModel.from_pretrained(tmp_path / "m")
    single = [each for row in rows for each in alone(row)]
    deployed = [model._scorer([one])[0] for one in single]
    assert ids_of(store) == ids_of_rows(model, rows)
    evaluated = [score for row in score_store(MODEL, store, 0) for score in row.scores]
    np.testing.assert_allclose(evaluated, [one.scores[0] for one in deployed], rtol=1e-6, atol=1e-6)
    assert [score for row in bradley.score_comparisons(model, rows) for score in row.scores] == evaluated


def ids_of_rows(model, rows):
    """Token ids by which a model scores each response in a call of its own."""
    return [[ids_of(model._scorer.prepare([one]).store)[0][0] for one in alone(row)] for row in rows]


def test_comparisons_are_scored_with_the_options_of_a_reward_model(tmp_path):
    renderer = Renderer(TOKENIZER, limits(PAIRS, "tokenizer", "truncate_response"), causal=True)
    renderer.settings = renderer.settings.model_copy(update={"over_long": "truncate_prompt"})
    save_model(tmp_path / "m", MODEL, renderer, {})
    add_normalization(tmp_path / "m", Normalization("valid", 10, "", 0.5, 2.0))

    def opened(**options):
        return bradley.RewardModel.from_pretrained(tmp_path / "m", **options)

    for model in (tmp_path / "m", opened(), opened(over_long="error"), opened(over_long="skip")):
        with pytest.raises(DataError, match=r"c\d+: a response"):
            bradley.score_comparisons(model, PAIRS)
    cut = bradley.score_comparisons(opened(over_long="truncate_response"), PAIRS)
    for options, asked in (({"normalize": True}, False), ({}, True), ({"normalize": True}, True)):
        model = opened(over_long="truncate_response", token_budget=60, **options)
        found = bradley.score_comparisons(model, PAIRS, normalize=asked)
        for one, other in zip(found, cut, strict=True):
            assert one.judgments == other.judgments and one.tokens == other.tokens
            np.testing.assert_allclose(one.scores, [(score - 0.5) / 2 for score in other.scores], rtol=1e-5, atol=1e-6)
    with pytest.raises(DataError, match="above token_budget = 9"):
        bradley.score_comparisons(opened(over_long="truncate_response", token_budget=60), PAIRS, token_budget=9)


WORDS = st.lists(st.sampled_from(["ri", "ver", "runs ", "a", " stone", "b", "rid", "ge "]), min_size=1, max_size=12)
TEXT = WORDS.map("".join)


@given(TEXT, st.lists(TEXT, min_size=2, max_size=5), st.integers(8, 24), st.integers(0, 6), st.sampled_from(POLICIES))
def test_the_tokens_of_a_response_do_not_depend_on_its_rivals(prompt, texts, most, most_of_prompt, policy):
    """Under `raw` the end of a prompt merges with one response, and not with another."""
    limits = Render(template="raw", max_tokens=most, max_prompt_tokens=most_of_prompt, over_long=policy)
    renderer = Renderer(TOKENIZER, limits, causal=True)
    responses = tuple(Response((Message("text", text),)) for text in texts)
    row = Comparison("c", "", (Message("text", prompt),), responses, (Judgment(0, 1),))
    single = [ids_if_any(renderer, each) for each in alone(row)]
    together = ids_if_any(renderer, row)
    # A response longer than the limit stops the evaluation of its comparison, whatever its rivals are.
    assert together == (None if None in single else [ids for (ids,) in single])


def ids_if_any(renderer, row):
    """Token ids of every response of a row; None for a row above the limits."""
    try:
        return ids_of(build_store([row], renderer, training=False))[0]
    except DataError:
        return None


@pytest.mark.parametrize("count", [2, 4, 9])
def test_a_separate_cut_costs_its_own_prompt_and_nothing_else(count):
    """Counted by the plan: each different cut of a prompt once, and the own tokens of every response once."""
    rows = comparisons(30, responses=count, seed=count)
    free = Renderer(TOKENIZER, Render(), causal=True).comparisons(rows)
    longest = [max(map(len, each.ids)) for each in free]
    most = int(np.quantile(longest, 0.67))
    limits = Render(max_tokens=most, over_long="truncate_response")
    store = build_store(rows, Renderer(TOKENIZER, limits, causal=True), training=True)
    assert len(store) == len(rows) and 0.2 < np.mean(np.array(longest) > most) < 0.4
    least = []
    for each in free:
        cuts = {max(0, len(ids) - most): prompt for ids, prompt in zip(each.ids, each.prompt_tokens, strict=True)}
        own = sum(min(len(ids) - prompt, most) for ids, prompt in zip(each.ids, each.prompt_tokens, strict=True))
        least.append(own + sum(max(0, prompt - cut) for cut, prompt in cuts.items()))
    assert (measure(store).tokens <= least).all()
    # A single cut leaves a single prefix, and responses within the limit keep their prefix beside a longer one.
    prefixes = np.diff(store.first_segment) - np.diff(store.first_response)
    assert prefixes.tolist() == [len({max(0, len(ids) - most) for ids in each.ids}) for each in free]
    assert (prefixes > 1).any() and (count == 2 or (prefixes < count)[prefixes > 1].any())


def doubled(rows: list[Comparison], seed: int) -> list[Comparison]:
    """The same comparisons, some with a response twice, and some again with their responses in another order."""
    rng = np.random.default_rng(seed)
    twice = [replace(row, responses=(*row.responses[:-1], row.responses[0])) for row in rows[::2]]
    found = [*rows, *twice, *(row.swap() for row in rows[1::3])]
    return [replace(found[place], id=f"d{place}") for place in rng.permutation(len(found))]


@pytest.mark.parametrize("engine", ["segments", "plain"])
@pytest.mark.parametrize("policy", ["truncate_prompt", "truncate_response"])
def test_equal_tokens_have_one_score_whatever_stands_beside_them(engine, policy):
    """Bit for bit: in a comparison, and in micro-batches of other shapes."""
    MODEL.use(engine)
    for seed, budget in enumerate((0, 160, 300, 600)):
        rows = doubled([*PAIRS, *LISTS], seed)
        limits_now = limits(rows, "tokenizer", policy)
        store = build_store(rows, Renderer(TOKENIZER, limits_now, causal=True), training=False)
        known: dict[tuple[int, ...], float] = {}
        for each, ids in zip(score_store(MODEL, store, budget), ids_of(store), strict=True):
            for score, conversation in zip(each.scores, ids, strict=True):
                assert known.setdefault(tuple(conversation), score) == score
        assert len(known) < store.first_response[-1]
    MODEL.use("segments")


@given(st.lists(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=4), min_size=1, max_size=4), min_size=1))
def test_the_first_of_equal_conversations_is_found(groups):
    rows = [Candidates("c", "", (), PAIRS[0].responses[:1] * len(ids)) for ids in groups]
    fitted = [Fitted(ids, (), [1] * len(ids), [k % 2 for k in range(len(ids))]) for ids in groups]
    everything = [ids for group in groups for ids in group]
    found = first_equals(store_of(list(zip(rows, fitted, strict=True))))
    assert found.tolist() == [everything.index(ids) for ids in everything]
