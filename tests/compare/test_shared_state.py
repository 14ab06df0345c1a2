"""What a candidate shares with its judge: settings are kept apart, replacements are refused."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch._dynamo

import compare
from compare.candidate.load import load
from compare.candidate.shared_state import Settings, replacements, shared_functions
from compare.candidate.surroundings import apart
from compare.cli import TEMPLATE
from compare.verdict.judge import judge
from tests.often import each

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "my_scheduler.py"
SCHEDULER = TEMPLATE.read_text(encoding="utf-8").replace("=1000", "=100")


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.py"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("torch.Tensor.abs = lambda s: s * 0", "torch.Tensor.abs (mine.py, line "),
        ("torch.Tensor.abs = torch.Tensor.neg", "torch.Tensor.abs is"),
        ("torch.randn = torch.no_grad()(lambda *_, **__: torch.zeros(1))", "torch.randn (mine.py"),
        ("del torch.sqrt", "torch.sqrt is"),
        ("torch.nn.functional.mse_loss = lambda *_: 0", "torch.nn.functional.mse_loss ("),
        ("class Generator: pass\ntorch.Generator = Generator", "torch.Generator is"),
        ("import math\nmath.sqrt = lambda x: x", "math.sqrt (mine.py, line "),
    ],
)
def test_who_replaces_a_function_is_not_judged(text: str, name: str, tmp_path: Path) -> None:
    before = shared_functions()
    path = write(tmp_path, EXAMPLE.read_text(encoding="utf-8") + f"\n{text}\n")
    report = judge(f"{path}:MyScheduler", "quick", 0, beside=False)
    assert report.exit_status == 2, str(report)
    assert f"could not be run: {name}" in report.verdict.replace(f"{path}:MyScheduler ", "")
    assert not report.diagnoses
    after = shared_functions()
    assert all(after[key] is value for key, value in before.items())


def test_who_replaces_a_function_while_it_is_judged_is_not_judged_either() -> None:
    class Late:
        def add_noise(self, x0, noise, t):
            torch.Tensor.abs = lambda s: s * 0  # type: ignore[method-assign,assignment]
            return x0

    report = judge(Late, "quick", 0, beside=False)
    assert report.exit_status == 2
    assert "torch.Tensor.abs (test_shared_state.py, line" in report.verdict
    assert torch.tensor(-1.0).abs() == 1


def test_what_libraries_wrap_and_what_is_new_is_no_replacement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = shared_functions()
    monkeypatch.setattr(torch, "mine", lambda x: x, raising=False)
    monkeypatch.setattr(torch, "manual_seed", torch._disable_dynamo(torch.manual_seed))
    assert torch.manual_seed is not before[torch, "manual_seed"]
    assert not replacements(before)
    monkeypatch.setattr(torch, "manual_seed", lambda seed: None)
    assert list(replacements(before)) == [(torch, "manual_seed")]


@pytest.mark.parametrize(
    "text",
    each(
        3,
        [
            "torch.set_default_dtype(torch.float16)",
            "torch.set_default_dtype(torch.float64)",
            "import sys; del sys.modules['torch']; import os; os.chdir('/')",
            "torch.set_grad_enabled(True)",
            "torch.use_deterministic_algorithms(True, warn_only=True)",
            "torch.set_default_device('cpu')",
        ],
    ),
)
def test_a_right_scheduler_is_right_whatever_it_sets(text: str, tmp_path: Path) -> None:
    before, folder = Settings.now(), Path.cwd()
    report = judge(f"{write(tmp_path, SCHEDULER + text)}:MyScheduler", "quick", 0, beside=False)
    assert report.passed, str(report)
    assert (Settings.now(), Path.cwd()) == (before, folder)


def test_a_right_scheduler_may_compute_in_double_precision(tmp_path: Path) -> None:
    text = SCHEDULER.replace(", dtype=torch.float64", "").replace(", dtype=x_t.dtype", "")
    assert text.count("dtype") == 2  # add_noise alone gives back what it was given
    text = text.replace("import torch\n", "import torch\ntorch.set_default_dtype(torch.float64)\n")
    report = judge(f"{write(tmp_path, text)}:MyScheduler", "quick", 0, beside=False)
    assert report.passed, str(report)


def test_a_table_in_half_precision_is_judged_for_what_it_is(tmp_path: Path) -> None:
    text = SCHEDULER.replace(", dtype=torch.float64", "")
    text = text.replace("import torch\n", "import torch\ntorch.set_default_dtype(torch.float16)\n")
    report = judge(f"{write(tmp_path, text)}:MyScheduler", "quick", 0, "schedule", beside=False)
    assert report.exit_status == 1, str(report)


def test_a_candidate_finds_its_settings_again_and_we_ours(tmp_path: Path) -> None:
    path = write(tmp_path, "import torch\ntorch.set_default_dtype(torch.float64)\nM = torch.ones")
    ones, own = load(f"{path}:M")
    assert torch.ones(1).dtype == torch.float32
    with apart(own):
        assert ones(1).dtype == torch.float64
        torch.set_default_device("meta")
    assert torch.ones(1).device.type == "cpu"
    with apart(own):
        assert ones(1).device.type == "meta"


@pytest.fixture
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("double")
def test_the_callers_settings_are_the_candidates_and_stay() -> None:
    seen = set()

    def alpha_bar() -> torch.Tensor:
        seen.add(torch.get_default_dtype())
        return (1 - torch.linspace(0.0001, 0.02, 1000)).cumprod(0)

    report = judge(compare.Adapter(alpha_bar=alpha_bar), "quick", 0, beside=False)
    assert report.passed, str(report)
    assert seen == {torch.float64}
    assert torch.get_default_dtype() == torch.float64
