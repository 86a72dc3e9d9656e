"""Row layouts of benchmarks, each with a pure function from a published row to a comparison with tags.

A source `benchmark:NAME=PATH` reads such rows. Nothing here is detected: a row of a benchmark is often a row of a
common shape too, and only the name says that the rows are a benchmark.
"""

from .base import TAG, Benchmark, convert_row
from .evalbiasbench import EVALBIASBENCH
from .hhh import HHH
from .judgebench import JUDGEBENCH
from .llmbar import LLMBAR
from .rewardbench import FIRST, SECOND
from .rm_bench import RM_BENCH
from .rmb import RMB

__all__ = ["BENCHMARKS", "TAG", "Benchmark", "convert_row"]

BENCHMARKS: dict[str, Benchmark] = {
    each.name: each for each in (FIRST, SECOND, RM_BENCH, RMB, JUDGEBENCH, LLMBAR, HHH, EVALBIASBENCH)
}
"""Every known benchmark, by name."""
