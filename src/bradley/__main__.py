"""Entry point of `bradley` and `python -m bradley`."""

import os
import sys


def main() -> None:
    """Run the command line and exit with the exit code of the command."""
    # Inherited by every process that a library starts: none imports modules from the current folder.
    os.environ["PYTHONSAFEPATH"] = "1"
    from .cli.errors import leave_when_asked

    # Set before the slow imports below: a stop signal during them still has to exit with the code for a stopped run.
    if sys.argv[1:2] == ["train"]:
        leave_when_asked()
    from .cli.main import run
    from .common.console import Lasting
    from .common.secrets import Redacted

    # Redaction is outermost, so tracebacks of uncaught exceptions lose their secrets before reaching the terminal.
    sys.stderr = Redacted(Lasting(sys.stderr))
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
