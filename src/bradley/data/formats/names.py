"""Names of labels: a name is understood only if every word is known, and no word may mean the worse answer.

One rule holds for columns, columns of each side, lists, keys of objects and fields of annotations.
"""

import re
from collections.abc import Collection, Sequence
from functools import lru_cache

from .layout import MARKS, Path, named, words
from .words import AGAINST, CORRECT, FAULTS, FILLER, LABEL, LOSER, NOT, RANK, SCHOOL, SCORE, TURNS, VOTES, sense

HOLDERS = {
    *("info", "data", "meta", "metadata", "extra", "extras", "details", "record", "row", "item", "json", "additional"),
    *("reviews", "review", "evaluations", "assessments", "comparisons", "humans", "workers", "individual", "entries"),
    *("attributes", "properties", "fields", "field", "annotation", "annotations", "example", "values", "results"),
}
"""Words for an object that holds a label."""
MODELS = {"gpt", "chatgpt", "claude", "llama", "gemini", "gemma", "mistral", "mixtral", "qwen", "deepseek", "openai"}
"""Words for a model that judges."""
NEUTRAL = {
    *(LABEL | SCORE | RANK | VOTES | FILLER | HOLDERS | MODELS),
    *("index", "idx", "orig", "human", "final", "gt", "value", "name", "side", "ground", "truth", "user", "judge"),
    *("expert", "crowd", "majority", "consensus", "evaluation", "eval", "assessment", "favored", "favoured"),
    *("annotator", "annotators", "rater", "raters", "worker", "labeler", "evaluator", "reviewer", "people", "person"),
    *("which", "who", "one", "or", "and", "vs", "versus", "has", "annotated", "ranked", "ai", "pairwise", "comparison"),
}
"""Words of a label's name that name no aspect, such as helpfulness."""
ASPECTS = {
    *("helpfulness", "helpful", "honesty", "honest", "truthfulness", "truthful", "correctness", "coherence"),
    "coherent",
    *("accuracy", "accurate", "clarity", "clear", "relevance", "relevant", "fluency", "fluent", "depth", "creativity"),
    *("completeness", "complete", "factuality", "factual", "faithfulness", "faithful", "usefulness", "useful"),
    *("informativeness", "informative", "harmlessness", "harmless", "safety", "instruction", "following"),
    "naturalness",
    *("consistency", "consistent", "engagement", "engaging", "understandability", "insight", "satisfaction"),
}
"""Words for an aspect of which more is better."""
JUDGE = re.compile(
    r"(annotator|worker|crowd_?worker|rater|judge|labell?er|reviewer|evaluator)s?_?(id|name|hash|index)?|user_?id"
)
"""Names of a column with the person or model that judged a row, in small letters and with underscores."""
COMPARED = {"than", "over", "to", "against", "vs", "versus", "beats", "beat", "by", "not", "or", "and", "more"}
"""Words of a comparison that may put the other side first."""
VERBS = {"better", "wins", "win", "won"}
"""Words that say of a side in an order, such as first_wins, that the side is the better one."""
ORDINALS = {*MARKS["ordinal"], *MARKS["number word"]}


CONTENT = {
    *(
        "answer",
        "answers",
        "output",
        "outputs",
        "response",
        "responses",
        "solution",
        "solutions",
        "reply",
        "completion",
    ),
    *("option", "options", "gold", "target", "reference", "human", "humans", "ai", "user", "users", "machine"),
}
"""Words in the name of the answer to a question of several choices, and of who wrote which answer."""
BESIDE_CONTENT = {
    "completion",
    "key",
    "final",
    "correct",
    "right",
    "true",
    "the",
    "ground",
    "truth",
    "expected",
    "model",
    "llm",
    "index",
}


@lru_cache(maxsize=1000)
def names_judge(key: str) -> bool:
    """Return True for the name of a column with the judge of a row."""
    return JUDGE.fullmatch(key.lower().replace("-", "_")) is not None


def names_content(parts: Sequence[str]) -> bool:
    """Return True for a name such as final_answer, gold and human, of which no word speaks of a comparison."""
    told = {word for word in parts if not word.isdecimal()}
    own = {word for word in told if word.rstrip("0123456789") in MODELS}
    return bool(told & CONTENT or own) and told <= CONTENT | BESIDE_CONTENT | own


def strange(parts: Sequence[str], stem: Collection[str] = ()) -> list[str]:
    """Return the words of a name that nobody knows as neutral, or as an aspect of which more is better.

    Args:
        parts: words of the name.
        stem: words of the names of the answers.
    """
    found = []
    for place, word in enumerate(parts):
        version = word.isdecimal() and place > 0 and parts[place - 1] in MODELS
        if word not in NEUTRAL | ASPECTS | CORRECT and word not in stem and not version:
            found.append(word)
    return found


def unclear(path: Path, stem: Collection[str], marks: Collection[str], wanted: bool) -> str:
    """Return the reason why the name of a label that names a side is not understood; "" for a clear name.

    Args:
        stem: words of the names of the answers.
        marks: words that may stand for a side.
        wanted: True if the user called the column the label, which vouches for unknown words.
    """
    parts = words(path)
    if sense(parts) == 0 or may_be_second(parts):
        return "may say which answer is the worse"
    if wanted:
        return ""
    # The first choice and the choice of a name with both sides are no label of one side.
    sides = [word for word in parts if word in marks]
    left = [word for word in strange(parts, stem) if word not in marks or len(sides) < 2]
    left += [word for word in sides if len(sides) < 2 and word not in left and word not in stem]
    return f"names an answer, and {' '.join(sorted(set(left)))} may mean the worse one" if left else ""


def may_be_second(parts: Sequence[str]) -> bool:
    """Return True for a name such as second_choice, runner_up and last_pick."""
    later = {*MARKS["ordinal"][1:], "last", "runner", "next"}
    return bool(later & set(parts)) and "first" not in parts


def speaks_against(parts: Sequence[str]) -> bool:
    """Return True for a name with a word for the worse answer, or for a fault."""
    return bool(set(parts) & (FAULTS | NOT | AGAINST | TURNS)) or may_be_second(parts)


def numbers_unclear(paths: Sequence[Path], parts: Sequence[str]) -> str:
    """Say why numbers under a name are not read: of a fault, and of a school mark, the lowest may be the best.

    Args:
        parts: words of the name, without the marks of the answers.
    """
    shown = ", ".join(map(named, paths))
    low = ", and lower numbers may be better" if set(parts) & (FAULTS | SCHOOL) else ""
    return f"{shown} hold{'s' if len(paths) == 1 else ''} a number for each answer, or of each annotator{low}"


def of_one_side(parts: Sequence[str], better: Collection[str], marks: Collection[str], stem: Collection[str]) -> bool:
    """Return True for a name that says of one side alone that the side is the better one, such as a_is_better.

    Args:
        better: words for the better answer.
        marks: words that may stand for a side.
    """
    own = [word for word in parts if word in marks]
    if len(own) != 1 or set(parts) & COMPARED or sense([word for word in parts if word not in own]) < 1:
        return False
    # The second best is no answer that is the best.
    meant = set(parts) & set(better)
    if own[0] in ORDINALS and not meant & VERBS:
        return False
    rest = [word for word in parts if word not in own]
    return bool(meant) and not set(rest) & LOSER and not strange(rest, stem)
