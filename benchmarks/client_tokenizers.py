"""Tokenizers in the shape of published families: the first token, the end of a turn, and the text after it.

Each is learned here from a few texts, and built as the family builds its own.
"""

from typing import Any

LLAMA_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
LLAMA_CHAT = (
    "{% for message in messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' "
    "+ message['content'] | trim + '<|eot_id|>' %}{{ bos_token + content if loop.first else content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
GEMMA_CHAT = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{% for message in messages %}{% set role = 'model' if message['role'] == 'assistant' else "
    "message['role'] %}{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"
)
MISTRAL_CHAT = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'assistant' %}"
    "{{ ' ' + message['content'] + eos_token }}{% else %}{{ '[INST] ' + message['content'] + ' [/INST]' }}{% endif %}"
    "{% endfor %}"
)
ZEPHYR = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' + message['content'] + eos_token + '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)
TEXTS = [
    "Name a prime number.",
    "Seven is one.",
    "I do not know any.",
    "def f(x):\n\treturn x ** 2  # fine\n",
    "1234567890 and 3.14159",
    "  blanks  before and after  ",
    "你好，世界。素数是什么？",
    "مرحبا بالعالم",
    "Привет, мир!",
    "naïve café 👩‍👩‍👧 done",
    "a\n\nb\n\n\nc",
    "The river runs under a stone bridge while birds watch.",
    "Yes.",
    "It's 5 o'clock",
]


def learned(first: str, end: str, others: tuple[str, ...], chat: str | None, words: str = "") -> Any:
    """Learn a byte-level tokenizer whose post-processor writes `first` before a text."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not words)
    split = [pre_tokenizers.Split(Regex(words), "isolated")] if words else []
    core.pre_tokenizer = pre_tokenizers.Sequence([*split, level])
    core.decoder = decoders.ByteLevel()
    special = list(dict.fromkeys([*([first] if first else []), end, *others]))
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=480, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator(TEXTS, trainer)
    if first:
        core.post_processor = processors.TemplateProcessing(
            single=f"{first} $A", pair=f"{first} $A $B", special_tokens=[(first, core.token_to_id(first))]
        )
    named = {"bos_token": first} if first else {}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token=end, extra_special_tokens=list(others), **named
    )
    tokenizer.chat_template = chat
    return tokenizer


def llama_tokenizer() -> Any:
    """Llama 3: the first token comes from the post-processor and from the template; no pad token."""
    others = ("<|start_header_id|>", "<|end_header_id|>", "<|end_of_text|>")
    return learned("<|begin_of_text|>", "<|eot_id|>", others, LLAMA_CHAT, LLAMA_WORDS)


def qwen_tokenizer() -> Any:
    """Qwen 2: no first token, a newline after the end of each turn, and a tokenizer class of its own."""
    import json

    from transformers import Qwen2Tokenizer

    core = json.loads(learned("", "<|im_end|>", (), None, LLAMA_WORDS).backend_tokenizer.to_str())["model"]
    vocabulary = {token: number for number, token in enumerate(key for key in core["vocab"] if key != "<|im_end|>")}
    tokenizer = Qwen2Tokenizer(
        vocab=vocabulary,
        merges=[tuple(merge) for merge in core["merges"]],
        eos_token="<|im_end|>",
        extra_special_tokens=["<|im_start|>"],
    )
    tokenizer.chat_template = CHATML
    return tokenizer


def gpt2_tokenizer() -> Any:
    """GPT-2: one token for the beginning and the end, no pad token, no chat template."""
    return learned("", "<|endoftext|>", (), None)


def neox_tokenizer() -> Any:
    """GPT-NeoX with the template of zephyr: markers in plain words, a newline after the end token."""
    return learned("", "<|endoftext|>", ("<|padding|>",), ZEPHYR)


def gemma_tokenizer() -> Any:
    """Gemma: the first token from the post-processor and the template, a newline after the end of each turn."""
    return learned("<bos>", "<eos>", ("<start_of_turn>", "<end_of_turn>", "<pad>"), GEMMA_CHAT)


def mistral_tokenizer() -> Any:
    """Mistral: instructions between marks, the end token after a response."""
    return learned("<s>", "</s>", ("[INST]", "[/INST]"), MISTRAL_CHAT)


def bert_tokenizer() -> Any:
    """MiniLM: [CLS] before and [SEP] after a text, from the post-processor; no chat template."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    core.normalizer = normalizers.BertNormalizer(lowercase=True)
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    core.train_from_iterator(
        TEXTS, trainers.WordPieceTrainer(vocab_size=400, special_tokens=special, show_progress=False)
    )
    ends = [(token, core.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


def qwen_words() -> Any:
    """Vocabulary that `model.tokenizer = "train"` learns for a Qwen 2, whose class divides words in its own way."""
    from bradley.data.tokenizer import train_tokenizer

    return train_tokenizer(TEXTS, 480, "qwen2")
