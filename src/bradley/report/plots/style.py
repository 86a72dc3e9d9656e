"""The look of every figure, and figures to SVG and PNG.

Colours are those of Okabe and Ito (2008), which stay apart under every common colour blindness; two lines are blue and
vermillion.
"""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ...errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


INK, MUTED, GRID, BLUE, ORANGE = "#1f2328", "#6e7781", "#dfe3e8", "#0072b2", "#d55e00"
GREEN, PURPLE, AMBER, SKY = "#009e73", "#cc79a7", "#e69f00", "#56b4e9"
PALETTE = (BLUE, ORANGE, GREEN, PURPLE, AMBER, SKY)
STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": GRID,
    "axes.grid": True,
    "axes.labelcolor": MUTED,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "font.size": 9.5,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "svg.fonttype": "none",
    "svg.hashsalt": "bradley",
    "text.parse_math": False,
    "xtick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.color": GRID,
    "ytick.labelcolor": MUTED,
}
PANEL_SIZE = (4.6, 2.8)
"""Width and height of one panel, in inches."""


def new_figure(size: tuple[float, float]) -> "Figure":
    """An empty figure of `size` inches, apart from pyplot and its global state."""
    from matplotlib.figure import Figure

    return Figure(figsize=size, layout="constrained")


@contextmanager
def figure_style() -> Iterator[None]:
    """The settings that figures are built and written under.

    Raises:
        UserError: matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context
    except ImportError as error:
        raise UserError("figures need matplotlib, which is not installed", 'pip install "bradley[report]"') from error
    with rc_context(STYLE):
        yield


def svg_text(figure: "Figure") -> str:
    """The figure as an `<svg>` element without prolog or metadata; the same figure gives the same text."""
    buffer = io.StringIO()
    with figure_style():
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    return re.sub(r"\s*<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)


def png_bytes(figure: "Figure", dpi: int = 160) -> bytes:
    """The figure as PNG on white, `dpi` pixels per inch."""
    buffer = io.BytesIO()
    with figure_style():
        figure.savefig(buffer, format="png", dpi=dpi, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()
