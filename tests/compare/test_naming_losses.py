"""What a loss gives its model, compares with and weighs by is told in letters where it is wrong."""

import pytest
import torch

from compare import Adapter
from compare.verdict.judge import judge
from compare.verdict.report import Report
from tests.compare.written import TABLES, computed, stated
from tests.often import each

T = 80
TABLE = {name: (1 - make(T)).cumprod(0).float() for name, make in TABLES.items()}
BETA = {name: make(T).float() for name, make in TABLES.items()}


def loss_of(
    table="own",
    signal=lambda ab: ab.sqrt(),
    noise=lambda ab: (1 - ab).sqrt(),
    target=lambda x_0, eps, ab: eps,
    weight=lambda ab, **_: torch.ones_like(ab),
    at=lambda t: t,
    count=lambda error: error.square(),
):
    """A loss with one line of its own."""
    abs, betas = TABLE[table], BETA[table]

    def loss(model, x_0, generator):
        t = torch.randint(0, T, (len(x_0),), generator=generator)
        eps = torch.randn(x_0.shape, generator=generator)
        ab = abs[at(t)].reshape(-1, 1, 1, 1)
        out = model(signal(ab) * x_0 + noise(ab) * eps, t)
        each = count(out - target(x_0, eps, ab)).mean(dim=(1, 2, 3))
        return (weight(ab=abs[t], b=betas[t], abs=abs, betas=betas, t=t) * each).mean()

    return loss


def judged(table="own", kind="epsilon", **written) -> Report:
    adapter = Adapter(
        alpha_bar=lambda: TABLE[table],
        loss=written.pop("loss", None) or loss_of(table, **written),
        prediction_type=kind,
    )
    return judge(adapter, "quick", 0, beside=False)


def weighed(report: Report) -> str:
    """What is said of the weights."""
    return next((c.message for c in report.checks if c.id == "loss/weight"), "")


def weight_in_json(report):
    return next(c["formula"] for c in report.to_dict()["checks"] if c["id"] == "loss/weight")


WEIGHTS = [
    (lambda ab, **_: ab.sqrt(), "sqrt(ab_t)"),
    (lambda ab, **_: 1 - ab, "1 - ab_t"),
    (lambda ab, **_: ab / (1 - ab), "ab_t / (1 - ab_t)"),
    (lambda b, ab, **_: b / (1 - b) / (1 - ab) / 2, "beta_t / (1 - ab_t) / alpha_t"),
    (lambda b, **_: b, "beta_t"),
    (lambda abs, t, **_: abs[(t + 1).clamp(max=T - 1)], "ab[t + 1]"),
    (lambda abs, t, **_: 1 - abs[-1 - t], "1 - ab[T - 1 - t]"),
    (lambda abs, t, **_: abs[t - 1].sqrt(), "sqrt(ab[t - 1])"),
    (lambda ab, **_: 1 - ab.sqrt(), "1 - sqrt(ab_t)"),
]


def alternating(cases):
    """Each case with one table after another."""
    return [(*case, [*TABLES][i % len(TABLES)]) for i, case in enumerate(cases)]


@pytest.mark.parametrize(("weight", "letters", "table"), each(2, alternating(WEIGHTS)))
def test_a_weight_that_goes_by_t_is_told_in_letters(weight, letters, table):
    """A note: with any weights above 0 a perfect model has the least loss."""
    report = judged(table, weight=weight)
    assert report.passed, str(report)
    said = weighed(report)
    words = f"your loss weighs t by {letters}, should weigh all t alike (Ho et al. eq. 14): at t="
    assert said.startswith(words)
    assert said in str(report)
    assert weight_in_json(report) == f"weight(t) = {letters}"
    ts, numbers = said.removeprefix(words).split(", unless")[0].split(" but")[0].split(" by ")
    t = torch.tensor([int(number) for number in ts.split(", ")])
    wanted = computed(letters, TABLE[table].double(), t, t - 1)
    for number, right in zip(numbers.split(", "), wanted.tolist(), strict=True):
        assert float(number) == pytest.approx(right, rel=5.1e-3)  # three digits


@pytest.mark.parametrize("factor", [3.0, 1 / 1000])
@pytest.mark.parametrize("count", [torch.square, torch.abs], ids=["squared", "absolute"])
def test_a_weight_is_told_whatever_it_is_multiplied_by(factor, count):
    report = judged(weight=lambda ab, **_: factor * ab.sqrt(), count=count)
    assert weighed(report).startswith("your loss weighs t by sqrt(ab_t), should")


