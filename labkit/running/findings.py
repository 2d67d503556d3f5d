"""What the doctor and the check of the data find: one sentence each, with a grade and a remedy."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One sentence, without its full stop; ``remedy`` says what to do about it."""

    grade: str  # good; note: nothing has to be done; wrong: it should be mended
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.grade:6} {self.what}{f': {self.remedy}' if self.remedy else ''}."


def exit_code(findings: Iterable[Finding]) -> int:
    """1 if anything is wrong, else 0."""
    return int(any(finding.grade == "wrong" for finding in findings))
