"""Where the arithmetic happens and in which number format: chosen by what the hardware really accelerates."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from labkit.errors import RequestError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Precision:
    """A number format for the forward and backward pass; the weights stay float32 (mixed precision, Micikevicius et
    al. 2018, https://arxiv.org/abs/1710.03740). On GPUs that have TF32, float32 is what PyTorch makes of it: TF32 in
    convolutions, and not in matrix products."""

    name: str  # float32, bfloat16 or float16
    device: torch.device
    reason: str

    @property
    def dtype(self) -> torch.dtype:
        """The format as PyTorch names it."""
        return DTYPES[self.name]

    def autocast(self) -> AbstractContextManager:
        """The context in which matrix products and convolutions run in this format."""
        if self.name == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, self.dtype)

    def place(self, values: Tensor) -> Tensor:
        """``values`` on the device, images (N, C, H, W) channels last; a GPU takes them while this process goes on."""
        layout = torch.channels_last if values.ndim == 4 else torch.preserve_format
        return values.to(self.device, non_blocking=self.device.type == "cuda", memory_format=layout)

    def scaler(self) -> torch.amp.GradScaler:
        """Loss scaling, without which small gradients vanish in float16; it does nothing in the other formats."""
        return torch.amp.GradScaler(self.device.type, enabled=self.name == "float16")


def choose_device(name: str = "auto") -> torch.device:
    """The device of that name; ``auto`` takes CUDA before Apple's MPS before the CPU."""
    have = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, there in have.items() if there))
    if not have.get(name, False):
        there = ", ".join(kind for kind in have if have[kind])
        raise RequestError(f"Device {name!r} is not available: this machine has {there}; use one of these or 'auto'.")
    return torch.device(name)


def choose_precision(name: str, device: torch.device) -> Precision:
    """The precision of that name; ``auto`` takes 16 bits only where they are known to be faster than 32."""
    if name != "auto":
        return Precision(name, device, "asked for")
    if device.type == "cuda":
        return Precision(**gpu_format(*torch.cuda.get_device_capability(device)), device=device)
    if device.type == "cpu" and cpu_multiplies_bfloat16():
        return Precision("bfloat16", device, "this processor multiplies bfloat16 (AVX512-BF16 or AMX)")
    return Precision("float32", device=device, reason=f"no 16-bit arithmetic known to be faster on this {device.type}")


def gpu_format(major: int, minor: int) -> dict[str, str]:
    """Name and reason of the fastest format on NVIDIA GPUs of that compute capability; tensor cores came with 7.0."""
    if major >= 8:
        return {"name": "bfloat16", "reason": "this GPU multiplies bfloat16 on tensor cores"}
    if major == 7:
        return {"name": "float16", "reason": "this GPU has tensor cores, but none for bfloat16"}
    return {"name": "float32", "reason": f"this GPU (compute capability {major}.{minor}) has no tensor cores"}


def cpu_multiplies_bfloat16() -> bool:
    """Whether the processor has bfloat16 products in hardware; where it has not, autocast costs time."""
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
