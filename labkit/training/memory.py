"""Memory between the steps of a training, and how running out of it shows."""

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

import torch

TOO_SMALL = (
    "The memory does not suffice for {} image(s) at a time: take a smaller image_size or width, set checkpointing = "
    "true where the lab has it, or close other programs"
)

# What mallopt of the GNU C library calls its settings (malloc.h), with what it works up to by itself once large blocks
# have been freed, and with what keeps all that is freed.
TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
USUAL = {MMAP_MAX: 65536, MMAP_THRESHOLD: 32 * 2**20, TRIM_THRESHOLD: 64 * 2**20}
KEEP = {MMAP_MAX: 0, TRIM_THRESHOLD: -1}


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Freed memory stays with the process until the end of the block, ready for the next step.

    Every training step frees the same large activations and asks for them again. The GNU C library gives blocks that
    large back to the system, which then has to clear and map each of their pages anew. It matters on the processor
    only: a GPU's memory is kept by PyTorch. With other C libraries nothing changes.
    """
    if platform.libc_ver()[0] != "glibc":
        yield
        return
    library = ctypes.CDLL(None)
    try:
        for setting, value in KEEP.items():
            library.mallopt(setting, value)
        yield
    finally:
        for setting, value in USUAL.items():
            library.mallopt(setting, value)
        library.malloc_trim(0)


def reason(error: BaseException) -> str:
    """The sentence of such an error that says how much was asked for."""
    return str(error).split("DefaultCPUAllocator: ")[-1].split(". ")[0]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of PyTorch means that the memory of the device, or of the machine, does not suffice."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    words = str(error).lower()
    return "can't allocate memory" in words or "out of memory" in words
