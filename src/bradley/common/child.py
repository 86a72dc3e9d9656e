"""Entry point of a started process: `python -m bradley.common.child PARENT MODULE ARGUMENTS`.

MODULE runs as a program in this same process, which ends with the process PARENT. See `processes.child_command`.
"""

import runpy
import sys

from .processes import die_with_parent


def main() -> None:
    """Tie this process to the parent, and run the module."""
    parent, module, *arguments = sys.argv[1:]
    # Before the imports of the module, which take seconds: a parent killed meanwhile must not leave a child behind.
    die_with_parent(int(parent))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
