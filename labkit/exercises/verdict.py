"""What a check says of an answer: shown in the notebook, kept in the run folder, read back by ``labkit check``."""

from html import escape
from typing import Annotated, Any, Literal, Self

from IPython.display import display
from pydantic import AfterValidator, BaseModel, Field

from labkit.errors import one_line

MIME = "application/vnd.labkit.exercise+json"  # the output of a check, for labkit check to read
MARKS = {"right": "✓", "not yet": "✗", "not attempted": "○", "answered": "✎", "predicted": "≈"}
COLOURS = {"right": "#009e73", "not yet": "#d55e00"}  # beside mark and word, which say the same

Line = Annotated[str, Field(max_length=5000), AfterValidator(one_line)]


class Verdict(BaseModel):
    """The state of one exercise; ``mistake`` names a usual one, ``answer`` is what a person will read."""

    exercise: Line
    state: Literal["right", "not yet", "not attempted", "answered", "predicted"]
    hint: Line = ""
    mistake: Line = ""
    answer: Line = ""
    first: Line = ""  # of a prediction: what was predicted before anything else
    cell: Line = ""  # fingerprint of the cell that was run, by which a later change is seen

    def after(self, earlier: Self | None) -> Self:
        """This verdict on a prediction, and what was predicted first, if it was something else."""
        first = (earlier.first or earlier.answer if earlier else "") or self.answer
        hint = f"{self.hint} The first prediction was {first}." if self.answer not in ("", first) else self.hint
        return self.model_copy(update={"first": first, "hint": hint})

    def sentence(self) -> str:
        """Mark, name, state and hint in one line."""
        return f"{MARKS[self.state]} {self.exercise}: {self.state}.{f' {self.hint}' if self.hint else ''}"

    def html(self) -> str:
        """The same as a box whose edge has the colour of the state."""
        colour = COLOURS.get(self.state, "#777777")
        style = f"border-left: 6px solid {colour}; padding: 0.3em 0.8em; margin: 0.3em 0"
        head = f"<b>{MARKS[self.state]} {self.state}</b>"
        return f'<div style="{style}">{head}{f"<br>{escape(self.hint)}" if self.hint else ""}</div>'

    def show(self) -> None:
        """Show it in a notebook, for people and for ``labkit check``."""
        kept: dict[str, Any] = self.model_dump()
        display({"text/plain": self.sentence(), "text/html": self.html(), MIME: kept}, raw=True)
