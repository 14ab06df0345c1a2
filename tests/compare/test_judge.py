"""`compare.run`: verdicts, statuses, broken candidates, what is asked for alone."""

import re
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest
import torch

import compare
from compare import stages
from compare.candidate.from_oracle import scheduler
from compare.cli import TEMPLATE
from compare.measure.check import Check
from compare.mistakes import BY_ID, mutant
from compare.oracle import Oracle, Setting
from compare.oracle.samplers import DDIM
from compare.verdict.judge import judge
from tests.compare import written
from tests.often import each

RIGHT = """
import torch
class M:
    def __init__(self, betas=None):
        betas = torch.linspace(0.001, 0.2, 60, dtype=torch.float64)
        self.alphas_cumprod = (1 - betas).cumprod(0)
        self.timesteps = torch.arange(59, -1, -1)
    def add_noise(self, x0, noise, t):
        a = self.alphas_cumprod[t].reshape(-1, 1, 1, 1)
        return (a.sqrt() * x0 + (1 - a).sqrt() * noise).to(x0.dtype)
    def step(self, out, t, x, generator=None):
        a = float(self.alphas_cumprod[t]); p = float(self.alphas_cumprod[t - 1]) if t else 1.0
        x0 = (x - (1 - a) ** 0.5 * out) / a ** 0.5
        mean = p ** 0.5 * (1 - a / p) / (1 - a) * x0 + (a / p) ** 0.5 * (1 - p) / (1 - a) * x
        if not t:
            return mean
        z = torch.randn(x.shape, generator=generator)
        return mean + ((1 - p) / (1 - a) * (1 - a / p)) ** 0.5 * z
"""
STEP = "    def step(self, out, t, x, generator=None):\n"
BROKEN = {
    "nothing": ("class M:\n    pass\n", 2, "nothing in it that could be judged"),
    "raises": (RIGHT.replace(STEP, STEP + "        raise RuntimeError('boom')\n"), 2, "boom"),
    "nan": (RIGHT.replace("return mean\n", "return mean * float('nan')\n"), 1, "nan"),
    "shape": (RIGHT.replace("return mean\n", "return mean[:, :, :1]\n"), 1, "shape"),
    "unbuilt": (
        RIGHT.replace(
            "        self.timesteps",
            "        torch.ones(2) @ torch.ones(3)\n        self.timesteps",
        ),
        2,
        "cannot be built: RuntimeError",
    ),
    "exits": (RIGHT + "\nraise SystemExit(0)\n", 2, "SystemExit"),
    "dies": (RIGHT + "\nimport os\nos._exit(0)\n", 2, "ended the process"),
    "syntax": ("class M(:", 2, "SyntaxError"),
    "no-name": (RIGHT.replace("class M", "class N"), 2, "has no 'M'"),
}


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.py"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", [n for n in BROKEN if n != "dies"])
def test_a_broken_candidate_is_one_line_in_process(name: str, tmp_path: Path) -> None:
    text, status, words = BROKEN[name]
    report = judge(f"{write(tmp_path, text)}:M", "quick", 0, beside=False)
    assert report.exit_status == status, str(report)
    assert words.lower() in report.verdict.lower()
    assert "\n" not in report.verdict
    assert not report.passed


METHODS = {  # {what stays of M: the stages that are judged}
    "add_noise": ["schedule", "forward"],
    "alphas_cumprod": ["schedule"],
    "step": ["schedule", "prediction", "mean", "variance", "sampling"],  # by what is private
    "alphas_cumprod and step": ["schedule", "prediction", "mean", "variance", "sampling"],
}


@pytest.mark.parametrize("kept", METHODS)
def test_what_is_not_there_is_not_judged_and_said(kept: str, tmp_path: Path) -> None:
    text = RIGHT
    for method in ("alphas_cumprod", "add_noise", "step"):
        if method not in kept:
            text = text.replace(f"def {method}(", f"def _{method}(")
            text = text.replace(f"self.{method}", f"self._{method}")
    report = judge(f"{write(tmp_path, text)}:M", "quick", 0, beside=False)
    assert report.exit_status == 0, str(report)
    assert report.judged == METHODS[kept]
    ends = str(report).splitlines()[-2:]
    assert ends[0] == f"judged: {', '.join(METHODS[kept])}"
    assert ends[1].startswith("not judged: ")
    if "step" not in kept:
        assert "mean and variance, as there is no step" in ends[1]


