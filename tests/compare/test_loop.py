"""The role `sample`: a loop is judged by what its model sees, down to coefficients a little off."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from compare import Adapter
from compare.candidate.from_oracle import sample_of
from compare.candidate.subject import Subject
from compare.mistakes import BY_ID
from compare.oracle import Oracle, Setting
from compare.stages.loop import judge_loop
from compare.verdict import conventions
from compare.verdict.judge import judge
from compare.verdict.quiet import quiet
from compare.verdict.report import Report
from tests.compare import written
from tests.often import each

ALPHA = 1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
ALPHA_BAR = ALPHA.cumprod(0)


def loop(
    of_x: Callable[[float], float],
    evaluates: bool = True,
    loud: Callable[[int], float] = lambda t: 1,
    alpha: torch.Tensor = ALPHA,
) -> Adapter:
    """Algorithm 2 in its posterior form; `of_x` changes the coefficient of x_t, `loud` sigma.

    It keeps its model, and may forget to switch it. A table of its own is shown.
    """
    alpha_bar = alpha.cumprod(0)

    class Keeper:
        """Nobody else can switch the mode of its model."""

        model: Any

        def sample(self, shape, generator):
            if evaluates:
                self.model.eval()
            x = torch.randn(shape, generator=generator)
            for t in reversed(range(len(alpha))):
                a, ab = float(alpha[t]), float(alpha_bar[t])
                prev = float(alpha_bar[t - 1]) if t else 1.0
                out = self.model(x, torch.full(shape[:1], t))
                x_0 = (x - (1 - ab) ** 0.5 * out) / ab**0.5
                x = prev**0.5 * (1 - a) / (1 - ab) * x_0 + of_x(a) * (1 - prev) / (1 - ab) * x
                if t:
                    sigma = ((1 - prev) / (1 - ab) * (1 - a)) ** 0.5
                    # drawn in float64, which is not replayed: what is left is judged by its law
                    z = torch.randn(shape, generator=generator, dtype=torch.float64).float()
                    x = x + loud(t) * sigma * z
            return x

    def sample(model, shape, generator):
        keeper = Keeper()
        keeper.model = model
        return keeper.sample(shape, generator)

    shown = None if alpha is ALPHA else lambda: alpha_bar
    return Adapter(sample=sample, alpha_bar=shown, name="loop")


def test_a_right_loop_passes() -> None:
    report = judge(loop(lambda alpha: alpha**0.5), "quick", 0, beside=False)
    assert report.passed, str(report)
    assert any(c.id == "sampling/loop/steps-x" for c in report.checks)


@pytest.mark.long
def test_alpha_for_its_root_is_named_though_no_std_shows_it() -> None:
    report = judge(loop(lambda alpha: alpha), "quick", 0, beside=False)
    failing = [c.id for c in report.checks if not c.passed]
    assert failing == ["sampling/loop/steps"]
    assert [d.bug for d in report.diagnoses] == ["39"]


@pytest.mark.long
@pytest.mark.parametrize("factor", [0.999, 1.001])
def test_a_thousandth_of_the_coefficient_is_found(factor: float) -> None:
    subject = Subject(loop(lambda alpha: factor * alpha**0.5), "loop", "quick", 0)
    with quiet():
        conventions.read(subject)
        checks = list(judge_loop(subject, Oracle()))
    assert [c.id for c in checks if not c.passed] == ["sampling/loop/steps"]


def test_two_faults_of_a_loop_are_both_named() -> None:
    short = 1 - torch.linspace(1e-4, 0.2, 60, dtype=torch.float64)
    wrong = loop(lambda alpha: alpha, evaluates=False, alpha=short)
    report = judge(wrong, "quick", 0, beside=False)
    assert [d.bug for d in report.diagnoses] == ["95", "39"], str(report)


@pytest.mark.long
def test_what_is_in_no_catalogue_does_not_hide_what_is() -> None:
    """Quieter noise in the first half of the way is not blamed on another law of z; by which table
    it would be wrong is open, as none is shown."""
    wrong = loop(lambda alpha: alpha**0.5, False, loud=lambda t: 0.9 if t > 500 else 1)
    report = judge(wrong, "quick", 0, beside=False)
    assert [d.bug for d in report.diagnoses] == ["95"], str(report)
    assert "no table is shown" in str(report)


def implicit(direction: Callable[[float, float], float]) -> Adapter:
    """DDIM with eta = 0.5 in 50 steps; `direction` squared is of alpha-bar_prev and sigma."""
    visited = [(t, t - 20) for t in reversed(range(0, 1000, 20))]

    def sample(model, shape, generator):
        model.eval()
        x = torch.randn(shape, generator=generator)
        for t, before in visited:
            ab, prev = float(ALPHA_BAR[t]), float(ALPHA_BAR[before]) if before >= 0 else 1.0
            sigma = 0.5 * ((1 - prev) / (1 - ab) * (1 - ab / prev)) ** 0.5
            eps = model(x, torch.full(shape[:1], t))
            x_0 = (x - (1 - ab) ** 0.5 * eps) / ab**0.5
            x = prev**0.5 * x_0 + max(direction(prev, sigma), 0) ** 0.5 * eps
            if before >= 0:
                x = x + sigma * torch.randn(shape, generator=generator)
        return x

    return Adapter(alpha_bar=lambda: ALPHA_BAR, sample=sample, name="implicit")


@pytest.mark.parametrize(
    ("direction", "bugs"),
    [
        (lambda prev, sigma: 1 - prev - sigma**2, []),
        (lambda prev, sigma: 1 - prev, ["82"]),
        (lambda prev, sigma: 1 - prev - sigma, ["82-square"]),
    ],
)
def test_a_loop_of_ddim_is_named_by_its_own_mistakes(direction, bugs) -> None:
    report = judge(implicit(direction), "quick", 0, beside=False)
    assert [d.bug for d in report.diagnoses] == bugs, str(report)


def test_a_single_wrong_byte_is_found() -> None:
    setting = Setting(num_train_timesteps=60, beta_end=0.3)
    inside = sample_of(Oracle(), setting, uint8=True)

    def sample(model, shape, generator):
        pictures = inside(model, shape, generator)
        pictures[31:, 0, 0, 0] ^= 1  # of the large batch
        return pictures

    wrong = Adapter(alpha_bar=lambda: Oracle().alpha_bar(setting), sample=sample)
    report = judge(wrong, "quick", 0, beside=False)
    failed = [c for c in report.checks if not c.passed]
    assert [c.id for c in failed] == ["sampling/loop/pictures"], str(report)
    assert failed[0].message.startswith("1 of 4096 bytes are not ")


@pytest.mark.parametrize("clamped", [True, False])
def test_bytes_of_large_pictures_are_judged_by_both_halves(clamped: bool) -> None:
    setting = Setting(num_train_timesteps=60, beta_end=0.3)
    inside = sample_of(Oracle(), setting)

    def sample(model, shape, generator):
        x = inside(model, (shape[0], 3, 32, 32), generator)  # the size is written in
        x = x.clamp(-1, 1) if clamped else x
        return ((x + 1) * 127.5).round().to(torch.int64).to(torch.uint8)

    own = Adapter(alpha_bar=lambda: Oracle().alpha_bar(setting), sample=sample)
    report = judge(own, "quick", 0, beside=False)
    named = [d.bug for d in report.diagnoses]
    assert named == ([] if clamped else ["69-clamp"]), str(report)


@pytest.mark.parametrize("white", [127.0, 200.0])
def test_bytes_of_another_range_are_not_called_wrapped(white: float) -> None:
    setting = Setting(num_train_timesteps=60, beta_end=0.3)
    inside = sample_of(Oracle(), setting)

    def sample(model, shape, generator):
        x = inside(model, shape, generator).clamp(-1, 1)
        return ((x + 1) / 2 * white).to(torch.uint8)

    own = Adapter(alpha_bar=lambda: Oracle().alpha_bar(setting), sample=sample)
    (only,) = judge(own, "quick", 0, beside=False).diagnoses
    assert (only.bug, only.explanation) == (
        None,
        f"loop/clamp: brighter than white becomes {white:.0f}, darker than black 0",
    )


T = 60
BETA = torch.linspace(1e-3, 0.2, T)
KEPT = 1 - BETA
PRODUCT = KEPT.cumprod(0)


def step_at(i, x, eps, power=0.5):
    return (x - BETA[i] / (1 - PRODUCT[i]) ** power * eps) / KEPT[i].sqrt()


def ending(last=lambda x, eps: step_at(0, x, eps), end=lambda x: x, power=0.5) -> Adapter:
    """A loop in the epsilon form with a step at t = 0 and an end of its own."""

    def sample(model, shape):
        model.eval()
        x = torch.randn(shape)
        for i in reversed(range(1, T)):
            eps = model(x, torch.full((shape[0],), i))
            x = step_at(i, x, eps, power) + BETA[i].sqrt() * torch.randn(shape)
        return end(last(x, model(x, torch.zeros(shape[0], dtype=torch.long))))

    return Adapter(alpha_bar=lambda: PRODUCT, sample=sample, name="ending")


def with_noise(x, eps):
    return step_at(0, x, eps) + BETA[0].sqrt() * torch.randn_like(x)


def of_alpha_bar_before(before, alpha):
    """The step at t = 0 in its posterior form, with this in the place of the 1 before it."""

    def last(x, eps):
        ab = PRODUCT[0]
        x_0 = (x - (1 - ab).sqrt() * eps) / ab.sqrt()
        c_0, c_t = before.sqrt() * (1 - alpha) / (1 - ab), alpha.sqrt() * (1 - before) / (1 - ab)
        return c_0 * x_0 + c_t * x

    return last


WRAPS = of_alpha_bar_before(PRODUCT[-1], PRODUCT[0] / PRODUCT[-1])
ROLLED = of_alpha_bar_before(PRODUCT[-1], KEPT[0])
ENDINGS = {
    "right": (ending(), []),
    "right, clamped": (ending(end=lambda x: x.clamp(-1, 1)), []),
    "stretched to [0, 1]": (ending(end=lambda x: (x - x.min()) / (x.max() - x.min())), [None]),
    "stretched": (ending(end=lambda x: 2 * (x - x.min()) / (x.max() - x.min()) - 1), [None]),
    "each image stretched": (ending(end=lambda x: x / x.abs().amax((1, 2, 3), True)), [None]),
    "noise": (ending(with_noise), ["56"]),
    "exchanged": (ending(lambda x, eps: step_at(0, eps, x)), [None]),
    "thrown away": (ending(lambda x, eps: x), ["79-thrown"]),
    "wraps": (ending(WRAPS), ["3-wraps"]),
    "wraps, clamped": (ending(WRAPS, lambda x: x.clamp(-1, 1)), ["3-wraps"]),
    "wraps, in [0, 1]": (ending(WRAPS, lambda x: ((x + 1) / 2).clamp(0, 1)), ["3-wraps"]),
    "rolled": (ending(ROLLED), ["3-rolled"]),
    "rolled, clamped": (ending(ROLLED, lambda x: x.clamp(-1, 1)), ["3-rolled"]),
}


@pytest.mark.parametrize("name", each(3, ENDINGS))
def test_an_ending_is_told_by_what_a_mistake_predicts(name: str) -> None:
    """A table read at -1 allows much of what it predicts, and explains no other wrong ending."""
    candidate, bugs = ENDINGS[name]
    report = judge(candidate, "quick", 0, beside=False)
    assert [d.bug for d in report.diagnoses] == bugs, str(report)


@pytest.mark.parametrize(
    ("candidate", "first", "second"),
    [
        (
            ending(lambda x, eps: step_at(0, x, eps / (1 - PRODUCT[0]).sqrt()), power=1),
            "43",
            "42-minus-one",
        ),
        (ending(lambda x, eps: x, lambda x: ((x + 1) / 2).clamp(0, 1)), "79-thrown", "3"),
    ],
    ids=["43", "thrown"],
)
def test_of_twins_both_are_told_the_likelier_first(candidate, first, second) -> None:
    report = judge(candidate, "quick", 0, beside=False)
    (diagnosis,) = report.to_dict()["diagnoses"]
    assert (diagnosis["bug"], diagnosis["twin"]) == (first, second)
    words = [diagnosis["explanation"].index(BY_ID[bug].words) for bug in (first, second)]
    assert words == sorted(words)
    assert f"[mistake {first}: {BY_ID[first].name}; or {second}]" in str(report)


@pytest.mark.parametrize(("end", "exit_status"), [(0.02, 0), (0.2, 2)])
def test_a_loop_without_a_table_is_judged_by_the_usual_betas_or_left_open(end, exit_status) -> None:
    """Its T is read off the steps that it visits; betas of its own nobody can know."""
    betas = torch.linspace(1e-4, end, 50, dtype=torch.float64)
    hidden = sample_of(Oracle(), Setting(num_train_timesteps=50, beta_end=end))
    report = judge(Adapter(sample=hidden, name="hidden"), "quick", 0, beside=False)
    assert report.exit_status == exit_status, str(report)
    if exit_status:
        came, _, rest = report.verdict.partition(", and by the usual one, ")
        assert came == (
            "hidden is undecided: no table is shown under a name such as alphas_cumprod, "
            "alpha_bar or ab"
        )
        usual, _, cure = rest.partition(". If your code goes by another alpha-bar, ")
        assert usual.startswith("linear betas 0.0001..0.02 with T = 50, it differs from the papers")
        assert cure == (
            "say it in an Adapter (`ddpm adapt` prints one): alpha_bar=lambda: YOURS, "
            "(T,) numbers for t = 0..T-1"
        )
        assert not report.diagnoses
    shown = Adapter(sample=hidden, alpha_bar=lambda: (1 - betas).cumprod(0))
    assert judge(shown, "quick", 0, beside=False).passed


def test_a_mistake_in_a_loop_without_a_table_is_named() -> None:
    wrong = sample_of(BY_ID["45"].oracle(), Setting(num_train_timesteps=50))
    report = judge(Adapter(sample=wrong), "quick", 0, beside=False)
    assert [d.bug for d in report.diagnoses] == ["45"], str(report)


def along(listed: list[int], stay: bool = True) -> Adapter:
    """DDIM along a list; `stay`: a step from 0 to 0 leaves x where it is."""

    def sample(model, shape):
        model.eval()
        x = torch.randn(shape)
        for t, before in zip(listed, [*listed[1:], -1], strict=True):
            ab = float(ALPHA_BAR[t])
            known = before >= 0 if stay else t > 0
            prev = float(ALPHA_BAR[before]) if known else 1.0
            eps = model(x, torch.full(shape[:1], t))
            x = prev**0.5 * (x - (1 - ab) ** 0.5 * eps) / ab**0.5 + (1 - prev) ** 0.5 * eps
        return x

    return Adapter(alpha_bar=lambda: ALPHA_BAR, sample=sample, name="along")


QUADRATIC = [int(i**2) for i in torch.linspace(0, 800**0.5, 30, dtype=torch.float64).tolist()]


def test_a_quadratic_list_may_end_with_0_twice() -> None:
    report = judge(along(QUADRATIC[::-1]), "quick", 0, beside=False)
    assert report.passed, str(report)
    words = "a quadratic list of its own, with 2 steps from 0 (read off)"
    assert report.conventions["list"].endswith(words)


@pytest.mark.parametrize(
    "wrong",
    [
        along(QUADRATIC[::-1], stay=False),  # the noise of t = 0 is taken off twice
        along([*QUADRATIC[:1:-1], 4, 4, 0]),
        along([*QUADRATIC[::-1], 3]),
    ],
    ids=["removed twice", "4 twice", "up at the end"],
)
def test_a_list_with_another_step_twice_is_none(wrong: Adapter) -> None:
    report = judge(wrong, "quick", 0, beside=False)
    assert {d.stage for d in report.diagnoses} == {"sampling"}, str(report)


# --- what images share, and seeds ---


def of_x_T(shape, g):
    return torch.randn(shape, generator=g)


def drawing(start=of_x_T, noise=of_x_T, power=0.5, seed=None, steps=T) -> Adapter:
    """A loop that draws in words of its own; `seed`: sets one at the start, or after x_T."""
    alpha_bar = PRODUCT[:steps]

    def sample(model, shape, generator):
        model.eval()
        if seed == "start":
            torch.manual_seed(0)
        x = start(shape, generator if seed is None else None)
        if seed == "after":
            torch.manual_seed(0)
        for i in reversed(range(steps)):
            x = step_at(i, x, model(x, torch.full((shape[0],), i)), power)
            if i:
                x = x + BETA[i].sqrt() * noise(shape, generator if seed is None else None)
        return x

    return Adapter(alpha_bar=lambda: alpha_bar, sample=sample, name="drawing")


def one_by_one(shape, g):
    return torch.stack([torch.randn(shape[1:], generator=g) for _ in range(shape[0])])


def again(shape, g):
    """A generator of its own, seeded from what is given."""
    own = torch.Generator().manual_seed(int(torch.randint(2**40, (), generator=g)))
    return torch.randn(shape, generator=own)


def expanded(shape, g):
    return torch.randn(1, *shape[1:], generator=g).expand(shape)


def repeated(shape, g):
    return torch.randn(shape[1:], generator=g).repeat(shape[0], 1, 1, 1)


def of_the_first(shape, g):
    return torch.randn(shape, generator=g)[:1].expand(shape)


def fixed(shape, g):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def judged(candidate: Adapter, seed: int = 0) -> Report:
    return judge(candidate, "quick", seed, beside=False)


@pytest.mark.parametrize(
    ("start", "noise"), [(one_by_one, one_by_one), (again, of_x_T), (of_x_T, again)]
)
def test_noise_in_other_words_is_each_image_s_own(start, noise) -> None:
    report = judged(drawing(start, noise))
    assert report.passed, str(report)


SHARED = {
    "x_T, expanded": ((expanded, of_x_T), "62-start"),
    "x_T, repeated": ((repeated, one_by_one), "62-start"),
    "x_T, the first": ((of_the_first, of_x_T), "62-start"),
    "z, expanded": ((of_x_T, expanded), "62-loop"),
    "z, repeated": ((one_by_one, repeated), "62-loop"),
    "z, the first": ((of_x_T, of_the_first), "62-loop"),
    "both": ((expanded, repeated), "62"),
    "seeded, x_T alone": ((fixed, of_x_T), "61-seed"),
    "the same z at each step": ((of_x_T, fixed), "61-loop"),
}


@pytest.mark.parametrize("name", each(2, SHARED))
def test_what_the_images_of_a_batch_share_has_a_name(name: str) -> None:
    draws, bug = SHARED[name]
    report = judged(drawing(*draws), seed=3)
    assert [d.bug for d in report.diagnoses] == [bug], str(report)


def uniform_of_each_image(shape, g):
    """One number for all pixels of an image, and not from N(0, 1): no image shares another's."""
    return torch.rand(shape[0], 1, 1, 1, generator=g).expand(shape)


