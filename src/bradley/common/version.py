"""Version of the installed bradley."""

import functools


@functools.cache
def version() -> str:
    """Return the version in the metadata of the installed package, such as `0.1.0`."""
    from importlib.metadata import version as installed

    return installed("bradley")
