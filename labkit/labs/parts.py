"""What every lab's data have in common: three parts, and what may be said of a score on them.

No two of them share an image, unless ``select_on`` makes the test set choose the epoch.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from labkit.data.loading import Split
from labkit.data.sources import Source
from labkit.errors import DataError
from labkit.results.words import many


@dataclass(frozen=True)
class Parts:
    """Training, validation and test images."""

    train: Split
    val: Split
    test: Split
    complete_test: int  # images in the test set of the published data

    def parts(self) -> dict[str, Split]:
        """The splits by name."""
        return {"training": self.train, "validation": self.val, "test": self.test}

    def facts(self, source: Source) -> dict[str, Any]:
        """For the manifest: the source, how many images each part has, which they are, and what forbids comparing."""
        parts = {"train" if name == "training" else name: split for name, split in self.parts().items()}
        return source.facts() | {
            "obstacle": self.obstacle(source),
            "counts": {name: len(split) for name, split in parts.items()},
            "splits": {name: split.fingerprint() for name, split in parts.items()},
        }

    def obstacle(self, source: Source) -> str:
        """What forbids putting a score on these data beside a published one; empty if nothing does."""
        if not (source.verified or source.complete):
            return "sample data" if source.kind == "sample" else "these files are not the published ones"
        n, whole = len(self.test), self.complete_test
        return "" if n == whole else f"only {n:,} of the {whole:,} test images"


def enough(parts: dict[str, Split]) -> None:
    """DataError if a part has no image, or training fewer than two."""
    for name, split in parts.items():
        least = 2 if name == "training" else 1
        if len(split) < least:
            raise DataError(
                f"For {name} too little is left ({many(len(split), 'image')}, at least {least} needed): take more "
                f"data, a higher limit (0 means all), or another split."
            )


def disjoint(parts: dict[str, Split]) -> None:
    """DataError if an image, known by its number, is in two parts."""
    everything = np.concatenate([split.samples for split in parts.values()])
    if len(np.unique(everything)) < len(everything):
        raise DataError("An image is in two of training, validation and test: splits must not overlap.")
