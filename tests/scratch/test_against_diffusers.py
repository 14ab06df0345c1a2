"""Our schedulers beside Diffusers' over every combination of options: equal, or known to differ.

What may differ is one float32 rounding of each alpha, of each alpha_bar and of each operation: we
compute with float64 tables, Diffusers with float32 ones. The bound is propagated in float64 through
the step at that t; roundings of different alphas are independent and add up in the root of squares.
`FACTOR` covers that a result passes through a handful of operations.

Where Diffusers is wrong a difference is *demanded*: one that has gone fails the test, unless the
installed version is newer than those it was seen in.
"""

from collections import Counter
from collections.abc import Callable
from itertools import product
from typing import Any, NamedTuple

import diffusers
import pytest
import torch

import scratch

SEEN_TO = (0, 42)  # the version of Diffusers in which the known differences were measured
NEWER = tuple(int(part) for part in diffusers.__version__.split(".")[:2]) > SEEN_TO
T = 1000
U = 2.0**-24  # one float32 rounding, relative
FACTOR = 4.0
COUNTS = (1, 2, 10, 50, 61, 250, 1000)
SCHEDULES = ("linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid")
RESCALED = tuple((schedule, True) for schedule in ("linear", "scaled_linear", "squaredcos_cap_v2"))
PREDICTIONS = ("epsilon", "sample", "v_prediction")
CLIPPINGS = {
    "off": {"clip_sample": False},
    "clip": {"clip_sample": True, "clip_sample_range": 0.8},
    "threshold": {"thresholding": True, "sample_max_value": 1.5},
}
VARIANCES = ("fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log")
SPACINGS = ("leading", "linspace", "trailing")
GENERATOR = torch.Generator().manual_seed(0)
X_T = torch.randn(2, 3, 4, 4, generator=GENERATOR)
OUT = torch.randn(2, 3, 4, 4, generator=GENERATOR)
Z = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(1))  # what a step draws


class At(NamedTuple):
    """Where a step was taken."""

    n: int
    t: int
    prev: int


def alpha_roundings(scheduler: Any) -> torch.Tensor:
    """The square of what float32 may change of each alpha, relative, (T,)."""
    alphas = scheduler.alpha_bar / torch.cat([torch.ones(1), scheduler.alpha_bar[:-1]])
    # beta and 1 - beta are rounded: U in all, which is U / alpha of alpha.
    squares = (U / alphas.clamp(min=U)) ** 2
    if scheduler.config.rescale_betas_zero_snr:
        # sqrt(alpha_bar) minus its last value: one rounding of the larger is more of the rest.
        plain = type(scheduler).from_config(scheduler.config, rescale_betas_zero_snr=False)
        root = plain.alpha_bar.sqrt()
        squares = squares + (2 * U * root / (root - root[-1]).clamp(min=U)) ** 2
    return squares


@pytest.mark.parametrize("train_steps", [2, 10, 500, 1000])
@pytest.mark.parametrize(
    ("schedule", "rescale"), [*product(SCHEDULES, [False]), *RESCALED], ids=lambda value: str(value)
)
def test_tables(schedule: str, rescale: bool, train_steps: int) -> None:
    options = {
        "num_train_timesteps": train_steps,
        "beta_schedule": schedule,
        "rescale_betas_zero_snr": rescale,
        "prediction_type": "v_prediction",
    }
    ours, theirs = scratch.DDPMScheduler(**options), diffusers.DDPMScheduler(**options)
    for name in ("betas", "alphas", "alphas_cumprod"):
        assert getattr(ours, name).dtype == getattr(theirs, name).dtype == torch.float32
    if rescale:
        assert ours.alphas_cumprod[-1] == theirs.alphas_cumprod[-1] == 0
    allowed = FACTOR * (alpha_roundings(ours).cumsum(0).sqrt() + U) * ours.alpha_bar
    excess = (theirs.alphas_cumprod.double() - ours.alpha_bar).abs() - allowed
    assert (excess <= 0).all(), f"alpha_bar differs first at t={int((excess > 0).nonzero()[0])}"
    assert torch.equal(ours.alphas_cumprod, ours.alpha_bar.float())
    # An alpha is a quotient of two alpha_bar, beta what is left to 1.
    both = alpha_roundings(ours) + alpha_roundings(ours).roll(1)
    for name in ("betas", "alphas"):
        off = (getattr(ours, name).double() - getattr(theirs, name).double()).abs()
        excess = off - FACTOR * both.sqrt() * (1 - ours.betas.double()) - U
        assert (excess <= 0).all(), f"{name} differ first at t={int((excess > 0).nonzero()[0])}"


