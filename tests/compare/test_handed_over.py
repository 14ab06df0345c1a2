"""A model that is handed over may be called in any usual way, and no way hides a mistake."""

import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from compare import Adapter
from compare.candidate.from_oracle import loss_of, sample_of
from compare.candidate.model.call import Manner, read
from compare.candidate.subject import Subject
from compare.measure.check import Check
from compare.mistakes import MISTAKES, NOT_OF_NOISE, Mistake
from compare.oracle import Oracle, Setting
from compare.stages.loss import LOSS
from compare.stages.sampling import SAMPLING
from compare.verdict import conventions
from compare.verdict.judge import judge
from compare.verdict.quiet import quiet
from compare.verdict.report import Report
from tests.often import each

SHORT = Setting(num_train_timesteps=30, beta_end=0.4)
Ask = Callable[[Any, Tensor, Tensor], Tensor]


def guided(model: Any, x: Tensor, t: Tensor) -> Tensor:
    return 3 * model(x, t, y=torch.ones(len(x))) - 2 * model(x, t, y=None)


def doubled(model: Any, x: Tensor, t: Tensor) -> Tensor:
    one, two = model(torch.cat([x, x]), torch.cat([t, t])).chunk(2)
    return 3 * one - 2 * two


def keyword(model: Any, x: Tensor, t: Tensor) -> Tensor:
    return model(sample=x, timesteps=t.reshape(-1, 1, 1, 1))


def time_first(model: Any, x: Tensor, t: Tensor) -> Tensor:
    return model(t, x)


def dictionary(model: Any, x: Tensor, t: Tensor) -> Tensor:
    return model(x, t, class_labels=None)["sample"]


def first_of_pair(model: Any, x: Tensor, t: Tensor) -> Tensor:
    return model(x, t)[0]


def plain(model: Any, x: Tensor, t: Tensor) -> Tensor:
    return model(x, t)


def labels_first(model: Any, x: Tensor, t: Tensor) -> Tensor:
    return model(x, torch.arange(len(x)) % 10, t)


def interleaved(model: Any, x: Tensor, t: Tensor) -> Tensor:
    out = model(x.repeat_interleave(2, 0), t.repeat_interleave(2))
    return 3 * out[::2] - 2 * out[1::2]


def conditioned(model: Any, x: Tensor, t: Tensor) -> Tensor:
    return model(torch.cat([torch.zeros_like(x), x], dim=1), t)


def minus(model: Any, x: Tensor, t: Tensor) -> Tensor:
    return -model(x, t)


def score(model: Any, x: Tensor, t: Tensor) -> Tensor:
    level = (1 - Oracle().alpha_bar(SHORT)[t]).sqrt().reshape(-1, *[1] * (x.dim() - 1))
    return -level * model(x, t)


class Worn:
    """A model behind a door."""

    def __init__(self, model: Any, ask: Ask, size: tuple[int, ...] | None = None):
        self.model, self.ask, self.size = model, ask, size

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        if self.size is None:
            return self.ask(self.model, x, t)
        return self.ask(self.model, x.reshape(-1, *self.size), t).reshape(x.shape)

    @property
    def training(self) -> bool:
        return self.model.training

    def eval(self) -> None:
        self.model.eval()

    def train(self, mode: bool = True) -> None:
        self.model.train(mode)


def of_loop(adapter: Adapter, ask: Ask = plain, size: tuple[int, ...] | None = None) -> Adapter:
    """A loop behind a door; `size` of its pictures, or points, is written in."""
    inside = adapter.sample
    assert inside is not None

    def sample(model: Any, shape: tuple[int, ...], generator: Any) -> Tensor:
        worn = Worn(model, ask, size)
        if size is None:
            return inside(worn, shape, generator)
        wide = (shape[0], *size, *[1] * (3 - len(size)))
        return inside(worn, wide, generator).reshape(shape[0], *size)

    return replace(adapter, sample=sample)


