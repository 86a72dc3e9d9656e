"""Words that say which answer is meant: marks of the sides, ties, polar words, and names of labels and scores."""

import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from .layout import LONG, MARKS, Path, marks_of, words

TIE = -1
"""Stands for neither side, or both."""
TIES = {
    *("tie", "ties", "tied", "draw", "equal", "equally", "same", "both", "neither", "none", "nobody", "bothbad"),
    *("undecided", "even", "similar"),
}
BESIDE_TIES = {
    *("bad", "good", "are", "is", "about", "the", "model", "models", "answers", "responses", "of", "them", "quality"),
    *("preference", "no", "better", "approximately", "roughly"),
}
NO_WINNER = ({"no", "preference"}, {"no", "winner"}, {"no", "difference"})
"""Sets of words that mean a tie, though no word of the set is a tie."""
FILLER = {
    *("model", "models", "response", "responses", "answer", "answers", "assistant", "output", "outputs", "completion"),
    *("option", "choice", "candidate", "system", "summary", "text", "conversation", "conv", "side", "reply", "result"),
    *("bot", "ai", "agent", "llm", "sample", "generation", "is", "was", "the", "better", "best", "win", "wins", "won"),
    *("winner", "preferred", "prefer", "preference", "chosen", "selected", "clearly", "slightly", "much", "overall"),
    *("significantly", "strongly", "somewhat", "far", "more", "verdict", "number", "id", "to", "than", "over"),
}
"""Words of a label beside the mark."""
LABEL = {
    *(
        "label",
        "labels",
        "labelled",
        "winner",
        "win",
        "winning",
        "preference",
        "preferred",
        "pref",
        "prefer",
        "prefers",
    ),
    *("better", "best", "choice", "chosen", "choose", "selected", "select", "selection", "verdict", "judgment", "pick"),
    *("judgement", "judgments", "judgements", "decision", "outcome", "vote", "votes", "picked", "gold", "target"),
    *("result", "favorite", "favourite", "won", "wins", "annotation", "annotations", "ranking", "loser"),
    *("worse", "worst", "rejected", "lost"),
}
"""Words in the name of a column that says which answer is better."""
SCORE = {
    *("score", "scores", "rating", "ratings", "rate", "reward", "rewards", "grade", "grades", "points", "stars", "elo"),
    *(
        "overall",
        "karma",
        "upvotes",
        "likes",
        "upvote",
        "upvoted",
        "liked",
        "pm",
        "rm",
        "mean",
        "average",
        "avg",
        "quality",
        "merit",
    ),
}
SCHOOL = {"grade", "grades"}
"""Words for the mark of a teacher, of which 1 is the best in some countries."""
LAST_MARK = 6
"""Largest mark of a school of which 1 is the best."""
WORSE_ELSEWHERE = {
    *("schlechter", "schlechtere", "schlechteste", "pire", "pires", "peor", "peores", "peggiore", "peggio", "pior"),
    *("slechter", "slechtere", "slechtste"),
}
"""Worse and worst in other languages."""
LOSER = {"loser", "worse", "worst", "rejected", "lost"} | WORSE_ELSEWHERE
"""Words in the name of a label that names the worse answer."""
LABEL |= WORSE_ELSEWHERE
WORSE = LOSER | {
    *("reject", "dispreferred", "nonpreferred", "unpreferred", "unchosen", "unaccepted", "disfavored", "disliked"),
    *("lose", "loses", "losing", "undesirable", "refused", "inferior"),
}
"""Words for the worse answer; every other set with such words is made from this one."""
BEST = {"better", "best", "winner"}
"""Words that say that a name with a word for the worse answer begins with the better one, such as best_to_worst."""
TURNED = {
    *("swap", "swapped", "flip", "flipped", "reverse", "reversed", "inverse", "inverted", "mirrored", "switched"),
    *("exchanged", "invert", "inverts", "negate", "negated", "overturn", "overturned", "mislabeled", "mislabelled"),
    *("swaps", "flips", "switch", "reversal", "transposed", "backward", "backwards", "interchanged"),
}
"""Words in the name of a column that says that the two answers were exchanged."""
SHOWN = {"order", "position", "positions", "presentation", "presented", "shown", "displayed", "display", *TURNED}
"""Words in the name of a column, or of a field, with the order in which the answers were shown."""
TURNS = TURNED | {"less", "least", "ascending", "opposite", "over"}
"""Words that turn the meaning of a name round."""
RANK = {"rank", "ranks", "ranking", "rankings", "place", "places"}
ORDER = {"ranking", "rankings", "ranked", "order", "ordering", "ordered", "sorted", "permutation", "argsort"}
"""Words in the name of a list that may hold ranks, or the places of the answers with the best first."""


