"""What checkpointing costs: labkit's training of a UNet with activations kept, or computed again in the backward pass.

How much memory it saves is measured by ``memory.py``.
"""

from cases import case, case_options
from sides import labkit
from timing import in_turn, report


def main() -> None:
    """Measure the case that is asked for."""
    parser = case_options(__doc__, steps=1)
    asked = parser.parse_args()
    if "unet" not in asked.case:
        parser.error(f"only unet and resnet34_unet can be checkpointed, not {asked.case}")
    ways = {"kept": "false", "computed again": "true"}
    cases = {way: case(asked.case, asked.steps, asked.precision, (("checkpointing", on),)) for way, on in ways.items()}
    measures = {way: labkit(this) for way, this in cases.items()}
    report(f"Training {cases['kept'].title}, activations", "images/s", in_turn(measures, asked.rounds))


if __name__ == "__main__":
    main()
