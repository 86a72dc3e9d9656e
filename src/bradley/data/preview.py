"""Preview preference files for `bradley data`: contents, lengths, and the first rows as a model reads each row."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ..common.console import Console
from ..common.text import cut_middle, visible
from ..config import Data, Model, Render
from ..records import Comparison, Message
from .diagnostics import describe_changes, diagnose
from .lengths import RENDERED_TOGETHER, Values, text_lengths, token_lengths
from .load import load_splits
from .render import Rendered, Renderer
from .report import describe, histogram, quantiles, sparkline, unusable
from .tokenizer import make_tokenizer
from .truncate import Ledger, decided_losses, kind_of, limits_of, losses_above

ROWS_SHOWN = 3
CHARACTERS_SHOWN = 600
CHARACTERS_RETURNED = 4000
"""Most characters of a text in the result of `preview`: a row may hold megabytes."""
TOKENS_SHOWN = 1000
"""Most tokens of a response in the view token by token."""
BINS = 20
PARTS = ("prompt", "chosen", "rejected")
"""Parts with a histogram; `chosen` and `rejected` cover both sides of every judgment with a preference."""
KIND_WORDS = {"text": "plain text", "messages": "messages", "ids": "token ids"}
"""Kind of a comparison -> words for the screen."""
RESET = "\x1b[0m"
SHADES = ("\x1b[30;47m", "\x1b[97;100m")
"""Alternating colours of tokens: black on light grey, white on dark grey."""
SPECIAL = "\x1b[97;45m"
POOLED = "\x1b[1;30;43m"
SPACE = "\u2423"


def preview(
    data: Data,
    render: Render,
    model: Model,
    seed: int,
    *,
    tokens: bool = False,
    color: bool = False,
    console: Console | None = None,
) -> dict[str, Any]:
    """Describe the files of `data` as plain values.

    Args:
        data: sources, and rules for reading rows.
        render: template and special tokens, for token lengths and samples.
        model: the tokenizer; without `model.path` or `model.tokenizer`, no tokens are counted.
        seed: seed of splits and samples.
        tokens: True to add a view of the first comparisons token by token; needs a tokenizer.
        color: True to colour the view for a terminal.
        console: shows the progress of reading; None for no output.

    Returns:
        `report`: the report of `load_splits`. `kinds`: number of comparisons of each kind, by split, see `kinds`.
            `lengths`: quantiles of each part before any limit, by split and unit. `histograms`: the same for `PARTS`.
            `rows`: the first training comparisons as text. With a tokenizer also `samples`: see `decoded_samples`, and
            `limits`: see `limits_of`, by split. With `tokens` also `tokens`: the view. A text above
            `CHARACTERS_RETURNED` characters is cut in the middle.

    Raises:
        DataError, CheckpointError: as for training.

    Example:
        data = bradley.Data(synthetic={"comparisons": 100})
        found = bradley.preview(data, bradley.Render(), bradley.Model(), seed=0)
        print(found["lengths"]["train"]["words"]["chosen"]["p50"])  # 22.0
    """
    # Not strict: a preview must show the faults for which training would stop.
    splits = load_splits(data, seed, strict=False, console=console)
    renderer = make_renderer(splits.train, render, model) if model.path or model.tokenizer else None
    splits = diagnose(splits, data, renderer)
    lengths = {name: text_lengths(rows) for name, rows in splits.by_name.items()}
    ledgers: dict[str, Ledger] = {}
    if renderer:
        for name, rows in splits.by_name.items():
            found, ledgers[name] = token_lengths(rows, renderer, training=name == "train")
            lengths[name] |= found
    shown, writer = list(splits.train[:ROWS_SHOWN]), renderer
    if renderer:
        fine, refused = first_rendered(splits.train, renderer, ROWS_SHOWN)
        # With every row refused, the rows are shown as they came.
        shown, writer = ([comparison for comparison, _ in fine], renderer) if fine else (refused, None)
    return {
        "report": splits.report,
        "kinds": {name: kinds(rows) for name, rows in splits.by_name.items()},
        "lengths": _each(lengths, quantiles),
        "histograms": _each(lengths, lambda values: histogram(values, BINS), PARTS),
        "rows": [_bounded(rendered_row(comparison, writer)) for comparison in shown],
        **({"samples": list(map(_bounded, decoded_samples(shown, renderer, ROWS_SHOWN)))} if renderer else {}),
        **({"limits": _limits(ledgers, render, data, splits.report["splits"])} if renderer else {}),
        **({"tokens": token_views(shown if writer else [], renderer, color)} if renderer and tokens else {}),
    }


def _limits(
    ledgers: dict[str, Ledger], render: Render, data: Data, accounts: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """Collect the effects of rendering and limits by split, see `limits_of`."""
    found = {name: limits_of(name, ledger, render) for name, ledger in ledgers.items()}
    lost = unusable(accounts["train"]["rejected"], accounts["train"]["findings"])
    before = sum(lost.values()) / accounts["train"]["rows"]
    given, decided = accounts["train"]["comparisons"], decided_losses(render, data)
    if above := losses_above(ledgers["train"], given, before, data.max_rejected_share, decided):
        found["train"]["stops"].append(above)
    return found


def first_rendered(
    rows: Sequence[Comparison], renderer: Renderer, n: int
) -> tuple[list[tuple[Comparison, Rendered]], list[Comparison]]:
    """Render the first `n` comparisons that can be rendered, among the first `RENDERED_TOGETHER`.

    Returns:
        These comparisons with their renderings, and the comparisons refused on the way.
    """
    fine: list[tuple[Comparison, Rendered]] = []
    refused: list[Comparison] = []
    for start in range(0, min(len(rows), RENDERED_TOGETHER), max(n, 1)):
        chunk = rows[start : start + n]
        for comparison, outcome in zip(chunk, renderer.outcomes(chunk), strict=True):
            if outcome.rendered is None:
                refused.append(comparison)
            else:
                fine.append((comparison, outcome.rendered))
        if len(fine) >= n:
            break
    return fine[:n], refused[:n]


def kinds(comparisons: Iterable[Comparison]) -> dict[str, int]:
    """Count comparisons by kind: `text` (plain text), `messages` and `ids`, see `Ledger.kind`."""
    return dict(Counter(map(kind_of, comparisons)))


def _bounded(row: dict[str, Any]) -> dict[str, Any]:
    """Cut the long texts of a row in the middle."""
    return {
        key: cut_middle(value, CHARACTERS_RETURNED) if isinstance(value, str) else value for key, value in row.items()
    }


def show(found: dict[str, Any]) -> str:
    """Format a preview for the screen: the report, lengths per split, and the first rows with long texts shortened.

    Each id, name and text of the data is escaped and takes one line: data could otherwise rewrite the screen, or pass
    for a line of the report.
    """
    splits = found["report"]["splits"].values()
    sources = [source for split in splits for source in split["sources"]]
    lines = [f"{visible(source['path'])}: {source['format']}, {source['rows']} rows" for source in sources]
    lines += [_kinds_line(found["kinds"], sources), describe(found["report"])]
    lines += describe_changes(found["report"])
    for split, limits in found.get("limits", {}).items():
        lines += map(visible, limits["lines"])
        lines += [f"{'':<12} {split}: training stops here: {visible(reason)}" for reason in limits["stops"]]
    for split, units in found["lengths"].items():
        lines += ["", *_length_table(split, units, found["histograms"][split], set(found["kinds"].get(split, ())))]
    if "tokens" in found:
        return "\n".join([*lines, "", found["tokens"]])
    for row in found["rows"]:
        for side in ("chosen", "rejected"):
            lines += ["", f"--- {visible(row['id'])}, {side}", visible(shortened(row[side]))]
    return "\n".join(lines)


def _kinds_line(found: dict[str, dict[str, int]], sources: Sequence[dict[str, Any]]) -> str:
    """Say on a line what kind of text is read: plain text, messages, transcripts or token ids.

    Args:
        found: comparisons of each kind, by split.
        sources: sources of all splits, as in the report.
    """
    words = dict(KIND_WORDS)
    written = sum(source["rows"] if source["format"] == "hh" else source.get("transcripts", 0) for source in sources)
    if written:
        whole = written == sum(source["rows"] for source in sources)
        some = f"messages, {written:,} rows of transcripts among them"
        words["messages"] = "transcripts, as messages" if whole else some
    total = sum(map(Counter, found.values()), Counter[str]())
    if len(total) == 1:
        return f"{'read as':<12} {words[next(iter(total))]} ({total.total():,} comparisons)"
    # With `raw`, texts and messages of one conversation are two inputs: a set of the other kind shows here.
    each = [
        f"{split} {' and '.join(f'{words[kind]} ({count:,})' for kind, count in counts.items())}"
        for split, counts in found.items()
    ]
    return f"{'read as':<12} {', '.join(each)}: with raw, texts and messages of a conversation are different inputs"


def _length_table(split: str, units: dict[str, Any], histograms: dict[str, Any], kinds: set[str]) -> list[str]:
    """Tabulate the parts of a split in the finest unit: tokens with a tokenizer or token ids, otherwise words."""
    # Units are stored from coarse to fine: characters, words, then tokens if there are any.
    unit = next(reversed(units))
    # Token ids are written with blanks between them, so each word is a token.
    shown = "tokens" if kinds == {"ids"} else unit
    lines = [f"{split + ', length':<22}{'mean':>9}{'median':>9}{'95 %':>9}{'longest':>9}"]
    for part, row in units[unit].items():
        bars = sparkline(histograms[unit][part]) if part in histograms[unit] else ""
        lines.append((f"{part + ', ' + shown:<22}" + "".join(f"{n:9.0f}" for n in row.values()) + "  " + bars).rstrip())
    return lines


def shortened(text: str) -> str:
    """Shorten a text to about `CHARACTERS_SHOWN` characters; both ends stay."""
    half = CHARACTERS_SHOWN // 2
    left_out = len(text) - 2 * half
    return text if left_out <= 0 else f"{text[:half]} [... {left_out} characters ...] {text[-half:]}"


def make_renderer(comparisons: Sequence[Comparison], render: Render, model: Model) -> Renderer:
    """Build the renderer of a run with these settings."""
    # No model is loaded here; a CLS token marks the tokenizer of an encoder.
    tokenizer = make_tokenizer(model, comparisons)
    return Renderer(tokenizer, render, causal=tokenizer.cls_token_id is None)


def _each(
    lengths: dict[str, dict[str, Values]], figure: Callable[[list[int]], Any], parts: Sequence[str] = ()
) -> dict[str, Any]:
    """Compute a figure of every part with a length, by split and unit."""
    return {
        split: {
            unit: {part: figure(n) for part, n in values.items() if n and (not parts or part in parts)}
            for unit, values in units.items()
        }
        for split, units in lengths.items()
    }


def rendered_row(comparison: Comparison, renderer: Renderer | None) -> dict[str, str]:
    """Render the first judgment of a comparison as two texts; without a tokenizer, as turns with roles."""
    judgment = comparison.judgments[0]
    chosen, rejected = (comparison.responses[index].messages for index in (judgment.better, judgment.worse))
    return {
        "id": comparison.id,
        "chosen": _written(comparison, chosen, renderer),
        "rejected": _written(comparison, rejected, renderer),
    }


def _written(comparison: Comparison, response: tuple[Message, ...], renderer: Renderer | None) -> str:
    """Render a conversation, or list turns and roles without a renderer."""
    if renderer is None:
        return plain_text(comparison.prompt, response, comparison.template_args)
    return renderer.text(comparison.prompt, response, comparison.template_args)


def plain_text(
    prompt: tuple[Message, ...], response: tuple[Message, ...], args: Mapping[str, Any] | None = None
) -> str:
    """Join the turns of a conversation, each after the name of the role.

    Tools, tool calls and other parts that a chat template may write follow as JSON, each after its name.
    """
    lines = [f"{name}: {_as_json(value)}" for name, value in (args or {}).items()]
    for message in (*prompt, *response):
        extra = json.loads(message.extra) if message.extra else {}
        # A call may stand in place of a content.
        lines += [f"{message.role}: {message.content}"] if message.content or not extra else []
        lines += [f"{message.role}, {name}: {_as_json(value)}" for name, value in extra.items()]
    return "\n".join(lines)


def _as_json(value: Any) -> str:
    """Return a text as the text is, and any other value as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def decoded_samples(comparisons: Sequence[Comparison], renderer: Renderer, n: int) -> list[dict[str, Any]]:
    """Decode the first `n` comparisons that can be rendered, each by the first judgment, before any limit.

    Returns:
        Rows of {"id", "chosen", "rejected": decoded token ids, "chosen_tokens", "rejected_tokens": counts, "check"}.
        The check covers both sides: {"contents_found": True if the text holds every message (None for token ids,
        without text to compare), "double_bos", "ends_with_eos", "pooled_token", "template": name of the template}.
    """
    return [_sample(*each, renderer) for each in first_rendered(comparisons, renderer, n)[0]]


