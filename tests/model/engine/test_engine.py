"""The shared-prefix engine: the scores and gradients of the plain path, from each prompt read once."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import AutoModelForSequenceClassification

from bradley.config import Render
from bradley.data.render import Renderer
from bradley.errors import CheckpointError, UserError
from bradley.model.choose_engine import choose_engine, prove
from bradley.model.engine import segments
from bradley.model.engine import segments as blocks
from bradley.model.engine.batch import collate
from bradley.model.engine.contract import Refused
from bradley.model.folder.save_load import load_model, save_model
from bradley.scoring.reward_model import score_comparisons
from bradley.training.loop import fit
from tests.helpers import BERT, LLAMA, QWEN, tiny_model
from tests.model.engine.engines import (
    BUILT,
    FAMILIES,
    GROUPS,
    MODELS,
    ROWS,
    STORE,
    TOKENIZER,
    WEIGHTS,
    YARDSTICK,
    assert_equal_engines,
    packed,
    run,
    use,
)
from tests.training.jobs import config, job, lines

pytestmark = pytest.mark.transformers

LONG = {**LLAMA, "max_position_embeddings": 1024}


@pytest.mark.parametrize("name", FAMILIES)
@given(
    groups=GROUPS,
    call=st.sampled_from([0, 200, blocks.CALL_PAIRS, 10**9]),
    queries=st.sampled_from([0, blocks.CALL_QUERIES]),
    seed=st.integers(0, 99),
)
@example(groups=[(39, [2])], call=0, queries=0, seed=0)
@example(groups=[(5, [3, 30, 20])], call=0, queries=0, seed=0)
@settings(max_examples=25, deadline=None)
def test_scores_and_gradients_equal_the_plain_path(name, groups, call, queries, seed):
    """`call` and `queries` are what joining and cutting depend on: a block for each segment, some joined, or one for
    the whole row; each in one piece, or in as many as may be."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "CALL_PAIRS", call)
        patch.setattr(blocks, "CALL_QUERIES", queries)
        assert_equal_engines(BUILT[name], packed([*groups, *YARDSTICK], seed))


@pytest.mark.parametrize("name", sorted(MODELS))
def test_scores_equal_transformers_on_each_sequence_alone(name):
    model = BUILT[name]
    model.use("segments")
    with torch.no_grad():
        scores = model(collate(STORE, np.arange(len(ROWS)), WEIGHTS))
        model.use("plain")
        ids = [
            STORE.response_ids(g, k).astype(np.int64) for g, row in enumerate(ROWS) for k in range(len(row.responses))
        ]
        expected = [float(model.network(input_ids=torch.from_numpy(row)[None]).logits[0, 0]) for row in ids]
    np.testing.assert_allclose(scores, expected, atol=2e-6)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
@pytest.mark.parametrize("trainable", ["all", "head", "head_and_norms"])
def test_with_recomputed_activations_and_frozen_weights(name, trainable):
    model = tiny_model(MODELS[name], TOKENIZER, trainable=trainable, gradient_checkpointing=True)
    assert model.engine == "segments"
    assert_equal_engines(model, packed([(11, [3, 1, 9]), (0, [5, 6]), (40, [30, 30])]))


def test_in_bfloat16_the_engines_differ_by_rounding():
    model = tiny_model(LLAMA, TOKENIZER, precision="bfloat16")
    assert_equal_engines(model, packed([(11, [3, 1, 9]), (40, [30, 30])]), scores=2e-2, gradient=5e-2)
    assert prove(use(model, "segments"), STORE).difference < 0.05


def test_changing_one_response_changes_no_other_score_by_a_bit():
    groups = [(9, [4, 7, 2]), (0, [3, 3]), (50, [40, 40, 40])]
    model, batch = use(BUILT["llama"], "segments"), packed(groups)
    with torch.no_grad():
        before = model(batch)
        for number, own in enumerate(batch.own.tolist()):
            span = slice(int(batch.segments[own]), int(batch.segments[own + 1]))
            kept = batch.tokens[span].clone()
            batch.tokens[span] = (kept + 17) % 300
            changed = (model(batch) != before).nonzero()[:, 0].tolist()
            batch.tokens[span] = kept
            assert changed == [number]


