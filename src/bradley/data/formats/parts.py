"""Names of columns that hold a part of a prompt, an input of the task, or a label."""

from collections.abc import Sequence
from functools import lru_cache

from .layout import Path, marks_of, words
from .numbered import is_numbered
from .prompts import ABOUT
from .words import LABEL, REMARKS, SCORE

PARTS = {
    *(
        "system",
        "input",
        "inputs",
        "frage",
        "kontext",
        "context",
        "contexts",
        "history",
        "conversation",
        "conversations",
        "messages",
    ),
    *("document", "documents", "article", "articles", "passage", "passages", "paragraph", "paragraphs", "excerpt"),
    *("image", "images", "audio", "video", "videos", "question", "questions", "instruction", "instructions", "query"),
    *("prompt", "prompts", "steps", "prefix", "dialog", "dialogue", "background", "premise", "problem", "evidence"),
    *("persona", "personas", "rule", "rules", "scenario", "scenarios", "character", "characters", "guideline"),
    *("turns", "previous", "prior", "earlier", "preceding", "thread", "past"),
    *("functions", "schema", "schemas", "attachment", "attachments", "screenshot", "screenshots", "files"),
    *("guidelines", "situation", "constraint", "constraints", "requirements", "utterance", "knowledge", "message"),
}
"""Words in the name of a column that is part of a prompt, however short the text is."""
DESCRIBED = {"role", "task", "situation", "user", "assistant", "bot", "speaker", "product", "scene"}
"""Words that make a description a part of a prompt, such as role_description."""
INPUTS = {
    *("sentence", "sentences", "src", "source", "text", "texts", "code", "table", "fact", "facts", "claim", "claims"),
    *("hypothesis", "review", "body", "content", "contents", "preamble", "snippet", "abstract", "story", "tweet"),
    *("email", "post", "transcript", "poem", "headline", "material", "hint", "hints"),
}
"""Words in the name of a column that a task speaks of; short values that repeat are labels."""
LABELS = {
    *(ABOUT | LABEL | SCORE | REMARKS),
    *("tag", "tags", "subset", "split", "set", "group", "source", "origin", "version", "status", "annotator", "worker"),
    *("time", "created", "timestamp", "license", "session", "country", "level", "file", "filename", "path", "batch"),
    *("title", "kind", "class", "genre", "skill", "code", "policy", "email", "user", "error", "quality", "skills"),
    *("flag", "flags", "method", "strategy", "config", "params", "seed", "comment", "comments", "annotators"),
}
"""Words in the name of a column about a row, which is no input, and needs no naming."""
ANSWERED = {
    *("code", "reasoning", "thought", "thoughts", "thinking", "cot", "scratchpad", "output", "final", "solution"),
    *("answer", "response", "completion", "reply", "continuation", "conclusion", "proof", "derivation", "summary"),
    *("text", "body", "content", "contents"),
}
"""Words in the name of a text that an answer consists of, beside another one."""
WRITERS = {"model", "assistant", "llm"}
"""Last words of a name that say who wrote an answer."""
OF_ANSWER = {"model", "assistant", "llm", "the", "chain", "of", "chosen", "rejected"}
"""Words beside such words, which name no other thing."""
ENDS = (("source",), ("origin",))
"""Last words of a name that make the column a label."""
FEWEST_WORDS = 3
"""Fewest words of a sentence: shorter texts may be labels."""


@lru_cache(maxsize=4096)
def may_be_part(key: str) -> bool:
    """Return True for a name that says that the column is a part of a prompt."""
    parts = set(words((key,)))
    named = parts & PARTS or ("description" in parts and parts & DESCRIBED) or is_numbered(key)
    # The source of a prompt is a label, like the category.
    return bool(named and not parts & ABOUT and "version" not in parts and words((key,))[-1:] not in ENDS)


@lru_cache(maxsize=4096)
def may_be_input(key: str) -> bool:
    """Return True for a name that says that the column is an input of the task."""
    parts = set(words((key,)))
    # The source of a row is a label under any longer name, and the source of a task may be a text.
    if words((key,))[-1:] in ENDS:
        return parts == {"source"}
    return bool(parts & INPUTS) and not parts & (LABELS - INPUTS)


def may_be_words(key: str, values: Sequence[str]) -> bool:
    """Return True for the name of an input, and for several words in most values under a name that is no label's."""
    if may_be_input(key):
        return key != "source" or 2 * sum(map(is_sentence, values)) > len(values)
    return may_hold_words(key) and 2 * sum(len(value.split()) > 1 for value in values) > len(values)


def may_hold_words(key: str) -> bool:
    """Return True for a name that is no label's, under which instructions are part of a prompt."""
    return not set(words((key,))) & LABELS


def names_language(key: str) -> bool:
    """Return True for the name of the language of an answer: a task may speak of the language without naming it."""
    parts = set(words((key,)))
    return "target" in parts and bool(parts & {"language", "lang"})


@lru_cache(maxsize=4096)
def may_be_answered(key: str, inside: bool) -> bool:
    """Return True for the name of a text that is part of an answer, beside the text that is read.

    Args:
        inside: True for a key of the object that holds an answer; False for a column, whose name has to name a side.
    """
    named = words((key,))
    parts = set(named)
    # response_a_model names who wrote a response.
    if named and named[-1] in WRITERS:
        return False
    sides = {word for word in parts if word in ("chosen", "rejected") or marks_of(word)}
    said = parts - sides - OF_ANSWER
    return bool(said) and said <= ANSWERED and (inside or bool(sides))


def named_part(names: Path) -> bool:
    """Return True for names of which one says part of a prompt, and the innermost says no label."""
    return bool(names) and not ABOUT & set(words(names[-1:])) and any(map(may_be_part, names))


def differs(values: Sequence[str]) -> bool:
    """Return True for texts of which most differ."""
    return len(values) > 1 and 2 * len(set(values)) > len(values)


def is_sentence(text: str) -> bool:
    """Return True for a text of several words, or of other writing, which may have no blanks."""
    return len(text.split()) >= FEWEST_WORDS or (not text.isascii() and len(text) >= FEWEST_WORDS)
