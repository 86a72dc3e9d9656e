"""Entry point of `bradley` and `python -m bradley`."""

import io
import os
import sys


def main() -> None:
    """Run the command line and exit with the exit code of the command."""
    # Inherited by every process that a library starts: none imports modules from the current folder.
    os.environ["PYTHONSAFEPATH"] = "1"
    from .common.signals import leave_when_asked

    # Set before the slow imports below: a stop signal during them still has to exit with the code for a stopped run.
    leave_when_asked(next((arg for arg in sys.argv[1:] if not arg.startswith("-")), ""))
    from .common.console import Lasting, open_closed_streams

    open_closed_streams()
    from .cli.main import run
    from .common.secrets import Redacted

    # A terminal's encoding may lack a character of a result; an escape is better than no result.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    # Redaction is outermost, so tracebacks of uncaught exceptions lose their secrets before reaching the terminal.
    sys.stderr = Redacted(Lasting(sys.stderr))
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
