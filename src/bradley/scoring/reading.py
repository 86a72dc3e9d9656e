"""Reading of the rows to score: the shape of a file, chosen once from the first rows.

Rows of a plain shape are read by `rows`. Rows of every other shape are read as training reads them, whatever a label
says: same prompt, same responses. A plain row with further parts of a prompt, such as a system text, is read as
training reads these parts. A column of the conversation that nobody reads stops the scoring before the first row.
"""

import json
import uuid
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ..common.plugins import load_function
from ..config import Data, as_list
from ..data.formats import FORMATS, Reading, candidates_of, choose_format
from ..data.formats.answers import ANSWER, REMARK, Given, of_paths
from ..data.formats.base import unreadable
from ..data.formats.labelled import Columns, reading_of
from ..data.formats.labels import Answers
from ..data.formats.layout import Layout, Path, at_path, branch_key, named, words
from ..data.formats.mapped import check_columns, takes_file, through_function, with_columns
from ..data.formats.pairs import no_prompt
from ..data.formats.prompts import Prompt, find_prompt
from ..data.formats.unread import Unread, lost_columns, without
from ..data.row_cache import code_of_functions, code_of_reading
from ..data.rows import Row, RowPlace, on_one_line
from ..data.sources.plain import plain_row
from ..errors import DataError, UserError
from ..records import Comparison, Rejected, Response
from .rows import (
    LISTS,
    RESPONSE_IDS,
    SHAPES,
    Keys,
    Parsed,
    candidates_from,
    entry_of,
    is_pair,
    named_after,
    parse_plain,
    reason_of,
    shape_fault,
    shape_of,
)

HEAD = 20
"""Rows read before the first row is scored, to choose the reading."""
BESIDE = ("tools", "chat_template_kwargs", "id")
"""Columns read beside prompt and responses."""
SINGLE = ("response", "completion")
EITHER = {"text", "texts", "message", "messages", "conversation", "conversations", "conv", "dialogue", "ref", "story"}
"""Words in the name of a column that may hold a prompt as well as an answer."""
PAIRED = {"hh", "preference", "rewardbench2"}
"""Formats with the answers in chosen and rejected."""
Numbered = tuple[int, Row]


class Chosen(NamedTuple):
    """Reading of rows of one shape.

    Attributes:
        reading: as of training.
        several: False for a single response in each row.
    """

    reading: Reading
    several: bool = True