def test_noise_that_is_wrong_otherwise_is_not_called_shared_by_the_batch() -> None:
    report = judged(drawing(noise=uniform_of_each_image))
    assert report.exit_status == 1
    assert "62-loop" not in [d.bug for d in report.diagnoses], str(report)


@pytest.mark.parametrize("draw", each(2, [expanded, repeated, of_the_first]))
def test_a_shared_x_T_is_found_on_every_seed(draw) -> None:
    """By the numbers themselves, and not by any law of theirs."""
    for seed in range(20):
        subject = Subject(drawing(draw, steps=8), "drawing", "quick", seed)
        with quiet():
            conventions.read(subject)
            wrong = next(check for check in judge_loop(subject, Oracle()) if not check.passed)
        assert wrong.id == "sampling/loop/start-apart", seed


@pytest.mark.long
@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("name", ["x_T, expanded", "z, expanded"])
def test_what_they_share_is_named_on_every_seed(name: str, seed: int) -> None:
    draws, bug = SHARED[name]
    report = judged(drawing(*draws), seed)
    assert [d.bug for d in report.diagnoses] == [bug], str(report)


@pytest.mark.parametrize(("seed", "bug"), [("start", "61-seed"), ("after", "61-seed-z")])
def test_a_seed_inside_sample_is_named_and_hides_nothing(seed: str, bug: str) -> None:
    report = judged(drawing(seed=seed))
    (diagnosis,) = report.to_dict()["diagnoses"]
    assert (diagnosis["bug"], diagnosis["name"]) == (bug, BY_ID[bug].name)
    both = judged(drawing(seed=seed, power=1))
    assert {d.bug for d in both.diagnoses} == {bug, "43"}, str(both)


