"""The equations of the boxes are typed: here they are computed, and give what our lines give."""

import math
import operator
import re
from collections.abc import Callable
from functools import reduce
from typing import Any

import pytest
import torch
from pairs import PAIRS

from scratch import DDPMScheduler, schedule, timesteps
from scratch.ddim import ddim_mean, ddim_sigma
from scratch.forward import add_noise, velocity
from scratch.reverse import (
    dynamic_threshold,
    eps_from_v,
    eps_from_x_0,
    posterior_mean,
    posterior_variance,
    x_0_from_eps,
    x_0_from_v,
)
from scratch.unet import timestep_embedding

Env = dict[str, Any]
SPACE = re.compile(r"\\[,;!]|\\[Bb]ig")
TOKEN = re.compile(r"\\text\{[^}]*\}|\\[a-zA-Z]+|\d+(\.\d+)?|\S")
FUNCTIONS: dict[str, Callable[..., float]] = {
    r"\cos": math.cos,
    r"\sin": math.sin,
    r"\min": min,
    r"\max": max,
    r"\text{round}": lambda value: math.floor(value + 0.5),
    r"\text{logistic}": lambda value: 1 / (1 + math.exp(-value)),
}
CLOSES = {"(": ")", "{": "}", r"\lfloor": r"\rfloor", "|": "|"}
ENDS = {")", "}", "]", ",", r"\rfloor", "+", "-", "/", ""}


class Reader:
    """Computes a formula in the TeX of the boxes; names are looked up as they are written."""

    def __init__(self, tex: str, env: Env) -> None:
        self.tokens = [m[0] for m in TOKEN.finditer(SPACE.sub("", tex))]
        self.env = env
        self.inside_bars = False

    def peek(self) -> str:
        return self.tokens[0] if self.tokens else ""

    def take(self, *wanted: str) -> str:
        token = self.tokens.pop(0)
        assert not wanted or token in wanted, f"{token} for {wanted}, before {self.tokens}"
        return token

    def sum(self) -> float:
        sign = -1 if self.peek() == "-" and self.take() else 1
        total = sign * self.product()
        while self.peek() in ("+", "-"):
            sign = 1 if self.take() == "+" else -1
            total += sign * self.product()
        return total

    def product(self) -> float:
        value = self.power()
        while self.peek() == "/" or self.peek() not in ENDS:
            if self.peek() == "/":
                self.take()
                value /= self.power()
                continue
            if self.peek() == r"\cdot":
                self.take()
            if self.inside_bars and self.peek() == "|":
                break
            value *= self.power()
        return value

    def power(self) -> float:
        value = self.atom()
        if self.peek() == "^":
            self.take()
            value = value ** self.atom()
        return value

    def group(self) -> float:
        opened = self.take(*CLOSES)
        self.inside_bars = opened == "|"
        value = self.sum()
        self.take(CLOSES[opened])
        self.inside_bars = False
        if opened == r"\lfloor":
            return math.floor(value)
        return abs(value) if opened == "|" else value

    def arguments(self) -> list[float]:
        self.take("(")
        found = [self.sum()]
        while self.peek() == ",":
            self.take()
            found.append(self.sum())
        self.take(")")
        return found

    def atom(self) -> float:
        token = self.peek()
        if token in CLOSES:
            return self.group()
        self.take()
        if token[0].isdigit():
            return float(token)
        if token == r"\frac":
            return self.group() / self.group()
        if token == r"\sqrt":
            return self.group() ** 0.5 if self.peek() == "{" else self.atom() ** 0.5
        if token == r"\prod":
            return self.running_product()
        if token in FUNCTIONS:
            exponent = self.atom() if self.peek() == "^" and self.take() else 1
            return FUNCTIONS[token](*self.arguments()) ** exponent
        return self.named(token)

    def running_product(self) -> float:
        self.take("_"), self.take("{")
        name = self.take()
        self.take("=")
        first = self.sum()
        self.take("}"), self.take("^")
        last, rest, values = self.atom(), list(self.tokens), []
        for value in range(int(first), int(last) + 1):
            self.tokens, self.env = list(rest), self.env | {name: value}
            values.append(self.atom())
        return reduce(operator.mul, values)

    def named(self, token: str) -> float:
        if token in (r"\bar", r"\hat", r"\tilde"):
            token += self.take()
        if self.peek() == "_":
            token += self.take()
            if self.peek() == "{":
                while not token.endswith("}") or token.count("{") != token.count("}"):
                    token += self.take()
            else:
                token += self.take()
        value = self.env[token]
        if not callable(value):
            return float(value)
        return value(*self.arguments()) if self.peek() == "(" else value(self.env)


