"""Whole chains: what no single step shows is found there, and nothing else is blamed on them."""

from dataclasses import dataclass, replace

import pytest
import torch

from compare.candidate.from_oracle import scheduler
from compare.candidate.spy import CENTRE, SPREAD, affine_denoiser, exact_denoiser
from compare.candidate.subject import Subject
from compare.measure.chain_end import at_the_end
from compare.measure.chains import IMAGES
from compare.measure.noise import RIGHT
from compare.oracle import Oracle, Setting
from compare.stages.sampling import checks, marginals
from compare.verdict.judge import judge
from compare.verdict.report import Report
from tests.often import each

SHORT = Setting(num_train_timesteps=400, beta_end=0.05)


@dataclass
class Given:
    """In place of a generator: the noise itself."""

    z: torch.Tensor


def _draw(shape, generator, dtype):
    if isinstance(generator, Given):
        return generator.z
    return torch.randn(shape, generator=generator, dtype=dtype)


class Keeping(scheduler(replace(Oracle(), draw=_draw))):
    """A right scheduler that knows how often it was called with the same generator."""

    owner, count = None, 0

    def __init__(self, num_train_timesteps=400, beta_end=0.05, clip_sample=False):
        super().__init__(num_train_timesteps, beta_end=beta_end, clip_sample=clip_sample)

    def step(self, model_output, timestep, sample, generator=None):
        if generator is not self.owner:
            self.owner, self.count, self.kept = generator, 0, {}
        self.count += 1
        noise = (
            Given(self.noise(sample, generator))
            if self._at(int(timestep), self.setting)[2]
            else None
        )
        return super().step(model_output, timestep, sample, noise)

    def noise(self, sample, generator):
        return torch.randn(sample.shape, generator=generator)


class Pooled(Keeping):
    """Goes round in the noise of the first eight calls."""

    def noise(self, sample, generator):
        return self.kept.setdefault(
            (self.count % 8, sample.shape), super().noise(sample, generator)
        )


class Echo(Keeping):
    """A tenth of the noise of two calls before comes back; the variance is right."""

    def noise(self, sample, generator):
        z = super().noise(sample, generator)
        before = self.kept.get((self.count - 2, sample.shape))
        if before is not None:
            z = 0.1 * before + 0.99**0.5 * z
        self.kept[self.count, sample.shape] = z
        return z


class Momentum(Keeping):
    """Goes on a little in the direction of the step before, of the same chain."""

    def step(self, model_output, timestep, sample, generator=None):
        result = super().step(model_output, timestep, sample, generator)
        if "x" in self.kept and self.kept["x"].shape == sample.shape:
            result.prev_sample = result.prev_sample + 0.02 * (sample - self.kept["x"])
        self.kept["x"] = sample.clone()
        return result


