"""Upload to the Hugging Face Hub: a folder as a model repository, with all requirements checked before training."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..common.files import scratch_folder
from ..common.text import one_line
from ..config import repo_problem
from ..errors import HubError, UserError

STALE = ["*.safetensors", "*.safetensors.index.json", "adapter_config.json", "figures/*"]
"""Files of an earlier export to remove from the repository: a new export replaces the files or has no such files."""
TOKENS = "https://huggingface.co/settings/tokens"


def publish_run(run: Path, name: str, *, private: bool = False, trust_remote_code: bool = False) -> str:
    """Export the model of a run and upload the export as `name`, with card and figures; return the URL.

    Raises:
        BradleyError: the export fails, see `export_model`, or the upload, see `push`. The run stays unchanged.
    """
    from .folder import export_model

    # The temporary folder lies in the run folder, on a disk already holding the weights; /tmp may be too small.
    with scratch_folder(run / "push") as place:
        folder = place / name.rpartition("/")[2]
        exported = export_model(run, folder, place=name, trust_remote_code=trust_remote_code)
        return push(exported.folder, name, private=private)


def push(folder: Path, name: str, *, private: bool = False, message: str = "Upload a reward model") -> str:
    """Upload a folder as the model repository `name`, made if missing; return the URL of the page.

    Weights and figures of an earlier upload missing in the folder are removed from the repository; other files stay.

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


def check_hub(name: str, private: bool = False) -> None:
    """Check name, token and owner of an upload; nothing is written. An empty name is not checked.

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
    _check_token(name)
    if private:
        _check_private(name)


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
    # Tokens with fine-grained rights have another role and pass here; the Hub itself then decides at the upload.
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
    """Raise `UserError` for a public repository: an upload does not change the visibility of a repository."""
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
    """Turn every error of the client of the Hub into a `HubError`, except the classes in `others`."""
    # The client uses either httpx or httpx2, so the exception class has to come from the client.
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]

    try:
        yield
    except others:
        raise
    except (OSError, httpx.HTTPError, ValueError, RuntimeError) as error:
        raise HubError(f"{what}: {one_line(error)}", "check the network and the token, and try again") from error