def test_an_x_T_that_nobody_draws_is_no_seed() -> None:
    report = judged(drawing(lambda shape, g: torch.zeros(shape)))
    assert not report.passed
    assert "61-seed" not in [d.bug for d in report.diagnoses], str(report)


def test_a_loop_that_counts_from_0_beside_a_table_that_begins_at_1_is_told_both():
    abs = torch.cat(
        [torch.ones(1, dtype=torch.float64), (1 - torch.linspace(1e-3, 0.2, 40)).cumprod(0)]
    )

    def sample(model, shape, generator):
        x = torch.randn(shape, generator=generator)
        model.eval()
        for t in reversed(range(40)):
            before, ab = abs[max(t - 1, 0)], abs[t]
            out = model(x, torch.full(shape[:1], t)).double()
            inside = (1 - ab / before) / (1 - ab).clamp(min=1e-9).sqrt()
            x = ((x - inside * out) / (ab / before).sqrt()).float()
            x = x + (1 - ab / before).sqrt().float() * torch.randn(shape, generator=generator)
        return x

    (only,) = judge(Adapter(lambda: abs, sample=sample), "quick", 0, beside=False).diagnoses
    assert "asked at 39, 38, ..., 0, should be 40, 39, ..., 1" in only.explanation
    assert "the loop counts t from 0, the table from 1" in only.explanation


