"""Folders of adapters: what is damaged, edited or on another base model is refused, and says why."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from bradley.errors import CheckpointError
from bradley.model.folder.card import write_card
from bradley.model.folder.save_load import load_model
from tests.helpers import GPT2, LLAMA, tiny_model
from tests.model.adapted import TOKENIZER, adapted, base_model, save, scores, train

pytestmark = pytest.mark.transformers

pytest.importorskip("peft")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """An adapter on the attention of a llama."""
    place = tmp_path_factory.mktemp("saved")
    return save(place / "m", train(adapted(base_model(place / "base", LLAMA), targets="attention"), steps=3))


def read_card(folder):
    return json.loads((folder / "bradley.json").read_text())


def damaged(saved, tmp_path, edit):
    folder = tmp_path / "damaged"
    folder.mkdir()
    for path in saved.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    state = load_file(folder / "adapter_model.safetensors")
    edit(state)
    save_file(state, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    return folder


def first(state):
    return sorted(name for name in state if "lora_A" in name)[0]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda state: state.pop("base_model.model.score.weight"), "holds an adapter without a score head"),
        (lambda state: state.pop(first(state)), r"lacks .*lora_A\.weight \(1 in all\)"),
        (
            lambda state: state.update({"base_model.model.extra": torch.zeros(1)}),
            "has unexpected base_model.model.extra",
        ),
        (lambda state: state.update({first(state): torch.zeros(4, 31)}), r"is \[4, 31\] there and \[4, 32\] wanted"),
    ],
)
def test_a_damaged_adapter_is_refused(saved, tmp_path, edit, message):
    with pytest.raises(CheckpointError, match=message) as caught:
        load_model(damaged(saved, tmp_path, edit))
    assert caught.value.hint and "\n" not in caught.value.message


def test_torn_files_and_cards_that_say_otherwise_are_refused(saved, tmp_path):
    folder = damaged(saved, tmp_path, lambda state: None)
    weights = (folder / "adapter_model.safetensors").read_bytes()
    (folder / "adapter_model.safetensors").write_bytes(weights[:100])
    with pytest.raises(CheckpointError, match=r"adapter_model\.safetensors cannot be read"):
        load_model(folder)
    (folder / "adapter_model.safetensors").write_bytes(weights)
    config = (folder / "adapter_config.json").read_text()
    (folder / "adapter_config.json").write_text("{torn")
    with pytest.raises(CheckpointError, match=r"adapter_config\.json is broken"):
        load_model(folder)
    (folder / "adapter_config.json").unlink()
    with pytest.raises(CheckpointError, match=r"lacks adapter_config\.json, and its card says otherwise"):
        load_model(folder, accept_edits=True)
    (folder / "adapter_config.json").write_text(config)
    card = read_card(folder)
    write_card(folder, {**card, "adapter": {"base": "x"}})
    with pytest.raises(CheckpointError, match=r"bradley\.json is broken: adapter\.base_sha256"):
        load_model(folder)
    del card["adapter"]
    write_card(folder, card)
    with pytest.raises(CheckpointError, match=r"has adapter_config\.json, and its card says otherwise"):
        load_model(folder)


def test_an_adapter_finds_the_base_that_it_was_trained_on_and_takes_no_other(tmp_path):
    base = base_model(tmp_path / "base", LLAMA)
    model = train(adapted(base), steps=3)
    folder = save(tmp_path / "m", model)
    with pytest.raises(CheckpointError, match=r"is not for the base model .*: its weights have the hash"):
        load_model(folder, base=str(base_model(tmp_path / "seed", LLAMA, seed=1)))
    with pytest.raises(CheckpointError, match="is not for the base model"):
        load_model(folder, base=str(base_model(tmp_path / "gpt2", GPT2)))
    base.rename(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match=r"base model of the adapter .* cannot be loaded") as caught:
        load_model(folder)
    assert caught.value.hint.startswith('give the place of the base model: base="FOLDER" in Python, --base FOLDER of')
    assert torch.equal(scores(load_model(folder, base=str(tmp_path / "elsewhere")).model), scores(model))


def test_shapes_of_another_base_are_told_without_its_hash(saved, tmp_path):
    """A card can be edited; what does not fit is found all the same."""
    from bradley.model.weight_files import weights_hash

    folder = damaged(saved, tmp_path, lambda state: None)
    wide = base_model(tmp_path / "wide", {**LLAMA, "hidden_size": 48, "head_dim": 8})
    card = read_card(folder)
    for base, says in (
        (wide, r"is \[4, 32\] there and \[4, 48\] wanted"),
        (base_model(tmp_path / "g", GPT2), "Target modules"),
    ):
        card["adapter"].update(base=str(base), base_sha256=weights_hash(str(base)))
        write_card(folder, card)
        with pytest.raises(CheckpointError, match=f"is not for the base model .*{says}"):
            load_model(folder)


def test_a_whole_model_takes_no_base_and_an_adapter_is_no_base(saved, tmp_path):
    whole = save(tmp_path / "whole", tiny_model(LLAMA, TOKENIZER))
    with pytest.raises(CheckpointError, match="holds a whole model"):
        load_model(whole, base="x")
    with pytest.raises(CheckpointError, match="holds an adapter and no model of its own") as caught:
        adapted(saved, kind="none")
    assert "bradley export" in caught.value.hint


def test_an_adapter_on_4_bits_is_not_scored_on_another_base(saved, tmp_path):
    folder = damaged(saved, tmp_path, lambda state: None)
    card = read_card(folder)
    card["adapter"]["quantize"] = "nf4"
    write_card(folder, card)
    with pytest.raises(CheckpointError, match="trained on a base model in nf4 and scores otherwise on another"):
        load_model(folder)


def without_hashes(folder):
    """The card as an earlier version wrote it, so that an edited file shows by its content alone."""
    card = {key: value for key, value in read_card(folder).items() if key not in ("files_sha256", "card_sha256")}
    (folder / "bradley.json").write_text(json.dumps(card))
    return folder


def edit_adapter(folder, **values):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


FOREIGN = {
    "megatron_config": {"tensor_model_parallel_size": 1},
    "megatron_core": "os",
    "auto_mapping": {"base_model_class": "Popen", "parent_library": "subprocess"},
    "alpha_pattern": {"q_proj": 64},
    "rank_pattern": {"(a+)+$": 4},
    "layers_pattern": "(a+)+$",
    "layers_to_transform": [0],
    "layer_replication": [[0, 10**9]],
    "exclude_modules": "(a+)+$",
    "trainable_token_indices": [10**9],
    "bias": "all",
    "init_lora_weights": "pissa",
    "a_later_key": True,
}
"""Settings by which PEFT imports a module, searches by a pattern, takes memory or changes the scores."""


@pytest.mark.parametrize("key", FOREIGN)
def test_an_adapter_config_with_a_setting_of_somebody_else_is_refused(saved, tmp_path, key):
    folder = without_hashes(damaged(saved, tmp_path, lambda state: None))
    edit_adapter(folder, **{key: FOREIGN[key]})
    with pytest.raises(CheckpointError, match=rf"adapter_config\.json sets {key}, and an adapter") as caught:
        load_model(folder)
    assert caught.value.hint and "\n" not in caught.value.message


@pytest.mark.parametrize("rank", [0, -1, 2**20 + 1, 2**63 - 1, 10**40])
def test_an_adapter_config_with_a_rank_out_of_reason_is_refused(saved, tmp_path, rank):
    folder = without_hashes(damaged(saved, tmp_path, lambda state: None))
    edit_adapter(folder, r=rank)
    with pytest.raises(CheckpointError, match=r"has the rank .*, wanted 1 to 1,048,576") as caught:
        load_model(folder)
    assert len(caught.value.message) < 500


@pytest.mark.parametrize(
    "values",
    [{"r": "8"}, {"r": None}, {"r": True}, {"lora_alpha": [8]}, {"target_modules": "all-linear"},
     {"target_modules": [7]}, {"peft_type": "PROMPT_TUNING"}, {"peft_type": {"a": 1}}, {"use_dora": "yes"}],
    ids=str,
)  # fmt: skip
def test_an_adapter_config_with_a_value_of_another_kind_is_refused(saved, tmp_path, values):
    folder = without_hashes(damaged(saved, tmp_path, lambda state: None))
    edit_adapter(folder, **values)
    (key,) = values
    with pytest.raises(CheckpointError, match=rf"adapter_config\.json is broken: {key}"):
        load_model(folder)


def test_an_adapter_config_with_empty_settings_of_a_later_peft_is_taken(saved, tmp_path):
    folder = without_hashes(damaged(saved, tmp_path, lambda state: None))
    edit_adapter(folder, later_a=None, later_b=False, later_c={}, later_d=[])
    assert torch.equal(scores(load_model(folder).model), scores(load_model(saved).model))