def plurals(word: str) -> tuple[str, ...]:
    """Return the plural of a noun, by the endings of English: losses, penalties, costs."""
    if word.endswith(("s", "x", "ch", "sh")):
        return (f"{word}es",)
    return (f"{word}s", f"{word[:-1]}ies") if word.endswith("y") else (f"{word}s",)


FAULTS = WORSE | {
    *("toxicity", "toxic", "harm", "harmful", "harmfulness", "unsafe", "error", "errors", "loss", "perplexity", "ppl"),
    *("bias", "risk", "violation", "violations", "spam", "hate", "cost", "distance", "wer", "cer", "penalty", "lower"),
    *(
        "hallucination",
        "hallucinations",
        "hallucinated",
        "hallucinates",
        "flagged",
        "refusal",
        "severity",
        "mistakes",
        "failure",
    ),
    *("bad", "negative", "down", "downvote", "downvotes", "downvoted", "dislikes", "rejects", "report", "reports"),
    *("danger", "dangerous", "unhelpfulness", "nll", "ter", "incorrect", "wrong", "eliminated", "removed", "dropped"),
    *(
        "discarded",
        "excluded",
        "violates",
        "inappropriate",
        "offensive",
        "misleading",
        "problematic",
        "issue",
        "issues",
    ),
    *("bottom", "weaker", "weakest", "weak", "lesser", "lowest", "flawed", "flaw", "flaws", "buggy", "bug", "bugs"),
    *("defeated", "worsened"),
    *("nonwinner", "nonchosen", "unwanted", "unselected", "removal", "remove", "delete", "deleted", "discard", "drop"),
    *("exclude", "eliminate", "dislike", "mistake", "typo", "typos", "flags", "veto", "vetoed", "vetoes"),
    *("invalid", "fail", "fails", "failed", "failures", "false", "poor", "poorer", "poorest", "faulty", "faults"),
    *("problem", "problems", "complaint", "complaints", "defect", "defects", "weakness", "weaknesses", "beaten"),
    *("loses", "defeat", "defeats", "avoid", "avoided", "unsatisfactory", "unpreferred", "downvoting", "banned"),
}
LOW = {
    *("mse", "rmse", "mae", "mape", "brier", "regret", "divergence", "deviation", "kl", "entropy", "surprisal", "xent"),
    *("bpb", "bpc", "fid", "levenshtein", "dissimilarity", "repetition", "redundancy", "profanity", "obscenity"),
    *("abuse", "violence", "insult", "threat", "plagiarism", "sycophancy", "dishonesty", "dishonest", "inaccuracy"),
    *("inaccurate", "incoherence", "incoherent", "irrelevance", "irrelevant", "inconsistency", "inconsistent"),
    *("incompleteness", "unfaithfulness", "unfaithful", "untruthfulness", "untruthful", "useless", "uselessness"),
}
"""Measures, and opposites of an aspect, of which the lower number is the better."""
FAULTS |= LOW
FAULTS |= {many for word in FAULTS for many in plurals(word)}
"""Words for numbers of which the lower is the better, each also in the plural."""
AGAINST = {"against", "never", "without", "no", "cannot", "neither", "nor", "opposed", "objections"}
"""Words that turn the meaning of a name round, though they name no fault."""
DECISIVE = WORSE | {"chosen", "preferred", "winner", "accepted", "better", "win", "non", "not"}
"""Words for the better and the worse answer that mean nothing else."""
MEASURES = {
    *(
        "length",
        "len",
        "tokens",
        "token",
        "words",
        "chars",
        "turns",
        "turn",
        "time",
        "latency",
        "cost",
        "num",
        "n",
        "id",
    ),
    *("index", "idx", "seed", "temperature", "position", "order", "size", "date", "timestamp", "logprob", "logprobs"),
}
"""Words for numbers about an answer that say nothing of its worth."""
BALLOTS = {"vote", "votes", "upvote", "upvotes", "like", "likes"}
"""Words for votes in favour of an answer."""
SHARES = {"probability", "prob", "probs", "share", "shares", "rate", "fraction", "proportion"}
"""Words for a share, which is one of votes or of preferences only if the name says so."""
VOTES = BALLOTS | SHARES | {"count", "counts", "weight", "weights"}
"""Words for numbers that may be votes."""
CORRECT = {"correct", "right", "accepted", "accept", "good", "true", "passed", "pass", "selected", "thumbs"}
PEOPLE = {
    *("annotator", "rater", "worker", "judge", "labeler", "labeller", "expert", "reviewer", "evaluator", "grader"),
    *("assessor", "person", "participant", "crowdworker", "coder"),
}
"""Words for somebody who compares answers."""
STRENGTH = {"strength", "degree", "intensity", "likert", "scale", "slider", "extent", "magnitude"}
"""Words for how strong a preference is; a number under such a name is no index of a side."""
REMARKS = {
    *("comment", "comments", "note", "notes", "reason", "reasons", "rationale", "explanation", "justification"),
    *("feedback", "critique", "statement", "elaboration", "reasoning", "analysis"),
}
"""Words in the name of a column with words about the answers."""
GOOD = {
    *("chosen", "preferred", "better", "best", "good", "pos", "positive", "win", "winner", "winning", "accepted"),
    *("accept", "favored", "favoured", "desirable", "liked", "wins", "won", "selected", "yes", "up", "w"),
}
BAD = WORSE | {"bad", "neg", "negative", "no", "down", "l"}
"""Words for the better and the worse answer."""
NOT = {"non", "not", "dis", "un"}
AGREES = {"agree", "agrees", "agreed", "agreement", "confirm", "confirms", "confirmed"}
DISAGREES = {"disagree", "disagrees", "disagreed", "disagreement", "disputed", "rejects"}
"""Words of somebody who looks at the choice of another; of disagreement, false agrees."""
TRUE = {
    *("true", "yes", "y", "1", "1.0", "t", "on", "x", "checked", "\u2713", "\u2714", "\u2611", "\u2705"),
    *("oui", "vrai", "ja", "wahr", "si", "s\u00ed", "\u0434\u0430", "\u662f", "\u5bf9"),
}
FALSE = {
    *("false", "no", "n", "0", "0.0", "f", "off", "unchecked", "\u2717", "\u2718", "\u2610", "\u274c"),
    *("non", "faux", "nein", "falsch", "\u043d\u0435\u0442", "\u5426"),
}
"""Cells that are truth values, in small letters: words of several languages, and marks of forms."""
EMPTY = {"", "-", "none", "null", "nan", "n/a", "na"}
"""Cells that say nothing, in small letters."""
VARIANT = "\ufe0f"
"""Sign behind a mark that asks for the mark in colours."""
YES = TRUE | AGREES | {"correct"}
NO = FALSE | DISAGREES | {"rejected", "wrong", "incorrect"}
"""Cells that agree or disagree, in small letters."""
WON = YES | {"win", "won", "wins"}
LOST = NO | {"loss", "lose", "lost", "loses"}
"""Cells that say of one answer, such as the first, whether the answer is the better one."""
WEAK = {"yes", "no", "up", "down", "pos", "neg", "positive", "negative"}
"""Polar words that may as well be the content of the answers, such as an answer that says yes."""
COMPARED = re.compile(r"(.+?)\s*(>+|<+|=+|~|\u2248|\u227b)\s*([^<>=]+)")
"""A comparison of two sides, such as A>B, A >> B and A=B."""


