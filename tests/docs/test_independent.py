"""A public package through the adapter: judged right, its conventions and its two faults named.

Needs the extra `independent`; without it only the refusal and the import are tested.
"""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from compare.verdict.judge import judge
from compare.verdict.report import Report
from tests.often import each

DOCS = Path(__file__).resolve().parents[2] / "docs"
sys.path.insert(0, str(DOCS / "_ext"))

import independent  # noqa: E402

HERE = find_spec("denoising_diffusion_pytorch") is not None
ADAPTER = DOCS / "examples" / "denoising_diffusion_adapter.py"
installed = pytest.mark.skipif(
    not HERE, reason="denoising-diffusion-pytorch is not installed (the extra `independent`)"
)


def verdict(candidate: Any) -> Report:
    return judge(candidate, "quick", 0, beside=False)


@pytest.mark.skipif(HERE, reason="denoising-diffusion-pytorch is installed")
def test_without_the_package_it_says_what_to_install() -> None:
    report = verdict(f"{ADAPTER}:ddpm")
    assert report.exit_status == 2
    assert "No module named 'denoising_diffusion_pytorch'" in report.verdict
    assert "pip install denoising-diffusion-pytorch" in report.verdict
    with pytest.raises(ModuleNotFoundError, match="pip install denoising-diffusion-pytorch"):
        independent.page()


@pytest.mark.parametrize("torchvision", ["raise RuntimeError('no operator nms')", None])
def test_the_package_is_imported_without_a_torchvision_that_works(
    torchvision: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [n for n in sys.modules if n.split(".")[0] in ("torchvision", "stands_in")]:
        monkeypatch.delitem(sys.modules, name)
    if torchvision is None:
        monkeypatch.setitem(sys.modules, "torchvision", None)  # as if it were not installed
        monkeypatch.delitem(sys.modules, "torchvision")
        monkeypatch.setattr(sys, "path", [str(tmp_path)])
    else:
        (tmp_path / "torchvision.py").write_text(torchvision)
        monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "stands_in.py").write_text("from torchvision import transforms as T, utils\n")
    with independent.any_torchvision():
        import stands_in  # type: ignore[import-not-found]

    assert stands_in.T.__name__ == "torchvision.transforms"
    assert not [name for name in sys.modules if name.split(".")[0] == "torchvision"]


@installed
@pytest.mark.parametrize("way", each(5, range(5)))
def test_the_package_is_right(way: int) -> None:
    report = verdict(independent.candidates()[way])
    assert report.passed, str(report)
    assert not report.findings
    stages = {check.stage for check in report.checks if check.status != "note"}
    assert stages == {"schedule", "forward", "prediction", "mean", "variance", "sampling", "loss"}


@installed
def test_every_option_with_a_name_is_judged() -> None:
    example = independent.example()
    report = verdict(example.ddpm)
    ids = {check.id for check in report.checks if check.status in ("equal", "close")}
    assert {f"prediction/{kind}" for kind in example.OBJECTIVES} <= ids
    assert {f"schedule/{name}" for name in example.SCHEDULES} <= ids
    assert "variance/learned_range" in ids
    assert report.conventions["clipping"].startswith("1.0 (read off")
    assert report.conventions["variance"] == "each value that it takes (named, so judged)"


def unrooted_mean(it: Any) -> torch.Tensor:
    """The coefficient of x_0 with alpha-bar_prev for its square root."""
    return it.betas * it.alphas_cumprod_prev / (1 - it.alphas_cumprod)


def doubled(it: Any) -> torch.Tensor:
    """A log-variance whose half is the logarithm of the variance, not of its square root."""
    return 2 * it.posterior_log_variance_clipped


def unrooted_signal(it: Any) -> torch.Tensor:
    """alpha-bar under the name of its square root."""
    return it.alphas_cumprod


@installed
@pytest.mark.parametrize(
    ("buffer", "wrong", "bug"),
    each(
        3,
        [
            ("posterior_mean_coef1", unrooted_mean, "38"),
            ("posterior_log_variance_clipped", doubled, "49"),
            ("sqrt_alphas_cumprod", unrooted_signal, "5"),
        ],
    ),
)
def test_a_table_that_is_spoiled_is_named(
    buffer: str, wrong: Any, bug: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = independent.example()
    make = example.diffusion

    def spoiled(*args: Any, **options: Any) -> Any:
        whole = make(*args, **options)
        whole.register_buffer(buffer, wrong(whole))
        return whole

    monkeypatch.setattr(example, "diffusion", spoiled)
    report = verdict(example.adapt(objective="pred_noise", beta_schedule="cosine"))
    assert report.diagnoses[0].bug == bug, str(report)


@installed
def test_what_differs_lies_outside_the_roles() -> None:
    found = {note.words.split("`")[1]: note.theirs for note in independent.differences()}
    assert found["interpolate"] == "noised at 50, first asked at 49"
    assert found["LearnedGaussianDiffusion"].startswith("`NameError")


@installed
def test_conventions_are_measured() -> None:
    notes = {note.words: note for note in independent.conventions()}
    scaled = next(note for words, note in notes.items() if words.startswith("`linear`"))
    assert scaled.theirs == "sqrt(alpha-bar_T) = 0.0057"  # prod(1 - 4 beta), T = 250
    assert scaled.ours == "sqrt(alpha-bar_T) = 0.28"
    steps = next(note for words, note in notes.items() if words.startswith("DDIM"))
    exact = [999 - i * 1000 / 30 for i in range(30)]
    assert steps.theirs.split(", ")[:3] == [str(int(t)) for t in exact[:3]]
    assert steps.ours.split(", ")[:3] == [str(round(t)) for t in exact[:3]]


@installed
@pytest.mark.long
def test_the_page_says_what_agrees_and_what_differs() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    page = independent.page()
    assert torch.equal(torch.get_rng_state(), before)
    count = len(independent.candidates())
    assert count == 5
    assert f"{count} of {count} ways to use it agree with the papers." in page
    for make in independent.candidates():
        assert f"- `{make.__name__}`: " in page
    assert "FAIL" not in page
    headings = [line for line in page.splitlines() if line.startswith("## ")]
    assert headings == ["## What agrees", "## What is a convention", "## What differs and why"]
    assert "| `interpolate` noises at t" in page.split("## What differs and why")[1]
