"""Stage loss: what a training loss feeds the model and compares with, for every target."""

from dataclasses import replace

import pytest
import torch

from compare import Adapter
from compare.candidate.from_oracle import loss_of
from compare.oracle import Loss, Oracle, Setting
from compare.oracle.algorithms import TARGETS
from compare.verdict.judge import judge
from tests.often import each

T = 80
BETA = torch.linspace(1e-3, 0.15, T)
ALPHA_BAR = (1 - BETA).cumprod(0)


def judged(loss, kind: str = "epsilon"):
    adapter = Adapter(alpha_bar=lambda: ALPHA_BAR, loss=loss, prediction_type=kind)
    return judge(adapter, "quick", 0, beside=False)


def written(
    draw_t=lambda b, g: torch.randint(0, T, (b,), generator=g),
    draw=lambda shape, g: torch.randn(shape, generator=g),
    target=lambda x_0, eps, a, s: eps,
    told=lambda t: t,
    weigh=lambda square: square.mean(),
    scale=1.0,
):
    """A loss with one line of its own in other words."""

    def loss(model, x_0, generator):
        t, x_0 = draw_t(len(x_0), generator), scale * x_0
        eps = draw(x_0.shape, generator)
        a, s = (v[t].sqrt()[:, None, None, None] for v in (ALPHA_BAR, 1 - ALPHA_BAR))
        out = model(a * x_0 + s * eps, told(t))
        return weigh((out - target(x_0, eps, a, s)) ** 2)

    return loss


def velocity(x_0, eps, a, s):
    return a * eps - s * x_0