class Repeating(Keeping):
    """Its noise is drawn for 300 images and repeated for more."""

    def noise(self, sample, generator):
        z = super().noise(sample[:300], generator)
        return z.repeat(-(-len(sample) // 300), 1, 1, 1)[: len(sample)]


class Waning(Keeping):
    """One per cent less noise from the third call of a generator on."""

    def noise(self, sample, generator):
        return super().noise(sample, generator) * (0.99 if self.count > 2 else 1.0)


class Tired(Keeping):
    """After a whole chain its noise is a tenth too small: what it keeps is never set back."""

    done = False

    def step(self, model_output, timestep, sample, generator=None):
        result = super().step(model_output, timestep, sample, generator)
        self.done = self.done or (self.count > 3 and int(timestep) == 0)
        return result

    def noise(self, sample, generator):
        return super().noise(sample, generator) * (0.9 if self.done else 1.0)


class InPlace(Keeping):
    """Leaves another x_t behind."""

    def step(self, model_output, timestep, sample, generator=None):
        result = super().step(model_output, timestep, sample, generator)
        sample.mul_(0.5)
        return result


HIDDEN = {
    Pooled: ("fresh", "like that of 8 calls before"),
    Echo: ("fresh", "like that of 2 calls before"),
    Momentum: ("fresh", "noise of the step from"),
    Repeating: ("batch-mates", "noise of image 300 is like that of image 0"),
    Waning: ("clipped-all/steps", "std 0.99"),
    Tired: ("clipped/again", "another way"),
}


def verdict(candidate: type) -> Report:
    return judge(candidate, "quick", 0, beside=False, base=SHORT)


@pytest.mark.parametrize(
    "candidate",
    [pytest.param(c, marks=() if c is Echo else pytest.mark.long) for c in HIDDEN],
    ids=lambda c: c.__name__,
)
def test_what_no_single_step_shows_is_found_in_chains(candidate: type) -> None:
    report = verdict(candidate)
    assert {c.stage for c in report.checks if not c.passed} == {"sampling"}, str(report)
    what, words = HIDDEN[candidate]
    assert any(what in c.id and words in c.message for c in report.checks if not c.passed)
    assert [(d.bug, d.stage) for d in report.diagnoses] == [(None, "sampling")], str(report)


@pytest.mark.parametrize("seed", each(3, range(3)))
def test_one_that_keeps_nothing_passes(seed: int) -> None:
    report = judge(Keeping, "quick", seed, beside=False, base=SHORT)
    assert report.passed, str(report)
    walked = {c.id for c in report.checks if c.id.startswith("sampling/clipped-all/")}
    assert {i.split("/")[2] for i in walked} == set(RIGHT)


def test_an_x_t_that_is_changed_in_place_is_said_but_no_fault() -> None:
    report = verdict(InPlace)
    assert report.passed, str(report)
    check = next(c for c in report.checks if c.id == "sampling/inputs")
    assert check.status == "note"
    assert check.message.startswith("step changes x_t in place")


class Loud(Keeping):
    """Noise of another size at one step."""

    def noise(self, sample, generator):
        return 2 * super().noise(sample, generator)


def test_a_wrong_step_is_not_blamed_on_the_chain() -> None:
    report = verdict(Loud)
    assert {d.stage for d in report.diagnoses} == {"variance"}, str(report)
    assert not [c.id for c in report.checks if c.stage == "sampling" and not c.passed]


@pytest.mark.parametrize("t", [57, 200, 398])
def test_the_first_t_at_which_the_law_departs_is_named(t: int) -> None:
    """Five per cent of one standard deviation, seen in the law of x_t by recursion."""
    right = Oracle()

    def std(kind, level, out=None):
        size = right.std(kind, level, out)
        return torch.where(level.t == t, size * 1.05, size)

    class Wrong(Keeping):
        oracle = replace(Keeping.oracle, std=std)

    subject = Subject(Wrong, "wrong", base=SHORT)
    check = next(c for c in checks(subject, Oracle()) if c.id == "sampling/marginals-all")
    assert check.status == "differs"
    assert f"std after the step from t={t}, " in check.message


def test_the_exact_reverse_chain_has_the_laws_of_the_forward_one() -> None:
    """With the variance of the exact posterior the recursion gives q(x_t) back, at every t."""
    right, setting = Oracle(), Setting()
    table = right.alpha_bar(setting)
    t = torch.arange(999, -1, -1)
    level = right.level(table, t, t - 1, setting)
    slope, height = affine_denoiser("sample", table, t)
    one, zero = torch.ones(1000, dtype=torch.float64), torch.zeros(1000, dtype=torch.float64)
    by_x_0, by_x_t = right.mean(one, zero, level), right.mean(zero, one, level)
    left = SPREAD**2 * (1 - table[t]) / (table[t] * SPREAD**2 + 1 - table[t])  # of x_0, given x_t
    std = (right.std("fixed_small", level) ** 2 + by_x_0**2 * left).sqrt()
    mean, variance = marginals(by_x_t + by_x_0 * slope, by_x_0 * height, std)
    before = level.alpha_bar_prev
    start = float(table[-1].sqrt()) * CENTRE  # x_T ~ N(0, 1) lacks what is left of the image
    torch.testing.assert_close(mean, before.sqrt() * CENTRE, atol=start, rtol=0)
    right_variance = before * SPREAD**2 + 1 - before
    torch.testing.assert_close(variance, right_variance, atol=float(table[-1]), rtol=0)


@pytest.mark.parametrize("kind", ["epsilon", "sample", "v_prediction"])
def test_the_exact_denoiser_of_two_modes_is_the_mean_of_x_0_given_x_t(kind: str) -> None:
    """Against a sum over draws of x_0, each weighed by how likely it makes x_t."""
    table, t = Oracle().alpha_bar(Setting()), torch.tensor([300])
    generator = torch.Generator().manual_seed(0)
    sign = torch.randint(0, 2, (400_000, 1), generator=generator) * 2 - 1
    z = torch.randn(400_000, 2, generator=generator, dtype=torch.float64)
    x_0 = 0.1 + 0.7 * sign + 0.3 * z
    x_t = torch.tensor([[0.3, -0.4]], dtype=torch.float64)
    signal, noise = table[t].sqrt(), (1 - table[t]).sqrt()
    likely = (-((x_t - signal * x_0) ** 2).sum(1) / (2 * noise**2)).exp()
    weight = likely / likely.sum()
    mean = (weight[:, None] * x_0).sum(0)
    answer = exact_denoiser(kind, table, 0.1, 0.3, 0.7)(x_t.reshape(1, 1, 1, 2), t).flatten()
    level = Oracle().level(table, t, t - 1, Setting())
    got = Oracle().x_0(kind, answer, x_t.flatten(), level)
    error = float(((x_0 - mean) ** 2 * weight[:, None] ** 2).sum(0).sqrt().max())
    torch.testing.assert_close(got, mean, atol=6 * error, rtol=0)
    assert error < 5e-3


def images(seed: int, shift: float = 0.0, lost: float = 0.5, mates: float = 0.0) -> torch.Tensor:
    """(b, 4) as at the end of a chain: Gaussian ones, then those of two modes."""
    generator, half = torch.Generator().manual_seed(seed), IMAGES[False] // 2
    z = torch.randn(2 * half, 4, generator=generator, dtype=torch.float64)
    before = torch.cat([z[1:], z[:1]])
    z = (1 - mates**2) ** 0.5 * z + mates * before
    sign = (torch.rand(half, 1, generator=generator) < lost) * 2 - 1
    return torch.cat([CENTRE + 0.6 * (z[:half] + shift), 0.7 * sign + 0.3 * z[half:]]).clamp(-1, 1)


FAULTS = {
    "moments": {"shift": 0.3},
    "energy": {"lost": 1.0},
    "projections": {"lost": 0.75},
    "neighbours": {"mates": 0.5},
}


@pytest.mark.parametrize("what", FAULTS)
def test_the_power_at_the_end_of_a_chain(what: str) -> None:
    """Found in each of twenty trials; without the fault, in none of them."""
    for seed in range(20):
        right = images(1000 + seed)
        assert not at_the_end(images(seed, **FAULTS[what]), right)[what].holds, seed
        assert at_the_end(images(seed), right)[what].holds, seed


def test_ddim_is_walked_with_noise_and_without() -> None:
    from compare.candidate.load import load

    found = load("scratch:DDIMScheduler")[0]
    report = judge(found, "quick", 0, only="sampling", beside=False, base=SHORT)
    assert report.passed, str(report)
    ids = {c.id for c in report.checks}
    assert "sampling/clipped-all/silent" in ids
    assert "sampling/clipped-all/steps" not in ids
    assert "sampling/clipped-eta=1-50/steps" in ids


def test_full_walks_more_than_quick() -> None:
    ids = {}
    for level in ("quick", "full"):
        report = judge(
            scheduler(Oracle()),
            level,
            0,
            only="sampling",
            beside=False,
            base=replace(SHORT, num_train_timesteps=60, beta_end=0.3),
        )
        assert report.passed, str(report)
        ids[level] = {c.id for c in report.checks}
    assert ids["quick"] < ids["full"]
    assert "sampling/clipped-v_prediction-all/moments" in ids["full"]


def test_what_follows_from_a_finding_of_a_step_is_as_known() -> None:
    """Diffusers' noise at the end of a `trailing` chain shows in its pictures too."""
    from compare.candidate.load import load

    found = load("diffusers:DDPMScheduler")[0]
    base = replace(SHORT, num_train_timesteps=100, beta_end=0.2, timestep_spacing="trailing")
    report = judge(found, "quick", 0, beside=False, base=replace(base, variance_type="fixed_large"))
    assert report.passed, str(report)
    known = {c.id for c in report.checks if c.status == "known"}
    assert {"sampling/marginals-10", "sampling/clipped-10/silent"} <= known
    assert "noise-at-the-end" in {f["id"] for f in report.findings}


def test_a_probe_that_is_cut_off_is_left_to_the_walk() -> None:
    """Where alpha-bar is 1e-10, x0-hat of what a probe can still give is beyond the clip."""
    ramp = [0.01 + 0.01 * i for i in range(30)]

    class Steep(scheduler(Oracle())):
        def __init__(self):
            super().__init__(31, trained_betas=[*ramp, 1 - 1e-8], clip_sample=True)

    report = judge(Steep, "quick", 0, only="sampling", beside=False)
    assert report.passed, str(report)
    check = next(c for c in report.checks if c.id == "sampling/marginals-all")
    assert check.status == "note"
    assert "walked instead" in check.message
    assert "sampling/clipped-all/steps" in {c.id for c in report.checks}


@pytest.mark.parametrize(("T", "only"), [(1, "ddim"), (1, ""), (3, ""), (4, "ddim")])
def test_a_chain_of_few_steps_is_right(T: int, only: str) -> None:
    """Few steps say little of z, and a hidden x0-hat may round as it likes."""
    base = Setting(num_train_timesteps=T, beta_end=0.9, prediction_type="v_prediction")
    report = judge(scheduler(Oracle(), only), "quick", T, only="sampling", beside=False, base=base)
    assert report.passed, str(report)
    assert "sampling/clipped-all/moments" in {c.id for c in report.checks}
