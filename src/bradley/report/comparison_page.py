"""Comparison of two or more models as a self-contained HTML page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..records import Comparison
from .comparison_view import comparison_context
from .html import load_template, refuse_page, write_page


def write_comparison(
    path: Path,
    comparison: Mapping[str, Any],
    facts: Sequence[tuple[str, str]],
    texts: Mapping[str, Comparison] | None = None,
) -> Path:
    """Write a page of a comparison, and return its path.

    The page needs no other file: no script, no remote asset, and a content policy forbids both. Every value is escaped.

    Args:
        path: the page; an existing file is replaced only if bradley wrote the file.
        comparison: result of `evaluate.compare.compare`.
        facts: (name, value) under the title, such as the files of scores and data.
        texts: comparisons by id, to show what changed; None without texts.

    Raises:
        RunFolderError: `path` is a link, a folder, or a file that bradley did not write.
        DiskError: the page could not be written.

    Example:

        write_comparison(Path("comparison.html"), compare({"a": rows_a, "b": rows_b}), [("data", "test.jsonl")])
    """
    refuse_page(path)
    context = comparison_context(comparison, texts)
    return write_page(path, load_template("comparison.html.jinja").render(facts=facts, **context))
