"""Run torchrun for `bradley launch`: `python -m bradley.training.distributed.torchrun REPORT ARGUMENTS`.

torchrun's own exit code is always 1 after a failure. REPORT lists the end of each rank of this machine, the first
failure first: `{"ranks": [{"rank": 1, "pid": 4711, "code": -9}], "error": ""}`. A negative code is a signal. `error` is
the reason if torchrun itself failed.
"""

import json
import logging
import sys
from pathlib import Path

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.rendezvous.api import RendezvousError
from torch.distributed.run import parse_args, run

from ...common.files import write_text
from ...common.text import one_line


def main() -> None:
    """Run torchrun; exit with code 1 if a rank failed."""
    report, arguments = Path(sys.argv[1]), sys.argv[2:]
    # torchrun logs a page for each failure. The launcher names the first cause in a single line.
    logging.disable(logging.ERROR)
    try:
        run(parse_args(arguments))  # type: ignore[no-untyped-call]
    except (ChildFailedError, RendezvousError) as error:
        failures = error.failures if isinstance(error, ChildFailedError) else {}
        ranks = [{"rank": rank, "pid": one.pid, "code": one.exitcode} for rank, one in failures.items()]
        said = "" if failures else one_line(error)
        write_text(report, json.dumps({"ranks": ranks, "error": said}) + "\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
