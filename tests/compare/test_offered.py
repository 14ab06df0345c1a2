"""`--candidate FILE.py`: what a file offers, read from its source and never run."""

from pathlib import Path

import pytest

from compare.candidate.door.roles import role_of
from compare.candidate.door.signature import own_roles
from compare.candidate.load import load
from compare.candidate.text.listed import told
from compare.candidate.text.offered import Offered, offered
from compare.cli import main
from tests.compare.test_cli import arguments

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"

SCRIPT = """
import torch, compare
Path("ran").write_text("a run of hours")
raise RuntimeError("it was run")

def noise_it(x_0, t, noise=None): ...
def simple_loss(net, x0, generator=None): ...
def draw(model, n_samples, *, steps=50): ...
def train(dataset, epochs): ...
def _private(x_0, noise, t): ...

class Base:
    def add_noise(self, x, e, t): ...

class Built(Base):
    def __init__(self, betas, device="cuda"): ...
    def step(self, out, t, x): ...
    @staticmethod
    def loss(model, x_0): ...

class UNet(torch.nn.Module):
    def forward(self, x, t): ...

def make():
    return compare.Adapter(step=lambda eps, t, x: x, alpha_bar=lambda: 1)

mine = compare.Adapter(sample=draw)
"""
JUDGED = {
    "noise_it": ("add_noise",),
    "simple_loss": ("loss",),
    "draw": ("sample",),
    "Base": ("add_noise",),
    "Built": ("add_noise", "step", "loss"),
    "UNet": ("network",),
    "make": ("alpha_bar", "step"),
    "mine": ("sample",),
}


def test_what_stands_in_a_file_is_told_by_names_and_never_run(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(SCRIPT)
    found = {each.name: each for each in offered(SCRIPT)}
    assert {name: each.judged for name, each in found.items() if each.judged} == JUDGED
    assert set(found) - set(JUDGED) == {"train"}
    assert found["Built"].asks == ("betas",)
    assert main(arguments("--candidate", str(file))) == 0
    first, *lines, last = capsys.readouterr().out.splitlines()
    assert first == f"{file}, read and not run; what could be judged in it:"
    *lines, together = lines
    assert [line.split()[1] for line in lines] == [f"{file}:{name}" for name in JUDGED]
    assert lines[4].endswith(
        f"class: add_noise, step, loss; by the adapter that `ddpm adapt {file}:Built` prints"
    )
    assert together == f"  ddpm adapt {file}  an adapter for all functions: add_noise, sample, loss"
    assert "of no role by their names: train(dataset, epochs)" in last
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def train(data): ...", "nothing that could be judged by its names: train(data); an "),
        ("x = 1", "nothing that could be judged by its names; an Adapter"),
        ("def f(:", "is no Python 3."),
        (None, "no such file"),
    ],
)
def test_what_offers_nothing_is_one_line(
    source: str | None, said: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    file = tmp_path / "mine.py"
    if source is not None:
        file.write_text(source)
    assert main(arguments("--candidate", str(file))) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


@pytest.mark.parametrize("file", ["minimal_loop.py", "my_scheduler.py"])
def test_what_is_read_is_what_is_found_when_it_is_loaded(file: str) -> None:
    path = EXAMPLES / file
    named = [each for each in offered(path.read_text()) if each.judged]
    assert named
    assert all(set(each.judged) == of_loaded(path, each) for each in named)


def of_loaded(path: Path, each: Offered) -> set[str]:
    thing, _ = load(f"{path}:{each.name}")
    if each.kind == "function":
        return {*role_of(thing)} - {"alpha_bar"}
    if each.kind == "adapter":
        return {*thing.roles}
    built = thing()
    methods = {name for name in ("set_timesteps", "add_noise", "step") if hasattr(built, name)}
    return methods | {*own_roles(built)}


@pytest.mark.parametrize(
    ("source", "line"),
    [
        (
            "class A:\n def __init__(self, mood): ...\n def step(self, eps, t, x): ...",
            "class: step; built with (mood), so a function of yours is to build it",
        ),
        (
            "class A:\n def __init__(self, mood): ...\n def add_noise(self, x, t, eps): ...",
            "class: add_noise; by the adapter, to be edited, that `ddpm adapt mine.py:A` prints",
        ),
        ("class A:\n def add_noise(self, x, t, eps): ...", "class: add_noise"),
    ],
)
def test_a_class_that_asks_for_something_says_how_it_is_built(source: str, line: str) -> None:
    text, found = told(Path("mine.py"), source)
    assert found
    assert text.splitlines()[1] == f"  --candidate mine.py:A  {line}"
