"""Model card: the `README.md` of an exported folder, from `bradley.json` and the files of the run."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..evaluate.length import length_rule
from ..report.view import summaries
from ..runs.reader import Json
from ..runs.run import RunFolder

if TYPE_CHECKING:
    from jinja2 import Template


HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w.-]*[\w-]")
"""Pattern of owner/name."""
DASH = "-"
COUNTS = ("comparisons", "judgments", "prompts")
"""Counts of a split shown by the card."""
EXAMPLE = ("Name a prime number.", ("Seven is one.", "I do not know any."))
"""Question and answers of the card's example."""
SERVE = {"gemma3_text": """ --convert classify --hf-overrides '{"architectures": ["Gemma3ForCausalLM"]}'"""}
"""Architecture -> further options of vLLM, whose own class for Gemma 3 has other names for the weights of the file."""


def model_card(
    card: Mapping[str, Any], run: RunFolder | None, place: str, figures: list[str], model_type: str = ""
) -> str:
    """Write the text of a model card, with front matter for the Hub.

    Args:
        card: content of `bradley.json`, with `export`.
        run: the training run, if known: source of the results with their intervals.
        place: name for loading the model: `owner/name` on the Hub, or the name of the exported folder.
        figures: pictures, by paths relative to the exported folder.
        model_type: name of the architecture in transformers.
    """
    model = card.get("config", {}).get("model", {})
    base = str(model.get("path", ""))
    return _template().render(
        card=card,
        ending=card["export"]["ending"],
        model_type=model_type,
        serve=SERVE.get(model_type, ""),
        name=place.rpartition("/")[2],
        place=place,
        on_hub="/" in place,
        front=_front(card, base),
        facts=list(_facts(card, run, base or f"{model.get('config', {}).get('model_type', 'unknown')}, from scratch")),
        splits=[_split(name, split) for name, split in card.get("data", {}).get("splits", {}).items()],
        sets=list(_sets(card, run)),
        figures=figures,
    )


def _front(card: Mapping[str, Any], base: str) -> list[str]:
    """Lines of YAML front matter."""
    adapter = "adapter" in card
    values: Json = {
        "library_name": "peft" if adapter else "transformers",
        "pipeline_tag": "text-classification",
        "tags": ["reward-model", "bradley"],
    }
    # A relative path such as models/base looks like a name on the Hub, and only an existing folder tells the two apart.
    if HUB_NAME.fullmatch(base) and not Path(base).exists():
        values |= {"base_model": base, "base_model_relation": "adapter" if adapter else "finetune"}
    # JSON is valid YAML, so any text is quoted safely.
    return [f"{key}: {json.dumps(value)}" for key, value in values.items()]


def _facts(card: Mapping[str, Any], run: RunFolder | None, base: str) -> Iterator[tuple[str, str]]:
    """Yield (name, value) of each known fact about the model."""
    export = card["export"]
    if "config" in card:
        yield "base", _cell(base)
        yield "seed", str(card["config"]["seed"])
    if run and "parameters" in run.results:
        yield "parameters", f"{run.results['parameters']:,}"
    yield "weights", f"{export['dtype']}, the score head float32" + (", LoRA folded in" if export["merged"] else "")
    yield "trained in", str(card["compute"])
    yield "longest input", f"{card['render']['max_tokens']} tokens, prompt and response together"
    yield "score of", "the last token" if card["pooling"].startswith("last") else "the encoder's own head"
    if known := card.get("normalization"):
        yield "scores", f"mean {known['mean']:.3f}, standard deviation {known['std']:.3f} over {known['set']}"
    if fitted := card.get("temperature"):
        how = f"sigmoid({fitted['scale']:.6g} * (score of a - score of b))"
        yield "probability of a over b", f"{how}, temperature {fitted['temperature']:.3g} fitted on {fitted['set']}"


def _split(name: str, split: Json) -> list[str]:
    """Row of a split: name, sources, counts, and counts of rows left out by reason."""
    sources = ", ".join(source["path"] for source in split["sources"]) or "split off"
    lost = ", ".join(f"{count:,} {reason}" for reason, count in split["left_out"].items()) or "none"
    return [name, _cell(sources), *(f"{split[key]:,}" for key in COUNTS), _cell(lost)]


def _sets(card: Mapping[str, Any], run: RunFolder | None) -> Iterator[list[str]]:
    """Yield name, accuracy, length baseline, likelihood and counts of each evaluated set, the most telling first."""
    # Without results the card still holds the figures of its checkpoint, but no length baseline and no cluster counts.
    if run is None or not run.results:
        for name, figures in card.get("evaluation", {}).items():
            accuracy = {**figures, "value": figures["accuracy"]}
            yield [name, _interval(accuracy), DASH, _nll(figures), f"{figures['judgments']:,}"]
        return
    for name, figures in summaries(run).items():
        rule, length = length_rule(figures)
        accuracy = figures["accuracy"]
        baseline = f"{_interval(length)} ({rule})" if length else DASH
        counts = f"{accuracy['n']:,} of {accuracy['clusters']:,} prompts"
        yield [name, _interval(accuracy), baseline, _nll(figures), counts]


def _nll(figures: Json) -> str:
    return DASH if figures.get("nll") is None else f"{figures['nll']:.4f}"


def _interval(figure: Mapping[str, Any]) -> str:
    """Format an accuracy with its interval, in percent."""
    if figure["value"] is None:
        return DASH
    value, low, high = (100 * figure[key] for key in ("value", "low", "high"))
    return f"{value:.1f} % [{low:.1f}, {high:.1f}]"


def _cell(text: str) -> str:
    """Escape a text for a cell of a Markdown table: no bar, no line break."""
    return " ".join(text.split()).replace("|", "\\|")


def _template() -> "Template":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folder = FileSystemLoader(Path(__file__).parent)
    # Strict, unlike the report page: a published card with a hole is worse than an error.
    environment = Environment(
        loader=folder, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters["py"] = lambda text: json.dumps(text)
    return environment.get_template("model_card.md.jinja")
