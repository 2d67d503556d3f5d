"""Where the arithmetic happens and in which number format: chosen by what the hardware really accelerates."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from labkit.errors import RequestError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Precision:
    """A number format for the forward and backward pass; the weights stay float32 (mixed precision, Micikevicius et
    al. 2018, https://arxiv.org/abs/1710.03740)."""

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
    """The precision of that name; ``auto`` takes 16 bits only where they are faster than 32 on this device."""
    if name != "auto":
        return Precision(name, device, "asked for")
    if device.type == "cuda":
        if torch.cuda.get_device_capability(device)[0] >= 8:
            return Precision("bfloat16", device, "this GPU multiplies bfloat16 on tensor cores")
        return Precision("float16", device, "this GPU has no bfloat16 units")
    if device.type == "cpu" and cpu_multiplies_bfloat16():
        return Precision("bfloat16", device, "this processor multiplies bfloat16 (AVX512-BF16 or AMX)")
    return Precision("float32", device, f"no faster 16-bit arithmetic on this {device.type}")


def cpu_multiplies_bfloat16() -> bool:
    """Whether the processor has bfloat16 products in hardware; where it has not, autocast costs time."""
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