def of_loss(adapter: Adapter, ask: Ask = plain, size: tuple[int, ...] | None = None) -> Adapter:
    """A loss behind a door; it takes only images, or points, of this many axes."""
    inside = adapter.loss
    assert inside is not None

    def loss(model: Any, x_0: Tensor, generator: Any) -> Tensor:
        if size is None:
            return inside(Worn(model, ask), x_0, generator)
        if x_0.dim() != 1 + len(size):
            raise ValueError(f"needs {1 + len(size)} axes, got {x_0.dim()}")
        wide = x_0.reshape(*x_0.shape, *[1] * (4 - x_0.dim()))
        return inside(Worn(model, ask, tuple(x_0.shape[1:])), wide, generator)

    return replace(adapter, loss=loss)


LOOPS: dict[str, Callable[[Adapter], Adapter]] = {
    "guided": lambda adapter: of_loop(adapter, guided),
    "doubled": lambda adapter: of_loop(adapter, doubled),
    "interleaved": lambda adapter: of_loop(adapter, interleaved),
    "a condition beside it": lambda adapter: of_loop(adapter, conditioned),
    "by keyword": lambda adapter: of_loop(adapter, keyword),
    "time first": lambda adapter: of_loop(adapter, time_first),
    "dictionary": lambda adapter: of_loop(adapter, dictionary),
    "first of a pair": lambda adapter: of_loop(adapter, first_of_pair),
    "three channels": lambda adapter: of_loop(adapter, size=(3, 8, 8)),
    "points": lambda adapter: of_loop(adapter, size=(2,)),
}
LOSSES: dict[str, Callable[[Adapter], Adapter]] = {
    "by keyword": lambda adapter: of_loss(adapter, keyword),
    "time first": lambda adapter: of_loss(adapter, time_first),
    "dictionary": lambda adapter: of_loss(adapter, dictionary),
    "first of a pair": lambda adapter: of_loss(adapter, first_of_pair),
    "points": lambda adapter: of_loss(adapter, size=(2,)),
    "labels before t": lambda adapter: of_loss(adapter, labels_first),
    "a condition beside it": lambda adapter: of_loss(adapter, conditioned),
}


def adapter_of(
    oracle: Oracle, role: str, setting: Setting = SHORT, n: int | None = None
) -> Adapter:
    """A loop or a loss over an oracle's formulas."""
    made = sample_of(oracle, setting, n) if role == "sample" else loss_of(oracle, setting)
    kind = setting.prediction_type
    roles: dict[str, Any] = {role: made, "prediction_type": kind}
    return Adapter(alpha_bar=lambda: Oracle().alpha_bar(setting), name=role, **roles)


def judged(adapter: Adapter) -> Report:
    return judge(adapter, "quick", 0, beside=False)


def failing(adapter: Adapter) -> list[Check]:
    """What differs or raises in the stages that judge a loop and a loss."""
    subject = Subject(adapter, "dressed", "quick", 0)
    with quiet():
        conventions.read(subject)
        stages = (SAMPLING, LOSS)
        checks = [check for stage in stages for check in stage.of(subject, Oracle())]
    return [check for check in checks if not check.passed]


@pytest.mark.parametrize("door", LOOPS)
def test_a_right_loop_is_right_behind_every_door(door: str) -> None:
    report = judged(LOOPS[door](adapter_of(Oracle(), "sample")))
    assert report.passed, str(report)


@pytest.mark.parametrize("door", LOSSES)
def test_a_right_loss_is_right_behind_every_door(door: str) -> None:
    report = judged(LOSSES[door](adapter_of(Oracle(), "loss")))
    assert report.passed, str(report)


# --- no door hides a mistake ---


def mutant(mistake: Mistake) -> Adapter | None:
    """A loop or a loss with this mistake, if one alone can have it."""
    if mistake.only == "both":
        return None
    if mistake.stage in ("forward", "loss"):
        kind = "sample" if mistake.id in NOT_OF_NOISE else "epsilon"
        kind = "v_prediction" if mistake.only == "v_loss" else kind
        return adapter_of(mistake.oracle(), "loss", replace(SHORT, prediction_type=kind))
    if mistake.stage in ("prediction", "mean", "variance", "sampling"):
        setting = replace(SHORT, sampler="ddim", eta=0.5) if mistake.only == "ddim" else SHORT
        n = 10 if mistake.only in ("strided", "ddim") else None
        return (
            None
            if mistake.only == "learned_range"
            else adapter_of(mistake.oracle(), "sample", setting, n)
        )
    return None