PLAIN = re.compile(r"""<?[\s\w.,:;'"()\[\]{}|/\\*#_`-]*[^\W_][\s.,:;'"()\[\]{}|/\\*#_`]*>?""")
"""A word or words without a sign that may turn the meaning round; brackets and stars around them say nothing."""


class Said(NamedTuple):
    """Meaning of one word of a label.

    Attributes:
        side: place of the answer from 0, or `TIE`; None if the word is a bare number.
        digit: the number of a word that is a bare number, or a number behind words such as "response".
        strength: number of comparison signs; 0 without signs.
    """

    side: int | None
    digit: int | None = None
    strength: int = 0


def meaning(text: str, names: Sequence[Path], marks: Sequence[str]) -> Said | None:
    """Return the meaning of a label's word; None for a word that is not understood.

    Args:
        names: names of the answers.
        marks: mark of each answer, such as "a" and "b"; may be empty.
    """
    low = text.strip().lower()
    for place, name in enumerate(names):
        # In answer_a.text the last name is the same for every answer, and names none.
        own = [part.lower() for part in name if not all(part in other for other in names)]
        if low in (*own, ".".join(name).lower()):
            return Said(place)
    if found := COMPARED.fullmatch(low):
        return _compared(found, names, marks)
    # A sign such as the ones of !A, A- and A< may turn the meaning round.
    if not PLAIN.fullmatch(low):
        return None
    parts = set(words((text.strip(),)))
    if (parts & TIES and parts <= TIES | BESIDE_TIES) or parts in NO_WINNER:
        return Said(TIE)
    if names and not marks:
        return None
    stem = {word for name in names for word in words(name)} - set(marks)
    rest = [word for word in words((text.strip(),)) if word not in FILLER and word not in stem]
    if len(rest) != 1 or low.startswith("-"):
        return None
    return _mark(rest[0], marks, max(len(names), 2))


