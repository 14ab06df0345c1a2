"""The exercises: ours are right, and each wrong answer of the catalogue gets its own name."""

import inspect
import math
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch

from compare.mistakes import BY_ID as BY_MISTAKE
from compare.mistakes import MISTAKES, NETWORKS
from compare.oracle import Oracle
from ddpm import cli
from ddpm.exercises import ddim, forward, reverse, schedule, timesteps
from ddpm.exercises.command import read_answer
from ddpm.exercises.exercise import Exercise, Function
from ddpm.exercises.index import BY_ID, EXERCISES
from ddpm.exercises.judge import Verdict, judge, results
from ddpm.exercises.noise import _draw_noise

each_exercise = pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.id)

# Exercise -> the field of the oracle that is its formula, and that field with scratch's signature.
SEAMS: dict[str, tuple[str, Callable[[Oracle], Function]]] = {
    "2a": ("betas", schedule._curve("linear")),
    "2b": ("betas", schedule._cosine),
    "2d": ("betas", schedule._curve("scaled_linear")),
    "2e": ("betas", schedule._curve("sigmoid")),
    "3a": ("add_noise", forward._add_noise),
    "4a": ("x_0", reverse._x_0_from_eps),
    "4b": ("x_0", reverse._x_0_from_v),
    "4c": ("ddim_eps", reverse._eps_from_x_0),
    "4d": ("velocity", forward._velocity),
    "6a": ("mean", reverse._posterior_mean),
    "6b": ("limit", reverse._dynamic_threshold),
    "7a": ("std", reverse._posterior_variance),
    "11a": ("timesteps", timesteps._listed("leading")),
    "11b": ("timesteps", timesteps._listed("linspace")),
    "11c": ("timesteps", timesteps._listed("trailing")),
    "11d": ("std", ddim._ddim_sigma),
    "11e": ("ddim_mean", ddim._ddim_mean),
    "12a": ("draw", _draw_noise),
}
# Mistakes at the same seam that a formula cannot make: it is given one alpha-bar, not the table.
NEEDS_THE_TABLE = {"4-forward", "2-forward", "2-wraps"}
# The same wrong answer as 58 where only `fixed_small` is asked for: the std of `fixed_large`.
SAME_ANSWER = {"58-large"}
# DDIM takes the model's output for eps: a formula is not at fault for what it is not called for.
NOT_CALLED = {"84"}
# Mistakes of the printed form of the mean: `posterior_mean` is not given eps.
PRINTED_FORM = {"43", "44", "44-bare", "45", "45-none", "46", "47", "48", "48-level"}
LEFT_OUT = NEEDS_THE_TABLE | SAME_ANSWER | PRINTED_FORM | NOT_CALLED


def replaced(oracle: Oracle) -> set[str]:
    """The formulas in which an oracle is not the right one."""
    right = Oracle()
    return {f.name for f in fields(Oracle) if getattr(oracle, f.name) != getattr(right, f.name)}


@each_exercise
def test_the_stub_has_the_signature_of_ours_and_is_empty(exercise: Exercise, tmp_path: Path):
    file = tmp_path / "stub.py"
    file.write_text(exercise.stub)
    stub = read_answer(exercise, file)
    ours = inspect.signature(exercise.ours).parameters
    assert {n: p.default for n, p in inspect.signature(stub).parameters.items()} == {
        n: p.default for n, p in ours.items()
    }
    assert judge(exercise, stub) == Verdict(len(exercise.inputs()), empty=True)
    assert exercise.stub.startswith(f'"""Exercise {exercise.id}. ')


@each_exercise
def test_the_solution_is_a_file_that_is_right(exercise: Exercise, tmp_path: Path):
    file = tmp_path / "solution.py"
    file.write_text(exercise.solution)
    assert judge(exercise, read_answer(exercise, file)).right


@each_exercise
def test_ours_is_right_and_every_listed_mistake_is_named_as_itself(exercise: Exercise):
    verdict = judge(exercise, exercise.ours)
    assert verdict.right, list(verdict.lines(exercise))
    for mistake, wrong in exercise.wrong.items():
        verdict = judge(exercise, wrong)
        said = list(verdict.lines(exercise))
        assert not verdict.right
        assert verdict.mistakes == (mistake,), said
        assert said[1].startswith(f"  your {exercise.function}"), said
        known = BY_MISTAKE[mistake]
        words = exercise.said.get(mistake, known.words)
        assert said[2] == f"  mistake {mistake}, {known.name}: {words}"
    assert set(exercise.said) <= set(exercise.wrong)


