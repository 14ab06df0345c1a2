"""A wrong coefficient of a loop is told in letters as that of a step is; a right one gets none."""

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn

from compare import Adapter
from compare.candidate.from_oracle import sample_of
from compare.candidate.subject import Subject
from compare.formulas.naming import Named, name
from compare.mistakes import BY_ID
from compare.oracle import Oracle, Setting
from compare.verdict import conventions
from compare.verdict.judge import judge
from tests.compare.written import TABLES, computed, judged_file, loop, stated
from tests.often import each

F32, F64 = torch.float32, torch.float64
T = 60
SHORT = Setting(num_train_timesteps=T, beta_end=0.2)
STRIDED = [*range(0, T, 4)][::-1]


def named(candidate: Adapter) -> Named | None:
    subject = Subject(candidate, "written")
    conventions.read(subject)
    return name(subject, "sampling", Oracle())


def told(candidate: Adapter) -> dict[str, str]:
    """{coefficient: the formula that it has}."""
    found = named(candidate)
    if found is None:
        return {}
    own = found.words.partition("; the same, in other words")[0]
    return {what: has for what, has, _ in stated(own)}


WRONG = {
    "monomial": (
        {"of_x_0": lambda p, b, ab, **_: p * b / (1 - ab)},
        {"x0-hat": "ab_prev * beta_t / (1 - ab_t)"},
    ),
    "monomial, velocity": (
        {"kind": "v_prediction", "of_x_t": lambda a, p, ab, **_: a * (1 - p) / (1 - ab)},
        {"x_t": "alpha_t * (1 - ab_prev) / (1 - ab_t)"},
    ),
    "monomial, x_0, float64": (
        {"kind": "sample", "dtype": F64, "of_x_0": lambda p, b, ab, **_: p * b / (1 - ab)},
        {"x0-hat": "ab_prev * beta_t / (1 - ab_t)"},
    ),
    "the form in eps": (
        {"form": "eps", "inside": lambda b, ab, **_: b / (1 - ab)},
        {"model output": "-beta_t / (1 - ab_t) / sqrt(alpha_t)"},
    ),
    "the bracket": (
        {"form": "eps", "front": lambda a, **_: 1 / a, "table": "cosine"},
        {"bracket (x_t - b * eps)": "1 / alpha_t"},
    ),
    "constant": (
        {"sigma": lambda b, **_: 0.5 * b.sqrt(), "form": "eps"},
        {"z": "0.5 * sqrt(beta_t)"},
    ),
    "no root": ({"sigma": lambda b, **_: b, "table": "cosine"}, {"z": "beta_t"}),
    "no noise": ({"sigma": lambda b, **_: 0 * b}, {"z": "0"}),
    "t - 1": (
        {"sigma": lambda betas, t, **_: betas[t - 1].sqrt()},
        {"z": "sqrt(betas[t - 1])"},
    ),
    "t + 1": (
        {"sigma": lambda betas, t, **_: betas[min(t + 1, T - 1)].sqrt(), "dtype": F64},
        {"z": "sqrt(betas[t + 1])"},
    ),
    "strided, beta of the table": (
        {"visited": STRIDED, "sigma": lambda betas, t, **_: betas[t].sqrt()},
        {"z": "sqrt(betas[t])"},
    ),
    "strided, the entry before": (
        {"visited": STRIDED, "of_x_0": lambda abs, t, b, ab, **_: abs[t - 1].sqrt() * b / (1 - ab)},
        {"x0-hat": "beta_t * sqrt(ab[t - 1]) / (1 - ab_t)"},
    ),
    "a sum": (
        {"sigma": lambda b, s, **_: b.sqrt() + s},
        {"z": "sqrt(beta_t) + sqrt(beta_t * (1 - ab_prev) / (1 - ab_t))"},
    ),
    "the root of a sum": (
        {"sigma": lambda b, s, **_: (b / 2 + s**2 / 2).sqrt()},
        {"z": "sqrt(0.5 * beta_t + 0.5 * beta_t * (1 - ab_prev) / (1 - ab_t))"},
    ),
    "inside x0-hat": (
        {"x_0": lambda x, out, ab: (x - (1 - ab) * out) / ab.sqrt()},
        {"model output in x0-hat": "-(1 - ab_t) / sqrt(ab_t)"},
    ),
    "two at once": (
        {"of_x_t": lambda a, p, ab, **_: a * (1 - p) / (1 - ab), "sigma": lambda b, **_: b},
        {"x_t": "alpha_t * (1 - ab_prev) / (1 - ab_t)", "z": "beta_t"},
    ),
    "DDIM, the direction": (
        {"form": "ddim", "eta": 0.5, "along": lambda p, **_: (1 - p).sqrt()},
        {"eps": "sqrt(1 - ab_prev)"},
    ),
    "DDIM, the signal, strided": (
        {"form": "ddim", "visited": STRIDED, "of_x_0": lambda p, **_: p},
        {"x0-hat": "ab_prev"},
    ),
    "beside x0-hat and inside it, velocity": (
        {
            "kind": "v_prediction",
            "x_0": lambda x, out, ab: ab * x - (1 - ab).sqrt() * out,
            "of_x_t": lambda a, p, ab, **_: a * (1 - p) / (1 - ab),
        },
        {
            "x_t in x_prev": "sqrt(ab_prev) * beta_t * ab_t / (1 - ab_t)"
            " + alpha_t * (1 - ab_prev) / (1 - ab_t)"
        },
    ),
    "DDIM, the size of what is under the root": (
        {"form": "ddim", "eta": 0.6, "along": lambda p, s, **_: (1 - p - s).abs().sqrt()},
        {"eps": "sqrt(|1 - ab_prev - sigma_t|)"},
    ),
    "DDIM, the noise": (
        {"form": "ddim", "eta": 0.5, "sigma": lambda s, **_: 2 * s},
        {"z": "sqrt(beta_t * (1 - ab_prev) / (1 - ab_t))"},
    ),
}