@pytest.mark.parametrize(
    ("weight", "numbers"),
    [
        (lambda ab, **_: (5 * (1 - ab) / ab).clamp(max=0.5, min=0.01), "0.02, 1, 1"),
        (lambda t, **_: 1 + t / T, "0.503, 0.755, 1"),
    ],
)
def test_a_weight_that_is_no_formula_is_told_by_its_numbers(weight, numbers):
    report = judged(weight=weight)
    assert report.passed
    wanted = f"your loss weighs t=0, 40, 79 by {numbers}, should weigh all t alike"
    assert weighed(report).startswith(wanted)
    assert weight_in_json(report) == ""


def snr(ab):
    return ab / (1 - ab)


DIVIDED = {"epsilon": snr, "sample": torch.ones_like, "v_prediction": lambda ab: snr(ab) + 1}
WRITTEN = {"epsilon": " / SNR_t", "sample": "", "v_prediction": " / (SNR_t + 1)"}
NAME = {"epsilon": "30", "sample": "30-image", "v_prediction": "30-v"}
TARGET = {
    "epsilon": lambda x_0, eps, ab: eps,
    "sample": lambda x_0, eps, ab: x_0,
    "v_prediction": lambda x_0, eps, ab: ab.sqrt() * eps - (1 - ab).sqrt() * x_0,
}


@pytest.mark.parametrize(
    ("kind", "other", "gamma", "table"),
    each(2, alternating([(k, o, 5 - 2 * (k == "sample")) for k in DIVIDED for o in DIVIDED])),
)
def test_the_weight_of_min_snr_is_that_of_what_the_model_predicts(kind, other, gamma, table):
    """Of another kind it is a mistake (Hang et al., section 3.4)."""
    weight = lambda ab, **_: 0.3 * snr(ab).clamp(max=gamma) / DIVIDED[other](ab)  # noqa: E731
    report = judged(table, kind, weight=weight, target=TARGET[kind])
    assert report.passed == (kind == other), str(report)
    formula = f"min(SNR_t, {gamma})"
    assert weight_in_json(report) == f"weight(t) = {formula}{WRITTEN[other]}"
    assert ("should by" in weighed(report)) == (kind != other)
    if kind != other:
        assert [d.bug for d in report.diagnoses] == [NAME[other]]
        assert weighed(report).endswith(f"should by {formula}{WRITTEN[kind]}")
        assert report.diagnoses[0].formula == f"weight(t) = {formula}{WRITTEN[other]}"


def of_kind(weight, kind, **written) -> Report:
    return judged(kind=kind, weight=weight, target=TARGET[kind], **written)


@pytest.mark.parametrize(("kind", "gamma"), each(2, [(k, g) for k in DIVIDED for g in (5, 0.7)]))
def test_max_for_min_is_a_mistake(kind, gamma):
    report = of_kind(lambda ab, **_: snr(ab).clamp(min=gamma) / DIVIDED[kind](ab), kind)
    assert [d.bug for d in report.diagnoses] == ["29"], str(report)
    assert "with max for min" in weighed(report)


@pytest.mark.parametrize("kind", DIVIDED)
@pytest.mark.parametrize(
    "clamped",
    [
        lambda r: torch.maximum(r, torch.ones_like(r)),
        lambda r: torch.where(r > 1, r, 1.0),
    ],
)
def test_the_truncated_snr_is_no_max_for_min(kind, clamped):
    """The larger of both errors, in x_0 and in the noise: Salimans & Ho, section 4."""
    report = of_kind(lambda ab, **_: 4 * clamped(snr(ab)) / DIVIDED[kind](ab), kind)
    assert report.passed, str(report)
    assert "the truncated SNR's weight (Salimans & Ho, section 4)" in weighed(report)


def at_another(shift, kind):
    """min-SNR-5 by the SNR of another index; the ends are their own."""

    def weight(abs, t, **_):
        ab = abs[(t + shift).clamp(0, T - 1)]
        return snr(ab).clamp(max=5) / DIVIDED[kind](ab)

    return weight


@pytest.mark.parametrize(
    ("kind", "shift", "table"), [("epsilon", -1, "own"), ("v_prediction", 1, "cosine")]
)
def test_min_snr_by_another_index_is_a_mistake_with_words(kind, shift, table):
    report = of_kind(at_another(shift, kind), kind, table=table)
    (diagnosis,) = report.to_dict()["diagnoses"]
    at = f"SNR[t {'+' if shift > 0 else '-'} 1]"
    written = f"min({at}, 5){WRITTEN[kind].replace('SNR_t', at)}"
    assert diagnosis["formula"] == f"weight(t) = {written}"
    assert weighed(report).endswith(f"should by min(SNR_t, 5){WRITTEN[kind]}")


