"""A wrong coefficient of a program is told in letters, and never one that is not computed."""

import pytest
import torch

from compare.candidate.door.reading import told_by
from compare.candidate.from_oracle import scheduler
from compare.candidate.subject import Subject
from compare.formulas.atoms import atoms
from compare.formulas.expressions import Monomial
from compare.formulas.naming import Named, name
from compare.mistakes import BY_ID
from compare.oracle import Oracle, Setting
from compare.verdict import conventions
from compare.verdict.judge import judge
from compare.verdict.page import page
from compare.verdict.report import Report
from tests.compare.written import TABLES, computed, program, stated
from tests.often import each

STAGE_OF = {"noise": "forward", "signal": "forward", "sigma": "variance"}
STAGES = ("forward", "prediction", "mean", "variance")
F32, F64 = torch.float32, torch.float64


def named(candidate, *stages: str) -> list[Named]:
    """What is told of each stage of a program, without what is told twice."""
    subject = Subject(candidate, "written")
    conventions.read(subject)
    found = [name(subject, stage, Oracle()) for stage in stages or STAGES]
    return list(dict.fromkeys(one for one in found if one is not None))


def told(candidate, *stages: str) -> dict[str, str]:
    """{coefficient: the formula that it has}, each checked against the program's own table."""
    found: dict[str, str] = {}
    for one in named(candidate, *stages):
        assert one.in_letters, one.words
        for coefficient, formula, right in stated(one.words):
            assert formula != right
            found[coefficient] = formula
    return found


