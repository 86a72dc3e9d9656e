"""Style of all figures, and conversion of figures to SVG and PNG.

The colours are from Okabe and Ito (2008): distinguishable under every common colour blindness. Two lines are blue and
vermillion.
"""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...common.text import readable
from ...errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


PROGRAM, MARK_WITHIN = "bradley", 4096
"""Name of the program in each PNG, and bytes of a PNG within which the name stands."""
INK, MUTED, GRID, BLUE, ORANGE = "#1f2328", "#6e7781", "#dfe3e8", "#0072b2", "#d55e00"
GREEN, PURPLE, AMBER, SKY = "#009e73", "#cc79a7", "#e69f00", "#56b4e9"
PALETTE = (BLUE, ORANGE, GREEN, PURPLE, AMBER, SKY)
"""Colours of lines, in the order of use."""
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
    # Text as text: the page applies its own font, and a figure stays small and searchable.
    "svg.fonttype": "none",
    # Element ids are hashes with a random salt by default. A fixed salt gives the same bytes for the same run.
    "svg.hashsalt": "bradley",
    # Names from data sets may hold dollar signs, which matplotlib would read as formulas.
    "text.parse_math": False,
    "xtick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.color": GRID,
    "ytick.labelcolor": MUTED,
}
MOST_CHARACTERS = 48
"""Most characters of a text in a figure: a longer name would leave no room for the panel."""
PANEL_SIZE = (4.6, 2.8)
"""Width and height of one panel, in inches."""


def new_figure(size: tuple[float, float]) -> "Figure":
    """Make an empty figure of `size` inches, without the global state of pyplot."""
    # pyplot keeps every figure alive until it is closed, and picks a backend that may want a display.
    from matplotlib.figure import Figure

    return Figure(figsize=size, layout="constrained")


@contextmanager
def figure_style() -> Iterator[None]:
    """Apply `STYLE` while figures are built and written.

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
    """Convert a figure to an `<svg>` element without prolog or metadata; the same figure gives the same text."""
    buffer = io.StringIO()
    _escape_texts(figure)
    with figure_style():
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    # The page embeds the element inside HTML, where an XML prolog is not allowed.
    return re.sub(r"\s*<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)


def png_bytes(figure: "Figure", dpi: int = 160) -> bytes:
    """Convert a figure to PNG on white, `dpi` pixels per inch; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    _escape_texts(figure)
    with figure_style():
        figure.savefig(buffer, format="png", dpi=dpi, facecolor="white", metadata={"Software": PROGRAM})
    return buffer.getvalue()


def is_drawn_here(path: Path) -> bool:
    """Return True for a PNG with the mark of `png_bytes`; only such a picture may be replaced."""
    with path.open("rb") as file:
        return f"Software\0{PROGRAM}".encode() in file.read(MARK_WITHIN)


def _escape_texts(figure: "Figure") -> None:
    """Bring every text of a figure on a single line of bounded length, without control and format characters.

    Names of sets, splits and columns come from data. Fonts fail on lone surrogates, and SVG forbids control characters.
    """
    from matplotlib.text import Text

    for artist in figure.findobj(Text):
        assert isinstance(artist, Text)
        text = readable(artist.get_text().replace("\n", "\\n").replace("\t", "\\t"))
        shown = text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 3]}..."
        if shown != artist.get_text():
            artist.set_text(shown)
