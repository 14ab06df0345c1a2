"""The adapter that is written for somebody's class or functions: it runs, and is judged."""

import ast
from pathlib import Path

import pytest

from compare.candidate.text.adapt import UNKNOWN, adapter
from compare.verdict.judge import judge
from tests.often import each

MODULE = '''
import torch
from torch import nn
import torch.nn.functional as F

def extract(a, t, shape):
    return a.gather(-1, t).reshape(len(t), *[1] * (len(shape) - 1))

class GaussianDiffusion(nn.Module):
    """The network inside; tables are buffers."""
    def __init__(self, model, *, image_size, timesteps=50):
        super().__init__()
        self.model, self.image_size, self.num_timesteps = model, image_size, timesteps
        betas = torch.linspace(1e-3, 0.2, timesteps, dtype=torch.float64)
        bars = (1 - betas).cumprod(0)
        before = F.pad(bars[:-1], (1, 0), value=1.0)
        self.register_buffer("alphas_cumprod", bars.float())
        self.register_buffer("c_0", (betas * before.sqrt() / (1 - bars)).float())
        self.register_buffer("c_t", ((1 - before) * (1 - betas).sqrt() / (1 - bars)).float())
        self.register_buffer("size", (betas * (1 - before) / (1 - bars)).sqrt().float())

    def q_sample(self, x_start, t, noise=None):
        noise = torch.randn_like(x_start) if noise is None else noise
        bar = extract(self.alphas_cumprod, t, x_start.shape)
        return bar.sqrt() * x_start + (1 - bar).sqrt() * noise

    @torch.no_grad()
    def p_sample(self, x, t):
        at = torch.full((len(x),), t, dtype=torch.long)
        bar = extract(self.alphas_cumprod, at, x.shape)
        x_0 = ((x - (1 - bar).sqrt() * self.model(x, at)) / bar.sqrt()).clamp(-1, 1)
        mean = extract(self.c_0, at, x.shape) * x_0 + extract(self.c_t, at, x.shape) * x
        return mean + extract(self.size, at, x.shape) * torch.randn_like(x) if t else mean

    @torch.no_grad()
    def p_sample_loop(self, shape):
        self.model.eval()
        x = torch.randn(shape)
        for t in reversed(range(self.num_timesteps)):
            x = self.p_sample(x, t)
        return x

    def p_losses(self, x_start, t, noise=None):
        noise = torch.randn_like(x_start) if noise is None else noise
        return F.mse_loss(self.model(self.q_sample(x_start, t, noise), t), noise)
'''
FUNCTIONS = """
import torch
import torch.nn.functional as F
timesteps = 50
betas = torch.linspace(1e-3, 0.2, timesteps)
alphas_cumprod = torch.cumprod(1 - betas, 0)
alphas_cumprod_prev = F.pad(alphas_cumprod[:-1], (1, 0), value=1.0)
variance = betas * (1 - alphas_cumprod_prev) / (1 - alphas_cumprod)

def extract(a, t, shape):
    return a.gather(-1, t).reshape(len(t), *[1] * (len(shape) - 1))

def q_sample(x_start, t, noise=None):
    noise = torch.randn_like(x_start) if noise is None else noise
    bar = extract(alphas_cumprod, t, x_start.shape)
    return bar.sqrt() * x_start + (1 - bar).sqrt() * noise

def p_losses(denoise_model, x_start, t, noise=None, loss_type="l2"):
    noise = torch.randn_like(x_start) if noise is None else noise
    return F.mse_loss(noise, denoise_model(q_sample(x_start, t, noise), t))

@torch.no_grad()
def p_sample(model, x, t, t_index):
    beta, bar = extract(betas, t, x.shape), extract(alphas_cumprod, t, x.shape)
    mean = (x - beta * model(x, t) / (1 - bar).sqrt()) / (1 - beta).sqrt()
    if t_index == 0:
        return mean
    return mean + extract(variance, t, x.shape).sqrt() * torch.randn_like(x)

@torch.no_grad()
def sample(model, image_size, batch_size=16, channels=3):
    model.eval()
    x = torch.randn(batch_size, channels, image_size, image_size)
    for i in reversed(range(timesteps)):
        x = p_sample(model, x, torch.full((batch_size,), i), i)
    return x
"""
LOOP = """
import torch

class Diffusion:
    def __init__(self, noise_steps=50, beta_end=0.2, img_size=8, device="cuda"):
        self.noise_steps, self.img_size, self.device = noise_steps, img_size, device
        self.beta = torch.linspace(1e-3, beta_end, noise_steps).to(device)
        self.alpha_hat = torch.cumprod(1 - self.beta, dim=0)

    def noise_images(self, x, t):
        bar, noise = self.alpha_hat[t][:, None, None, None], torch.randn_like(x)
        return bar.sqrt() * x + (1 - bar).sqrt() * noise, noise

    def sample(self, model, n):
        model.eval()
        x = torch.randn((n, 3, self.img_size, self.img_size)).to(self.device)
        for i in reversed(range(self.noise_steps)):
            t = (torch.ones(n) * i).long().to(self.device)
            beta, bar = (v[t][:, None, None, None] for v in (self.beta, self.alpha_hat))
            z = torch.randn_like(x) if i > 0 else torch.zeros_like(x)
            x = (x - beta / (1 - bar).sqrt() * model(x, t)) / (1 - beta).sqrt() + beta.sqrt() * z
        return x
"""
WRITTEN = {
    "module": (MODULE, "GaussianDiffusion", ["forward", "mean", "variance", "sampling", "loss"]),
    "functions": (FUNCTIONS, "", ["forward", "mean", "variance", "sampling", "loss"]),
    "loop": (LOOP, "Diffusion", ["forward", "sampling"]),
}
HALF = '"size", (betas'  # of the variance: what a wrong program has instead


