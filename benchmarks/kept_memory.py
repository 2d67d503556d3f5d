"""What it gains that labkit keeps freed memory between the steps of a training: labkit's training with and without."""

from contextlib import nullcontext

from cases import case, case_options
from sides import labkit
from timing import in_turn, report


def main() -> None:
    """Measure the case that is asked for."""
    asked = case_options(__doc__, steps=4).parse_args()
    this = case(asked.case, asked.steps, asked.precision)
    measures = {"given back": labkit(this, nullcontext), "kept": labkit(this)}
    report(f"Training {this.title}, freed memory", "images/s", in_turn(measures, asked.rounds))


if __name__ == "__main__":
    main()