@each_exercise
def test_every_slip_is_told_in_its_own_words(exercise: Exercise):
    for slip in exercise.slips:
        verdict = judge(exercise, slip.function)
        assert (verdict.right, verdict.mistakes, verdict.slip) == (False, (), slip.words)
        assert list(verdict.lines(exercise))[2] == f"  {slip.words}"


def test_what_an_exercise_asks_is_a_sentence_without_the_answer():
    for exercise in EXERCISES:
        assert exercise.asks.endswith((".", ").")), exercise.asks
        assert " = sqrt" not in exercise.asks, exercise.asks
    assert BY_ID["11d"].asks == (
        "The std of the noise of a DDIM step (Song et al. 2020, arXiv:2010.02502, equation 16)."
    )


@each_exercise
def test_the_mistakes_of_an_exercise_are_those_of_the_catalogue(exercise: Exercise):
    """A mistake belongs to it if it replaces just this formula, and changes what that returns."""
    if exercise.id == "9a":
        assert set(exercise.wrong) == {m.id for m in NETWORKS if m.id[:2] in ("88", "89")}
        return
    if exercise.id not in SEAMS:
        assert not exercise.wrong
        return
    seam, adapt = SEAMS[exercise.id]
    right = adapt(Oracle())
    possible = {
        mistake.id
        for mistake in MISTAKES
        if replaced(mistake.oracle()) == {seam}
        and mistake.id not in LEFT_OUT
        and changes(exercise, right, adapt(mistake.oracle()))
    }
    assert set(exercise.wrong) == possible


def changes(exercise: Exercise, right: Function, wrong: Function) -> bool:
    """Whether a formula is wrong in its values, and can do without what it is not given."""
    for ours, theirs in zip(results(exercise, right), results(exercise, wrong), strict=True):
        if isinstance(theirs, Exception) and not isinstance(ours, Exception):
            return False
    return judge(exercise, wrong).fault != judge(exercise, right).fault


@each_exercise
def test_the_first_input_is_small_enough_for_one_line(exercise: Exercise):
    for value in [*exercise.inputs()[0].values(), results(exercise, exercise.ours)[0]]:
        assert not isinstance(value, torch.Tensor) or value.numel() <= 4


def test_the_arguments_of_a_call_are_made_anew():
    for exercise in EXERCISES:
        one, other = exercise.inputs(), exercise.inputs()
        for first, second in zip(one, other, strict=True):
            shared = [v for v in first.values() if isinstance(v, torch.Tensor | torch.Generator)]
            assert not any(v is w for v in shared for w in second.values())


# --- right in other words ---


def printed_mean(x_0: Any, x_t: Any, alpha_bar: Any, alpha_bar_prev: Any) -> Any:
    """Equation 7 with all over one denominator, in place of two coefficients."""
    a, b = (torch.as_tensor(v, dtype=torch.float64) for v in (alpha_bar, alpha_bar_prev))
    of_x_0, of_x_t = b.sqrt() * (b - a), (a * b).sqrt() * (1 - b)
    return (of_x_0 * x_0 + of_x_t * x_t).div(b * (1 - a)).to(x_t.dtype)


def variance_by_logarithms(alpha_bar: Any, alpha_bar_prev: Any) -> Any:
    """The variance as a sum of logarithms."""
    a, b = (torch.as_tensor(v, dtype=torch.float64) for v in (alpha_bar, alpha_bar_prev))
    found = ((1 - b).log() - torch.log1p(-a) + (b - a).log() - b.log()).exp()
    return found if isinstance(alpha_bar, torch.Tensor) else found.item()


def cosine_by_tables(num_train_timesteps: int, max_beta: float = 0.999) -> Any:
    """The cosine from a table of f, as the authors' notebook has it."""
    u = torch.linspace(0, 1, num_train_timesteps + 1, dtype=torch.float64)
    f = torch.cos((u + 0.008) / 1.008 * torch.pi * 0.5) ** 2
    alpha_bar = f / f[0]
    return torch.clip(1 - alpha_bar[1:] / alpha_bar[:-1], 0, max_beta)


