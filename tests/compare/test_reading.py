"""What names and calls say of a door, the words that decide, and what is told of a reading."""

import json

import pytest
import torch

from compare.candidate.door import source
from compare.candidate.door.names import roles
from compare.candidate.door.reading import CANONICAL, Fact, Order, told_by
from compare.candidate.load import Adapter
from compare.candidate.subject import Subject
from compare.oracle import Setting, betas
from compare.verdict import conventions


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ("model_output t sample", "out t x"),
        ("noise_pred timestep x_t", "out t x"),
        ("x t eps", "x t out"),
        ("img step predicted_noise", "x t out"),
        ("x_t t noise_pred z", "x t out z"),
        ("x t eps noise", "x t out z"),
        ("noise t x noise_pred", "z t x out"),
        ("t xt e_t", "t x out"),
        ("a t b", "- t -"),
        ("a b c", "- - -"),
        ("x t x_t", "x t -"),
    ],
)
def test_what_the_names_of_a_step_stand_for(names: str, found: str) -> None:
    assert [role or "-" for role in roles("step", names.split())] == found.split()


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ("original_samples noise timesteps", "x_0 noise t"),
        ("x_start t noise", "x_0 t noise"),
        ("eps x0 t", "noise x_0 t"),
        ("x t", "x_0 t"),
        ("a b t", "- - t"),
    ],
)
def test_what_the_names_of_add_noise_stand_for(names: str, found: str) -> None:
    assert [role or "-" for role in roles("add_noise", names.split())] == found.split()


class Loop:
    def step(self, a, b, c):
        raise NotImplementedError

    def sample(self, net, shape):
        img = torch.randn(shape)
        for i in reversed(range(10)):
            guess = net(img, i)
            img = self.step(guess, i, img)
        return img


class ByKeyword(Loop):
    def sample(self, model, y):
        for t in range(9, -1, -1):
            y = self.step(c=model(y, t), a=y, b=t)
        return y


class Disagrees(Loop):
    def sample(self, model, x):
        for t in range(9, -1, -1):
            x = self.step(model(x, t), t, x)
            x = self.step(x, t, model(x, t))
        return x


def read_order(program: type, method: str = "step") -> Fact:
    class Whole(program):
        alphas_cumprod = (1 - torch.linspace(1e-3, 0.2, 10)).cumprod(0)

    Whole.__module__ = program.__module__
    subject = Subject(Whole, "program")
    conventions.read(subject)
    return getattr(subject.door, method)


@pytest.mark.parametrize(
    ("program", "order"), [(Loop, "out,t,x"), (ByKeyword, "x,t,out")], ids=["loop", "keyword"]
)
def test_its_own_calls_say_the_order(program: type, order: str) -> None:
    fact = read_order(program)
    assert (str(fact.value), fact.rank, fact.others) == (order, "declared", ())
    assert fact.evidence == "its own code calls it so"


def test_calls_that_disagree_say_nothing() -> None:
    fact = read_order(Disagrees)
    assert (str(fact.value), fact.rank) == ("out,t,x", "behaviour")
    assert len(fact.others) == 5


def test_an_annotation_says_which_is_t() -> None:
    class Annotated:
        def step(self, a: torch.Tensor, b: int, c: torch.Tensor):
            return a

    fact = read_order(Annotated)
    assert [str(order) for order in (fact.value, *fact.others)] == ["out,t,x", "x,t,out"]


def test_orders_that_cannot_be_called_fall_away() -> None:
    class Indexes:
        table = torch.ones(10)

        def step(self, a, b, c):
            return self.table[a] * b + c

    fact = read_order(Indexes)
    assert [str(order) for order in (fact.value, *fact.others)] == ["t,out,x", "t,x,out"]


def test_the_contract_of_an_adapter_says_what_its_names_do_not() -> None:
    table = (1 - betas(Setting(num_train_timesteps=10))).cumprod(0)

    def order(step) -> Fact:
        subject = Subject(Adapter(alpha_bar=lambda: table, step=step), "adapter")
        conventions.read(subject)
        return subject.door.step

    assert str(order(lambda a, t, b, g: b).value) == "out,t,x"
    assert order(lambda a, t, b, g: b).rank == "declared"
    assert str(order(lambda x, t, eps, g: x).value) == "x,t,out"
    assert str(order(lambda *given: given[2]).value) == "out,t,x"


def test_a_reshaped_t_and_a_noise_that_may_be_nothing_are_seen() -> None:
    def of(text: str) -> list:
        import ast

        return [ast.parse(text, mode="eval").body]

    assert source.has_four_axes(of("t.view(-1, 1, 1, 1)"))
    assert source.has_four_axes(of("t[:, None, None, None]"))
    assert not source.has_four_axes(of("t.reshape(-1, 1)"))
    assert source.may_be_nothing(of("z if t > 0 else 0"))
    assert not source.may_be_nothing(of("torch.randn_like(x)"))


@pytest.mark.parametrize(
    ("word", "name", "value"),
    [
        ("step=x,t,out", "step", Order(("x", "t", "out"))),
        ("step=sample,timestep,noise_pred,z", "step", Order(("x", "t", "out", "z"))),
        ("add_noise=x_0, t, noise", "add_noise", Order(("x_0", "t", "noise"))),
        ("add_noise=x_0,t", "add_noise", Order(("x_0", "t"))),
        ("t=1", "t_base", 1),
        ("t=(b, 1, 1, 1)", "t_of_step", "a tensor (b, 1, 1, 1)"),
        ("z=0", "z", "z but for the last step, where it is 0"),
    ],
)
def test_the_words_that_decide(word: str, name: str, value: object) -> None:
    assert told_by(word)[name].value == value
    assert told_by([word])[name].rank == "declared"


@pytest.mark.parametrize("word", ["step=x,t", "step=x,t,y", "step=x,t,x", "t=2", "loss=x", "x"])
def test_a_word_that_is_not_known_is_one_line(word: str) -> None:
    with pytest.raises(ValueError, match="--reading") as refused:
        told_by(word)
    assert "\n" not in str(refused.value)


def test_a_reading_in_words_and_in_json() -> None:
    keyword = Order(("x",), (("t", "when"), ("out", "eps")))
    reading = CANONICAL.told({"step": Fact(keyword, "declared", "its parameters are named so")})
    assert reading.call("step") == "step(x_t, when=t, eps=model_output)"
    plain = reading.plain()
    assert json.loads(json.dumps(plain)) == plain
    assert plain["step"]["value"] == "x,t,out"
    assert plain["step"]["words"] == f"called as {reading.call('step')}"
    assert not any(fact["words"] for fact in CANONICAL.plain().values())
