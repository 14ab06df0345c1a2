"""`ddpm adapt`: prints an adapter; what is no DDPM is one line."""

from pathlib import Path

import pytest

from ddpm.cli import main

ROOT = Path(__file__).parents[2]
HAS_A_STEP = "coefficients.py"
OURS = [p for p in sorted((ROOT / "workbench").glob("*.py")) if p.name != HAS_A_STEP][:10]
NO_DDPM = {  # what other programs call by the same names
    "autoencoder": """
class VAE(nn.Module):
    def __init__(self, width): ...
    def forward(self, x): return self.decode(self.encode(x))
    def sample(self, n): return self.decode(torch.randn(n, self.width))
    def loss(self, x, reconstruction, mu, log_variance): ...
""",
    "adversary": """
def sample(generator, n, latent): return generator(torch.randn(n, latent))  # from noise
def loss(discriminator, real, fake): ...
def train(generator, discriminator, data): ...
""",
    "classifier": """
def loss(model, x, y): return cross_entropy(model(x), y)
def accuracy(model, x, y): ...
""",
    "language": """
class GPT(nn.Module):
    def __init__(self, vocabulary, width): ...
    def forward(self, tokens): ...
    def generate(self, tokens, most, temperature=1.0): ...
""",
    "game": """
class Game:
    def reset(self): ...
    def step(self, action): ...
class Memory:
    def sample(self, batch_size): ...
""",
    "heat": """
class HeatDiffusion:
    def __init__(self, alpha, beta, dx): ...
    def step(self, dt): self.u += self.alpha * dt * laplacian(self.u)
    def backward(self, grad): ...
""",
    "filter": """
def denoise(signal, window): ...
def add_noise(signal, decibels): return signal + noise(len(signal), decibels)
""",
    "optimiser": """
class Adam:
    def __init__(self, params, betas=(0.9, 0.999), epsilon=1e-8): ...
    def step(self, closure=None): ...
""",
    "pages": """
def index(request): ...
def step(request, number): ...
""",
    "nothing": "",
}


def test_it_prints_the_adapter(capsys: pytest.CaptureFixture) -> None:
    assert main(["adapt", f"{ROOT}/docs/examples/labml_like.py:DenoiseDiffusion"]) == 0
    printed = capsys.readouterr().out
    assert "from labml_like import DenoiseDiffusion" in printed
    assert "step=lambda out, t, x: made(as_network(out)).p_sample(x, t)," in printed


@pytest.mark.parametrize("name", NO_DDPM)
def test_a_file_that_is_no_ddpm_is_one_line(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / f"{name}.py").write_text(NO_DDPM[name])
    assert "nothing called as a part of a DDPM is" in refused(tmp_path / f"{name}.py", capsys)


@pytest.mark.parametrize("file", [*OURS, Path("nowhere.py")], ids=lambda file: file.name)
def test_so_are_files_of_our_own_that_are_none_and_one_that_is_not_there(
    file: Path, capsys: pytest.CaptureFixture
) -> None:
    refused(file, capsys)


def refused(file: Path, capsys: pytest.CaptureFixture) -> str:
    """The one line on a file of which there is no adapter."""
    assert main(["adapt", str(file)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert line.startswith("ddpm adapt: ")
    return line


def test_what_is_no_python_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "mine.py").write_text("def f(:")
    assert main(["adapt", str(tmp_path / "mine.py")]) == 2
    assert "is no Python" in capsys.readouterr().err
