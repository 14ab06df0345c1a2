"""A table that no attribute shows, in a variable of a function; a step that only its loop calls."""

import re
import sys
from pathlib import Path

import pytest
import torch

from compare import run
from compare.candidate.door.variables import (
    Variables,
    by_another,
    schedule_of,
    that_may_be,
    watched,
)
from tests.compare.written import FILES, Slip, judged_file

MEAN = "(x - betas[t] / (1 - abar[t]).sqrt() * eps) / (1 - betas[t]).sqrt()"
LOOP = f"""
    x = torch.randn(shape)
    for t in reversed(range(len(betas))):
        eps = model(x, torch.full((shape[0],), t))
        x = {MEAN}
        if t > 0:
            x = x + betas[t].sqrt() * torch.randn(shape)
    return x
"""
INSIDE = f"""import torch

def sample(model, shape, T=50):
    betas = torch.linspace(1e-3, 0.2, T)
    abar = torch.cumprod(1 - betas, 0)
{LOOP}"""
BUILT = """import torch

def tables(T):
    betas = torch.linspace(1e-3, 0.2, T)
    return betas, torch.cumprod(1 - betas, 0)

def sampler(T):
    betas, abar = tables(T)
    weights = [(betas[t] / (1 - abar[t]).sqrt()).item() for t in range(T)]

    def sample(model, shape):
        x = torch.randn(shape)
        for t in reversed(range(T)):
            eps = model(x, torch.full((shape[0],), t))
            x = (x - weights[t] * eps) / (1 - betas[t]).sqrt()
            if t > 0:
                x = x + betas[t].sqrt() * torch.randn(shape)
        return x

    return sample

sample = sampler(50)
"""
CLIPPED = """import math
import torch

def cosine(T):
    alphas_cumprod = torch.cos((torch.linspace(0, 1, T + 1) + 0.008) / 1.008 * math.pi / 2) ** 2
    betas = 1 - alphas_cumprod[1:] / alphas_cumprod[:-1]
    return torch.clip(betas, 0, 0.9)

def sample(model, shape, T=50):
    kept = cosine(T)
    product = torch.cumprod(1 - kept, 0)
""" + LOOP.replace("betas", "kept").replace("abar", "product")
HIDDEN = """import torch

class Hidden:
    def __init__(self, T=50):
        betas = torch.linspace(1e-3, 0.2, T)
        abar = torch.cumprod(1 - betas, 0)
        self.T, self.signal, self.noise = T, abar.sqrt(), (1 - abar).sqrt()

    def step(self, eps, t, x):
        x_0 = (x - self.noise[t] * eps) / self.signal[t]
        return x_0 if t == 0 else self.signal[t - 1] * x_0 + self.noise[t - 1] * eps

    def sample(self, model, shape):
        x = torch.randn(shape)
        for t in reversed(range(self.T)):
            x = self.step(model(x, torch.full((shape[0],), t)), t, x)
        return x
"""
NEXT = """import torch

class WithNext:
    def __init__(self, T=100, n=20):
        self.abar = torch.cumprod(1 - torch.linspace(1e-3, 0.1, T), 0)
        self.list = list(range(0, T, T // n))[::-1]

    def step(self, eps, t, t_next, x):
        ab = self.abar[t]
        x_0 = (x - (1 - ab).sqrt() * eps) / ab.sqrt()
        if t_next < 0:
            return x_0
        after = self.abar[t_next]
        return after.sqrt() * x_0 + (1 - after).sqrt() * eps

    def sample(self, model, shape):
        x = torch.randn(shape)
        for t, t_next in zip(self.list, self.list[1:] + [-1]):
            x = self.step(model(x, torch.full((shape[0],), t)), t, t_next, x)
        return x
"""

BY_FUNCTION = """import math
import torch

T = 200

def alpha_bar(t):
    level = lambda u: math.cos((u + 0.008) / 1.008 * math.pi / 2 * 0.97) ** 2
    return level(t / T) / level(0)

def sample(model, shape, steps=20):
    x = torch.randn(shape)
    ts = [round(T * (i + 1) / steps) for i in range(steps)]
    for i in reversed(range(steps)):
        t, s = ts[i], ts[i - 1] if i else 0
        a, b = alpha_bar(t), alpha_bar(s)
        eps = model(x, torch.full((shape[0],), t))
        x0 = (x - math.sqrt(1 - a) * eps) / math.sqrt(a)
        x = math.sqrt(b) * x0 + math.sqrt(max(1 - b, 0)) * eps
    return x
"""


