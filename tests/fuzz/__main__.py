"""`python -m tests.fuzz CLASS NUMBER [END]`: run one case, or all from NUMBER to before END."""

import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.fuzz.campaign import CLASSES, run_case
from tests.fuzz.good import make_good


def main() -> int:
    """Run the cases of the command line, print each failed one, and return 1 if there is one."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    name, first, *end = sys.argv[1:]
    if name not in CLASSES:
        print(f"{name} is no class, wanted one of {', '.join(CLASSES)}", file=sys.stderr)
        return 2
    failed, codes, numbers = 0, Counter[int](), range(int(first), int(end[0]) if end else int(first) + 1)
    with tempfile.TemporaryDirectory() as place:
        good = make_good(Path(place) / "good")
        for number in numbers:
            found = run_case(name, number, good, Path(place))
            codes[found.code] += 1
            failed += bool(found.complaints)
            if found.complaints or len(numbers) == 1:
                print(found, flush=True)
    print(f"{name}: {len(numbers)} cases, {failed} with complaints, exit codes {dict(sorted(codes.items()))}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
