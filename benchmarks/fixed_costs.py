"""What one waits for before anything is computed: imports and the command's help, in processes of their own."""

import subprocess
import sys
import time
from collections.abc import Callable

from timing import arguments, in_turn, report

SIDES = {
    "import torch": "import torch",
    "import labkit": "import labkit, labkit.models, labkit.training.loop",
    "import the labs": "from labkit.labs import LABS, lab_of; [lab_of(name) for name in LABS]",
    "labkit --help": "import sys; sys.argv = ['labkit', '--help']; from labkit.cli import app; app()",
}


def seconds(code: str) -> Callable[[], float]:
    """The time of a Python process that does this and ends."""

    def measure() -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
        return time.perf_counter() - began

    return measure


if __name__ == "__main__":
    asked = arguments(__doc__, rounds=5)
    report("fixed_costs", "A process that", "s", in_turn({name: seconds(c) for name, c in SIDES.items()}, asked.rounds))
