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

OUT_OF_MEMORY = (  # as PyTorch, the system, cuBLAS and cuDNN, and C++ call it
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "alloc_failed",
    "allocation_failed",
    "bad_alloc",
)
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # what mallopt of the GNU C library calls its settings (malloc.h)
LARGE = 32 * 2**20  # bytes: from here on a block is given back as soon as it is freed; the highest that can be set


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Freed memory stays with the process until the end of the block, ready for the next step.

    Every training step frees the same activations and asks for them again. The GNU C library gives the end of its heap
    back to the system whenever it is free, which then has to clear and map each page anew. Blocks of 32 MiB and more
    are given back all the same: to keep those too makes a step with large images faster, but its peak up to a third
    higher. A GPU's memory is kept by PyTorch. With other C libraries nothing changes.
    """
    if platform.libc_ver()[0] != "glibc":
        yield
        return
    library = ctypes.CDLL(None)
    library.mallopt(MMAP_THRESHOLD, LARGE)
    library.mallopt(TRIM_THRESHOLD, -1)  # never
    try:
        yield
    finally:
        library.mallopt(TRIM_THRESHOLD, 2 * LARGE)  # what it works up to by itself once large blocks have been freed
        library.malloc_trim(0)


def reason(error: BaseException) -> str:
    """The sentence of such an error that says how much was asked for."""
    return str(error).split("DefaultCPUAllocator: ")[-1].split(". ")[0]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of PyTorch means that the memory of the device, or of the machine, does not suffice."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    words = str(error).lower()
    return any(known in words for known in OUT_OF_MEMORY)