def printed(name: str, left: str, env: Env) -> float:
    """What the box `name` says that `left` is."""
    for part in re.split(r"\\q?quad|(?<=[^\\]),(?=\s*\\text\{so)", PAIRS[name].equation):
        said, equals, right = re.sub(r"^\s*\\text\{[^}]*\}", "", part).partition("=")
        if r"\leftarrow" in part:
            said, equals, right = part.partition(r"\leftarrow")
        if equals and SPACE.sub("", said).strip() == left:
            reader = Reader(right.strip().rstrip(","), {r"\pi": math.pi} | env)
            value = reader.sum()
            assert not reader.tokens, f"{name}: {reader.tokens} was not read"
            return value
    raise AssertionError(f"{name} says nothing of {left}")


def one(value: float) -> torch.Tensor:
    """A picture of one pixel."""
    return torch.tensor([value], dtype=torch.float64)


A, B, X_0, X_T, EPS, V = 0.36, 0.81, 0.7, -0.4, 1.3, 0.2  # alpha-bar, that before; and pixels
OF_STEP = {r"\abar": A, r"\abarprev": B, r"\beta": 1 - A / B, r"\alpha": A / B}
OF_STEP |= {r"\xhat": X_0, "x_0": X_0, "x_t": X_T, r"\eps": EPS, "v": V, "z": 0.9}
OF_STEP |= {r"\eps_\theta": EPS, r"\sigma": 0.3, r"\eta": 0.6}
BETWEEN = {r"\beta_{\text{start}}": 1e-4, r"\beta_{\text{end}}": 0.02, "t": 7, "T": 50}
NETWORK = OF_STEP | {r"\eps_\theta": lambda x_t, t: EPS, "t": 7}
LEFT_STEP: list[tuple[str, str, Callable[[], Any]]] = [
    ("forward/add-noise", "x_t", lambda: add_noise(one(X_0), one(EPS), A)),
    ("prediction/velocity", "v", lambda: velocity(one(X_0), one(EPS), A)),
    ("reverse-step/tables", r"\alpha", lambda: A / B),
    ("reverse-step/tables", r"\beta", lambda: 1 - A / B),
    ("prediction/x0-from-v", r"\xhat", lambda: x_0_from_v(one(X_T), one(V), A)),
    ("prediction/eps-from-x0", r"\eps", lambda: eps_from_x_0(one(X_T), one(X_0), A)),
    ("prediction/eps-from-v", r"\eps", lambda: eps_from_v(one(X_T), one(V), A)),
    ("reverse-step/mean", r"\tilde\mu", lambda: posterior_mean(one(X_0), one(X_T), A, B)),
    ("reverse-step/variance", r"\tilde\beta", lambda: posterior_variance(A, B)),
    ("ddim/sigma", r"\sigma", lambda: ddim_sigma(0.6, A, B)),
    ("ddim/mean", r"\xprev", lambda: ddim_mean(one(X_0), one(EPS), B, 0.3) + 0.3 * one(0.9)),
]
IN_THE_OTHER_TESTS = {
    *("schedule/alpha-bar", "schedule/zero-terminal-snr", "schedule/cosine"),
    *("schedule/linear", "schedule/scaled-linear", "schedule/sigmoid", "unet/timestep-embedding"),
    *("reverse-step/x0", "reverse-step/clip", "reverse-step/threshold", "reverse-step/noise"),
    *("timesteps/leading", "timesteps/linspace", "timesteps/trailing"),
}
# Sketches in arrows and matrices: which layer follows which, and no number.
NOT_COMPUTED = {"sampling/loop", "unet/whole", "unet/up", "unet/residual-block"}
NOT_COMPUTED |= {"unet/self-attention"}


def test_every_box_is_computed_or_is_a_sketch():
    assert {name for name, _, _ in LEFT_STEP} | IN_THE_OTHER_TESTS | NOT_COMPUTED == set(PAIRS)


@pytest.mark.parametrize(
    ("name", "left", "ours"), LEFT_STEP, ids=[f"{n}-{left}" for n, left, _ in LEFT_STEP]
)
def test_the_equation_of_a_step_is_ours(name: str, left: str, ours: Callable[[], Any]):
    assert printed(name, left, OF_STEP) == pytest.approx(float(ours()), rel=1e-12)