@pytest.mark.parametrize("case", each(2, WRONG))
def test_a_wrong_coefficient_of_a_loop_is_told(case):
    written, letters = WRONG[case]
    assert told(loop(T, **written)) == letters


def test_a_loop_that_grows_beyond_all_bounds_is_told_what_x_t_has():
    """What it adds is lost in float32, but x_t and the output are read."""
    written = loop(100, "linear", of_x_t=lambda p, ab, **_: (1 - p) / p.sqrt() / (1 - ab))
    assert told(written) == {"x_t": "(1 - ab_prev) / (1 - ab_t) / sqrt(ab_prev)"}


def test_a_strided_loop_with_another_stride_in_all_its_weights_is_told_the_entry():
    """alpha-bar before the step before, for alpha and beta."""
    visited = [*range(0, 120, 10)][::-1]
    betas = TABLES["own"](120)
    abs = torch.cat([(1 - betas).cumprod(0), torch.ones(1, dtype=F64)])

    def other(t):
        return 1 - abs[t] / abs[t - 11 if t > 10 else -1]

    written = loop(
        120,
        dtype=F64,
        visited=visited,
        of_x_0=lambda p, t, ab, **_: p.sqrt() * other(t) / (1 - ab),
        of_x_t=lambda p, t, ab, **_: (1 - other(t)).sqrt() * (1 - p) / (1 - ab),
        sigma=lambda p, t, ab, **_: (other(t) * (1 - p) / (1 - ab)).sqrt(),
    )
    assert told(written) == {
        "x0-hat": "sqrt(ab_prev) * (1 - ab_t / ab[prev - 1]) / (1 - ab_t)",
        "x_t": "sqrt(ab_t) * (1 - ab_prev) / sqrt(ab[prev - 1]) / (1 - ab_t)",
        "z": "sqrt((1 - ab_prev) * (1 - ab_t / ab[prev - 1]) / (1 - ab_t))",
    }


def test_a_loop_that_reads_two_entries_further_in_its_list_is_told_so():
    """Of a list of its own, by which no stride is meant."""
    visited = [59, 50, 43, 33, 29, 22, 14, 9, 4, 0]

    def over(abs, t):
        return abs[visited[visited.index(t) + 2]] if t > 4 else torch.ones(())

    written = loop(
        T, visited=visited, of_x_0=lambda abs, t, b, ab, **_: over(abs, t).sqrt() * b / (1 - ab)
    )
    assert told(written) == {"x0-hat": "beta_t * sqrt(ab[prev of prev]) / (1 - ab_t)"}
    written = loop(
        T, visited=visited, form="ddim", along=lambda abs, t, **_: (1 - over(abs, t)).sqrt()
    )
    assert told(written) == {"eps": "sqrt(1 - ab[prev of prev])"}


