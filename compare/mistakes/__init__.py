"""The catalogue: what people write wrong, each thing once, in a file for each stage.

An entry is a named function with the words of the verdict for its docstring, and a `Mistake` (see
`compare.mistakes.entry`). A wrong formula stands at the seam of the oracle that it replaces: the
checks then expect what a scheduler with this mistake would do, and the same replacement makes the
mutants that prove the power of the checks (`mutant`). What the oracle does not know is planted
in a network (`unet`), or makes another class (`average`). In what order they stand says nothing.
"""

import difflib
from dataclasses import replace
from types import ModuleType
from typing import Any

from compare.candidate.from_oracle import embedding_of, loss_of, sample_of, scheduler, tables_of
from compare.candidate.load import Adapter
from compare.mistakes import (
    average,
    forward,
    loop,
    loss,
    mean,
    prediction,
    schedule,
    timesteps,
    variance,
)
from compare.mistakes.entry import Mistake
from compare.mistakes.network import embedding, unet
from compare.mistakes.tables import levels, posterior
from compare.oracle import Oracle, Setting, Waves


def _of(*files: ModuleType) -> tuple[Mistake, ...]:
    """The entries of files, as they stand there."""
    return tuple(m for file in files for m in vars(file).values() if isinstance(m, Mistake))


# of schedulers, loops, losses, embeddings and derived tables
OF_STEPS = (schedule, forward, timesteps, prediction, mean, variance)
MISTAKES = _of(*OF_STEPS, loop, loss, embedding, levels, posterior)
NETWORKS = _of(unet)
AVERAGES = _of(average)
ALL = (*MISTAKES, *NETWORKS, *AVERAGES)
BY_ID = {mistake.id: mistake for mistake in ALL}
NOT_OF_NOISE = ("27-loss", "30")  # mistakes of who predicts something else
KIND_OF_LOSS = {"v_loss": "v_prediction", "eps_loss": "epsilon"}  # {`only`: what it predicts}
# `only` of those that no scheduler has by itself
WHOLE = ("sample", "strided", "uint8", "loss", *KIND_OF_LOSS, "both", "embedding", "tables")
# The numbers of the list of 111 that some check can see: each must have an entry.
SEEN = {
    *(*range(1, 9), 10, 11, 13, *range(17, 33), *range(34, 66)),
    *(*range(67, 75), *range(76, 81), 82, 83, 84, *range(88, 98), 100, 101, 106),
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


def mutant(mistake: Mistake, setting: Setting) -> Any:
    """A candidate with this mistake and no other: a scheduler class, a loop, a loss, tables, an
    embedding.

    Args:
        mistake: of the catalogue.
        setting: T and betas of a loop or loss; a scheduler is told its own by the checks.
    """
    oracle, only = mistake.oracle(), mistake.only
    if only == "embedding":
        waves = Waves(T=setting.num_train_timesteps)
        return Adapter(embedding=embedding_of(oracle, waves), name=f"mistake {mistake.id}")
    if only not in WHOLE:
        return scheduler(oracle, only, f"Mistake{mistake.id}")
    kind = "sample" if mistake.id in NOT_OF_NOISE else KIND_OF_LOSS.get(only, "epsilon")
    setting = replace(setting, prediction_type=kind)
    shared: dict[str, Any] = {
        "alpha_bar": lambda: Oracle().alpha_bar(setting),
        "prediction_type": kind,
        "name": f"mistake {mistake.id}",
    }
    if only == "tables":
        return Adapter(tables=lambda: tables_of(oracle, setting), **shared)
    if only in ("loss", *KIND_OF_LOSS):
        return Adapter(loss=loss_of(oracle, setting), **shared)
    n = 20 if only == "strided" else None
    if only == "both":
        shared["loss"] = loss_of(oracle, setting)
    return Adapter(sample=sample_of(oracle, setting, n, only == "uint8"), **shared)
