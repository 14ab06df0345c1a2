"""The table behind a loss that shows none: what its x_t has of the picture and of the noise."""

from contextlib import suppress
from dataclasses import replace
from math import ceil, log, prod

import torch
from torch import Tensor

from compare.candidate.load import Broken
from compare.candidate.loss.calls import TIMES, TINY, Loss, nothing, settled
from compare.candidate.model.told import read_told
from compare.candidate.replay import Recorded
from compare.candidate.subject import Subject
from compare.oracle import F64, Oracle

BIG = 2.0**20  # pixels beside which noise is less than their rounding
CLOSE = 1e-5  # of a sum of picture and noise: what float32 may leave
MOST = 1e8  # pixels that are asked for: larger pictures would take long
MISSED = 1e-3  # how often one of all t is not drawn, so that the table is not read


def table_of_loss(subject: Subject) -> Tensor | None:
    """(T,) float64 the alpha-bars at each t of a loss; None where its x_t is no sum of a picture
    and noise whose weights' squares add up to 1, or not every t is told."""
    found: Tensor | None = subject.remember(("table of loss",), lambda: _table_of_loss(subject))
    return found


def _table_of_loss(subject: Subject) -> Tensor | None:
    T = subject.setting.num_train_timesteps
    with suppress(Broken):
        many = _larger(settled(subject, Oracle().alpha_bar(subject.setting)), T)
        parts = []
        for seed in range(_calls(T)):
            part = None if many is None else _weights(many, seed)
            if part is None:
                return None
            parts.append(part)
        t, image, noise = (torch.cat(each) for each in zip(*parts, strict=True))
        said = read_told(t, T)
        return None if said is None else _read(said.steps(t) - said.base, image, noise, T)
    return None


def _calls(T: int) -> int:
    """So many that a t is missed no more often than `MISSED`."""
    return ceil(T * log(T / MISSED) / TIMES)


def _larger(loss: Loss, T: int) -> Loss | None:
    """The loss of many images, small ones if it takes those; None if it takes large ones alone."""
    shapes = (TINY, loss.manner.shape[1:])
    for shape in (each for each in shapes if TIMES * _calls(T) * prod(each) < MOST):
        many = replace(loss, manner=replace(loss.manner, shape=(TIMES, *shape)))
        with suppress(Broken):
            many.of(many.model(nothing), torch.zeros(many.manner.shape), 0)
            return many
    return None


def _weights(loss: Loss, seed: int) -> tuple[Tensor, Tensor, Tensor] | None:
    """(b,) the t of a call, and what each x_t has of its picture and of the noise that is drawn;
    None if it is no such sum."""
    dark, light = loss.model(nothing), loss.model(nothing)
    zeros = torch.zeros(loss.manner.shape)
    with Recorded(zeros.numel()) as recorded:
        loss.of(dark, zeros, 700 + seed)
    loss.of(light, zeros + BIG, 700 + seed)
    x, large = (model.seen[0].x.flatten(1) for model in (dark, light))
    image = (large - x) / BIG
    for z in (each.reshape(x.shape).to(F64) for each in recorded.found):
        middle, apart = x.mean(1, keepdim=True), z - z.mean(1, keepdim=True)
        noise = (x * apart).sum(1, keepdim=True) / apart.square().sum(1, keepdim=True)
        at_0 = middle - noise * z.mean(1, keepdim=True)  # what it makes of a picture of zeros
        if bool(((x - noise * z - at_0).abs() <= CLOSE * (1 + x.abs())).all()):
            even = (image - image[:, :1]).abs() <= CLOSE * image[:, :1].abs() + CLOSE / BIG
            told = dark.seen[0].said.to(F64)
            same = torch.equal(told, light.seen[0].said.to(F64))
            signal = _unmapped(image[:, 0], at_0[:, 0])
            return (told, signal, noise[:, 0]) if same and bool(even.all()) else None
    return None


def _unmapped(image: Tensor, at_0: Tensor) -> Tensor:
    """(b,) what x_t has of pictures in [-1, 1], of which a loss that takes such in [0, 1] makes
    2 y - 1 first."""
    maps = bool(((at_0 + image / 2).abs() <= CLOSE * (1 + image.abs())).all())
    return image / 2 if maps and bool((image > 1e-3).any()) else image


def _read(t: Tensor, image: Tensor, noise: Tensor, T: int) -> Tensor | None:
    """(T,) the table of these weights, each at its t."""
    if len(t.unique()) < T or bool((image < 0).any()):
        return None
    if bool(((image.square() + noise.square() - 1).abs() > CLOSE).any()):
        return None
    alpha_bar = torch.where(noise.square() < 0.5, 1 - noise.square(), image.square())
    table = torch.zeros(T, dtype=F64).index_put((t.long(),), alpha_bar)
    falls = bool((table.diff() < 0).all())
    return table if falls and bool(((table[t.long()] - alpha_bar).abs() <= CLOSE).all()) else None
