"""Computed memory against the tensors that there are: weights, optimizer states, and what autograd keeps."""

import json

import pytest
import torch
from memory_table import GPUS, SHAPES, WAYS, gpu_table
from torch.autograd.graph import saved_tensors_hooks

from bradley.cli.main import run
from bradley.config import Config, Model, Optim
from bradley.errors import UserError
from bradley.estimate.memory import Setup, kept_per_token, memory_of
from bradley.estimate.memory_plan import in_mode, modes_of, partial_gradients, plan_memory
from bradley.estimate.shapes import network_of
from bradley.model.adapters import add_adapter
from bradley.model.cost import load_on
from bradley.model.engine.batch import collate
from bradley.model.outline import outline
from bradley.training.optim import make_optimizer
from tests.helpers import BERT, GPT2, GPT_NEOX, LLAMA, QWEN, comparisons, store_for, tiny_model, tokenizer_for

pytestmark = pytest.mark.transformers

ROWS = [*comparisons(20), *comparisons(4, responses=4, seed=3)]
TOKENIZER = tokenizer_for(ROWS)
QWEN3 = {**LLAMA, "model_type": "qwen3", "head_dim": 16}
FAMILIES = {"llama": LLAMA, "gpt2": GPT2, "bert": BERT, "qwen2": QWEN, "qwen3": QWEN3, "gpt_neox": GPT_NEOX}
WIDE = {"llama": {"hidden_size": 64, "intermediate_size": 176}, "qwen3": {"hidden_size": 64}, "gpt2": {"n_embd": 64}}
WIDE["qwen2"] = {"hidden_size": 64, "num_attention_heads": 8, "num_key_value_heads": 1}


def setup(**changes):
    return Setup(**{
        "tokens": 1000, "longest": 100, "number": 4, "engine": "segments", "checkpointing": False,
        "optimizer": "AdamW", "options": {}, **changes,
    })  # fmt: skip


@pytest.mark.parametrize("trainable", ["all", "head", "head_and_norms"])
@pytest.mark.parametrize("family", FAMILIES)
def test_an_outline_has_the_weights_of_the_network_and_none_of_their_numbers(family, trainable):
    settings = {"trainable": trainable, "vocab_size": 320}
    real = tiny_model(FAMILIES[family], TOKENIZER, **settings).network
    drawn = outline(Model(config={**FAMILIES[family], "vocab_size": len(TOKENIZER)}, tokenizer="train", **settings))
    assert {name: (p.shape, p.requires_grad) for name, p in drawn.named_parameters()} == {
        name: (p.shape, p.requires_grad) for name, p in real.named_parameters()
    }
    assert all(p.is_meta for p in drawn.parameters())
    assert network_of(drawn) == network_of(real)


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
@pytest.mark.parametrize("trainable", ["all", "head_and_norms"])
def test_bytes_of_weights_gradients_and_states_are_those_of_a_step(family, trainable):
    model = tiny_model(FAMILIES[family], TOKENIZER, trainable=trainable)
    for name in ("AdamW", "SGD", "Adafactor"):
        optimizer = make_optimizer(model, Optim(name=name, options={"momentum": 0.9} if name == "SGD" else {}))
        batch = collate(store_for(ROWS, TOKENIZER), torch.arange(4).numpy(), store_for(ROWS, TOKENIZER).weight)
        model(batch).sum().backward()
        for p in model.parameters():
            p.grad = torch.zeros_like(p) if p.requires_grad and p.grad is None else p.grad
        optimizer.step()
        found = memory_of(network_of(model.network), setup(optimizer=name, options=dict(optimizer.defaults)))
        assert found["weights"] == 4 * sum(p.numel() for p in model.parameters())
        assert found["gradients"] == 4 * sum(p.grad.numel() for p in model.parameters() if p.grad is not None)
        assert found["optimizer"] == sum(
            4 * value.numel() for state in optimizer.state.values() for value in state.values() if value.ndim
        )


def kept_by(model, batch):
    """Bytes of every storage that autograd keeps for the backward pass, the weights of the model aside."""
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    found = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        scores = model(batch)  # alive until the count is done, so that no place is used twice
    assert len(scores)
    return sum(found.values())


def adapted(**settings):
    def change(network):
        chosen = Model.model_validate({"path": "base", "adapter": {"kind": "lora", "rank": 4, **settings}})
        add_adapter(network, chosen, "")

    return change


