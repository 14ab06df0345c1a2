"""The ways round Diffusers' gaps, against the closed forms; and that each gap is really there."""

from itertools import product

import diffusers
import pytest
import torch
from torch.testing import assert_close

from compare import oracle
from compare.verdict import diffusers as findings
from with_diffusers import gaps

SPACINGS = ("leading", "linspace", "trailing")
NEWER = tuple(int(part) for part in diffusers.__version__.split(".")[:2]) > (0, 42)
seen_to_0_42 = pytest.mark.xfail(NEWER, reason="the gap was seen in Diffusers up to 0.42")


def test_every_finding_named_here_exists() -> None:
    known = {finding.id for finding in findings.FINDINGS}
    for function in (
        gaps.whole_config,
        gaps.config_problem,
        gaps.chain_problem,
        gaps.set_trailing_timesteps,
        gaps.step_without_last_noise,
        gaps.in_float32,
    ):
        line = " ".join(function.__doc__.split()).partition("Finding")[2].partition(".")[0]
        named = {name.strip() for name in line.lstrip("s").lstrip(":").split(",")}
        assert named, function.__name__
        assert named <= known, f"{function.__name__}: {named - known}"


def test_a_whole_config_keeps_what_was_given_by_position() -> None:
    config = diffusers.DDPMScheduler(500, 0.001, beta_end=0.03).config
    moved = diffusers.DDIMScheduler.from_config(gaps.whole_config(config)).config
    assert (moved.num_train_timesteps, moved.beta_start, moved.beta_end) == (500, 0.001, 0.03)


@pytest.mark.parametrize("name", ["DDPMScheduler", "DDIMScheduler"])
def test_ordinary_configs_have_no_problem(name: str) -> None:
    scheduler = getattr(diffusers, name)
    for schedule, prediction in product(
        ["linear", "scaled_linear", "squaredcos_cap_v2"], ["epsilon", "sample", "v_prediction"]
    ):
        options = {"beta_schedule": schedule, "prediction_type": prediction}
        assert gaps.config_problem(scheduler(**options)) is None
    rescaled = scheduler(rescale_betas_zero_snr=True, prediction_type="v_prediction")
    assert gaps.config_problem(rescaled) is None
    assert gaps.chain_problem(rescaled, 10) is None


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"variance_type": "fixed_largo"}, "variance_type='fixed_largo' is not one of fixed_sm"),
        ({"variance_type": "fixed_large_log"}, "variance_type='fixed_large_log' is not one of"),
        ({"variance_type": "learned"}, "variance_type='learned' is not one of"),
        ({"beta_end": 2.0}, "betas must lie between 0 and 1, and go from 0.0001 to 2"),
        ({"beta_end": 1.0}, "betas must lie between 0 and 1"),
        ({"beta_start": 0.0}, "betas must lie between 0 and 1, and go from 0 to 0.02"),
        ({"trained_betas": [0.1, 0.2]}, "there are 2 betas for 1000 timesteps"),
        ({"rescale_betas_zero_snr": True}, "x_0 cannot be found from eps; train for v or x_0"),
    ],
)
def test_what_the_library_takes_silently_is_named(options: dict, problem: str) -> None:
    scheduler = diffusers.DDPMScheduler(**options)
    assert problem in gaps.config_problem(scheduler)
    assert problem in gaps.chain_problem(scheduler, 10)  # no chain of it can be right