def _mark(word: str, marks: Sequence[str], sides: int) -> Said | None:
    """Return the meaning of a mark."""
    if word in marks and not word.isdecimal():
        return Said(list(marks).index(word))
    # `L` and `R` beside left and right; initials of other marks may mean something else, such as `t` a tie.
    if tuple(marks) == MARKS["side"] and word in ("l", "r"):
        return Said("lr".index(word))
    for kind, number in marks_of(word):
        if kind == "digit":
            return Said(None, number)
        place = number - ord("a") if kind == "letter" else number
        if place < sides:
            return Said(place)
    return None


def _compared(found: re.Match[str], names: Sequence[Path], marks: Sequence[str]) -> Said | None:
    """Return the meaning of a comparison of two sides."""
    first, second = (meaning(found[group].strip(), names, marks) for group in (1, 3))
    if first is None or second is None:
        return None
    places = [said.side if said.side is not None else _from_number(said.digit, marks) for said in (first, second)]
    if set(places) != {0, 1}:
        return None
    sign = found[2]
    if sign[0] in ">\u227b":
        return Said(places[0], strength=len(sign))
    return Said(places[1], strength=len(sign)) if sign[0] == "<" else Said(TIE)


def _from_number(digit: int | None, marks: Sequence[str]) -> int | None:
    """Return the place of a number among marks that are numbers, or else the number from 1."""
    if digit is not None and str(digit) in marks:
        return list(marks).index(str(digit))
    return None if digit is None or digit == 0 else digit - 1


def truth_in(value: Any) -> bool | None:
    """Return the truth value of a cell, and None for anything else, such as an empty cell."""
    word = str(value).strip().lower().rstrip(VARIANT)
    return True if word in TRUE else False if word in FALSE else None


def is_empty(value: Any) -> bool:
    """Return True for a cell that says nothing."""
    return value is None or str(value).strip().lower() in EMPTY


def is_open(value: Any) -> bool:
    """Return True for a short cell under the name of a truth value that is neither yes nor no, and is filled.

    A number with a fraction is a share, and long texts, lists and objects are other things.
    """
    if truth_in(value) is not None or is_empty(value) or not isinstance(value, str | int | float):
        return False
    if isinstance(value, float):
        return math.isfinite(value) and value == int(value)
    return isinstance(value, int) or len(value) <= LONG


def polarity(text: str) -> int | None:
    """Return 1 for a word for the better answer, 0 for the worse; None for another word."""
    parts = set(words((text,)))
    if parts & BAD:
        return 0
    if parts & GOOD:
        return 0 if parts & NOT else 1
    return None


def sense(parts: Sequence[str]) -> int:
    """Return 1 for the name of a label that names the better answer, -1 for the worse, and 0 for a doubt.

    A word such as "not" or "less", and a word for a fault, leave a doubt. Of a word for the better and a word for the
    worse answer the first counts, as in best_to_worst; with the worse first, nothing is certain.
    """
    if set(parts) & (NOT | AGAINST | TURNS | FAULTS - LOSER):
        return 0
    polar = [word for word in parts if word in LOSER | BEST]
    if not polar or polar[0] in BEST:
        return 1
    # The answer that another one lost to is the better one.
    if set(parts) & {"to", "than", "against", "by"}:
        return 0
    return -1 if set(polar) <= LOSER else 0


def decisive(text: str) -> bool:
    """Return True for a polar name whose polar words mean nothing else."""
    return bool(set(words((text,))) & (GOOD | BAD) - WEAK)
