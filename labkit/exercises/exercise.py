"""Three kinds of exercises. Each has a text, a cell for the student that follows from it, and a way of judging."""

import ast
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from labkit.exercises import trial
from labkit.exercises.trial import Cases, Function, Raised
from labkit.exercises.verdict import Verdict

WIDTH = 84  # characters of a line that JupyterLab shows in a window of 1280 pixels, its list of files beside it
READ = "A person will read it."


@dataclass(frozen=True)
class Exercise:
    """``name`` is what the cell calls it by, ``title`` its heading, ``text`` the Markdown under it."""

    name: str
    title: str
    text: str

    def starter(self) -> str:
        """The student's cell, empty."""
        raise NotImplementedError

    def judge(self, answer: Any, measured: Any = None) -> Verdict:
        """The verdict on an answer."""
        raise NotImplementedError

    def says(self, state: str, hint: str = "", **more: str) -> Verdict:
        """A verdict on this exercise."""
        return Verdict(exercise=self.name, state=state, hint=hint, **more)


@dataclass(frozen=True)
class Prediction(Exercise):
    """A number to be guessed before the run; ``measured`` is the expression in the notebook that it is compared with.

    ``unit`` stands behind the number, which lies between 0 and ``most``; a guess within ``close`` counts as close.
    """

    measured: str
    close: float
    most: float
    unit: str = ""
    asked: str = "a number"

    def starter(self) -> str:
        return f'prediction = None  # {self.asked}\ncheck("{self.name}", prediction, {self.measured})'

    def judge(self, answer: Any, measured: Any = None) -> Verdict:
        if answer is None or answer is ...:
            return self.says("not attempted")
        guess, found = trial.array(answer), trial.array(measured)
        if guess is None or guess.ndim or isinstance(answer, bool):
            return self.says("not yet", "A prediction is one number, without its unit.")
        if found is None or found.ndim or found != found:
            return self.says("predicted", "This run measured nothing to compare it with.", answer=f"{guess:g}")
        if not 0 <= guess <= self.most:
            return self.says("not yet", f"It can only lie between 0 and {self.most:g}.")
        gap = float(guess - found)
        far = "close" if abs(gap) <= self.close else f"{abs(gap):.3g} too {'high' if gap > 0 else 'low'}"
        unit = f" {self.unit}" if self.unit else ""
        said = f"Predicted {guess:.4g}{unit}, measured {found:.4g}{unit}: {far}."
        return self.says("predicted", said, answer=f"{guess:g}")


@dataclass(frozen=True)
class Question(Exercise):
    """A question that a person judges; ``least`` characters make an answer."""

    least: int = 80

    def starter(self) -> str:
        return f'answer = """\n\n"""\ncheck("{self.name}", answer)'

    def judge(self, answer: Any, measured: Any = None) -> Verdict:
        text = " ".join(answer.split()) if isinstance(answer, str) else ""
        if not text:
            return self.says("not attempted")
        if len(text) < self.least:
            short = f"Write at least {self.least} characters; these are {len(text)}."
            return self.says("not attempted", short, answer=text)
        return self.says("answered", f"No check can judge this. {READ}", answer=text[:2000])


@dataclass(frozen=True)
class Mistake:
    """A usual wrong answer: a function that makes it, and a hint that says where to look, not what to write.

    ``symptom`` tells the mistake from inputs and answer where it can be made in many ways.
    """

    hint: str
    function: Function
    symptom: Callable[[tuple[Any, ...], Any], bool] | None = None


@dataclass(frozen=True)
class Written(Exercise):
    """A function to write. ``cases`` makes the inputs it is tried on; ``view`` is what of an answer counts."""

    solution: Function
    cases: Callable[[], Cases]
    mistakes: dict[str, Mistake] = field(default_factory=dict)
    view: Function = lambda answer: answer

    def starter(self) -> str:
        tree = ast.parse(textwrap.dedent(inspect.getsource(self.solution))).body[0]
        names = ", ".join(argument.arg for argument in tree.args.args)
        head, name = f"def {tree.name}({names}):", tree.name
        body = textwrap.indent(_docstring(inspect.getdoc(self.solution)) + "\n...", "    ")
        return f'{head}\n{body}\n\n\ncheck("{self.name}", {name})'

    def judge(self, answer: Any, measured: Any = None) -> Verdict:
        if answer is None or answer is ... or trial.does_nothing(answer):
            return self.says("not attempted")
        if not callable(answer):
            return self.says("not yet", "Hand over the function itself: its name, without brackets and arguments.")
        cases = self.cases()
        try:
            with trial.at_most(trial.SECONDS):
                given = trial.outcomes(answer, cases)
        except trial.TooLong:
            said = f"Your function was stopped after {trial.SECONDS:g} s: is there a loop that never ends?"
            return self.says("not yet", said)
        wrong = self.wrong(given)
        if wrong:
            return self.hinted(given, wrong)
        fresh = self.cases()
        if not all(trial.unchanged(cases[name], fresh[name]) for name in fresh):
            said = "The answers are right, but your function changes what it is given: leave its inputs as they are."
            return self.says("not yet", said)
        return self.says("right")

    def wrong(self, given: dict[str, Any]) -> list[str]:
        """The cases in which the outcomes are not those of the solution."""
        expected = trial.outcomes(self.solution, self.cases())
        return [name for name in expected if not self.agree(given[name], expected[name])]

    def agree(self, given: Any, expected: Any) -> bool:
        """Whether two outcomes are the same, as far as it counts."""
        return trial.same(*(v if isinstance(v, Raised) else trial.outcome(self.view, (v,)) for v in (given, expected)))

    def hinted(self, given: dict[str, Any], wrong: list[str]) -> Verdict:
        """The verdict on a wrong answer: a usual mistake if it is one, else what can be said of any."""
        for name, mistake in self.mistakes.items():
            made = trial.outcomes(mistake.function, self.cases())
            if all(self.agree(given[case], made[case]) for case in made):
                return self.says("not yet", mistake.hint, mistake=name)
        for name, mistake in self.mistakes.items():
            if any(_shows(mistake, inputs, given[case]) for case, inputs in self.cases().items() if case in wrong):
                return self.says("not yet", mistake.hint, mistake=name)
        return self.says("not yet", self._general(given, wrong))

    def _general(self, given: dict[str, Any], wrong: list[str]) -> str:
        first, right = wrong[0], [name for name in given if name not in wrong]
        if isinstance(given[first], Raised):
            return given[first].sentence
        if all(value is None for value in given.values()):
            return "Your function returns nothing: is there a return?"
        kinds = [trial.form(value) for value in (given[first], trial.outcome(self.solution, self.cases()[first]))]
        if kinds[0] != kinds[1]:
            return f"For {first} your function returns {kinds[0]} instead of {kinds[1]}."
        return f"Right for {', '.join(right)}, but not for {first}." if right else f"Not right yet, as for {first}."


def _shows(mistake: Mistake, inputs: tuple[Any, ...], given: Any) -> bool:
    if mistake.symptom is None or isinstance(given, Raised):
        return False
    found = trial.outcome(mistake.symptom, (inputs, given))
    return found is not None and not isinstance(found, Raised) and bool(found)


def _docstring(text: str) -> str:
    """A docstring as it stands in code: on one line if it fits, else paragraph by paragraph in short lines."""
    one, paragraphs = f'"""{text}"""', text.split("\n\n")
    if len(paragraphs) == 1 and len(one) <= WIDTH - 4:
        return one
    filled = (textwrap.fill(" ".join(paragraph.split()), WIDTH - 7) for paragraph in paragraphs)
    return '"""' + "\n\n".join(filled) + '\n"""'
