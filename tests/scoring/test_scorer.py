"""Candidates to scores: equal to transformers' own, whatever else is scored, in whatever pieces."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from bradley.data.rows import RowPlace
from bradley.errors import CheckpointError, DataError, UserError
from bradley.model.folder.save_load import load_model
from bradley.records import Candidates, Message, Response
from bradley.scoring.rows import parse
from bradley.scoring.scorer import Scored, Scorer, spans
from tests.helpers import needs_data, read_gz
from tests.scoring.conftest import MAX_TOKENS, rows

pytestmark = pytest.mark.transformers

LONG = " ".join(["river"] * 400)


def candidates(row, number=1):
    return parse(row, RowPlace("rows", "", number)).candidates


def one_by_one(scorer, row):
    """Each response of a row in a call of its own; NaN where it has no score."""
    prompt = row["prompt"]
    alone = [scorer([candidates({"prompt": prompt, "response": one["content"]})])[0] for one in row["completions"]]
    return [np.nan if isinstance(one, str) else one.scores[0] for one in alone]


def test_scores_are_those_of_plain_transformers(folder):
    network = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    chats = [
        row["prompt"] + [{"role": "assistant", "content": one["content"]}]
        for row in rows(4)
        for one in row["completions"]
    ]
    with torch.no_grad():
        ids = [tokenizer.apply_chat_template(chat, return_dict=True, return_tensors="pt") for chat in chats]
        expected = [network(**one).logits.item() for one in ids]
    found = Scorer(load_model(folder))([candidates(row) for row in rows(4)])
    np.testing.assert_allclose([score for row in found for score in row.scores], expected, rtol=1e-4, atol=1e-6)
    assert [count for row in found for count in row.tokens] == [one["input_ids"].shape[1] for one in ids]
    alone = Scorer(load_model(folder))([candidates({"messages": chat}) for chat in chats])
    np.testing.assert_allclose([row.scores[0] for row in alone], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("engine", ["segments", "plain"])
@pytest.mark.parametrize("budget", [0, 130, 300])
def test_no_budget_and_no_company_changes_a_score(folder, budget, engine):
    loaded = load_model(folder, engine=engine)
    many = [*rows(6), *rows(2, responses=9, seed=1)]
    many[0]["prompt"][0]["content"] += LONG  # each of its responses keeps another part of the prompt
    scorer = Scorer(loaded, token_budget=budget)
    for row, found in zip(many, scorer([candidates(row) for row in many]), strict=True):
        np.testing.assert_allclose(found.scores, one_by_one(scorer, row), rtol=1e-4, atol=1e-6)
    assert all(scorer([candidates(many[0])])[0].truncated)


@pytest.mark.parametrize("policy", ["truncate_response", "truncate_prompt", "skip"])
def test_real_rows_score_as_one_by_one(folder, policy):
    taken = read_gz(needs_data("arena_bench_v1", "ranked.jsonl.gz"), 3)
    for number, row in enumerate(taken):
        row["completions"][number]["content"] = "Yes."
    scorer = Scorer(load_model(folder), policy)
    alone = [one_by_one(scorer, row) for row in taken]
    assert np.isnan(np.concatenate(alone)).any() == (policy != "truncate_response")
    for row, expected, found in zip(taken, alone, scorer([candidates(row) for row in taken]), strict=True):
        assert np.isnan(expected).all() if isinstance(found, str) else len(found.scores) == len(row["completions"]) > 2
        if not isinstance(found, str):
            np.testing.assert_allclose(np.array(found.scores, dtype=float), expected, rtol=1e-4, atol=1e-6)


def test_over_long_by_each_policy(folder):
    prompt_long = {"messages": [{"role": "user", "content": LONG}, {"role": "assistant", "content": "a stone"}]}
    answer_long = {"messages": [{"role": "user", "content": "a stone"}, {"role": "assistant", "content": LONG}]}
    short = {"messages": [{"role": "user", "content": "a stone"}, {"role": "assistant", "content": "bridge"}]}
    given = [candidates(row, number) for number, row in enumerate((short, prompt_long, answer_long), start=1)]
    loaded = load_model(folder)
    results = {policy: Scorer(loaded, policy)(given) for policy in ("", "skip", "truncate_prompt", "truncate_response")}
    assert results[""] == results["truncate_prompt"]
    first = {policy: found[0] for policy, found in results.items()}
    assert all(one.scores == pytest.approx(first["skip"].scores, rel=1e-4) for one in first.values())
    assert all(one.truncated == (False,) for one in first.values())
    assert [isinstance(one, Scored) for one in results["skip"]] == [True, False, False]
    assert [isinstance(one, Scored) for one in results["truncate_prompt"]] == [True, True, False]
    assert [isinstance(one, Scored) for one in results["truncate_response"]] == [True, True, True]
    assert results["truncate_prompt"][1].truncated == (True,) and results["truncate_prompt"][1].tokens == (MAX_TOKENS,)
    assert results["truncate_prompt"][2].startswith("over_long: a response of ")
    assert results["truncate_response"][1].scores == pytest.approx(results["truncate_prompt"][1].scores, rel=1e-4)
    with pytest.raises(DataError, match=r"^row 2: \d+ tokens, \d+ of them prompt, above the model's max_tokens = 128"):
        Scorer(loaded, "error")(given)
    with pytest.raises(UserError, match="over_long = 'drop'"):
        Scorer(loaded, "drop")


@pytest.mark.parametrize(
    "trained, used",
    [("drop", "truncate_prompt"), ("truncate_prompt", "truncate_prompt"), ("truncate_response", "truncate_response")],
)
def test_by_default_over_long_is_what_evaluation_did(folder, trained, used):
    loaded = load_model(folder)
    loaded.renderer.settings = loaded.renderer.settings.model_copy(update={"over_long": trained})
    assert Scorer(loaded).over_long == Scorer(loaded).settings.over_long == used


def test_a_conversation_that_the_template_refuses_leaves_the_others(folder):
    loaded = load_model(folder)
    tools = {"tools": [{"type": "function"}]}
    refused = Candidates(
        "row 2", "", (Message("user", "Q"),), (Response((Message("ids", "1 x"),)),), template_args=tools
    )
    others = [candidates(row) for row in rows(2)]
    found = Scorer(loaded)([others[0], refused, "shape: no", others[1]])
    assert found[2] == "shape: no" and found[1].startswith("template: ")
    assert [found[0], found[3]] == Scorer(loaded)(others)


def test_a_response_above_the_budget_is_an_error_that_names_its_row(folder):
    with pytest.raises(DataError, match=r"comparison row 5 needs \d+ tokens .* above token_budget = 9"):
        Scorer(load_model(folder), token_budget=9)([candidates(rows(1)[0], 5)])


def test_a_score_that_is_no_number_is_never_written(folder):
    loaded = load_model(folder)
    with torch.no_grad():
        loaded.model.network.score.weight[0, 0] = float("nan")
    with pytest.raises(CheckpointError, match="row 5 gets the score nan"):
        Scorer(loaded)([candidates(rows(1)[0], 5)])


def test_the_unit_is_applied_on_request(folder):
    loaded, row = load_model(folder), candidates(rows(1)[0])
    (plain,), (unit,) = Scorer(loaded)([row]), Scorer(loaded, normalize=True)([row])
    np.testing.assert_allclose(unit.scores, [(score - 0.5) / 2 for score in plain.scores], atol=1e-7)
    assert unit.tokens == plain.tokens
    with pytest.raises(CheckpointError, match="has no normalization"):
        Scorer(loaded._replace(normalization=None), normalize=True)


@given(
    st.lists(st.tuples(st.integers(1, 30), st.integers(0, 2)), min_size=1, max_size=12),
    st.integers(2, 20),
    st.integers(1, 120),
    st.booleans(),
)
def test_spans_cover_all_and_keep_the_limit_where_one_alone_does(given, prompt, most, padded):
    """Responses of some lengths, whose prompts lost 0, 1 or 2 tokens."""
    removed = [cut for _, cut in given]
    ids = [[0] * (prompt - cut) + [place + 1] * count for place, (count, cut) in enumerate(given)]
    found = list(spans(ids, removed, most, padded=padded))
    assert [row for span in found for row in ids[span]] == ids
    for span in found:
        part, shared = ids[span], sum(prompt - cut for cut in set(removed[span]))
        own = sum(len(row) - prompt + cut for row, cut in zip(part, removed[span], strict=True))
        need = max(map(len, part)) * len(part) if padded else shared + own
        assert part and (need <= most or len(part) == 1)