@pytest.mark.long
def test_pictures_that_are_no_numbers_do_not_depend_on_their_batch():
    def sample(model, shape, generator):
        return right(model, shape, generator) * float("nan")

    right = loop(lambda a: a**0.5).sample
    report = judge(Adapter(lambda: ALPHA_BAR, sample=sample), "quick", 0, beside=False)
    failing = [check.id for check in report.checks if not check.passed]
    assert failing == ["sampling/loop/pictures"], str(report)


def test_pictures_that_are_no_numbers_say_nothing_of_generators() -> None:
    """The loop draws from the global state, whatever generators it is given."""
    right = written.loop(20)

    def sample(model, shape, generator):
        return right.sample(model, shape, None) * torch.nan

    report = judge(Adapter(right.alpha_bar, sample=sample), "quick", 0, beside=False)
    assert report.exit_status == 1
    assert "generator" not in report.verdict, str(report)


@pytest.mark.parametrize("number", ["nan", "inf"])
def test_a_t_that_is_no_number_is_the_loop_s_fault(number: str) -> None:
    def sample(model, shape, generator) -> torch.Tensor:
        x = torch.randn(shape, generator=generator)
        for _ in range(20):
            x = x - 0.1 * model(x, torch.full(shape[:1], float(number)))
        return x

    setting = Setting(num_train_timesteps=20)
    report = judge(
        Adapter(sample=sample, alpha_bar=lambda: Oracle().alpha_bar(setting)), "quick", 0
    )
    assert report.exit_status == 1
    assert f"sample tells its model t = {number}" in report.verdict


