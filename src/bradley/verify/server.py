"""The parity sample through a running server, by the two contracts that reward servers speak."""

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
"""How long a server may take for one answer."""


class Question(NamedTuple):
    """A conversation as servers are asked: its token ids, and a text that reads as these, '' where there is none."""

    ids: list[int]
    text: str


def check_server(folder: Folder, url: str) -> list[Check]:
    """Ask a server for the scores of a folder's sample, one conversation at a time and all at once.

    In which dtype it computes is not known, so the differences are held to what bfloat16 explains.

    Raises:
        UserError: no URL of a known kind, or nobody answers.
        CheckpointError: the server refuses, or answers something else than scores.
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
    """A text that a server which adds no special tokens reads as the ids of a row; '' where none is found."""
    texts = [tokenizer.decode(row["ids"])]
    if row["messages"][0]["role"] != "ids":
        texts.append(plain_text(tokenizer, card, row["messages"]))
    return next((t for t in texts if list(tokenizer(t, add_special_tokens=False)["input_ids"]) == row["ids"]), "")


def ask(url: str, questions: Sequence[Question]) -> list[float]:
    """The scores that a server gives to conversations. Raises as `check_server`."""
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
    if not all(question.text for question in questions):
        raise CheckpointError(
            "a conversation of the parity sample cannot be written as a text with its token ids",
            "ask a server that takes token ids, such as vLLM's /classify",
        )
    return _post(url, {"query": [question.text for question in questions]})


def _inputs(url: str, questions: Sequence[Question]) -> Any:
    """vLLM squashes a score by a sigmoid unless it is told not to."""
    body = {"model": _served(url), "input": [question.ids for question in questions], "use_activation": False}
    return _post(url, body | ({"task": "classify"} if url.rstrip("/").endswith("/pooling") else {}))


def _served(url: str) -> str:
    """The name under which vLLM serves its first model."""
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
    return [row[field][0] for row in sorted(answer["data"], key=lambda row: row["index"])]


ASK: dict[str, tuple[Callable[[str, Sequence[Question]], Any], Callable[[Any], list[Any]]]] = {
    "/get_reward": (_queries, lambda answer: list(answer["rewards"])),
    "/classify": (_inputs, lambda answer: _in_order(answer, "probs")),
    "/pooling": (_inputs, lambda answer: _in_order(answer, "data")),
}
"""The end of a URL -> how a server there is asked, and where its answer holds the scores: OpenRLHF's `/get_reward`
({"query": [text]} -> {"rewards": [score]}) and vLLM's `/classify` and `/pooling` (token ids, no activation)."""


def _post(url: str, body: dict[str, Any]) -> Any:
    return _call(url, json.dumps(body).encode())


def _call(url: str, body: bytes | None) -> Any:
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