def doors_of(mistake: Mistake) -> dict[str, Callable[[Adapter], Adapter]]:
    return LOSSES if mistake.stage in ("forward", "loss") else LOOPS


NO_MISTAKE = {("62-channel", "points")}  # a number for each channel is one for each of a point's
DRESSED = [
    (m, door)
    for m in MISTAKES
    if mutant(m) is not None
    for door in doors_of(m)
    if (m.id, door) not in NO_MISTAKE
]
SOME = random.Random(10).sample(DRESSED, len(DRESSED) // 10)


def dressed(pairs: list[tuple[Mistake, str]]) -> Any:
    ids = [f"{mistake.id} {door}" for mistake, door in pairs]
    return pytest.mark.parametrize(("mistake", "door"), pairs, ids=ids)


def assert_not_hidden(mistake: Mistake, door: str, dress: Callable[[Adapter], Adapter]) -> None:
    """What is found undressed is found dressed."""
    bare = mutant(mistake)
    assert bare is not None
    if failing(bare):
        assert failing(dress(bare)), f"{mistake.id} is right behind {door}"


@dressed(SOME)
def test_some_mistakes_behind_some_doors_are_not_right(mistake: Mistake, door: str) -> None:
    assert_not_hidden(mistake, door, doors_of(mistake)[door])


@pytest.mark.long
@dressed(DRESSED)
def test_no_mistake_is_right_behind_any_door(mistake: Mistake, door: str) -> None:
    assert_not_hidden(mistake, door, doors_of(mistake)[door])


ANSWERS = {"minus": minus, "score": score}
ANSWERED = [
    (mistake, answers)
    for mistake in MISTAKES
    if (wrong := mutant(mistake)) is not None and wrong.prediction_type == "epsilon"
    for answers in ANSWERS
]


def answering(answers: str, wrong: Adapter | None = None) -> Adapter:
    """A loop and a loss whose model answers so, of which one may be wrong."""
    right = {role: adapter_of(Oracle(), role) for role in ("sample", "loss")}
    roles = {role: getattr(wrong, role, None) or getattr(own, role) for role, own in right.items()}
    both = replace(right["sample"], **roles)
    return of_loss(of_loop(both, ANSWERS[answers]), ANSWERS[answers])


@pytest.mark.parametrize("answers", ANSWERS)
def test_a_model_that_answers_otherwise_is_right_with_both(answers: str) -> None:
    report = judged(answering(answers))
    assert report.passed, str(report)


@dressed(random.Random(10).sample(ANSWERED, len(ANSWERED) // 10))
def test_some_mistakes_are_not_right_with_other_answers(mistake: Mistake, door: str) -> None:
    assert_not_hidden(mistake, door, partial(answering, door))


@pytest.mark.long
@dressed(ANSWERED)
def test_no_mistake_is_right_with_other_answers(mistake: Mistake, door: str) -> None:
    assert_not_hidden(mistake, door, partial(answering, door))


@pytest.mark.long
@dressed(SOME)
def test_some_mistakes_behind_some_doors_are_named_alike(mistake: Mistake, door: str) -> None:
    """By a twin, where two are the same in numbers; undecided at most, if they cannot be read."""
    bare = mutant(mistake)
    assert bare is not None
    plainly, behind = judged(bare), judged(doors_of(mistake)[door](bare))
    assert plainly.passed or not behind.passed
    named = [{d.bug for d in report.diagnoses} for report in (plainly, behind)]
    assert behind.exit_status != 1 or plainly.passed or named[0] == named[1], str(behind)


# --- how a call is read ---


def test_the_picture_is_known_by_its_shape_and_t_by_its_name_or_place() -> None:
    x, t, y = torch.zeros(4, 3, 8, 8), torch.arange(4), torch.ones(4, dtype=torch.long)
    manner = Manner((4, 3, 8, 8))
    context = torch.zeros(4, 77, 768)
    for given, named in (
        ((x, t, y), {}),
        ((t, x), {"y": y}),
        ((), {"class_labels": y, "noisy_image": x, "diffusion_step": t}),
        ((context, x, t), {}),
        ((x,), {"y": y, "time": t}),
    ):
        call = read(given, named, manner)
        assert call.x is x
        assert torch.equal(call.t, t)


@pytest.mark.parametrize("told", [7, 7.0, torch.tensor(7), torch.full((4, 1, 1, 1), 7)])
def test_t_may_be_a_number_or_a_tensor_of_any_axes(told: Any) -> None:
    call = read((torch.zeros(4, 2), told), {}, Manner((4, 2)))
    assert {float(each) for each in call.t.flatten()} == {7.0}


ALPHA_BAR = Oracle().alpha_bar(SHORT).float()
ALPHA = ALPHA_BAR / torch.cat([torch.ones(1), ALPHA_BAR[:-1]])


def loop(
    ask: Ask = plain,
    start: Callable[[Any], Tensor] = torch.randn,
    draw: Callable[[Any], Tensor] = torch.randn,
    evaluates: bool = True,
) -> Adapter:
    """Algorithm 2, written as strangers do."""

    def sample(model: Any, shape: tuple[int, ...]) -> Tensor:
        if evaluates:
            model.eval()
        x = start(shape)
        for t in reversed(range(len(ALPHA))):
            eps = ask(model, x, torch.full((len(x),), t))
            x = (x - (1 - ALPHA[t]) / (1 - ALPHA_BAR[t]).sqrt() * eps) / ALPHA[t].sqrt()
            if t:
                x = x + (1 - ALPHA[t]).sqrt() * draw(x.shape)
        return x

    return Adapter(alpha_bar=lambda: ALPHA_BAR, sample=sample, name="loop")


def by_attributes(model: Any, x: Tensor, t: Tensor) -> Tensor:
    assert model.in_channels == model.channels == model.config.in_channels == x.shape[1]
    assert model.config["sample_size"] == model.image_size == x.shape[-1]
    assert model.out_dim == model.in_channels
    assert next(model.parameters()).device == model.device
    out: Tensor = model(x, int(t[0]), return_dict=False)[0]
    return out


def unpacked(model: Any, x: Tensor, t: Tensor) -> Tensor:
    out: Tensor
    out, _ = model(x, t)
    return out


def with_labels_before_t(model: Any, x: Tensor, t: Tensor) -> Tensor:
    both = model(
        torch.cat([x, x]),
        torch.arange(len(x)).repeat(2),
        torch.cat([t, t]).reshape(-1, 1, 1, 1) / len(ALPHA),
        torch.cat([torch.zeros(len(x)), torch.ones(len(x))]),
    )
    return 1.5 * both[: len(x)] - 0.5 * both[len(x) :]


@pytest.mark.parametrize("ask", [by_attributes, unpacked, with_labels_before_t])
def test_other_right_ways_to_call_a_model_are_right(ask: Ask) -> None:
    report = judged(loop(ask))
    assert report.passed, str(report)


@pytest.mark.parametrize("size", [(1, 28, 28), (3, 16, 16), (2,)])
def test_a_size_that_is_written_in_is_asked_for(size: tuple[int, ...]) -> None:
    report = judged(loop(start=lambda shape: torch.randn(shape[0], *size)))
    assert report.passed, str(report)
    assert str(size[0]) in report.conventions["pictures"]


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda model, x, t: model(t), "it was called as model(int64 of shape (32,))"),
        (lambda model, x, t: model(x), "no argument tells the time: it was called as model("),
        (lambda model, x, t: model.nonsense, "has no attribute 'nonsense'"),
    ],
)
def test_an_error_says_how_the_model_was_called(ask: Ask, words: str) -> None:
    report = judged(loop(ask))
    assert report.exit_status == 2
    assert words in report.verdict
    assert "sample(model, (32, 2, 8, 8)) raises" in report.verdict
    assert "Spy" not in str(report)


