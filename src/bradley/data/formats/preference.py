"""Reading of a better and a worse answer, such as chosen and rejected, with a prompt in parts."""

from collections.abc import Sequence
from typing import Any

from ...records import Comparison, Rejected
from ..rows import Row, RowPlace
from .answers import whole
from .base import Format
from .checks import CHOSEN, REJECTED
from .labelled import exchanges, in_lists
from .layout import Layout, Path, at_path, is_spoken, named
from .messages import answers_in
from .pairs import PREFERENCE, convert_preference
from .prompts import Prompt
from .reading import Reading
from .unread import Unread
from .words import decisive, polarity


def inner_prompt(layout: Layout) -> tuple[Path, Path] | None:
    """Return the prompt inside chosen and the same prompt inside rejected; None unless the two are equal.

    The prompt of most rows decides; a row with two different prompts is refused as the row is read.
    """
    found = []
    for path in layout.of_kind("text", "turns"):
        twin = (*REJECTED, *path[1:])
        if path[:1] == CHOSEN and len(path) == 2 and path[1] in ("prompt", "question", "instruction", "query"):
            same = [
                one == other for one, other in zip(layout.columns[path], layout.columns.get(twin, []), strict=False)
            ]
            found += [(path, twin)] if 2 * sum(same) > len(layout.rows) else []
    return found[0] if len(found) == 1 else None


def pair_reading(prompt: Prompt, chosen: Path, rejected: Path, twin: Path | None = None) -> Reading:
    """Return the reading of a better and a worse answer, with a prompt in parts.

    Args:
        twin: the same prompt inside the rejected answer; None for a prompt of one place.
    """
    keys = tuple(dict.fromkeys(path[0] for path in (*prompt.paths, chosen, rejected)))

    def convert(row: Row, at: RowPlace) -> Comparison | Rejected:
        if twin is not None and at_path(row, twin) != at_path(row, prompt.question or ()):
            return Rejected(at.row, "irregular", f"{named(twin)} differs from {prompt.shown}")
        if prompt.several and (found := _in_lists(prompt, row, (chosen, rejected), at)):
            return found if isinstance(found, Rejected) else convert_preference({**row, **found}, at)
        begun = prompt.begun(row)
        sides = [_begun(answers_in(at_path(row, path)), begun) for path in (chosen, rejected)]
        new = {"prompt": prompt.value(row), "chosen": sides[0], "rejected": sides[1]}
        if new["prompt"] is None:
            new |= _continued(*sides)
        return convert_preference({**row, **new}, at)

    fields = tuple(dict.fromkeys((*PREFERENCE.fields, *keys)))
    shape = Format(
        fields, PREFERENCE.matches, convert, PREFERENCE.looks, no_labels=PREFERENCE.no_labels, own_id=PREFERENCE.own_id
    )
    shown = prompt.shown or "what both answers begin with"
    begins = f", answers begin with {named(prompt.steps)}" if prompt.steps else ""
    rule = f"prompt <- {shown}{begins}, chosen <- {named(chosen)}, rejected <- {named(rejected)}"
    paths = (*prompt.paths, chosen, rejected, *((twin,) if twin else ()))
    unread = Unread({*fields, *PREFERENCE.no_labels, "id"}, paths=paths)
    return Reading("preference", shape, rule, unread=unread, answers=(chosen, rejected))


def _begun(side: Any, begun: str) -> Any:
    """Return a text, or each text of a list, with the text that answers begin with; messages as they are."""
    if isinstance(side, list):
        return [_begun(text, begun) if isinstance(text, str) else text for text in side]
    return begun + side if isinstance(side, str) and not side.startswith(begun) else side


def find_several(layout: Layout) -> tuple[Path, tuple[Path, ...]] | None:
    """Return the column of one better answer, and numbered columns of worse ones; None unless the names are certain.

    Example: chosen beside rejected_1 and rejected_2.
    """
    better = [path for path in layout.of_kind("text") if polarity(named(path)) == 1 and decisive(named(path))]
    better = [path for path in better if any(map(is_spoken, filter(None, layout.columns[path])))]
    found = [
        family.paths
        for family in layout.families
        if family.kind == "digit"
        and all(polarity(named(path)) == 0 and decisive(named(path)) for path in family.paths)
        and all(layout.kinds[path] in ("text", "null") for path in family.paths)
    ]
    return (better[0], found[0]) if len(better) == len(found) == 1 and len(found[0]) > 1 else None


def several_reading(prompt: Prompt, chosen: Path, rejected: Sequence[Path]) -> Reading:
    """Return the reading of one better answer and several worse ones in columns of their own."""
    found = pair_reading(prompt, chosen, REJECTED)
    shape, keys = found.shape, dict.fromkeys(path[0] for path in rejected)
    assert shape is not None
    one = shape.convert

    def convert(row: Row, at: RowPlace) -> Comparison | Rejected:
        # A row may have fewer worse answers than another.
        texts = [at_path(row, path) for path in rejected]
        return one({**row, REJECTED[0]: [text for text in texts if text is not None and text != ""]}, at)

    fields = tuple(dict.fromkeys((*shape.fields, *keys)))
    names = ", ".join(map(named, rejected))
    rule = found.rule.removesuffix(named(REJECTED)) + names
    unread = Unread({*fields, *shape.no_labels, "id"}, paths=(*prompt.paths, chosen, *rejected))
    answers = (chosen, *rejected)
    return Reading("preference", shape._replace(fields=fields, convert=convert), rule, unread=unread, answers=answers)


def _in_lists(prompt: Prompt, row: Row, paths: Sequence[Path], at: RowPlace) -> Row | Rejected | None:
    """Return prompt and sides of a row with a list of questions, and a list of replies for each side; None for none."""
    told = (
        in_lists(at_path(row, prompt.question), [at_path(row, path) for path in paths], at) if prompt.question else None
    )
    if told is None or isinstance(told, Rejected):
        return told
    if beside := prompt.beside(row):
        raise at.fault(f"{beside} beside a list of questions", "a prompt in messages")
    found = exchanges(*told, at)
    if isinstance(found, Rejected):
        return found
    parts = (found[0], *found[1])
    written = [[{"role": turn.role, "content": turn.content} for turn in part] for part in parts]
    return dict(zip(("prompt", "chosen", "rejected"), written, strict=True))


def _continued(chosen: Any, rejected: Any) -> Row:
    """Return prompt, chosen and rejected if one side is a whole conversation, and the other is a last turn alone."""
    for one, other, names in ((chosen, rejected, ("chosen", "rejected")), (rejected, chosen, ("rejected", "chosen"))):
        if whole(one) and not whole(other) and one[-1].get("role") == "assistant" and other:
            last = other if isinstance(other, list) else [{"role": "assistant", "content": other}]
            return {"prompt": one[:-1], names[0]: one[-1:], names[1]: last}
    return {}
