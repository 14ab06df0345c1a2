"""Exercises on `scratch.schedule`: the curves of beta."""

from collections.abc import Callable

import torch
from torch import Tensor

from compare.oracle import Oracle, Setting
from ddpm.exercises.exercise import Arguments, Exercise, Function, Slip, wrong_formulas


def _curve(family: str) -> Callable[[Oracle], Function]:
    """A curve between two ends, of an oracle."""

    def adapt(oracle: Oracle) -> Function:
        def betas(num_train_timesteps: int, beta_start: float, beta_end: float) -> Tensor:
            return oracle.betas(Setting(num_train_timesteps, beta_start, beta_end, family))

        return betas

    return adapt


def _cosine(oracle: Oracle) -> Function:
    def cosine(num_train_timesteps: int, max_beta: float = 0.999) -> Tensor:
        if max_beta != 0.999:
            raise ValueError("the catalogue knows the paper's cap only")
        return oracle.betas(
            Setting(num_train_timesteps=num_train_timesteps, beta_schedule="squaredcos_cap_v2")
        )

    return cosine


def _cosine_of_the_whole_angle(least: float) -> Function:
    def cosine(num_train_timesteps: int, max_beta: float = 0.999) -> Tensor:
        t = torch.arange(num_train_timesteps + 1, dtype=torch.float64) / num_train_timesteps
        f = torch.cos((t + 0.008) / 1.008 * torch.pi) ** 2
        return (1 - f[1:] / f[:-1]).clamp(min=least, max=max_beta)

    return cosine


def _towards_zero(*, root: bool, scaled: bool) -> Function:
    """The end of the table made 0: of its root or of itself, its beginning kept or not."""

    def zero_terminal_snr(betas: Tensor) -> Tensor:
        table = (1 - betas).cumprod(0)
        table = table.sqrt() if root else table
        moved = table - table[-1]
        moved = moved * table[0] / moved[0] if scaled else moved
        alpha_bar = moved**2 if root else moved
        return 1 - alpha_bar / torch.cat([alpha_bar.new_ones(1), alpha_bar[:-1]])

    return zero_terminal_snr


def _between_two_ends() -> list[Arguments]:
    names = ("num_train_timesteps", "beta_start", "beta_end")
    calls = [(3, 0.1, 0.3), (10, 1e-4, 0.02), (1000, 1e-4, 0.02), (500, 0.00085, 0.012)]
    return [dict(zip(names, call, strict=True)) for call in [*calls, (2, 0.5, 0.1), (1, 0.1, 0.3)]]


def _for_cosine() -> list[Arguments]:
    return [
        {"num_train_timesteps": 3},
        *({"num_train_timesteps": T} for T in (1, 10, 1000)),
        {"num_train_timesteps": 10, "max_beta": 0.5},
    ]


def _for_zero_terminal_snr() -> list[Arguments]:
    return [
        {"betas": torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)},
        *({"betas": torch.linspace(1e-4, 0.02, T, dtype=torch.float64)} for T in (2, 10, 1000)),
        {"betas": torch.full((5,), 0.5, dtype=torch.float64)},
    ]


OF_COSINE = (
    "10-square",
    "10-offset",
    "10-linear",
    "10-early",
    "10-start",
    "10-cap",
    "10-ends",
    "11",
)

WHOLE_ANGLE = "the angle goes up to pi, should be (t/T + s) / (1 + s) times pi/2"
SLIPS_OF_COSINE = tuple(
    Slip(WHOLE_ANGLE, _cosine_of_the_whole_angle(least)) for least in (-torch.inf, 0.0, 1e-4)
)
NOT_SCALED = "is moved so that it ends at 0, and not scaled back: its first entry should stay"
SLIPS_OF_ZERO_SNR = (
    Slip(
        "alpha_bar itself is moved and scaled, should be its root (Lin et al., Algorithm 1)",
        _towards_zero(root=False, scaled=True),
    ),
    Slip(f"the root of alpha_bar {NOT_SCALED}", _towards_zero(root=True, scaled=False)),
    Slip(
        f"alpha_bar {NOT_SCALED}, and both should be done to its root",
        _towards_zero(root=False, scaled=False),
    ),
)

EXERCISES = (
    Exercise(
        id="2a",
        module="scratch.schedule",
        function="linear",
        page="schedule",
        stage="schedule",
        inputs=_between_two_ends,
        wrong=wrong_formulas(_curve("linear"), ("7", "8", "8-tenfold")),
    ),
    Exercise(
        id="2b",
        module="scratch.schedule",
        function="cosine",
        page="schedule",
        stage="schedule",
        inputs=_for_cosine,
        wrong=wrong_formulas(_cosine, OF_COSINE),
        slips=SLIPS_OF_COSINE,
    ),
    Exercise(
        id="2c",
        module="scratch.schedule",
        function="zero_terminal_snr",
        page="schedule",
        stage="schedule",
        inputs=_for_zero_terminal_snr,
        slips=SLIPS_OF_ZERO_SNR,
    ),
    Exercise(
        id="2d",
        module="scratch.schedule",
        function="scaled_linear",
        page="schedule",
        stage="schedule",
        inputs=_between_two_ends,
        wrong=wrong_formulas(_curve("scaled_linear"), ("7-inverse",)),
    ),
    Exercise(
        id="2e",
        module="scratch.schedule",
        function="sigmoid",
        page="schedule",
        stage="schedule",
        inputs=_between_two_ends,
    ),
)
