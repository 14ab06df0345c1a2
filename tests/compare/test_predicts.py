"""What a model predicts and what pictures are in, where nothing says it: by exact checks."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from compare import Adapter
from compare.candidate.door.reading import told_by
from compare.candidate.door.signature import with_model
from compare.verdict.judge import judge
from compare.verdict.report import Report
from tests.often import each

T = 50
ALPHA_BAR = (1 - torch.linspace(1e-3, 0.2, T, dtype=torch.float64)).cumprod(0)
BEFORE = torch.cat([torch.ones(1, dtype=torch.float64), ALPHA_BAR[:-1]])
Target = Callable[[Tensor, Tensor, Tensor], Tensor]
ToImage = Callable[[Tensor, Tensor, float], Tensor]

TARGETS: dict[str, Target] = {
    "epsilon": lambda x, e, a: e,
    "sample": lambda x, e, a: x,
    "v_prediction": lambda x, e, a: a.sqrt() * e - (1 - a).sqrt() * x,
    "24-loss": lambda x, e, a: a.sqrt() * e + (1 - a).sqrt() * x,
}
TO_IMAGE: dict[str, ToImage] = {
    "epsilon": lambda x, out, a: (x - (1 - a) ** 0.5 * out) / a**0.5,
    "sample": lambda x, out, a: out,
    "v_prediction": lambda x, out, a: a**0.5 * x - (1 - a) ** 0.5 * out,
    "24": lambda x, out, a: a**0.5 * x + (1 - a) ** 0.5 * out,
}


def program(target: str | None, to_image: str | None, role: str = "sample") -> Adapter:
    """A loss with this target, and a loop or a step that reads the output so."""

    def loss(model, x_0):
        t = torch.randint(0, T, (len(x_0),))
        a, e = ALPHA_BAR[t].float().reshape(-1, 1, 1, 1), torch.randn_like(x_0)
        out = model(a.sqrt() * x_0 + (1 - a).sqrt() * e, t)
        return (out - TARGETS[str(target)](x_0, e, a)).square().mean()

    def step(out, t, x, generator=None):
        a, p = float(ALPHA_BAR[t]), float(BEFORE[t])
        beta = 1 - a / p
        x_0 = TO_IMAGE[str(to_image)](x, out, a).clamp(-1, 1)
        mean = p**0.5 * beta / (1 - a) * x_0 + (a / p) ** 0.5 * (1 - p) / (1 - a) * x
        noise = torch.randn(x.shape, generator=generator) if t else 0.0
        return mean + (beta * (1 - p) / (1 - a)) ** 0.5 * noise

    def sample(model, shape):
        model.eval()
        x = torch.randn(shape)
        for t in reversed(range(T)):
            x = step(model(x, torch.full((len(x),), t)), t, x)
        return x

    roles = {"sample": sample, "step": step} if to_image else {}
    given = {name: made for name, made in roles.items() if name == role}
    return Adapter(alpha_bar=lambda: ALPHA_BAR, loss=loss if target else None, **given)


def judged(candidate: Adapter, *words: str) -> Report:
    return judge(candidate, "quick", 0, beside=False, reading=told_by(words))


@pytest.mark.parametrize("kind", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("role", ["sample", "step"])
@pytest.mark.parametrize("trains", each(2, [True, False]))
def test_the_values_of_a_step_say_what_its_model_predicts(
    kind: str, role: str, trains: bool
) -> None:
    report = judged(program(kind if trains else None, kind, role))
    assert report.passed, str(report)
    assert report.readings["prediction"]["value"] == kind
    assert bool(report.readings["prediction"]["words"]) == (kind != "epsilon")


@pytest.mark.parametrize("kind", ["sample", "v_prediction"])
def test_beside_a_step_that_is_wrong_a_right_loss_says_it(kind: str) -> None:
    """The loss is not told to have another target than that of its model."""
    right = program(kind, kind, "step")

    def step(out, t, x, generator=None):
        return 0.9 * right.step(out, t, x, generator)

    report = judged(Adapter(alpha_bar=right.alpha_bar, loss=right.loss, step=step))
    assert report.exit_status == 1
    assert report.readings["prediction"]["value"] == kind
    assert "loss" not in {d.stage for d in report.diagnoses}, str(report)


@pytest.mark.parametrize(
    ("target", "to_image", "stage"),
    each(
        2,
        [
            ("epsilon", "sample", "prediction"),
            ("sample", "epsilon", "prediction"),
            ("v_prediction", "24", "prediction"),
            ("24-loss", "v_prediction", "loss"),
        ],
    ),
)
def test_a_loss_and_a_loop_that_differ_are_a_mistake(
    target: str, to_image: str, stage: str
) -> None:
    report = judged(program(target, to_image))
    assert report.exit_status == 1
    assert {d.stage for d in report.diagnoses} == {stage}, str(report)
    if stage == "loss":
        assert [d.bug for d in report.diagnoses] == [target]


@pytest.mark.parametrize(("kind", "bug"), [("sample", "26-loss"), ("v_prediction", "26-v-loss")])
def test_another_target_of_a_loss_alone_is_undecided_until_a_word_decides(
    kind: str, bug: str
) -> None:
    alone = program(kind, None)
    report = judged(alone)
    assert report.exit_status == 2
    words = f"--reading prediction=epsilon or --reading prediction={kind}"
    assert report.verdict.endswith(f"it is right. Say {words}")
    assert judged(alone, f"prediction={kind}").passed
    wrong = judged(alone, "prediction=epsilon")
    assert [d.bug for d in wrong.diagnoses] == [bug], str(wrong)


@pytest.mark.parametrize(
    ("target", "right"), [("v_prediction", True), ("sample", False), ("epsilon", True)]
)
def test_the_name_of_the_output_in_a_loss_alone_says_what_the_model_predicts(
    target: str, right: bool
) -> None:
    def loss(model, x):
        t = torch.randint(0, T, (len(x),))
        a, e = ALPHA_BAR[t].float().reshape(-1, 1, 1, 1), torch.randn_like(x)
        v_pred = model(a.sqrt() * x + (1 - a).sqrt() * e, t)
        return (v_pred - TARGETS[target](x, e, a)).square().mean()

    alone = with_model(loss, "loss")  # as `--candidate FILE.py:loss` makes it
    report = judged(Adapter(alpha_bar=lambda: ALPHA_BAR, loss=alone))
    assert report.passed == right, str(report)
    named = report.readings["prediction"]["value"]
    assert named == ("epsilon" if target == "epsilon" else "v_prediction")


@pytest.mark.parametrize("kind", each(2, ["sample", "v_prediction"]))
def test_a_loop_alone_that_says_noise_and_reads_it_otherwise_is_undecided(kind: str) -> None:
    """Many call every output noise_pred: neither a mistake nor right until a word decides."""
    step = program(None, kind, "step").step
    assert step is not None

    def sample(model, shape):
        model.eval()
        x = torch.randn(shape)
        for t in reversed(range(T)):
            noise_pred = model(x, torch.full((len(x),), t))
            x = step(noise_pred, t, x)
        return x

    alone = Adapter(alpha_bar=lambda: ALPHA_BAR, sample=sample)
    report = judged(alone)
    assert report.exit_status == 2, str(report)
    assert "what its model predicts is not sure" in report.verdict
    assert judged(alone, f"prediction={kind}").passed
    wrong = judged(alone, "prediction=epsilon")
    assert wrong.exit_status == 1
    assert [d.bug for d in wrong.diagnoses] == [{"sample": "26"}.get(kind)]


def test_a_wrong_loop_is_told_by_the_name_of_its_models_output() -> None:
    step = program(None, "sample", "step").step
    assert step is not None

    def sample(model, shape):
        model.eval()
        x = torch.randn(shape)
        for t in reversed(range(T)):
            x_start = model(x, torch.full((len(x),), t)).clip(-1, 1)
            x = step(0.9 * x_start, t, x)
        return x

    report = judged(Adapter(alpha_bar=lambda: ALPHA_BAR, sample=sample))
    assert report.diagnoses[0].explanation.startswith("your x0-hat has 0.9 * "), str(report)


NAMED: list[tuple[str, str, list[str | None]]] = [
    ("eps", "sample", ["26"]),
    ("noise_pred", "v_prediction", [None]),  # by its two coefficients, in letters
    ("pred_x0", "epsilon", ["27"]),
    ("pred_x0", "sample", []),
    ("v", "v_prediction", []),
]


@pytest.mark.parametrize(("name", "to_image", "bugs"), NAMED)
def test_the_name_of_a_step_s_parameter_says_what_the_model_predicts(
    name: str, to_image: str, bugs: list[str | None]
) -> None:
    """And is not overruled by values: what fits another kind exactly is a mistake."""
    step = program(None, to_image, "step").step
    own = eval(
        f"lambda {name}, t, x, generator=None: step({name}, t, x, generator)", {"step": step}
    )
    report = judged(Adapter(alpha_bar=lambda: ALPHA_BAR, step=own))
    assert report.readings["prediction"]["rank"] == "declared"
    assert [d.bug for d in report.diagnoses] == bugs, str(report)


def mapped(candidate: Adapter, scale: float = 2.0, end: Target | None = None) -> Adapter:
    """The same behind pictures in [0, 1], mapped on the way into its loss and out of its loop."""
    loss, sample = candidate.loss, candidate.sample
    assert loss is not None

    def of_unit(model, x_0):
        return loss(model, scale * x_0 - 1)

    def to_unit(model, shape):
        x = sample(model, shape)
        return (x + 1) / 2 if end is None else end(x, x, x)

    return replace(candidate, loss=of_unit, sample=None if sample is None else to_unit)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_pictures_in_0_to_1_are_a_convention_of_loss_and_loop(kind: str) -> None:
    report = judged(mapped(program(kind, kind)))
    assert report.passed, str(report)
    assert report.conventions["data range"] == "[0, 1]"
    assert report.readings["pictures"]["words"]


@pytest.mark.parametrize(
    ("candidate", "bugs"),
    [
        (mapped(program("epsilon", "epsilon"), end=lambda x, *_: x), {"36"}),
        (mapped(program("epsilon", "epsilon"), scale=1.5), {None}),
        (mapped(program("epsilon", None)), {"36"}),
    ],
    ids=["the loss alone maps", "it maps to something else", "a loss alone"],
)
def test_pictures_that_one_part_maps_are_a_mistake(candidate: Adapter, bugs: set) -> None:
    report = judged(candidate)
    assert {d.bug for d in report.diagnoses if d.stage == "loss"} == bugs, str(report)


@pytest.mark.parametrize("clamped", each(2, [True, False]))
def test_a_loop_that_is_wrong_elsewhere_still_says_what_pictures_are_in(
    clamped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its loss is right, and is not blamed for what its loop undoes."""
    monkeypatch.setitem(TO_IMAGE, "wrong", lambda x, out, a: (x - (1 - a) ** 0.5 * out) / a)

    def end(x: Tensor, *_: Tensor) -> Tensor:
        return ((x + 1) / 2).clamp(0, 1) if clamped else (x + 1) / 2

    report = judged(mapped(program("epsilon", "wrong"), end=end))
    assert [d.bug for d in report.diagnoses] == ["42"], str(report)
    assert report.conventions["data range"] == "[0, 1]"
    alone = judged(mapped(program("epsilon", "wrong"), end=lambda x, *_: x))
    assert [d.bug for d in alone.diagnoses] == ["42", "36"], str(alone)


