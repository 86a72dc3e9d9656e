"""User-defined functions by import path, `module:function`, with the working directory importable."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import UserError
from .text import one_line


def load_function(path: str, setting: str) -> Callable[..., Any]:
    """Load a function by import path.

    Args:
        path: `package.module:function`.
        setting: name of the setting holding the path, for messages.

    Raises:
        UserError: the path has another form, the module cannot be imported, or the name is no function of the module.
    """
    module_name, colon, name = path.partition(":")
    if not (module_name and colon and name):
        raise UserError(f"{setting} = {path!r}, wanted module:function", "for my_code.py: my_code:my_function")
    # `python -m bradley` finds modules of the working directory; the command `bradley` alone would not.
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # the user's module may raise anything
        raise UserError(
            f"{setting} = {path}: {module_name} cannot be imported: {type(error).__name__}: {one_line(error)}",
            "start bradley in the folder that holds the module, or install it",
        ) from error
    finally:
        if added:
            sys.path.remove(here)
    function = getattr(module, name, None)
    if not callable(function):
        raise UserError(f"{setting} = {path}: {module_name} has no function {name}", "check its spelling")
    return function  # type: ignore[no-any-return]