def float64_tables(scheduler: Any, steps: list[At]) -> list[torch.Tensor]:
    """alpha_bar, alpha_bar_prev and their perturbed pairs, (k, 1, 1, 1, 1) each, for k steps."""
    squares = alpha_roundings(scheduler)
    total = torch.cat([squares.cumsum(0), torch.zeros(1)])  # [-1]: nothing before the first step
    t, prev = torch.tensor([s.t for s in steps]), torch.tensor([s.prev for s in steps])
    final = torch.full((1,), scheduler.final_alpha_bar, dtype=torch.float64)
    here = scheduler.alpha_bar[t]
    before = torch.cat([scheduler.alpha_bar, final])[prev]
    common, between = total[prev].sqrt(), (total[t] - total[prev]).clamp(min=0).sqrt()
    pairs = [
        (here, before),
        (here * (1 + common), before * (1 + common * (before < 1))),
        (here * (1 + between), before),
        (here * (1 + U), before),
        (here, before * (1 + U * (before < 1))),
    ]
    return [[level.clamp(max=1).reshape(-1, 1, 1, 1, 1) for level in pair] for pair in pairs]


def bound(
    scheduler: Any, steps: list[At], step: Callable[..., tuple[torch.Tensor, torch.Tensor]]
) -> torch.Tensor:
    """How far float32 may be from float64, (k, b, c, h, w); `step` gives x_prev and sum |terms|."""
    (value, terms), *moved = [step(*pair) for pair in float64_tables(scheduler, steps)]
    change = sum((x_prev - value).abs() for x_prev, _ in moved)
    return FACTOR * (change + 2 * U * terms)  # both round their operations


