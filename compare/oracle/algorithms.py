"""What a sampling loop and a training loss do besides their formulas: Ho et al. algorithms 1, 2."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

# Of alpha-bars: what the noise and the image weigh in it.
Target = Callable[[Tensor], tuple[Tensor, Tensor]]
# Of signal-to-noise ratios (n,) and of what the model predicts: what the images of these t weigh.
Weight = Callable[[Tensor, str], Tensor]


@dataclass(frozen=True)
class Law:
    """How numbers are drawn, called as `torch.randn` is, and their mean and std."""

    draw: Callable[..., Tensor]
    mean: float
    std: float

    @property
    def power(self) -> float:
        """The mean square."""
        return self.mean**2 + self.std**2


NORMAL = Law(torch.randn, 0.0, 1.0)


def noise_target(alpha_bar: Tensor) -> tuple[Tensor, Tensor]:
    """The noise: Ho et al. eq. 14."""
    return torch.ones_like(alpha_bar), torch.zeros_like(alpha_bar)


def image_target(alpha_bar: Tensor) -> tuple[Tensor, Tensor]:
    """The image x_0."""
    return torch.zeros_like(alpha_bar), torch.ones_like(alpha_bar)


def velocity_target(alpha_bar: Tensor) -> tuple[Tensor, Tensor]:
    """sqrt(ab) noise - sqrt(1-ab) x_0: Salimans & Ho, section 4."""
    return alpha_bar.sqrt(), -(1 - alpha_bar).sqrt()


TARGETS: dict[str, Target] = {
    "epsilon": noise_target,
    "sample": image_target,
    "v_prediction": velocity_target,
}
KINDS = tuple(TARGETS)  # what a model may predict


# What min(SNR, gamma) is divided by in min-SNR's weight: Hang et al. 2023, section 3.4.
DIVIDERS: dict[str, Callable[[Tensor], Tensor]] = {
    "epsilon": lambda snr: snr,
    "sample": torch.ones_like,
    "v_prediction": lambda snr: snr + 1,
}


def min_snr(snr: Tensor, kind: str) -> Tensor:
    """min(SNR, 5), over what belongs to the kind of prediction: Hang et al. 2023, section 3.4."""
    return snr.clamp(max=5) / DIVIDERS[kind](snr)


def mean_square(error: Tensor) -> Tensor:
    """One number of the errors (b, c, h, w) of a batch."""
    return error.square().mean()


def rounded_and_clamped(x: Tensor) -> Tensor:
    """Whole numbers in 0..255, as floats, of pictures in [-1, 1]."""
    return ((x + 1) * 127.5).round().clamp(0, 255)


@dataclass(frozen=True)
class Loop:
    """What a sampling loop does besides its steps (the role `sample`).

    Attributes:
        falls: t runs from T-1 down; False: up.
        stops_at: the last t of the full chain.
        keeps_last: what the last step gives is returned; False: what it was given.
        tells: what the model is told: `"t"`, or `"index"`, the position in the list.
        evaluates: the model is put into eval mode.
        start: the law of x_T.
        noise: draws z where that is not drawn as x_T is; called as the oracle's `draw`.
        reseeds: every step draws the same z.
        fixed: what is the same at every call, whatever its seed: `"x_T"`, or `"noise"`, that of the
            steps alone.
        own_streams: with one generator for each image, an image does not depend on the others.
        codec: makes whole numbers for bytes of pictures in [-1, 1].
    """

    falls: bool = True
    stops_at: int = 0
    keeps_last: bool = True
    tells: str = "t"
    evaluates: bool = True
    start: Law = NORMAL
    noise: Callable[..., Tensor] | None = None
    reseeds: bool = False
    fixed: str = ""
    own_streams: bool = True
    codec: Callable[[Tensor], Tensor] = rounded_and_clamped


@dataclass(frozen=True)
class Loss:
    """What a training loss does (the role `loss`).

    Attributes:
        noise: the law of the noise.
        redrawn: the target is other noise than that in x_t.
        bare_target: the noise in x_t has an offset, that in the target has none.
        per_image: every image has a t of its own.
        low, high: t is drawn from low..T-1-high.
        scale, shift: the model sees noise added to scale x_0 + shift.
        reduce: makes one number of the errors (b, c, h, w).
        target: what the output is compared with; None: what the model predicts.
        weight: of an image by its t; None: all weigh alike, or as a paper has it.
        crossed: weights of shape (b, 1) meet losses of shape (b,): every pair is averaged.
        learns: a gradient of the loss reaches the model.
        ahead: how much more the model is told than by the loop at the same level of noise.
        others: the model is told the t of another image.
    """

    noise: Law = NORMAL
    redrawn: bool = False
    bare_target: bool = False
    per_image: bool = True
    low: int = 0
    high: int = 0
    scale: float = 1.0
    shift: float = 0.0
    reduce: Callable[[Tensor], Tensor] = mean_square
    target: Target | None = None
    weight: Weight | None = None
    crossed: bool = False
    learns: bool = True
    ahead: int = 0
    others: bool = False


LOOP, LOSS = Loop(), Loss()  # the right ones
