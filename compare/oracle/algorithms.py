"""What a sampling loop and a training loss do besides their formulas: Ho et al. algorithms 1, 2."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Loop:
    """What a sampling loop does besides its steps (the role `sample`).

    Attributes:
        falls: t runs from T-1 down; False: up.
        stops_at: the last t of the full chain.
        tells: what the model is told: `"t"`, or `"index"`, the position in the list.
        evaluates: the model is put into eval mode.
        start: the law of x_T: `"normal"` or `"uniform"`.
        reseeds: every step draws the same z.
        own_streams: with one generator for each image, an image does not depend on the others.
        codec: how pictures in [0, 255] are made: `"round"`, `"floor"`, or `"wrap"` (no clamp).
    """

    falls: bool = True
    stops_at: int = 0
    tells: str = "t"
    evaluates: bool = True
    start: str = "normal"
    reseeds: bool = False
    own_streams: bool = True
    codec: str = "round"


@dataclass(frozen=True)
class Loss:
    """What a training loss does (the role `loss`).

    Attributes:
        noise: the law of the noise: `"normal"` or `"uniform"`.
        redrawn: the target is other noise than that in x_t.
        per_image: every image has a t of its own.
        low, high: t is drawn from low..T-1-high.
        scale, shift: the model sees noise added to scale x_0 + shift.
        reduce: `"mean"`, `"sum"`, `"batch"` (sum over pixels, mean over images), `"before"` (the
            square of the mean error), or `"first"` (the first image alone).
        target: what the output is compared with; None: what the model predicts. Besides the three
            predictions: `"minus"` (-noise), `"v_sum"`, `"v_minus"`, `"v_swapped"`.
        crossed: weights of shape (b, 1) meet losses of shape (b,): every pair is averaged.
    """

    noise: str = "normal"
    redrawn: bool = False
    per_image: bool = True
    low: int = 0
    high: int = 0
    scale: float = 1.0
    shift: float = 0.0
    reduce: str = "mean"
    target: str | None = None
    crossed: bool = False


LOOP, LOSS = Loop(), Loss()  # the right ones
