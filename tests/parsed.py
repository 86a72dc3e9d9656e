"""Modules parsed once for every test of the source."""

import ast
import functools


@functools.cache
def parsed(text: str) -> ast.Module:
    """Parse a module once for all checks."""
    return ast.parse(text)
