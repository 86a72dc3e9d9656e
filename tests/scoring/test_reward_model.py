"""The public class: scores, an order, and rewards for TRL's GRPO trainer."""

from importlib.util import find_spec

import numpy as np
import pytest
import torch

import bradley
from bradley.config import Render
from bradley.data.render import Renderer
from bradley.errors import DataError, UserError
from bradley.model.folder.save_load import save_model
from tests.helpers import LLAMA, comparisons, tiny_model, tokenizer_for

ROWS = comparisons(6, responses=3)
TOKENIZER = tokenizer_for(ROWS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("reward") / "m"
    save_model(path, tiny_model(LLAMA, TOKENIZER), Renderer(TOKENIZER, Render(max_tokens=64), causal=True), {})
    return path


@pytest.fixture(scope="module")
def model(folder):
    return bradley.RewardModel.from_pretrained(folder)


def chat(row, response):
    turns = [{"role": m.role, "content": m.content} for m in (*row.prompt, *response.messages)]
    return turns


def test_scores_are_those_of_the_comparisons_in_any_order(folder, model):
    expected = [score for row in bradley.score_comparisons(folder, ROWS) for score in row.scores]
    chats = [chat(row, response) for row in ROWS for response in row.responses]
    np.testing.assert_allclose(model.score(chats), expected, rtol=1e-4, atol=1e-6)
    order = np.random.default_rng(0).permutation(len(chats))
    np.testing.assert_allclose(
        model.score([chats[i] for i in order]), [expected[i] for i in order], rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose([model.score([one])[0] for one in chats], expected, rtol=1e-4, atol=1e-6)
    assert all(type(score) is float for score in model.score(chats)) and model.score([]) == []


def test_ranked_best_first(model):
    row = ROWS[0]
    prompt, texts = row.prompt[0].content, [response.text for response in row.responses]
    scores = model.score(
        [[{"role": "user", "content": prompt}, {"role": "assistant", "content": text}] for text in texts]
    )
    ranked = model.rank(prompt, texts)
    assert [index for index, _ in ranked] == sorted(range(3), key=lambda i: -scores[i])
    np.testing.assert_allclose([score for _, score in ranked], sorted(scores, reverse=True), rtol=1e-4, atol=1e-6)
    assert [index for index, _ in model.rank(prompt, [texts[0]] * 3)] == [0, 1, 2]
    assert model.rank([{"role": "user", "content": prompt}], texts) == ranked


def test_a_text_in_place_of_responses_is_refused(model):
    with pytest.raises(UserError, match="'45'") as caught:
        model.rank("Which number?", "45")
    assert "[response]" in caught.value.hint


def test_rewards_of_texts_and_of_messages(model):
    reward = model.as_reward_func("helpful")
    assert reward.__name__ == "helpful" and model.as_reward_func().__name__ == "bradley"
    prompts, answers = ["the river", "the river", "a stone"], ["runs", "bridge", "runs"]
    chats = [
        [{"role": "user", "content": p}, {"role": "assistant", "content": a}]
        for p, a in zip(prompts, answers, strict=True)
    ]
    expected = model.score(chats)
    assert reward(prompts=prompts, completions=answers, completion_ids=[[1]] * 3) == expected
    assert reward(prompts=[c[:1] for c in chats], completions=[c[1:] for c in chats], tools=[None] * 3) == expected


def test_rewards_read_the_columns_that_templates_read(model):
    with pytest.raises(DataError, match="conversation 2 cannot be scored: shape: found text as chat_template_kwargs"):
        model.as_reward_func()(["Q", "Q"], ["A", "A"], chat_template_kwargs=[{}, "x"])


FAULTY = {
    "a NUL": "x\x00y",
    "half of a pair": "x\ud800",
    "a tool last": [{"role": "assistant", "content": "A"}, {"role": "tool", "content": "4"}],
    "over-long": "river " * 200,
}


@pytest.mark.parametrize("bad", FAULTY.values(), ids=FAULTY)
def test_a_completion_without_a_score_has_no_reward_and_the_others_have_theirs(model, caplog, bad):
    """Of the same prompt and of another one; TRL takes None for a completion without reward."""
    prompts, completions = ["the river", "the river", "a stone", "a stone"], ["runs", bad, bad, "bridge"]
    expected = model.as_reward_func()(["the river", "a stone"], ["runs", "bridge"])
    assert model.as_reward_func(faulty="none")(prompts, completions) == [expected[0], None, None, expected[1]]
    assert "bradley: 2 of 4 completions have no reward: conversation 2 cannot be scored" in caplog.text
    with pytest.raises(DataError, match="conversation 2 cannot be scored"):
        model.as_reward_func()(prompts, completions)
    assert model.as_reward_func(faulty="none")(["a stone"], [bad]) == [None]


def test_an_unknown_policy_for_faulty_completions_is_refused(model):
    with pytest.raises(UserError, match="faulty = 'skip' is unknown"):
        model.as_reward_func(faulty="skip")


TURNS = [{"role": "user", "content": "the river"}, {"role": "assistant", "content": "runs"}]


@pytest.mark.parametrize(
    ("template", "trained", "texts", "told"),
    [
        ("raw", "text", False, "messages: scored as plain text"),
        ("raw", "messages", True, "plain text: scored as messages"),
        ("raw", "text", True, ""),
        ("raw", "messages and text", True, ""),
        ("raw", "messages", False, ""),
        ("simple_chat", "text", False, ""),
        ("raw", "", True, ""),
    ],
)
def test_rows_of_another_kind_than_in_training_are_read_in_that_kind_and_said_once(
    tmp_path, caplog, template, trained, texts, told
):
    """Under `raw`, where the same conversation as text or as messages gives other tokens."""
    renderer = Renderer(TOKENIZER, Render(max_tokens=64, template=template), causal=True)
    save_model(tmp_path / "m", tiny_model(LLAMA, TOKENIZER), renderer, {"kind": trained})
    model = bradley.RewardModel.from_pretrained(tmp_path / "m")
    found = [model.rank("the river", ["runs"])[0][1] if texts else model.score([TURNS])[0] for _ in range(2)]
    assert [line.split(",")[0].split(":")[:2] for line in caplog.messages] == ([told.split(":")] if told else [])
    if told:
        other = model.score([TURNS])[0] if texts else model.rank("the river", ["runs"])[0][1]
        assert found == [other, other]


def test_of_responses_to_one_prompt_only_those_of_another_kind_have_no_score(tmp_path):
    renderer = Renderer(TOKENIZER, Render(max_tokens=64, template="raw"), causal=True)
    save_model(tmp_path / "m", tiny_model(LLAMA, TOKENIZER), renderer, {"kind": "text"})
    model = bradley.RewardModel.from_pretrained(tmp_path / "m")
    several = [{"role": "assistant", "content": "runs"}, *TURNS]
    prompt, completions = TURNS[:1], [TURNS[1:], several, [{"role": "assistant", "content": "bridge"}]]
    found = model.as_reward_func(faulty="none")([prompt] * 3, completions)
    assert found[1] is None and [found[0], found[2]] == model.as_reward_func()(["the river"] * 2, ["runs", "bridge"])
    with pytest.raises(DataError, match="response 1 cannot be scored: kind: messages") as caught:
        model.rank(prompt, completions)
    assert "rank(prompt, responses)" in caught.value.hint


def test_what_cannot_be_scored_is_named(folder, model):
    good = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]
    with pytest.raises(DataError, match="conversation 2 cannot be scored: shape: found the roles user"):
        model.score([good, good[:1]])
    long = [good[0], {"role": "assistant", "content": "river " * 200}]
    with pytest.raises(DataError, match=r"^conversation 2 cannot be scored: over_long") as caught:
        model.score([good, long])
    assert "over_long" in caught.value.hint
    with pytest.raises(DataError, match=r"^response 1 cannot be scored: over_long"):
        model.rank("Q", ["A", "river " * 200])
    with pytest.raises(DataError, match=r"^conversation 1 cannot be scored: over_long"):
        model.score([long])
    assert len(bradley.RewardModel.from_pretrained(folder, over_long="truncate_response").score([good, long])) == 2
    with pytest.raises(UserError, match="over_long = 'cut'"):
        bradley.RewardModel.from_pretrained(folder, over_long="cut")


def test_rewards_of_the_texts_that_trl_decodes(model):
    """Arguments as its trainer passes them for prompts without roles: two completions to each prompt."""
    prompts = [text for text in ("the river runs", "a stone bridge") for _ in range(2)]
    completions = ["", " under", "<|user|>counts", " trees\n trees"]
    given = {"completion_ids": [[5]] * 4, "trainer_state": object(), "log_extra": print, "log_metric": print}
    found = model.as_reward_func()(prompts=prompts, completions=completions, **given)
    assert len(found) == 4 and len(set(found)) == 4
    for prompt, completion, score in zip(prompts, completions, found, strict=True):
        turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": completion}]
        assert score == pytest.approx(model.score([turns])[0], rel=1e-4, abs=1e-6)


@pytest.mark.skipif(find_spec("trl") is None, reason="trl is not installed")
def test_trl_trains_a_policy_on_the_rewards(model, tmp_path):
    from datasets import Dataset
    from transformers import AutoConfig, AutoModelForCausalLM
    from trl import GRPOConfig, GRPOTrainer

    torch.manual_seed(0)
    ends = {"bos_token_id": TOKENIZER.bos_token_id, "eos_token_id": TOKENIZER.eos_token_id}
    settings = {key: value for key, value in LLAMA.items() if key != "model_type"}
    config = AutoConfig.for_model("llama", **settings, **ends, vocab_size=len(TOKENIZER))
    policy = AutoModelForCausalLM.from_config(config)
    seen = []
    reward = model.as_reward_func()

    def watched(prompts, completions, **columns):
        found = reward(prompts, completions, **columns)
        seen.append((prompts, completions, found))
        return found

    texts = ["the river runs", "a stone bridge", "tall trees", "birds watch"]
    prompts = [[{"role": "user", "content": text}] for text in texts]
    args = GRPOConfig(
        output_dir=str(tmp_path),
        per_device_train_batch_size=4,
        num_generations=2,
        max_completion_length=6,
        max_steps=2,
        learning_rate=1e-2,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        logging_steps=1,
    )
    before = {name: weight.clone() for name, weight in policy.named_parameters()}
    trainer = GRPOTrainer(
        model=policy,
        reward_funcs=watched,
        args=args,
        train_dataset=Dataset.from_dict({"prompt": prompts}),
        processing_class=TOKENIZER,
    )
    trainer.train()
    assert any(not torch.equal(weight, before[name]) for name, weight in policy.named_parameters())
    assert len(seen) == 2 and all(len(found) == 4 for *_, found in seen)
    logged = [row["rewards/watched/mean"] for row in trainer.state.log_history if "rewards/watched/mean" in row]
    np.testing.assert_allclose(logged, [np.mean(found) for *_, found in seen], rtol=1e-5)
    for given, completions, found in seen:
        for prompt, completion, score in zip(given, completions, found, strict=True):
            expected = model.score([[*prompt, *completion]])[0]
            assert score == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_a_conversation_outside_of_a_list_is_named(model):
    with pytest.raises(UserError) as refused:
        model.score([{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}])
    assert "score([conversation])" in refused.value.hint
