"""Verification through a running server: the parity sample scored over HTTP, by the protocols of OpenRLHF and vLLM."""

import http.client
import json
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit, urlunsplit
from urllib.request import Request, urlopen

from ..common.text import one_line
from ..errors import CheckpointError, UserError
from ..model.folder.card import BFLOAT16
from ..model.folder.tolerance import Check, compare
from .plain import Folder, depth, plain_text, plain_tokenizer

SECONDS = 180
"""Timeout of a request, in seconds."""


class Question(NamedTuple):
    """Conversation for a server.

    Attributes:
        ids: token ids.
        text: text tokenised to the same ids by the server; '' if no such text is known.
    """

    ids: list[int]
    text: str


def check_server(folder: Folder, url: str) -> list[Check]:
    """Compare the scores of a server with the parity sample of a folder, one conversation per request and all at once.

    The dtype of the server is unknown, so the allowed difference is the rounding of bfloat16.

    Raises:
        UserError: no URL of a known kind, or no server answers.
        CheckpointError: the server refuses, or answers anything but scores.
    """
    tokenizer = plain_tokenizer(folder)
    rows = folder.card["parity"]["rows"]
    questions = [Question(row["ids"], _text(tokenizer, folder.card, row)) for row in rows]
    wanted, layers = [row["score"] for row in rows], depth(folder)
    alone = [score for question in questions for score in ask(url, [question])]
    return [
        compare(f"{url}, 1 at a time", alone, wanted, BFLOAT16, layers),
        compare(f"{url}, {len(questions)} at a time", ask(url, questions), wanted, BFLOAT16, layers),
    ]


def _text(tokenizer: Any, card: dict[str, Any], row: dict[str, Any]) -> str:
    """Find a text tokenised to the ids of a row by a server adding no special tokens; '' if no text is found."""
    # Decoding can lose blanks or special tokens, so each candidate text is tokenised again and compared.
    texts = [tokenizer.decode(row["ids"])]
    if row["messages"][0]["role"] != "ids":
        texts.append(plain_text(tokenizer, card, row["messages"]))
    return next((t for t in texts if list(tokenizer(t, add_special_tokens=False)["input_ids"]) == row["ids"]), "")


def ask(url: str, questions: Sequence[Question]) -> list[float]:
    """Ask a server for the scores of conversations; raises as `check_server`."""
    parts = urlsplit(url)
    known = next((path for path in ASK if parts.path.rstrip("/").endswith(path)), None)
    if known is None or parts.scheme not in ("http", "https"):
        raise UserError(
            f"--against {url} is no address of a reward server that is known here",
            f"give http://HOST:PORT and one of the paths {', '.join(ASK)}",
        )
    answer: Any = ASK[known][0](url, questions)
    try:
        scores = [float(score) for score in ASK[known][1](answer)]
        if len(scores) != len(questions) or not all(map(math.isfinite, scores)):
            raise ValueError("not a score for each conversation")
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise CheckpointError(
            f"{url} answered {json.dumps(answer)[:120]}, wanted {len(questions)} scores",
            "check that the server runs a reward model, and that the path is right",
        ) from error
    return scores


def _queries(url: str, questions: Sequence[Question]) -> Any:
    """Post texts to OpenRLHF's `/get_reward`."""
    if not all(question.text for question in questions):
        raise CheckpointError(
            "a conversation of the parity sample cannot be written as a text with its token ids",
            "ask a server that takes token ids, such as vLLM's /classify",
        )
    return _post(url, {"query": [question.text for question in questions]})


def _inputs(url: str, questions: Sequence[Question]) -> Any:
    """Post token ids to vLLM's `/classify` or `/pooling`."""
    # By default vLLM applies a sigmoid to a score: `use_activation` switches the sigmoid off.
    body = {"model": _served(url), "input": [question.ids for question in questions], "use_activation": False}
    return _post(url, body | ({"task": "classify"} if url.rstrip("/").endswith("/pooling") else {}))


def _served(url: str) -> str:
    """Name of the first model served by vLLM."""
    parts = urlsplit(url)
    models = urlunsplit(parts._replace(path=parts.path.rstrip("/").rpartition("/")[0] + "/v1/models", query=""))
    answer = _call(models, None)
    try:
        return str(answer["data"][0]["id"])
    except (KeyError, TypeError, IndexError) as error:
        raise CheckpointError(
            f"{models} answered {json.dumps(answer)[:120]}, wanted the name of a model", "check that it is vLLM"
        ) from error


def _in_order(answer: Any, field: str) -> list[Any]:
    """Scores of vLLM's answer in the order of the request, by the `index` of each row."""
    return [row[field][0] for row in sorted(answer["data"], key=lambda row: row["index"])]


ASK: dict[str, tuple[Callable[[str, Sequence[Question]], Any], Callable[[Any], list[Any]]]] = {
    "/get_reward": (_queries, lambda answer: list(answer["rewards"])),
    "/classify": (_inputs, lambda answer: _in_order(answer, "probs")),
    "/pooling": (_inputs, lambda answer: _in_order(answer, "data")),
}
"""End of a URL -> function for asking such a server, and function for reading the scores from the answer.

OpenRLHF's `/get_reward` takes {"query": [text]} and returns {"rewards": [score]}. vLLM's `/classify` and `/pooling`
take token ids, without activation.
"""


def _post(url: str, body: dict[str, Any]) -> Any:
    return _call(url, json.dumps(body).encode())


def _call(url: str, body: bytes | None) -> Any:
    """Send a request (GET without a body) and decode the JSON answer; raises as `check_server`."""
    # The order of the handlers matters: HTTPError is a URLError, and URLError is an OSError.
    try:
        with urlopen(Request(url, body, {"Content-Type": "application/json"}), timeout=SECONDS) as reply:
            return json.loads(reply.read())
    except HTTPError as error:
        said = one_line(Exception(error.read().decode("utf-8", "replace")), 200)
        raise CheckpointError(f"{url} refused with {error.code}: {said}", "see the log of the server") from error
    except ValueError as error:
        raise CheckpointError(f"{url} did not answer in JSON", "check that the path is right") from error
    except (URLError, OSError, http.client.HTTPException) as error:
        raise UserError(f"{url} does not answer: {one_line(error)}", "start the server, or correct the URL") from error
