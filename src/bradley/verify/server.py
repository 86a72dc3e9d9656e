"""Verification through a running server: the parity sample scored over HTTP, by the protocols of OpenRLHF and vLLM."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.parse import urlsplit, urlunsplit
from urllib.request import Request, urlopen

from typing_extensions import TypedDict

from ..common.deadline import TooLong, read_all, within
from ..common.json_files import check_shape, parse_json
from ..common.signals import StopRequested
from ..common.text import one_line, visible
from ..data.ending import stopped
from ..errors import CheckpointError, UserError
from ..model.folder.card import BFLOAT16
from ..model.folder.tolerance import Check, compare
from .plain import Folder, depth, plain_text, plain_tokenizer

SECONDS = 180
"""Limit of a request, in seconds."""
MOST_BYTES = 2**24
"""Largest answer of a server, in bytes (16 MiB); a score takes about 20."""
TEXTS, MESSAGES = "/get_reward", "/classify"
"""Paths of a server that takes texts, and of a server that takes messages too."""
RIGHT_PATH = "check that the server runs a reward model, and that the path is right"


class Rewards(TypedDict):
    """Answer of OpenRLHF."""

    rewards: list[float]


class Probs(TypedDict):
    """Score of a conversation in the answer of `/classify`."""

    index: int
    probs: list[float]


class Classes(TypedDict):
    """Answer of vLLM's `/classify`."""

    data: list[Probs]


class Pooled(TypedDict):
    """Score of a conversation in the answer of `/pooling`."""

    index: int
    data: list[float]


class Pooling(TypedDict):
    """Answer of vLLM's `/pooling`."""

    data: list[Pooled]


class Served(TypedDict):
    """Model served by vLLM."""

    id: str


class Models(TypedDict):
    """Answer of vLLM about the served models."""

    data: list[Served]


class Question(NamedTuple):
    """Conversation for a server.

    Attributes:
        ids: token ids.
        text: text tokenised to the same ids by the server; '' if no such text is known.
        prompt: text before the response, as far as known.
    """

    ids: list[int]
    text: str
    prompt: str = ""


def check_server(folder: Folder, url: str) -> list[Check]:
    """Compare the scores of a server with the parity sample of a folder, one conversation per request and all at once.

    A server of texts is asked a third time with the texts of a policy, which stop at the end token: the server has to
    add what the template writes after the end token. The dtype of the server is unknown, so the allowed difference is
    the rounding of bfloat16.

    Raises:
        UserError: no URL of a known kind, or no server answers.
        CheckpointError: the server refuses, or answers anything but scores.
    """
    tokenizer = plain_tokenizer(folder)
    rows = folder.card["parity"]["rows"]
    questions = [_question(tokenizer, folder.card, row) for row in rows]
    wanted, layers = [row["score"] for row in rows], depth(folder)
    alone = [score for question in questions for score in ask(url, [question])]
    checks = [
        compare(f"{url}, 1 at a time", alone, wanted, BFLOAT16, layers),
        compare(f"{url}, {len(questions)} at a time", ask(url, questions), wanted, BFLOAT16, layers),
    ]
    special = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    cut = [question._replace(text=stopped(question.text, special)) for question in questions]
    if cut != questions and _path(url).endswith(TEXTS):
        checks.append(compare(f"{url}, as a policy stops", ask(url, cut), wanted, BFLOAT16, layers))
    # The template of a run folder has no settings inside, and a row of plain text or token ids has no roles. A row with
    # arguments of the template needs these in the request, where servers differ.
    plain = [row for row in rows if row["messages"][0]["role"] not in ("ids", "text") and not row.get("args")]
    turns = [row["messages"] for row in plain]
    if "export" in folder.card and len(turns) == len(rows) and _path(url).endswith(MESSAGES):
        said = [score for each in turns for score in _asked(url, _conversation(url, each), MESSAGES, 1)]
        checks.append(compare(f"{url}, as messages", said, wanted, BFLOAT16, layers))
    return checks


def _conversation(url: str, turns: Sequence[dict[str, str]]) -> Any:
    """Post the messages of a conversation to vLLM's `/classify`, whose tokenizer renders these."""
    return _post(url, {"model": _served(url), "messages": list(turns), "use_activation": False})


def _question(tokenizer: Any, card: dict[str, Any], row: dict[str, Any]) -> Question:
    text = _text(tokenizer, card, row)
    content = row["messages"][-1]["content"].strip()
    return Question(row["ids"], text, text.rpartition(content)[0] if content else text)


def _text(tokenizer: Any, card: dict[str, Any], row: dict[str, Any]) -> str:
    """Find a text tokenised to the ids of a row by a server adding no special tokens; '' if no text is found."""
    # Decoding can lose blanks or special tokens, so each candidate text is tokenised again and compared.
    texts = [tokenizer.decode(row["ids"])]
    if row["messages"][0]["role"] != "ids":
        texts.append(plain_text(tokenizer, card, row))
    return next((t for t in texts if list(tokenizer(t, add_special_tokens=False)["input_ids"]) == row["ids"]), "")


def ask(url: str, questions: Sequence[Question]) -> list[float]:
    """Ask a server for the scores of conversations; raises as `check_server`."""
    known = next((path for path in ASK if _path(url).endswith(path)), None)
    if known is None:
        raise UserError(
            f"--against {_shown(url)} is no address of a reward server that is known here",
            f"give http://HOST:PORT and one of the paths {', '.join(ASK)}",
        )
    return _asked(url, ASK[known][0](url, questions), known, len(questions))


