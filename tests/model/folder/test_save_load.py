"""The model folder: the scores that were trained are the scores that are loaded, or an error."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from bradley.config import Render
from bradley.data.render import Renderer
from bradley.errors import CheckpointError, DiskError
from bradley.model.engine.batch import collate
from bradley.model.folder.card import write_card
from bradley.model.folder.normalization import Normalization
from bradley.model.folder.save_load import add_normalization, load_model, save_model
from bradley.model.reward import compute_name
from bradley.records import Comparison, Message
from bradley.scoring.core import score_store
from bradley.scoring.reward_model import score_comparisons
from tests.helpers import BERT, GPT2, LLAMA, comparisons, store_for, tiny_model, tokenizer_for

pytestmark = pytest.mark.transformers

ROWS = comparisons(6)
TOKENIZER = tokenizer_for(ROWS)


def saved(folder, config=LLAMA, **render):
    model = tiny_model(config, TOKENIZER)
    renderer = Renderer(TOKENIZER, Render(**{"max_tokens": 200, **render}), causal=model.causal)
    save_model(folder, model, renderer, {"step": 3})
    return model, renderer


def edit_card(folder, **changes):
    card = json.loads((folder / "bradley.json").read_text())
    write_card(folder, {**card, **changes})


@pytest.mark.parametrize(("config", "render"), [(LLAMA, {}), (GPT2, {"template": "raw"}), (BERT, {"template": "raw"})])
def test_scores_of_the_folder_equal_the_scores_in_memory_bit_for_bit(tmp_path, config, render):
    model, renderer = saved(tmp_path / "m", config, **render)
    loaded = load_model(tmp_path / "m")
    assert loaded.renderer.settings.max_tokens == 200 and loaded.renderer.template == renderer.template
    store = store_for(ROWS, TOKENIZER, **render)
    model.eval()
    batch = collate(store, np.arange(len(ROWS)), store.judgment_weights("pair"))
    with torch.no_grad():
        assert torch.equal(loaded.model(batch), model(batch))
    text = [renderer.text(row.prompt, row.responses[0].messages) for row in ROWS]
    assert loaded.renderer.ids(text) == renderer.ids(text)


def test_plain_transformers_loads_the_folder_to_the_same_scores(tmp_path):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    saved(tmp_path / "m")
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "m").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "m")
    messages = [{"role": m.role, "content": m.content} for m in (*ROWS[0].prompt, *ROWS[0].responses[0].messages)]
    ids = tokenizer.apply_chat_template(messages, return_tensors="pt", return_dict=True)["input_ids"]
    with torch.no_grad():
        expected = float(plain(input_ids=ids).logits[0, 0])
    assert score_comparisons(tmp_path / "m", ROWS)[0].scores[0] == pytest.approx(expected, abs=2e-6)


def test_scores_do_not_depend_on_the_order_of_the_responses(tmp_path):
    saved(tmp_path / "m")
    straight = score_comparisons(tmp_path / "m", ROWS)
    swapped = score_comparisons(tmp_path / "m", [row.swap() for row in ROWS])
    for a, b in zip(straight, swapped, strict=True):
        np.testing.assert_allclose(a.scores, b.scores[::-1], atol=1e-6)
        assert a.scores[a.judgments[0].better] == pytest.approx(b.scores[b.judgments[0].better], abs=1e-6)


def test_a_folder_without_its_head_is_refused(tmp_path):
    saved(tmp_path / "m")
    tensors = load_file(tmp_path / "m" / "model.safetensors")
    del tensors["score.weight"]
    save_file(tensors, tmp_path / "m" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="no trained score head"):
        load_model(tmp_path / "m")


def test_other_broken_folders_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        load_model(tmp_path / "absent")
    saved(tmp_path / "m")
    (tmp_path / "m" / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(CheckpointError, match=r"model\.safetensors cannot be read"):
        load_model(tmp_path / "m")
    (tmp_path / "m" / "bradley.json").unlink()
    with pytest.raises(CheckpointError, match=r"no bradley\.json"):
        load_model(tmp_path / "m")


def test_a_changed_template_or_tokenizer_is_refused(tmp_path):
    saved(tmp_path / "m")
    template = tmp_path / "m" / "bradley_template.jinja"
    original = template.read_text()
    template.write_text(original.replace("<|end|>", "<|end|>\n"))
    with pytest.raises(CheckpointError, match="not the one the model was trained with"):
        load_model(tmp_path / "m", accept_edits=True)
    template.write_text(original)
    tokenizer_for(comparisons(40, seed=8)).save_pretrained(tmp_path / "m")
    with pytest.raises(CheckpointError, match="not the one the model was trained with"):
        load_model(tmp_path / "m", accept_edits=True)


def test_multi_turn_rows_score_alike_here_and_in_plain_transformers(tmp_path):
    """A tokenizer whose pad is its end token: pooling by id would stop at the first turn's end."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from bradley.data.tokenizer import with_distinct_pad

    tokenizer = tokenizer_for(ROWS)
    tokenizer.pad_token = tokenizer.eos_token  # the trap
    tokenizer = with_distinct_pad(tokenizer)
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    turns = (Message("user", "one"), Message("assistant", "two"), Message("user", "three"))
    rows = [Comparison(f"m{i}", f"k{i}", (*turns, *r.prompt), r.responses, r.judgments) for i, r in enumerate(ROWS)]
    model = tiny_model(LLAMA, tokenizer)
    save_model(tmp_path / "m", model, Renderer(tokenizer, Render(max_tokens=300), causal=True), {})
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "m").eval()
    loaded = AutoTokenizer.from_pretrained(tmp_path / "m")
    texts = [
        loaded.apply_chat_template(
            [{"role": m.role, "content": m.content} for m in (*row.prompt, *response.messages)], tokenize=False
        )
        for row in rows
        for response in row.responses
    ]
    batch = loaded(texts, add_special_tokens=False, padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = plain(**{k: batch[k] for k in ("input_ids", "attention_mask")}).logits[:, 0]
    scores = [score for row in score_comparisons(tmp_path / "m", rows) for score in row.scores]
    np.testing.assert_allclose(scores, expected, atol=3e-6)


def test_a_broken_card_and_a_full_disk_say_so(tmp_path, monkeypatch):
    from safetensors import SafetensorError

    model, renderer = saved(tmp_path / "m")
    (tmp_path / "m" / "bradley.json").write_text("{torn")
    with pytest.raises(CheckpointError, match=r"bradley\.json is broken"):
        load_model(tmp_path / "m")

    def full(*_, **__):
        raise SafetensorError("Error while serializing: No space left on device (os error 28)")

    monkeypatch.setattr(type(model.network), "save_pretrained", full)
    with pytest.raises(DiskError, match="No space left"):
        save_model(tmp_path / "other", model, renderer, {})
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_model_is_loaded_in_the_dtype_of_its_training(tmp_path, monkeypatch, precision):
    model = tiny_model(LLAMA, TOKENIZER, precision=precision).eval()
    save_model(tmp_path / "m", model, Renderer(TOKENIZER, Render(max_tokens=200), causal=True), {})
    loaded = load_model(tmp_path / "m").model
    store = store_for(ROWS, TOKENIZER)
    batch = collate(store, np.arange(len(ROWS)), store.judgment_weights("pair"))
    with torch.no_grad():
        assert torch.equal(loaded(batch), model(batch))
    assert compute_name(loaded) == precision == compute_name(model)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    if precision == "bfloat16":
        with pytest.raises(CheckpointError, match="trained in bfloat16, and cuda does not compute in it") as caught:
            load_model(tmp_path / "m", "cuda")
        assert caught.value.hint == 'load it with device="cpu"'


@pytest.mark.parametrize("compute", ["float16", None])
def test_a_card_with_another_dtype_is_refused_and_not_read_as_float32(tmp_path, compute):
    saved(tmp_path / "m")
    edit_card(tmp_path / "m", compute=compute)
    with pytest.raises(CheckpointError, match=r"says compute = 'float16'|compute: Input should be a valid string"):
        load_model(tmp_path / "m")


def test_a_normalization_is_written_once_and_read_back(tmp_path):
    saved(tmp_path / "m")
    assert load_model(tmp_path / "m").normalization is None
    known = Normalization("valid", 12, "ab" * 32, -0.25, 1.5)
    add_normalization(tmp_path / "m", known)
    assert load_model(tmp_path / "m").normalization == known
    card = json.loads((tmp_path / "m" / "bradley.json").read_text())
    assert card["normalization"] == {"set": "valid", "n": 12, "sha256": "ab" * 32, "mean": -0.25, "std": 1.5}
    assert card["step"] == 3  # the rest of the card stays
    with pytest.raises(CheckpointError, match="has a normalization already, measured on valid"):
        add_normalization(tmp_path / "m", known._replace(set="test", mean=9.0))
    assert load_model(tmp_path / "m").normalization == known


@pytest.mark.parametrize("broken", [{"mean": 1.0}, "half", {**Normalization("a", 1, "", 0, 1)._asdict(), "mean": "x"}])
def test_a_broken_normalization_is_refused(tmp_path, broken):
    saved(tmp_path / "m")
    edit_card(tmp_path / "m", normalization=broken)
    with pytest.raises(CheckpointError, match=r"bradley\.json is broken: normalization"):
        load_model(tmp_path / "m")


def test_scored_rows_are_complete_unrounded_and_in_order(tmp_path):
    model, _ = saved(tmp_path / "m")
    rows = score_store(model, store_for(ROWS, TOKENIZER, training=False), 150)
    assert [row.id for row in rows] == [row.id for row in ROWS]
    assert model.training  # left as it was
    back = [type(row).from_json(json.loads(json.dumps(row.to_json()))) for row in rows]
    assert back == rows
    assert any(round(score, 4) != score for row in rows for score in row.scores)
