"""One CPU thread per test process: the processes of a parallel run would otherwise wait for each other."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
