"""A finished run on the Hub."""

import tempfile
from pathlib import Path

from ..hub import push
from .folder import export_model


def publish(run: Path, name: str, *, private: bool = False, trust_remote_code: bool = False) -> str:
    """Export the model of a run and upload it as `name`, with its card and the figures of the run; returns its URL.

    Raises:
        BradleyError: it cannot be exported, see `export_model`, or uploaded, see `push`; the run is as it was.
    """
    with tempfile.TemporaryDirectory(dir=run, prefix=".tmp-push-") as place:
        folder = Path(place) / name.rpartition("/")[2]
        exported = export_model(run, folder, place=name, trust_remote_code=trust_remote_code)
        return push(exported.folder, name, private=private)