KEEPS = [
    ("llama", "segments", "float32", None),
    ("llama", "segments", "bfloat16", None),
    ("llama", "plain", "float32", None),
    ("qwen2", "segments", "float32", None),
    ("qwen3", "segments", "float32", None),
    ("gpt2", "segments", "float32", None),
    ("gpt2", "plain", "float32", None),
    ("gpt_neox", "segments", "float32", None),
    ("bert", "plain", "float32", None),
    ("bert", "plain", "bfloat16", None),
    ("llama", "segments", "float32", adapted()),
    ("llama", "segments", "float32", adapted(targets="attention")),
    ("llama", "segments", "bfloat16", adapted(norms=True)),
]


@pytest.mark.parametrize(("family", "engine", "precision", "change"), KEEPS)
def test_activations_are_what_autograd_keeps(family, engine, precision, change):
    """Wide and deep enough that what the formula leaves out, masks and embeddings, is little of the whole."""
    config = {**FAMILIES[family], **WIDE.get(family, {})}
    config["n_layer" if family == "gpt2" else "num_hidden_layers"] = 4
    model = tiny_model(config, TOKENIZER, engine=engine, precision=precision)
    if change:
        change(model.network)
    store = store_for(ROWS, TOKENIZER)
    batch = collate(store, torch.arange(len(store)).numpy(), store.weight)
    sizes = load_on(model, store).sizes
    tokens = sizes.rows.sum() * sizes.longest.max() if engine == "plain" else len(batch.tokens)
    network = network_of(model.network)
    made = setup(
        tokens=int(tokens), longest=int(sizes.longest.max()), number=2 if precision == "bfloat16" else 4, engine=engine
    )
    counted = memory_of(network, made)
    assert kept_by(model, batch) == pytest.approx(counted["activations"] + counted["copies"], rel=0.04)


def test_a_frozen_backbone_keeps_nothing():
    assert kept_per_token(network_of(tiny_model(LLAMA, TOKENIZER, trainable="head").network), setup()) == 0
    some = tiny_model(LLAMA, TOKENIZER, trainable="head_and_norms").network
    assert (
        0
        < kept_per_token(network_of(some), setup())
        < kept_per_token(network_of(tiny_model(LLAMA, TOKENIZER).network), setup())
    )


def test_checkpointing_keeps_the_input_of_every_layer_and_all_of_one():
    network = network_of(tiny_model({**LLAMA, "num_hidden_layers": 10}, TOKENIZER).network)
    one = network_of(tiny_model({**LLAMA, "num_hidden_layers": 1}, TOKENIZER).network)
    assert kept_per_token(network, setup(checkpointing=True)) == pytest.approx(
        kept_per_token(one, setup()) + 10 * 4 * LLAMA["hidden_size"]
    )


def test_copies_of_frozen_weights_are_let_go_where_activations_are_computed_again():
    model = tiny_model({**LLAMA, "num_hidden_layers": 10}, TOKENIZER)
    adapted()(model.network)
    network = network_of(model.network)
    kept, passing = (memory_of(network, setup(number=2, checkpointing=on))["copies"] for on in (False, True))
    assert kept == 2 * (network.matrices + network.frozen_matrices) and network.matrices > 0
    assert kept - passing > 2 * 0.5 * network.frozen_matrices


def test_an_encoder_is_planned_on_padded_rows():
    of_bert, of_llama = (
        plan_memory(Config.model_validate({"model": {"config": config, "tokenizer": "train"}}))
        for config in (BERT, LLAMA)
    )
    assert (of_bert["engine"], of_llama["engine"]) == ("plain", "segments")


def test_sharding_divides_what_it_says_and_nothing_else():
    network = network_of(tiny_model({**LLAMA, "num_hidden_layers": 10}, TOKENIZER).network)
    one = setup(partial_gradients=5)
    found = {mode: memory_of(network, in_mode(one, mode, 16)) for mode in modes_of(16)}
    whole = memory_of(network, setup())
    assert found["replicate"]["gradients"] == 5 * whole["gradients"]
    for mode, shards in (("shard_optimizer_and_gradients", 16), ("shard_all", 16), ("hybrid", 8)):
        for part in ("weights", "gradients", "optimizer"):
            assert found[mode][part] == pytest.approx(whole[part] / shards, abs=1), (mode, part)
        assert found[mode]["activations"] == whole["activations"]
    assert found["shard_optimizer_and_gradients"]["copies"] > whole["weights"]
    assert found["shard_all"]["copies"] < whole["weights"]
    for row in found.values():
        assert row["total"] == pytest.approx(sum(value for part, value in row.items() if part != "total"), abs=4)