class _Named:
    """A candidate that has a name for its own purposes."""

    name: object = {"a": "dictionary"}
    alphas_cumprod = Oracle().alpha_bar(Setting(num_train_timesteps=20))

    def step(self, model_output: torch.Tensor, t: int, x_t: torch.Tensor) -> torch.Tensor:
        return x_t


class _RaisingName(_Named):
    @property
    def name(self) -> str:
        raise RuntimeError("not yet")


@pytest.mark.parametrize(
    "candidate", each(2, [_Named, _RaisingName, _RaisingName()]), ids=("word", "property", "raises")
)
def test_a_name_that_is_no_word_is_not_taken_for_one(candidate: object) -> None:
    report = judge(candidate, "quick", 0, only="mean", beside=False)
    assert report.candidate == getattr(candidate, "__name__", "candidate")


def test_a_step_of_another_shape_is_one_fault_of_the_step(tmp_path: Path) -> None:
    short = STEP + "        return super().step(out, t, x, generator)[:, :, :1]\n"
    spec = f"{write(tmp_path, RIGHT + chr(10) + 'class Short(M):' + chr(10) + short)}:Short"
    (only,) = judge(spec, "quick", 0, beside=False).diagnoses
    assert only.stage == "mean"
    assert only.fix == "return a tensor of the shape that was given"


def test_a_right_file_passes_and_an_own_module_named_scratch_is_its_own(tmp_path: Path) -> None:
    (tmp_path / "scratch.py").write_text("ENDS = (0.001, 0.2)\n")
    text = "from scratch import ENDS\n" + RIGHT.replace("0.001, 0.2, 60", "*ENDS, 60")
    text = text.replace(
        "        a = float(", "        from scratch import ENDS as late\n        a = float("
    )
    report = judge(f"{write(tmp_path, text)}:M", "quick", 0, beside=False)
    assert report.passed, str(report)
    import scratch

    assert scratch.DDPMScheduler.__module__ == "scratch.ddpm"


def test_only_runs_one_stage(tmp_path: Path) -> None:
    report = judge(f"{write(tmp_path, RIGHT)}:M", "quick", 0, only="mean", beside=False)
    assert {c.stage for c in report.checks} == {"mean"}


def test_only_runs_one_check(tmp_path: Path) -> None:
    spec = f"{write(tmp_path, RIGHT)}:M"
    report = judge(spec, "quick", 0, only="mean/epsilon", beside=False)
    assert [c.id for c in report.checks] == ["mean/epsilon"], str(report)
    wrong = judge(spec, "quick", 0, only="mean/epsilo", beside=False)
    assert wrong.exit_status == 2
    assert "there is no check 'mean/epsilo'; did you mean mean/epsilon?" in wrong.verdict


def test_a_misspelt_check_is_told_where_an_earlier_stage_fails() -> None:
    right = written.loop(20)
    table = right.alpha_bar().clone()
    table[3:5] = table[3:5].flip(0)
    wrong = compare.Adapter(lambda: table, sample=right.sample)
    report = judge(wrong, "quick", 0, only="sampling/loop/visit", beside=False)
    assert "there is no check 'sampling/loop/visit'; did you mean" in report.verdict


def test_the_folder_that_one_is_in_may_be_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tmp_path.rmdir()
    assert judge(scheduler(Oracle()), "quick", 0, only="schedule", beside=False).passed


@pytest.mark.parametrize("only", each(2, ["sampling", "sampling/clipped-10/mean"]))
def test_chains_of_wrong_steps_are_not_judged_but_the_steps_named(only: str) -> None:
    report = judge(mutant(BY_ID["45"], Setting()), "quick", 0, only=only, beside=False)
    assert [d.bug for d in report.diagnoses] == ["45"]
    assert {c.stage for c in report.checks if not c.passed} == {"mean"}
    assert {c.status for c in report.checks if c.stage == "sampling"} <= {"note"}


