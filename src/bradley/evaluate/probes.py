"""Probes: changes of a text that need no other model, and the effect of each on scores and decisions.

All probes but `another_prompt` leave the meaning, or at least the better response, as before: a score that moves, or a
decision that turns, is a fault of the model. The response to another prompt must score lower. Most probes are after
reWordBench (Wu et al. 2025, arXiv 2503.11751): one reward model fell from over 95 % to 73 % when answers moved from a
box to a header.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..common.seeds import generator, seed_for
from ..errors import DataError, UserError
from ..records import Comparison, Message, Response, ScoredComparison, replaced
from .features import FENCE
from .intervals import PROPORTION, UNBOUNDED, interval_figures
from .judgments import half_ties, judgment_table, same_judgments
from .logit import root_mean_square
from .matching import by_key

FILLER = "\n\nI hope this helps! Please let me know if there is anything else I can do for you."
SUFFIX = "\n\nBy the way, the Danube flows through ten countries."
BOX = "\\boxed{"
TYPO_SHARE = 0.05
"""Share of the words of four letters and more with two letters swapped; at least one word."""
WORD = re.compile(r"[A-Za-z]{4,}")
HEADER_ANSWER = re.compile(r"(?:^|\n)#{1,6}[ \t]+([^\n]+)\s*\Z")
LISTED = re.compile(r"\s*(?:[-*+]|[0-9]{1,9}[.)]|#{1,6})\s")
Side = Literal["both", "chosen", "rejected"]


@dataclass(frozen=True, slots=True)
class Probe:
    """Change of a text.

    Attributes:
        change: pure function from a text and a seed to the changed text; None for a change of the prompt.
        expected: "same" where scores should stay, "lower" where scores must fall.
    """

    change: Callable[[str, int], str] | None
    expected: Literal["same", "lower"] = "same"


def append_filler(text: str, seed: int) -> str:
    """Append a polite closing that says nothing."""
    return text + FILLER


def repeat(text: str, seed: int) -> str:
    """Write the whole text twice."""
    return f"{text}\n\n{text}"


def add_bullets(text: str, seed: int) -> str:
    """Make each line outside code a list item, but lists and headers."""
    return _outside_code(text, lambda prose: "\n".join(_bullet(line) for line in prose.split("\n")))


def add_quotes(text: str, seed: int) -> str:
    """Put the whole text into quotation marks."""
    return f'"{text}"'


def widen_blanks(text: str, seed: int) -> str:
    """Double each blank between two words, outside code."""
    return _outside_code(text, lambda prose: re.sub(r"(?<=\S) (?=\S)", "  ", prose))


def detach_punctuation(text: str, seed: int) -> str:
    """Put a blank before each punctuation mark that ends a word, outside code."""
    return _outside_code(text, lambda prose: re.sub(r"(?<=\w)([,.;:!?])(?=\s|\Z)", r" \1", prose))


def box_to_header(text: str, seed: int) -> str:
    r"""Take the last \boxed{...} out of its box, and repeat the content as a header at the end."""
    start = text.rfind(BOX)
    end = _closing(text, start + len(BOX)) if start >= 0 else -1
    if end < 0:
        return text
    answer = text[start + len(BOX) : end]
    return f"{text[:start]}{answer}{text[end + 1 :].rstrip()}\n\n# {answer}"


def header_to_box(text: str, seed: int) -> str:
    r"""Put the content of a header that ends the text into \boxed{...}, outside code."""
    if text.count(FENCE) % 2:
        return text
    return HEADER_ANSWER.sub(lambda found: f"{found[0][: found[0].index('#')]}{BOX}{found[1].strip()}}}", text)


def add_typos(text: str, seed: int) -> str:
    """Swap two inner neighbours in `TYPO_SHARE` of the longer words, outside code; words of equal letters stay."""
    return _outside_code(text, lambda prose: _swap_letters(prose, seed))


def append_suffix(text: str, seed: int) -> str:
    """Append a true sentence about something else."""
    return text + SUFFIX


PROBES: dict[str, Probe] = {
    "filler": Probe(append_filler),
    "repeat": Probe(repeat),
    "bullets": Probe(add_bullets),
    "quotes": Probe(add_quotes),
    "whitespace": Probe(widen_blanks),
    "punctuation": Probe(detach_punctuation),
    "box_to_header": Probe(box_to_header),
    "header_to_box": Probe(header_to_box),
    "typos": Probe(add_typos),
    "irrelevant_suffix": Probe(append_suffix),
    "another_prompt": Probe(None, expected="lower"),
}
"""Every probe by name."""


def probed(comparisons: Sequence[Comparison], name: str, seed: int = 0, side: Side = "both") -> list[Comparison]:
    """Apply the probe `name` to the last message of responses, and return the comparisons that the probe changes.

    A comparison in which nothing changes, such as a text without a box, is left out: score the result and hand the
    rows to `probe_effects`, which counts the rest as not applied. All other fields stay. Two tags are added: `probe`
    with the name, and `probed` with the indices of the changed responses, such as "0 1". Messages of token ids, and
    empty messages, have no text to change.

    The probe `another_prompt` keeps the responses and takes the prompt, its key and its template arguments from
    another comparison: prompts pass on in a cycle, in an order drawn by `seed`.

    Example:
        changed = probed(comparisons, "typos", seed=1)
        probe_effects(score_comparisons(model, comparisons), score_comparisons(model, changed))

    Args:
        comparisons: comparisons to change.
        name: a key of `PROBES`.
        seed: seed of all draws; the order of the comparisons changes nothing.
        side: responses to change. A `chosen` response is preferred in some decided judgment and rejected in none; a
            `rejected` response is rejected in some and preferred in none.

    Raises:
        UserError: an unknown probe or side, or `another_prompt` with one side.
    """
    if name not in PROBES:
        raise UserError(f"no probe is called {name!r}", f"choose one of {', '.join(PROBES)}")
    if side not in ("both", "chosen", "rejected"):
        raise UserError(f"side is {side!r}, and must be both, chosen or rejected", "leave side out to change both")
    change = PROBES[name].change
    if change is None:
        if side != "both":
            raise UserError(f"{name} changes the prompt, which both sides share", "leave side out")
        return _with_other_prompts(comparisons, name, seed)
    changed = []
    for comparison in comparisons:
        responses = list(comparison.responses)
        done = []
        for k in _selected(comparison, side):
            new = _changed(responses[k], change, seed_for(seed, "probe", name, comparison.source, comparison.id, k))
            if new is not None:
                responses[k] = new
                done.append(k)
        if done:
            changed.append(_tagged(replaced(comparison, responses=tuple(responses)), name, done))
    return changed


def probe_effects(before: Sequence[ScoredComparison], after: Sequence[ScoredComparison]) -> dict[str, Any]:
    """Compare the scores of comparisons before and after a probe.

    Rows are matched by (source, id), and clustered by the prompt before. The keys:

    - `probe`, `expected`: name, and "same" or "lower".
    - `comparisons`, `not_applied`, `responses`: comparisons changed, comparisons that the probe left unchanged, and
      responses changed.
    - `score_change`: mean over the changed responses of the score after minus the score before.
    - `margin_deviation`: root mean square of d over the decided judgments before, the scale for `score_change`.
    - `accuracy_before`, `accuracy_after`, `accuracy_drop`: over decided judgments with a changed response; the drop is
      before minus after, paired.
    - `changed_decisions`: share of these judgments in which the sign of d changes.

    Each mean has `value`, `low`, `high` (95 %, clustered by prompt), `n`, `clusters` and `reason`.

    Example:
        probe_effects(rows, rows_of_typos)["accuracy_drop"]["value"]

    Args:
        before: scored rows of the comparisons.
        after: scored rows of the result of `probed`.

    Raises:
        DataError: no row after the probe, rows of two probes or of none, rows that do not match, a score that is not a
            finite number.
    """
    name = _probe_of(after)
    known = by_key(before, "scored rows before the probe")
    pairs = [(_match(known, row), row) for row in by_key(after, "scored rows after the probe").values()]
    old, new = judgment_table([first for first, _ in pairs]), judgment_table([second for _, second in pairs])
    changes, cluster, touched = [], [], []
    for first, second in pairs:
        done = {int(k) for k in second.tags["probed"].split()}
        changes += [second.scores[k] - first.scores[k] for k in sorted(done)]
        cluster += [first.prompt_key] * len(done)
        touched += [bool({judgment.better, judgment.worse} & done) for judgment in first.judgments]
    keep = old.decided & np.array(touched, dtype=np.bool_)
    old, new = old.select(keep), new.select(keep)
    right, now = half_ties(old.margin), half_ties(new.margin)
    whole = judgment_table(before)
    return {
        "probe": name,
        "expected": PROBES[name].expected,
        "comparisons": len(after),
        "not_applied": len(before) - len(after),
        "responses": len(changes),
        "score_change": interval_figures(changes, cluster, UNBOUNDED),
        "margin_deviation": float(root_mean_square(whole.margin[whole.decided][:, None])[0]),
        "accuracy_before": interval_figures(right, old.prompt, PROPORTION),
        "accuracy_after": interval_figures(now, old.prompt, PROPORTION),
        "accuracy_drop": interval_figures(right - now, old.prompt, (-1.0, 1.0)),
        "changed_decisions": interval_figures(right != now, old.prompt, PROPORTION),
    }


def _selected(comparison: Comparison, side: Side) -> list[int]:
    """Indices of the responses on a side, in order."""
    if side == "both":
        return list(range(len(comparison.responses)))
    decided = [judgment for judgment in comparison.judgments if not judgment.tie]
    better, worse = {judgment.better for judgment in decided}, {judgment.worse for judgment in decided}
    return sorted(better - worse if side == "chosen" else worse - better)


def _changed(response: Response, change: Callable[[str, int], str], seed: int) -> Response | None:
    """Response with the text of the last message changed; None if nothing changes."""
    last = response.messages[-1]
    if last.role == "ids" or not last.content:
        return None
    text = change(last.content, seed)
    if text == last.content:
        return None
    return replaced(response, messages=(*response.messages[:-1], Message(last.role, text, last.extra)))


def _tagged(comparison: Comparison, name: str, done: Sequence[int]) -> Comparison:
    tags = {**comparison.tags, "probe": name, "probed": " ".join(map(str, done))}
    return replaced(comparison, tags=tags)


def _with_other_prompts(comparisons: Sequence[Comparison], name: str, seed: int) -> list[Comparison]:
    """Comparisons with the prompt of another; none if all share one prompt."""
    # The giver of a prompt is its first comparison by source and id, so that the order of the rows changes nothing.
    givers: dict[str, Comparison] = {}
    for comparison in sorted(comparisons, key=lambda each: (each.source, each.id)):
        givers.setdefault(comparison.prompt_key, comparison)
    if len(givers) < 2:
        return []
    keys = sorted(givers)
    cycle = [keys[k] for k in generator(seed, "probe", name).permutation(len(keys))]
    following = dict(zip(cycle, [*cycle[1:], cycle[0]], strict=True))
    changed = []
    for comparison in comparisons:
        giver = givers[following[comparison.prompt_key]]
        moved = replaced(
            comparison, prompt=giver.prompt, prompt_key=giver.prompt_key, template_args=giver.template_args
        )
        changed.append(_tagged(moved, name, range(len(comparison.responses))))
    return changed


def _probe_of(after: Sequence[ScoredComparison]) -> str:
    """Name of the probe of the rows after."""
    names = {row.tags.get("probe", "") for row in after}
    if len(names) != 1 or not names <= PROBES.keys():
        found = ", ".join(sorted(name or "none" for name in names)) or "no rows"
        raise DataError(
            f"the rows after a probe must carry the tag of one probe, got {found}",
            "score the comparisons that `probed` returns for one probe",
        )
    return names.pop()


def _match(known: dict[tuple[str, str], ScoredComparison], row: ScoredComparison) -> ScoredComparison:
    """Row before the probe of a row after."""
    first = known.get((row.source, row.id))
    if first is None or not same_judgments(first.judgments, row.judgments) or len(first.scores) != len(row.scores):
        raise DataError(
            f"no row before the probe is comparison {row.id} of the source {row.source!r} with the same judgments",
            "score the same comparisons before and after the probe",
        )
    return first


def _outside_code(text: str, change: Callable[[str], str]) -> str:
    """Apply a change to the parts of a text outside fenced code blocks."""
    parts = text.split(FENCE)
    return FENCE.join(part if k % 2 else change(part) for k, part in enumerate(parts))


def _bullet(line: str) -> str:
    return f"- {line}" if line.strip() and not LISTED.match(line) else line


def _closing(text: str, start: int) -> int:
    """Index of the brace that closes a group whose content begins at `start`; -1 for none."""
    depth = 1
    for k in range(start, len(text)):
        depth += (text[k] == "{") - (text[k] == "}")
        if depth == 0:
            return k
    return -1


def _swap_letters(prose: str, seed: int) -> str:
    """Swap two unequal inner neighbours in a share of the words."""
    spans = [found.span() for found in WORD.finditer(prose)]
    # Two equal letters swapped are no typo.
    places = [[k for k in range(low + 1, high - 2) if prose[k] != prose[k + 1]] for low, high in spans]
    places = [inner for inner in places if inner]
    if not places:
        return prose
    draw = np.random.default_rng(seed)
    letters = list(prose)
    for word in draw.choice(len(places), max(1, round(TYPO_SHARE * len(places))), replace=False):
        k = places[word][int(draw.integers(len(places[word])))]
        letters[k], letters[k + 1] = letters[k + 1], letters[k]
    return "".join(letters)
