"""The exercises: our answers pass, and each wrong answer of the catalogue gets its own hint."""

import inspect
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from compare.mistakes import BY_ID as BY_MISTAKE
from compare.mistakes import MISTAKES, NETWORKS, Mistake
from compare.mistakes.unet import Waves
from compare.oracle import F64, Level, Oracle, Setting
from ddpm import exercise as exercise_command
from ddpm.exercise import judge_answer
from ddpm.exercises import BY_ID, EXERCISES, Exercise

ALPHA_BAR, ALPHA_BAR_PREV = 0.36, 0.72
# What can be wrong in the waves of t.
WAVES: dict[str, Waves] = {
    m.id: m.functions[0] for m in NETWORKS if m.right == "scratch.unet:timestep_embedding"
}


def level(alpha_bar: Any, alpha_bar_prev: Any = 1.0) -> Level:
    """A place in the chain that knows only its two alpha-bars, as a formula of scratch does."""
    at, before = (torch.as_tensor(value, dtype=F64) for value in (alpha_bar, alpha_bar_prev))
    return Level(at, torch.tensor(1), torch.tensor(0), at, before)


def visited(oracle: Oracle, spacing: str, T: int, n: int, offset: int = 0) -> list[int]:
    """The list of an oracle as integers."""
    setting = Setting(num_train_timesteps=T, timestep_spacing=spacing, steps_offset=offset)
    exact, unit = oracle.timesteps(setting, n)
    return [round(int(value) / unit) for value in exact]


