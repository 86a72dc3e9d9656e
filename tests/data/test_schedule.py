"""The totals of a run against its steps one by one, and the tokens of peers against rows laid out by hand."""

import tracemalloc

import numpy as np
import pytest

from bradley.data import schedule as module
from bradley.data.micro_batches import Limit, load_of, measure
from bradley.data.plan import make_plan
from bradley.data.schedule import longest_comparison, peer_tokens, schedule
from tests.helpers import comparisons, dealt, store_for

STORE = store_for([*comparisons(29), *comparisons(12, responses=5, seed=3)])


def plan(padded, epochs=2.0, **settings):
    load = load_of(measure(STORE), padded=padded, pairs_per_token=100)
    return make_plan(STORE, load, Limit(400, strict=False), batch_size=7, seed=1, epochs=epochs, **settings)


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("at_once", [20, 1 << 19])
def test_totals_are_those_of_the_steps(padded, at_once, monkeypatch):
    monkeypatch.setattr(module, "PLACES_AT_ONCE", at_once)
    made = plan(padded, epochs=1.5)
    steps = list(made.steps())
    sizes = made.load.sizes

    def tokens(piece):
        return int(sizes.rows[piece].sum() * sizes.longest[piece].max() if padded else sizes.tokens[piece].sum())

    each = [[tokens(piece) for piece in step.micro_batches] for step in steps]
    found = schedule(made, (1, 2, 3))
    assert found.comparisons == sum(len(step.comparisons) for step in steps)
    assert found.micro_batches == sum(map(len, each))
    assert (found.fewest, found.most) == (min(map(len, each)), max(map(len, each)))
    assert (found.tokens, found.largest) == (sum(map(sum, each)), max(map(max, each)))
    assert found.cost == pytest.approx(sum(float(made.load.cost[step.comparisons].sum()) for step in steps), rel=1e-6)
    assert found.busy[1] == pytest.approx(1.0)
    for processes in (2, 3):
        waited = 0.0
        for step in steps:
            rounds = zip(*dealt(made, step, processes), strict=True)
            waited += sum(max(float(made.load.cost[piece].sum()) for piece in row) for row in rounds)
        assert found.busy[processes] == pytest.approx(found.cost / (waited * processes), rel=1e-6)


def test_tokens_of_peers_are_those_of_rows_in_full():
    lengths = [[len(STORE.response_ids(g, k)) for k in range(n)] for g, n in enumerate(np.diff(STORE.first_response))]
    pairs = [(row[j.better], row[j.worse]) for g, row in enumerate(lengths) for j in STORE.judgments(g)]
    found = peer_tokens(STORE, seed=0)
    assert found.responses == sum(map(sum, lengths))
    assert found.pairs == sum(map(sum, pairs))
    assert found.pairs < found.padded <= 2 * len(pairs) * max(map(max, lengths))
    assert len(pairs) % module.PEER_PAIRS  # a last batch that is not full


def test_padding_is_to_the_longest_of_each_batch_of_pairs(monkeypatch):
    lengths = [max(len(STORE.response_ids(g, j.better)), len(STORE.response_ids(g, j.worse)))
               for g in range(len(STORE)) for j in STORE.judgments(g)]  # fmt: skip
    monkeypatch.setattr(module, "PEER_PAIRS", 1)
    assert peer_tokens(STORE, seed=0).padded == 2 * sum(lengths)
    monkeypatch.setattr(module, "PEER_PAIRS", len(lengths) + 5)
    assert peer_tokens(STORE, seed=0).padded == 2 * len(lengths) * max(lengths)


def test_the_longest_comparison_is_the_one_that_takes_most():
    made = plan(padded=False)
    found = longest_comparison(made, STORE)
    first = STORE.segments[STORE.first_segment]
    worst = int(np.diff(first).argmax())
    assert found["id"] == STORE.info[worst].id and found["responses"] == 5


class Lengths:
    """A store of a million comparisons as far as the planner looks: lengths alone."""

    def __init__(self, count):
        sizes = np.random.default_rng(0).integers(1, 200, 3 * count)
        self.segments = np.concatenate([[0], np.cumsum(sizes)])
        self.first_response, self.first_segment = 2 * np.arange(count + 1), 3 * np.arange(count + 1)
        self.own = np.tile(np.array([1, 2], dtype=np.int32), count)
        self.prefix = np.zeros(2 * count, dtype=np.int32)
        self.first_judgment = np.arange(count + 1)
        self.weight = np.ones(count, dtype=np.float32)

    def __len__(self):
        return len(self.first_judgment) - 1

    def judgment_weights(self, _weight_by):
        return self.weight


@pytest.mark.parametrize("padded", [True, False])
def test_a_million_comparisons_are_planned_in_little_memory(padded):
    """150 bytes for each comparison, the permutation and the plan's own arrays included: 10 million in 1.5 GB."""
    store = Lengths(1_000_000)
    tracemalloc.start()
    load = load_of(measure(store), padded=padded, pairs_per_token=2000)
    made = make_plan(store, load, Limit(8192), batch_size=32, seed=0)
    found = schedule(made)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.comparisons == 1_000_000 and made.num_steps == 31_250
    assert found.largest <= 8192
    assert peak < 150e6