@pytest.mark.parametrize("case", ["t - 1", "a sum", "strided, the entry before"])
def test_the_letters_compute_what_the_loop_does(case):
    """From the letters alone, on the table in float64."""
    written, letters = WRONG[case]
    written = dict(written)
    listed = torch.tensor(written.pop("visited", [*range(T)][::-1]))
    t, prev = listed[:-1], listed[1:]
    betas = TABLES["own"](T)
    ab = (1 - betas).cumprod(0)
    ((wrong),) = written.values()
    b = 1 - ab[t] / ab[prev]
    s = (b * (1 - ab[prev]) / (1 - ab[t])).sqrt()
    wanted = wrong(b=b, s=s, p=ab[prev], ab=ab[t], t=t, betas=betas, abs=ab)
    torch.testing.assert_close(computed(*letters.values(), ab, t, prev), wanted)


@pytest.mark.parametrize(
    ("form", "kind"),
    [
        ("eps", "epsilon"),
        *(
            (form, kind)
            for form in ("x_0", "ddim")
            for kind in ("epsilon", "sample", "v_prediction")
        ),
    ],
)
@pytest.mark.parametrize("visited", each(2, [None, STRIDED]))
def test_a_right_loop_gets_no_formula(form, kind, visited):
    for table, dtype, eta in (("own", F32, 0.5), ("cosine", F64, 0.0), ("linear", F32, 1.0)):
        written = loop(T, table, dtype, kind, form, visited, eta)
        assert named(written) is None


@pytest.mark.parametrize(
    "written",
    [
        {"sigma": lambda b, ab, **_: b.sqrt() * torch.exp(ab**3)},
        {"of_x_t": lambda a, p, ab, **_: torch.tanh(a.sqrt() * (1 - p) / (1 - ab))},
        {"x_0": lambda x, out, ab: ((x - (1 - ab).sqrt() * out) / ab.sqrt()).clamp(-0.5, 0.5)},
    ],
)
def test_what_is_no_formula_gets_none(written):
    assert told(loop(T, **written)) == {}


