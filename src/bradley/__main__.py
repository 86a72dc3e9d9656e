"""`bradley` and `python -m bradley`."""

import sys


def main() -> None:
    """Run the command line and leave with its exit code."""
    from .cli.errors import leave_when_asked

    if sys.argv[1:2] == ["train"]:
        leave_when_asked()
    from .cli.main import run
    from .common.console import Lasting
    from .common.secrets import Redacted

    sys.stderr = Redacted(Lasting(sys.stderr))
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
