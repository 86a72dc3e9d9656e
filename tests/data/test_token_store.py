"""The token store: what goes in comes out, cached under everything that decides it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bradley.config import Render
from bradley.data import token_store
from bradley.data.render import Renderer
from bradley.data.token_store import ARRAYS, build_store, store_of
from bradley.data.truncate import Fitted, Ledger, truncate
from bradley.errors import DataError
from bradley.records import Candidates
from tests.helpers import comparisons, store_for, tokenizer_for

ROWS = [*comparisons(6), *comparisons(4, responses=4, seed=1)]
TOKENIZER = tokenizer_for(ROWS)
RENDERER = Renderer(TOKENIZER, Render(max_tokens=512), causal=True)


def splitting():
    """The tokenizer, reading special tokens as text."""
    other = tokenizer_for(ROWS)
    other.split_special_tokens = True
    return other


def test_every_response_is_rebuilt_from_prefix_and_own_tokens():
    store = build_store(ROWS, RENDERER, training=True)
    for number, row in enumerate(ROWS):
        for k, ids in enumerate(RENDERER.comparisons([row])[0].ids):
            assert store.response_ids(number, k).tolist() == ids
        assert store.judgments(number) == row.judgments
    assert store.full_lengths().sum() == sum(len(i) for row in ROWS for i in RENDERER.comparisons([row])[0].ids)
    assert len(store.tokens) < store.full_lengths().sum()  # each prompt once


@given(st.lists(st.integers(2, 5), min_size=1, max_size=6), st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_each_response_owns_its_last_token(sizes, seed):
    rows = [comparisons(1, responses=size, seed=seed + n)[0] for n, size in enumerate(sizes)]
    store = store_for(rows, TOKENIZER)
    own = np.delete(np.diff(store.segments), store.first_segment[:-1])
    assert (own >= 1).all() and len(own) == sum(sizes)
    assert store.segments[-1] == len(store.tokens)


@given(st.lists(st.lists(st.lists(st.integers(1, 2), min_size=1, max_size=6), min_size=2, max_size=4), max_size=4))
@example([[[1, 2], [1, 2, 1]]])  # the first response is the beginning of the second
@example([[[1], [1]], [[2, 1, 1], [2, 2]]])
def test_a_response_that_begins_another_one_keeps_its_last_token(groups):
    """Responses share what all of them begin with, and the last token of none: a score is read there."""
    rows = [comparisons(1, responses=len(ids))[0] for ids in groups]
    fitted = [Fitted(ids, (), list(map(len, ids)), [0] * len(ids)) for ids in groups]
    store = store_of(list(zip(rows, fitted, strict=True)))
    sizes = iter(np.diff(store.segments).tolist())
    for number, ids in enumerate(groups):
        shared = max(n for n in range(min(map(len, ids))) if all(row[:n] == ids[0][:n] for row in ids))
        assert [next(sizes) for _ in range(len(ids) + 1)] == [shared, *(len(row) - shared for row in ids)]
        assert [store.response_ids(number, k).tolist() for k in range(len(ids))] == ids
    assert not list(sizes)


MANY = comparisons(token_store.CHUNK + 8)
EVERYTHING = Renderer(tokenizer_for(MANY), Render(max_tokens=512), causal=True)


@given(st.integers(1, 12), st.sets(st.integers(0, 11)), st.integers(1, 12))
@example(len(MANY), {0, 3}, token_store.CHUNK)  # the chunk of every run: two rows go from the first, the second follows
@example(3, {0}, 1)
@settings(max_examples=25, deadline=None)
def test_a_kept_comparison_has_the_number_of_its_place_among_all(count, dropped, chunk):
    """Chunks of any size, and any rows that go: here those whose two texts are equal."""
    rows = MANY[:count]
    rows = [replace(row, responses=row.responses[:1] * 2) if n in dropped else row for n, row in enumerate(rows)]
    left = [n for n in range(count) if n not in dropped]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(token_store, "CHUNK", chunk)
        if not left:
            with pytest.raises(DataError, match="no comparison is left"):
                build_store(rows, EVERYTHING, training=True)
            return
        store = build_store(rows, EVERYTHING, training=True)
    assert store.number.tolist() == left
    assert [row.id for row in store.info] == [rows[n].id for n in left]


def test_a_store_of_fitted_rows_in_memory_equals_the_one_on_disk():
    whole = build_store(ROWS, RENDERER, training=False)
    fitted = [truncate(row, RENDERER.comparisons([row])[0], RENDERER.settings, False, Ledger()) for row in ROWS]
    made = store_of(list(zip(ROWS, fitted, strict=True)))
    offsets = {"segments", "first_segment", "first_response", "first_judgment"}
    for name in (offsets | set(ARRAYS)) & set(vars(whole)):
        np.testing.assert_array_equal(getattr(made, name), getattr(whole, name))
    assert list(made.info) == list(whole.info) and made.ledger == whole.ledger


def test_one_candidate_shares_no_prefix_and_has_no_judgment():
    row = Candidates("one", "key", ROWS[0].prompt, ROWS[0].responses[:1])
    store = build_store([row, ROWS[7]], RENDERER, training=False)
    assert np.diff(store.segments)[0] == 0 and store.first_judgment.tolist() == [0, 0, 3]
    assert store.response_ids(0, 0).tolist() == RENDERER.comparisons([ROWS[0]])[0].ids[0]
    assert store.info[0].id == "one"


def test_a_ranking_goes_with_a_judgment_that_it_would_bring_back():
    twins = replace(ROWS[7], responses=(*ROWS[7].responses[:3], ROWS[7].responses[0]), rank=(0.0, 1.0, 1.0, 1.0))
    fine = replace(ROWS[8], rank=(0.0, 1.0, 1.0, 1.0))
    store = build_store([twins, fine], RENDERER, training=True)
    assert np.diff(store.first_judgment).tolist() == [2, 3]
    np.testing.assert_array_equal(store.rank, [np.nan] * 4 + [0.0, 1.0, 1.0, 1.0])


def test_judgment_weights_by_prompt_sum_to_one():
    store = build_store(ROWS, RENDERER, training=True)
    by_prompt = store.judgment_weights("prompt")
    sums = [by_prompt[a:b].sum() for a, b in zip(store.first_judgment[:-1], store.first_judgment[1:], strict=True)]
    np.testing.assert_allclose(sums, 1.0, rtol=1e-6)
    assert store.judgment_weights("pair").tolist() == [1.0] * 18


def test_a_cached_store_equals_a_built_one_and_is_not_made_twice(tmp_path, monkeypatch):
    built = build_store(ROWS, RENDERER, training=True)
    first = build_store(ROWS, RENDERER, training=True, cache=tmp_path)
    monkeypatch.setattr(Renderer, "outcomes", None)  # any rendering would fail
    second = build_store(ROWS, RENDERER, training=True, cache=tmp_path)
    for store in (first, second):
        assert store.tokens.tolist() == built.tokens.tolist()
        assert list(store.info) == list(built.info) and store.ledger == built.ledger
        np.testing.assert_array_equal(store.margin, built.margin)
    assert isinstance(second.tokens, np.memmap)


def test_a_broken_cache_is_made_again(tmp_path):
    built = build_store(ROWS, RENDERER, training=True, cache=tmp_path)
    (next(tmp_path.iterdir()) / "tokens.bin").unlink()
    for _ in range(2):
        again = build_store(ROWS, RENDERER, training=True, cache=tmp_path)
        assert again.tokens.tolist() == built.tokens.tolist()


def test_the_cache_key_covers_content_template_limits_and_use(tmp_path):
    build_store(ROWS, RENDERER, training=True, cache=tmp_path)
    variants = [
        (ROWS[:-1], RENDERER, True),
        ([ROWS[0].flip(), *ROWS[1:]], RENDERER, True),
        (ROWS, RENDERER, False),
        (ROWS, Renderer(TOKENIZER, Render(max_tokens=511), causal=True), True),
        (ROWS, Renderer(TOKENIZER, Render(max_tokens=512, template="raw"), causal=True), True),
        (ROWS, Renderer(tokenizer_for(ROWS, 300), Render(max_tokens=512), causal=True), True),
        (ROWS, Renderer(TOKENIZER, Render(max_tokens=512, eos="always"), causal=True), True),
        ([replace(ROWS[0], tags={"a": "b"}), *ROWS[1:]], RENDERER, True),
        (ROWS, Renderer(splitting(), Render(max_tokens=512), causal=True), True),
    ]
    for rows, renderer, training in variants:
        build_store(rows, renderer, training=training, cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 1 + len(variants)