def x_0_of(config: Any, ab: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """x_0, clipped; eps; and how many U of rounding x_0 carries. All float64, (k, b, c, h, w)."""
    x, out = X_T.double(), OUT.double()
    signal, sigma = ab.sqrt(), (1 - ab).sqrt()
    if config.prediction_type == "epsilon":
        x_0, eps = (x - sigma * out) / signal, out.expand(len(ab), *out.shape)
        error = (x.abs() + sigma * out.abs()) / signal
    elif config.prediction_type == "sample":
        x_0, eps = out.expand(len(ab), *out.shape), (x - signal * out) / sigma
        error = torch.zeros_like(x_0)
    else:
        x_0, eps = signal * x - sigma * out, signal * out + sigma * x
        error = signal * x.abs() + sigma * out.abs()
    if config.thresholding:
        s = x_0.abs().flatten(2).quantile(config.dynamic_thresholding_ratio, dim=2)
        s = s.clamp(1, config.sample_max_value)[..., None, None, None]
        x_0 = x_0.clamp(-s, s) / s
        error = (error + error.amax((2, 3, 4), keepdim=True)) / s
    elif config.clip_sample:
        x_0 = x_0.clamp(-config.clip_sample_range, config.clip_sample_range)
    return x_0, eps, error


def ddpm_step(config: Any, draws: torch.Tensor) -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:
    """Ho et al. 2020, equation 7, in float64, for k steps at once."""

    def step(ab: torch.Tensor, ab_prev: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x_0, _, error = x_0_of(config, ab)
        beta = 1 - ab / ab_prev
        large = config.variance_type.startswith("fixed_large")
        std = (beta if large else beta * (1 - ab_prev) / (1 - ab)).clamp(min=0).sqrt() * draws
        of_x_0 = ab_prev.sqrt() * beta / (1 - ab)
        of_x_t = (ab / ab_prev).sqrt() * (1 - ab_prev) / (1 - ab)
        x_prev = of_x_0 * x_0 + of_x_t * X_T + std * Z
        terms = of_x_0 * (x_0.abs() + error) + of_x_t * X_T.abs() + std * Z.abs()
        return x_prev, terms

    return step


def ddim_step(
    config: Any, draws: torch.Tensor, eta: float, rederive: bool
) -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:
    """Song et al. 2020, equations 12 and 16, in float64, for k steps at once."""

    def step(ab: torch.Tensor, ab_prev: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x_0, eps, error = x_0_of(config, ab)
        of_eps = torch.ones_like(error)  # how many U of rounding eps carries
        if rederive or config.prediction_type == "sample":
            if rederive:
                eps = (X_T - ab.sqrt() * x_0) / (1 - ab).sqrt()
            of_eps = (X_T.abs() + ab.sqrt() * (x_0.abs() + error)) / (1 - ab).sqrt()
        sigma = eta * ((1 - ab_prev) / (1 - ab) * (1 - ab / ab_prev)).clamp(min=0).sqrt() * draws
        toward = (1 - ab_prev - sigma**2).clamp(min=0).sqrt()
        x_prev = ab_prev.sqrt() * x_0 + toward * eps + sigma * Z
        # The root of what little is left at eta = 1: one rounding under it.
        root = ((toward**2 + U * (1 - ab_prev + sigma**2)).sqrt() - toward) / U
        terms = ab_prev.sqrt() * (x_0.abs() + error) + toward * of_eps + (toward + root) * eps.abs()
        return x_prev, terms + sigma * Z.abs()

    return step


def some(visited: list[int]) -> list[tuple[int, int]]:
    """(t, previous t) at the first two, the middle and the last timestep of a list."""
    pairs = list(zip(visited, [*visited[1:], -1], strict=True))
    return sorted({*pairs[:2], pairs[len(pairs) // 2], pairs[-1]}, reverse=True)


def half_way(n: int, spacing: str, i: int) -> bool:
    """Whether the exact i-th timestep is k + 1/2, where either neighbour is right."""
    if spacing == "linspace":
        return 2 * i * (T - 1) % (n - 1) == 0 and 2 * i * (T - 1) // (n - 1) % 2 == 1
    return spacing == "trailing" and 2 * i * T % n == 0 and 2 * i * T // n % 2 == 1


def lists(ours: Any, theirs: Any, n: int, met: Counter) -> list[int]:
    """Set both to n timesteps and compare the lists; returns one that both can walk."""
    spacing = ours.config.timestep_spacing
    ours.set_timesteps(n)
    theirs.set_timesteps(n)
    visited, other = ours.timesteps.tolist(), theirs.timesteps.tolist()
    if spacing == "trailing" and n == 61:
        met["trailing-extra-step"] += other[n:] == [-1]
        other = other[:n]
    rising = enumerate(visited if spacing == "trailing" else reversed(visited))
    expected = other if spacing == "trailing" else other[::-1]
    wrong = [i for i, t in rising if t != expected[i] and not half_way(n, spacing, i)]
    assert not wrong, f"{spacing}, n={n}: timestep {wrong[0]} from the exact end is {expected}"
    ours.set_timesteps(timesteps=other)  # where either neighbour is right, walk theirs
    return other


# What is known to be wrong in Diffusers 0.42.1, by name.
DDPM_KNOWN = {
    "trailing-extra-step": "61 trailing steps: a 62nd at t = -1",
    "last-step-noise": "fixed_large draws noise at the last step of a list that ends above t = 0",
    "fixed-large-log": "fixed_large_log takes the root of a logarithm: NaN, or no noise at all",
}
DDIM_KNOWN = {
    "trailing-extra-step": DDPM_KNOWN["trailing-extra-step"],
    "previous-step": "the previous step is t - T // n, whatever the list says",
    "last-step-noise": "set_alpha_to_one=False draws noise at the last step of such a list",
}


def ddpm_known(config: Any, at: At) -> str | None:
    """The name of the known difference of a step, if there is one."""
    if config.variance_type == "fixed_large_log" and at.t > 0:
        return "fixed-large-log"
    if config.variance_type == "fixed_large" and at.prev < 0 < at.t:
        return "last-step-noise"
    return None


def ddim_known(config: Any, at: At, eta: float) -> str | None:
    """The name of the known difference of a step, if there is one."""
    theirs = at.t - T // at.n
    if max(theirs, -1) != at.prev:
        return "previous-step"
    if eta > 0 and at.prev < 0 < at.t and not config.set_alpha_to_one:
        return "last-step-noise"
    return None


def differences(
    words: str,
    results: list[tuple[At, torch.Tensor, torch.Tensor]],
    allowed: torch.Tensor,
    known: Callable[[At], str | None],
    met: Counter,
) -> list[str]:
    """Which steps differ and should not; counts in `met` where a known difference is really one."""
    found = []
    for (at, ours, theirs), limit in zip(results, allowed, strict=True):
        assert ours.isfinite().all(), (words, at)
        excess = ((ours.double() - theirs.double()).abs() / limit).max().item()
        name = known(at)
        if name is not None:
            met[name] += not excess <= 1  # a NaN is met too
        elif not excess <= 1:
            found.append(f"{words} at {at}: differs by {excess:.3g} times the bound")
    return found


def assert_all_met(met: Counter, expected: set[str]) -> None:
    """Every known difference of a grid, and no other, was really one somewhere."""
    seen = {name for name, count in met.items() if count}
    assert seen == expected or (NEWER and seen < expected), f"met {dict(met)}, not all {expected}"


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize(
    ("schedule", "rescale"), [*product(SCHEDULES, [False]), *RESCALED], ids=lambda value: str(value)
)
def test_ddpm_step(schedule: str, rescale: bool, spacing: str) -> None:
    met, found = Counter(), []
    predictions = PREDICTIONS[1:] if rescale else PREDICTIONS
    for prediction, variance, clip in product(predictions, VARIANCES, CLIPPINGS):
        options = {
            "num_train_timesteps": T,
            "beta_schedule": schedule,
            "variance_type": variance,
            "prediction_type": prediction,
            "timestep_spacing": spacing,
            "rescale_betas_zero_snr": rescale,
            **CLIPPINGS[clip],
        }
        ours, theirs = scratch.DDPMScheduler(**options), diffusers.DDPMScheduler(**options)
        results = []
        for n in COUNTS:
            for t, prev in some(lists(ours, theirs, n, met)):
                pair = [
                    side.step(OUT, t, X_T, generator=torch.Generator().manual_seed(1)).prev_sample
                    for side in (ours, theirs)
                ]
                results.append((At(n, t, prev), *pair))
        steps = [at for at, *_ in results]
        draws = torch.tensor([float(at.prev >= 0) for at in steps]).reshape(-1, 1, 1, 1, 1)
        found += differences(
            f"{prediction}, {variance}, {clip}",
            results,
            bound(ours, steps, ddpm_step(ours.config, draws)),
            lambda at, config=ours.config: ddpm_known(config, at),
            met,
        )
    assert not found, f"{len(found)} differences, the first: {found[0]}"
    expected = {"fixed-large-log", *(DDPM_KNOWN if spacing == "trailing" else ())}
    assert_all_met(met, expected)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("schedule", SCHEDULES[:3])
def test_ddim_step(schedule: str, spacing: str) -> None:
    met, found = Counter(), []
    choices = [(0.0, False, True), (1.0, False, True), (0.6, True, False), (1.0, True, True)]
    for prediction, clip, choice in product(PREDICTIONS, CLIPPINGS, choices):
        eta, rederive, to_one = choice
        options = {
            "num_train_timesteps": T,
            "beta_schedule": schedule,
            "prediction_type": prediction,
            "timestep_spacing": spacing,
            "set_alpha_to_one": to_one,
            **CLIPPINGS[clip],
        }
        ours, theirs = scratch.DDIMScheduler(**options), diffusers.DDIMScheduler(**options)
        results = []
        for n in COUNTS:
            for t, prev in some(lists(ours, theirs, n, met)):
                pair = [
                    side.step(
                        OUT,
                        t,
                        X_T,
                        eta=eta,
                        use_clipped_model_output=rederive,
                        generator=torch.Generator().manual_seed(1),
                    ).prev_sample
                    for side in (ours, theirs)
                ]
                results.append((At(n, t, prev), *pair))
        steps = [at for at, *_ in results]
        draws = torch.tensor([float(at.prev >= 0) for at in steps]).reshape(-1, 1, 1, 1, 1)
        found += differences(
            f"{prediction}, {clip}, eta={eta}, rederive={rederive}, to_one={to_one}",
            results,
            bound(ours, steps, ddim_step(ours.config, draws, eta, rederive)),
            lambda at, config=ours.config, eta=eta: ddim_known(config, at, eta),
            met,
        )
    assert not found, f"{len(found)} differences, the first: {found[0]}"
    expected = {
        "leading": set(),
        "linspace": {"previous-step"},
        "trailing": set(DDIM_KNOWN),
    }[spacing]
    assert_all_met(met, expected)


def half_precision_noise() -> None:
    x_0, noise, t = torch.zeros(1, 1).half(), torch.ones(1, 1).half(), torch.tensor([0])
    assert diffusers.DDPMScheduler().add_noise(x_0, noise, t).item() == 0
    assert scratch.DDPMScheduler().add_noise(x_0, noise, t).item() == pytest.approx(0.01, rel=1e-3)


def negative_timestep() -> None:
    x_0, noise, t = torch.zeros(1, 1), torch.ones(1, 1), torch.tensor([-1])
    theirs = diffusers.DDPMScheduler()
    assert torch.equal(theirs.add_noise(x_0, noise, t), theirs.add_noise(x_0, noise, t + T))
    with pytest.raises(ValueError, match=r"timesteps must lie in 0\.\.999, got \[-1\]"):
        scratch.DDPMScheduler().add_noise(x_0, noise, t)


def unknown_variance_type() -> None:
    theirs = diffusers.DDPMScheduler(variance_type="fixed_smal")
    assert theirs.step(OUT, 5, X_T).prev_sample.isfinite().all()
    with pytest.raises(ValueError, match=r"variance_type must be one of .* got 'fixed_smal'"):
        scratch.DDPMScheduler(variance_type="fixed_smal")


def learned_variance() -> None:
    theirs = diffusers.DDPMScheduler(variance_type="learned")
    assert theirs.step(torch.cat([OUT, OUT], dim=1), 5, X_T).prev_sample.isnan().any()
    with pytest.raises(ValueError, match=r"variance_type must be one of .* got 'learned'"):
        scratch.DDPMScheduler(variance_type="learned")


def beta_above_one() -> None:
    assert diffusers.DDPMScheduler(beta_end=2.0).alphas.min() == -1
    with pytest.raises(ValueError, match="beta_start and beta_end must lie between 0 and 1"):
        scratch.DDPMScheduler(beta_end=2.0)


def betas_of_another_length() -> None:
    theirs = diffusers.DDPMScheduler(trained_betas=[0.1, 0.2])
    assert (len(theirs), len(theirs.betas)) == (1000, 2)
    with pytest.raises(ValueError, match="trained_betas must hold num_train_timesteps=1000 betas"):
        scratch.DDPMScheduler(trained_betas=[0.1, 0.2])


def positional_argument_lost() -> None:
    theirs = diffusers.DDPMScheduler(500)
    assert len(diffusers.DDIMScheduler.from_config(theirs.config)) == 1000
    assert len(scratch.DDIMScheduler.from_config(theirs.config)) == 500


def offset_past_the_end() -> None:
    theirs = diffusers.DDPMScheduler(steps_offset=1)
    theirs.set_timesteps(1000)
    assert theirs.timesteps[0] == 1000
    with pytest.raises(ValueError, match=r"steps_offset=1 makes the first of 1000 leading"):
        scratch.DDPMScheduler(steps_offset=1).set_timesteps(1000)


def no_signal_and_epsilon() -> None:
    options = {"rescale_betas_zero_snr": True, "clip_sample": False}
    step = diffusers.DDPMScheduler(**options).step(OUT, 999, X_T)
    assert step.pred_original_sample.isinf().all()
    with pytest.raises(ValueError, match="use prediction_type='v_prediction' or 'sample'"):
        scratch.DDPMScheduler(**options)


@pytest.mark.xfail(NEWER, reason="seen in Diffusers up to 0.42")
@pytest.mark.parametrize(
    "shown",
    [
        half_precision_noise,
        negative_timestep,
        unknown_variance_type,
        learned_variance,
        beta_above_one,
        betas_of_another_length,
        positional_argument_lost,
        offset_past_the_end,
        no_signal_and_epsilon,
    ],
)
def test_diffusers_is_wrong_and_we_are_not(shown: Callable[[], None]) -> None:
    shown()
