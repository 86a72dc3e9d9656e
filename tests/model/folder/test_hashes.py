"""A model folder is held to the hashes in its card: each believed file, the weights, and the card itself."""

import json
import logging
import shutil

import pytest
from safetensors.torch import load_file, save_file

from bradley.common import signatures
from bradley.config import Model, Render
from bradley.data.render import Renderer
from bradley.data.tokenizer import load_tokenizer
from bradley.errors import CheckpointError
from bradley.model.build import build_model
from bradley.model.folder.card import hash_files, read_card, write_card
from bradley.model.folder.normalization import Normalization
from bradley.model.folder.parity import draw
from bradley.model.folder.save_load import add_normalization, load_model, save_model
from bradley.model.weight_files import file_hash
from tests.helpers import LLAMA, comparisons, tiny_model, tokenizer_for

pytestmark = pytest.mark.transformers

ROWS = comparisons(8)
TOKENIZER = tokenizer_for(ROWS)
SIGNED = ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "bradley_template.jinja")


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A model folder, and beside it the folder of another model of the same shapes."""
    place = tmp_path_factory.mktemp("good")
    for name, seed in (("model", 0), ("other", 1)):
        renderer = Renderer(TOKENIZER, Render(max_tokens=64), causal=True)
        save_model(place / name, tiny_model(LLAMA, TOKENIZER, seed), renderer, {}, draw(ROWS, renderer, 0))
    return place / "model"


@pytest.fixture
def copy(good, tmp_path):
    signatures.said.clear()
    shutil.copytree(good, tmp_path / "model")
    return tmp_path / "model"


def refused(folder, name, word):
    with pytest.raises(CheckpointError) as caught:
        load_model(folder)
    assert f"{name} ({word})" in caught.value.message and "\n" not in caught.value.message
    assert ("--accept-edits" in caught.value.hint) == (word != "missing") and "copy the whole" in caught.value.hint


def test_every_believed_file_has_its_hash_in_the_card(good):
    card = read_card(good)
    named = {*card["files_sha256"], *card["weights_sha256"], "bradley.json"}
    assert named == {path.name for path in good.iterdir()} and {*SIGNED} <= named
    assert card["card_sha256"] == signatures.sign(card)["card_sha256"]


@pytest.mark.parametrize("name", SIGNED)
def test_an_edited_missing_or_swapped_file_is_named(copy, name):
    text = (copy / name).read_text()
    (copy / name).write_text(text + "\n")
    refused(copy, name, "edited")
    (copy / name).write_text(text)
    assert load_model(copy)
    (copy / name).unlink()
    refused(copy, name, "missing")


@pytest.mark.parametrize(
    "name", ["vocab.json", "special_tokens_map.json", "adapter_config.json", "x.jinja", "model.safetensors.index.json"]
)
def test_an_added_file_that_would_be_believed_is_named(copy, name):
    (copy / name).write_text("{}")
    refused(copy, name, "added")


def test_what_decides_no_score_may_be_added(copy):
    """A Python file too: no process imports a module that the config does not name."""
    for name in ("README.md", "notes.json", "argparse.py", "generation_config.json"):
        (copy / name).write_text("{}")
    assert load_model(copy)


def test_added_and_swapped_weights_are_named(copy):
    shutil.copy(copy / "model.safetensors", copy / "model-00001-of-00002.safetensors")
    refused(copy, "model-00001-of-00002.safetensors", "added")
    (copy / "model-00001-of-00002.safetensors").unlink()
    shutil.copy(copy.parent / "model" / "model.safetensors", copy / "kept")
    state = load_file(copy / "model.safetensors")
    state["score.weight"] = state["score.weight"] * 2
    save_file(state, copy / "model.safetensors", metadata={"format": "pt"})
    refused(copy, "model.safetensors", "weights of another run, or edited")


def test_two_tokens_that_change_places_are_found(copy):
    words = json.loads((copy / "tokenizer.json").read_text())
    known = words["model"]["vocab"]
    known["A"], known["Q"] = known["Q"], known["A"]
    (copy / "tokenizer.json").write_text(json.dumps(words))
    refused(copy, "tokenizer.json", "edited")


@pytest.mark.parametrize("key", ["render", "template", "probe", "compute", "pooling", "weights_sha256", "parity"])
def test_a_card_with_another_entry_or_without_one_is_refused(copy, key):
    card = json.loads((copy / "bradley.json").read_text())
    for changed in ({**card, key: "x"}, {name: value for name, value in card.items() if name != key}):
        (copy / "bradley.json").write_text(json.dumps(changed))
        refused(copy, "bradley.json", "edited")


@pytest.mark.parametrize("key", ["files_sha256", "card_sha256"])
def test_a_card_with_one_of_its_hashes_taken_out_is_no_old_card(copy, key):
    card = json.loads((copy / "bradley.json").read_text())
    del card[key]
    (copy / "bradley.json").write_text(json.dumps(card))
    refused(copy, "bradley.json", "edited")


def test_an_edit_on_purpose_is_accepted_and_said(copy, caplog):
    (copy / "config.json").write_text((copy / "config.json").read_text() + "\n")
    with caplog.at_level(logging.WARNING, "bradley"):
        assert load_model(copy, accept_edits=True)
        assert load_model(copy, accept_edits=True)
    assert [record.getMessage().count("config.json (edited)") for record in caplog.records] == [1]


def test_a_folder_from_before_the_hashes_is_accepted_and_said_once(copy, caplog):
    card = read_card(copy)
    old = {key: value for key, value in card.items() if key not in ("files_sha256", "card_sha256")}
    (copy / "bradley.json").write_text(json.dumps(old))
    with caplog.at_level(logging.WARNING, "bradley"):
        load_model(copy)
        load_model(copy)
    assert ["older than the hashes" in record.getMessage() for record in caplog.records] == [True]


def test_a_normalization_signs_the_card_again_and_takes_over_no_edit(copy):
    (copy / "config.json").write_text((copy / "config.json").read_text() + "\n")
    add_normalization(copy, Normalization("valid", 2, "", 0.0, 1.0))
    assert read_card(copy)["normalization"]["set"] == "valid"
    refused(copy, "config.json", "edited")


def test_a_base_model_and_a_tokenizer_that_bradley_wrote_are_held_to_their_hashes(copy):
    settings = Model(path=str(copy))
    assert build_model(settings, load_tokenizer(str(copy)), 0, next(tiny_model(LLAMA, TOKENIZER).parameters()).device)
    text = (copy / "tokenizer.json").read_text()
    (copy / "tokenizer.json").write_text(text + " ")
    with pytest.raises(CheckpointError, match=r"tokenizer\.json \(edited\)"):
        load_tokenizer(str(copy))
    (copy / "tokenizer.json").write_text(text)
    (copy / "config.json").write_text((copy / "config.json").read_text().replace('"rms_norm_eps"', ' "rms_norm_eps"'))
    with pytest.raises(CheckpointError, match=r"config\.json \(edited\)") as caught:
        build_model(settings, TOKENIZER, 0, next(tiny_model(LLAMA, TOKENIZER).parameters()).device)
    assert "remove its bradley.json" in caught.value.hint


def test_a_card_names_only_hashes_that_its_writer_gives(copy):
    """Signing never hashes files by itself, or an edit before the signature would be taken over."""
    (copy / "config.json").write_text((copy / "config.json").read_text() + "\n")
    write_card(copy, read_card(copy))
    refused(copy, "config.json", "edited")
    write_card(copy, {**read_card(copy), **hash_files(copy)})
    assert load_model(copy)


def test_weights_at_rest_are_read_once_and_changed_ones_again(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"a" * 100)
    first = file_hash(path)
    path.write_bytes(b"b" * 100)
    assert file_hash(path) != first
    monkeypatch.setattr("bradley.model.weight_files.SETTLED", 0)
    assert file_hash(path) == file_hash(path)
    with monkeypatch.context() as patch:
        patch.setattr("bradley.model.weight_files.sha256", lambda *_: pytest.fail("read again"))
        file_hash(path)