def _sample(comparison: Comparison, rendered: Rendered, renderer: Renderer) -> dict[str, Any]:
    """Decode both sides of a comparison's first judgment, and check the texts."""
    judgment = comparison.judgments[0]
    sides = {"chosen": judgment.better, "rejected": judgment.worse}
    ids = {side: rendered.ids[response] for side, response in sides.items()}
    texts = {side: renderer.tokenizer.decode(row) for side, row in ids.items()}
    # The decoded ids are compared with the row's messages: this finds a template that drops or rewrites content.
    messages = {side: (*comparison.prompt, *comparison.responses[k].messages) for side, k in sides.items()}
    return {
        "id": comparison.id,
        **texts,
        **{f"{side}_tokens": len(row) for side, row in ids.items()},
        "check": {
            "contents_found": _all_found(messages, texts, renderer),
            "double_bos": any(len(row) > 1 and set(row[:2]) <= renderer.starts for row in ids.values()),
            "ends_with_eos": all(row[-1:] and row[-1] in _ends(renderer.tokenizer) for row in ids.values()),
            "pooled_token": renderer.tokenizer.decode([ids["chosen"][renderer.pooled_place(ids["chosen"])]]),
            "template": renderer.settings.template,
        },
    }


def _all_found(messages: dict[str, tuple[Message, ...]], texts: dict[str, str], renderer: Renderer) -> bool | None:
    """Return True if both texts hold every message; None for token ids."""
    turns = [(message, texts[side]) for side, side_turns in messages.items() for message in side_turns]
    if any(message.role == "ids" for message, _ in turns):
        return None
    return all(found(message.content, text, renderer.tokenizer) for message, text in turns)


