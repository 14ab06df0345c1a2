"""Two answers at one (x_t, t): mixed with two numbers of sum 1 they are guidance, else a fault."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from compare import Adapter
from compare.candidate.model.guidance import mixed, rounds
from compare.candidate.spy import Asked
from compare.verdict.judge import judge
from compare.verdict.report import Report
from tests.compare.written import judged_file
from tests.often import each

T, W = 50, 2.0
BETA = torch.linspace(1e-3, 0.2, T)
ALPHA = 1 - BETA
ALPHA_BAR = ALPHA.cumprod(0)
Mix = Callable[[Any, Tensor, Tensor], Tensor]


def judged(mix: Mix, power: float = 0.5, clip: bool = False) -> Report:
    """The report on algorithm 2 with a mix of answers; with a power of 1 it has mistake 43."""

    def sample(model: Any, shape: tuple[int, ...]) -> Tensor:
        model.eval()
        x = torch.randn(shape)
        for t in reversed(range(T)):
            eps = mix(model, x, torch.full((len(x),), t))
            if clip:
                x_0 = ((x - (1 - ALPHA_BAR[t]).sqrt() * eps) / ALPHA_BAR[t].sqrt()).clamp(-1, 1)
                eps = (x - ALPHA_BAR[t].sqrt() * x_0) / (1 - ALPHA_BAR[t]).sqrt()
            x = (x - BETA[t] / (1 - ALPHA_BAR[t]) ** power * eps) / ALPHA[t].sqrt()
            if t:
                x = x + BETA[t].sqrt() * torch.randn_like(x)
        return x

    adapter = Adapter(alpha_bar=lambda: ALPHA_BAR, sample=sample, name="guided")
    return judge(adapter, "quick", 0, beside=False)


def ones(x: Tensor) -> Tensor:
    return torch.ones(len(x))


def labelled(model: Any, x: Tensor, t: Tensor) -> Tensor:
    return (1 + W) * model(x, t, y=ones(x)) - W * model(x, t, y=None)


def of_classes(model: Any, x: Tensor, t: Tensor) -> Tensor:
    classes = torch.arange(len(x)) % 10
    none, some = (model(x, t, y) for y in (torch.full_like(classes, 10), classes))
    return none + 7.5 * (some - none)


def sometimes(model: Any, x: Tensor, t: Tensor) -> Tensor:
    some = model(x, t, y=ones(x))
    if 10 < int(t[0]) < 40:
        some = 5 * some - 4 * model(x, t, y=0 * ones(x))
    return some


def unlabelled(model: Any, x: Tensor, t: Tensor) -> Tensor:
    two = model(torch.cat([x, x]), torch.cat([t, t]))
    return two[: len(x)].lerp(two[len(x) :], 1.37)


RIGHT = {
    "labels or None": (labelled, "3 out_1 - 2 out_2"),
    "a class after all others": (of_classes, "-6.5 out_1 + 7.5 out_2"),
    "switched off at both ends": (sometimes, "5 out_1 - 4 out_2, at 29 of 50 steps"),
    "no labels": (unlabelled, "-0.37 out_1 + 1.37 out_2"),
    "the second of two": (lambda m, x, t: 0 * m(x, t) + m(x, t), "0 out_1 + 1 out_2"),
}


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("clip", [False, True])
def test_two_numbers_of_sum_1_are_a_convention(name: str, clip: bool) -> None:
    mix, words = RIGHT[name]
    report = judged(mix, clip=clip)
    assert report.passed, str(report)
    assert report.conventions["guidance"] == f"{words} (read off the steps)"
    assert any(c.id == "sampling/loop/steps" for c in report.checks)


@pytest.mark.parametrize("conditional", [0, 1])
def test_every_picture_twice_in_one_batch_is_two_answers(conditional: int) -> None:
    """Each beside itself, not one batch after the other."""

    def mix(model: Any, x: Tensor, t: Tensor) -> Tensor:
        labels = torch.stack([ones(x), 0 * ones(x)], dim=1).flatten()
        out = model(x.repeat_interleave(2, 0), t.repeat_interleave(2), labels)
        return (1 + W) * out[conditional::2] - W * out[1 - conditional :: 2]

    report = judged(mix)
    assert report.exit_status == conditional, str(report)
    assert ("exchanged" in str(report)) == bool(conditional)
    assert judged(mix, power=1.0).exit_status == 1


def test_without_labels_it_is_a_note() -> None:
    notes = [c for c in judged(unlabelled).checks if c.id == "sampling/loop/guidance"]
    assert [c.status for c in notes] == ["note"]
    assert "which of them knows the label was not told" in notes[0].message


@pytest.mark.parametrize("mix", [labelled, sometimes, unlabelled])
def test_the_formula_of_a_guided_step_is_named(mix: Mix) -> None:
    """43 or its twin, whose steps are the same."""
    report = judged(mix, power=1.0)
    assert [d.bug for d in report.diagnoses] in (["43"], ["42-minus-one"]), str(report)
    assert report.conventions["guidance"].startswith(RIGHT_OF[mix])


RIGHT_OF = dict(RIGHT.values())


def exchanged(yes: Any, no: Any, place: str = "y") -> Mix:
    """The weights of the answer with labels and of that without them, exchanged."""

    def mix(model: Any, x: Tensor, t: Tensor) -> Tensor:
        with_label, without = (
            model(x, t, **{place: None if y is None else y * ones(x)}) for y in (yes, no)
        )
        return (1 + W) * without - W * with_label

    return mix


@pytest.mark.parametrize(
    "mix", [exchanged(1, None), exchanged(3, 0, "class_labels"), exchanged(3, 10), exchanged(3, -1)]
)
def test_labels_the_wrong_way_round_are_never_right(mix: Mix) -> None:
    report = judged(mix)
    assert report.exit_status == 1
    assert "out_1 is the one with the label: the two are exchanged" in report.verdict


def test_a_mask_may_mean_either() -> None:
    """1 keeps the label in some code and drops it in other."""
    report = judged(exchanged(0, 1, "context_mask"))
    assert report.passed, str(report)
    assert "which of them knows the label was not told" in str(report)


def falling(model: Any, x: Tensor, t: Tensor) -> Tensor:
    w = float(t[0]) / T
    return (1 + w) * model(x, t, y=ones(x)) - w * model(x, t, y=None)


def too_much(model: Any, x: Tensor, t: Tensor) -> Tensor:
    return (1 + W) * model(x, t, y=ones(x)) - W / 2 * model(x, t, y=None)


def scaled_as_43(model: Any, x: Tensor, t: Tensor) -> Tensor:
    """Weights of another sum at each t, which would make mistake 43 right."""
    return labelled(model, x, t) / (1 - ALPHA_BAR[int(t[0])]).sqrt()


def of_largest(model: Any, x: Tensor, t: Tensor) -> Tensor:
    return torch.maximum(model(x, t, y=ones(x)), model(x, t, y=None))


@pytest.mark.parametrize("mix", each(2, [falling, too_much, scaled_as_43, of_largest]))
def test_any_other_mix_is_never_right(mix: Mix) -> None:
    assert not judged(mix).passed


@pytest.mark.parametrize(
    ("some", "none", "said"),
    each(2, [(3.0, -1.0, "3 out_1 - 1 out_2: the weights sum to 2"), (1.0, 2.5, "sum to 3.5")]),
)
def test_weights_of_another_sum_are_told_as_such(some: float, none: float, said: str) -> None:
    def mix(model: Any, x: Tensor, t: Tensor) -> Tensor:
        return some * model(x, t, y=ones(x)) + none * model(x, t, y=None)

    report = judged(mix)
    assert report.exit_status == 1
    assert f"{said}, should be 1" in report.verdict
    assert "of sum 1: (1 + w) out(x_t, t, label)" in report.diagnoses[0].fix
    both = judged(mix, power=1.0)  # then it is no sum alone
    assert both.exit_status == 1
    assert "sum to" not in both.verdict


def test_an_update_that_is_thrown_away_leaves_no_answer_to_mix() -> None:
    def sample(model: Any, shape: tuple[int, ...]) -> Tensor:
        model.eval()
        x = torch.randn(shape)
        for t in range(T - 1, 0, -1):
            eps = unlabelled(model, x, torch.full((len(x),), t))
            x = (x - BETA[t] / (1 - ALPHA_BAR[t]).sqrt() * eps) / ALPHA[t].sqrt()
            x = x + BETA[t].sqrt() * torch.randn_like(x)
        unlabelled(model, x, torch.zeros(len(x), dtype=torch.long))
        return x

    adapter = Adapter(alpha_bar=lambda: ALPHA_BAR, sample=sample)
    (found,) = judge(adapter, "quick", 0, beside=False).diagnoses
    assert found.bug == "79-thrown"


MASKED = """
import torch