INVERSE = {"epsilon": "SNR_t / ", "sample": "1 / ", "v_prediction": "(SNR_t + 1) / "}


@pytest.mark.parametrize(("kind", "gamma"), each(2, [(k, g) for k in DIVIDED for g in (5, 3)]))
def test_min_snr_upside_down_is_a_mistake(kind, gamma):
    report = of_kind(lambda ab, **_: DIVIDED[kind](ab) / snr(ab).clamp(max=gamma), kind)
    (diagnosis,) = report.to_dict()["diagnoses"]
    assert (diagnosis["bug"], diagnosis["name"]) == ("29-inverse", "min-snr-upside-down")
    assert diagnosis["formula"] == f"weight(t) = {INVERSE[kind]}min(SNR_t, {gamma})"
    assert f"should by min(SNR_t, {gamma}){WRITTEN[kind]}" in weighed(report)


@pytest.mark.parametrize(("k", "gamma"), each(2, [(0.5, 1), (2, 0.5), (1, 0.25)]))
def test_the_weight_of_p2_upside_down_is_a_mistake_for_the_noise_alone(k, gamma):
    """Of who predicts x_0, k + SNR may be meant: Karras et al. 2022, table 1."""
    weight = lambda ab, **_: (k + snr(ab)) ** gamma  # noqa: E731
    report = judged(weight=weight)
    plain = k == 1  # a power of 1 - ab_t, which may be meant as well
    assert [d.bug for d in report.diagnoses] == ([] if plain else ["29-p2"]), str(report)
    assert of_kind(weight, "sample").passed


@pytest.mark.parametrize(("k", "gamma"), [(0.5, 1), (2, 0.5)])
def test_the_weight_of_p2_has_its_name(k, gamma):
    report = judged(weight=lambda ab, **_: 7 / (k + snr(ab)) ** gamma)
    assert report.passed, str(report)
    said = f"1 / ({k:g} + SNR_t)" + (f"^{gamma:g}" if gamma != 1 else "")
    assert weighed(report).startswith(f"your loss weighs t by {said}, P2's weight (Choi et al.")


@pytest.mark.parametrize(
    "written",
    [
        {},
        {"weight": lambda ab, **_: 0.5 * torch.ones_like(ab)},
        {"weight": lambda ab, **_: 32 * 192 * torch.ones_like(ab)},  # the sum
        {"count": torch.abs},
        {"count": lambda e: torch.nn.functional.huber_loss(e, 0 * e, reduction="none", delta=0.1)},
    ],
)
def test_what_weighs_all_t_alike_is_told_nothing(written):
    report = judged(**written)
    assert report.passed, str(report)
    assert weighed(report) == ""


@pytest.mark.parametrize(
    ("weight", "letters"),
    [
        (lambda abs, ab, t, **_: torch.where(t > 0, ab, 0.0), "t by ab_t"),
        (lambda t, **_: (t >= 7) * 1.0, "t=0, 40, 79 by 0, 1, 1"),
        (lambda t, **_: (t < T - 1) * 1.0, "t=0, 40, 79 by 1, 1, 0"),  # one of all alone
    ],
)
def test_a_weight_of_0_is_wrong(weight, letters):
    report = judged(weight=weight)
    assert [c.id for c in report.checks if not c.passed] == ["loss/weight"]
    assert [d.bug for d in report.diagnoses] == ["20-weight"]
    assert f"your loss weighs {letters}, should" in weighed(report)


def test_t_that_are_drawn_by_their_weight_are_weighed_alike():
    """Of t that are drawn p(t) times as often, 1 / p(t) is no weight of its own."""

    def loss(model, x_0, generator):
        p = 1 + 3 * torch.arange(T) / T
        t = torch.multinomial(p, len(x_0), replacement=True, generator=generator)
        eps = torch.randn(x_0.shape, generator=generator)
        ab = TABLE["own"][t].reshape(-1, 1, 1, 1)
        each = (model(ab.sqrt() * x_0 + (1 - ab).sqrt() * eps, t) - eps).square().mean((1, 2, 3))
        return (p.mean() / p[t] * each).mean()

    assert weighed(judged(loss=loss)) == ""


def velocity(of_noise=lambda ab: ab.sqrt(), of_x_0=lambda ab: -(1 - ab).sqrt()):
    return {
        "kind": "v_prediction",
        "target": lambda x_0, eps, ab: of_noise(ab) * eps + of_x_0(ab) * x_0,
    }