def per_image(formula: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """add_noise or velocity of an oracle, which take a table and t, with scratch's signature."""

    def answer(x_0: torch.Tensor, eps: torch.Tensor, alpha_bar: Any) -> torch.Tensor:
        table = torch.as_tensor(alpha_bar, dtype=F64).flatten()
        t = torch.arange(len(table)) if len(table) > 1 else torch.zeros(len(x_0), dtype=torch.int64)
        return formula(x_0, eps, table, t).to(x_0.dtype)

    return answer


def betas(oracle: Oracle, family: str) -> Callable[..., torch.Tensor]:
    """A beta curve of an oracle with scratch's signature."""

    def answer(T: int, start: float = 1e-4, end: float = 0.02) -> torch.Tensor:
        return oracle.betas(
            Setting(num_train_timesteps=T, beta_start=start, beta_end=end, beta_schedule=family)
        )

    return answer


def threshold(oracle: Oracle) -> Callable[..., torch.Tensor]:
    """Dynamic thresholding of an oracle with scratch's signature."""

    def answer(x_0: torch.Tensor, ratio: float, max_value: float) -> torch.Tensor:
        setting = Setting(
            thresholding=True, dynamic_thresholding_ratio=ratio, sample_max_value=max_value
        )
        return oracle.limit(x_0.to(F64).flatten(1), setting).reshape(x_0.shape).to(x_0.dtype)

    return answer


def predicted(oracle: Oracle, kind: str) -> Callable[..., torch.Tensor]:
    """x_0 of an oracle from what a network of this kind returns, with scratch's signature."""

    def answer(x_t: torch.Tensor, output: torch.Tensor, alpha_bar: Any) -> torch.Tensor:
        return oracle.x_0(kind, output, x_t, level(alpha_bar)).to(x_t.dtype)

    return answer


# Exercise -> the field of the oracle that is its formula, and that field with scratch's signature.
SEAMS: dict[str, tuple[str, Callable[[Oracle], Callable[..., Any]]]] = {
    "2a": ("betas", lambda o: betas(o, "linear")),
    "2b": ("betas", lambda o: lambda T, max_beta=0.999: betas(o, "squaredcos_cap_v2")(T)),
    "2d": ("betas", lambda o: betas(o, "scaled_linear")),
    "3a": ("add_noise", lambda o: per_image(o.add_noise)),
    "4a": ("x_0", lambda o: lambda x_t, eps, a: o.x_0("epsilon", eps, x_t, level(a)).to(x_t.dtype)),
    "4b": (
        "x_0",
        lambda o: lambda x_t, v, a: o.x_0("v_prediction", v, x_t, level(a)).to(x_t.dtype),
    ),
    "4c": (
        "ddim_eps",
        lambda o: (
            lambda x_t, x_0, a: o.ddim_eps(
                x_0, x_t, x_0, level(a), Setting(prediction_type="sample")
            ).to(x_t.dtype)
        ),
    ),
    "4d": ("velocity", lambda o: per_image(o.velocity)),
    "6a": ("mean", lambda o: lambda x_0, x_t, a, b: o.mean(x_0, x_t, level(a, b)).to(x_t.dtype)),
    "6b": ("limit", threshold),
    "7a": ("std", lambda o: lambda a, b: float(o.std("fixed_small", level(a, b))) ** 2),
    "12a": ("draw", lambda o: lambda shape, g, device, dtype: o.draw(tuple(shape), g, dtype)),
    "11a": ("timesteps", lambda o: lambda T, n, offset=0: visited(o, "leading", T, n, offset)),
    "11b": ("timesteps", lambda o: lambda T, n: visited(o, "linspace", T, n)),
    "11c": ("timesteps", lambda o: lambda T, n: visited(o, "trailing", T, n)),
    "11d": ("std", lambda o: lambda eta, a, b: eta * float(o.std("fixed_small", level(a, b)))),
    "11e": (
        "ddim_mean",
        lambda o: (
            lambda x_0, eps, b, sigma: o.ddim_mean(
                x_0, eps, level(b, b), torch.tensor(sigma, dtype=F64)
            ).to(x_0.dtype)
        ),
    ),
}
IMAGES = torch.linspace(-1, 3, 2 * 3 * 4 * 4).reshape(2, 3, 4, 4)
TWO = torch.tensor([0.36, 0.81], dtype=F64).reshape(2, 1, 1, 1)
PROBES: dict[str, list[tuple[Any, ...]]] = {
    "2a": [(10, 1e-4, 0.02)],
    "2b": [(10,)],
    "2d": [(10, 1e-4, 0.02)],
    "3a": [(IMAGES, IMAGES.flip(0), TWO), (IMAGES.half(), IMAGES.half(), TWO * 0 + 0.9999)],
    "4a": [(IMAGES, IMAGES.flip(0), ALPHA_BAR)],
    "4b": [(IMAGES, IMAGES.flip(0), ALPHA_BAR)],
    "4c": [(IMAGES, IMAGES.flip(0), ALPHA_BAR)],
    "4d": [(IMAGES, IMAGES.flip(0), TWO)],
    "6a": [(IMAGES, IMAGES.flip(0), ALPHA_BAR, ALPHA_BAR_PREV)],
    "6b": [(IMAGES, 0.5, 3.0)],
    "7a": [(ALPHA_BAR, ALPHA_BAR_PREV)],
    "11a": [(1000, 300), (10, 10, 0)],
    "11b": [(1000, 300)],
    "11c": [(1000, 61)],
    "11d": [(0.5, ALPHA_BAR, ALPHA_BAR_PREV)],
    "11e": [(IMAGES, IMAGES.flip(0), ALPHA_BAR_PREV, 0.3)],
    "12a": [((2, 2, 3, 3), None, torch.device("cpu"), torch.float32)],
}


# Mistakes at the same seam that a formula cannot make: it is given one alpha-bar, not the table.
NEEDS_THE_TABLE = {"4-forward", "2-forward"}
# The same wrong answer as 58 where only `fixed_small` is asked for: the std of `fixed_large`.
SAME_ANSWER = {"58-large"}
# DDIM takes the model's output for eps: a formula is not at fault for what it is not called for.
NOT_CALLED = {"84"}
# Mistakes of the printed form of the mean: `posterior_mean` is not given eps.
PRINTED_FORM = {"43", "44", "44-bare", "45", "45-none", "46", "47", "48", "48-level"}


def wrong_answers(exercise_id: str) -> dict[str, Callable[..., Any]]:
    """The catalogue's mistakes that can be made in this exercise, with scratch's signature.

    A mistake belongs to it if it replaces just this formula and changes what the formula returns.
    """
    if exercise_id == "9a":
        return {mistake: embedded(wrong) for mistake, wrong in WAVES.items()}
    if exercise_id not in SEAMS:
        return {}
    field, adapt = SEAMS[exercise_id]
    left_out = NEEDS_THE_TABLE | SAME_ANSWER | PRINTED_FORM | NOT_CALLED
    return {
        mistake.id: adapt(mistake.oracle())
        for mistake in MISTAKES
        if set(mistake.seams) == {field}
        and mistake.id not in left_out
        and changes(exercise_id, mistake, adapt)
    }


def embedded(wrong: Waves) -> Callable[..., torch.Tensor]:
    """Wrong waves of t with scratch's signature."""

    def answer(
        t: torch.Tensor, dim: int, *, flip_sin_to_cos: bool = True, freq_shift: int = 0
    ) -> torch.Tensor:
        return wrong(t, dim, flip_sin_to_cos, freq_shift)

    return answer


def changes(exercise_id: str, mistake: Mistake, adapt: Callable[..., Any]) -> bool:
    """Whether the mistaken formula differs from the right one on the probes."""
    right, wrong = adapt(Oracle()), adapt(mistake.oracle())
    for probe in PROBES[exercise_id]:
        torch.manual_seed(1)  # not the seed that a mistake of the catalogue always takes
        try:
            ours, theirs = right(*probe), wrong(*probe)
        except (RuntimeError, IndexError):
            return False  # it needs what this formula is not given, such as t
        ours, theirs = (torch.as_tensor(value, dtype=F64) for value in (ours, theirs))
        if ours.shape != theirs.shape or not torch.allclose(ours, theirs, rtol=1e-6, atol=0):
            return True
    return False


ALL = [(exercise.id, mistake) for exercise in EXERCISES for mistake in exercise.mistakes]
QUICK = {
    ("2a", "8"),
    ("2b", "10-square"),
    ("2b", "11"),
    ("3a", "6"),
    ("4d", "24-velocity"),
    *(("9a", mistake) for mistake in WAVES),
}


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.id)
def test_the_stub_has_the_signature_of_ours_and_is_empty(exercise: Exercise):
    stub = exercise_command.read_answer(exercise, exercise.stub)
    ours = inspect.signature(exercise.ours).parameters
    assert {n: p.default for n, p in inspect.signature(stub).parameters.items()} == {
        n: p.default for n, p in ours.items()
    }
    assert exercise.stub.read_text().rstrip().endswith("raise NotImplementedError")
    assert exercise.solution.startswith(f"def {exercise.function}(")


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.id)
def test_the_mistakes_of_an_exercise_are_those_of_the_catalogue(exercise: Exercise):
    assert set(exercise.mistakes) == set(wrong_answers(exercise.id))