def test_x0_from_eps_clip_and_threshold():
    got = printed("reverse-step/x0", r"\xhat", NETWORK)
    assert got == pytest.approx(float(x_0_from_eps(one(X_T), one(EPS), A)), rel=1e-12)
    for x_0 in (-1.7, 0.2, 1.7):
        clipped = printed("reverse-step/clip", r"\xhat", {r"\xhat": x_0})
        assert clipped == float(one(x_0).clamp(-1, 1))
        env: Env = {r"\xhat": x_0, "Q_p": lambda size: size}  # of one pixel, any quantile
        s = printed("reverse-step/threshold", "s", env)
        got = printed("reverse-step/threshold", r"\xhat", env | {"s": s})
        assert got == pytest.approx(float(dynamic_threshold(one(x_0)[None], 1.0, 9.0)))


def test_the_noise_of_a_step():
    scheduler = DDPMScheduler(num_train_timesteps=10, clip_sample=False)
    t, x = 5, one(X_T)
    a, b = (float(scheduler.alpha_bar[i]) for i in (t, t - 1))
    step = scheduler.step(one(EPS), t, x, generator=torch.Generator().manual_seed(0)).prev_sample
    drawn = torch.randn(1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mean = float(posterior_mean(x_0_from_eps(x, one(EPS), a), x, a, b))
    env = {r"\tilde\mu": mean, r"\sigma": posterior_variance(a, b) ** 0.5, "z": float(drawn)}
    assert printed("reverse-step/noise", r"\xprev", env) == pytest.approx(float(step), rel=1e-9)


@pytest.mark.parametrize(
    ("name", "curve"),
    [
        ("linear", schedule.linear),
        ("scaled-linear", schedule.scaled_linear),
        ("sigmoid", schedule.sigmoid),
    ],
)
def test_a_curve_between_two_ends(name: str, curve: Callable[..., torch.Tensor]):
    ours = curve(50, 1e-4, 0.02)
    for t in (0, 7, 49):
        got = printed(f"schedule/{name}", r"\beta_t", BETWEEN | {"t": t})
        assert got == pytest.approx(float(ours[t]), rel=1e-9)


def test_the_cosine_and_its_table():
    betas = schedule.cosine(50)
    table = (1 - betas).cumprod(0)

    def f(t: float) -> float:
        return printed("schedule/cosine", "f(t)", {"t": t, "T": 50, "s": 0.008})

    for t in range(50):
        env = {"t": t, "T": 50, "f": f}
        got = printed("schedule/cosine", r"\beta_t", env)
        assert got == pytest.approx(float(betas[t]), rel=1e-9)
        if t < 49:  # the last is capped
            got = printed("schedule/cosine", r"\abar", env)
            assert got == pytest.approx(float(table[t]), rel=1e-9)


def test_alpha_bar_and_its_rescaled_root():
    betas = schedule.linear(20, 0.01, 0.2)
    table = (1 - betas).cumprod(0)
    assert printed("schedule/alpha-bar", r"\alpha_t", {r"\beta_t": 0.3}) == 0.7
    env: Env = {"t": 7, r"\alpha_s": lambda env: float(1 - betas[env["s"]])}
    assert printed("schedule/alpha-bar", r"\abar", env) == pytest.approx(float(table[7]))
    rescaled = (1 - schedule.zero_terminal_snr(betas)).cumprod(0)
    ends = {r"\bar\alpha_0": float(table[0]), r"\bar\alpha_{T-1}": float(table[-1])}
    for t in (0, 7, 19):
        env = ends | {r"\abar": float(table[t])}
        got = printed("schedule/zero-terminal-snr", r"\sqrt{\abar}", env)
        assert got == pytest.approx(float(rescaled[t]) ** 0.5, abs=1e-9)


@pytest.mark.parametrize("name", ["leading", "linspace", "trailing"])
def test_the_lists_of_timesteps(name: str):
    for T, n in ((12, 4), (1000, 8), (60, 60)):
        ours = getattr(timesteps, name)(T, n)
        order = range(n) if name == "trailing" else reversed(range(n))
        env = {"T": T, "n": n, r"\text{offset}": 0}
        assert [printed(f"timesteps/{name}", "t_i", env | {"i": i}) for i in order] == ours


def test_the_waves_of_t():
    ours = timestep_embedding(torch.tensor([3]), 8)[0]
    for i in range(4):
        env = {"i": i, "d": 8, r"\text{shift}": 0}
        omega = printed("unet/timestep-embedding", r"\omega_i", env)
        assert float(ours[i]) == pytest.approx(math.cos(3 * omega), abs=1e-6)
        assert float(ours[4 + i]) == pytest.approx(math.sin(3 * omega), abs=1e-6)
    order = PAIRS["unet/timestep-embedding"].equation
    assert order.index(r"\cos") < order.index(r"\sin"), "the default has the cosines first"
