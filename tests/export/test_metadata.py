"""`config.json` for programs other than transformers 5: it says more, and means the same."""

import json

import pytest

from bradley.export.metadata import rotary, server_config, tokenizer_config
from tests.helpers import GPT2, LLAMA, QWEN, comparisons, tokenizer_for

pytestmark = pytest.mark.transformers

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
NEOX = {
    "model_type": "gpt_neox",
    "hidden_size": 32,
    "num_attention_heads": 4,
    "rope_parameters": {"rope_theta": 7000.0, "rope_type": "default", "partial_rotary_factor": 0.25},
}
GEMMA = {"model_type": "gemma3_text", "hidden_size": 32, "num_hidden_layers": 2}


def config_of(settings):
    from transformers import AutoConfig

    values = dict(settings)
    return AutoConfig.for_model(values.pop("model_type"), num_labels=1, **values)


@pytest.mark.parametrize(
    ("settings", "theta"),
    [
        (LLAMA, 10000.0),
        ({**QWEN, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}, 1e6),
        ({**LLAMA, "rope_parameters": LLAMA3}, 500000.0),
        (NEOX, 7000.0),
        (GEMMA, 1000000.0),
        (GPT2, None),
    ],
    ids=["llama", "qwen2", "llama3", "gpt_neox", "gemma3", "gpt2"],
)
def test_transformers_reads_the_same_rotary_settings_from_both_names(tmp_path, settings, theta):
    from transformers import AutoConfig

    config = config_of(settings)
    config.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    more = server_config(written, text="", pad=3, dtype="float32")
    assert more.get("rope_theta") == theta
    (tmp_path / "config.json").write_text(json.dumps(more))
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert getattr(loaded, "rope_parameters", None) == getattr(config, "rope_parameters", None)
    assert (loaded.num_labels, loaded.pad_token_id, loaded.problem_type) == (1, 3, "regression")


def test_older_loaders_get_the_kind_of_scaling_too():
    assert rotary({"rope_parameters": LLAMA3})["rope_scaling"] == {k: v for k, v in LLAMA3.items() if k != "rope_theta"}
    assert "rope_scaling" not in rotary({"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}})
    assert rotary({}) == rotary({"rope_parameters": None}) == {}


def test_servers_are_told_to_leave_the_score_alone():
    from torch import nn

    more = server_config({"id2label": {"0": "LABEL_0"}}, text="", pad=7, dtype="bfloat16")
    assert more["num_labels"] == len(more["id2label"]) == 1
    assert more["problem_type"] == "regression" and more["dtype"] == "bfloat16"
    name = more["sentence_transformers"]["activation_fn"]
    assert name.startswith("torch.nn.modules.") and name.rpartition(".")[2] == nn.Identity.__name__


def test_openrlhf_finds_the_spread_of_the_scores_where_it_was_measured():
    measured = server_config({}, text="", pad=7, dtype="float32", normalization={"set": "valid", "mean": 0.5, "std": 2})
    # OpenRLHF: (score - config.mean) / config.std, under --reward.normalize_enable alone.
    assert (measured["mean"], measured["std"]) == (0.5, 2.0)
    assert not {"mean", "std"} & server_config({}, text="", pad=7, dtype="float32").keys()


def test_a_composite_config_has_the_pad_token_and_the_rotary_settings_where_its_text_part_is():
    inner = {"pad_token_id": None, "rope_parameters": {"rope_type": "default", "rope_theta": 5.0}}
    more = server_config(
        {"text_config": inner, "vision_config": {"depth": 2}}, text="text_config", pad=9, dtype="float32"
    )
    assert more["pad_token_id"] == more["text_config"]["pad_token_id"] == 9
    assert more["text_config"]["rope_theta"] == 5.0 and "rope_theta" not in more
    assert more["vision_config"] == {"depth": 2}


def test_the_tokenizer_is_read_by_transformers_4_too(tmp_path):
    """Against transformers itself for the new names; the older release is asked by the tests of clients, at night."""
    from transformers import AutoTokenizer

    tokenizer = tokenizer_for(comparisons(4))
    tokenizer.add_special_tokens({"extra_special_tokens": ["<|user|>"]})
    tokenizer.save_pretrained(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    config = json.loads(path.read_text())
    assert config["tokenizer_class"] == "TokenizersBackend" and config["extra_special_tokens"] == ["<|user|>"]
    more = tokenizer_config(config)
    assert more["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert more["model_input_names"] == ["input_ids", "attention_mask"]
    assert more["additional_special_tokens"] == ["<|user|>"]
    assert not {"extra_special_tokens", "backend", "is_local", "local_files_only"} & set(more)
    assert tokenizer_config(more) == more
    assert tokenizer_config({"tokenizer_class": "Qwen2Tokenizer"})["tokenizer_class"] == "Qwen2Tokenizer"
    path.write_text(json.dumps(more))
    read = AutoTokenizer.from_pretrained(tmp_path)
    assert read.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()
    assert read.special_tokens_map == tokenizer.special_tokens_map
