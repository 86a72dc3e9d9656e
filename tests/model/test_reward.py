"""Scores: the same alone, in a batch, padded, packed; a float32 head; pooling by index."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bradley.config import Model
from bradley.errors import CheckpointError, UserError
from bradley.model.build import build_model, compute_dtype
from bradley.model.engine.batch import collate, padded_rows
from bradley.model.network import check_config_keys, silence_dropout
from bradley.model.reward import ScoreModel, draw_head
from tests.helpers import BERT, GPT2, GPT_NEOX, LLAMA, QWEN, comparisons, store_for, tiny_model, tokenizer_for

pytestmark = pytest.mark.transformers

ROWS = [*comparisons(5), *comparisons(3, responses=4, seed=3)]
TOKENIZER = tokenizer_for(ROWS)
STORE = store_for(ROWS, TOKENIZER)
WEIGHTS = STORE.judgment_weights("prompt")
ALL = np.arange(len(ROWS))
MODELS = {"llama": LLAMA, "qwen2": QWEN, "gpt2": GPT2, "gpt_neox": GPT_NEOX, "bert": BERT}


def alone(model, number, response):
    """The score that plain transformers gives one sequence."""
    model.use("plain")
    ids = torch.from_numpy(STORE.response_ids(number, response).astype(np.int64))[None]
    with torch.no_grad():
        return float(model.network(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, 0])


@pytest.mark.parametrize("name", sorted(MODELS))
def test_scores_equal_transformers_on_each_sequence_alone(name):
    model = tiny_model(MODELS[name], TOKENIZER)
    with torch.no_grad():
        scores = model(collate(STORE, ALL, WEIGHTS))
    expected = [alone(model, g, k) for g, row in enumerate(ROWS) for k in range(len(row.responses))]
    np.testing.assert_allclose(scores, expected, atol=2e-6)
    assert scores.dtype == torch.float32


@given(st.sampled_from(["plain", "segments"]), st.permutations(list(range(len(ROWS)))), st.integers(1, len(ROWS)))
def test_scores_do_not_depend_on_neighbours_or_padding(engine, order, size):
    model = MODEL
    model.use(engine)
    chosen = np.array(order[:size])
    with torch.no_grad():
        scores = model(collate(STORE, chosen, WEIGHTS))
        expected = torch.cat([model(collate(STORE, np.array([g]), WEIGHTS)) for g in chosen])
    np.testing.assert_allclose(scores, expected, atol=1e-6)


MODEL = tiny_model(LLAMA, TOKENIZER)


def test_padded_rows_are_the_full_sequences():
    rows = padded_rows(collate(STORE, ALL[::-1].copy(), WEIGHTS), pad_id=0)
    place = 0
    for g in ALL[::-1]:
        for k in range(len(ROWS[g].responses)):
            length = int(rows.last[place]) + 1
            assert rows.input_ids[place, :length].tolist() == STORE.response_ids(int(g), k).tolist()
            assert rows.attention_mask[place].sum() == length
            place += 1


def test_batch_indices_agree_with_the_records():
    batch = collate(STORE, ALL, WEIGHTS)
    assert batch.targets.group.tolist() == [g for g, row in enumerate(ROWS) for _ in row.responses]
    start = np.cumsum([0] + [len(row.responses) for row in ROWS])
    pairs = [(start[g] + j.better, start[g] + j.worse) for g, row in enumerate(ROWS) for j in row.judgments]
    assert list(zip(batch.targets.better.tolist(), batch.targets.worse.tolist(), strict=True)) == pairs
    sizes = batch.segments.diff()
    assert torch.equal(batch.positions[batch.last], sizes[batch.prefix] + sizes[batch.own] - 1)


def test_pooling_by_index_where_the_pad_token_is_the_end_token():
    """Multi-turn rows with the end token at every turn, padded with it: pooling by id reads another token."""
    model = tiny_model(LLAMA, TOKENIZER, engine="plain")
    with torch.no_grad():
        before = model(collate(STORE, ALL, WEIGHTS))
        model.network.config.pad_token_id = TOKENIZER.eos_token_id
        after = model(collate(STORE, ALL, WEIGHTS))
        rows = padded_rows(collate(STORE, ALL, WEIGHTS), TOKENIZER.eos_token_id)
        by_id = model.network(input_ids=rows.input_ids, attention_mask=rows.attention_mask).logits[:, 0]
    np.testing.assert_allclose(before, after, atol=1e-6)
    assert (by_id - before).abs().max() > 1e-3  # the trap


def test_left_padding_would_change_absolute_positions_and_ours_does_not():
    model = tiny_model(GPT2, TOKENIZER, engine="plain")
    ids = torch.from_numpy(STORE.response_ids(0, 0).astype(np.int64))
    left = torch.cat([torch.full((7,), TOKENIZER.pad_token_id), ids])[None]
    mask = torch.cat([torch.zeros(7), torch.ones(len(ids))]).long()[None]
    with torch.no_grad():
        naive = float(model.network(input_ids=left, attention_mask=mask).logits[0, 0])
        scores = model(collate(STORE, ALL, WEIGHTS))
    assert abs(naive - alone(model, 0, 0)) > 1e-4  # the trap
    assert float(scores[0]) == pytest.approx(alone(model, 0, 0), abs=2e-6)


@pytest.mark.parametrize("name", ["llama", "bert"])
def test_the_head_is_float32_under_bfloat16_compute(name):
    model = tiny_model(MODELS[name], TOKENIZER, precision="bfloat16")
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    with torch.no_grad():
        scores = model(collate(STORE, ALL, WEIGHTS)) * 100
        exact = tiny_model(MODELS[name], TOKENIZER)(collate(STORE, ALL, WEIGHTS)) * 100
    assert scores.dtype == torch.float32
    assert (scores != scores.bfloat16().float()).any()  # finer than bfloat16 can hold
    assert 0 < (scores - exact).abs().max() < 5


def test_the_head_is_drawn_from_its_stated_distribution_and_by_seed():
    wide = {**LLAMA, "hidden_size": 512, "intermediate_size": 32, "num_hidden_layers": 1}
    weights = [tiny_model(wide, TOKENIZER, seed).network.score.weight for seed in (0, 0, 1)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    assert float(weights[0].detach().std()) == pytest.approx(1 / math.sqrt(513), rel=0.15)


def test_the_seed_alone_decides_the_weights():
    torch.manual_seed(1)
    first = tiny_model(LLAMA, TOKENIZER)
    torch.manual_seed(2)
    second = tiny_model(LLAMA, TOKENIZER)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_a_reward_model_keeps_its_head_and_a_language_model_gets_one(tmp_path):
    from transformers import AutoModelForCausalLM

    trained = tiny_model(LLAMA, TOKENIZER)
    draw_head(trained.network, 123)
    trained.network.save_pretrained(tmp_path / "rm")
    again = build_model(Model(path=str(tmp_path / "rm")), TOKENIZER, 0, torch.device("cpu"))
    assert torch.equal(again.model.network.score.weight, trained.network.score.weight)
    assert again.head.startswith("loaded")

    config = trained.network.config
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "lm")
    fresh = build_model(Model(path=str(tmp_path / "lm")), TOKENIZER, 0, torch.device("cpu"))
    assert fresh.head.startswith("drawn")
    assert float(fresh.model.network.score.weight.detach().std()) == pytest.approx(1 / math.sqrt(33), rel=0.5)


def test_a_checkpoint_that_lacks_more_than_a_head_is_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    tiny_model(LLAMA, TOKENIZER).network.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["model.layers.0.mlp.up_proj.weight"]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="lacks 1 weights besides the head"):
        build_model(Model(path=str(tmp_path)), TOKENIZER, 0, torch.device("cpu"))


def test_an_encoder_without_its_pooler_gets_one_drawn(tmp_path):
    from transformers import AutoModelForMaskedLM

    config = tiny_model(BERT, TOKENIZER).network.config
    AutoModelForMaskedLM.from_config(config).save_pretrained(tmp_path)
    built = build_model(Model(path=str(tmp_path)), TOKENIZER, 0, torch.device("cpu"))
    assert built.head == "drawn, the encoder's own"


def test_rows_added_to_an_embedding_come_from_the_seed_as_well(tmp_path):
    tiny_model(GPT2, TOKENIZER).network.save_pretrained(tmp_path)
    larger = tokenizer_for(ROWS)
    larger.add_tokens(["<|new|>"])
    embeddings = []
    for global_seed in (1, 2):
        torch.manual_seed(global_seed)
        model = build_model(Model(path=str(tmp_path)), larger, 0, torch.device("cpu")).model
        embeddings.append(model.network.get_input_embeddings().weight.detach())
    assert len(embeddings[0]) == len(TOKENIZER) + 1
    assert torch.equal(*embeddings)


def test_bad_models_say_what_is_wrong(tmp_path):
    cpu = torch.device("cpu")
    with pytest.raises(CheckpointError, match="does not exist"):
        build_model(Model(path="./absent"), TOKENIZER, 0, cpu)
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        build_model(Model(path=str(tmp_path)), TOKENIZER, 0, cpu)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(CheckpointError, match="no safetensors weights"):
        build_model(Model(path=str(tmp_path)), TOKENIZER, 0, cpu)
    with pytest.raises(UserError, match="does not make a classifier"):
        build_model(Model(config={"model_type": "lama"}, tokenizer="train"), TOKENIZER, 0, cpu)
    with pytest.raises(UserError, match=r"model\.config\.hiden_size: a llama has no such setting") as caught:
        tiny_model({**LLAMA, "hiden_size": 8}, TOKENIZER)
    assert caught.value.hint == "did you mean hidden_size?"
    with pytest.raises(UserError, match="does not make a classifier"):
        tiny_model({**LLAMA, "hidden_size": 33}, TOKENIZER)
    with pytest.raises(CheckpointError, match="not installed"):
        build_model(Model(path="package:no_such_package"), TOKENIZER, 0, cpu)


@pytest.mark.parametrize("kind", ["qwen2_moe", "qwen3_moe", "phi3"])
def test_a_setting_that_the_network_alone_reads_is_taken(kind):
    from transformers import AutoConfig

    config = AutoConfig.for_model(kind)
    check_config_keys(config, {"head_dim": 8})
    with pytest.raises(UserError, match=rf"model\.config\.head_dims: a {kind} has no such setting") as caught:
        check_config_keys(config, {"head_dims": 8})
    assert caught.value.hint == "did you mean head_dim?"


def test_a_model_with_code_of_its_own_is_told_the_setting(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "mine", "auto_map": {"AutoConfig": "code.MyConfig"}}')
    (tmp_path / "code.py").write_text("raise SystemExit('this code ran')\n")
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="brings Python code of its own, which is not run") as caught:
        build_model(Model(path=str(tmp_path)), TOKENIZER, 0, torch.device("cpu"))
    assert "--model.trust_remote_code true" in caught.value.hint


def test_dropout_is_off_in_modules_and_in_what_attention_functions_read():
    model = tiny_model(GPT2, TOKENIZER)
    assert model.training
    batch = collate(STORE, ALL, WEIGHTS)
    with torch.no_grad():
        assert torch.equal(model(batch), model(batch))
        noisy = tiny_model(GPT2, TOKENIZER, dropout=True)
        assert not torch.equal(noisy(batch), noisy(batch))  # GPT-2's own rate of 0.1
    from transformers import AutoConfig

    config = AutoConfig.for_model("gemma3", text_config={"attention_dropout": 0.3})
    silence_dropout(config)
    assert config.text_config.attention_dropout == 0.0


def test_the_pad_token_is_set_where_a_composite_model_reads_it():
    """Such a config holds another one for text, and a pad token set on the outer one is never seen."""
    text = {k: v for k, v in LLAMA.items() if k not in ("model_type", "num_key_value_heads")}
    vision = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    composite = {
        "model_type": "gemma3",
        "text_config": {**text, "vocab_size": len(TOKENIZER), "num_key_value_heads": 2, "head_dim": 8},
        "vision_config": {**vision, "image_size": 28, "patch_size": 14},
        "mm_tokens_per_image": 4,
    }
    network = tiny_model(composite, TOKENIZER).network
    assert network.config.text_config.pad_token_id == TOKENIZER.pad_token_id
    assert network.config.text_config is not network.config


def test_the_pad_token_is_set_where_the_head_reads_it():
    network = tiny_model(LLAMA, TOKENIZER).network
    assert network.config.get_text_config().pad_token_id == TOKENIZER.pad_token_id
    assert TOKENIZER.pad_token_id != TOKENIZER.eos_token_id


def test_data_parallel_is_refused_around_the_network_and_around_the_model():
    """It would hand each GPU the whole packed batch and then join the scores: twice as many as there are responses."""
    model = tiny_model(LLAMA, TOKENIZER)
    with pytest.raises(UserError, match=r"does not run under nn\.DataParallel"):
        ScoreModel(torch.nn.DataParallel(model.network))
    replica = model._replicate_for_data_parallel()
    with pytest.raises(UserError, match=r"does not run under nn\.DataParallel"):
        replica(collate(STORE, ALL, WEIGHTS))


def test_a_device_without_bfloat16_is_an_error_and_never_another_dtype(monkeypatch):
    cuda, cpu = torch.device("cuda"), torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    assert compute_dtype("auto", cuda) == compute_dtype("bfloat16", cuda) == torch.bfloat16
    assert compute_dtype("bfloat16", cpu) == torch.bfloat16
    assert compute_dtype("auto", cpu) == compute_dtype("float32", cuda) == torch.float32
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    assert compute_dtype("float32", cuda) == torch.float32
    for precision in ("auto", "bfloat16"):
        with pytest.raises(UserError, match="cuda does not compute in it") as caught:
            compute_dtype(precision, cuda)
        assert caught.value.hint == "use --model.precision float32"


def test_an_encoder_with_a_decoder_is_refused():
    bart = {
        "model_type": "bart",
        "d_model": 32,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "max_position_embeddings": 64,
    }
    with pytest.raises(UserError, match="a bart is an encoder and a decoder"):
        tiny_model(bart, tokenizer_for(comparisons(3)))
