"""Commands of bradley typed in a test."""

import json

from bradley.cli.main import run


def typed(capsys, *args):
    """Type a command, and return code, stdout and stderr."""
    capsys.readouterr()
    code = run([str(arg) for arg in args])
    done = capsys.readouterr()
    return code, done.out, done.err


def as_json(capsys, *args):
    """Type a command with --json, and return the object."""
    code, out, err = typed(capsys, *args, "--json")
    assert code == 0, err
    return json.loads(out)