def adapted(folder: Path, source: str, name: str) -> tuple[str, str]:
    """The text, and how the adapter that stands beside the file is named."""
    file = folder / f"mine_{folder.name.replace('-', '_')}.py"
    file.write_text(source)
    text = adapter(file, name, source)
    beside = folder / f"adapt_{file.name}"
    beside.write_text(text)
    return text, f"{beside}:adapted"


@pytest.mark.parametrize("style", WRITTEN)
def test_an_adapter_that_needs_no_edit_is_right(style: str, tmp_path: Path) -> None:
    source, name, stages = WRITTEN[style]
    text, spec = adapted(tmp_path, source, name)
    assert UNKNOWN not in text
    report = judge(spec, "quick", 0, beside=False)
    assert report.passed, str(report)
    assert {c.stage for c in report.checks} >= set(stages)


def test_a_mistake_is_found_through_it(tmp_path: Path) -> None:
    assert HALF in MODULE
    source = MODULE.replace(HALF, '"size", 0.5 * (betas')
    _, spec = adapted(tmp_path, source, "GaussianDiffusion")
    report = judge(spec, "quick", 0, beside=False, only="variance")
    assert report.exit_status == 1
    assert {d.stage for d in report.diagnoses} == {"variance"}, str(report)


SHORT_NAMES = """
from torch import nn
class Trainer(nn.Module):
    def __init__(self, net, T=1000):
        self.net = net
        self.register_buffer("ab", torch.cumprod(1 - beta, 0))
    def forward(self, x0):
        return ((self.net(x0, t) - v) ** 2).mean()
"""
ALONE = """
betas = torch.linspace(1e-4, 0.02, 1000)
def helper(timesteps): return timesteps
def p2_loss(model, x_start): return w * F.mse_loss(model(x_start + noise, t), noise)
def ancestral(x_t, t, eps_pred): return x_t
def sample(model, n, timesteps=100): ...
"""


def test_a_class_is_preferred_to_a_function_of_its_tables_alone() -> None:
    source = f"def linear_beta_schedule(timesteps): ...{SHORT_NAMES}"
    text = adapter(Path("mine.py"), "", source)
    assert "from mine import Trainer" in text
    assert "alpha_bar=lambda: made().ab," in text
    assert "loss=lambda model, x_0, generator: made(model).forward(x_0)," in text
    assert UNKNOWN not in text
    of_betas = adapter(Path("mine.py"), "linear_beta_schedule", source)
    assert "mine.linear_beta_schedule(timesteps=T)" in of_betas


