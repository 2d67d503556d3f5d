"""How readers are fuzzed: how many inputs each gets, what it may do with them, and how many were tried.

LABKIT_FUZZ says how many inputs each reader gets; left out, few and always the same. With it, the numbers that were
tried are printed (pytest -s).
"""

import os
import resource
import signal
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from labkit.errors import LabError

INPUTS = int(os.environ.get("LABKIT_FUZZ", "0"))
MOST_SECONDS, MOST_MEMORY = 90, 3 * 2**20  # of one input; KiB of the process
TRIED: Counter = Counter()


def inputs(share: float = 1) -> settings:
    """How many inputs a test gets; readers that are slow get a share of what the quick ones get."""
    count = max(4, int(share * (INPUTS or 50)))
    return settings(max_examples=count, deadline=None, derandomize=not INPUTS, suppress_health_check=list(HealthCheck))


def survives(reader: str, call: Callable[[], Any], may_refuse: bool = True) -> Any:
    """Let a reader work; it may refuse in one sentence, but not fail otherwise, nor take long or much memory."""
    TRIED[reader] += 1
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    signal.signal(signal.SIGALRM, lambda *_: pytest.fail(f"{reader} hangs"))
    signal.alarm(MOST_SECONDS)
    try:
        return call()
    except LabError as error:
        if not may_refuse or len(str(error).splitlines()) != 1:
            pytest.fail(f"{reader} says {str(error)!r}")
        return None
    finally:
        signal.alarm(0)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_MEMORY


def report() -> None:
    """Print how many inputs each reader was given so far, in a long run."""
    if INPUTS:
        print("\n" + "\n".join(f"{count:9,}  {reader}" for reader, count in sorted(TRIED.items())))
    TRIED.clear()