def test_only_sampling_leaves_out_what_passes_before() -> None:
    right = judge(scheduler(Oracle()), "quick", 0, only="sampling", beside=False)
    assert right.passed
    assert {c.stage for c in right.checks} == {"sampling"}
    assert any(c.status == "close" for c in right.checks)


def test_without_a_candidate_both_backends_are_judged() -> None:
    report = judge(None, "quick", 0, only="variance")
    assert report.passed
    assert report.verdict.startswith("scratch is right: ")
    assert re.search(r"Diffusers [\d.]+ agrees too, but for 3 known findings\.$", report.verdict)
    found = {"noise-at-the-end", "fixed-large-log-nan", "learned-nan"}
    assert {f["id"] for f in report.findings} == found
    assert any(c.beside["diffusers"] is not None for c in report.checks)


@pytest.mark.parametrize("beside", [False, True])
def test_the_backends_stand_beside_a_candidate_where_that_is_asked(beside: bool) -> None:
    table = Oracle().alpha_bar(Setting()).float()

    def add_noise(x_0, noise, t):
        return Oracle().add_noise(x_0, noise, table, t)

    report = compare.run(compare.Adapter(add_noise=add_noise), beside=beside)
    assert report.passed, str(report)
    assert any(c.beside.get("diffusers") is not None for c in report.checks) == beside
    assert ("scratch" in report.curves.get("sqrt(alpha-bar_t)", {})) == beside


def test_a_fault_of_ours_says_so_and_what_was_judged_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = Check("forward/first", "forward", "equal", "it holds")
    failing = replace(stages.FORWARD, checks=lambda *_: chain([first], map(torch.ones, ["two"])))
    changed = [failing if s is stages.FORWARD else s for s in stages.ALL]
    monkeypatch.setattr(stages, "ALL", tuple(changed))
    report = judge(scheduler(Oracle()), "quick", 0, beside=False)
    assert report.exit_status == report.to_dict()["exit_status"] == 2
    assert "could not be run: compare itself failed here (TypeError: ones()" in report.verdict
    assert "; please report it (judged and right: schedule, timesteps, " in report.verdict
    assert re.search(r"in compare/stages/stage\.py, line \d+\)", report.verdict)
    judged = {c.id: c.status for c in report.checks}
    assert judged["forward/first"] == "equal"
    assert judged["forward/run"] == "error"
    assert any(c.stage == "mean" and c.passed for c in report.checks)


def test_a_fault_of_the_columns_leaves_the_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compare.verdict.curves.expected", torch.ones)
    report = judge(scheduler(Oracle()), "quick", 0, only="schedule")
    assert report.exit_status == 2
    assert "compare itself failed here" in report.verdict
    assert any(c.status in ("equal", "close") for c in report.checks)


def test_a_sampler_that_no_backend_has_is_judged_with_nothing_beside_it(monkeypatch) -> None:
    monkeypatch.setattr(DDIM, "backend", None)
    short = Setting(num_train_timesteps=20)
    report = judge(scheduler(Oracle(), "ddim"), "quick", 0, only="schedule", base=short)
    assert report.passed
    assert all(value is None for check in report.checks for value in check.beside.values())
    assert set(report.curves["sqrt(alpha-bar_t)"]) == {"oracle", "candidate"}


def test_full_looks_at_more_than_quick() -> None:
    spec = f"{TEMPLATE}:MyScheduler"
    quick, full = (judge(spec, level, 0, only="mean", beside=False) for level in ("quick", "full"))
    assert quick.passed
    assert full.passed
    with pytest.raises(ValueError, match="level must be"):
        compare.run(level="slow")  # type: ignore[arg-type]


def test_checks_parametrize_and_the_random_state_is_kept(tmp_path: Path) -> None:
    torch.manual_seed(4)
    expected = torch.rand(1)
    torch.manual_seed(4)
    found = compare.checks(f"{write(tmp_path, RIGHT)}:M")
    assert torch.equal(torch.rand(1), expected)
    assert len({c.id for c in found}) == len(found) > 20
    assert all(c.passed and c.message and c.reason for c in found)


