"""Token lengths in the data report, counted again from the comparisons."""

from dataclasses import replace

from bradley.config import Render
from bradley.data.render import Renderer
from bradley.data.token_report import token_figures
from bradley.data.token_store import build_store
from tests.helpers import comparisons, tokenizer_for


def spread(found):
    """A histogram as (lower edge, count) of its filled bins."""
    return [(edge, count) for edge, count in zip(found["edges"], found["counts"], strict=False) if count]


def binned(lengths, width):
    return sorted({n // width * width: sum(m // width == n // width for m in lengths) for n in lengths}.items())


def test_histograms_count_prompts_once_and_sides_once_per_decided_judgment():
    rows = comparisons(20, responses=3)
    tied = replace(rows[0].judgments[0], probability=0.5)
    rows[0] = replace(rows[0], judgments=(tied, *rows[0].judgments[1:]))
    renderer = Renderer(tokenizer_for(rows), Render(max_tokens=512), causal=True)
    found = token_figures(build_store(rows, renderer, training=False))["histograms"]
    rendered = renderer.comparisons(rows)
    sizes = [[len(ids) - n for ids, n in zip(row.ids, row.prompt_tokens, strict=True)] for row in rendered]
    decided = [(own, j) for own, row in zip(sizes, rows, strict=True) for j in row.judgments if not j.tie]
    expected = {
        "prompt": [row.prompt_tokens[0] for row in rendered],
        "chosen": [own[j.better] for own, j in decided],
        "rejected": [own[j.worse] for own, j in decided],
    }
    assert len(decided) == 39
    for part, lengths in expected.items():
        width = found[part]["edges"][1] - found[part]["edges"][0]
        assert spread(found[part]) == binned(lengths, width) and sum(found[part]["counts"]) == len(lengths)
