"""Stage timesteps: lists of one's own, lists that cannot be, and lists that creep."""

import pytest
import torch

from compare.candidate.from_oracle import scheduler
from compare.mistakes import BY_ID
from compare.oracle import Oracle, Setting
from compare.verdict.judge import judge
from tests.often import each

SHORT = Setting(num_train_timesteps=100, beta_end=0.2)


def test_another_list_the_second_time_is_a_fault_of_the_list() -> None:
    class Creeping(scheduler(Oracle())):
        """Moves its list up by one each time that four steps are asked for again."""

        asked = -1

        def __init__(self, num_train_timesteps=100):
            super().__init__(num_train_timesteps, clip_sample=False)

        def set_timesteps(self, num_inference_steps):
            super().set_timesteps(num_inference_steps)
            if num_inference_steps == 4:
                self.asked += 1
                self._visit(self.timesteps + self.asked)

    report = judge(Creeping, "quick", 0, beside=False, base=Setting(num_train_timesteps=100))
    failing = [c for c in report.checks if not c.passed]
    assert {c.stage for c in failing} >= {"timesteps"}, str(report)
    assert "set_timesteps(4) leaves another list when it is called again" in failing[0].message
    assert report.diagnoses[0].stage == "timesteps"
    assert report.exit_status == 1


@pytest.mark.parametrize("left", [4, [None, 1], torch.zeros(4, 1)])
def test_what_is_no_list_is_told_as_that(left) -> None:
    class Mine(scheduler(Oracle())):
        def set_timesteps(self, num_inference_steps):
            self.timesteps = left

    report = judge(Mine, "quick", 0, only="timesteps", beside=False)
    assert "set_timesteps leaves `timesteps` that are no numbers in a row" in report.verdict


def test_a_previous_timestep_that_is_no_number_is_told_as_that() -> None:
    class Mine(scheduler(Oracle())):
        def previous_timestep(self, timestep):
            return None

    report = judge(Mine, "quick", 0, only="timesteps", beside=False)
    failing = [c.message for c in report.checks if not c.passed]
    assert failing
    assert all("previous_timestep(t) raises TypeError: int() argument" in said for said in failing)


def listing(timesteps):
    """A scheduler whose lists are made by a function of n; it names no spacing."""

    class Listing(scheduler(Oracle())):
        def __init__(self, num_train_timesteps=100, beta_end=0.2):
            super().__init__(num_train_timesteps, beta_end=beta_end, clip_sample=False)

        def set_timesteps(self, num_inference_steps):
            self._visit(torch.tensor(timesteps(num_inference_steps)))

    return judge(Listing, "quick", 0, beside=False, base=SHORT)


def test_lists_of_ones_own_are_a_convention() -> None:
    report = listing(lambda n: [int((i + 0.5) * 100 / n) for i in reversed(range(n))])
    assert report.passed, str(report)
    assert report.conventions["spacing"].startswith("own")
    assert "timesteps/own" in {c.id for c in report.checks}