def test_changing_a_prompt_changes_its_own_scores_alone():
    model, batch = use(BUILT["gpt2"], "segments"), packed([(9, [4, 7, 2]), (5, [3, 3])])
    with torch.no_grad():
        before = model(batch)
        batch.tokens[0] += 1
        assert (model(batch) != before).tolist() == [True, True, True, False, False]


def test_two_runs_give_the_same_bits():
    batch = packed([(9, [4, 7, 2]), (0, [3, 3]), (50, [40, 40, 40])])
    one, other = (run(BUILT["llama"], "segments", batch) for _ in range(2))
    assert torch.equal(one[0], other[0]) and all(torch.equal(g, other[1][name]) for name, g in one[1].items())


def test_every_token_goes_through_the_backbone_once():
    model, batch = use(BUILT["llama"], "segments"), packed([(9, [4, 7, 2]), (0, [3, 3])])
    seen = []
    hook = model.network.model.layers[0].mlp.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape))
    model(batch)
    hook.remove()
    assert seen == [(1, len(batch.tokens), 32)]


REFUSED = {
    "encoder": (BERT, "encoder"),
    "sliding window": ({**LLAMA, "model_type": "mistral", "sliding_window": 64}, "window of 64 tokens, and a response"),
    "window in some layers": (
        {**QWEN, "use_sliding_window": True, "sliding_window": 64, "max_window_layers": 1},
        "window of 64 tokens",
    ),
    "softcap": ({**LLAMA, "model_type": "gemma2", "head_dim": 8, "sliding_window": 512}, "softcap"),
    "sinks": (
        {**LLAMA, "model_type": "gpt_oss", "head_dim": 8, "sliding_window": 512, "num_local_experts": 4},
        "attention sinks",
    ),
    "alibi": (
        {"model_type": "falcon", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "alibi": True},
        "ALiBi",
    ),
    "no positions": ({"model_type": "bloom", "hidden_size": 32, "n_layer": 1, "n_head": 4}, "takes no position ids"),
    "state space": (
        {
            **LLAMA,
            "model_type": "jamba",
            "num_experts": 1,
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "use_mamba_kernels": False,
        },
        "layers",
    ),
    "dynamic rotary": (
        {**LLAMA, "rope_scaling": {"rope_type": "dynamic", "factor": 2.0}},
        "length of the row (dynamic)",
    ),
    "attention of its own": (
        {"model_type": "gptj", "n_embd": 32, "n_layer": 1, "n_head": 4, "rotary_dim": 4, "n_positions": 64},
        "attention outside of transformers' interface",
    ),
    "head of its own": ({"model_type": "ctrl", "n_embd": 32, "n_layer": 1, "n_head": 4, "dff": 32}, ""),
}


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_segments_do_not_express_is_refused_with_its_reason(name):
    shape, reason = REFUSED[name]
    model = tiny_model(shape, TOKENIZER, engine="plain")
    chosen = choose_engine(model, "auto", longest=512)
    assert (chosen.name, model.engine) == ("plain", "plain") and reason in chosen.reason and chosen.reason
    with pytest.raises(UserError, match=r"model\.engine = segments: the model ") as caught:
        choose_engine(model, "segments", longest=512)
    assert caught.value.hint == "use --model.engine plain" and model.engine == "plain"
    with torch.no_grad():
        assert torch.isfinite(model(packed([(9, [4, 7])]))).all()  # the plain path works as before


def test_layers_that_are_no_attention_are_refused_by_name_or_by_what_they_do():
    named = tiny_model(LLAMA, TOKENIZER, engine="plain")
    named.network.config.layer_types = ["conv", "full_attention"]
    assert choose_engine(named, "auto").reason == "has layers of the kind conv"
    mixing = tiny_model(LLAMA, TOKENIZER, engine="plain")
    mixing.network.model.layers[0].mlp.register_forward_pre_hook(lambda _, given: given[0] + given[0].roll(1, dims=1))
    assert choose_engine(mixing, "auto").reason == "mixes tokens outside of transformers' attention interface"