def found(content: str, text: str, tokenizer: Any) -> bool:
    """Return True if a decoded text holds a message, apart from outer blanks, as written or as the tokenizer decodes
    the message.

    The second form serves tokenizers with lossy decoding, such as tokenizers without upper case.
    """
    if content.strip() in text:
        return True
    # Special tokens are split, because a message that spells one is plain text to the model.
    ids = tokenizer(content, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]
    return str(tokenizer.decode(ids)).strip() in text


def _ends(tokenizer: Any) -> set[int]:
    """Return the ids of end tokens."""
    return {tokenizer.eos_token_id, tokenizer.sep_token_id} - {None}


def token_views(comparisons: Sequence[Comparison], renderer: Renderer, color: bool) -> str:
    """Show both sides of each comparison's first judgment token by token, before any limit."""
    lines = [legend(color)]
    for comparison, rendered in zip(comparisons, renderer.comparisons(comparisons), strict=True):
        judgment = comparison.judgments[0]
        for side, response in (("chosen", judgment.better), ("rejected", judgment.worse)):
            ids, prompt = rendered.ids[response], rendered.prompt_tokens[response]
            lines += ["", f"--- {visible(comparison.id)}, {side}: {len(ids)} tokens, {prompt} of the prompt"]
            lines += [token_view(ids, renderer, color), pooled_line(ids, renderer)] if ids else ["(no token)"]
    return "\n".join(lines)