COEFFICIENTS = [
    ({"signal": lambda ab: ab}, {"x_0 in x_t": "ab_t"}),
    ({"noise": lambda ab: 1 - ab}, {"noise in x_t": "1 - ab_t"}),
    ({"noise": lambda ab: 1 - ab.sqrt()}, {"noise in x_t": "1 - sqrt(ab_t)"}),
    ({"noise": lambda ab: 1.01 * (1 - ab).sqrt()}, {"noise in x_t": "1.01 * sqrt(1 - ab_t)"}),
    (
        {"signal": lambda ab: ab, "noise": lambda ab: 1 - ab},
        {"x_0 in x_t": "ab_t", "noise in x_t": "1 - ab_t"},
    ),
    (
        {"at": lambda t: (t + 1).clamp(max=T - 1)},
        {"x_0 in x_t": "sqrt(ab[t + 1])", "noise in x_t": "sqrt(1 - ab[t + 1])"},
    ),
    (
        {"kind": "sample", "target": lambda x_0, eps, ab: x_0, "noise": lambda ab: ab.sqrt()},
        {"noise in x_t": "sqrt(ab_t)"},
    ),
    (velocity(of_noise=lambda ab: ab), {"noise in the target": "ab_t"}),
    (velocity(of_x_0=lambda ab: ab - 1), {"x_0 in the target": "-(1 - ab_t)"}),
    (velocity(of_x_0=lambda ab: (1 - ab).sqrt()), {"x_0 in the target": "sqrt(1 - ab_t)"}),
    (
        velocity(lambda ab: (1 - ab).sqrt(), lambda ab: -ab.sqrt()),
        {"x_0 in the target": "-sqrt(ab_t)", "noise in the target": "sqrt(1 - ab_t)"},
    ),
    ({"target": lambda x_0, eps, ab: -eps}, {"noise in the target": "-1"}),
    ({"target": lambda x_0, eps, ab: 0.9 * eps}, {"noise in the target": "0.9"}),
    (
        {"target": lambda x_0, eps, ab: (1 - ab).sqrt() * eps},
        {"noise in the target": "sqrt(1 - ab_t)"},
    ),
    (
        {"noise": lambda ab: 1 - ab, "target": lambda x_0, eps, ab: 2 * eps},
        {"noise in x_t": "1 - ab_t", "noise in the target": "2"},
    ),
    (
        {"kind": "sample", "target": lambda x_0, eps, ab: ab.sqrt() * x_0},
        {"x_0 in the target": "sqrt(ab_t)"},
    ),
]


@pytest.mark.parametrize(("written", "letters", "table"), each(4, alternating(COEFFICIENTS)))
def test_a_wrong_coefficient_inside_a_loss_is_told(written, letters, table):
    report = judged(table, **written)
    (diagnosis,) = report.diagnoses
    assert diagnosis.formula is not None, diagnosis.explanation
    assert {what: has for what, has, _ in stated(diagnosis.formula)} == letters
    if diagnosis.bug is None:
        assert diagnosis.explanation == diagnosis.formula


@pytest.mark.parametrize(
    "written",
    [
        {"signal": lambda ab: ab.sqrt() * (1 + 0.1 * torch.sin(40 * ab))},
        {"target": lambda x_0, eps, ab: eps * (1 + 0.1 * torch.sin(40 * ab))},
        {"target": lambda x_0, eps, ab: torch.randn_like(eps)},
        {"target": lambda x_0, eps, ab: eps.tanh()},
    ],
)
def test_what_is_no_formula_in_a_loss_gets_none(written):
    report = judged(**written)
    assert not report.passed
    assert [d.formula for d in report.diagnoses] == [None]


def test_a_right_loss_whose_t_count_from_1_is_told_nothing():
    table = TABLE["own"]

    def loss(model, x_0, generator):
        t = torch.randint(1, T + 1, (len(x_0),), generator=generator)
        eps = torch.randn(x_0.shape, generator=generator)
        ab = table[t - 1].reshape(-1, 1, 1, 1)
        each = (model(ab.sqrt() * x_0 + (1 - ab).sqrt() * eps, t) - eps).square().mean((1, 2, 3))
        return (table[t - 1] * each).mean()

    report = judged(loss=loss)
    assert report.passed
    assert weighed(report).startswith("your loss weighs t by ab_t, should")


def test_a_weight_beside_a_target_of_no_model_is_not_blamed() -> None:
    """It is min-SNR's for v, and what the loss compares with is nearly that."""
    report = judged(
        kind=None,
        weight=lambda ab, **_: snr(ab).clamp(max=5) / (snr(ab) + 1),
        target=lambda x_0, eps, ab: ab.sqrt() * eps - 0.9 * (1 - ab).sqrt() * x_0,
    )
    assert "your x_0 in the target has -0.9 * sqrt(1 - ab_t)" in str(report)
    assert "yours predicts something else" not in str(report)
