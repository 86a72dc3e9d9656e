"""Tokenizers: what can be loaded, a pad token of its own, and a fingerprint that use does not change."""

import json

import pytest

from bradley.config import Model
from bradley.data.tokenizer import (
    KNOWN_PADS,
    PAD,
    class_of_type,
    fingerprint,
    load_tokenizer,
    locate,
    make_tokenizer,
    train_tokenizer,
    with_distinct_pad,
)
from bradley.errors import CheckpointError, UserError
from bradley.records import Comparison, Judgment, Message, Response

pytestmark = pytest.mark.transformers


def saved(tmp_path, **special):
    """The folder of a learned tokenizer; `special` are its special tokens."""
    tokenizer = train_tokenizer(["a few plain words, a few more"], 300)
    tokenizer.add_special_tokens(special)
    tokenizer.save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize("kind", ["gpt2", "qwen2", "bert", "t5", "roberta"])
def test_a_model_folder_without_a_tokenizer_is_refused(tmp_path, kind):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    with pytest.raises(CheckpointError, match="has no vocabulary") as caught:
        load_tokenizer(str(tmp_path))
    assert "model.tokenizer" in caught.value.hint


def test_a_saved_tokenizer_comes_back(tmp_path):
    first = train_tokenizer(["a few plain words"], 300)
    first.save_pretrained(tmp_path)
    again = load_tokenizer(str(tmp_path))
    texts = ["a few words", "ein paar Wörter 中"]
    assert again(texts)["input_ids"] == first(texts)["input_ids"] and fingerprint(again) == fingerprint(first)


def test_limits_in_the_file_neither_cut_nor_change_the_fingerprint(tmp_path):
    file = saved(tmp_path) / "tokenizer.json"
    plain = fingerprint(load_tokenizer(str(tmp_path)))
    rules = json.loads(file.read_text())
    rules["truncation"] = {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0}
    rules["padding"] = {
        "strategy": {"Fixed": 9},
        "direction": "Left",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": PAD,
    }
    file.write_text(json.dumps(rules))
    tokenizer = load_tokenizer(str(tmp_path))
    before = fingerprint(tokenizer)
    assert 2 < len(tokenizer("a few plain")["input_ids"]) < 9
    assert fingerprint(tokenizer) == before == plain


@pytest.mark.parametrize("name", ["no_such_package", "no_such_package.inner", "json.no_such_module", "", ".here"])
def test_a_package_that_is_not_there(name):
    with pytest.raises(CheckpointError, match="is not installed"):
        locate(f"package:{name}")


def test_a_package_without_a_model():
    with pytest.raises(CheckpointError, match=r"carries no config\.json"):
        locate("package:click")


def test_a_reserved_pad_that_is_itself_the_end_is_no_pad():
    tokenizer = train_tokenizer(["x"], 300)
    tokenizer.add_special_tokens({"eos_token": PAD})
    size = len(tokenizer)
    with_distinct_pad(tokenizer)
    assert tokenizer.pad_token_id != tokenizer.eos_token_id and len(tokenizer) == size + 1


def test_a_pad_of_its_own_is_kept():
    tokenizer = train_tokenizer(["x"], 300)
    tokenizer.add_special_tokens({"pad_token": "<mine>", "additional_special_tokens": ["[PAD]"]})
    tokenizer.padding_side = "left"
    size = len(tokenizer)
    assert with_distinct_pad(tokenizer).pad_token == "<mine>" and len(tokenizer) == size
    assert tokenizer.padding_side == "right"


@pytest.mark.parametrize("reserved", KNOWN_PADS)
@pytest.mark.parametrize("missing", [True, False])
def test_a_pad_that_the_vocabulary_reserves_is_preferred(reserved, missing):
    tokenizer = without_pad(missing)
    tokenizer.add_tokens([reserved], special_tokens=True)
    place, size = tokenizer.convert_tokens_to_ids(reserved), len(tokenizer)
    with_distinct_pad(tokenizer)
    assert (tokenizer.pad_token, tokenizer.pad_token_id, len(tokenizer)) == (reserved, place, size)


@pytest.mark.parametrize("missing", [True, False])
def test_a_vocabulary_without_a_reserved_pad_gets_a_new_one(missing):
    tokenizer = without_pad(missing)
    size = len(tokenizer)
    with_distinct_pad(tokenizer)
    assert (tokenizer.pad_token, tokenizer.pad_token_id, len(tokenizer)) == (PAD, size, size + 1)


def without_pad(missing):
    """A word tokenizer that has no pad token, or whose pad is its end."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.WordLevel({"</s>": 0, "one": 1, "two": 2}, unk_token="</s>"))
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="</s>", pad_token=None if missing else "</s>")


def test_token_ids_are_no_text_to_learn_a_tokenizer_from():
    answers = tuple(Response((Message("ids", text),)) for text in ("1 2", "3"))
    row = Comparison("r3", "k", (), answers, (Judgment(0, 1),))
    with pytest.raises(UserError, match=r"model\.tokenizer = train, but comparison r3 is made of token ids") as caught:
        make_tokenizer(Model(config={"model_type": "llama"}, tokenizer="train"), [row])
    assert "--model.tokenizer" in caught.value.hint


def test_a_revision_is_for_names_on_the_hub(tmp_path, monkeypatch):
    from transformers import AutoTokenizer

    asked = []

    def recorded(place, **kwargs):
        asked.append((place, kwargs["revision"]))
        raise OSError("offline")

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", recorded)
    for settings in ({"revision": "abc123"}, {}, {"revision": "abc123", "tokenizer": "other/words"}):
        with pytest.raises(CheckpointError, match="offline"):
            make_tokenizer(Model(path="owner/name", **settings), [])
    assert asked == [("owner/name", "abc123"), ("owner/name", "main"), ("other/words", "main")]
    with pytest.raises(UserError, match=r"model\.revision = abc123, but .* is no name on the Hub"):
        make_tokenizer(Model(path=str(tmp_path), revision="abc123"), [])


@pytest.mark.parametrize("model_type", ["qwen2", "qwen3", "llama", "gpt2", "bert"])
def test_a_learned_tokenizer_is_read_alike_by_transformers_for_any_model_type(tmp_path, model_type):
    """For a qwen2 `AutoTokenizer` takes the class of the type, whatever class the folder names."""
    from transformers import AutoTokenizer

    texts = ["def f(x):\n\treturn 12345", "  blanks   and 你好，世界", "it's 1,000.5 naïve e\u0301"]
    tokenizer = train_tokenizer(texts, 300, model_type)
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    read = AutoTokenizer.from_pretrained(tmp_path)
    for text in [*texts, "<|endoftext|> 99 <|end|><|user|>x", "\n \n\n"]:
        assert read(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert len(read) == len(tokenizer) == 300 and read.chat_template == tokenizer.chat_template
    assert (read.eos_token, read.pad_token) == (tokenizer.eos_token, tokenizer.pad_token) == ("<|end|>", "<|pad|>")
    assert (class_of_type(model_type) is not None) == (model_type == "qwen2")