def legend(color: bool) -> str:
    """Explain the marks of a token view."""
    if not color:
        return "tokens between |, special tokens in { }, the one that is scored in [[ ]]"
    return f"tokens in turning shades, {SPECIAL}special tokens{RESET}, {POOLED}the one that is scored{RESET}"


def token_view(ids: Sequence[int], renderer: Renderer, color: bool) -> str:
    """Show token ids as separate texts, with a new line after every token holding a line break.

    Above `TOKENS_SHOWN` tokens the middle is left out.
    """
    place = renderer.pooled_place(ids)
    # `all_special_ids` lacks added tokens that are special without a role, such as <|im_start|> in some tokenizers.
    special = set(renderer.tokenizer.all_special_ids) | _added_special(renderer)
    paint, separator = (_colored, "") if color else (_plain, "|")
    lines: list[list[str]] = [[]]
    skipped = range(TOKENS_SHOWN // 2, len(ids) - TOKENS_SHOWN // 2)
    for number, id in enumerate(ids):
        if number in skipped:
            if number == skipped.start:
                lines += [[f"[... {len(skipped):,} tokens ...]"], []]
            continue
        text = str(renderer.tokenizer.decode([id]))
        lines[-1].append(paint(visible(text), number, id in special, number == place))
        if "\n" in text:
            lines.append([])
    return "\n".join(separator.join(line) for line in lines if line)


def pooled_line(ids: Sequence[int], renderer: Renderer) -> str:
    """Describe the scored token in words."""
    place = renderer.pooled_place(ids)
    text = visible(str(renderer.tokenizer.decode([ids[place]])))
    return f"scored at token {place + 1} of {len(ids)}: {text} (id {ids[place]})"


def _colored(text: str, number: int, special: bool, pooled: bool) -> str:
    """Colour a token by kind: scored, special, or one of two alternating shades."""
    shade = POOLED if pooled else SPECIAL if special else SHADES[number % len(SHADES)]
    return f"{shade}{text or SPACE}{RESET}"


def _plain(text: str, number: int, special: bool, pooled: bool) -> str:
    """Mark a token by kind: [[ ]] for the scored token, { } for special tokens."""
    return f"[[{text}]]" if pooled else f"{{{text}}}" if special else text


def _added_special(renderer: Renderer) -> set[int]:
    """Return the ids of special added tokens."""
    return {id for id, token in renderer.tokenizer.added_tokens_decoder.items() if token.special}