def _asked(url: str, content: Any, known: str, count: int) -> list[float]:
    """Read `count` scores from the answer of a server with the path `known`."""
    _, shape, read = ASK[known]
    wanted = f"{count} scores"
    answer = _checked(content, shape, url, wanted, RIGHT_PATH)
    try:
        scores = [float(score) for score in read(answer)]
    except OverflowError:  # a number of more than 300 digits
        scores = []
    if len(scores) != count or not all(map(math.isfinite, scores)):
        raise _unlike(answer, url, wanted, RIGHT_PATH)
    return scores


def _checked(answer: Any, shape: Any, url: str, wanted: str, hint: str) -> Any:
    """Return an answer of the wanted shape, or raise `CheckpointError`."""
    try:
        return check_shape(answer, shape, Path(url))
    except CheckpointError as error:
        raise _unlike(answer, url, wanted, hint) from error


def _unlike(answer: Any, url: str, wanted: str, hint: str) -> CheckpointError:
    """Build the error for an answer of another kind."""
    return CheckpointError(f"{_shown(url)} answered {json.dumps(answer)[:120]}, wanted {wanted}", hint)


def _path(url: str) -> str:
    """Path of an HTTP address without the last slash; '' for any other text."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return parts.path.rstrip("/") if parts.scheme in ("http", "https") and parts.netloc else ""


def _shown(url: str) -> str:
    """Address for a message, without passwords, on a single line."""
    return visible(one_line(url, 200))


def _queries(url: str, questions: Sequence[Question]) -> Any:
    """Post texts to OpenRLHF's `/get_reward`, with prompts and labels as its trainer does."""
    if not all(question.text for question in questions):
        raise CheckpointError(
            "a conversation of the parity sample cannot be written as a text with its token ids",
            "ask a server that takes token ids, such as vLLM's /classify",
        )
    prompts = [question.prompt for question in questions]
    body = {"query": [question.text for question in questions], "prompts": prompts, "labels": [""] * len(questions)}
    return _post(url, body)


def _inputs(url: str, questions: Sequence[Question]) -> Any:
    """Post token ids to vLLM's `/classify` or `/pooling`."""
    # By default vLLM applies a sigmoid to a score: `use_activation` switches the sigmoid off.
    body = {"model": _served(url), "input": [question.ids for question in questions], "use_activation": False}
    return _post(url, body | ({"task": "classify"} if url.rstrip("/").endswith("/pooling") else {}))


def _served(url: str) -> str:
    """Name of the first model served by vLLM."""
    parts = urlsplit(url)
    models = urlunsplit(parts._replace(path=parts.path.rstrip("/").rpartition("/")[0] + "/v1/models", query=""))
    answer = _checked(_call(models, None), Models, models, "the name of a model", "check that it is vLLM")
    if not answer["data"]:
        raise _unlike(answer, models, "the name of a model", "check that it is vLLM")
    return str(answer["data"][0]["id"])


def _in_order(answer: Any, field: str) -> list[float]:
    """Scores of vLLM's answer in the order of the request; [] unless `index` counts the rows, with a score each."""
    rows = sorted(answer["data"], key=lambda row: int(row["index"]))
    if [row["index"] for row in rows] != list(range(len(rows))) or not all(row[field] for row in rows):
        return []
    return [row[field][0] for row in rows]


ASK: dict[str, tuple[Callable[[str, Sequence[Question]], Any], Any, Callable[[Any], list[float]]]] = {
    TEXTS: (_queries, Rewards, lambda answer: list(answer["rewards"])),
    MESSAGES: (_inputs, Classes, lambda answer: _in_order(answer, "probs")),
    "/pooling": (_inputs, Pooling, lambda answer: _in_order(answer, "data")),
}
"""End of a URL -> function for asking such a server, shape of the answer, and function for reading the scores.

OpenRLHF's `/get_reward` takes {"query": [text], "prompts": [text], "labels": [label]} and returns {"rewards": [score]}.
vLLM's `/classify` and `/pooling` take token ids, without activation.
"""


def _post(url: str, body: dict[str, Any]) -> Any:
    return _call(url, json.dumps(body).encode())


def _call(url: str, body: bytes | None) -> Any:
    """Send a request (GET without a body) and decode the JSON answer; raises as `check_server`.

    The only way to a server, with a limit on time and size.
    """
    shown = _shown(url)

    def exchange() -> bytes:
        with urlopen(Request(url, body, {"Content-Type": "application/json"}), timeout=SECONDS) as reply:
            return read_all(reply.read1, MOST_BYTES)

    try:
        data = within(SECONDS, exchange)
    except StopRequested:
        raise
    except HTTPError as error:
        raise CheckpointError(
            f"{shown} refused with {error.code}: {_said(error)}", "see the log of the server"
        ) from error
    except TooLong as error:
        raise CheckpointError(f"{shown} answered too much: {error}", RIGHT_PATH) from error
    # An odd address or an odd server makes the client fail by any exception of Python.
    except Exception as error:
        reason = visible(one_line(error)) or type(error).__name__
        raise UserError(f"{shown} does not answer: {reason}", "start the server, or correct the URL") from error
    try:
        return parse_json(data, Path(url))
    except CheckpointError as error:
        raise CheckpointError(f"{shown} did not answer in JSON", "check that the path is right") from error


def _said(error: HTTPError) -> str:
    """Message of a refusal, on a single line."""
    try:
        text = within(SECONDS, lambda: error.read(2**12)).decode("utf-8", "replace")
    except Exception as broken:
        text = f"the message broke off ({type(broken).__name__})"
    return visible(one_line(Exception(text), 200))
