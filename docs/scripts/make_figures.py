"""Draw `docs/images/shared-prefix.svg` with the code that runs: python docs/scripts/make_figures.py

A comparison of four responses as the plain engine runs it, as a packed row, and who attends to whom in that row, read
off the rule of the engine `flex`, which tests hold against every other engine.
"""

from pathlib import Path
from typing import Any

import torch

from bradley.losses import Targets
from bradley.model.engine.batch import Batch, padded_rows
from bradley.model.engine.flex import flex_row_of
from bradley.report.plots.style import AMBER, BLUE, GREEN, INK, ORANGE, PURPLE, figure_style, new_figure

TARGET = Path(__file__).parents[1] / "images" / "shared-prefix.svg"
PREFIX, RESPONSES = 12, (5, 9, 3, 6)
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, AMBER)
"""Of the prompt, and of each response."""
PADDING = "#eceff2"


def batch() -> Batch:
    """The comparison, each token called by the segment that it is from."""
    sizes = [PREFIX, *RESPONSES]
    ends = torch.tensor(sizes).cumsum(0)
    own = torch.arange(1, len(sizes))
    none = torch.zeros(0)
    starts = [0, *[PREFIX] * len(RESPONSES)]
    return Batch(
        tokens=torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes)),
        positions=torch.cat([torch.arange(at, at + size) for at, size in zip(starts, sizes, strict=True)]),
        segments=torch.cat([torch.zeros(1, dtype=torch.int64), ends]),
        prefix=torch.zeros(len(RESPONSES), dtype=torch.int64),
        own=own,
        last=ends[1:] - 1,
        targets=Targets(none, none, none, none, none, none, none),
    )


def draw_rows(axes: Any, rows: list[list[int]], title: str) -> None:
    """Tokens as cells, one row below another."""
    for height, row in enumerate(rows):
        for place, token in enumerate(row):
            colour = COLOURS[token] if token >= 0 else PADDING
            axes.add_patch(_cell(place, -height, colour))
    axes.set(xlim=(-0.2, 36), ylim=(-len(rows) + 0.9, 1.1), aspect="equal", title=title)
    axes.axis("off")


def _cell(x: float, y: float, colour: str) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x + 0.06, y + 0.06), 0.88, 0.88, facecolor=colour, edgecolor="none")


def draw_attention(axes: Any, made: Batch) -> None:
    """A cell for each pair of a query (down) and a key (across) that it attends to."""
    count = len(made.tokens)
    rule: Any = flex_row_of(made, torch.float32).mask.mask_mod
    places = torch.arange(count)
    attends = rule(torch.tensor(0), torch.tensor(0), places[:, None], places[None, :])
    for query in range(count):
        for key in range(count):
            if attends[query, key]:
                axes.add_patch(_cell(key, -query, COLOURS[int(made.tokens[key])]))
    axes.set(xlim=(-0.2, count + 0.2), ylim=(-count + 0.8, 1.2), aspect="equal")
    axes.set_title(f"Who attends to whom: {int(attends.sum())} pairs", color=INK)
    axes.axis("off")


def main() -> None:
    """Draw the figure."""
    made = batch()
    rows = padded_rows(made, pad_id=-1).input_ids.tolist()
    with figure_style():
        figure = new_figure((7.6, 7.2))
        top, middle, bottom = figure.subplots(3, 1, gridspec_kw={"height_ratios": [4.6, 1.9, 16]})
        draw_rows(top, rows, f"Padded rows: {sum(map(len, rows))} tokens run")
        draw_rows(middle, [made.tokens.tolist()], f"One packed row: {len(made.tokens)} tokens run")
        draw_attention(bottom, made)
        TARGET.parent.mkdir(exist_ok=True)
        figure.savefig(TARGET, metadata={"Date": None})
    print(TARGET)


if __name__ == "__main__":
    main()