class Guided:
    def __init__(self, T=50):
        self.T, self.beta = T, torch.linspace(1e-3, 0.2, T)
        self.alpha_bar = (1 - self.beta).cumprod(0)

    def loss(self, model, x, y):
        t, e = torch.randint(0, self.T, (len(x),)), torch.randn_like(x)
        ab = self.alpha_bar[t].view(-1, 1, 1, 1)
        mask = torch.bernoulli(torch.full((len(x),), SHARE))
        return ((model(ab.sqrt() * x + (1 - ab).sqrt() * e, t, y, mask) - e) ** 2).mean()

    @torch.no_grad()
    def sample(self, model, shape, y):
        x, b = torch.randn(shape), shape[0]
        for i in reversed(range(self.T)):
            t = torch.full((b,), i)
            zeros, ones = (model(x, t, y, mask) for mask in (torch.zeros(b), torch.ones(b)))
            e = 3 * zeros - 2 * ones
            x = (x - self.beta[i] / (1 - self.alpha_bar[i]).sqrt() * e) / (1 - self.beta[i]).sqrt()
            x = x + self.beta[i].sqrt() * torch.randn(shape) if i else x
        return x
"""


@pytest.mark.parametrize(
    ("share", "status", "said"),
    [
        ("0.1", 0, "out_1 is the one with the label"),
        ("0.9", 1, "out_2 is the one with the label: the two are exchanged"),
        ("0.5", 0, "which of them knows the label was not told"),
    ],
)
def test_training_says_which_mask_drops_the_label(
    tmp_path: Path, share: str, status: int, said: str
) -> None:
    """It is the rarer one."""
    report = judged_file(tmp_path, "Guided", MASKED.replace("SHARE", share))
    assert report.exit_status == status
    assert any(said in check.message for check in report.checks)


def test_weights_that_vary_are_told_with_the_t() -> None:
    assert "the weights of the answers vary with t: " in judged(falling).verdict


def test_questions_at_one_x_and_t_are_one_round() -> None:
    x, t = torch.randn(3, 2, 1, 1, 1), torch.tensor([4])
    asked = [Asked(x[i], t + d, t + d, x[i], True, {}) for i, d in ((0, 0), (0, 0), (0, 1), (1, 1))]
    assert [len(each.asked) for each in rounds(asked)] == [2, 1, 1]
    assert mixed(torch.tensor([-2.0, 3.0])) == "-2 out_1 + 3 out_2"


def drawn_anew(model: Any, x: Tensor, t: Tensor) -> Tensor:
    return model(x, t, torch.randint(0, 10, (len(x),)))


def drawn_for_one(model: Any, x: Tensor, t: Tensor) -> Tensor:
    y = torch.arange(len(x)) % 10
    y[5] += int(t[0]) == 20
    return model(x, t, y)


def drawn_beside_none(model: Any, x: Tensor, t: Tensor) -> Tensor:
    y = torch.full((len(x),), 10)
    return (1 + W) * drawn_anew(model, x, t) - W * model(x, t, y)


@pytest.mark.parametrize(
    ("mix", "said"),
    each(
        2,
        [
            (drawn_anew, "image 0 has label"),
            (drawn_for_one, "image 5 has label 5 at t=49, label 6 at t=20"),
            (drawn_beside_none, "image 0 has label"),
        ],
    ),
)
def test_a_picture_that_changes_its_label_is_told(mix: Mix, said: str) -> None:
    report = judged(mix)
    assert report.exit_status == 1
    assert [c.id for c in report.checks if not c.passed] == ["sampling/loop/labels"]
    assert said in report.verdict


@pytest.mark.parametrize("mix", [of_classes, sometimes])
def test_one_that_keeps_it_is_right(mix: Mix) -> None:
    labels = [c.id for c in judged(mix).checks if c.passed and c.id.endswith("loop/labels")]
    assert len(labels) == (mix is of_classes)  # one label for all is none of their own