def halves_down(num_train_timesteps: int, num_inference_steps: int) -> list[int]:
    """`trailing`, which goes down where the exact value lies between two timesteps."""
    T, n = num_train_timesteps, num_inference_steps
    return [-((i * T * 2 - T * 2 * n + n) // (2 * n)) - 1 for i in range(n)]


def drawn_wide(shape: Any, generator: Any, device: Any, dtype: Any) -> Any:
    """Other numbers than ours of the same generators: drawn in float64, the batch last."""
    if isinstance(generator, list):
        return torch.cat([drawn_wide((1, *shape[1:]), g, device, dtype) for g in generator])
    turned = (*shape[1:], shape[0])
    z = torch.randn(turned, generator=generator, dtype=torch.float64)
    return z.movedim(-1, 0).to(device=device, dtype=dtype)


@pytest.mark.parametrize(
    ("exercise", "answer"),
    [
        ("6a", printed_mean),
        ("7a", variance_by_logarithms),
        ("2b", cosine_by_tables),
        ("11c", halves_down),
        ("12a", drawn_wide),
    ],
)
def test_a_right_formula_in_other_words_is_right(exercise: str, answer: Function):
    verdict = judge(BY_ID[exercise], answer)
    assert verdict.right, list(verdict.lines(BY_ID[exercise]))


def test_numbers_that_lie_halfway_differ_from_ours():
    """Otherwise the test above says nothing of `halves_down`."""
    assert halves_down(60, 8) != BY_ID["11c"].ours(60, 8)


# --- slips, as people write them ---


def noise_by_a_difference(x_0, eps, alpha_bar):
    root = torch.as_tensor(alpha_bar).sqrt().to(x_0.dtype)
    return root * x_0 + (1 - root) * eps


def mean_with_the_root_of_equation_11(x_0, x_t, alpha_bar, alpha_bar_prev):
    beta = 1 - alpha_bar / alpha_bar_prev
    first = alpha_bar_prev**0.5 * beta / (1 - alpha_bar) ** 0.5
    second = (1 - beta) ** 0.5 * (1 - alpha_bar_prev) / (1 - alpha_bar)
    return (first * x_0.double() + second * x_t.double()).to(x_t.dtype)


def cosine_up_to_pi(num_train_timesteps, max_beta=0.999):
    def f(t):
        return math.cos((t / num_train_timesteps + 0.008) / 1.008 * math.pi) ** 2

    betas = [min(1 - f(t + 1) / f(t), max_beta) for t in range(num_train_timesteps)]
    return torch.tensor(betas, dtype=torch.float64)


def rescaled_without_its_root(betas):
    alpha_bar = (1 - betas).cumprod(0)
    first, last = alpha_bar[0].clone(), alpha_bar[-1].clone()
    alpha_bar = (alpha_bar - last) * first / (first - last)
    return torch.cat([1 - alpha_bar[:1], 1 - alpha_bar[1:] / alpha_bar[:-1]])


def of_a_transformer(t, dim, *, flip_sin_to_cos=True, freq_shift=0):
    made = torch.zeros(len(t), dim)
    for i in range(dim // 2):
        made[:, 2 * i] = torch.sin(t.double() / 10000 ** (2 * i / (dim - dim % 2)))
        made[:, 2 * i + 1] = torch.cos(t.double() / 10000 ** (2 * i / (dim - dim % 2)))
    return made


def in_turns(t, dim, *, flip_sin_to_cos=True, freq_shift=0):
    return BY_ID["9a"].ours(
        t.double() * 2 * torch.pi, dim, flip_sin_to_cos=flip_sin_to_cos, freq_shift=freq_shift
    )


def cut_off(num_train_timesteps, num_inference_steps):
    T, n = num_train_timesteps, num_inference_steps
    return [int(T - i * T / n) - 1 for i in range(n)]


@pytest.mark.parametrize(
    ("exercise", "answer", "words"),
    [
        ("3a", noise_by_a_difference, "first the difference, then the root"),
        ("6a", mean_with_the_root_of_equation_11, "the weight of x_0 is divided by sqrt(1 - alp"),
        ("2b", cosine_up_to_pi, "the angle goes up to pi"),
        ("2c", rescaled_without_its_root, "alpha_bar itself is moved and scaled, should be its r"),
        ("9a", of_a_transformer, "sines and cosines alternate"),
        ("9a", in_turns, "the angle is 2 pi times too large"),
        ("11c", cut_off, "int() drops the fraction"),
    ],
)
def test_a_common_slip_is_told_in_plain_words(exercise: str, answer: Function, words: str):
    verdict = judge(BY_ID[exercise], answer)
    assert words in verdict.slip, list(verdict.lines(BY_ID[exercise]))


def test_a_standard_deviation_for_the_variance_is_told_to_who_wrote_the_variance():
    def posterior_variance(alpha_bar, alpha_bar_prev):
        return BY_ID["7a"].ours(alpha_bar, alpha_bar_prev) ** 0.5

    said = list(judge(BY_ID["7a"], posterior_variance).lines(BY_ID["7a"]))
    assert said[2].endswith(
        "this is the standard deviation, should be the variance: who calls it takes the root"
    )


# --- what a reader is told ---


def told(exercise: str, answer: Function) -> str:
    """The line that says what is wrong."""
    verdict = judge(BY_ID[exercise], answer)
    assert not verdict.right
    return verdict.fault


def test_a_wrong_number_is_told_beside_the_right_one():
    def posterior_mean(x_0, x_t, alpha_bar, alpha_bar_prev):
        return x_0 * 0.5 + x_t

    assert told("6a", posterior_mean) == (
        "your posterior_mean(x_0=1, x_t=0.5, alpha_bar=0.36, alpha_bar_prev=0.81) = 1, "
        "should be 0.88"
    )
    assert judge(BY_ID["6a"], posterior_mean).mistakes == ()


def test_a_mistake_is_named_although_the_dtype_is_wrong_too():
    def add_noise(x_0, eps, alpha_bar):
        signal, sigma = (torch.as_tensor(v).double() for v in (alpha_bar, 1 - alpha_bar))
        return signal.sqrt() * x_0.double() + sigma * eps

    said = told("3a", add_noise)
    assert said.endswith(
        "is a float64 tensor of shape (1,), should be a float32 tensor of shape (1,)"
    )
    assert judge(BY_ID["3a"], add_noise).mistakes == ("6",)


def test_what_an_answer_raises_or_leaves_out_is_said():
    def divides(num_train_timesteps, beta_start, beta_end):
        return [1 / 0]

    def forgets(alpha_bar, alpha_bar_prev):
        alpha_bar / alpha_bar_prev

    def accepts(num_train_timesteps, num_inference_steps, offset=0):
        stride = num_train_timesteps // num_inference_steps
        return [i * stride + offset for i in reversed(range(num_inference_steps))]

    def spoils(x_0, ratio, max_value):
        return x_0.mul_(0)

    assert "beta_end=0.3) raises ZeroDivisionError: division by zero (test_exer" in told(
        "2a", divides
    )
    assert told("7a", forgets).endswith("is None (no return?), should be a number")
    assert told("11a", accepts).endswith(
        "= [10, 9, 8, 7, 6, 5, 4, 3, 2, 1], should raise a ValueError"
    )
    assert told("6b", spoils).endswith("changes x_0 in place, should leave it as it is")


def test_an_entry_of_a_large_result_is_told_by_its_place():
    def late(num_train_timesteps, num_inference_steps):
        right = BY_ID["11b"].ours(num_train_timesteps, num_inference_steps)
        return [*right[:-1], 1] if num_train_timesteps == 1000 and len(right) > 20 else right

    def long(num_train_timesteps, num_inference_steps):
        right = BY_ID["11b"].ours(num_train_timesteps, num_inference_steps)
        return [*right, 0] if len(right) == 250 else right

    assert told("11b", late).endswith("num_inference_steps=50) at [49] is 1, should be 0")
    assert told("11b", long).endswith(" has 251 entries, should have 250")


def test_coefficients_in_float32_are_told_from_a_wrong_formula():
    def x_0_from_v(x_t, v, alpha_bar):
        at = torch.as_tensor(alpha_bar).float()
        return (at.sqrt().to(x_t) * x_t - (1 - at).sqrt().to(x_t) * v).to(x_t.dtype)

    said = told("4b", x_0_from_v)
    assert "float64>" in said
    assert said.endswith("; this is rounding: compute coefficients in float64, and cast them once")


def from_the_global_state(shape, generator, device, dtype):
    """Whatever generator is given."""
    return torch.randn(shape).to(dtype)


def from_its_own_seed(shape, generator, device, dtype):
    """Not the seed that the catalogue's own mistake takes."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(42)).to(dtype)


def in_reverse(shape, generator, device, dtype):
    """The last generator for the first image."""
    turned = generator[::-1] if isinstance(generator, list) else generator
    return BY_ID["12a"].ours(shape, turned, device, dtype)


def too_large(shape, generator, device, dtype):
    """N(0, 1.44)."""
    return 1.2 * BY_ID["12a"].ours(shape, generator, device, dtype)


def smooth(shape, generator, device, dtype):
    """Every pixel N(0, 1), and like its neighbour."""
    z = BY_ID["12a"].ours(shape, generator, device, dtype)
    return (z + z.roll(1, -1)) / 2**0.5


def partly_shared(shape, generator, device, dtype):
    """Every image N(0, 1); from the ninth on they have a part of the first."""
    z = BY_ID["12a"].ours(shape, generator, device, dtype)
    if isinstance(generator, list):
        return z
    return torch.cat([z[:8], (z[8:] + z[:1]) / 2**0.5])


@pytest.mark.parametrize(
    ("draw_noise", "words"),
    [
        (from_the_global_state, "does not draw from the generator that it is given"),
        (from_its_own_seed, "gives the same z whatever generator it is given"),
        (in_reverse, "does not draw image i from generator i of a list"),
        (too_large, "that is not N(0, 1)"),
        (smooth, "gives pixels z that depend on each other"),
        (partly_shared, "gives images z that depend on each other"),
    ],
)
def test_a_wrong_draw_is_told_by_its_source_or_its_law(draw_noise: Function, words: str):
    assert told("12a", draw_noise).startswith("your draw_noise ")
    assert told("12a", draw_noise).endswith(words)


def test_the_callers_random_state_stays():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    for exercise in ("3a", "12a"):
        judge(BY_ID[exercise], BY_ID[exercise].ours)
    assert torch.equal(torch.get_rng_state(), before)


# --- the verb ---


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """`ddpm exercise` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: cli.main(["exercise", *arguments])


def test_the_verb(run: Callable[..., int], capsys: pytest.CaptureFixture[str]):
    assert run() == 0
    assert capsys.readouterr().out.splitlines()[0].split() == ["2a", "scratch.schedule.linear"]

    assert run("2a", "--start") == 0
    assert "run: ddpm exercise 2a\n" in capsys.readouterr().out
    mine = Path("ex_2a.py")
    assert mine.read_text() == BY_ID["2a"].stub
    assert run("2a") == 2
    assert capsys.readouterr().err == "linear is still empty: write it in ex_2a.py\n"

    line = "return torch.linspace(beta_start, beta_end, num_train_timesteps, dtype=torch.float64)"
    mine.write_text(BY_ID["2a"].stub.replace("raise NotImplementedError", line))
    assert run("2a") == 0
    assert capsys.readouterr().out == "2a linear: right, on all 6 inputs.\n"

    other = Path("other.py")
    other.write_text(mine.read_text().replace("(beta_start, beta_end", "(beta_start, 0.012"))
    assert run("2a", "--file", "other.py") == 1
    assert capsys.readouterr().out.splitlines() == [
        "2a linear: not yet.",
        "  your linear(num_train_timesteps=3, beta_start=0.1, beta_end=0.3) = [0.1, 0.056, 0.012], "
        "should be [0.1, 0.2, 0.3]",
        "  mistake 8, another-beta-end: beta_end is 0.012, not what was asked for",
        "  ours: ddpm exercise 2a --solution",
    ]

    assert run("2a", "--solution") == 0
    assert capsys.readouterr().out == BY_ID["2a"].solution


def test_a_missing_answer_is_begun(run: Callable[..., int], capsys: pytest.CaptureFixture[str]):
    assert run("2d") == 2  # nothing was judged
    said = capsys.readouterr().out
    assert said == "ex_2d.py: write scaled_linear there, then run: ddpm exercise 2d\n"
    assert Path("ex_2d.py").read_text() == BY_ID["2d"].stub
    assert run("2d", "--file", "mine.py") == 2  # perhaps misspelt
    assert [path.name for path in Path().iterdir()] == ["ex_2d.py"]


@pytest.mark.parametrize(
    ("arguments", "content", "words"),
    [
        (("9z",), None, "there is no exercise '9z'; there are 2a, 2b"),
        (("2a", "--file", "x.py"), None, "no such file: x.py; begin it with ddpm exercise 2a --fi"),
        (("2a", "--file", "x.py"), None, "begin it with ddpm exercise 2a --file x.py --start"),
        (("2a", "--start"), "", "ex_2a.py exists, and is kept; give another name with --file"),
        (("2a", "--start", "--file", "a/b.py"), None, "b.py cannot be made: No such file"),
        (
            ("2a",),
            "def linear(T): return T",
            "must take (num_train_timesteps, beta_start, beta_end), got (T)",
        ),
        (("2a",), "x = 1", "ex_2a.py has no 'linear'"),
        (("2a",), "linear = 1", "must take (num_train_timesteps, beta_start, beta_end), got ()"),
        (("2a",), "def linear(", "cannot import ex_2a.py: SyntaxError"),
    ],
)
def test_what_cannot_be_judged_is_one_line(
    arguments: tuple[str, ...],
    content: str | None,
    words: str,
    run: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
):
    if content is not None:
        Path("ex_2a.py").write_text(content)
    assert run(*arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ddpm exercise: ")
    assert words in line