def right_and_wrong(quick: bool) -> list[Any]:
    """One parameter set for each answer of the exercises: ours (None) and each listed mistake."""
    ours = [
        pytest.param(exercise.id, None, id=f"{exercise.id}-ours")
        for exercise in EXERCISES
        if quick == (exercise.stage in ("schedule", "forward", "unet"))
    ]
    wrong = [
        pytest.param(exercise_id, mistake, id=f"{exercise_id}-{mistake}")
        for exercise_id, mistake in ALL
        if quick == ((exercise_id, mistake) in QUICK)
    ]
    return ours + wrong


def check(exercise_id: str, mistake: str | None) -> None:
    """Ours is right; a wrong answer is not, and its hint is its own entry of the catalogue."""
    exercise = BY_ID[exercise_id]
    if mistake is None:
        outcome = judge_answer(exercise, exercise.ours)
        assert outcome.right, list(exercise_command.verdict(exercise, outcome))
        return
    outcome = judge_answer(exercise, wrong_answers(exercise_id)[mistake])
    assert not outcome.right
    assert outcome.hints, "a wrong answer without a hint"
    named = [diagnosis.bug for diagnosis in outcome.report.diagnoses]
    if named:
        assert named == [mistake] or (mistake, named) == ("58", ["58-large"]), outcome.hints
    else:  # a refusal or a finding: the words of no other answer
        assert not {BY_MISTAKE[other].words for other in exercise.mistakes} & set(outcome.hints)
    if exercise.stage == "unet":
        assert outcome.hints == [BY_MISTAKE[mistake].words]


@pytest.mark.parametrize(("exercise_id", "mistake"), right_and_wrong(quick=True))
def test_answers_are_told_apart(exercise_id: str, mistake: str | None):
    check(exercise_id, mistake)


@pytest.mark.long
@pytest.mark.parametrize(("exercise_id", "mistake"), right_and_wrong(quick=False))
def test_answers_of_the_other_stages_are_told_apart(exercise_id: str, mistake: str | None):
    check(exercise_id, mistake)


def test_ours_is_untouched_by_a_wrong_answer():
    import scratch.schedule

    before = scratch.schedule.linear
    judge_answer(BY_ID["2a"], wrong_answers("2a")["8"])
    assert scratch.schedule.linear is before
    assert float(scratch.DDPMScheduler(num_train_timesteps=10).betas[-1]) == pytest.approx(0.02)


def run(*arguments: str) -> int:
    """`ddpm exercise` in this process."""
    parser = ArgumentParser()
    exercise_command.add_arguments(parser)
    return exercise_command.main(parser.parse_args(list(arguments)))


def test_the_verb(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    assert run() == 0
    assert capsys.readouterr().out.splitlines()[0].split() == ["2a", "scratch.schedule.linear"]

    assert run("2a") == 2
    assert "linear is still empty" in capsys.readouterr().err

    mine = tmp_path / "mine.py"
    body = (
        "    return torch.linspace(beta_start, {end}, num_train_timesteps, dtype=torch.float64)\n"
    )
    head = "import torch\n\ndef linear(num_train_timesteps, beta_start, beta_end):\n"
    mine.write_text(head + body.format(end="beta_end"))
    assert run("2a", "--file", str(mine)) == 0
    assert "2a linear: right" in capsys.readouterr().out

    mine.write_text(head + body.format(end="0.012"))
    assert run("2a", "--file", str(mine)) == 1
    said = capsys.readouterr().out
    assert "hint: beta_end is 0.012, not what was asked for" in said
    assert "ddpm exercise 2a --solution" in said

    assert run("2a", "--solution") == 0
    assert capsys.readouterr().out == BY_ID["2a"].solution


@pytest.mark.parametrize(
    ("arguments", "content", "words"),
    [
        (("9z",), None, "there is no exercise '9z'; there are 2a, 2b"),
        (("2a",), None, "no such file"),
        (
            ("2a",),
            "def linear(T): return T",
            "must take (num_train_timesteps, beta_start, beta_end)",
        ),
        (("2a",), "x = 1", "has no 'linear'"),
        (("2a",), "def linear(", "cannot import"),
    ],
)
def test_what_cannot_be_judged_is_one_line(
    arguments: tuple[str, ...],
    content: str | None,
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    mine = tmp_path / "mine.py"
    if content is not None:
        mine.write_text(content)
    assert run(*arguments, "--file", str(mine)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
