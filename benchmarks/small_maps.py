"""What it gains that small maps are convolved side by side (``labkit.models.convolution``): training with and without.

Where the processor has no AMX, or the precision is not bfloat16, both sides are the same.
"""

from collections.abc import Callable
from unittest.mock import patch

from cases import case, case_options
from sides import labkit
from timing import in_turn, report

from labkit.models import convolution


def alone(measure: Callable[[], float]) -> float:
    """The measurement with every map convolved by itself."""
    with patch.object(convolution, "small_for_amx", lambda x: False):
        return measure()


def main() -> None:
    """Measure the case that is asked for."""
    asked = case_options(__doc__, steps=4).parse_args()
    this = case(asked.case, asked.steps, asked.precision)
    measure = labkit(this)
    sides = {"each map by itself": lambda: alone(measure), "small maps side by side": measure}
    report(f"Training {this.title}, small maps", "images/s", in_turn(sides, asked.rounds))


if __name__ == "__main__":
    main()