def test_a_window_as_long_as_the_longest_response_is_none():
    model = tiny_model({**LLAMA, "model_type": "mistral", "sliding_window": 64}, TOKENIZER)
    assert choose_engine(model, "segments", longest=64).name == "segments"
    assert_equal_engines(model, packed([(40, [24, 3])]))
    with pytest.raises(UserError, match="window of 64 tokens, shorter than a response of 65"):
        use(model, "segments")(packed([(40, [25, 3])]))


def test_a_compiled_model_stays_plain():
    assert tiny_model(LLAMA, TOKENIZER, compile=True).engine == "plain"
    with pytest.raises(UserError, match=r"is compiled \(model\.compile\)"):
        tiny_model(LLAMA, TOKENIZER, compile=True, engine="segments")


def test_attention_ignores_nothing_that_it_does_not_know():
    row = blocks.segments_of(packed([(2, [1, 1])]), torch.float32)
    tensors = [torch.zeros(1, 2, 4, 8)] * 3
    module = torch.nn.Module()
    for harmless in ({}, {"new_rule": None}, {"new_rule": False}, {"position_ids": torch.arange(4)}):
        segments.attend(module, *tensors, None, segments=row, **harmless)
    for keyword in ("new_rule", "softcap", "s_aux"):
        with pytest.raises(Refused, match=keyword):
            segments.attend(module, *tensors, None, segments=row, **{keyword: 1.0})
    with pytest.raises(Refused, match="mask of its own"):
        segments.attend(module, *tensors, torch.ones(1, 1, 4, 4), segments=row)
    with pytest.raises(Refused, match="both directions"):
        segments.attend(module, *tensors, None, segments=row, is_causal=False)
    with pytest.raises(Refused, match="hand the segments down"):
        segments.attend(module, *tensors, None)


def test_attention_weights_are_dropped_where_a_model_asks_for_it():
    """Values of one: kept weights add up to one, dropped ones do so on average alone."""
    row = blocks.segments_of(packed([(40, [30, 50])]), torch.float32)
    query, key = torch.randn(2, 1, 4, 120, 8, generator=torch.Generator().manual_seed(0))
    value, module = torch.ones(1, 4, 120, 8), torch.nn.Module()
    kept, _ = segments.attend(module, query, key, value, None, segments=row)
    dropped, _ = segments.attend(module, query, key, value, None, segments=row, dropout=0.5)
    torch.testing.assert_close(kept, torch.ones(1, 120, 4, 8))
    assert float(dropped.std()) > 0.1 and abs(float(dropped.mean()) - 1) < 0.1


@pytest.mark.parametrize("groups", [[(49, [300, 300, 700])], [(20, [650, 700])]])
def test_a_long_response_changes_no_other_score_by_a_bit(groups):
    """Where texts go in pieces: another one of the same length in the place of the last response."""
    model, batch = use(tiny_model(LONG, TOKENIZER), "segments"), packed(groups)
    changed = batch.tokens.clone()
    changed[batch.segments[-2] :] = (changed[batch.segments[-2] :] + 7) % 300
    with torch.no_grad():
        before, after = model(batch), model(replace(batch, tokens=changed))
    assert torch.equal(before[:-1], after[:-1]) and before[-1] != after[-1]


def test_a_long_text_goes_in_pieces_that_leave_out_the_keys_after_them():
    """Half of the pairs of a causal text are hidden: a piece computes those of its own last queries alone."""
    row = blocks.segments_of(packed([(49, [700, 20])]), torch.float32)
    _, long, short = row.blocks
    assert (long.size, long.prefix, short.size, short.prefix, len(short.pieces)) == (700, 49, 20, 49, 1)
    assert [piece.start for piece in long.pieces[1:]] == [piece.stop for piece in long.pieces[:-1]]
    assert (long.pieces[0].start, long.pieces[-1].stop) == (0, 700)
    assert all(piece.keys == 49 + piece.stop for piece in long.pieces)
    computed = sum(piece.mask.numel() for piece in long.pieces)
    attended = sum(int((piece.mask == 0).sum()) for piece in long.pieces)
    assert attended == 700 * 49 + 700 * 701 // 2
    assert computed < 1.25 * attended < 0.75 * 700 * 749