class RowReader:
    """Reader of the rows of an input.

    Args:
        settings: format, columns and ignored columns of the input.
        name: name of the input in messages.
        head: the first rows, with their numbers.

    Raises:
        UserError: an unknown format or column, or a missing function.
        DataError: the first rows cannot be read, or a column of the conversation would be lost.

    Attributes:
        said: the rule by which rows are read, on one line; "" for plain shapes.
    """

    def __init__(self, settings: Data, name: str, head: Sequence[Numbered] = ()) -> None:
        self.settings, self.name = settings, name
        self.format, self.columns = self.settings.format_of(), self.settings.columns_of()
        self.ignored = as_list(self.settings.ignore)
        self.said = ""
        self._check_settings()
        self._reading: Chosen | None = None
        self._beside: dict[Keys, Chosen] = {}
        self._unread = {keys: Unread({*keys, *BESIDE}) for keys in SHAPES}
        self._begin(head)

    def identity(self) -> dict[str, Any]:
        """Return everything that decides about the reading of rows, besides the rows: plain JSON values."""
        code = code_of_functions({"format": self.format})
        return {
            "format": self.format,
            "columns": self.columns,
            "ignore": self.ignored,
            "rule": self.said,
            "code": code_of_reading(),
            # Nobody knows the code of a function without a file: such parts are never continued.
            "function": uuid.uuid4().hex if code is None else code,
        }

    def parse(self, row: Row, at: RowPlace) -> Parsed | str:
        """Parse a row; return the reason for a row that cannot be scored."""
        try:
            parsed, lost = self._read(self._made(plain_row(row), at), at)
        except (DataError, RecursionError) as error:
            return shape_fault(error, at)
        if lost:
            message, _ = lost_columns(lost, at, on_one_line(at.name))
            return "unread: " + message.removeprefix(f"{on_one_line(at.name)}, row {at.row}: ")
        if isinstance(parsed, str):
            return parsed
        # The row of a function has fields of its own: the input row keeps every field.
        own = () if ":" in self.format else tuple(self.columns.get(key, key) for key in parsed.holders)
        return parsed._replace(holders=own)

    def _check_settings(self) -> None:
        """Raise `UserError` for an unknown format or column, and for a function of a whole file."""
        known = {"id", "source", "prompt", "chosen", "rejected", *(key for keys in SHAPES for key in keys)}
        check_columns(self.columns, {*known, *(key for shape in FORMATS.values() for key in shape.fields)})
        if self.format == "comparison":
            raise UserError("comparison is no format of rows to score", "leave --data.format out")
        if ":" not in self.format:
            choose_format([], RowPlace(self.name, "", settings=Data(format=self.format)))
        elif takes_file(load_function(self.format, "data.format")):
            message = f"{self.format} takes the rows of a whole file, and each row to score needs one result"
            raise UserError(message, "give a function of one row, with a first parameter called row")

    def _begin(self, head: Sequence[Numbered]) -> None:
        """Choose the reading by the first rows, and read these rows on trial."""
        made: list[tuple[int, Row | Comparison | Rejected]] = []
        faults: list[DataError] = []
        lost: dict[str, str] = {}
        for number, row in head:
            try:
                made.append((number, self._made(plain_row(row), self._at(number))))
            except DataError as error:
                faults.append(error)
        rows = [row for _, row in made if isinstance(row, dict)]
        faults[:0] = self._choose(rows)
        readings = [chosen for chosen in (self._reading, *self._beside.values()) if chosen]
        for unread in (*self._unread.values(), *(chosen.reading.unread for chosen in readings)):
            unread.compare(rows)
        read = 0
        for number, found in made:
            try:
                lost |= self._read(found, self._at(number))[1]
            except RecursionError:
                continue
            except DataError as error:
                faults.append(error)
                continue
            read += 1
        if lost:
            raise DataError(*lost_columns(lost, None, on_one_line(self.name)))
        if faults and not read:
            raise faults[0]
        for chosen in readings:
            chosen.reading.unread.seen.clear()
        self.said = "; ".join(dict.fromkeys(filter(None, map(_rule, readings))))

    def _at(self, number: int) -> RowPlace:
        return RowPlace(self.name, "", number, self.settings)

    def _made(self, row: Row, at: RowPlace) -> Row | Comparison | Rejected:
        """Return a row with renamed columns, without ignored columns, and turned by the user's function.

        Raises:
            DataError: a missing column, or a function that fails or makes several rows.
        """
        rows: list[tuple[int, Any]] = [(at.row, row)]
        if self.columns:
            rows = list(with_columns(rows, self.columns, at.name))
        if self.ignored:
            rows = [(number, without(one, self.ignored)) for number, one in rows]
        if ":" in self.format:
            rows = list(through_function(rows, self.format, at.name))
        if len(rows) != 1:
            wanted = "one row for each row to score, with all answers in responses"
            raise at.fault(f"{len(rows)} rows from {self.format}", wanted, "let the function return one row")
        made: Row | Comparison | Rejected = rows[0][1]
        return made

    def _read(self, row: Row | Comparison | Rejected, at: RowPlace) -> tuple[Parsed | str, dict[str, str]]:
        """Read a row; return the parsed row or a reason, and the columns that would be lost.

        Raises:
            DataError: a row of the wrong shape.
        """
        if isinstance(row, Rejected):
            return reason_of(row), {}
        if isinstance(row, Comparison):
            return _of_comparison(row, at), {}
        keys = None if self.format in FORMATS else shape_of(row)
        chosen = self._beside.get(keys) if keys else self._reading
        if chosen is not None:
            parsed, unread = _by_reading(chosen, row, at), chosen.reading.unread
        elif keys is None:
            parsed = parse_plain(row, at)
            raise DataError(str(parsed).removeprefix("shape: "))
        else:
            parsed, unread = parse_plain(row, at), self._unread[keys]
            if isinstance(parsed, str) and parsed.startswith("shape: "):
                raise DataError(f"{at.name}, row {at.row}: {parsed.removeprefix('shape: ')}", "correct the row")
        if isinstance(parsed, str):
            return parsed, {}
        # A response with a fault stands in no candidate: its text is no loss.
        return parsed, unread.look(row, parsed.candidates, inside=not parsed.gaps)

    def _choose(self, rows: Sequence[Row]) -> list[DataError]:
        """Choose the readings of the first rows; return the error of rows without a reading."""
        groups: dict[Keys | None, list[Row]] = {}
        for row in rows:
            groups.setdefault(None if self.format in FORMATS else shape_of(row), []).append(row)
        for keys, group in groups.items():
            if keys is None:
                continue
            if found := self._with_parts(keys, group):
                self._beside[keys] = found
        if None not in groups:
            return []
        try:
            reading = self._of_training(groups[None])
        except DataError as error:
            # A pair is refused for a column that would be lost: the other rows of the file do not mend that.
            if self.format in FORMATS or any(map(is_pair, groups[None])):
                raise
            self._reading = single_answer(groups[None])
            return [] if self._reading else [error]
        single = single_answer(groups[None]) if _is_guess(reading) and self.format not in FORMATS else None
        self._reading = single or Chosen(reading)
        return []

    def _of_training(self, rows: Iterable[Row]) -> Reading:
        """Return the reading that training would choose for rows, without a label. Raises as `choose_format`."""
        # The rows have the names already; training knows no single response.
        plain = {key for keys in SHAPES for key in keys} - {"prompt"}
        columns: dict[str, str | dict[str, str]] = {key: key for key in self.columns if key not in plain}
        format = self.format if self.format in FORMATS else "auto"
        settings = self.settings.model_copy(update={"format": format, "columns": columns, "ignore": ""})
        return choose_format(list(enumerate(rows, 1)), RowPlace(self.name, "", settings=settings), judged=False)[0]

    def _with_parts(self, keys: Keys, rows: Sequence[Row]) -> Chosen | None:
        """Return the reading of plain rows with further answers or further parts of a prompt; None without them."""
        answer = (keys[-1],)
        if keys[-1] == RESPONSE_IDS:
            return None
        if keys[-1] not in LISTS:
            try:
                reading = self._of_training(rows)
            except DataError:
                pass
            else:
                if answer in reading.answers:
                    return Chosen(reading)
        layout = Layout(rows)
        if keys == ("messages",):
            found = find_prompt(layout, (), (), answer)
            return _conversations(answer, found.system) if found.system else None
        asked = any(no_prompt(row.get("prompt")) is not None for row in rows)
        prompt = find_prompt(layout, (answer,), (), ("prompt",) if asked else None)
        if prompt.paths in ((), (("prompt",),)):
            return None
        given = _listed(answer) if keys[-1] in LISTS else of_paths((answer,), (answer,), None)
        return Chosen(reading_of(Columns(prompt, given, None), ()), keys[-1] in LISTS)