def test_what_a_loop_raises_leaves_the_loss_judged() -> None:
    both = replace(loop(lambda model, x, t: model.nonsense), loss=loss_of(Oracle(), SHORT))
    checks = [check for check in judged(both).checks if check.stage == "loss"]
    assert len(checks) > 10
    assert all(check.passed for check in checks)
    right = loop().sample
    report = judged(replace(both, sample=right, loss=lambda model, x_0: model.nonsense))
    assert {c.stage for c in report.checks if not c.passed} == {"loss"}
    assert "sampling/loop/steps" in {c.id for c in report.checks}


def test_names_say_the_order_of_the_model_and_the_number_of_pictures() -> None:
    inside, trained = loop().sample, loss_of(Oracle(), SHORT)
    assert inside is not None

    def draw(n: int, net: Any) -> Tensor:
        return inside(net, (n, 3, 8, 8))

    def loss(x_0: Tensor, model: Any, generator: Any) -> Tensor:
        return trained(model, x_0, generator)

    report = judged(Adapter(alpha_bar=lambda: ALPHA_BAR, sample=draw, loss=loss))
    assert report.passed, str(report)
    assert {"sampling/loop/steps", "loss/zero"} <= {check.id for check in report.checks}


# --- who owns the model ---


class Plain:
    def __init__(self, model: Any):
        self.model = model

    def predict(self, x: Tensor, t: Tensor) -> Tensor:
        out: Tensor = self.model(x, t)
        return out