@pytest.mark.parametrize(
    "slip",
    [
        pytest.param(
            Slip(INSIDE, "sample", "/ (1 - abar[t]).sqrt()", "/ (1 - abar[t])",
                 "scaled by beta / (1-ab)"),
            id="of a loop",
        ),
        pytest.param(
            Slip(BUILT, "sample", "betas[t].sqrt() *", "2 * betas[t].sqrt() *", "your z has 2 * "),
            id="of what built a loop",
        ),
        pytest.param(
            Slip(CLIPPED, "sample", "kept[t].sqrt() *", "kept[t] *", "mistake 49"),
            id="not what a helper cuts off",
        ),
        pytest.param(
            Slip(HIDDEN, "Hidden", "else self.signal[t - 1] * x_0", "else self.signal[t] * x_0",
                 "your x0-hat has sqrt(ab_t), should have sqrt(ab_prev)"),
            id="of a class",
        ),
        pytest.param(
            Slip(BY_FUNCTION, "sample", "math.sqrt(b) * x0", "b * x0",
                 "your x0-hat has ab_prev, should have sqrt(ab_prev)"),
            id="of a function that is asked for each",
        ),
        pytest.param(
            Slip(INSIDE.replace("betas", "B").replace("abar", "A"), "sample", "B[t].sqrt() *",
                 "0.7 * B[t].sqrt() *", "your z has 0.7 * sqrt(beta_t)"),
            id="under a letter, the product of another",
        ),
        pytest.param(
            Slip(NEXT, "WithNext", "+ (1 - after).sqrt()", "+ 0.9 * (1 - after).sqrt()",
                 "your eps has 0.9 * sqrt(1 - ab_prev)"),
            id="a step that asks for the one after it",
        ),
    ],
)  # fmt: skip
def test_it_is_right_and_its_slip_is_named(slip: Slip, tmp_path: Path) -> None:
    slip.judged(tmp_path)


def test_the_card_says_where_it_stands(tmp_path: Path) -> None:
    report = judged_file(tmp_path, "sample", INSIDE)
    assert report.conventions["table"] == "none is shown: that in a variable of sample"


def test_what_it_cannot_name_is_left_open(tmp_path: Path) -> None:
    """The variable may be another than that by which the program goes."""
    wavy = "torch.linspace(1e-3, 0.2, T) + 0.02 * torch.sin(torch.arange(T) * 1.7) ** 2"
    other = INSIDE.replace("torch.linspace(1e-3, 0.2, T)", wavy)
    assert judged_file(tmp_path, "sample", other).exit_status == 0
    wrong = other.replace("betas[t].sqrt() *", "(0.1 + torch.rand(())) *")
    report = judged_file(tmp_path, "sample", wrong)
    assert report.exit_status == 2
    assert "by that in a variable of sample" in str(report)


ROOTS = """import torch

angle = torch.arange(1, 41, dtype=torch.float64) / 41 * torch.pi / 2
COS, SIN = torch.cos(angle).float(), torch.sin(angle).float()

def sample(model, shape):
    x = torch.randn(shape)
    for t in reversed(range(40)):
        eps = model(x, torch.full((shape[0],), t))
        x0 = (x - SIN[t] * eps) / COS[t]
        if t == 0:
            return x0
        x = COS[t - 1] * x0 + SIN[t - 1] * eps
"""
FALLS = ROOTS.replace("COS, SIN =", "LEFT =").replace(", torch.sin(angle).float()", " ** 2")
FALLS = re.sub(r"SIN(\[.*?\])", r"(1 - LEFT\1) ** 0.5", FALLS)
FALLS = re.sub(r"COS(\[.*?\])", r"LEFT\1 ** 0.5", FALLS)
TURNED = (
    ROOTS.replace("COS[", "COS[39 - ").replace("SIN[", "SIN[39 - ").replace("- t - 1", "- t + 1")
)
TURNED = TURNED.replace(
    "= torch.cos(angle).float(), torch.sin(angle).float()",
    "= torch.cos(angle.flip(0)).float(), torch.sin(angle.flip(0)).float()",
)


