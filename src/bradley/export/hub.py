"""The Hugging Face Hub: a folder as a model repository, and everything that can be wrong about that found early."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..common.text import one_line
from ..config import repo_problem
from ..errors import HubError, UserError

STALE = ["*.safetensors", "*.safetensors.index.json", "adapter_config.json", "figures/*"]
"""Files of an earlier export that a new one replaces or must not leave behind."""
TOKENS = "https://huggingface.co/settings/tokens"


def check_hub(name: str, private: bool = False) -> None:
    """Find out whether a folder can be pushed to `name`; nothing is written. Without a name nothing is asked.

    Raises:
        UserError: no name of the form owner/name, no token, one that cannot write, an owner that is neither its user
            nor an organisation of theirs, or `private` for a repository that is public.
        HubError: the Hub cannot be reached.
    """
    if not name:
        return
    if problem := repo_problem(name):
        raise UserError(f"{name!r} {problem}", "give the name of a repository, such as your-name/reward-model")
    _check_token(name)
    if private:
        _check_private(name)


def push(folder: Path, name: str, *, private: bool = False, message: str = "Upload a reward model") -> str:
    """Upload a folder as the model repository `name`, which is made if need be; returns the URL of its page.

    Weights and figures of an earlier upload that the folder does not hold are removed; other files stay.

    Raises:
        UserError: as `check_hub`.
        HubError: the Hub refuses the upload, or cannot be reached.
    """
    check_hub(name, private)
    api = _api()
    with _hub_errors(f"{folder} could not be uploaded to {name}"):
        url = api.create_repo(name, private=private, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=folder, commit_message=message, delete_patterns=STALE)
    return str(url)


def _check_token(name: str) -> None:
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    log_in = f"type `hf auth login`, or set HF_TOKEN to a token with write access ({TOKENS})"
    try:
        with _hub_errors(f"nothing can be pushed to {name}", HfHubHTTPError, LocalTokenNotFoundError):
            user = _api().whoami()
    except LocalTokenNotFoundError as error:
        raise UserError(f"nothing can be pushed to {name}: there is no token of the Hub here", log_in) from error
    except HfHubHTTPError as error:
        if error.response.status_code not in (401, 403):
            raise HubError(f"nothing can be pushed to {name}: {one_line(error)}", "try again later") from error
        raise UserError(f"nothing can be pushed to {name}: the Hub does not know the token", log_in) from error
    _check_rights(name, user)


def _check_rights(name: str, user: dict[str, Any]) -> None:
    if user.get("auth", {}).get("accessToken", {}).get("role") == "read":
        raise UserError(f"nothing can be pushed to {name}: the token only reads", f"make one that writes at {TOKENS}")
    owners = [user["name"], *(org["name"] for org in user.get("orgs", []))]
    owner, _, rest = name.partition("/")
    if owner.lower() not in map(str.lower, owners):
        raise UserError(
            f"nothing can be pushed to {name}: the token is that of {owners[0]}, who may write to {', '.join(owners)}",
            f"use {owners[0]}/{rest}, or the token of {owner}",
        )


def _check_private(name: str) -> None:
    """A repository keeps the visibility that it was made with, whatever is asked for later."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        with _hub_errors(f"nothing can be pushed to {name}", RepositoryNotFoundError):
            public = not _api().repo_info(name).private
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


@contextlib.contextmanager
def _hub_errors(what: str, *others: type[Exception]) -> Iterator[None]:
    """Turn whatever the client of the Hub raises into a `HubError`, except the kinds in `others`."""
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined] # the client that it uses, httpx or httpx2

    try:
        yield
    except others:
        raise
    except (OSError, httpx.HTTPError, ValueError, RuntimeError) as error:
        raise HubError(f"{what}: {one_line(error)}", "check the network and the token, and try again") from error


def publish_run(run: Path, name: str, *, private: bool = False, trust_remote_code: bool = False) -> str:
    """Export the model of a run and upload it as `name`, with its card and the figures of the run; returns its URL.

    Raises:
        BradleyError: it cannot be exported, see `export_model`, or uploaded, see `push`; the run is as it was.
    """
    from .folder import export_model

    with tempfile.TemporaryDirectory(dir=run, prefix=".tmp-push-") as place:
        folder = Path(place) / name.rpartition("/")[2]
        exported = export_model(run, folder, place=name, trust_remote_code=trust_remote_code)
        return push(exported.folder, name, private=private)