class Guided(nn.Module):
    """3 out - 2 out of the same model."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x, t):
        return 3 * self.model(x, t) - 2 * self.model(x, t)


def test_a_guided_loop_is_told_its_formula():
    written = loop(T, form="eps", inside=lambda b, ab, **_: b / (1 - ab))
    assert written.sample is not None
    inside = written.sample

    def sample(model, shape, generator):
        return inside(Guided(model), shape, generator)

    assert told(replace(written, sample=sample)) == WRONG["the form in eps"][1]


def test_the_verdict_says_the_formula_and_what_to_write():
    report = judge(loop(T, **WRONG["constant"][0]), "quick", 0, beside=False)
    (only,) = report.to_dict()["diagnoses"]
    assert (only["bug"], only["stage"]) == (None, "sampling")
    assert only["formula"] == only["explanation"]
    assert only["formula"].startswith("your z has 0.5 * sqrt(beta_t), should have sqrt(beta_t")
    assert "give z sqrt(beta_t * (1 - ab_prev) / (1 - ab_t)) or sqrt(beta_t): x_prev =" in str(
        report
    )


def test_a_mistake_of_the_catalogue_has_its_formula_beside_it():
    setting, mistake = Setting(num_train_timesteps=T, beta_end=0.2), BY_ID["38"]
    sample = sample_of(mistake.oracle(), setting)
    candidate = Adapter(lambda: Oracle().alpha_bar(setting), sample=sample)
    (only,) = judge(candidate, "quick", 0, beside=False).diagnoses
    assert only.bug == "38"
    ((what, has, _),) = stated(only.beside)
    assert (what, has) == ("x0-hat", "ab_prev * beta_t / (1 - ab_t)")


def along_the_circle(kind, listed, of_x, of_out, told=lambda i, listed: listed[i], betas=None):
    """x_prev = a x_t + b out without noise, the weights of the two angles; `told` picks the t."""
    abs = (1 - (TABLES["own"](T) if betas is None else betas)).cumprod(0)
    angles = torch.atan2((1 - abs).sqrt(), abs.sqrt()).tolist()

    def sample(model, shape, generator):
        model.eval()
        x = torch.randn(shape, generator=generator)
        for i, t in enumerate(listed):
            now, then = angles[t], angles[listed[i + 1]] if i + 1 < len(listed) else 0.0
            out = model(x, torch.full(shape[:1], told(i, listed)))
            x = (of_x(now, then) * x.double() + of_out(now, then) * out.double()).float()
        return x

    return Adapter(lambda: abs, sample=sample, prediction_type=kind)


def of_eps(now, then):
    return math.sin(then) - math.cos(then) * math.tan(now)


CIRCLE = "sqrt(ab_prev) * sqrt(ab_t) + sqrt(1 - ab_prev) * sqrt(1 - ab_t)"
STILL = {  # {case: (kind, of x_t, of the output, what has what and should have what)}
    "v, the sine upside down": (
        "v_prediction",
        lambda now, then: math.cos(now - then),
        lambda now, then: math.sin(now - then),
        (
            "model output",
            "sqrt(ab_prev) * sqrt(1 - ab_t) - sqrt(ab_t) * sqrt(1 - ab_prev)",
            "sqrt(ab_t) * sqrt(1 - ab_prev) - sqrt(ab_prev) * sqrt(1 - ab_t)",
        ),
    ),
    "v, x_t as it is": (
        "v_prediction",
        lambda now, then: 1.0,
        lambda now, then: -math.sin(now - then),
        ("x_t", "1", CIRCLE),
    ),
    "the noise, a factor too many": (
        None,
        lambda now, then: math.cos(then) / math.cos(now),
        lambda now, then: math.cos(then) * of_eps(now, then),
        (
            "model output",
            "sqrt(ab_prev) * sqrt(1 - ab_prev) - ab_prev * sqrt(1 - ab_t) / sqrt(ab_t)",
            "sqrt(1 - ab_prev) - sqrt(1 - ab_t) / sqrt(alpha_t)",
        ),
    ),
}


@pytest.mark.parametrize("case", STILL)
def test_a_loop_without_noise_is_told_ddims_step(case):
    kind, of_x, of_out, wanted = STILL[case]
    found = named(along_the_circle(kind, [*range(T)][::-1], of_x, of_out))
    assert found is not None
    (only,) = stated(found.words.partition("; the same, in other words")[0])
    assert (only[0], only[2]) == (wanted[0], wanted[2]), found.words
    t = torch.arange(T - 1, 0, -1)
    ab = (1 - TABLES["own"](T)).cumprod(0)
    has, should = (computed(letters, ab, t, t - 1) for letters in (only[1], wanted[1]))
    torch.testing.assert_close(has, should)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_a_right_step_along_the_circle_gets_no_formula(kind):
    of_x, of_out = {
        "epsilon": (lambda now, then: math.cos(then) / math.cos(now), of_eps),
        "v_prediction": (
            lambda now, then: math.cos(now - then),
            lambda now, then: -math.sin(now - then),
        ),
    }[kind]
    assert named(along_the_circle(kind, STRIDED, of_x, of_out)) is None
    assert judge(along_the_circle(kind, STRIDED, of_x, of_out), "quick", 0, beside=False).passed


def test_a_loop_that_tells_another_t_than_that_of_its_step_is_told_so():
    candidate = along_the_circle(
        "epsilon",
        STRIDED,
        lambda now, then: math.cos(then) / math.cos(now),
        of_eps,
        told=lambda i, listed: listed[min(i + 1, len(listed) - 1)],
        betas=torch.linspace(1e-3, 0.4, T, dtype=F64),
    )
    report = judge(candidate, "quick", 0, beside=False)
    words = report.diagnoses[0].explanation
    assert words == "your loop tells the model t=52, 48, ..., 0 in its steps from t=56, 52, ..., 4"


def with_noise(eta: float, shift: int) -> Adapter:
    """DDIM's steps, of which each stands `shift` before the t that the model is told."""
    abs = torch.cat([torch.ones(1, dtype=F64), (1 - torch.linspace(1e-3, 0.4, T)).cumprod(0)])

    def sample(model, shape, generator):
        model.eval()
        x = torch.randn(shape, generator=generator)
        for t, then in pairwise([*STRIDED, -1]):
            here, before = abs[t + 1 - shift], abs[max(then + 1 - shift, 0)]
            out = model(x, torch.full(shape[:1], t))
            sigma = eta * ((1 - before) / (1 - here) * (1 - here / before)).sqrt()
            x_0 = (x - (1 - here).sqrt() * out) / here.sqrt()
            x = before.sqrt() * x_0 + (1 - before - sigma**2).sqrt() * out
            x = (x + sigma * torch.randn(shape, generator=generator)).float()
        return x

    return Adapter(lambda: abs[1:], sample=sample, prediction_type="epsilon")