def single_answer(rows: Sequence[Row]) -> Chosen | None:
    """Return the reading of rows with one answer, or with one conversation that ends with the answer."""
    layout = Layout(rows)
    spoken = layout.of_kind("text", "turns")
    answers = [path for path in spoken if path[-1] in SINGLE] or [
        path for path in spoken if set(words(path[-1:])) & (ANSWER - EITHER) and not set(words(path)) & REMARK
    ]
    if len(answers) == 1:
        prompt = find_prompt(layout, answers, (), ("prompt",) if ("prompt",) in layout.columns else None)
        given = of_paths((answers[0],), (answers[0],), None)
        return Chosen(reading_of(Columns(prompt, given, None), ()), several=False) if prompt.paths else None
    conversations = layout.of_kind("turns")
    if answers or len(conversations) != 1 or not set(words(conversations[0])) & EITHER:
        return None
    return _conversations(conversations[0], find_prompt(layout, (), (), conversations[0]).system)


def _conversations(path: Path, system: Path | None) -> Chosen:
    """Return the reading of a column of whole conversations, with a system text beside."""
    prompt = Prompt(system=system, turns=True)
    return Chosen(reading_of(Columns(prompt, of_paths((path,), (path,), None), None), ()), several=False)


def _listed(path: Path) -> Given:
    """Return the answers of a list of texts, messages or objects."""

    def get(row: Row) -> list[Any]:
        at = RowPlace("", "")
        entries = at_path(row, path)
        return [entry_of(entry, at) for entry in entries] if isinstance(entries, list) else [None]

    return Given(Answers((), (), (), 0, (path,)), get, named(path))