def test_a_loop_of_one_call_is_not_passed() -> None:
    def sample(model, shape, generator) -> torch.Tensor:
        return model(torch.randn(shape, generator=generator), torch.zeros(shape[0]).long())

    report = judge(Adapter(lambda: ALPHA_BAR, sample=sample), "quick", 0, beside=False)
    assert report.exit_status == 2
    assert "the model is asked once" in report.verdict


@pytest.mark.parametrize(
    ("factor", "said"), each(2, [(1e34, "numbers of size"), (torch.nan, "NaN")])
)
def test_a_step_that_leaves_all_numbers_is_found(factor: float, said: str) -> None:
    def sample(model, shape, generator) -> torch.Tensor:
        x = torch.randn(shape, generator=generator)
        for t in reversed(range(len(ALPHA_BAR))):
            x = factor * (x - model(x, torch.full(shape[:1], t)))
        return x

    report = judge(Adapter(lambda: ALPHA_BAR, sample=sample), "quick", 0, beside=False)
    (check,) = [c for c in report.checks if c.id == "sampling/loop/finite"]
    assert check.message.startswith(f"the step from t={len(ALPHA_BAR) - 1} gives {said}")


def test_a_loop_that_asks_too_often_is_told_how_often() -> None:
    def sample(model, shape, generator) -> torch.Tensor:
        x = torch.randn(shape, generator=generator)
        for t in 2 * [*reversed(range(len(ALPHA_BAR)))]:
            x = x - 0.1 * model(x, torch.full(shape[:1], t))
        return x

    report = judge(Adapter(lambda: ALPHA_BAR, sample=sample), "quick", 0, beside=False)
    T = len(ALPHA_BAR)
    assert f"{2 * T} calls, should be {T}" in report.verdict


def test_a_loop_that_hands_its_model_complex_numbers_is_told_so() -> None:
    """A power of 0.5 of what rounding makes negative, in Python's numbers."""

    def sample(model, shape, generator):
        model.eval()
        x = torch.randn(shape, generator=generator)
        for t in reversed(range(1000)):
            ab, prev = float(ALPHA_BAR[t]), float(ALPHA_BAR[t - 1]) if t else 1.0
            eps = model(x, torch.full(shape[:1], t))
            x_0 = (x - (1 - ab) ** 0.5 * eps) / ab**0.5
            less = (1 - prev) * (1 + 1e-12)
            x = prev**0.5 * x_0 + (1 - prev - less) ** 0.5 * eps
        return x

    report = judge(Adapter(lambda: ALPHA_BAR, sample=sample), "quick", 0, beside=False)
    assert report.exit_status == 1, str(report)
    assert "its model is handed complex numbers" in report.verdict
    assert ", in the step from t=" in report.verdict