def test_functions_are_known_by_what_they_take_and_betas_are_a_table() -> None:
    text = adapter(Path("mine.py"), "", ALONE)
    assert "alpha_bar=lambda: (1 - torch.as_tensor(mine.betas)).cumprod(0)," in text
    assert "loss=lambda model, x_0, generator: mine.p2_loss(model, x_0)," in text
    assert "\nBETAS = " not in adapter(Path("mine.py"), "", ALONE.replace("betas", "BETAS"))
    assert "step=lambda out, t, x: mine.ancestral(x, t, out)," in text


def test_how_many_steps_a_loop_makes_by_default_is_its_own() -> None:
    assert "mine.sample(model, shape[0])," in adapter(Path("mine.py"), "sample", ALONE)


def test_where_no_name_says_which_table_it_goes_by_there_is_a_place_for_it() -> None:
    place = "        # alpha_bar=lambda: YOURS,  # if it is not that of linear betas 1e-4..0.02"
    text = adapter(Path("mine.py"), "", ALONE.replace("betas =", "wobble ="))
    assert place in text.splitlines()
    assert UNKNOWN not in text  # it is judged by the usual one
    assert place not in adapter(Path("mine.py"), "", ALONE)


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        (ALONE, 'mine = import_module("my-ddpm")'),
        (SHORT_NAMES, 'Trainer = import_module("my-ddpm").Trainer'),
    ],
)
def test_a_file_whose_name_is_no_word_of_python_is_imported_by_it(source: str, lines: str) -> None:
    text = adapter(Path("my-ddpm.py"), "", source)
    ast.parse(text)
    assert lines in text.splitlines()


def test_what_no_name_says_is_left_open(tmp_path: Path) -> None:
    source = (
        "class A:\n def __init__(self, mood): ...\n def q_sample(self, x, t, how, *, deep): ..."
    )
    text, _ = adapted(tmp_path, source, "A")
    ast.parse(text)
    assert text.startswith("# ... is what no name says")
    assert "made = A(mood=...)" in text
    assert "add_noise=lambda x_0, t: made.q_sample(x_0, t, ..., deep=...)" in text


@pytest.mark.parametrize(
    ("source", "name", "said"),
    [
        ("class Diffusion:\n def q_sample(self, x, t): ...", "Difusion", "did you mean Diffusion?"),
        ("def train(data): ...\ndef main(): ...", "", "as a part of a DDPM is: train, main"),
        ("x = 1", "", "no functions"),
        ("def f(): ...", "f", "mine.py:f has nothing called"),
        ("alpha_bar = T\ndef noise(): ...", "noise", "mine.py:noise has nothing called"),
    ],
)
def test_what_cannot_be_adapted_is_one_line(source: str, name: str, said: str) -> None:
    with pytest.raises(ValueError, match=r"no class|nothing") as refused:
        adapter(Path("mine.py"), name, source)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


LOOPS = """
import torch
noise_steps = 50

def sample(model, n, shape=(1, 28, 28)):
    return model(torch.randn(n, *shape), 0)

def generate(net, num_images=4, channels=1, size=28):
    return net(torch.randn(num_images, channels, size, size), 0)
"""


def test_a_loop_that_takes_a_count_is_handed_the_shape_of_one_picture() -> None:
    text = adapter(Path("loops.py"), "sample", LOOPS)
    assert "mine.sample(model, shape[0], shape=shape[1:])" in text
    text = adapter(Path("loops.py"), "generate", LOOPS)
    assert "channels=shape[1], size=shape[-1])" in text


def test_a_module_of_one_loss_is_known_by_what_its_tables_are_made_of() -> None:
    source = """
import torch
from torch import nn

class Trainer(nn.Module):
    def __init__(self, net, T=60):
        super().__init__()
        self.net, self.T = net, T
        self.register_buffer("ab", torch.cumprod(1 - torch.linspace(1e-3, 0.2, T), 0))

    def forward(self, x0):
        t = torch.randint(self.T, (len(x0),))
        ab, e = self.ab[t].reshape(-1, 1, 1, 1), torch.randn_like(x0)
        return (self.net(ab.sqrt() * x0 + (1 - ab).sqrt() * e, t) - e).square().mean()
"""
    text = adapter(Path("trainer.py"), "Trainer", source)
    assert "alpha_bar=lambda: made().ab" in text
    assert "made(model).forward(x_0)" in text


