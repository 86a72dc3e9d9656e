"""Words and their ids: the division of Python is that of the library, and the ids are those of the whole text."""

import re
import sys
import unicodedata
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, normalizers, pre_tokenizers

from bradley.data import word_ids as module
from bradley.data.encoder import Encoder
from bradley.data.tokenizer import train_tokenizer
from bradley.data.word_ids import ALPHABET, OF_BYTE_LEVEL, translated, word_ids

pytestmark = pytest.mark.transformers
CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
REGEXES = {
    "cl100k": CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "qwen2": CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "with marks": r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}
DIVISIONS = {name: pre_tokenizers.Split(Regex(regex), "isolated") for name, regex in REGEXES.items()}
DIVISIONS["gpt2"] = pre_tokenizers.ByteLevel(add_prefix_space=False)
PATTERNS = {name: translated(regex) for name, regex in {**REGEXES, "gpt2": OF_BYTE_LEVEL}.items()}
CHARACTERS = [each for each in map(chr, range(sys.maxunicode + 1)) if ALPHABET.fullmatch(each)]
FEW = [*CHARACTERS[:600], *CHARACTERS[600::90]]
TEXT = st.text(st.sampled_from([*"abSTRE '\n\t\r.,!?/12中é，", *FEW]), max_size=20)


def of_library(name, text):
    return [text[start:end] for _, (start, end) in DIVISIONS[name].pre_tokenize_str(text)]


@pytest.mark.parametrize("step", [8, pytest.param(1, marks=pytest.mark.nightly, id="all")])
@pytest.mark.parametrize("name", sorted(DIVISIONS))
def test_every_character_is_divided_as_by_the_library(name, step):
    """By day one character in eight: those of one kind lie side by side."""
    characters = CHARACTERS[::step]
    for write in ("{0}", "a{0}b", "1{0}2", " {0}{0} ", ".{0}!\n", "'{0} \n{0}\ns", "中{0}。"):
        # A few thousand at a time: a call of the library for each would take minutes.
        for start in range(0, len(characters), 4096):
            text = "\n\n".join(write.format(each) for each in characters[start : start + 4096])
            assert PATTERNS[name].findall(text) == of_library(name, text)


def test_a_character_is_its_own_normal_form_and_composes_with_no_other():
    assert all(map(partial(unicodedata.is_normalized, "NFC"), CHARACTERS))
    # A character composes with one that follows only if the second has a class of combination, or ends a syllable.
    assert not any(map(unicodedata.combining, CHARACTERS)) and not re.search("[\u1100-\u11ff]", "".join(CHARACTERS))
    assert unicodedata.is_normalized("NFC", "".join(CHARACTERS)) and normalizers.NFC().normalize_str(
        "".join(CHARACTERS)
    ) == "".join(CHARACTERS)


@given(TEXT, st.sampled_from(sorted(DIVISIONS)))
def test_texts_are_divided_as_by_the_library(text, name):
    assert PATTERNS[name].findall(text) == of_library(name, text)


def tokenizer_with(name="gpt2", normalizer=None):
    tokenizer = train_tokenizer(["the river's runs under 12 bridges, or “over” 345 café?"], 330)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|a|>", "<|a|>b", "b<|c|>", "<|c|>"]})
    tokenizer.add_tokens([AddedToken("<tool>", normalized=False), AddedToken("<left>", lstrip=True, normalized=False)])
    tokenizer.add_tokens(["river", AddedToken("<right>", rstrip=True, normalized=False)])
    backend = tokenizer.backend_tokenizer
    if name != "gpt2":
        bytes_alone = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        backend.pre_tokenizer = pre_tokenizers.Sequence([DIVISIONS[name], bytes_alone])
    if normalizer:
        backend.normalizer = normalizer
    return tokenizer


TOKENIZERS = {name: tokenizer_with(name, normalizers.NFC() if name == "qwen2" else None) for name in DIVISIONS}
ENCODERS = {name: Encoder(tokenizer, special=False) for name, tokenizer in TOKENIZERS.items()}
PIECES = ["<|a|>", "<|a|>b", "<|c|>", "b", " ", "\n", "river", " under", "<tool>", " <left>", "<right> "]
PIECES += ["é", "中", "\x0b", "中文，", "e\u0301", "か\u3099", "👍", "👍🏽", "\u3000", "\xa0", "क"]
MIXED = st.lists(st.one_of(st.sampled_from(PIECES), TEXT), max_size=8).map("".join)


@given(st.lists(MIXED, min_size=1, max_size=4), st.sampled_from(sorted(DIVISIONS)))
def test_ids_are_those_of_the_whole_text(texts, name):
    assert ENCODERS[name]._words is not None
    expected = TOKENIZERS[name](texts, add_special_tokens=False)["input_ids"]
    assert ENCODERS[name].groups([[text] for text in texts]) == [[ids] for ids in expected]


def test_usual_texts_are_encoded_word_by_word():
    words, asked = word_ids(TOKENIZERS["cl100k"]), []
    model = words._model
    words._known._tokenize = lambda word: asked.append(word) or model.tokenize(word)
    texts = ["The “bridge” — 12 €<|a|> runs.\n", "中文，の。 bridge 👍", "The river", "क bridge", "a <left>"]
    assert [found is not None for found in words.of(texts)] == [True, True, False, False, False]
    words.of(texts[:2])
    assert sorted(asked) == sorted({*asked}) and "<|a|>" not in asked


def test_beyond_the_bound_words_are_collected_anew(monkeypatch):
    monkeypatch.setattr(module, "MOST_WORDS", 5)
    encoder = Encoder(TOKENIZERS["gpt2"], special=False)
    for number in range(20):
        text = f"word{number} and under<|a|>"
        assert encoder.groups([[text]]) == [[TOKENIZERS["gpt2"](text, add_special_tokens=False)["input_ids"]]]
    assert len(encoder._words._known) < len(encoder._words._added) + 12


@pytest.mark.parametrize(
    "change",
    [
        lambda core: setattr(core, "pre_tokenizer", pre_tokenizers.ByteLevel(add_prefix_space=True)),
        lambda core: setattr(core, "pre_tokenizer", pre_tokenizers.Whitespace()),
        lambda core: setattr(core, "pre_tokenizer", pre_tokenizers.Split(Regex(r"\p{L}+|."), "isolated")),
        lambda core: setattr(core, "normalizer", normalizers.NFKC()),
        lambda core: setattr(core, "normalizer", normalizers.Lowercase()),
        lambda core: setattr(core.model, "dropout", 0.1),
        lambda core: core.enable_truncation(4),
    ],
)
def test_other_tokenizers_are_left_to_the_library(change):
    tokenizer = tokenizer_with()
    change(tokenizer.backend_tokenizer)
    assert word_ids(tokenizer) is None


def test_a_division_that_leaves_a_character_out_is_unknown():
    assert translated(r" ?\p{L}+|\s+") is None
    assert isinstance(translated(OF_BYTE_LEVEL), re.Pattern)