def test_one_process_holds_two_gradients_and_several_one_for_each_of_their_parts():
    def held(batch_size, processes, parts=8):
        given = {"model": {"config": LLAMA, "tokenizer": "train"}, "train": {"batch_size": batch_size}}
        return partial_gradients(Config(**given, parallel={"parts": parts}), processes)

    assert [held(size, 1) for size in (1, 2, 256)] == [1, 2, 2]
    assert [held(256, processes) for processes in (2, 3, 4, 8)] == [4, 3, 2, 1]
    assert held(256, 2, parts=64) == 32 and held(4, 2) == 2


def test_four_bits_take_an_eighth_and_a_scale_for_each_64():
    settings = {"path": "base", "adapter": {"kind": "lora", "quantize": "nf4"}}
    network = tiny_model(LLAMA, TOKENIZER).network
    linear = sum(p.numel() for name, p in network.named_parameters() if "proj" in name)
    add_adapter(network, Model.model_validate(settings), "")
    half, full = (memory_of(network_of(network, kind), setup())["weights"] for kind in ("nf4", "none"))
    assert full - half == pytest.approx(linear * (4 - 0.5625), abs=1)


def test_a_model_without_linear_layers_is_refused():
    mixtral = {
        **LLAMA, "model_type": "mixtral", "num_local_experts": 2, "vocab_size": 320,
        "bos_token_id": None, "eos_token_id": None, "pad_token_id": None,
    }  # fmt: skip
    with pytest.raises(UserError, match="the memory of a mixtral is not known here"):
        network_of(outline(Model(config=mixtral, tokenizer="train", vocab_size=320)))


def test_the_plan_follows_the_settings():
    base = {"model": {"config": LLAMA, "tokenizer": "train"}, "train": {"device": "cuda"}}

    def total(processes=1, **sections):
        changed = {name: {**base.get(name, {}), **values} for name, values in sections.items()}
        found = plan_memory(Config.model_validate({**base, **changed}), processes)
        return found["bytes"]["replicate"]["total"]

    assert total(train={"micro_batch_tokens": 4096}) < total() == total(train={"micro_batch_tokens": 8192})
    assert total(model={"gradient_checkpointing": True}) < total()
    assert total(model={"precision": "float32"}) > total()
    assert total(optim={"name": "SGD"}) < total()
    assert total(model={"engine": "plain"}) > total()
    on_cpu = plan_memory(Config.model_validate({**base, "train": {"device": "cpu", "batch_size": 32}}), 3)
    assert on_cpu["partial_gradients"] == 3 and list(on_cpu["bytes"]) == list(modes_of(3)) and len(modes_of(3)) == 3


def test_the_command_prints_a_table_or_one_object(tmp_path, capsys):
    file = tmp_path / "run.toml"
    file.write_text('[model]\ntokenizer = "train"\n[model.config]\nmodel_type = "llama"\n')
    args = ["plan", str(file), "--memory", *(f"--model.config.{k}={v}" for k, v in LLAMA.items() if k != "model_type")]
    assert run([*args, "--processes", "16"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[4].split() == list(modes_of(16))
    parts = [line.split() for line in lines[5:]]
    assert [row[0] for row in parts] == [
        "weights", "copies", "gradients", "optimizer", "activations", "working", "total"
    ]  # fmt: skip
    assert all(len(row) == 5 and min(map(float, row[1:])) >= 0 for row in parts)
    assert run([*args, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["bytes"]) == ["replicate"] and found["trained"] == found["parameters"]
    assert run([*args, "--no-timing"]) == 2
    assert run([*args[:2], "--processes", "2"]) == 2


@pytest.mark.nightly  # by day test_docs.py holds the table of the page to the code
def test_the_table_of_gpus_has_a_row_for_each_shape_and_way():
    rows = [line.split(" | ") for line in gpu_table().splitlines()[2:]]
    assert len(rows) == 2 + len(SHAPES) * len(WAYS) and {len(row) for row in rows[2:]} == {5 + len(GPUS)}
    full = next(row for row in rows if row[0] == "| 8B" and row[1] == "all weights, AdamW")
    assert full[2] == "7.50B"  # an 8B without its language head
    assert 4 * 4 * 7.5e9 / 2**30 < float(full[3]) < 1.3 * 4 * 4 * 7.5e9 / 2**30
    assert full[-1].startswith("– (–)")
    small = next(row for row in rows if row[0] == "| 0.1B" and row[1] == "all weights, AdamW")
    plain, recomputed = small[5].replace("(", "").replace(")", "").split()
    assert 8 < int(plain) < int(recomputed)
