"""What is checked before a run folder is made."""

import pytest

from bradley.data.truncate import Ledger
from bradley.errors import DataError, UserError
from bradley.training.build import check_losses, check_positions, losses_decided, objective, probe_of
from tests.helpers import BERT, LLAMA, comparisons, store_for, tiny_model, tokenizer_for
from tests.losses.judged import targets
from tests.training.jobs import config

ROWS = comparisons(30)
TOKENIZER = tokenizer_for(ROWS)


@pytest.mark.parametrize(
    ("settings", "places"),
    [(LLAMA, 512), (BERT, 512), ({**BERT, "model_type": "roberta", "pad_token_id": 1}, 510)],
)
def test_the_limit_is_held_against_the_positions_that_a_model_can_use(settings, places):
    """RoBERTa's table of 512 positions begins two further in."""
    network = tiny_model(settings, TOKENIZER).network
    check_positions(network, places)
    with pytest.raises(UserError, match=f"has {places} positions") as caught:
        check_positions(network, places + 1)
    assert caught.value.hint == f"use --render.max_tokens {places} or less"


def test_what_loading_and_rendering_lose_is_added_up():
    store = store_for(ROWS)
    store.ledger.add("response_over_limit", ROWS[0], 10, dropped=True)
    account = {"rows": 100, "rejected": {"irregular": {"count": 2}}, "findings": {"duplicate": {"dropped": 1}}}
    check_losses(store, 50, account, 0.05)  # 3 of 100 and 1 of 50
    with pytest.raises(DataError, match=r"drop 1 of 50 training comparisons \(1 response_over_limit\); with the 3\.0%"):
        check_losses(store, 50, account, 0.049)
    store.ledger.causes.clear()
    check_losses(store, 50, account, 0.0)  # loading has its own check
    assert Ledger().dropped == 0


@pytest.mark.parametrize("policy", ["drop", "truncate_prompt"])
def test_what_a_policy_of_the_user_drops_is_never_held_against_the_share(policy):
    store, account = store_for(ROWS), {"rows": 50, "rejected": {}, "findings": {}}
    for cause in ("over_long", "short_response", "response_over_limit", "identical_ids"):
        for _ in range(10):
            store.ledger.add(cause, ROWS[0], 1, dropped=True)
    decided = losses_decided(config(render={"over_long": policy}, data={"identical": "drop"}))
    check_losses(store, 50, account, 0.0, decided)
    with pytest.raises(DataError, match=r"drop 20 of 50 .*\(10 response_over_limit, 10 identical_ids\)") as caught:
        check_losses(store, 50, account, 0.0, losses_decided(config()))
    assert "--render.over_long drop" in caught.value.hint and "--data.identical drop" in caught.value.hint


def test_the_probe_is_a_fixed_sample_of_what_is_trained_on():
    store = store_for(ROWS[:20])
    settings = config(eval={"train_probe": 8})
    probe = probe_of(ROWS, store, settings)
    assert probe == probe_of(ROWS, store, settings)
    assert len(probe) == 8 and {row.id for row in probe} <= {row.id for row in ROWS[:20]}
    assert probe != probe_of(ROWS, store, config(seed=1, eval={"train_probe": 8}))
    assert len(probe_of(ROWS, store, config(eval={"train_probe": 99}))) == 20


def test_beta_reaches_the_objective():
    import torch

    scores = torch.tensor([1.0, 0.0])
    terms = [objective(config(loss={"beta": b}).loss)["bradley_terry"] for b in (1.0, 2.0)]
    values = [float(term(scores, targets([0], [1])).sum) for term in terms]
    assert values == pytest.approx([0.3132617, 0.1269280])