@pytest.mark.parametrize(
    "timesteps",
    each(
        2,
        [
            lambda n: [i * (100 // n) for i in reversed(range(n))][:-1] or [0],  # the last lacks
            lambda n: [int(i * 100 / n) for i in range(n)],  # from 0 up
            lambda n: [int(i * 50 / n) for i in reversed(range(n))],  # starts in mid-chain
            lambda n: [50 + int(i * 50 / n) for i in reversed(range(n))],  # ends there
        ],
    ),
)
def test_what_cannot_be_a_list_is_none_of_ones_own(timesteps) -> None:
    report = listing(timesteps)
    assert {d.stage for d in report.diagnoses} == {"timesteps"}, str(report)


@pytest.mark.parametrize("bug", each(2, ["73", "74"]))
def test_a_list_with_a_step_too_many_is_none_of_ones_own(bug) -> None:
    oracle = BY_ID[bug].oracle()
    spacing = "trailing" if bug == "73" else "leading"
    setting = Setting(num_train_timesteps=1000, timestep_spacing=spacing)

    class Listing(scheduler(Oracle())):
        def __init__(self):
            super().__init__(clip_sample=False)

        def set_timesteps(self, num_inference_steps):
            exact, unit = oracle.timesteps(setting, num_inference_steps)
            self._visit((exact.double() / unit).round().long())

    report = judge(Listing, "quick", 0, only="timesteps", beside=False)
    failing = [c for c in report.checks if not c.passed or c.status == "known"]
    assert [c.id for c in failing][:1] == [f"timesteps/{spacing}"], str(report)


@pytest.mark.parametrize("bug", ["73", None])
def test_a_spacing_is_read_where_all_lists_are_its_own(bug) -> None:
    """With T = 61 mistake 73 is wrong at n = 7 alone, of those that are looked at."""
    oracle = Oracle() if bug is None else BY_ID[bug].oracle()

    class Hidden:
        def __init__(self):
            beta = torch.linspace(1e-3, 0.2, 61, dtype=torch.float64).tolist()
            self.inside = scheduler(oracle)(
                num_train_timesteps=61,
                trained_betas=beta,
                timestep_spacing="trailing",
                clip_sample=False,
            )
            self.alphas_cumprod = self.inside.alphas_cumprod
            self.timesteps = self.inside.timesteps

        def set_timesteps(self, n):
            self.inside.set_timesteps(n)
            self.timesteps = self.inside.timesteps

        def step(self, out, t, x, generator=None):
            return self.inside.step(out, t, x, generator).prev_sample

    report = judge(Hidden, "quick", 0, beside=False)
    spacing = "trailing" if bug is None else "leading"  # the usual one where a list is wrong
    assert report.conventions["spacing"] == f"{spacing} (read off)"
    assert [d.bug for d in report.diagnoses] == ([] if bug is None else [bug]), str(report)
    assert report.passed == (bug is None)


@pytest.mark.parametrize("right", [False, True])
def test_what_previous_timestep_says_is_judged(right: bool) -> None:
    class Said(scheduler(Oracle())):
        def previous_timestep(self, timestep):
            listed = [*self.timesteps.tolist(), -1]
            return listed[listed.index(int(timestep)) + 1] if right else int(timestep) - 1

    report = judge(Said, "quick", 0, only="timesteps", beside=False, base=SHORT)
    said = {c.id: c.status for c in report.checks if "/previous_timestep/" in c.id}
    strided, full = (f"timesteps/previous_timestep/{n}" for n in (10, 100))
    assert said == {strided: "equal" if right else "differs", full: "equal"}
    assert report.passed == right


class _Lists:
    """Leaves a list of its own making."""

    def __init__(self, num_train_timesteps: int = 50, steps_offset: int = 0) -> None:
        setting = Setting(num_train_timesteps=num_train_timesteps)
        self.T, self.offset = num_train_timesteps, steps_offset
        self.alphas_cumprod = Oracle().alpha_bar(setting)
        self.set_timesteps(num_train_timesteps)

    def set_timesteps(self, n: int) -> None:
        self.timesteps = torch.arange(n).flip(0) * (self.T // n) + self.offset

    def add_noise(self, x_0, noise, t):
        alpha_bar = self.alphas_cumprod[t].reshape(-1, 1, 1, 1).to(x_0)
        return alpha_bar.sqrt() * x_0 + (1 - alpha_bar).sqrt() * noise


class _OfNoNumbers(_Lists):
    def set_timesteps(self, n: int) -> None:
        self.timesteps = torch.full((n,), torch.nan)


class _EmptyPastTheEnd(_Lists):
    def set_timesteps(self, n: int) -> None:
        super().set_timesteps(n)
        self.timesteps = self.timesteps[: len(self.timesteps) * (int(self.timesteps[0]) < self.T)]


def test_a_list_of_no_numbers_is_wrong() -> None:
    report = judge(_OfNoNumbers, "quick", 0, beside=False)
    assert "timesteps/leading" in [check.id for check in report.checks if not check.passed]
    assert "compare itself failed" not in str(report)


def test_a_list_that_is_empty_past_the_end_leaves_the_table_as_it_is() -> None:
    report = judge(_EmptyPastTheEnd, "quick", 0, beside=False)
    (check,) = [c for c in report.checks if c.id == "timesteps/offset-past-end"]
    assert check.passed
