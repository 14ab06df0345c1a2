"""Exercise on `scratch.noise`: a draw, judged by where it comes from and by its law.

Other numbers than ours are right too, if they are N(0, 1), fresh and of the generators given. A
right draw is blamed with probability `RATE` at most, shared among all that is looked at.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from compare.measure.law import distance_to_normal, normal_bound, of_distance
from compare.measure.tolerances import RATE
from compare.oracle import Oracle
from ddpm.exercises.exercise import Arguments, Exercise, Function, wrong_formulas
from ddpm.exercises.inputs import DTYPES

CPU = torch.device("cpu")
MANY = (64, 3, 8, 8)  # images of a draw whose law is looked at
LOOKS = 9  # from three sources: distance to N(0, 1), pairs of images, pairs of pixels


def _draw_noise(oracle: Oracle) -> Function:
    def draw_noise(shape: Sequence[int], generator: Any, device: Any, dtype: Any) -> Tensor:
        if isinstance(generator, list):
            one = (1, *shape[1:])
            return torch.cat([oracle.draw(one, each, dtype) for each in generator])
        return oracle.draw(tuple(shape), generator, dtype)

    return draw_noise


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _for_draws() -> list[Arguments]:
    calls: list[tuple[tuple[int, ...], Any, torch.dtype]] = [
        ((2, 1, 1, 1), _generator(5), torch.float32),
        *(((2, 3, 4, 4), _generator(5), dtype) for dtype in DTYPES),
        *(((2, 3, 4, 4), [_generator(5), _generator(6)], dtype) for dtype in DTYPES),
        ((2, 3, 4, 4), None, torch.float32),
        ((1, 1, 8, 8), [_generator(5)], torch.float32),
    ]
    return [
        {"shape": shape, "generator": generator, "device": CPU, "dtype": dtype}
        for shape, generator, dtype in calls
    ]


def what_is_wrong(draw_noise: Function) -> tuple[str, str]:
    """What is wrong with a draw, and the number of the mistake; both empty if nothing is."""

    def draw(generator: Any, of_all: int = 1) -> Tensor:
        torch.manual_seed(of_all)  # of the global state
        made: Tensor = draw_noise(MANY, generator, CPU, torch.float32)
        return made

    first = draw(_generator(5))
    if torch.equal(first, draw(_generator(6), of_all=2)):
        return "gives the same z whatever generator it is given", "61"
    if not torch.equal(first, draw(_generator(5), of_all=2)):
        return "does not draw from the generator that it is given", ""
    seeds = range(len(first))
    each = draw([_generator(seed) for seed in seeds])
    other = draw([_generator(seed + 100 * (seed > 0)) for seed in seeds], of_all=2)
    alike = (each == other).flatten(1).all(dim=1)
    if not alike[0] or alike[1:].any():
        return "does not draw image i from generator i of a list", ""
    for source in (_generator(5), [_generator(seed) for seed in seeds], None):
        torch.manual_seed(1)
        calls = [draw_noise(MANY, source, CPU, torch.float32) for _ in range(2)]
        if fault := _unlike_fresh_noise(*calls):
            return fault
    return "", ""


def _unlike_fresh_noise(first: Tensor, second: Tensor) -> tuple[str, str] | None:
    """What shows in two calls with one source."""
    if torch.equal(first, second):
        return "gives the same z again in a second call", "61"
    z = torch.cat([first, second])
    if bool((z[0] == z[1]).all()):
        return "gives all images of the batch the same z", "62"
    if bool((z[0] == z[0, :1, :1, :1]).all()):
        return "gives all pixels of an image the same z", "62-image"
    if bool((z[0] == z[0, :, :1, :1]).all()):
        return "gives all pixels of a channel the same z", "62-channel"
    if distance_to_normal(z) > of_distance(z.numel(), RATE / LOOKS):
        least, most = float(z.min()), float(z.max())
        uniform = {True: "63", False: "63-centred"}[least >= 0] if most <= 1 and least >= -1 else ""
        return f"gives z between {least:.3g} and {most:.3g} that is not N(0, 1)", uniform
    for rows, what in ((z.flatten(1), "images"), (z.flatten(1).T, "pixels")):
        if _depend(rows):
            return f"gives {what} z that depend on each other", ""
    return None


def _depend(rows: Tensor) -> bool:
    """Whether two rows are alike: one along the direction of another is exactly N(0, 1)."""
    along = torch.tril(rows @ rows.T / rows.norm(dim=1), -1).abs()
    pairs = len(rows) * (len(rows) - 1) / 2
    return not float(along.max()) <= normal_bound(RATE / LOOKS / pairs)


WRONG = ("61", "62", "62-channel", "62-image", "63", "63-centred")
EXERCISES = (
    Exercise(
        id="12a",
        module="scratch.noise",
        function="draw_noise",
        page="randomness",
        stage="variance",
        inputs=_for_draws,
        wrong=wrong_formulas(_draw_noise, WRONG),
        law=what_is_wrong,
    ),
)
