"""How running out of memory shows: every device and library has its own words for it."""

import torch

TOO_SMALL = (
    "The memory does not suffice for {} image(s) at a time: take a smaller image_size or width, set checkpointing = "
    "true where the lab has it, or close other programs"
)


def reason(error: BaseException) -> str:
    """The sentence of such an error that says how much was asked for."""
    return str(error).split("DefaultCPUAllocator: ")[-1].split(". ")[0]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of PyTorch means that the memory of the device, or of the machine, does not suffice."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    words = str(error).lower()
    return "can't allocate memory" in words or "out of memory" in words
