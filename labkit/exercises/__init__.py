"""The exercises of the notebooks: texts, checks, solutions; found by the notebook's name."""

from importlib import import_module

from labkit.exercises.exercise import Exercise
from labkit.exercises.more import MORE
from labkit.labs import LABS


def exercises_of(notebook: str) -> dict[str, Exercise]:
    """The exercises of a notebook's stem by name, in the order of the lab; KeyError if there is no such lab."""
    module = import_module(f"labkit.exercises.solutions.{LABS[notebook]}")
    return {exercise.name: exercise for exercise in module.EXERCISES}


def more_of(notebook: str) -> str:
    """What else may be tried in a lab, as Markdown."""
    return f"### More to try\n\n{MORE[notebook].strip()}"