# (what stands in the place of which coefficient, of which it is told, the same in letters)
MONOMIALS = [
    ("noise", "noise", lambda ab, **_: ab.sqrt(), "sqrt(ab_t)"),
    ("noise", "noise", lambda ab, **_: 1 - ab, "1 - ab_t"),
    ("noise", "noise", lambda ab, **_: (1 - ab).sqrt() * ab.sqrt(), "sqrt(ab_t) * sqrt(1 - ab_t)"),
    ("signal", "x_0", lambda ab, **_: ab, "ab_t"),
    ("signal", "x_0", lambda a, **_: a.sqrt(), "sqrt(alpha_t)"),
    ("of_x_0", "x0-hat", lambda p, b, ab, **_: p * b / (1 - ab), "ab_prev * beta_t / (1 - ab_t)"),
    (
        "of_x_t",
        "x_t",
        lambda a, p, ab, **_: a * (1 - p) / (1 - ab),
        "alpha_t * (1 - ab_prev) / (1 - ab_t)",
    ),
    (
        "of_x_t",
        "x_t",
        lambda a, p, ab, **_: a.sqrt() * (1 - p).sqrt() / (1 - ab),
        "sqrt(alpha_t) * sqrt(1 - ab_prev) / (1 - ab_t)",
    ),
    ("sigma", "z", lambda b, **_: b, "beta_t"),
    ("sigma", "z", lambda b, ab, **_: (b / (1 - ab)).sqrt(), "sqrt(beta_t) / sqrt(1 - ab_t)"),
    ("sigma", "z", lambda b, ab, **_: (b * (1 - ab)).sqrt(), "sqrt(beta_t) * sqrt(1 - ab_t)"),
]
INDICES = [
    ("sigma", "z", lambda betas, t, **_: betas[t - 1].sqrt(), "sqrt(betas[t - 1])"),
    (
        "sigma",
        "z",
        lambda betas, t, **_: betas[min(t + 1, len(betas) - 1)].sqrt(),
        "sqrt(betas[t + 1])",
    ),
    ("sigma", "z", lambda betas, t, **_: betas[-1 - t].sqrt(), "sqrt(betas[T - 1 - t])"),
    ("noise", "noise", lambda abs, t, **_: (1 - abs[t - 1]).sqrt(), "sqrt(1 - ab[t - 1])"),
    ("signal", "x_0", lambda abs, t, **_: abs[t - 1].sqrt(), "sqrt(ab[t - 1])"),
    ("noise", "noise", lambda abs, t, **_: (1 - abs[-1 - t]).sqrt(), "sqrt(1 - ab[T - 1 - t])"),
    (
        "signal",
        "x_0",
        lambda abs, t, **_: abs[(t + 1).clamp(max=len(abs) - 1)].sqrt(),
        "sqrt(ab[t + 1])",
    ),
    (
        "of_x_0",
        "x0-hat",
        lambda p, betas, ab, t, **_: p.sqrt() * betas[t - 1] / (1 - ab),
        "sqrt(ab_prev) * betas[t - 1] / (1 - ab_t)",
    ),
    (
        "of_x_0",
        "x0-hat",
        lambda b, ab, **_: ab.sqrt() * b / (1 - ab),
        "beta_t * sqrt(ab_t) / (1 - ab_t)",
    ),
    (
        "of_x_t",
        "x_t",
        lambda a, ab, **_: a.sqrt() * (1 - ab) / (1 - ab),
        "sqrt(alpha_t)",
    ),
]
SUMS = [
    ("noise", "noise", lambda ab, **_: 1 - ab.sqrt(), "1 - sqrt(ab_t)"),
    ("signal", "x_0", lambda ab, **_: ab.sqrt() - (1 - ab).sqrt(), "sqrt(ab_t) - sqrt(1 - ab_t)"),
    ("signal", "x_0", lambda ab, **_: 1 - (1 - ab).sqrt(), "1 - sqrt(1 - ab_t)"),
    ("noise", "noise", lambda ab, **_: (1 - ab * ab).sqrt(), "sqrt(1 - ab_t^2)"),
    ("noise", "noise", lambda ab, b, **_: (1 - ab + b).sqrt(), "sqrt(1 - ab_t + beta_t)"),
    ("sigma", "z", lambda b, **_: b.sqrt() + 0.01, "0.01 + sqrt(beta_t)"),
    (
        "sigma",
        "z",
        lambda b, p, ab, **_: (b / 2 + b * (1 - p) / (1 - ab) / 2).sqrt(),
        "sqrt(0.5 * beta_t + 0.5 * beta_t * (1 - ab_prev) / (1 - ab_t))",
    ),
    (
        "sigma",
        "z",
        lambda b, p, ab, **_: b.sqrt() + (b * (1 - p) / (1 - ab)).sqrt(),
        "sqrt(beta_t) + sqrt(beta_t * (1 - ab_prev) / (1 - ab_t))",
    ),
    ("noise", "noise", lambda ab, **_: (1 - ab + 1e-2).sqrt(), "sqrt(1 - ab_t + 0.01)"),
    ("signal", "x_0", lambda ab, b, **_: ab.sqrt() - b / 2, "sqrt(ab_t) - 0.5 * beta_t"),
]
FACTORS = [  # that are sums
    (
        "sigma",
        "z",
        lambda b, p, ab, **_: (b * (1 - p) / (1 + ab)).sqrt(),
        "sqrt(beta_t * (1 - ab_prev) / (1 + ab_t))",
    ),
    (
        "sigma",
        "z",
        lambda b, p, ab, **_: (1 - p.sqrt()) * (b / (1 - ab)).sqrt(),
        "sqrt(beta_t) * (1 - sqrt(ab_prev)) / sqrt(1 - ab_t)",
    ),
    (
        "of_x_0",
        "x0-hat",
        lambda p, b, ab, **_: p.sqrt() * b / (ab.sqrt() + (1 - ab).sqrt()),
        "sqrt(ab_prev) * beta_t / (sqrt(ab_t) + sqrt(1 - ab_t))",
    ),
]
CONSTANTS = [
    (place, coefficient, lambda c=c, right=right, **k: c * right(**k), f"{c:g} * ")
    for c in (0.5, 2.0, 1.01, 0.9)
    for place, coefficient, right in (
        ("noise", "noise", lambda ab, **_: (1 - ab).sqrt()),
        ("of_x_0", "x0-hat", lambda p, b, ab, **_: p.sqrt() * b / (1 - ab)),
        ("sigma", "z", lambda b, **_: b.sqrt()),
    )
]
SIZES = [(20, "own", F32), (60, "cosine", F64), (40, "linear", F32), (100, "linear", F64)]


def everywhere(cases):
    """Each case with one size, table and dtype after another."""
    return [(*case, *SIZES[i % len(SIZES)]) for i, case in enumerate(cases)]