def as_bytes(x: Tensor, *_: Tensor) -> Tensor:
    return ((x + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def test_bytes_do_not_say_what_a_loss_is_given() -> None:
    """Pictures of [0, 1] that it maps, or of [-1, 1] that it maps once more."""
    candidate = mapped(program("epsilon", "epsilon"), end=as_bytes)
    report = judged(candidate)
    assert report.exit_status == 2, str(report)
    assert report.diagnoses == []
    assert "in what range its pictures are is not sure" in report.verdict
    assert "Say --reading pictures=[-1,1] or --reading pictures=[0,1]" in report.verdict
    assert judged(candidate, "pictures=[0,1]").passed
    assert [d.bug for d in judged(candidate, "pictures=[-1,1]").diagnoses] == ["36"]


def test_bytes_that_are_cut_off_are_blamed_for_that_alone() -> None:
    candidate = mapped(program("epsilon", "epsilon"), end=lambda x, *_: as_bytes(x - 1 / 255))
    report = judged(candidate)
    assert report.exit_status == 1, str(report)
    assert "36" not in [d.bug for d in report.diagnoses]
    notes = [check.message for check in report.checks if check.status == "note"]
    assert any("by the contract's reading it is wrong too" in note for note in notes)


def test_a_word_says_that_the_pictures_of_a_loss_are_in_0_to_1() -> None:
    assert judged(mapped(program("epsilon", None)), "pictures=[0, 1]").passed


def test_a_wrong_target_of_a_loss_alone_has_its_name() -> None:
    assert [d.bug for d in judged(program("24-loss", None)).diagnoses] == ["24-loss"]


@pytest.mark.parametrize("power", [0.5, 1.0])
def test_a_class_that_takes_its_own_kind_alone_is_judged_by_it(power: float) -> None:
    class Mine:
        def __init__(self, prediction_type: str = "v_prediction"):
            if prediction_type != "v_prediction":
                raise ValueError("v alone")
            self.alphas_cumprod = ALPHA_BAR

        def loss(self, model, x_0):
            t = torch.randint(0, T, (len(x_0),))
            a, e = ALPHA_BAR[t].float().reshape(-1, 1, 1, 1), torch.randn_like(x_0)
            target = a.sqrt() * e - (1 - a) ** power * x_0
            return (model(a.sqrt() * x_0 + (1 - a).sqrt() * e, t) - target).square().mean()

    report = judge(Mine, "quick", 0, beside=False)
    assert report.passed == (power == 0.5), str(report)
    assert report.readings["prediction"]["value"] == "v_prediction"
    assert all("should have -sqrt(1 - ab_t)" in str(d.formula) for d in report.diagnoses)
