"""Stage loss: what a training loss feeds the model and compares with, for every target."""

from dataclasses import replace

import pytest
import torch

from compare import Adapter
from compare.candidate.from_oracle import loss_of
from compare.oracle import Loss, Oracle, Setting
from compare.oracle.algorithms import TARGETS
from compare.verdict.judge import judge

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
):
    """A loss with one line of its own in other words."""

    def loss(model, x_0, generator):
        t = draw_t(len(x_0), generator)
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
    "half the square": (written(weigh=lambda square: square.mean() / 2), "epsilon", None),
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


@pytest.mark.parametrize("factor", [0.97, 1.03])
def test_noise_that_is_three_per_cent_off_is_found_in_every_third_of_t(factor: float) -> None:
    loss = written(draw=lambda shape, g: factor * torch.randn(shape, generator=g))
    thirds = {f"loss/noise/std-{third}" for third in ("lower", "middle", "upper")}
    assert thirds <= failing(loss)


def test_a_loss_that_is_three_per_cent_too_large_is_found() -> None:
    assert failing(written(weigh=lambda square: 1.03 * square.mean())) == {"loss/zero"}


def min_snr(square: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    weight = (5 * (1 - ALPHA_BAR[t]) / ALPHA_BAR[t]).clamp(max=1)
    return (weight * square.mean(dim=(1, 2, 3))).mean()


@pytest.mark.parametrize("seed", range(8))
def test_a_right_weight_is_never_taken_for_one_that_is_shared(seed: int) -> None:
    """Most t have the same weight, 1: two images say little, those of extreme t do."""

    def loss(model, x_0, generator):
        t = torch.randint(0, T, (len(x_0),), generator=generator)
        eps = torch.randn(x_0.shape, generator=generator)
        a = ALPHA_BAR[t][:, None, None, None]
        return min_snr((model(a.sqrt() * x_0 + (1 - a).sqrt() * eps, t) - eps).square(), t)

    assert failing(loss, seed) == set()


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


@pytest.mark.parametrize("way", WAYS)
def test_what_loss_and_loop_tell_alike_is_a_convention(way: str) -> None:
    report = judge(a_pair(WAYS[way], WAYS[way]), "quick", 0, beside=False)
    assert report.passed, str(report)
    said = {c.id: c.message for c in report.checks}
    assert said["loss/told"] == f"loss and loop tell the model {way} at the same level of noise"
    words = way.replace("(t + 1)", "t").replace("t + 1", "t")
    for stage in ("loss", "sampling/loop"):
        assert said.get(f"{stage}/t-scale", "the model is told t") == f"the model is told {words}"


@pytest.mark.parametrize(
    "pair",
    [
        ("t", "t + 1"),
        ("t + 1", "t"),
        ("t / T", "(t + 1) / T"),
        ("t / T", "t / (T - 1)"),
        ("t", "1000 t / T"),
    ],
)
def test_what_they_tell_differently_is_a_fault(pair: tuple[str, str]) -> None:
    """Each alone is right: it is by the other that a network is told a level that is not there."""
    report = judge(a_pair(*(WAYS[way] for way in pair)), "quick", 0, beside=False)
    assert [c.id for c in report.checks if not c.passed] == ["loss/told"], str(report)
    (diagnosis,) = report.diagnoses
    assert diagnosis.stage == "loss"
    words = "the loss tells the model {} at the level of noise at which the loop tells it {} "
    assert words.format(*pair) in diagnosis.explanation
    assert diagnosis.fix.startswith("should be the same in loss and loop")


def test_a_loss_that_is_one_ahead_is_seen_though_it_never_tells_T() -> None:
    """Without t = 0 or T among what is told, the noise in x_t says at which level it is told."""
    report = judge(a_pair(lambda t: t + 1, lambda t: t, first=1), "quick", 0, beside=False)
    assert "loss/told" in [c.id for c in report.checks if not c.passed]