@pytest.mark.parametrize(
    ("place", "coefficient", "wrong", "letters", "T", "table", "dtype"),
    everywhere([*MONOMIALS, *INDICES, *SUMS, *FACTORS]),
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_wrong_coefficient_is_told(place, coefficient, wrong, letters, T, table, dtype):
    found = told(program(T, table, dtype, **{place: wrong}), STAGE_OF.get(place, "mean"))
    assert found == {coefficient: letters}


@pytest.mark.parametrize(
    ("place", "coefficient", "wrong", "letters", "T", "table", "dtype"), everywhere(CONSTANTS)
)
def test_a_wrong_constant_is_told(place, coefficient, wrong, letters, T, table, dtype):
    found = told(program(T, table, dtype, **{place: wrong}), STAGE_OF.get(place, "mean"))
    assert set(found) == {coefficient}
    assert found[coefficient].startswith(letters)


@pytest.mark.parametrize(
    ("written", "letters"),
    [
        (
            {"inside": lambda b, ab, **_: b / (1 - ab)},
            {"model output": "-beta_t / (1 - ab_t) / sqrt(alpha_t)"},
        ),
        ({"front": lambda a, **_: 1 / a}, {"bracket (x_t - b * eps)": "1 / alpha_t"}),
        (
            {"inside": lambda a, ab, **_: (1 - a).sqrt() / (1 - ab).sqrt()},
            {"model output": "-sqrt(beta_t / (1 - ab_t) / alpha_t)"},
        ),
        ({"front": lambda ab, **_: 1 / ab.sqrt()}, {"bracket (x_t - b * eps)": "1 / sqrt(ab_t)"}),
        (
            {"inside": lambda b, ab, **_: b / ab.sqrt()},
            {"model output": "-sqrt(ab_prev) * beta_t / ab_t"},
        ),
    ],
)
@pytest.mark.parametrize(("T", "table", "dtype"), SIZES)
def test_the_form_in_eps_is_told_in_its_own_coefficients(written, letters, T, table, dtype):
    assert told(program(T, table, dtype, form="eps", **written), "mean") == letters


@pytest.mark.parametrize(("T", "table", "dtype"), [(300, "cosine", F64), (60, "linear", F32)])
def test_a_table_that_is_read_backwards_is_told_in_both_coefficients(T, table, dtype):
    wrong = program(
        T,
        table,
        dtype,
        signal=lambda abs, t, **_: abs[-1 - t].sqrt(),
        noise=lambda abs, t, **_: (1 - abs[-1 - t]).sqrt(),
    )
    letters = {"x_0": "sqrt(ab[T - 1 - t])", "noise": "sqrt(1 - ab[T - 1 - t])"}
    assert told(wrong, "forward") == letters


def test_two_wrong_coefficients_are_told_both():
    wrong = {
        "of_x_0": lambda p, b, ab, **_: p * b / (1 - ab),
        "of_x_t": lambda a, p, ab, **_: a * (1 - p) / (1 - ab),
        "sigma": lambda b, **_: 0.5 * b.sqrt(),
        "noise": lambda ab, **_: 1 - ab,
    }
    assert told(program(50, "own", **wrong)) == {
        "noise": "1 - ab_t",
        "x0-hat": "ab_prev * beta_t / (1 - ab_t)",
        "x_t": "alpha_t * (1 - ab_prev) / (1 - ab_t)",
        "z": "0.5 * sqrt(beta_t)",
    }


def test_the_output_in_x_0_and_x_t_beside_it_are_told_both():
    wrong = {
        "x_0": lambda x_t, out, ab: (x_t - 1.05 * (1 - ab).sqrt() * out) / ab.sqrt(),
        "of_x_t": lambda a, p, ab, **_: 0.97 * a.sqrt() * (1 - p) / (1 - ab),
    }
    assert told(program(50, "own", **wrong), "mean") == {
        "model output in x0-hat": "-1.05 * sqrt(1 - ab_t) / sqrt(ab_t)",
        "x_t": "0.97 * sqrt(alpha_t) * (1 - ab_prev) / (1 - ab_t)",
    }


@pytest.mark.parametrize(("T", "table"), each(3, [(1000, "cosine"), (60, "own")]))
def test_a_step_along_the_noise_of_a_velocity_is_told_what_that_noise_is(T, table):
    """At the end of a cosine little is left of a v beside the noise that float32 rounds."""

    class Along(program(T, table, torch.float64, kind="v_prediction")):
        def step(self, v, t, x_t, generator=None):
            b, ab, p = (float(self._parts(t)[name]) for name in ("b", "ab", "p"))
            x_0 = ab**0.5 * x_t - (1 - ab) ** 0.5 * v
            eps = ab**0.5 * v - (1 - ab) ** 0.5 * x_t  # should be a sum
            mean = p**0.5 * x_0 + (1 - b) ** 0.5 * (1 - p) / (1 - ab) ** 0.5 * eps
            noise = torch.randn(x_t.shape, generator=generator) if t else 0.0
            return mean + (b * (1 - p) / (1 - ab)) ** 0.5 * noise

    report = judge(Along, "quick", 0, beside=False, reading=told_by(["prediction=v_prediction"]))
    [found] = report.diagnoses
    assert stated(found.explanation) == [("x_t in eps", "-sqrt(1 - ab_t)", "sqrt(1 - ab_t)")]


@pytest.mark.parametrize(
    ("sign", "wrong", "words"),
    [
        (-1, lambda p, ab: 1 - p, ("model output in eps", "-sqrt(ab_t)", "sqrt(ab_t)")),
        (1, lambda p, ab: 1 - ab, ("eps", "sqrt(1 - ab_t)", "sqrt(1 - ab_prev)")),
    ],
)
def test_a_wrong_step_that_adds_no_noise_is_told_what_ddim_s_should_be(sign, wrong, words):
    class Still(program(200, "own", torch.float64)):
        def step(self, v, t, x_t):
            ab, p = (float(self._parts(t)[name]) for name in ("ab", "p"))
            x_0 = ab**0.5 * x_t - (1 - ab) ** 0.5 * v
            eps = (1 - ab) ** 0.5 * x_t + sign * ab**0.5 * v
            return p**0.5 * x_0 + wrong(p, ab) ** 0.5 * eps

    report = judge(Still, "quick", 0, beside=False)
    [found] = report.diagnoses
    assert stated(found.explanation) == [words]


@pytest.mark.parametrize("at", [1, 2])
@pytest.mark.parametrize("dtype", [F32, F64])
def test_a_step_that_ends_too_early_is_told_the_t_at_which_it_is_wrong(at, dtype):
    def before(t, p):
        return torch.ones_like(p) if t <= at else p

    wrong = {
        "of_x_0": lambda p, b, ab, t, **_: before(t, p).sqrt() * b / (1 - ab),
        "of_x_t": lambda p, a, ab, t, **_: a.sqrt() * (1 - before(t, p)) / (1 - ab),
    }
    [found] = judge(program(60, "own", dtype, **wrong), "quick", 0, beside=False).diagnoses
    assert "as it should, but not everywhere: at t=1" in found.explanation


@pytest.mark.parametrize("table", ["linear", "cosine", "own"])
@pytest.mark.parametrize("T", [4, 30])
@pytest.mark.parametrize("form", ["x_0", "eps"])
@pytest.mark.parametrize("dtype", [F32, F64])
def test_a_right_program_gets_no_formula(T, table, form, dtype):
    assert named(program(T, table, dtype, form=form)) == []


@pytest.mark.parametrize(
    ("place", "wrong"),
    each(
        2,
        [
            ("noise", lambda ab, **_: (1 - ab).sqrt() * (1 + 0.1 * torch.sin(40 * ab))),
            ("sigma", lambda b, ab, **_: b.sqrt() * torch.exp(ab**3)),
            ("of_x_0", lambda p, b, ab, t, **_: p.sqrt() * b / (1 - ab) * (1 + 0.01 * (t % 3))),
            ("of_x_t", lambda a, p, ab, **_: torch.tanh(a.sqrt() * (1 - p) / (1 - ab))),
        ],
    ),
)
@pytest.mark.parametrize(("T", "table", "dtype"), SIZES[:1])
def test_what_is_no_formula_gets_none(place, wrong, T, table, dtype):
    assert told(program(T, table, dtype, **{place: wrong}), STAGE_OF.get(place, "mean")) == {}


def test_a_sum_below_a_fraction_is_not_told_as_a_sum_that_is_near():
    inside = lambda b, ab, **_: b / ((1 - ab).sqrt() + b)  # noqa: E731
    assert named(program(100, "linear", F32, form="eps", inside=inside), "mean") == []


@pytest.mark.parametrize("more", [0.001, 0.05, -0.004])
def test_a_number_beside_a_root_below_a_fraction_is_told(more):
    inside = lambda b, ab, **_: b / ((1 - ab).sqrt() + more)  # noqa: E731
    found = named(program(100, "linear", F32, form="eps", inside=inside), "mean")
    factor = f"(sqrt(1 - ab_t) {'-' if more < 0 else '+'} {abs(more)})"
    assert f"your model output has -beta_t / {factor} / sqrt(alpha_t)" in found[0].words


@pytest.mark.parametrize(("T", "size"), [(1000, 0.98), (1000, 0.97), (25, 0.98)])
def test_a_factor_near_1_beside_ddpms_larger_variance_is_no_eta_of_ddim(T, size):
    inside = lambda b, ab, **_: size * b / (1 - ab).sqrt()  # noqa: E731
    larger = lambda b, **_: b.sqrt()  # noqa: E731
    candidate = program(T, "linear", F64, form="eps", inside=inside, sigma=larger)
    found = judge(candidate, "quick", 0, beside=False)
    assert {check.stage for check in found.checks if not check.passed} == {"mean"}
    assert f"model output has -{size} * beta_t / sqrt(1 - ab_t) / sqrt(alpha_t)" in found.verdict


@pytest.mark.parametrize(
    ("place", "coefficient", "wrong", "letters", "T", "table", "dtype"),
    everywhere([*MONOMIALS, *INDICES, *SUMS]),
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_the_letters_compute_what_the_program_does(
    place, coefficient, wrong, letters, T, table, dtype
):
    """From the letters alone, on the table in float64, at every t from 1 that has such an index."""
    made, t = program(T, table, F64)(), torch.arange(1, T)
    got = computed(letters, made.alphas_cumprod, t, t - 1)
    tensors = STAGE_OF.get(place) == "forward"
    parts = [made._parts(torch.tensor(i) if tensors else i) for i in t.tolist()]
    wanted = torch.stack([torch.as_tensor(wrong(**part), dtype=F64) for part in parts])
    inside = got.isfinite()
    assert int(inside.sum()) >= T - 2
    torch.testing.assert_close(got[inside], wanted[inside], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [F32, F64])
def test_two_terms_that_are_nearly_one_are_told_from_a_third(dtype):
    """Over a long cosine b + tilde is nearly 2 sqrt(b * tilde) and a tiny term beside it."""
    wrong = {"sigma": lambda b, p, ab, **_: (b + b * (1 - p) / (1 - ab)).sqrt()}
    letters = "sqrt(beta_t + beta_t * (1 - ab_prev) / (1 - ab_t))"
    assert told(program(1000, "cosine", dtype, **wrong), "variance") == {"z": letters}


@pytest.mark.parametrize("below", ["ab_prev", "ab[t - 2]"])
def test_on_a_strided_chain_letters_have_the_values_that_were_checked(below):
    """A ratio that has a name, such as alphas[t - 1], has that name only where it is that."""
    ab, t = (1 - TABLES["own"](40)).cumprod(0), torch.arange(39, 5, -5)
    made = atoms(Oracle().level(ab, t, t - 5, Setting()))
    above = "ab_t" if below == "ab_prev" else "ab_prev"
    formula = Monomial(1.0, {above: 0.5, below: -0.5})
    torch.testing.assert_close(formula.value(made), computed(str(formula), ab, t, t - 5))


def report(candidate, stage: str) -> Report:
    return judge(candidate, "quick", 0, only=stage, beside=False, base=Setting(60, beta_end=0.2))


def test_a_mistake_of_the_catalogue_has_its_formula_beside_it():
    found = report(scheduler(BY_ID["38"].oracle()), "mean")
    (only,) = found.to_dict()["diagnoses"]
    assert only["bug"] == "38"
    ((what, has, should),) = stated(only["formula"])
    assert (what, has) == ("x0-hat", "ab_prev * beta_t / (1 - ab_t)")
    assert should == "sqrt(ab_prev) * beta_t / (1 - ab_t)"
    assert f"formula: {only['formula']}" in str(found)
    assert "Formula: your x0-hat has" in page(found)


def test_what_is_not_in_the_catalogue_is_told_in_letters_and_what_to_write():
    def std(kind, level, out=None):
        return 0.7 * Oracle().std(kind, level, out)

    found = report(scheduler(Oracle(std=std)), "variance")
    (only,) = found.to_dict()["diagnoses"]
    assert only["bug"] is None
    assert only["formula"] == only["explanation"]
    assert stated(only["formula"])[0][:2] == (
        "z",
        "0.7 * sqrt(beta_t * (1 - ab_prev) / (1 - ab_t))",
    )
    assert "z sqrt(beta_t * (1 - ab_prev) / (1 - ab_t))" in only["fix"]
    assert "formula:" not in str(found)  # it is said once


def test_what_has_no_formula_says_so():
    def finish(x_prev, setting):
        return x_prev.tanh()

    found = report(scheduler(Oracle(finish=finish)), "mean")
    assert all(one["formula"] is None for one in found.to_dict()["diagnoses"])