@seen_to_0_42
@pytest.mark.parametrize("spacing", SPACINGS)
def test_ddim_chains_are_refused_exactly_where_a_step_leaves_the_list(spacing: str) -> None:
    scheduler = diffusers.DDIMScheduler(num_train_timesteps=60, timestep_spacing=spacing)
    for n in range(1, 61):
        scheduler.set_timesteps(n)
        own = scheduler.timesteps.tolist()
        following = [*own[1:], -1]
        stepped = [max(t - 60 // n, -1) for t in own]  # what Diffusers 0.42.1 does
        problem = gaps.chain_problem(scheduler, n)
        if len(own) != n:
            assert problem.startswith(f"{n} steps are {n + 1} timesteps from 59 to -1")
        elif stepped == following:
            assert problem is None, (n, problem)
        else:
            wrong = next(t for t, a, b in zip(own, stepped, following, strict=True) if a != b)
            assert problem.startswith(f"from t={wrong} DDIMScheduler does not "), n


@seen_to_0_42
def test_ddpm_chains_that_go_wrong() -> None:
    trailing = diffusers.DDPMScheduler(timestep_spacing="trailing")
    assert gaps.chain_problem(trailing, 10) is None
    assert gaps.chain_problem(trailing, 61) == (
        "61 steps are 62 timesteps from 999 to -1 in the 'trailing' list of DDPMScheduler"
    )
    large = diffusers.DDPMScheduler(timestep_spacing="trailing", variance_type="fixed_large")
    assert gaps.chain_problem(large, 10) == (
        "DDPMScheduler adds noise in the last step of its 'trailing' list, at t=99"
    )
    offset = diffusers.DDPMScheduler(steps_offset=1)
    assert gaps.chain_problem(offset, 10) is None
    assert "1000 timesteps from 1000 to 1" in gaps.chain_problem(offset, 1000)
    for spacing, kind in product(SPACINGS[:2], ["fixed_small", "fixed_small_log", "fixed_large"]):
        good = diffusers.DDPMScheduler(timestep_spacing=spacing, variance_type=kind)
        assert all(gaps.chain_problem(good, n) is None for n in (1, 2, 7, 61, 250))


def test_asking_does_not_change_the_scheduler() -> None:
    scheduler = diffusers.DDPMScheduler(500)
    scheduler.set_timesteps(5)
    gaps.chain_problem(scheduler, 50)
    assert scheduler.timesteps.tolist() == [400, 300, 200, 100, 0]
    assert scheduler.config.num_train_timesteps == 500
    state = torch.get_rng_state()
    gaps.chain_problem(scheduler, 50)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_end_of_a_ddim_chain_is_judged_by_its_own_final_level() -> None:
    options = {"set_alpha_to_one": False, "timestep_spacing": "leading"}
    assert gaps.chain_problem(diffusers.DDIMScheduler(**options), 10) is None


@pytest.mark.parametrize("n", [10, 61, 103, 1000])
def test_trailing_timesteps_are_those_of_the_paper(n: int) -> None:
    scheduler = diffusers.DDPMScheduler(timestep_spacing="trailing")
    gaps.set_trailing_timesteps(scheduler, n)
    numerators, denominator = oracle.timesteps(oracle.Setting(timestep_spacing="trailing"), n)
    assert len(scheduler.timesteps) == n
    assert (2 * (scheduler.timesteps * denominator - numerators).abs() <= denominator).all()
    assert int(scheduler.previous_timestep(scheduler.timesteps[-1])) == -1


@seen_to_0_42
def test_no_noise_is_left_in_a_ten_step_picture() -> None:
    scheduler = diffusers.DDPMScheduler(timestep_spacing="trailing", variance_type="fixed_large")
    scheduler.set_timesteps(10)
    zeros = torch.zeros(1, 1, 64, 64)

    def std(step, t: int) -> float:
        generator = torch.Generator().manual_seed(0)
        return step(zeros, t, zeros, generator=generator).prev_sample.std().item()

    def mended(*args, **kwargs):
        return gaps.step_without_last_noise(scheduler, *args, **kwargs)

    # The gap: std sqrt(1 - alpha_bar_99); 5 sigma of the std of 4,096 draws.
    left = (1 - scheduler.alphas_cumprod[99].item()) ** 0.5
    assert std(scheduler.step, 99) == pytest.approx(left, rel=5 / (2 * 4096) ** 0.5)
    assert std(mended, 99) == 0
    for t in scheduler.timesteps[:-1]:
        assert std(mended, t) == std(scheduler.step, t) > 0
    assert torch.equal(
        mended(zeros, 99, zeros).prev_sample, mended(zeros, 99, zeros).pred_original_sample
    )


@seen_to_0_42
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("method", ["add_noise", "get_velocity"])
def test_half_precision_by_way_of_float32(dtype: torch.dtype, method: str) -> None:
    scheduler = diffusers.DDPMScheduler()
    generator = torch.Generator().manual_seed(0)
    x_0, noise = torch.randn(2, 11, 3, 4, 4, generator=generator).to(dtype)
    t = torch.arange(11)
    table = oracle.table(oracle.betas(oracle.Setting()))
    right = {"add_noise": oracle.add_noise, "get_velocity": oracle.velocity}[method]
    exact = right(x_0.double(), noise.double(), table, t)
    ours = gaps.in_float32(getattr(scheduler, method), x_0, noise, t)
    assert ours.dtype == dtype
    # One rounding of the result, and float32's 3e-4 of the noise level at t = 0, which is below it.
    unit = torch.finfo(dtype).eps / 2
    assert_close(ours.double(), exact, rtol=2 * unit, atol=2 * unit * 0.1)
    theirs = getattr(scheduler, method)(x_0, noise, t)[0]
    assert (theirs.double() - exact[0]).abs().max() > 0.008  # the noise of 0.01 is not there
