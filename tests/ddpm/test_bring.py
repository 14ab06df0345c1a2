"""`--scheduler` and `--unet` by command: trained, gone on with, drawn from, and what is kept."""

import shutil
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from ddpm.bring import digest
from ddpm.cli import main
from workbench import runs
from workbench.config import RunConfig

T = 12
SMALL = [
    "--channels",
    "8,16",
    "--norm-num-groups",
    "4",
    "--attention",
    "no,no",
    "--layers-per-block",
    "1",
]
FEW = ["--steps", "6", "--batch-size", "8", "--quiet", "--device", "cpu"]
NETWORK = '''

class MyUNet(torch.nn.Module):
    """A small one, with a BatchNorm: it keeps more than parameters."""

    def __init__(self, channels=1):
        super().__init__()
        self.first = torch.nn.Conv2d(channels, 8, 3, padding=1)
        self.norm = torch.nn.BatchNorm2d(8)
        self.time = torch.nn.Linear(2, 8)
        self.last = torch.nn.Conv2d(8, channels, 3, padding=1)

    def forward(self, x, t):
        angle = t.float()[:, None] / 30
        time = self.time(torch.cat([angle.sin(), angle.cos()], 1))[:, :, None, None]
        return self.last(torch.relu(self.norm(self.first(x)) + time))


def my_loop(model, n):
    """Deterministic: DDIM with eta = 0 would need the table; this needs none."""
    x = torch.ones(n, 1, 8, 8) * torch.arange(1.0, n + 1).reshape(-1, 1, 1, 1)
    for t in reversed(range(12)):
        x = x - 0.01 * model(x, torch.full((n,), t))
    return x.clamp(-1, 1)
'''


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The class of `ddpm compare --template`, and a network."""
    file = tmp_path_factory.mktemp("code") / "mine.py"
    template = Path("compare/template.py").read_text(encoding="utf-8")
    file.write_text(template + NETWORK, encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def run(mine: Path) -> Path:
    """Trained with the template's scheduler and our network."""
    folder = mine.parent / "run"
    said = ["--scheduler", f"{mine}:MyScheduler", "--num-train-timesteps", str(T)]
    assert main(["train", *said, *SMALL, *FEW, "--output", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def both(mine: Path) -> Path:
    """Trained with a scheduler and a network of its own."""
    folder = mine.parent / "both"
    said = ["--scheduler", f"{mine}:MyScheduler", "--num-train-timesteps", str(T)]
    said += ["--unet", f"{mine}:MyUNet", "--save-every", "3"]
    assert main(["train", *said, *FEW, "--output", str(folder)]) == 0
    return folder


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    try:
        status = main(words)
    except SystemExit as exit_:
        status = exit_.code
    error = capsys.readouterr().err
    assert status == 2, error
    assert error.count("\n") == 1, error
    return error


def test_it_learns_what_it_learns_with_ours(run: Path, tmp_path: Path) -> None:
    """The same table: the same losses and the same weights, to rounding."""
    ours = tmp_path / "ours"
    said = ["--num-train-timesteps", str(T), "--no-clip-sample"]
    assert main(["train", *said, *SMALL, *FEW, "--output", str(ours)]) == 0
    losses = [[row["loss"] for row in runs.load_metrics(f) if "loss" in row] for f in (run, ours)]
    np.testing.assert_allclose(*losses, rtol=1e-5)
    one, other = (runs.read_tensors(f / "unet" / runs.WEIGHTS)[0] for f in (run, ours))
    for name, weights in one.items():
        torch.testing.assert_close(weights, other[name], rtol=0, atol=1e-5, msg=name)


@pytest.mark.parametrize("backend", ["scratch", "diffusers"])
def test_it_draws_what_ours_draws(run: Path, mine: Path, backend: str, tmp_path: Path) -> None:
    said = ["sample", str(run), "--count", "4", "--quiet", "--backend", backend, "--output"]
    own, ours = tmp_path / "own.png", tmp_path / "ours.png"
    assert main([*said, str(own), "--scheduler", f"{mine}:MyScheduler"]) == 0
    assert main([*said, str(ours), "--sampler", "ddpm"]) == 0
    assert np.abs(pixels(own) - pixels(ours)).max() <= 1


def test_the_folder_keeps_its_table_and_no_place(run: Path, mine: Path) -> None:
    scheduler = diffusers.DDPMScheduler.from_pretrained(run / "scheduler")
    betas = torch.linspace(0.0001, 0.02, T)
    torch.testing.assert_close(torch.tensor(scheduler.config.trained_betas), betas)
    assert scheduler.config.prediction_type == "epsilon"
    assert diffusers.DDPMPipeline.from_pretrained(run).unet.config.sample_size == 8
    code = runs.load_config(run).scheduler_code
    assert code is not None
    assert (code.name, code.sha256) == ("MyScheduler", digest(f"{mine}:MyScheduler"))
    assert code.told == ("num_train_timesteps",)
    for file in run.rglob("*.json*"):
        assert "mine" not in file.read_text(encoding="utf-8"), file


def test_both_of_ones_own_go_on_where_they_stopped(both: Path, mine: Path, tmp_path: Path) -> None:
    """A run whose checkpoint is set back to its third step ends with the same weights."""
    again = tmp_path / "again"
    said = ["--scheduler", f"{mine}:MyScheduler", "--unet", f"{mine}:MyUNet"]
    short = [*said, "--num-train-timesteps", str(T), *FEW, "--lr-schedule", "constant"]
    whole = tmp_path / "whole"
    assert main(["train", *short, "--output", str(whole)]) == 0
    short[short.index("--steps") + 1] = "3"
    assert main(["train", *short, "--output", str(again)]) == 0
    longer = ["--steps", "6", "--quiet", "--device", "cpu"]
    assert main(["train", "--resume", str(again), *said, *longer]) == 0
    one, other = (runs.read_tensors(f / "unet" / runs.WEIGHTS)[0] for f in (whole, again))
    assert "norm.running_mean" in one
    for name, weights in one.items():
        torch.testing.assert_close(weights, other[name], rtol=0, atol=0, msg=name)


def test_a_run_asks_for_its_code_again(
    run: Path, both: Path, mine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scheduler = ["--scheduler", f"{mine}:MyScheduler"]
    asked = "was trained with a scheduler of its own, MyScheduler, and no folder says where code"
    assert asked in refused(["sample", str(run)], capsys)
    assert asked in refused(["train", "--resume", str(run)], capsys)
    again = ["train", "--config", str(run / runs.CONFIG), "--output", str(run.parent / "no")]
    assert asked in refused(again, capsys)
    said = refused(["sample", str(both), *scheduler], capsys)
    assert "a unet of its own, MyUNet" in said
    assert "--unet FILE.py:MyUNet" in said
    figure = ["plot", "trajectory", str(both), "--output", str(both.parent / "no.png")]
    assert "is code of its own, and no folder says where code lies" in refused(figure, capsys)
    # No library takes it for one of its own; Diffusers 0.37 says so by the name that it lacks.
    with pytest.raises((ValueError, AttributeError), match="OwnUNet"):
        diffusers.DDPMPipeline.from_pretrained(both)


def test_other_code_is_taken_if_it_is_said(
    run: Path, mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.py"
    other.write_text(mine.read_text().replace("return mean\n", "return mean * 0.5\n"))
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    words = ["sample", str(copy), "--scheduler", f"{other}:MyScheduler", "--quiet", "--count", "2"]
    said = refused(words, capsys)
    assert "is other code than the run was trained with (sha256" in said
    assert main([*words, "--other-code"]) == 0
    warned = capsys.readouterr().err
    assert warned.startswith("warning: compare finds MyScheduler wrong in ")
    assert warned.endswith(f"see: ddpm compare --candidate {other}:MyScheduler\n")

    grown = ["train", "--resume", str(copy), *words[2:4], "--quiet", "--device", "cpu"]
    assert "is other code" in refused(grown, capsys)
    assert main([*grown, "--other-code"]) == 0


def test_a_plain_run_draws_by_a_scheduler_or_a_loop_of_ones_own(
    mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, drawn = tmp_path / "plain", tmp_path / "drawn.png"
    assert main(["train", *SMALL, *FEW, "--num-train-timesteps", "12", "--output", str(plain)]) == 0
    words = ["sample", str(plain), "--quiet", "--count", "4", "--scheduler"]
    assert main([*words, f"{mine}:MyScheduler", "--output", str(drawn)]) == 0
    assert capsys.readouterr().err == ""
    other = tmp_path / "other.py"
    other.write_text(
        mine.read_text().replace("beta_end=0.02", "beta_last=0.3").replace("beta_end", "beta_last")
    )
    assert main([*words, f"{other}:MyScheduler", "--output", str(tmp_path / "other.png")]) == 0
    said = "warning: the table of MyScheduler is not the one that this network was trained with\n"
    assert capsys.readouterr().err.endswith(said)
    loop = ["--output", str(tmp_path / "loop.png")]
    assert main([*words, f"{mine}:my_loop", *loop]) == 0
    assert len(np.unique(pixels(tmp_path / "loop.png"))) > 1
    capsys.readouterr()
    assert "not told --steps; leave it out" in refused(
        [*words, f"{mine}:my_loop", "--steps", "3", "--output", str(tmp_path / "no.png")], capsys
    )
    assert not (tmp_path / "no.png").exists()
    resumed = ["train", "--resume", str(plain), *words[-1:], f"{mine}:MyScheduler"]
    assert "trained with our scheduler; leave out --scheduler" in refused(resumed, capsys)
    unet = ["sample", str(plain), "--unet", f"{mine}:MyUNet", "--output", str(tmp_path / "no.png")]
    assert "the network of this run is ours; leave out --unet" in refused(unet, capsys)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--scheduler nowhere.py:Mine", "no such file: nowhere.py"),
        ("--scheduler {mine}", "must be FILE.py:NAME or package.module:NAME"),
        ("--scheduler {mine}:Nothing", "has no 'Nothing'"),
        (
            "--scheduler {mine}:MyScheduler --variance-type fixed_large",
            "no keyword 'variance_type'",
        ),
        ("--scheduler {mine}:MyUNet", "MyUNet has no step(model_output, t, x_t) (it has network)"),
        ("--scheduler {mine}:my_loop", "has no step(model_output, t, x_t) (it has sample)"),
        ("--scheduler {mine}:MyScheduler --beta-end 2", "cannot be that of a DDPM: every beta"),
        ("--scheduler {mine}:MyScheduler --reading t=7", "--reading t=7 is not known"),
        ("--unet {mine}:MyScheduler", "MyScheduler makes a MyScheduler; expected an nn.Module"),
        ("--unet {mine}:MyUNet --class-conditional", "leave out --class-conditional"),
        ("--unet {mine}:MyUNet --data sprites --size 8", "size is for a folder of pictures"),
    ],
)
def test_what_cannot_be_used_costs_one_line(
    words: str, said: str, mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    split = [word.format(mine=mine) for word in words.split()]
    assert said in refused(["train", *split, *FEW, "--output", str(run)], capsys)
    assert not run.exists()


@pytest.mark.parametrize("option", ["--sampler ddim", "--spacing trailing", "--eta 1"])
def test_options_of_our_samplers_are_not_for_ones_own(
    option: str, run: Path, mine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["sample", str(run), "--scheduler", f"{mine}:MyScheduler", *option.split()]
    assert f"{option.split()[0]} is" in refused(words, capsys)


def test_a_class_for_another_network_is_refused(
    run: Path, mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.py"
    source = mine.read_text()
    other.write_text(
        source.replace("(beta_start, beta_end, num_train_", "(beta_start, beta_end, 3 * num_train_")
    )
    words = ["--scheduler", f"{other}:MyScheduler", "--other-code", "--quiet"]
    assert "its num_train_timesteps is 36, not 12" in refused(["sample", str(run), *words], capsys)
    said = refused(["train", "--resume", str(run), *words], capsys)
    assert "is for another network: its num_train_timesteps is 36, and the run's 12" in said


def test_a_run_of_before_has_no_code_of_its_own() -> None:
    values = RunConfig().to_dict()
    del values["scheduler_code"], values["unet_code"]
    assert RunConfig.from_dict(values) == RunConfig()


def test_a_digest_is_of_the_file(mine: Path) -> None:
    assert digest(f"{mine}:MyScheduler") == digest(f"{mine}:MyUNet")
    assert digest("compare.template:MyScheduler") != digest(f"{mine}:MyScheduler")
    assert len(digest("compare.template:MyScheduler")) == 64