@pytest.mark.parametrize(("name", "said"), [("predicted_noise", True), ("out", False)])
def test_what_a_step_s_parameter_says_of_its_output_stays_said(name: str, said: bool) -> None:
    """Its own name is hidden behind the role's."""
    step = f"def p_sample(x, t, {name}): return diffusion_step(x, t, {name})\n"
    text = adapter(Path("mine.py"), "", step)
    assert ('prediction_type="epsilon"' in text) == said


HANDED = """
import torch

def q_sample(x_0, t, alphas_bar_sqrt, one_minus_alphas_bar_sqrt, noise):
    a, b = (v[t].view(-1, 1, 1, 1) for v in (alphas_bar_sqrt, one_minus_alphas_bar_sqrt))
    return a * x_0 + b * noise

def p_sample(model, x, t, alphas, posterior_mean_coef1, posterior_mean_coef2, posterior_variance,
             sqrt_recip_alphas_cumprod, sqrt_recipm1_alphas_cumprod):
    x_0 = sqrt_recip_alphas_cumprod[t] * x - sqrt_recipm1_alphas_cumprod[t] * model(x, t)
    mean = posterior_mean_coef1[t] * x_0 + posterior_mean_coef2[t] * x
    return mean + posterior_variance[t].sqrt() * torch.randn_like(x)

def p_sample_loop(model, shape, n_steps, betas, alphas_hat, alphas_hat_prev, sqrt_alphas):
    x = torch.randn(shape)
    for t in reversed(range(n_steps)):
        eps = model(x, torch.full((shape[0],), t))
        x = (x - betas[t] / (1 - alphas_hat[t]).sqrt() * eps) / sqrt_alphas[t]
        if t > 0:
            var = betas[t] * (1 - alphas_hat_prev[t]) / (1 - alphas_hat[t])
            x = x + var.sqrt() * torch.randn_like(x)
    return x
"""


@pytest.mark.parametrize("name", each(3, ["q_sample", "p_sample_loop", "p_sample"]))
def test_tables_that_a_function_is_handed_are_made_of_betas(name: str, tmp_path: Path) -> None:
    file = tmp_path / f"handed_{name}.py"
    file.write_text(HANDED)
    text = adapter(file, name, HANDED)
    assert UNKNOWN not in text
    assert "BETAS = torch.linspace(1e-4, 0.02, T)" in text
    assert ("PREV = " in text) == (name != "q_sample")
    report = judge(f"{file}:{name}", "quick", 0, beside=False)
    assert report.passed, report.verdict
    wrong = file.with_name(f"wrong_{name}.py")
    slips = {  # {function: (what is written, what is wrong)}
        "q_sample": ("a * x_0 + b", "b * x_0 + a"),
        "p_sample": ("posterior_variance[t].sqrt()", "posterior_variance[t]"),
        "p_sample_loop": ("(1 - alphas_hat[t]).sqrt() * eps", "(1 - alphas_hat[t]) * eps"),
    }
    assert slips[name][0] in HANDED
    wrong.write_text(HANDED.replace(*slips[name]))
    assert judge(f"{wrong}:{name}", "quick", 0, beside=False).diagnoses


@pytest.mark.parametrize(
    ("asked", "given"),
    [("total_steps=200", "T = 200"), ("network, criterion", "criterion=torch.nn.functional.mse")],
)
def test_a_class_is_built_with_what_its_parameters_are_called(asked: str, given: str) -> None:
    text = f"""
class Diffusion:
    def __init__(self, {asked}):
        self.alphas_hat = make()

    def q_sample(self, x_0, t, noise):
        return mix(self.alphas_hat[t], x_0, noise)

    def loss(self, model, x_0, t):
        return (model(self.q_sample(x_0, t, torch.randn_like(x_0)), t) - x_0).mean()
"""
    found = adapter(Path("mine.py"), "Diffusion", text)
    assert given in found
    assert ".alphas_hat," in found


def test_a_step_of_a_training_is_led_to_a_loss_of_its_own() -> None:
    text = "def train_step(model, opt, x):\n    loss = f(model(x))\n    loss.backward()\n"
    with pytest.raises(ValueError, match="train_step goes on to change weights: give its loss"):
        adapter(Path("mine.py"), "", text)
    with pytest.raises(ValueError, match=r"is: helper$"):
        adapter(Path("mine.py"), "", "def helper(x):\n    return x\n")
