"""A network from settings: what is out of reason is an error in one line, before time or memory is taken."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file, save_file

from bradley.config import Model
from bradley.errors import CheckpointError, UserError
from bradley.model.build import build_model
from bradley.model.choose_engine import choose_engine
from bradley.model.outline import outline
from tests.helpers import BERT, GPT2, LLAMA, tiny_model
from tests.model.adapted import TOKENIZER, base_model

pytestmark = pytest.mark.transformers

CPU = torch.device("cpu")


def built(**values):
    settings = Model(config={**LLAMA, **values}, tokenizer="train")
    return build_model(settings, TOKENIZER, 0, CPU).model


@pytest.mark.parametrize(
    "values",
    [
        {"id2label": ["a"]},
        {"id2label": "a"},
        {"num_hidden_layers": 2**63 - 1},
        {"num_hidden_layers": 5000},
        {"num_hidden_layers": -1.5},
        {"hidden_size": -32},
        {"hidden_size": 2**40},
        {"hidden_size": 10**7},
        {"intermediate_size": 2**62},
        {"num_attention_heads": 0},
        {"num_key_value_heads": 0},
        {"max_position_embeddings": 2**63 - 1},
        {"num_labels": 10**12},
        {"rope_scaling": [1]},
        {"hidden_act": "owner/kernel"},
        {"pad_token_id": 10**12},
        {"model_type": "no_such"},
        {"layer_types": {"a": 1}},
    ],
    ids=str,
)
def test_settings_out_of_reason_are_the_users_error(values):
    with pytest.raises(UserError) as caught:
        built(**values)
    assert "\n" not in caught.value.message and len(caught.value.message) < 600


def test_a_plan_of_a_network_larger_than_this_machine_can_be_made():
    settings = Model(config={**LLAMA, "hidden_size": 2**20, "intermediate_size": 2**22}, tokenizer="train")
    assert sum(weight.numel() for weight in outline(settings).parameters()) > 10**12
    with pytest.raises(UserError, match="and this machine has"):
        build_model(settings, TOKENIZER, 0, CPU)


@pytest.mark.parametrize(
    ("config", "rates"),
    [
        (LLAMA, {"attention_dropout": 1}),
        (GPT2, {"attn_pdrop": 1, "resid_pdrop": 1}),
        (BERT, {"hidden_dropout_prob": 1}),
    ],
    ids=["llama", "gpt2", "bert"],
)
def test_a_dropout_rate_written_as_a_whole_number_is_silenced_too(config, rates):
    model = tiny_model({**config, **rates}, TOKENIZER)
    assert all(getattr(model.network.config, name) == 0 for name in rates)
    assert choose_engine(model, "auto").name in ("segments", "plain")
    assert not any(module.p for module in model.network.modules() if isinstance(module, torch.nn.Dropout))


@pytest.mark.parametrize("name", ["flash_attention_2", "kernels-community/flash-attn2", "no_such"])
def test_attention_named_by_a_base_model_is_not_taken(tmp_path, name):
    base = base_model(tmp_path / "base", LLAMA)
    before = build_model(Model(path=str(base)), TOKENIZER, 0, CPU).model.network.config._attn_implementation
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "attn_implementation": name}))
    for network in (
        build_model(Model(path=str(base)), TOKENIZER, 0, CPU).model.network,
        outline(Model(path=str(base))),
    ):
        assert network.config._attn_implementation in (before, "sdpa")


def test_an_adapter_beside_a_whole_base_model_fetches_nothing(tmp_path):
    base = base_model(tmp_path / "base", LLAMA)
    (base / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": "owner/name", "peft_type": "LORA"})
    )
    with pytest.raises(CheckpointError, match=r"holds a whole model and adapter_config\.json"):
        build_model(Model(path=str(base)), TOKENIZER, 0, CPU)


def test_nan_in_a_setting_is_no_network():
    with pytest.raises((UserError, CheckpointError)):
        built(rms_norm_eps=math.nan, rope_theta=math.nan)


@pytest.mark.parametrize("dtype", [torch.complex64, torch.int64, torch.int8, torch.uint8, torch.bool], ids=str)
def test_weights_of_a_base_that_are_no_floating_point_numbers_are_named(tmp_path, dtype):
    base = base_model(tmp_path / "base", LLAMA)
    weights = load_file(base / "model.safetensors")
    name = next(key for key in weights if key.endswith("q_proj.weight"))
    save_file(weights | {name: weights[name].to(dtype)}, base / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"q_proj\.weight holds numbers of the kind"):
        build_model(Model(path=str(base)), TOKENIZER, 0, CPU)


def test_a_wrong_value_of_a_known_kind_is_not_answered_with_kinds_alone():
    with pytest.raises(UserError) as caught:
        built(rms_norm_eps="a")
    assert caught.value.hint.startswith("correct the values under model.config")
