"""Python imports this by itself where its folder is on the path: a run then leaves out figures and report."""

import sys
from typing import Any

hidden: dict[str, Any] = sys.modules
hidden["matplotlib"] = None
