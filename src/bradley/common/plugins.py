"""Functions of the user's own, by import path: `module:function`, with the working directory importable."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import UserError
from .text import one_line


def load_function(path: str, setting: str) -> Callable[..., Any]:
    """The function that an import path names.

    Args:
        path: `package.module:function`.
        setting: the setting that holds it, for messages.

    Raises:
        UserError: not of that form, a module that cannot be imported, or a name in it that is no function.
    """
    module_name, colon, name = path.partition(":")
    if not (module_name and colon and name):
        raise UserError(f"{setting} = {path!r}, wanted module:function", "for my_code.py: my_code:my_function")
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever the user's module raises
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
