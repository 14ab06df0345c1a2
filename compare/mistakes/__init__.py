"""The catalogue: what people write wrong, each thing once, in a file for each stage.

An entry is a named function with the words of the verdict for its docstring, and a `Mistake` (see
`compare.mistakes.entry`). A wrong formula stands at the seam of the oracle that it replaces: the
checks then expect what a scheduler with this mistake would do, and the same replacement makes the
mutants that prove the power of the checks (`from_oracle`). What the oracle does not know is planted
in a network (`unet`), or makes another class (`average`). In what order they stand says nothing.
"""

import difflib
from types import ModuleType

from compare.mistakes import (
    average,
    forward,
    loop,
    loss,
    mean,
    prediction,
    schedule,
    timesteps,
    unet,
    variance,
)
from compare.mistakes.entry import Mistake


def _of(*files: ModuleType) -> tuple[Mistake, ...]:
    """The entries of files, as they stand there."""
    return tuple(m for file in files for m in vars(file).values() if isinstance(m, Mistake))


# of schedulers, loops and losses
MISTAKES = _of(schedule, forward, timesteps, prediction, mean, variance, loop, loss)
NETWORKS = _of(unet)
AVERAGES = _of(average)
ALL = (*MISTAKES, *NETWORKS, *AVERAGES)
BY_ID = {mistake.id: mistake for mistake in ALL}
# The numbers of the list of 111 that some check can see: each must have an entry.
SEEN = {
    *(*range(1, 9), 10, 11, 13, *range(17, 29), 31, 32, *range(34, 66)),
    *(*range(67, 75), 76, 78, 79, 80, 82, 83, 84, *range(88, 98), 100, 101, 106),
}


def find(word: str) -> Mistake:
    """The mistake of this number or name.

    >>> find("5").name, find("signal-without-root").id
    ('signal-without-root', '5')

    Raises:
        LookupError: there is none; says which words are close.
    """
    for mistake in ALL:
        if word in (mistake.id, mistake.name):
            return mistake
    words = [*BY_ID, *(mistake.name for mistake in ALL)]
    close = difflib.get_close_matches(word, words, n=4, cutoff=0.5)
    near = f"; close to it are {', '.join(close)}" if close else ""
    raise LookupError(f"there is no mistake {word!r}{near}; `ddpm explain` lists all")