@pytest.mark.parametrize("text", [ROOTS, FALLS, TURNED], ids=["roots", "falls", "turned"])
def test_a_table_that_may_be_another_is_never_blamed(text: str, tmp_path: Path) -> None:
    report = judged_file(tmp_path, "sample", text)
    assert report.exit_status == 0, str(report)
    wrong = text.replace("* x0 +", "* 0.9 * x0 +")
    report = judged_file(tmp_path, "sample", wrong)
    assert report.exit_status == 2, str(report)
    assert "no table is shown under a name" in str(report)


def test_nothing_is_seen_of_another_schedule(tmp_path: Path) -> None:
    """A class that is built with its betas has a table for each of them."""
    named = HIDDEN.replace("T=50", "beta_start=1e-3, T=50").replace("(1e-3,", "(beta_start,")
    file = tmp_path / f"program_{next(FILES)}.py"
    file.write_text(named)
    assert run(f"{file}:Hidden").exit_status == 2


def call(
    where: str, depth: int, returned: torch.Tensor | None = None, **tables: torch.Tensor
) -> Variables:
    return Variables(where, tables, depth, returned)


BETAS = torch.linspace(0.01, 0.3, 20, dtype=torch.float64)
ABAR = (1 - BETAS).cumprod(0)


def test_the_outermost_call_has_it() -> None:
    inner, outer = call("inner", 3, abar=ABAR**2), call("outer", 2, abar=ABAR, betas=BETAS)
    found = schedule_of([inner, outer], {})
    assert found is not None
    assert found.where == "that in a variable of outer"
    assert found.table.equal(ABAR)
    assert schedule_of([call("one", 2, abar=ABAR**2), outer], {}) is None  # which of the two?


def test_alpha_bar_comes_before_betas_and_own_names_count() -> None:
    assert schedule_of([call("made", 1, g=ABAR)], {}) is None
    found = schedule_of([call("made", 1, g=ABAR)], {"g": "alphas_cumprod"})
    assert found is not None
    assert found.name == "alphas_cumprod"
    found = schedule_of([call("outer", 1, betas=BETAS), call("inner", 2, abar=ABAR)], {})
    assert found is not None
    assert found.name == "alphas_cumprod"
    found = schedule_of([call("made", 1, betas=BETAS)], {})
    assert found is not None
    assert found.name == "betas"


def test_the_product_of_betas_is_known_under_any_name_and_that_of_roots_is_none() -> None:
    found = by_another([call("made", 1, b=BETAS, g=ABAR)])
    assert found is not None
    assert found.table.equal(ABAR)
    roots = call("made", 1, a=(1 - BETAS).sqrt(), g=ABAR.sqrt())
    assert by_another([roots]) is None


def test_alpha_bar_is_known_by_its_two_roots_whatever_they_are_called() -> None:
    found = that_may_be([call("made", 1, c=ABAR.sqrt().float().double(), s=(1 - ABAR).sqrt())])
    assert found is not None
    assert torch.allclose(found.table, ABAR, rtol=1e-6)
    assert "the square of c beside s" in found.where
    other = that_may_be([call("made", 1, c=ABAR.sqrt(), s=(1 - ABAR).sqrt() * 0.99)])
    assert other is not None
    assert other.where == "c, in a variable of made, which falls"
    assert other.table.equal(ABAR.sqrt())
    assert not found.sure
    assert not other.sure


def test_a_table_that_a_loop_goes_through_from_its_end_is_turned_round() -> None:
    found = schedule_of([call("loop", 1, alpha_bar=ABAR.flip(0))], {})
    assert found is not None
    assert found.table.equal(ABAR)
    assert "from its last entry" in found.where


def test_a_function_that_returns_one_table_is_not_asked() -> None:
    assert schedule_of([call("cosine", 1, BETAS.clamp(max=0.2), betas=BETAS)], {}) is None
    assert schedule_of([call("linear", 1, BETAS, betas=BETAS)], {}) is not None


def test_what_is_no_row_of_numbers_is_left_alone(tmp_path: Path) -> None:
    ragged = "    parts = [[1.0], [1.0, 2.0], [[3.0]]]\n    abar ="
    assert judged_file(tmp_path, "sample", INSIDE.replace("    abar =", ragged)).exit_status == 0


def test_another_watcher_is_left_in_peace() -> None:
    found: list[Variables] = []

    def other(*_: object) -> None:
        pass

    sys.setprofile(other)
    try:
        with watched(found, __file__):
            call("x", 1)
        assert sys.getprofile() is other
    finally:
        sys.setprofile(None)
    assert not found
    with watched(found, ""):
        assert sys.getprofile() is None
