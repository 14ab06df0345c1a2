"""All exercises, in the order of the book."""

from ddpm.exercises import ddim, forward, noise, reverse, schedule, timesteps, unet
from ddpm.exercises.exercise import Exercise

_FILES = (schedule, forward, reverse, unet, timesteps, ddim, noise)


def _place(exercise: Exercise) -> tuple[int, str]:
    """Where it stands in the book.

    >>> [e.id for e in EXERCISES[-2:]]
    ['11e', '12a']
    """
    return int(exercise.id[:-1]), exercise.id[-1]


EXERCISES = tuple(sorted((e for file in _FILES for e in file.EXERCISES), key=_place))
BY_ID = {exercise.id: exercise for exercise in EXERCISES}
