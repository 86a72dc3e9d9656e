"""Audits of preference data as a self-contained HTML page."""

from collections.abc import Sequence
from pathlib import Path

from ..runs.reader import Json
from . import filters
from .audit_view import beside_table, headline, ranking_lines, rules, tables, written_line
from .html import load_template, refuse_page, write_page
from .scale import accuracy_scale


def write_audit(path: Path, found: Json, facts: Sequence[tuple[str, str]]) -> Path:
    """Write a page of audits, and return its path.

    The page needs no other file: no script, no remote asset, and a content policy forbids both. Every value is escaped.

    Args:
        path: the page; an existing file is replaced only if bradley wrote the file.
        found: `sets`, figures by name of the set; `beside` and `written`, or neither.
        facts: (name, value) under the title, such as the files.

    Raises:
        RunFolderError: `path` is a link, a folder, or a file that bradley did not write.
        DiskError: the page could not be written.

    Example:
        write_audit(Path("audit.html"), {"sets": {"train": audited.figures}}, [("data", "train.jsonl")])
    """
    refuse_page(path)
    shown = {
        "title": f"Audit of {', '.join(found['sets'])}",
        "facts": facts,
        "sets": [_set(one) for one in found["sets"].values()],
        "beside": beside_table(found["beside"]) if "beside" in found else None,
        "written": written_line(found["written"]) if "written" in found else None,
    }
    return write_page(path, load_template("audit.html.jinja").render(**shown))


def _set(found: Json) -> Json:
    known = rules(found)
    model, top = ranking_lines(found)
    return {
        "name": found["name"],
        "comparisons": filters.number(found["comparisons"]),
        "headline": headline(found),
        "notes": found["notes"],
        "tables": tables(found),
        "rules": [(name, kind, one, filters.percent(one["value"])) for name, kind, one in known],
        "scale": accuracy_scale([one for _, _, one in known]),
        "model": model,
        "top": top,
    }
