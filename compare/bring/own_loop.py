"""A whole loop of somebody's that draws pictures with a network of ours."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from compare.bring.own_scheduler import drawing_from, words_of
from compare.bring.read import read
from compare.candidate.door.reading import SIGNED
from compare.candidate.interrupts import interrupts_told
from compare.candidate.load import Broken, raised
from compare.candidate.loop.calls import SHAPE, Loop, last_pictures, said_by, settled, sized
from compare.candidate.model.told import Told
from compare.candidate.spy import Config, Model
from compare.candidate.subject import Subject
from compare.oracle import F64
from compare.verdict.quiet import quiet


class OwnLoop:
    """Somebody's loop, a function `sample(model, n)` or a class with one; `compare.as_loop` makes
    it.

    Attributes:
        name: of the candidate.
        words: what departs from the contract in how it is called.
        config: `num_train_timesteps`, T of the t that it tells its model, and `prediction_type`,
            what it takes the model's answer for.
    """

    def __init__(self, subject: Subject, loop: Loop) -> None:
        self.name = subject.name
        self.words = words_of(subject.door)
        self.config = Config(
            num_train_timesteps=len(loop.table), prediction_type=subject.setting.prediction_type
        )
        self._subject = subject
        self._loop = loop

    def draw(self, unet: Any, count: int, seed: int = 0) -> Tensor:
        """Pictures that the loop draws, in one batch and on the CPU but for the network.

        Args:
            unet: of either backend, in eval mode, with `config.sample_size` and `in_channels`.
            count: how many.
            seed: of the generator that it is given, and of the global one while it runs.

        Returns:
            (count, c, h, w) float32 in [-1, 1].

        Raises:
            ValueError: it raises, or draws pictures of another shape than the network's.
        """
        size, c = unet.config.sample_size, unet.config.in_channels
        h, w = (size, size) if isinstance(size, int) else size
        shape = (count, c, h, w)
        written = self._loop.manner.shape
        if written[1:] not in (SHAPE[1:], shape[1:]):
            raise ValueError(
                f"{self.name} draws {sized(written)} alone; the network's are {shape[1:]}"
            )

        def answer(x: Tensor, t: Tensor) -> Tensor:
            model.seen.clear()  # what the judge keeps of each call is not needed here
            with torch.no_grad():
                made = unet(x.to(unet.device, unet.dtype), t.to(unet.device)).sample
            return made.cpu().to(F64)

        model = Model(answer, self._loop.table, replace(self._loop.manner, shape=shape))
        given, drawn_from = (torch.Generator().manual_seed(seed) for _ in range(2))
        try:
            with torch.no_grad(), interrupts_told(), drawing_from(drawn_from):
                drawn = self._subject.whole["sample"](model.eval(), shape, given)
        except Exception as error:
            raise ValueError(f"{self.name}(model, {shape}) raises {raised(error)}") from None
        return self._pictures(drawn, shape)

    def _pictures(self, drawn: Any, shape: tuple[int, ...]) -> Tensor:
        """What it returned, in [-1, 1]."""
        pictures = last_pictures(drawn, shape)[0].cpu()
        if pictures.shape != shape:
            raise ValueError(f"{self.name} returns {tuple(pictures.shape)}, asked for {shape}")
        if pictures.dtype == torch.uint8:
            return pictures.float() / 127.5 - 1
        signed = self._subject.door.pictures.value == SIGNED
        pictures = pictures.float() if signed else 2 * pictures.float() - 1
        if not bool(pictures.isfinite().all()):
            raise ValueError(f"{self.name} returns what is no finite number")
        return pictures.clamp(-1, 1)


def as_loop(
    candidate: Any, reading: str | Sequence[str] = (), table: Tensor | None = None
) -> OwnLoop:
    """Somebody's whole loop as one that draws with a network of ours.

    Args:
        candidate: a function `sample(model, n)` or `sample(model, shape, generator)`, a class with
            one, `"FILE.py:NAME"`, or an `Adapter` with a `sample`, as for `compare.run`.
        reading: how it is called where its code does not say so.
        table: (T,) alpha-bar of the network; what a loop is taken to have that shows none.

    Raises:
        ValueError: it cannot be loaded or called, or has no loop; one line.
    """
    return loop_of(read(candidate, reading), table)


def loop_of(subject: Subject, table: Tensor | None = None) -> OwnLoop:
    """`as_loop` of a candidate that is read.

    Raises:
        ValueError: as for `as_loop`.
    """
    if not subject.has("sample"):
        raise ValueError(f"{subject.name} has neither step(out, t, x) nor sample(model, n)")
    try:
        with quiet():
            shown = subject.scheduler().table()
            own = table if shown is None else shown
            if own is None:
                raise ValueError(f"{subject.name} shows no table; say table=, the network's")
            loop, model, _ = settled(subject, own.to(F64))
    except Broken as broken:
        raise ValueError(f"{subject.name}: {broken}") from None
    told = model.told or Told()
    last = int((told.steps(said_by(model)) - told.base).max())
    if last >= len(own):
        raise ValueError(
            f"{subject.name} tells its model t up to {last}; the table has {len(own)} entries"
        )
    return OwnLoop(subject, loop)
