"""Short instructions beside a prompt, such as "Answer in French." under style, and lists of attachments.

A judge saw an instruction, and the model would not. Short labels under the same names, such as `task: summarization`,
are tags.
"""

from collections.abc import Sequence
from functools import lru_cache

from .answers import ANSWER
from .layout import words
from .prompts import ABOUT
from .words import REMARKS

ADDED = {
    *("suffix", "postfix", "preamble", "memory", "memories", "shot", "shots", "fewshot", "demonstration"),
    *("demonstrations", "exemplar", "exemplars", "directive", "directives", "addendum", "reminder", "instruction"),
    *("instructions",),
}
"""Words in the name of a text that is put around a prompt, of which several words are no label."""
MANNER = {
    *("style", "tone", "task", "role", "format", "goal", "goals", "objective", "voice", "audience", "register", "mode"),
    *("language", "lang", "length", "aim", "purpose", "perspective", "wish", "policy", "skill"),
}
"""Words in the name of a label, which holds an instruction in other files."""
OF_AN_ANSWER = {"language", "lang", "length", "len", "topic", "domain"}
"""Words about a prompt that an instruction may speak of."""
ORDERS = {
    *("answer", "write", "use", "be", "keep", "respond", "reply", "give", "explain", "do", "don't", "never", "always"),
    *(
        "please",
        "avoid",
        "include",
        "make",
        "return",
        "think",
        "provide",
        "speak",
        "act",
        "pretend",
        "assume",
        "follow",
    ),
    *("imagine", "limit", "translate", "summarize", "summarise", "describe", "generate", "create", "rewrite", "let"),
    *("begin", "start", "finish", "mention", "cite", "consider", "remember", "ensure", "remove", "tell", "talk", "say"),
    *("add", "continue", "extract", "solve", "take", "stay", "put", "show", "only", "ask", "help", "try", "cover"),
}
"""First words of an instruction."""
SPOKEN_TO = {"you", "your", "you're", "yourself"}
ATTACHED = {
    *("attachment", "attachments", "image", "images", "audio", "audios", "video", "videos", "upload", "uploads"),
    *("screenshot", "screenshots", "photo", "photos", "picture", "pictures", "media", "files"),
}
"""Words in the name of a list of things that a prompt speaks of."""
ENDS = (".", "!", ":", "\u3002", "\uff01")
FEWEST_WORDS = 3
"""Fewest words of a sentence; an order that ends like a sentence may have one less."""


def is_instruction(text: str) -> bool:
    """Return True for a sentence, an order, or a text that speaks to the reader; labels are shorter."""
    said = _said(text)
    ends = text.rstrip().endswith(ENDS)
    if not text.isascii() and ends and len(text) >= FEWEST_WORDS:
        return True
    if len(said) < FEWEST_WORDS - ends:
        return False
    return (len(said) >= FEWEST_WORDS and ends) or _is_order(said)


def orders(key: str, texts: Sequence[str]) -> bool:
    """Return True for texts of which most are orders, under a name that is neither a label's nor an answer's."""
    if set(words((key,))) & ANSWER:
        return False
    told = [text for text in texts if is_instruction(text) and (_is_order(_said(text)) or not text.isascii())]
    return 2 * len(told) > len(texts)


def _said(text: str) -> list[str]:
    """Return the words of a text in lower case, without the signs around."""
    return [word.strip(",.;:!?\"'()").lower().replace("\u2019", "'") for word in text.split()]


def _is_order(said: Sequence[str]) -> bool:
    """Return True for words that begin with an order, or that speak to the reader in three words or more."""
    return said[0] in ORDERS or (len(said) >= FEWEST_WORDS and bool(SPOKEN_TO & set(said)))


@lru_cache(maxsize=4096)
def instructs(key: str, text: str) -> bool:
    """Return True for an instruction under the name of one, or under a name such as style; labels repeat."""
    kind = may_instruct(key)
    return bool(kind) and ((kind == "added" and _several(text)) or is_instruction(text))


def _several(text: str) -> bool:
    """Return True for several words, or for other writing, which may have no blanks."""
    return len(text.split()) > 1 or not text.isascii()


@lru_cache(maxsize=4096)
def may_instruct(key: str) -> str:
    """Return "added" or "manner" for the name of a text that may be an instruction; "" for other names."""
    parts = set(words((key,)))
    if parts & (ABOUT - OF_AN_ANSWER) or parts & (REMARKS - MANNER):
        return ""
    return "added" if parts & ADDED else "manner" if parts & MANNER else ""


@lru_cache(maxsize=4096)
def is_attached(key: str) -> bool:
    """Return True for the name of a list of attachments."""
    parts = set(words((key,)))
    return bool(parts & ATTACHED) and not parts & ABOUT
