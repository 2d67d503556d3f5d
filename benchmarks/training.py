"""Training throughput of a lab's network at its report's size: the reports' own way, Lightning, fastai, labkit.

Beside images a second stands the arithmetic: multiplications and additions a second, over what a large product of
matrices reaches on the same machine in the same call (in labkit's precision). Lightning and fastai are needed
(``pip install -r benchmarks/requirements.txt``); without them their sides are left out, and the table says so.
"""

import statistics
import time

import torch
from cases import Case, case, case_options
from sides import SIDES, here
from timing import in_turn, report
from torch.utils.flop_counter import FlopCounterMode

SIDE = 2048  # of the square matrices


def training_flops(asked: Case) -> float:
    """Floating-point operations of a forward and backward pass, per image; a multiply-add counts twice.

    Those on the zeros around an image are counted, though nobody needs to carry them out: about a sixth of ResNet18's.
    """
    model = asked.build()
    recipe = asked.recipe(model)
    images, targets = asked.batches()[0]
    with FlopCounterMode(display=False) as counter:
        recipe.loss(model(images[:2]), targets[:2]).mean().backward()
    return counter.get_total_flops() / 2


def matrix_product(dtype: torch.dtype) -> float:
    """Floating-point operations a second of the product of two large square matrices, repeated for about a second."""
    a, b = torch.randn(2, SIDE, SIDE).to(dtype)
    out, count, began = a @ b, 0, time.perf_counter()
    while time.perf_counter() - began < 1:
        torch.matmul(a, b, out=out)
        count += 1
    return count * 2 * SIDE**3 / (time.perf_counter() - began)


def main() -> None:
    """Measure the case that is asked for."""
    parser = case_options(__doc__, steps=4)
    parser.add_argument("--sides", default="", help="only those whose names contain one of these, such as labkit,rep")
    asked = parser.parse_args()
    this = case(asked.case, asked.steps, asked.precision)
    wanted = [part.lower() for part in asked.sides.split(",")]
    dtype = this.precision.dtype
    measures = {name: SIDES[name](this) for name in here(SIDES) if any(part in name.lower() for part in wanted)}
    measured = in_turn({**measures, "matrix product": lambda: matrix_product(dtype)}, asked.rounds)
    product, flops = measured.pop("matrix product"), training_flops(this)
    shares = {
        name: statistics.median(value * flops / most for value, most in zip(values, product, strict=True))
        for name, values in measured.items()
    }
    facts = {"precision": this.precision.name, "matrix_product": statistics.median(product), "shares": shares}
    some = f", {' and '.join(measures)} alone" if asked.sides else ""  # a table of its own beside that of all sides
    report(f"Training {this.title}{some}", "images/s", measured, **facts)
    print(f"\nshare of the {facts['matrix_product'] / 1e9:.0f} GFLOP/s of a product of two {SIDE}×{SIDE} matrices:")
    for name, share in shares.items():
        print(f"{name:34} {share:.0%}")


if __name__ == "__main__":
    main()
