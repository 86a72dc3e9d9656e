"""torchrun as `bradley launch` starts it: `python -m bradley.training.distributed.torchrun REPORT ARGUMENTS`.

torchrun's own exit code is 1 whatever happened. REPORT says how each rank of this machine ended, the first first:
`{"ranks": [{"rank": 1, "pid": 4711, "code": -9}], "error": ""}`, where a negative code is a signal, and `error` is
what kept torchrun itself from its work.
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
    """Run torchrun; ends with code 1 where a rank failed."""
    report, arguments = Path(sys.argv[1]), sys.argv[2:]
    logging.disable(logging.ERROR)  # a page of it for each failure, and the launcher says in one line what was first
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