def _is_guess(reading: Reading) -> bool:
    """Return True for answers in a list whose name does not say that the list holds answers."""
    return len(reading.answers) == 1 and not set(words(reading.answers[0])) & ANSWER


def _rule(chosen: Chosen | None) -> str:
    """Return the rule of a reading in words."""
    if chosen is None:
        return ""
    return chosen.reading.describe() or f"format {chosen.reading.format}"


def _of_comparison(found: Comparison, at: RowPlace) -> Parsed | str:
    """Return the parsed row of a comparison that a function made.

    Raises:
        DataError: an order of roles that no chat template renders.
    """
    if fault := unreadable(found.prompt, found.responses, at, found.template_args):
        return reason_of(fault)
    candidates = candidates_from(found.prompt, found.responses, found.template_args, at)
    return Parsed(candidates, [_plain(response) for response in found.responses], several=True)


def _by_reading(chosen: Chosen, row: Row, at: RowPlace) -> Parsed | str:
    """Parse a row by a reading.

    Raises:
        DataError: a row of the wrong shape.
    """
    reading = chosen.reading
    filled, gaps = _filled(row, reading.answers) if chosen.several else (row, {})
    found = candidates_of(reading, filled, at)
    if isinstance(found, Rejected):
        return reason_of(found)
    sound = [response for place, response in enumerate(found.responses) if place not in gaps]
    if not sound:
        raise at.fault("null in place of every response", "text or messages")
    candidates = named_after(found, at)
    if gaps:
        candidates = candidates_from(found.prompt, tuple(sound), found.template_args, at)
    if not chosen.several:
        return Parsed(candidates, [_plain(sound[0])])
    holders = _holders(reading, row)
    apart = 1 < len(holders) == len(found.responses)
    given = [row.get(key) for key in holders] if apart else [*map(_plain, found.responses)]
    return Parsed(candidates, given, holders, True, gaps)


def _filled(row: Row, paths: Sequence[Path]) -> tuple[Row, dict[int, str]]:
    """Return a row with a text in place of each null answer, and the places of these answers with the reason."""
    if any(len(path) > 1 for path in paths) or not paths:
        return row, {}
    if len(paths) > 1:
        missing = [place for place, (key,) in enumerate(paths) if row.get(key) is None]
        filled = {**row, **{paths[place][0]: "" for place in missing}}
    else:
        ((key,),) = paths
        entries = row.get(key)
        entries = entries if isinstance(entries, list) else []
        missing = [place for place, entry in enumerate(entries) if entry is None]
        filled = {**row, key: ["" if entry is None else entry for entry in entries]} if missing else row
    return filled if missing else row, dict.fromkeys(missing, "shape: found null as response, wanted text or messages")


def _holders(reading: Reading, row: Row) -> tuple[str, ...]:
    """Return the columns of a row that hold the answers and nothing else."""
    if reading.format in PAIRED and not reading.answers:
        return ("chosen", "rejected")
    if any(len(path) > 1 for path in reading.answers):
        return ()
    keys = tuple(path[0] for path in reading.answers)
    # Answers in place of a last turn stand in the column of the conversation.
    values = [row.get(key) for key in keys]
    branched = any(isinstance(value, list) and value and _branches(value[-1]) for value in values)
    return () if branched else keys


def _branches(last: Any) -> bool:
    return isinstance(last, dict) and branch_key(last) != ""


def _plain(response: Response) -> Any:
    """Return a response as text, or as messages where text would lose something."""
    first, *more = response.messages
    if not more and not first.extra and first.role in ("text", "assistant"):
        return first.content
    return [
        {"role": turn.role, "content": turn.content, **(json.loads(turn.extra) if turn.extra else {})}
        for turn in response.messages
    ]