def test_the_proof_finds_a_response_that_does_not_see_its_prefix(monkeypatch):
    model = use(tiny_model(LLAMA, TOKENIZER), "segments")
    assert prove(model, STORE).difference < 1e-6 and model.engine == "segments"
    true = blocks._mask
    monkeypatch.setattr(blocks, "CALL_PAIRS", 10**9)

    def broken(span, layout, dtype):
        mask = true(span, layout, dtype)
        mask[-1, 0] = float("-inf")
        mask[-1, -2] = float("-inf")
        return mask

    monkeypatch.setattr(blocks, "_mask", broken)
    with pytest.raises(CheckpointError, match="other scores than plain") as caught:
        prove(model, STORE)
    assert caught.value.hint == "use --model.engine plain"


def test_the_folder_knows_nothing_of_the_engine(tmp_path):
    renderer = Renderer(TOKENIZER, Render(max_tokens=200), causal=True)
    for engine in ("plain", "segments"):
        save_model(tmp_path / engine, tiny_model(LLAMA, TOKENIZER, engine=engine), renderer, {})
    for file in ("config.json", "model.safetensors", "bradley.json"):
        assert (tmp_path / "plain" / file).read_bytes() == (tmp_path / "segments" / file).read_bytes()
    assert segments.NAME not in json.dumps(json.loads((tmp_path / "segments" / "config.json").read_text()))
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "segments")
    assert plain.config._attn_implementation == "sdpa"


def test_scoring_takes_the_same_engine(tmp_path):
    model = tiny_model(LLAMA, TOKENIZER)
    save_model(tmp_path / "m", model, Renderer(TOKENIZER, Render(max_tokens=200), causal=True), {})
    loaded, plain = (load_model(tmp_path / "m", engine=engine) for engine in ("auto", "plain"))
    assert (loaded.model.engine, plain.model.engine) == ("segments", "plain")
    shared, expected = (score_comparisons(m, ROWS) for m in (tmp_path / "m", plain))
    for one, other in zip(shared, expected, strict=True):
        np.testing.assert_allclose(one.scores, other.scores, atol=2e-6)


def test_both_engines_train_to_the_same_losses(tmp_path):
    losses = {}
    for engine in ("plain", "segments"):
        made = job(tmp_path / engine, config(train={"max_steps": 6}, optim={"lr": 1e-4}))
        made.model.use(engine)
        fit(made)
        events = [event for event in lines(tmp_path / engine) if event["kind"] == "train"]
        losses[engine] = [event["train/rm/loss"] for event in events]
    assert len(losses["plain"]) == 6 and len(set(losses["plain"])) == 6
    np.testing.assert_allclose(losses["segments"], losses["plain"], atol=1e-4)


@pytest.mark.parametrize("engine", ["plain", "segments"])
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_nothing_to_do_takes_part_with_gradients_of_zero(name, engine):
    model = BUILT[name]
    scores, gradients = run(model, engine, collate(STORE, np.zeros(0, dtype=np.int64), WEIGHTS))
    assert scores.shape == (0,)
    assert gradients.keys() == {name for name, p in model.named_parameters() if p.requires_grad}
    assert all(not gradient.any() for gradient in gradients.values())


def test_an_encoder_with_nothing_to_do_does_nothing():
    scores, gradients = run(tiny_model(BERT, TOKENIZER), "plain", collate(STORE, np.zeros(0, dtype=np.int64), WEIGHTS))
    assert scores.shape == (0,) and gradients
    assert all(not gradient.any() for gradient in gradients.values())