RIGHT = {
    "epsilon": (written(), "epsilon"),
    "v": (written(target=velocity), "v_prediction"),
    "sample": (written(target=lambda x_0, eps, a, s: x_0), "sample"),
    "per image": (written(weigh=lambda square: square.mean(dim=(1, 2, 3))), "epsilon"),
    "absolute": (written(weigh=lambda square: square.sqrt().mean()), "epsilon"),
    "t in pairs": (
        written(draw_t=lambda b, g: torch.randint(0, T, (b // 2,), generator=g).repeat(2)),
        "epsilon",
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_ones_pass(name):
    report = judged(*RIGHT[name])
    assert report.passed, str(report)
    assert not any(c.id == "loss/uniform" for c in report.checks)


RIGHT |= {
    "by hand, of noise with an offset": (
        written(draw=lambda shape, g: torch.randn(shape, generator=g) + channelled(0.4, shape, g)),
        "epsilon",
    ),
    "one offset for an image": (
        written(
            draw=lambda shape, g: torch.randn(shape, generator=g) + channelled(0.3, shape, g, 1)
        ),
        "epsilon",
    ),
    "t and T-1-t": (
        written(draw_t=lambda b, g: mirrored(torch.randint(0, T, (b // 2,), generator=g))),
        "epsilon",
    ),
    "t in strata": (
        written(
            draw_t=lambda b, g: ((torch.arange(b) + torch.rand(b, generator=g)) / b * T).long()
        ),
        "epsilon",
    ),
}


TOGETHER = {
    "t in pairs": "for two images",
    "t and T-1-t": "in pairs (t, T-1-t)",
    "t in strata": "one in each of 512 equal parts",
}


@pytest.mark.parametrize("name", ["epsilon", *TOGETHER])
def test_right_ones_whose_t_hang_together_say_so(name):
    report = judged(*RIGHT[name])
    assert report.passed, str(report)
    said = [c.message for c in report.checks if c.id == "loss/together"]
    assert [TOGETHER[name] in message for message in said] == [True] * (name in TOGETHER), said


UNEVEN = {
    "small t more often": (
        written(draw_t=lambda b, g: (torch.rand(b, generator=g) ** 2 * T).long()),
        "of the t drawn are below",
    ),
    "t about the middle": (
        written(
            draw_t=lambda b, g: (torch.randn(b, generator=g) * T / 5 + T / 2).clamp(0, T - 1).long()
        ),
        "of the t drawn are below",
    ),
}


@pytest.mark.parametrize("name", UNEVEN)
def test_t_that_are_not_uniform_are_told_as_a_weight(name):
    loss, words = UNEVEN[name]
    report = judged(loss, "epsilon")
    assert report.passed, str(report)
    assert [words in c.message for c in report.checks if c.id == "loss/uniform"] == [True]


def channelled(strength, shape, g, channels=None):
    return strength * torch.randn(shape[0], channels or shape[1], 1, 1, generator=g)


def mirrored(t):
    return torch.cat([t, T - 1 - t])


WRONG = {
    "one t for ever": (written(draw_t=lambda b, g: torch.full((b,), T // 2)), "epsilon", None),
    "one noise for the batch": (
        written(draw=lambda shape, g: torch.randn(shape[1:], generator=g).expand(shape)),
        "epsilon",
        None,
    ),
    "one noise for an image": (
        written(draw=lambda shape, g: torch.randn(shape[0], 1, 1, 1, generator=g).expand(shape)),
        "epsilon",
        None,
    ),
    "noise with the wrong sign": (
        written(target=lambda x_0, eps, a, s: -eps),
        "epsilon",
        "47-loss",
    ),
    "the model told t backwards": (written(told=lambda t: T - 1 - t), "epsilon", None),
    "noise for v": (
        written(target=lambda x_0, eps, a, s: eps),
        "v_prediction",
        "27-loss",
    ),
    "v with signal and noise swapped": (
        written(target=lambda x_0, eps, a, s: s * eps - a * x_0),
        "v_prediction",
        "25-loss",
    ),
    "v with the wrong sign": (
        written(target=lambda x_0, eps, a, s: s * x_0 - a * eps),
        "v_prediction",
        "24-minus",
    ),
    "v with a sum": (
        written(target=lambda x_0, eps, a, s: a * eps + s * x_0),
        "v_prediction",
        "24-loss",
    ),
    "the first image alone": (
        written(weigh=lambda square: square[0].mean()),
        "epsilon",
        "32-first",
    ),
    "the image for v": (written(target=lambda x_0, eps, a, s: x_0), "v_prediction", "26-loss"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_ones_are_found_and_blamed_on_the_loss(name):
    loss, kind, bug = WRONG[name]
    report = judged(loss, kind)
    assert [(d.bug, d.stage) for d in report.diagnoses] == [(bug, "loss")], str(report)


@pytest.mark.parametrize("scale", [2.0, 3.0])
def test_images_of_another_range_than_a_mistake_s_are_told_in_letters(scale):
    report = judged(written(target=velocity, scale=scale), "v_prediction")
    (only,) = report.diagnoses
    assert only.bug is None, str(report)
    assert f"your x_0 in x_t has {scale:g} * sqrt(ab_t)" in only.explanation


@pytest.mark.parametrize("kind", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("target", ["epsilon", "sample", "v_prediction"])
def test_every_pair_of_model_and_target_has_its_losses(kind, target):
    """What a perfect model's loss would be is known for wrong targets too, at the t drawn."""
    setting = Setting(num_train_timesteps=T, beta_end=0.15, prediction_type=kind)
    oracle = replace(Oracle(), loss=Loss(target=TARGETS[target]))
    adapter = Adapter(
        alpha_bar=lambda: Oracle().alpha_bar(setting),
        loss=loss_of(oracle, setting),
        prediction_type=kind,
    )
    report = judge(adapter, "quick", 0, beside=False)
    assert report.passed == (kind == target), str(report)
    wanted = {"sample": "26-loss", "epsilon": "27-loss", "v_prediction": "26-v-loss"}[target]
    if kind != target:
        assert [(d.bug, d.stage) for d in report.diagnoses] == [(wanted, "loss")]


def test_of_a_table_that_grows_beyond_float32_the_table_is_told() -> None:
    alpha_bar = (1 - torch.linspace(20, -20, 1000)).cumprod(0)

    def loss(model, x_0):
        t, eps = torch.randint(0, 1000, (len(x_0),)), torch.randn_like(x_0)
        a = alpha_bar[t][:, None, None, None]
        return ((model(a.sqrt() * x_0 + (1 - a).sqrt() * eps, t) - eps) ** 2).mean()

    report = judge(Adapter(alpha_bar=lambda: alpha_bar, loss=loss), "quick", 0, beside=False)
    assert report.exit_status == 1
    assert "beta is above 1 from t=0 on" in report.verdict
    assert "compare itself failed" not in str(report)


def between_two_steps(model, x_0):
    """A level of noise of each image's own (Saharia et al. 2022), told as it is."""
    levels, t = torch.cat([torch.ones(1), ALPHA_BAR]).sqrt(), torch.randint(1, T + 1, (len(x_0),))
    level = levels[t] + (levels[t - 1] - levels[t]) * torch.rand(len(x_0))
    eps, a = torch.randn_like(x_0), level[:, None, None, None]
    return ((model(a * x_0 + (1 - a**2).sqrt() * eps, level) - eps) ** 2).mean()


def log_normal(model, x_0):
    """Karras et al. 2022, without their scaling of what the model is given."""
    sigma, eps = (1.2 * torch.randn(len(x_0), 1, 1, 1) - 1.2).exp(), torch.randn_like(x_0)
    weight = (sigma**2 + 0.25) / (0.5 * sigma) ** 2
    return (weight * (model(x_0 + sigma * eps, sigma.flatten()) - x_0) ** 2).mean()


@pytest.mark.parametrize("loss", [between_two_steps, log_normal])
def test_levels_of_noise_that_are_no_steps_are_not_judged(loss) -> None:
    report = judged(loss)
    assert report.exit_status == 2
    assert f"loss tells its model numbers that are none of {T} steps" in report.verdict


def test_errors_that_cancel_are_found() -> None:
    def loss(model, x_0, generator):
        t = torch.randint(1, T + 1, (len(x_0),), generator=generator)  # counted from 1
        eps = torch.randn(x_0.shape, generator=generator)
        a = ALPHA_BAR[t - 1][:, None, None, None]
        return (model(a.sqrt() * x_0 + (1 - a).sqrt() * eps, t) - eps).mean() ** 2

    assert [d.bug for d in judged(loss).diagnoses] == ["32-before"]


def test_the_last_t_is_missed_by_who_counts_from_1() -> None:
    def loss(model, x_0, generator):
        t = torch.randint(1, T, (len(x_0),), generator=generator)
        eps = torch.randn(x_0.shape, generator=generator)
        a = ALPHA_BAR[t - 1][:, None, None, None]
        return (model(a.sqrt() * x_0 + (1 - a).sqrt() * eps, t) - eps).square().mean()

    assert [d.bug for d in judged(loss).diagnoses] == ["20"]


def failing(loss, seed: int = 0) -> set[str]:
    adapter = Adapter(alpha_bar=lambda: ALPHA_BAR, loss=loss)
    report = judge(adapter, "quick", seed, beside=False)
    return {check.id for check in report.checks if not check.passed}


@pytest.mark.parametrize("factor", each(2, [0.97, 1.03]))
def test_noise_that_is_three_per_cent_off_is_found_in_every_third_of_t(factor: float) -> None:
    loss = written(draw=lambda shape, g: factor * torch.randn(shape, generator=g))
    thirds = {f"loss/noise/std-{third}" for third in ("lower", "middle", "upper")}
    assert thirds <= failing(loss)


def min_snr(square: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    weight = (5 * (1 - ALPHA_BAR[t]) / ALPHA_BAR[t]).clamp(max=1)
    return (weight * square.mean(dim=(1, 2, 3))).mean()


@pytest.mark.parametrize("seed", each(4, range(8)))
def test_a_right_weight_is_never_taken_for_one_that_is_shared(seed: int) -> None:
    """Most t have the same weight, 1: two images say little, those of extreme t do."""

    def loss(model, x_0, generator):
        t = torch.randint(0, T, (len(x_0),), generator=generator)
        eps = torch.randn(x_0.shape, generator=generator)
        a = ALPHA_BAR[t][:, None, None, None]
        return min_snr((model(a.sqrt() * x_0 + (1 - a).sqrt() * eps, t) - eps).square(), t)

    assert failing(loss, seed) == set()


# --- how errors are counted, and times which number ---


def notes(loss, kind: str = "epsilon") -> list[str]:
    """What is noted of a loss that is right."""
    report = judged(loss, kind)
    assert report.passed, str(report)
    return [c.message for c in report.checks if c.status == "note" and c.stage == "loss"]


def huber(delta: float):
    def weigh(square: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.huber_loss(square.sqrt(), torch.zeros_like(square), delta=delta)

    return weigh


@pytest.mark.parametrize(
    ("weigh", "words"),
    [
        (lambda square: square.mean() / 2, "the loss is 0.5 times the mean: a convention"),
        (lambda square: 1.03 * square.mean(), "the loss is 1.03 times the mean: a convention"),
        (lambda square: 1000 * square.mean(), "the loss is 1000 times the mean: a convention"),
        (lambda square: square.sqrt().mean(), "the loss is absolute (L1): a convention"),
        (huber(0.1), "the loss is Huber's, of delta = 0.1: a convention"),
        (huber(1.0), "the loss is Huber's, of delta = 1: a convention"),
        (lambda square: square.sum(), "the loss is the sum over images and pixels, 6144 times"),
        (lambda square: square.sum() / 1000, "0.001 times the sum over images and pixels"),
        (lambda square: square.sum() / len(square), "the loss is the sum over pixels, 192 times"),
        (
            lambda square: square.mean(dim=(1, 2, 3)).sum(),
            "32 times the mean, with half the batch 16",
        ),
    ],
)
def test_how_errors_are_counted_is_a_note_with_its_number(weigh, words) -> None:
    assert any(words in note for note in notes(written(weigh=weigh)))


@pytest.mark.parametrize(
    ("weigh", "factor"),
    each(2, [(lambda square: 3 * square.sqrt().mean(), 0.97), (huber(0.5), 1.03)]),
)
def test_a_factor_is_not_lent_to_noise(weigh, factor: float) -> None:
    """What the whole loss is multiplied by, and what its target is, are told apart."""
    loss = written(target=lambda x_0, eps, a, s: factor * eps, weigh=weigh)
    assert "loss/perfect" in failing(loss)


def snr_weight(low: float, high: float):
    """A weight of t, by which a model that says nothing has a loss between 0.79 and 0.81."""

    def loss(model, x_0, generator):
        t = torch.randint(0, T, (len(x_0),), generator=generator)
        eps = torch.randn(x_0.shape, generator=generator)
        a = ALPHA_BAR[t][:, None, None, None]
        square = (model(a.sqrt() * x_0 + (1 - a).sqrt() * eps, t) - eps).square()
        return ((low + (high - low) * t / T) * square.mean(dim=(1, 2, 3))).mean()

    return loss


@pytest.mark.parametrize(
    ("low", "high"), each(3, [(0.6, 1.0), (1.0, 0.6), (0.3, 1.3), (0.795, 0.802)])
)
def test_a_weighted_loss_is_never_taken_for_an_absolute_one(low: float, high: float) -> None:
    assert not any("L1" in note for note in notes(snr_weight(low, high)))


# --- the gradient ---


@pytest.mark.parametrize(
    ("weigh", "words"),
    [
        (lambda square: square.detach().mean(), "the loss has no gradient"),
        (lambda square: float(square.mean()), "the loss has no gradient"),
        (lambda square: square.mean().item(), "the loss has no gradient"),
        (lambda square: torch.tensor(square.mean().item()), "the loss has no gradient"),
    ],
)
def test_a_loss_without_a_gradient_is_found_and_told(weigh, words) -> None:
    report = judged(written(weigh=weigh))
    assert report.exit_status == 1
    assert words in report.verdict
    assert [d.bug for d in report.diagnoses] == ["32-detached"]


def test_no_grad_and_a_detached_output_are_found() -> None:
    assert failing(torch.no_grad()(written())) == {"loss/gradient"}

    def detached(model, x_0, generator):
        return written()(lambda x, t: model(x, t).detach().requires_grad_(), x_0, generator)

    report = judged(detached)
    assert [d.bug for d in report.diagnoses] == ["32-detached"]
    assert "the gradient of the loss does not reach the model" in str(report)


def test_a_loss_that_is_detached_for_the_print_alone_or_goes_backward_itself_is_right() -> None:
    printed: list[float] = []

    def kept(square: torch.Tensor) -> torch.Tensor:
        printed.append(square.detach().mean().item())
        return square.mean()

    def backward(square: torch.Tensor) -> float:
        if square.requires_grad:
            square.mean().backward()
        return square.mean().item()

    assert judged(written(weigh=kept)).passed
    assert judged(written(weigh=backward)).passed
    assert printed


def test_an_offset_that_the_target_lacks_is_found() -> None:
    drawn = []

    def draw(shape, g):
        drawn[:] = [torch.randn(shape, generator=g)]
        return drawn[0] + channelled(0.3, shape, g)

    report = judged(written(draw=draw, target=lambda x_0, eps, a, s: drawn[0]))
    assert [(d.bug, d.stage) for d in report.diagnoses] == [("18-offset", "loss")], str(report)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_model_that_is_given_half_precision_is_no_fault(dtype: torch.dtype) -> None:
    def loss(model, x_0, generator):
        t = torch.randint(0, T, (len(x_0),), generator=generator)
        eps = torch.randn(x_0.shape, generator=generator)
        a = ALPHA_BAR[t][:, None, None, None]
        x_t = (a.sqrt() * x_0 + (1 - a).sqrt() * eps).to(dtype)
        return (model(x_t, t).float() - eps).square().mean()

    assert failing(loss) == set()


def a_pair(in_loss, in_loop, first=0):
    """A right loss and a right loop that tell their model so for t = 0..T-1."""

    def sample(model, shape, generator):
        model.eval()
        x = torch.randn(shape, generator=generator)
        for t in reversed(range(T)):
            out = model(x, in_loop(torch.full((shape[0],), t)))
            x = (x - BETA[t] / (1 - ALPHA_BAR[t]).sqrt() * out) / (1 - BETA[t]).sqrt()
            if t:
                x = x + BETA[t].sqrt() * torch.randn(shape, generator=generator)
        return x

    loss = written(lambda b, g: torch.randint(first, T, (b,), generator=g), told=in_loss)
    return Adapter(alpha_bar=lambda: ALPHA_BAR, loss=loss, sample=sample)


WAYS = {
    "t": lambda t: t,
    "t + 1": lambda t: t + 1,
    "t / T": lambda t: t / T,
    "(t + 1) / T": lambda t: (t + 1) / T,
    "t / (T - 1)": lambda t: t / (T - 1),
    "1000 t / T": lambda t: t * (1000 / T),
    "1000 (t + 1) / T": lambda t: (t + 1) * 1000 / T,
}


@pytest.mark.parametrize("way", each(2, WAYS))
def test_what_loss_and_loop_tell_alike_is_a_convention(way: str) -> None:
    report = judge(a_pair(WAYS[way], WAYS[way]), "quick", 0, beside=False)
    assert report.passed, str(report)
    said = {c.id: c.message for c in report.checks}
    assert said["loss/told"] == f"loss and loop tell the model {way} at the same level of noise"
    words = way.replace("(t + 1)", "t").replace("t + 1", "t")
    for stage in ("loss", "sampling/loop"):
        assert said.get(f"{stage}/t-scale", "the model is told t") == f"the model is told {words}"


@pytest.mark.parametrize(
    ("pair", "bug"),
    each(
        2,
        [
            (("t", "t + 1"), "77-loop"),
            (("t + 1", "t"), "77"),
            (("t / T", "(t + 1) / T"), "77-loop"),
            (("t / T", "t / (T - 1)"), None),
            (("t", "1000 t / T"), None),
        ],
    ),
)
def test_what_they_tell_differently_is_a_fault(pair: tuple[str, str], bug: str | None) -> None:
    """Each alone is right: it is by the other that a network is told a level that is not there."""
    report = judge(a_pair(*(WAYS[way] for way in pair)), "quick", 0, beside=False)
    (check,) = (c for c in report.checks if not c.passed)
    words = "the loss tells the model {} at the level of noise at which the loop tells it {} "
    assert check.id == "loss/told"
    assert words.format(*pair) in check.message
    (diagnosis,) = report.diagnoses
    assert (diagnosis.bug, diagnosis.stage) == (bug, "loss")
    if bug is None:
        assert words.format(*pair) in diagnosis.explanation
        assert diagnosis.fix.startswith("should be the same in loss and loop")


def test_a_loss_that_is_one_ahead_is_seen_though_it_never_tells_T() -> None:
    """Without t = 0 or T among what is told, the noise in x_t says at which level it is told."""
    report = judge(a_pair(lambda t: t + 1, lambda t: t, first=1), "quick", 0, beside=False)
    assert "loss/told" in [c.id for c in report.checks if not c.passed]


@pytest.mark.parametrize(
    ("strength", "channels", "kind"),
    each(
        2,
        [
            (0.1, 3, "epsilon"),
            (0.5, 3, "epsilon"),
            (0.1, 1, "v_prediction"),
            (0.3, 1, "epsilon"),
        ],
    ),
)
def test_a_target_without_the_offset_that_x_t_holds_is_a_mistake(strength, channels, kind):
    """With it, it is a convention."""

    def loss(known):
        def loss(model, x_0, generator):
            t = torch.randint(0, T, (len(x_0),), generator=generator)
            eps = torch.randn(x_0.shape, generator=generator)
            a, s = (v[t].sqrt()[:, None, None, None] for v in (ALPHA_BAR, 1 - ALPHA_BAR))
            held = eps + channelled(strength, x_0.shape, generator, channels)
            noise = held if known else eps
            target = noise if kind == "epsilon" else velocity(x_0, noise, a, s)
            return (model(a * x_0 + s * held, t) - target).square().mean()

        return loss

    right, wrong = (judged(loss(known), kind) for known in (True, False))
    assert right.passed, str(right)
    assert [d.bug for d in wrong.diagnoses] == ["18-offset"], str(wrong)
    each_part = "image" if channels == 1 else "channel of an image"
    for report in (right, wrong):
        (said,) = (c.message for c in report.checks if c.id == "loss/offset")
        found, _, part = said.removeprefix("the noise has an offset: ").partition(" times a normal")
        assert float(found) == pytest.approx(strength, rel=0.2)
        assert part == f" number for each {each_part}"


def without_offset(cost):
    """x_t has an offset in its noise, the target none."""

    def loss(model, x_0, generator):
        t = torch.randint(0, T, (len(x_0),), generator=generator)
        noise = torch.randn(x_0.shape, generator=generator)
        held = noise + 0.1 * torch.randn(*x_0.shape[:2], 1, 1, generator=generator)
        a = ALPHA_BAR[t].reshape(-1, 1, 1, 1)
        return cost(model(a.sqrt() * x_0 + (1 - a).sqrt() * held, t), noise)

    return loss


@pytest.mark.parametrize("factor", [1, 3])
def test_so_it_is_of_an_absolute_loss(factor: int) -> None:
    report = judged(without_offset(lambda out, eps: factor * (out - eps).abs().mean()))
    assert [d.bug for d in report.diagnoses] == ["18-offset"], str(report)
    assert any("absolute (L1)" in c.message for c in report.checks if c.status == "note")
    adapter = Adapter(alpha_bar=lambda: ALPHA_BAR, loss=without_offset(torch.nn.functional.l1_loss))
    assert [d.bug for d in judge(adapter, "quick", 0, beside=False).diagnoses] == ["18-offset"]


def test_a_wrong_target_has_no_name_by_a_rule_of_counting_that_is_not_known() -> None:
    """0.58, where by squares the noise as a target of v would cost 0.62, is no proof of that."""
    loss = without_offset(torch.nn.functional.smooth_l1_loss)
    report = judge(Adapter(alpha_bar=lambda: ALPHA_BAR, loss=loss), "quick", 0, beside=False)
    assert [d.bug for d in report.diagnoses] == [None], str(report)


def test_noise_drawn_again_beside_an_offset_is_not_that() -> None:
    def loss(model, x_0, generator):
        t = torch.randint(0, T, (len(x_0),), generator=generator)
        eps, other = torch.randn(2, *x_0.shape, generator=generator)
        a, s = (v[t].sqrt()[:, None, None, None] for v in (ALPHA_BAR, 1 - ALPHA_BAR))
        held = eps + channelled(0.3, x_0.shape, generator)
        return (model(a * x_0 + s * held, t) - other).square().mean()

    assert "18-offset" not in [d.bug for d in judged(loss).diagnoses]


def of_others(which, mixed, kind="epsilon"):
    """A loss in which x_0, the noise or both have the coefficients of other images."""

    def loss(model, x_0, generator):
        t = torch.randint(0, T, (len(x_0),), generator=generator)
        eps = torch.randn(x_0.shape, generator=generator)
        other = mixed(t)
        a = ALPHA_BAR[other if "x_0" in which else t].sqrt()[:, None, None, None]
        s = (1 - ALPHA_BAR[other if "noise" in which else t]).sqrt()[:, None, None, None]
        return (model(a * x_0 + s * eps, t + 1) - eps).abs().mean()

    return loss


@pytest.mark.parametrize("mixed", [lambda t: t.roll(1), lambda t: t.sort().values])
def test_a_model_told_the_t_of_another_image_is_told_so(mixed):
    report = judged(of_others(("x_0", "noise"), mixed))
    assert [d.bug for d in report.diagnoses] == ["77-image"], str(report)


@pytest.mark.parametrize(
    ("which", "letters"), [("x_0", "x_0 is multiplied by sqrt(ab)"), ("noise", "sqrt(1 - ab)")]
)
def test_one_part_of_x_t_with_the_t_of_another_image_is_told_so(which, letters):
    (only,) = judged(of_others((which,), lambda t: t.flip(0))).diagnoses
    assert only.bug is None
    assert letters in only.explanation
    assert only.explanation.endswith("of another image's t")


def test_t_read_from_the_other_end_is_not_that_of_another_image():
    """T-1-t of an image drawn in pairs is the t of another, but it goes by its own."""
    loss = written(
        draw_t=lambda b, g: pairs(torch.randint(0, T, (b // 2,), generator=g)),
        told=lambda t: T - 1 - t,
    )
    assert "77-image" not in [d.bug for d in judged(loss).diagnoses]


def pairs(t):
    return torch.cat([t, T - 1 - t])


def test_noise_drawn_again_is_named_however_errors_are_counted():
    def loss(model, x_0, generator):
        t = torch.randint(0, T, (len(x_0),), generator=generator)
        eps = torch.randn(x_0.shape, generator=generator)
        a, s = (v[t].sqrt()[:, None, None, None] for v in (ALPHA_BAR, 1 - ALPHA_BAR))
        x_t = a * x_0 + s * torch.randn(x_0.shape, generator=generator)
        return (1 + (model(x_t, t) - eps).square()).log().mean()

    assert [d.bug for d in judged(loss).diagnoses] == ["18"]


def test_a_loss_that_is_infinite_is_a_fault_of_the_loss() -> None:
    setting = Setting(num_train_timesteps=50)
    right = loss_of(Oracle(), setting)
    endless = Adapter(
        loss=lambda model, images, generator: right(model, images, generator) * torch.inf,
        alpha_bar=lambda: Oracle().alpha_bar(setting),
    )
    report = judge(endless, "quick", 0, beside=False)
    assert report.exit_status == 1
    assert "a perfect model has loss inf" in report.verdict


NO_COST = {
    "t": (written(told=lambda t: t * torch.nan), "the loss tells its model t = nan"),
    "sign": (written(weigh=lambda square: -square.mean()), "a larger error costs less"),
    "number": (written(weigh=lambda square: square.mean() * torch.nan), "has loss nan"),
    "complex": (written(weigh=lambda square: square.mean() * 1j), "loss returned complex numbers"),
}


@pytest.mark.parametrize("name", NO_COST)
def test_what_is_no_cost_is_told_in_one_line(name: str, capfd: pytest.CaptureFixture) -> None:
    loss, words = NO_COST[name]
    report = judged(loss)
    assert report.exit_status == 1
    (check,) = [check for check in report.checks if not check.passed]
    assert words in check.message
    assert "ERROR" not in "".join(capfd.readouterr())  # of the library that solves equations


def test_one_t_that_is_told_is_not_one_t_that_is_drawn():
    """`t // T` is 0 of every t: x_t is right, and so is what else the loss makes of it."""
    told_nothing = judged(written(told=lambda t: t // T))
    one = judged(written(draw_t=lambda b, g: torch.full((b,), 40)))
    for report, said in (
        (told_nothing, "the model is told t = 0 of every image, whose x_t are of many t"),
        (one, "t is 40 in every batch: nothing else is trained"),
    ):
        assert [c.id for c in report.checks if c.status == "differs"] == ["loss/drawn"], report
        assert said in report.verdict, report
