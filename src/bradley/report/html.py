"""Self-contained HTML pages: templates, figures inside a page, and ownership of page files."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..common.files import write_text
from ..common.ownership import refuse_link
from ..common.text import readable
from ..errors import RunFolderError
from .filters import FILTERS, examples
from .plots import style

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup
    from matplotlib.figure import Figure

THEMED = {style.INK: "var(--ink)", style.MUTED: "var(--muted)", style.GRID: "var(--grid)"} | {
    style.BLUE: "var(--blue)",
    style.ORANGE: "var(--orange)",
}
"""Colours of figures -> variables of `page.css`, which have other values in a dark theme."""
MARK = b'<meta name="generator" content="bradley">'
"""Element by which a page is known as written by bradley."""
MARK_WITHIN = 1024
"""Bytes at the start of a page within which `MARK` stands."""


def load_template(name: str) -> "Template":
    """Load a template of this folder; every value is escaped, and a missing value becomes an empty text."""
    from jinja2 import ChainableUndefined, Environment, FileSystemLoader

    folder = FileSystemLoader(Path(__file__).parent)
    # Chainable: a run of an earlier version lacks some entries, and the page must appear with dashes nevertheless.
    # `finalize` sees each value of the page before the escape of markup: no value can be left out.
    environment = Environment(
        loader=folder, autoescape=True, undefined=ChainableUndefined, trim_blocks=True, finalize=_shown
    )
    environment.filters.update(FILTERS, examples=examples)
    return environment.get_template(name)


def inline_figure(figure: "Figure", prefix: str) -> "Markup":
    """Embed a figure in the page: colours become variables of the page, and ids get `prefix`."""
    from markupsafe import Markup

    # Element ids count for the whole page: without prefixes a figure would refer to the clip paths of another figure.
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{prefix}", style.svg_text(figure))
    # Colours as variables let figures follow the dark theme of the page.
    for colour, variable in THEMED.items():
        text = text.replace(colour, variable)
    # Marked as safe, because matplotlib has escaped all texts of the figure.
    return Markup(text)


def write_page(path: Path, text: str) -> Path:
    """Write a page with `MARK`, and return the path; only a page with `MARK` may be replaced.

    Raises:
        RunFolderError: `path` is a link, a folder, or a file without `MARK`.
        DiskError: the page could not be written.
    """
    refuse_page(path)
    write_text(path, text)
    return path


def refuse_page(path: Path) -> None:
    """Raise `RunFolderError` for a link, a folder, and a file without `MARK`: another owner may want the content."""
    refuse_link(path)
    if path.exists() and not (path.is_file() and _is_marked(path)):
        kind = "is a page or file that bradley did not write" if path.is_file() else "is a folder, a device or a pipe"
        raise RunFolderError(f"{path} {kind}", "move it, or give another name")


def _is_marked(path: Path) -> bool:
    with path.open("rb") as file:
        return MARK in file.read(MARK_WITHIN)


def _shown(value: Any) -> Any:
    """Escape control and format characters of a value; finished markup stays as it is."""
    from jinja2 import Undefined
    from markupsafe import Markup

    return value if isinstance(value, Markup | Undefined) else readable(str(value))