def test_what_follows_from_a_wrong_table_is_no_failure_of_its_own() -> None:
    class Linear:
        def __init__(self, num_train_timesteps=1000, beta_schedule="linear"):
            if beta_schedule != "linear":
                raise ValueError("only linear")
            ends = torch.linspace(1e-4**0.5, 0.02**0.5, num_train_timesteps, dtype=torch.float64)
            self.alphas_cumprod = (1 - ends**2).cumprod(0)

        def add_noise(self, x0, noise, t):
            a = self.alphas_cumprod[t].reshape(-1, 1, 1, 1)
            return (a.sqrt() * x0 + (1 - a).sqrt() * noise).to(x0.dtype)

    report = judge(Linear, "quick", 0, beside=False)
    follows = [c for c in report.checks if c.status == "follows"]
    assert follows
    assert all(c.stage == "forward" and c.passed for c in follows)
    assert report.diagnoses[0].bug == "7"


@pytest.mark.parametrize("only", each(3, ["mean", "schedule", "timesteps"]))
def test_the_curves_are_those_of_the_whole_judgement_whatever_is_asked_for(only: str) -> None:
    """What is drawn for one stage alone is asked for, not left behind by another stage."""
    report = judge("scratch:DDPMScheduler", "quick", 0, only=only)
    s_t = report.curves["s_t: noise"]
    assert set(s_t) == {"oracle", "scratch", "diffusers"}
    for drawn in (s_t["scratch"], s_t["diffusers"]):
        assert drawn == pytest.approx(s_t["oracle"], rel=1e-3, abs=1e-9)


def test_betas_alone_make_the_table_of_a_step(tmp_path: Path) -> None:
    shown = RIGHT.replace("        self.alphas", "        self.betas = betas\n        self._alphas")
    shown = shown.replace("self.alphas", "self._alphas").replace("add_noise", "noised")
    report = judge(f"{write(tmp_path, shown)}:M", "quick", 0, beside=False)
    assert report.exit_status == 0, str(report)
    assert report.conventions["betas"].startswith("linear 0.001..0.2")
    assert report.judged == ["schedule", "prediction", "mean", "variance", "sampling"]


@pytest.mark.parametrize("bug", each(2, ["43", "45", "55"]))
def test_a_wrong_step_that_shows_no_table_is_not_read_as_another_table(bug: str) -> None:
    class Alone:
        def __init__(self) -> None:
            self.inside = scheduler(BY_ID[bug].oracle())()

        def step(self, out, t, x, generator=None):
            return self.inside.step(out, t, x, generator).prev_sample

    report = judge(Alone, "quick", 0, beside=False)
    assert [d.bug for d in report.diagnoses] == [bug], str(report)


def _of_table(table: torch.Tensor) -> type:
    def add_noise(self, x_0, noise, t) -> torch.Tensor:
        alpha_bar = table[t].reshape(-1, 1, 1, 1)
        return alpha_bar.sqrt() * x_0 + (1 - alpha_bar).sqrt() * noise

    def step(self, model_output, t, x_t) -> torch.Tensor:
        return x_t

    return type("Mine", (), {"alphas_cumprod": table, "add_noise": add_noise, "step": step})


def test_an_empty_table_is_not_passed() -> None:
    report = judge(_of_table(torch.tensor([])), "quick", 0, beside=False)
    assert report.exit_status == 2
    assert "its table of alpha-bar is empty" in report.verdict
    assert not report.diagnoses


def test_a_table_without_noise_is_a_fault_of_the_schedule() -> None:
    report = judge(_of_table(torch.ones(20)), "quick", 0, beside=False)
    assert report.exit_status == 1
    assert "alpha-bar is 1 at every t: no noise is added at all" in report.verdict
    assert "beta above 0" in report.diagnoses[0].fix


def test_a_table_of_zeros_is_a_fault_of_the_schedule() -> None:
    report = judge(_of_table(torch.zeros(20)), "quick", 0, beside=False)
    assert report.exit_status == 1
    assert {check.stage for check in report.checks if not check.passed} == {"schedule"}