class Module(nn.Module):
    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    predict = Plain.predict


class Keeper:
    """An object that keeps a model, and runs a loop with it."""

    model: nn.Module

    def sample(self, shape: tuple[int, ...]) -> Tensor:
        inside = loop(plain, evaluates=False).sample
        assert inside is not None
        return inside(self.model, shape)


class KeepingModule(nn.Module):
    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    sample = Keeper.sample


class Handed(Keeper):
    def __init__(self, model: nn.Module):
        self.model = model


def keeping(model: nn.Module) -> Keeper:
    """One that is built without a model."""
    keeper = Keeper()
    keeper.model = model
    return keeper


def within(keeper: Callable[[nn.Module], Any]) -> Adapter:
    return replace(loop(plain), sample=lambda model, shape: keeper(model).sample(shape))


@pytest.mark.parametrize(
    ("candidate", "bugs"),
    [
        (loop(plain, evaluates=False), []),
        (loop(lambda model, x, t: Module(model).predict(x, t), evaluates=False), []),
        (loop(lambda model, x, t: Plain(model).predict(x, t), evaluates=False), []),
        (within(KeepingModule), []),
        (within(Handed), []),
        (within(keeping), ["95"]),
    ],
    ids=["handed", "wrapped in a module", "wrapped", "kept by a module", "built with it", "kept"],
)
def test_who_keeps_a_model_must_switch_it(candidate: Adapter, bugs: list[str]) -> None:
    """An object that is made for a call, as DiT's respaced sampling does, keeps nothing."""
    report = judged(candidate)
    assert [d.bug for d in report.diagnoses] == bugs, str(report)
    assert [c.bug for c in report.checks if c.bug] == ([] if bugs else ["95"])


# --- x_T and seeds ---


@pytest.mark.parametrize("seed", each(3, range(7)))
def test_an_x_T_that_the_batch_shares_is_found_with_every_seed(seed: int) -> None:
    shared = loop(start=lambda shape: torch.randn(1, *shape[1:]).repeat(shape[0], 1, 1, 1))
    report = judge(shared, "quick", seed, beside=False)
    assert [d.bug for d in report.diagnoses] == ["62-start"], str(report)
    assert "x_T has the same numbers in several images" in str(report)


def one_channel(shape: Any) -> Tensor:
    return torch.randn(shape[0], 1, *shape[2:]).expand(shape)


def seeded(shape: Any) -> Tensor:
    torch.manual_seed(0)
    return torch.randn(shape)


def of_own(shape: Any) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (loop(start=one_channel), "several channels"),
        (loop(start=seeded), "x_T is the same at every call"),
        (loop(start=of_own), "x_T is the same at every call"),
        (loop(draw=seeded), "every step of the loop adds the same z"),
    ],
)
def test_noise_that_no_seed_changes_is_found(wrong: Adapter, words: str) -> None:
    report = judged(wrong)
    assert report.exit_status == 1
    assert words in report.verdict


def test_a_seed_set_after_x_T_is_found() -> None:
    def sample(model: Any, shape: tuple[int, ...]) -> Tensor:
        x = torch.randn(shape)
        torch.manual_seed(4)
        result: Tensor = inside(model, x)  # type: ignore[misc]
        return result

    inside = loop(start=lambda x: x).sample
    report = judged(Adapter(alpha_bar=lambda: ALPHA_BAR, sample=sample))
    assert [d.bug for d in report.diagnoses] == ["61-seed-z"], str(report)
