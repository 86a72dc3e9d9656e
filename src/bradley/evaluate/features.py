"""Features of a response that are read from its text alone: markdown, code, refusals, overlap with the prompt."""

import re
from typing import NamedTuple

FENCE = "```"
MARKS = re.compile(r"\n(?:(#{1,6})[ \t]|[ \t]*(?:[-*+]|[0-9]{1,9}[.)])[ \t])")
"""Start of a header line, with group 1, or of a list item, without; a line break comes before each line."""
BOLD = re.compile(r"\*\*[^*\n]+\*\*|__[^_\n]+__")
WORDS = re.compile(r"[^\W_\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]+|[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]")
"""Words of any script; a character of Chinese or Japanese is a word, as no blanks stand between words."""
ASCII_WORDS = bytes(ord(chr(code).lower()) if chr(code).isalnum() and code < 128 else 32 for code in range(256))
"""Table that lowers letters and turns all bytes but letters and digits of ASCII into blanks."""
REFUSAL_HEAD = 200
"""Characters at the start of a response in which refusal phrases are looked for."""
REFUSALS = (
    "i can't",
    "i cannot",
    "i can not",
    "i won't",
    "i'm unable to",
    "i am unable to",
    "i'm not able to",
    "i am not able to",
    "i'm sorry, but",
    "i am sorry, but",
    "i apologize, but",
    "i must decline",
    "i'm not comfortable",
    "as an ai",
    "as a language model",
    "not appropriate for me to",
)
"""Phrases of a refusal, in lower case with straight apostrophes."""


class TextFeatures(NamedTuple):
    """Features of a response.

    Attributes:
        words: number of words.
        headers, bold, list_items: markdown outside code blocks.
        code_blocks: fenced blocks, an open block included.
        refusal: 1 for a phrase of `REFUSALS` in the first `REFUSAL_HEAD` characters, else 0.
        overlap: share of the distinct words of the response that the prompt holds too, 0 without words.
    """

    words: float
    headers: float
    bold: float
    list_items: float
    code_blocks: float
    refusal: float
    overlap: float


def text_features(text: str, prompt_words: frozenset[str] = frozenset()) -> TextFeatures:
    """Compute the features of a response `text`, one pass for each rule.

    Example:
        text_features("# Plan\\n- **buy** bread", word_set("Write a plan")).list_items  # 1.0

    Args:
        text: the response.
        prompt_words: distinct words of the prompt, from `word_set`.
    """
    prose, blocks = without_code(text) if FENCE in text else (text, 0)
    words = split_words(text)
    distinct = set(words)
    headers, items = count_marks(prose)
    return TextFeatures(
        len(words),
        headers,
        count_bold(prose),
        items,
        blocks,
        float(refuses(text)),
        len(distinct & prompt_words) / len(distinct) if prompt_words and distinct else 0.0,
    )


def without_code(text: str) -> tuple[str, int]:
    """Remove the fenced code blocks of `text`; return the rest and the number of blocks, an open block included."""
    parts = text.split(FENCE)
    return "\n".join(parts[::2]), len(parts) // 2


def count_marks(prose: str) -> tuple[int, int]:
    """Count header lines (one to six # and a blank) and list items (-, *, + or a number, and a blank)."""
    found = MARKS.findall("\n" + prose)
    items = found.count("")
    return len(found) - items, items


def count_bold(prose: str) -> int:
    """Count spans between ** and **, or __ and __, within a line."""
    return len(BOLD.findall(prose)) if "**" in prose or "__" in prose else 0


def refuses(text: str) -> bool:
    """Tell if a phrase of `REFUSALS` is in the first `REFUSAL_HEAD` characters, in any case."""
    head = text[:REFUSAL_HEAD].lower().replace("\u2019", "'")
    # A plain loop: a generator takes most of the time of a search in 200 characters.
    for phrase in REFUSALS:  # noqa: SIM110
        if phrase in head:
            return True
    return False


def word_set(text: str) -> frozenset[str]:
    """Collect the distinct words of `text`: runs of letters and digits in lower case, or single ideographs."""
    return frozenset(split_words(text))


def split_words(text: str) -> list[str]:
    """Split `text` into lower-case words of letters and digits."""
    # Most texts are ASCII, and translating bytes takes a third of the time of a pattern.
    if text.isascii():
        return text.encode("ascii").translate(ASCII_WORDS).decode("ascii").split()
    return WORDS.findall(text.lower())
