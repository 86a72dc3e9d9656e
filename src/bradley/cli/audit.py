"""`bradley audit`: faults of preference data, their labels and texts, and a cleaned copy."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..common.console import Console
from ..errors import UserError
from .models import READING
from .options import PathName, SettingsCommand
from .scores import check_page, from_scores, score_options, set_names

if TYPE_CHECKING:
    from ..audit.audit import Audited, Options
    from ..audit.rows import RowSet
    from ..config import DataSettings

ALSO_OF_AUDIT = (
    *(*READING, "data.equal_scores", "model.path", "model.tokenizer", "model.vocab_size"),
    "model.trust_remote_code",
)
"""Settings of `bradley audit` besides the section render."""
MOST_TOP = 10_000


def of_audit(name: str) -> bool:
    """Return True for the settings of `bradley audit`."""
    return name in ALSO_OF_AUDIT or name.startswith("render.")


@click.command(cls=SettingsCommand, choose=of_audit)
@click.argument("data", nargs=-1, required=True, metavar="DATA...")
@click.option("--against", multiple=True, metavar="FILE", help="Look for the prompts there too: data or a benchmark.")
@click.option("--beside", "side", default="", metavar="DATA", help="Compare the shares with those of another set.")
@click.option(
    "--near", type=click.FloatRange(0.5, 1.0), default=0.8, show_default=True, help="Least similarity of near rows."
)
@click.option("--no-near", is_flag=True, help="Leave out near duplicates.")
@click.option("--scores", default="", metavar="FILE", help="Scores of a reward model, for likely wrong labels.")
@score_options
@click.option(
    "--top", type=click.IntRange(0, MOST_TOP), default=10, show_default=True, help="Likely wrong labels shown."
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Seed of the folds.")
@click.option("--html", "--page", "page", type=PathName(), metavar="PAGE", help="Write the audit as an HTML page.")
@click.option("--write", "target", type=PathName(), metavar="FILE", help="Write the rows that --drop leaves: .jsonl.")
@click.option("--drop", default="", metavar="NAME,...", help="Rows that --write leaves out: exact, near, ...")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def audit(
    data: tuple[str, ...],
    against: tuple[str, ...],
    side: str,
    near: float,
    no_near: bool,
    scores: str,
    columns: str,
    missing: str,
    top: int,
    seed: int,
    page: Path | None,
    target: Path | None,
    drop: str,
    as_json: bool,
    overrides: dict[str, str],
) -> None:
    """Look for faults in preference data: duplicates, contradictions, shared prompts, and likely wrong labels.

    Each DATA is a set of its own. The audit also describes labels, lengths, shortcuts, refusals, scripts, and the
    agreement of annotators. --write copies the rows without the faults that --drop names: exact, near, contradictions,
    intransitive, identical, same-tokens, empty, shared, likely-wrong=SHARE, unusable. Token counts need
    --model.tokenizer or --model.path.
    """
    from ..audit.audit import Options
    from ..audit.duplicates import minhash
    from ..audit.rows import read_set
    from ..config.load import data_settings

    settings = data_settings(data, overrides)
    if not all([*data, *against]):
        raise UserError("command line: the name of a set is empty", "type: bradley audit FILE --against FILE")
    given = [*data, *([side] if side else [])]
    names = set_names([*given, *against])
    policy = _policy(target, drop, data)
    check_page(page)
    if side and len(data) > 1:
        raise UserError(f"{len(data)} sets and --beside: two sets are compared", "give one DATA, and --beside DATA")
    if scores and len(given) > 1:
        raise UserError("--scores are scores of one set", "give one DATA, and leave out --beside")
    if not scores and (columns or missing != "error"):
        raise UserError("--columns and --missing are about a file of scores", "add --scores FILE, or leave them out")
    if not no_near:
        # Before the rows are read, which may take minutes.
        minhash()
    console = Console("quiet" if as_json else "bar")
    options = Options(None if no_near else near, top, seed, _scored(scores, data, columns, missing, settings))
    sets = [read_set(name, each, settings.data, console) for name, each in zip(names, [*given, *against], strict=True)]
    if target is not None:
        from ..audit.clean import check_copyable

        tokens = bool(settings.model.path or settings.model.tokenizer)
        check_copyable(sets[0], policy, {"near": not no_near, "same-tokens": tokens, "shared": bool(against)})
    found = [_audited(place, sets, len(given), bool(side), settings, options, console) for place in range(len(given))]
    result: dict[str, Any] = {"sets": {one.rows.name: one.figures for one in found}}
    if side:
        from ..audit.beside import beside

        result["beside"] = beside(found[0].figures, found[1].figures)
    if target is not None:
        from ..audit.clean import write_cleaned

        result["written"] = write_cleaned(found[0], target, policy)
    _show(result, page, as_json, [("data", ", ".join(data)), *([("beside", side)] if side else [])])


def _policy(target: Path | None, drop: str, data: Sequence[str]) -> dict[str, float]:
    """Check --write and --drop, before anything is read."""
    from ..audit.clean import check_output, parse_policy

    policy = parse_policy(drop)
    if target is None:
        if drop:
            raise UserError("--drop is for --write", "add --write FILE.jsonl, or leave out --drop")
        return policy
    if not policy:
        raise UserError(
            "--write copies the rows that --drop leaves, and --drop is missing", "add --drop exact,identical"
        )
    if len(data) > 1:
        raise UserError(
            f"--write cleans one set, and {len(data)} are given", "give one DATA, and the others as --against"
        )
    check_output(target)
    return policy


def _scored(
    scores: str, data: Sequence[str], columns: str, missing: str, settings: "DataSettings"
) -> tuple[str, Any] | None:
    return (scores, from_scores(scores, data, columns, missing, settings.data).rows) if scores else None


def _audited(
    place: int,
    sets: "Sequence[RowSet]",
    given: int,
    beside: bool,
    settings: "DataSettings",
    options: "Options",
    console: Console,
) -> "Audited":
    """Audit a set, and look for its prompts in all other sets."""
    from ..audit.audit import audit as audit_rows

    others = [each for number, each in enumerate(sets) if number != place and not (beside and number < given)]
    return audit_rows(sets[place], others, _renderer(sets[place], settings), options, console)


def _renderer(rows: "RowSet", settings: "DataSettings") -> Any:
    if not (settings.model.path or settings.model.tokenizer):
        return None
    from ..data.preview import make_renderer
    from ..data.table import everything

    return make_renderer(everything(rows.pool), settings.render, settings.model)


def _show(result: dict[str, Any], page: Path | None, as_json: bool, facts: Sequence[tuple[str, str]]) -> None:
    """Write the page, and print the audit."""
    if page is not None:
        from ..report.audit_page import write_audit

        click.echo(f"page: {write_audit(page, result, facts)}", err=True)
    if as_json:
        click.echo(json.dumps(result))
        return
    from ..report.audit_text import show_audit

    click.echo(show_audit(result))
