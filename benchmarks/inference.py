"""Images a second at test: UNet against ResNet34-UNet, 3×512×512, batch 8. The TAICA report has 2.5 times as many."""

import time

import torch
from timing import arguments, in_turn, report

from labkit.models import ResNet34UNet, UNet
from labkit.training.loop import forward
from labkit.training.precision import choose_device, choose_precision

BATCH, SIDE = 8, 512
SIZE = f"3×{SIDE}×{SIDE}, batch {BATCH}"


def main() -> None:
    """Measure both, in labkit's precision and in float32, channel by channel, as the report did."""
    asked = arguments(__doc__, rounds=3)
    images = torch.randn(BATCH, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    precision = choose_precision("auto", choose_device("cpu"))

    def ours(model: torch.nn.Module) -> float:
        began = time.perf_counter()
        forward(model, images, precision)
        return BATCH / (time.perf_counter() - began)

    @torch.inference_mode()
    def plain(model: torch.nn.Module) -> float:
        began = time.perf_counter()
        model.eval()(images)
        return BATCH / (time.perf_counter() - began)

    networks = {"UNet": UNet(3), "ResNet34-UNet": ResNet34UNet(3)}
    sides = {name: lambda model=model: plain(model) for name, model in networks.items()}
    report(f"Test, float32, {SIZE}", "images/s", in_turn(sides, asked.rounds))
    for model in networks.values():
        model.to(memory_format=torch.channels_last)
    sides = {name: lambda model=model: ours(model) for name, model in networks.items()}
    report(f"Test, labkit's way, {precision.name}, {SIZE}", "images/s", in_turn(sides, asked.rounds))


if __name__ == "__main__":
    main()