@pytest.mark.parametrize(("eta", "shift"), [(0.3, 1), (0.6, 2)])
def test_noisy_steps_at_another_t_than_the_model_is_told_are_told_so(eta, shift):
    assert judge(with_noise(eta, 0), "quick", 0, beside=False).passed
    report = judge(with_noise(eta, shift), "quick", 0, beside=False)
    stands = [t - shift for t in STRIDED]
    words = f"in its steps from t={stands[0]}, {stands[1]}, ..., "
    assert words in report.diagnoses[0].explanation, str(report)


def test_a_model_told_its_t_from_the_other_end_is_told_the_position():
    """Not that the loop runs up: its steps are those of a loop that runs down."""
    candidate = along_the_circle(
        "epsilon",
        [*range(T)][::-1],
        lambda now, then: math.cos(then) / math.cos(now),
        of_eps,
        told=lambda i, listed: i,
    )
    assert [d.bug for d in judge(candidate, "quick", 0, beside=False).diagnoses] == ["78"]
    up = sample_of(BY_ID["80"].oracle(), SHORT)
    candidate = Adapter(lambda: Oracle().alpha_bar(SHORT), sample=up)
    assert [d.bug for d in judge(candidate, "quick", 0, beside=False).diagnoses] == ["80"]


@pytest.mark.parametrize("clip", [None, 1.0])
def test_a_loop_whose_pictures_grow_to_one_side_is_read_all_the_same(clip: float | None) -> None:
    betas = torch.linspace(1e-4, 0.02, 300)
    levels = (1 - betas).cumprod(0)

    def sample(model, shape):
        x = torch.randn(shape)
        for t in reversed(range(300)):
            ab, before = levels[t], levels[t - 1] if t else torch.ones(())
            out = model(x, torch.full(shape[:1], t))
            x_0 = (x - (1 - ab).sqrt() * out) / ab.sqrt()
            x_0 = x_0 if clip is None else x_0.clamp(-clip, clip)
            weight = before.sqrt() * (1 - betas[t]) / (1 - ab)  # should be betas[t]
            x = weight * x_0 + (1 - betas[t]).sqrt() * (1 - before) / (1 - ab) * x
            x = x + ((1 - before) / (1 - ab) * betas[t]).sqrt() * torch.randn_like(x)
        return x

    report = judge(Adapter(alpha_bar=lambda: levels, sample=sample), "quick", 0, beside=False)
    assert "your x0-hat has ab_t / (1 - ab_t) / sqrt(ab_prev), should have" in report.verdict


@pytest.mark.parametrize("eta", [0.5, 0.8])
def test_what_z_should_have_holds_the_eta_that_is_declared(eta: float, tmp_path: Path) -> None:
    text = f"""
import torch

alphas_cumprod = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 500, dtype=torch.float64), 0)


@torch.no_grad()
def sample(model, n, eta={eta}):
    model.eval()
    x = torch.randn(n, 1, 8, 8, dtype=torch.float64)
    for t in range(480, -20, -20):
        ab = alphas_cumprod[t]
        p, q = (alphas_cumprod[t - k] if t >= k else torch.ones(()) for k in (20, 40))
        eps = model(x, torch.full((n,), t))
        sigma = eta * ((1 - p) / (1 - ab) * (1 - p / q)).sqrt()  # of the step that comes next
        x = p.sqrt() * (x - (1 - ab).sqrt() * eps) / ab.sqrt() + (1 - p - sigma**2).sqrt() * eps
        x = x + (sigma if t else 0.0) * torch.randn_like(x)
    return x
"""
    report = judged_file(tmp_path, "sample", text)
    assert report.exit_status == 1
    should = f"should have {eta} * sqrt(beta_t * (1 - ab_prev) / (1 - ab_t)) (Song et al. eq. 16)"
    assert f"your z {should}" in report.verdict


def test_no_formula_is_told_where_many_fit_as_well(tmp_path: Path) -> None:
    """Of a loop that explodes its first steps alone are seen, where 1 - ab is nearly 1."""
    text = """
import torch

beta = torch.linspace(1e-4, 0.02, 1000)
alpha_bar = (1 - beta).cumprod(0)


@torch.no_grad()
def sample(model, shape):
    x = torch.randn(shape)
    for t in reversed(range(1000)):
        e = model(x, torch.full((shape[0],), t))
        x = (x + beta[t] / (1 - alpha_bar[t]).sqrt() * e) / (1 - beta[t]).sqrt()
        x = x + beta[t].sqrt() * torch.randn(shape) if t else x
    return x
"""
    (told,) = judged_file(tmp_path, "sample", text).diagnoses
    assert (told.bug, told.formula) == ("47-x0", None)
