"""Upload to the Hugging Face Hub: a folder as a model repository, with all requirements checked before training."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NotRequired, TypeVar

from typing_extensions import TypedDict

from ..common.deadline import within
from ..common.files import scratch_folder
from ..common.json_files import check_shape
from ..common.secrets import HIDDEN
from ..common.signals import StopRequested
from ..common.text import and_more, one_line, visible
from ..config import repo_problem
from ..errors import BradleyError, HubError, UserError

T = TypeVar("T")
CHECK_SECONDS = 30.0
"""Limit of a question to the Hub before training, in seconds."""
UPLOAD_SECONDS = 120.0
"""Limit of each answer during an upload, and of each pause between two parts; the upload itself may take hours."""
RETRY_SECONDS = 60
"""Longest pause before a retry that the Hub may ask for."""
MOST_BYTES = 2**24
"""Largest answer of the Hub, in bytes (16 MiB)."""
HINT = "check the network, the token and HF_ENDPOINT, and try again"
STALE = ["*.safetensors", "*.safetensors.index.json", "adapter_config.json", "figures/*"]
"""Files of an earlier export to remove from the repository: a new export replaces the files or has no such files."""
TOKENS = "https://huggingface.co/settings/tokens"
Say = Callable[[str], object]


class Token(TypedDict):
    """Description of a token; a token with fine-grained rights has the role `fineGrained`."""

    role: NotRequired[str]


class Auth(TypedDict):
    """Way of signing in; a session without token describes no token."""

    accessToken: NotRequired[Token]


class Organisation(TypedDict):
    """Organisation of the user."""

    name: str


class User(TypedDict):
    """The part of the answer about the owner of a token that is read here."""

    name: str
    orgs: NotRequired[list[Organisation]]
    auth: NotRequired[Auth]


def silent(text: str) -> None:
    """Print nothing."""


def publish_run(
    run: Path, name: str, *, private: bool = False, trust_remote_code: bool = False, say: Say = silent
) -> str:
    """Export the model of a run and upload the export as `name`, with card and figures; return the URL.

    Raises:
        BradleyError: the export fails, see `export_model`, or the upload, see `push`. The run stays unchanged.
    """
    from .folder import export_model

    # The temporary folder lies in the run folder, on a disk already holding the weights; /tmp may be too small.
    with scratch_folder(run / "push") as place:
        folder = place / name.rpartition("/")[2]
        exported = export_model(run, folder, place=name, trust_remote_code=trust_remote_code)
        return push(exported.folder, name, private=private, say=say)


def push(
    folder: Path, name: str, *, private: bool = False, message: str = "Upload a reward model", say: Say = silent
) -> str:
    """Upload a folder as the model repository `name`, made if missing; return the URL of the page.

    Weights and figures of an earlier upload missing in the folder are removed from the repository; other files stay.

    Raises:
        UserError: as `check_hub`.
        HubError: the Hub refuses the upload, or cannot be reached.
    """
    check_hub(name, private, say)

    def upload() -> str:
        api = _api()
        url = api.create_repo(name, private=private, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=folder, commit_message=message, delete_patterns=STALE)
        return str(url)

    return visible(ask(f"{folder} could not be uploaded to {name}", upload, seconds=float("inf"), say=say))


def check_hub(name: str, private: bool = False, say: Say = silent) -> None:
    """Check name, token and owner of an upload; nothing is written. An empty name is not checked.

    Args:
        say: prints a line if the answer takes long.

    Raises:
        UserError: the name is not owner/name, or the token is missing or cannot write. Also raised if the owner is
            neither the user of the token nor an organisation of the user, or if `private` meets a public repository.
        HubError: the Hub cannot be reached.
    """
    # Called before training: an upload refused afterwards would waste the hours of the run.
    if not name:
        return
    if problem := repo_problem(name):
        raise UserError(f"{name!r} {problem}", "give the name of a repository, such as your-name/reward-model")
    _check_token(name, say)
    if private:
        _check_private(name, say)


def _check_token(name: str, say: Say) -> None:
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    what = f"nothing can be pushed to {name}"
    log_in = f"type `hf auth login`, or set HF_TOKEN to a token with write access ({TOKENS})"

    def whoami() -> Any:
        answer = _api().whoami()
        return check_shape(answer, User, Path("the answer of the Hub about the token"), HubError, HINT)

    try:
        user = ask(what, whoami, HfHubHTTPError, LocalTokenNotFoundError, say=say)
    except LocalTokenNotFoundError as error:
        raise UserError(f"{what}: there is no token of the Hub here", log_in) from error
    except HfHubHTTPError as error:
        if error.response.status_code not in (401, 403):
            raise HubError(f"{what}: {_in_words(error)}", "try again later") from error
        raise UserError(f"{what}: the Hub does not know the token", log_in) from error
    _check_rights(name, user)


def _check_rights(name: str, user: User) -> None:
    # Tokens with fine-grained rights have another role and pass here; the Hub itself then decides at the upload.
    if user.get("auth", {}).get("accessToken", {}).get("role") == "read":
        raise UserError(f"nothing can be pushed to {name}: the token only reads", f"make one that writes at {TOKENS}")
    owners = [visible(each) for each in (user["name"], *(org["name"] for org in user.get("orgs", [])))]
    owner, _, rest = name.partition("/")
    if owner.lower() not in map(str.lower, owners):
        may = and_more(owners, 20)
        raise UserError(
            f"nothing can be pushed to {name}: the token is that of {owners[0][:100]}, who may write to {may[:2000]}",
            f"use {owners[0][:100]}/{rest}, or the token of {owner}",
        )


def _check_private(name: str, say: Say) -> None:
    """Raise `UserError` for a public repository: an upload does not change the visibility of a repository."""
    from huggingface_hub.errors import RepositoryNotFoundError

    def is_private() -> Any:
        answer = _api().repo_info(name).private
        return check_shape(answer, bool, Path("the answer of the Hub about the repository"), HubError, HINT)

    try:
        public = not ask(f"nothing can be pushed to {name}", is_private, RepositoryNotFoundError, say=say)
    except RepositoryNotFoundError:
        return
    if public:
        raise UserError(
            f"{name} is to be private, but is there already, and public",
            "make it private in its settings on the Hub, or push to another name",
        )


def _api() -> Any:
    from huggingface_hub import HfApi

    return HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None)


def ask(
    what: str, call: Callable[[], T], *expected: type[Exception], seconds: float = CHECK_SECONDS, say: Say = silent
) -> T:
    """Ask the Hub: the only way to the Hub, with limits on time and size, and a single class of errors for failures.

    Args:
        what: the failed task, for the message.
        call: asks by the client of the Hub.
        expected: classes of errors that the caller handles.
        seconds: limit of the whole call.
        say: prints a line if the answer takes long.

    Raises:
        HubError: no connection, no answer in time, a refusal, or an answer that is not understood.
        StopRequested: this process was asked to stop.
    """
    try:
        with _bounded_client():
            return within(seconds, call, lambda: say("asking the Hub ..."))
    except StopRequested:
        raise
    except expected:
        raise
    # A mirror may answer anything, and the client fails on an odd answer by any exception of Python.
    except Exception as error:
        hint = error.hint if isinstance(error, BradleyError) else HINT
        raise HubError(f"{what}: {_in_words(error)}", hint) from error


def _in_words(error: Exception) -> str:
    """Message of an error on a single line, without token and control characters."""
    from huggingface_hub import get_token

    # A server may repeat the request. The token may come from a file, unknown to the search for secrets of variables.
    text = str(error) or type(error).__name__
    with contextlib.suppress(OSError, ValueError):  # an unreadable token file holds no token that was sent
        if token := get_token():
            text = text.replace(token, HIDDEN)
    return visible(one_line(text))


@contextlib.contextmanager
def _bounded_client() -> Iterator[None]:
    """Bound each pause and each answer of the Hub's client while the block runs; the client itself waits for ever."""
    from huggingface_hub import set_client_factory
    from huggingface_hub.utils import _http

    # The factory may be the user's, with a proxy. It can be read under its private name alone.
    factory = getattr(_http, "_GLOBAL_CLIENT_FACTORY", _http.default_client_factory)

    def bounded() -> Any:
        client = factory()
        client.timeout = UPLOAD_SECONDS
        client.event_hooks = {
            **client.event_hooks,
            "response": [*client.event_hooks.get("response", []), _bound_answer],
        }
        return client

    set_client_factory(bounded)
    try:
        yield
    finally:
        set_client_factory(factory)


def _bound_answer(response: Any) -> None:
    """Bound the bytes and the seconds of an answer, and the pause that a refusal asks for."""
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]

    class Bounded(httpx.SyncByteStream):
        """Stream of an answer that ends early if too long or too slow."""

        def __init__(self, stream: Any, most: int) -> None:
            self.stream, self.left, self.end = stream, most, time.monotonic() + UPLOAD_SECONDS

        def __iter__(self) -> Iterator[bytes]:
            for part in self.stream:
                self.left -= len(part)
                if self.left < 0:
                    raise ValueError(f"the answer holds more than {MOST_BYTES:,} bytes")
                if time.monotonic() > self.end:
                    raise ValueError(f"the answer takes more than {UPLOAD_SECONDS:.0f} seconds")
                yield part

        def close(self) -> None:
            self.stream.close()

    # A compressed answer grows by a factor of up to 1,000 when read.
    response.stream = Bounded(response.stream, MOST_BYTES // (64 if "content-encoding" in response.headers else 1))
    pause = response.headers.get("retry-after", "").strip()
    if pause and not (pause.isdecimal() and int(pause[:9]) <= RETRY_SECONDS):
        response.headers["retry-after"] = str(RETRY_SECONDS)
    response.headers.pop("ratelimit", None)
