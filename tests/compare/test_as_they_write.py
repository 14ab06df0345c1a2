"""Right programs that were blamed or left open for how they are written, each with a slip."""

from pathlib import Path

import pytest

from tests.compare.written import Slip, judged_file

TABLES = """import torch
import math

T = 60
betas = torch.linspace(1e-3, 0.15, T)
alphas_cumprod = torch.cumprod(1 - betas, 0)
"""
MEAN = "(x - betas[t] / (1 - alphas_cumprod[t]).sqrt() * eps) / (1 - betas[t]).sqrt()"
LOOP = f"""
    for t in reversed(range(T)):
        eps = model(x, torch.full((len(x),), t))
        x = {MEAN}
        if t > 0:
            x = x + betas[t].sqrt() * torch.randn_like(x)
"""
MIX = "a.sqrt() * x0 + (1 - a).sqrt() * noise"
SLIP = ("betas[t].sqrt() * torch", "0.8 * betas[t].sqrt() * torch", "your z has 0.8 * sqrt(beta_t)")
LESS = (
    "(1 - a).sqrt() * noise",
    "0.8 * (1 - a).sqrt() * noise",
    "your noise has 0.8 * sqrt(1 - ab",
)
NOISED = """
    if noise is None:
        noise = torch.randn_like(x0)
    a = alphas_cumprod[t].view(-1, 1, 1, 1)
"""
PROGRAMS = {
    "x_T is handed over": Slip(
        TABLES + f"\ndef chain(model, x_T):\n    x = x_T{LOOP}    return x\n", "chain", *SLIP
    ),
    "a dict with more pictures than one": Slip(
        TABLES
        + f"\ndef sample(model, shape):\n    x = torch.randn(shape){LOOP}"
        + '    return {"sample": x, "eps": eps}\n',
        "sample",
        *SLIP,
    ),
    "one letter that is no number of pictures": Slip(
        TABLES
        + "\ndef sample(model, shape, b=None):\n    b = betas if b is None else b\n"
        + f"    x = torch.randn(shape){LOOP}    return x\n",
        "sample",
        *SLIP,
    ),
    "noise may be handed over": Slip(
        TABLES + f"\ndef spoilt(x0, t, noise=None):{NOISED}    return {MIX}\n", "spoilt", *LESS
    ),
    "behind what else it may be told": Slip(
        TABLES
        + f'\ndef q_sample(x0, t, device="cpu", noise=None):{NOISED}    return {MIX}, noise\n',
        "q_sample",
        *LESS,
    ),
    "a pair in a pair": Slip(
        TABLES + f"\ndef noisify(x0, t, noise=None):{NOISED}    return ({MIX}, t), noise\n",
        "noisify",
        *LESS,
    ),
    "t from 1 to T": Slip(
        TABLES
        + "\ndef spoilt(x0, t, noise=None):\n    if noise is None:\n"
        + "        noise = torch.randn_like(x0)\n"
        + f"    a = alphas_cumprod.gather(0, t - 1).view(-1, 1, 1, 1)\n    return {MIX}\n",
        "spoilt",
        *LESS,
    ),
    "t = 0 is the picture": Slip(
        TABLES
        + "\nlevels = torch.cat([torch.ones(1), alphas_cumprod]).tolist()\n"
        + "\ndef spoilt(x0, t, noise=None):\n    if noise is None:\n"
        + "        noise = torch.randn_like(x0)\n"
        + f"    a = torch.tensor(levels)[t].view(-1, 1, 1, 1)\n    return {MIX}\n",
        "spoilt",
        *LESS,
    ),
    "tables that are lists": Slip(
        """import math
import torch

class Lists:
    def __init__(self, T=40):
        self.beta = [0.001 + 0.2 * i / (T - 1) for i in range(T)]
        self.abar = [math.prod(1 - b for b in self.beta[: i + 1]) for i in range(T)]

    def add_noise(self, x0, noise, t):
        return math.sqrt(self.abar[t]) * x0 + math.sqrt(1 - self.abar[t]) * noise
""",
        "Lists",
        "math.sqrt(1 - self.abar[t]) * noise",
        "(1 - self.abar[t]) * noise",
        "your noise has 1 - ab_t",
    ),
    "a loss beside what else it found": Slip(
        TABLES
        + "\ndef loss(model, x0):\n    t = torch.randint(0, T, (len(x0),))\n"
        + "    noise = torch.randn_like(x0)\n    a = alphas_cumprod[t].view(-1, 1, 1, 1)\n"
        + f'    return ((model({MIX}, t) - noise) ** 2).mean(), {{"t": t}}\n',
        "loss",
        "(1 - a).sqrt() * noise",
        "(1 - a) * noise",
        "your noise in x_t has 1 - ab_t",
    ),
    "a step whose noise may be handed over": Slip(
        TABLES
        + "\ndef reverse_step(x, eps_hat, t, noise=None):\n    t, eps = int(t), eps_hat\n"
        + "    noise = torch.randn_like(x) if noise is None else noise\n"
        + f"    return {MEAN} + (t > 0) * betas[t].sqrt() * noise\n",
        "reverse_step",
        "betas[t].sqrt() * noise",
        "0.8 * betas[t].sqrt() * noise",
        "your z has 0.8 * sqrt(beta_t)",
    ),
    "x_n and its n": Slip(
        TABLES
        + "\ndef once(x_n, n, eps_pred):\n    t, x, eps = int(n), x_n, eps_pred\n"
        + f"    return {MEAN} + (t > 0) * betas[t].sqrt() * torch.randn_like(x)\n",
        "once",
        *SLIP,
    ),
    "a table that has the name of a number": Slip(
        TABLES
        + "\ndef sample(model, shape, b=betas):\n    x = torch.randn(shape)"
        + LOOP.replace("* torch", "* torch.ones(b.shape[0])[0] * torch")
        + "    return x\n",
        "sample",
        "betas[t].sqrt() * torch",
        "0.8 * betas[t].sqrt() * torch",
        "your z has 0.8 * sqrt(beta_t)",
    ),
    "a step that is handed a guess": Slip(
        TABLES
        + """
class Points:
    def __init__(self, model):
        self.model, self.alphas_cumprod = model, alphas_cumprod

    def denoise(self, x, t, guess, noise=None):
        a, p = alphas_cumprod[t], alphas_cumprod[t - 1] if t > 0 else torch.tensor(1.0)
        mean = p.sqrt() * betas[t] / (1 - a) * guess
        mean = mean + (1 - betas[t]).sqrt() * (1 - p) / (1 - a) * x
        noise = torch.randn_like(x) if noise is None else noise
        return mean + (betas[t] * (1 - p) / (1 - a)).sqrt() * noise

    def sample(self, n):
        x = torch.randn(n, 2)
        for t in reversed(range(T)):
            x = self.denoise(x, t, self.model(x, torch.full((n,), t)))
        return x
""",
        "Points",
        "mean = p.sqrt() *",
        "mean = 0.9 * p.sqrt() *",
        "your x0-hat has 0.9 * sqrt(ab_prev) * beta_t / (1 - ab_t)",
    ),
    "a word for what its model predicts": Slip(
        TABLES
        + """
class Says:
    def __init__(self, predict="epsilon"):
        assert predict in ("epsilon", "xstart")
        self.predict, self.alphas_cumprod = predict, alphas_cumprod

    def q_sample(self, x_start, t, noise):
        a = alphas_cumprod[t].view(-1, 1, 1, 1)
        return a.sqrt() * x_start + (1 - a).sqrt() * noise

    def p_sample_loop(self, model, shape):
        x = torch.randn(shape)"""
        + LOOP.replace("\n", "\n    ")
        + "    return x\n",
        "Says",
        *SLIP,
    ),
    "some of its steps, under another name": Slip(
        TABLES
        + """
class Some:
    def __init__(self, n=12):
        self.alphas_cumprod = alphas_cumprod
        self.steps = torch.linspace(0, T - 1, n).round().long().tolist()[::-1]

    def step(self, eps, t, x):
        s = max((s for s in self.steps if s < t), default=-1)
        a, p = alphas_cumprod[int(t)], alphas_cumprod[s] if s >= 0 else torch.tensor(1.0)
        x0 = (x - (1 - a).sqrt() * eps) / a.sqrt()
        return p.sqrt() * x0 + (1 - p).sqrt() * eps
""",
        "Some",
        "+ (1 - p).sqrt()",
        "+ 0.9 * (1 - p).sqrt()",
        "your eps has 0.9 * sqrt(1 - ab_prev)",
    ),
    "a step that is handed its place in a list": Slip(
        TABLES
        + """
class Places:
    def __init__(self, n=12):
        self.alphas_cumprod, self.n = alphas_cumprod, n
        self.grid = torch.linspace(T - 1, 0, n).round().long().tolist()

    def step(self, x, eps, i):
        a = alphas_cumprod[self.grid[i]]
        p = alphas_cumprod[self.grid[i + 1]] if i + 1 < self.n else torch.tensor(1.0)
        x0 = (x - (1 - a).sqrt() * eps) / a.sqrt()
        return p.sqrt() * x0 + (1 - p).sqrt() * eps

    def sample(self, net, shape):
        x = torch.randn(shape)
        for i, t in enumerate(self.grid):
            x = self.step(x, net(x, torch.full((len(x),), t)), i)
        return x
""",
        "Places",
        "+ (1 - p).sqrt()",
        "+ 0.9 * (1 - p).sqrt()",
        "your eps has 0.9 * sqrt(1 - ab_prev)",
    ),
    "a loop that calls the output x0": Slip(
        TABLES
        + """
def ancestral(f, shape):
    x = torch.randn(shape)
    for t in reversed(range(T)):
        x0 = f(x, torch.full((len(x),), t))
        a, p = alphas_cumprod[t], alphas_cumprod[t - 1] if t > 0 else torch.tensor(1.0)
        x = p.sqrt() * betas[t] / (1 - a) * x0 + (1 - betas[t]).sqrt() * (1 - p) / (1 - a) * x
        x = x + (betas[t] * (1 - p) / (1 - a)).sqrt() * torch.randn_like(x)
    return x
""",
        "ancestral",
        "x = p.sqrt() * betas",
        "x = a.sqrt() * betas",
        "the coefficient of x0-hat has sqrt(ab), should be sqrt(ab_prev)",
    ),
    "a weighted loss of v": Slip(
        TABLES
        + "\ndef loss(model, x0):\n    t = torch.randint(0, T, (len(x0),))\n"
        + "    noise = torch.randn_like(x0)\n    a = alphas_cumprod[t].view(-1, 1, 1, 1)\n"
        + f"    out = model({MIX}, t)\n    v = a.sqrt() * noise - (1 - a).sqrt() * x0\n"
        + "    snr = (a / (1 - a)).flatten()\n    weight = snr.clamp(max=5.0) / (snr + 1)\n"
        + "    return (weight * ((out - v) ** 2).mean(dim=(1, 2, 3))).mean()\n",
        "loss",
        "(snr + 1)",
        "snr",
        "min-SNR's weight is that for a model that predicts the noise",
    ),
    "an angle that float32 rounds": Slip(
        """import torch

phi = torch.linspace(0.08, 1.53, 20, dtype=torch.float64)
alphas_cumprod = torch.cos(phi) ** 2

def add_noise(x0, t, noise):
    angle = phi[t].to(x0.dtype).view(-1, 1, 1, 1)
    return angle.cos() * x0 + angle.sin() * noise
""",
        "add_noise",
        "angle.sin() * noise",
        "0.8 * angle.sin() * noise",
        "your noise has 0.8 * sqrt(1 - ab",
    ),
    "1-D signals (batch, channels, length)": Slip(
        '"""1-D signals, z-scored per channel"""\n'
        + TABLES
        + "\ndef corrupt(x0, t, noise):\n    a = alphas_cumprod[t][:, None, None]\n"
        + f"    return {MIX}\n",
        "corrupt",
        *LESS,
    ),
    "a loss whose noise is that of the step before": Slip(
        TABLES
        + "\nnoisy = (1 - torch.cat([torch.ones(1), alphas_cumprod])).sqrt()\n"
        + "\ndef ddpm_loss(model, x0):\n    t = torch.randint(0, T, (len(x0),))\n"
        + "    noise = torch.randn_like(x0)\n    a = alphas_cumprod[t].view(-1, 1, 1, 1)\n"
        + "    x = a.sqrt() * x0 + noisy[t + 1].view(-1, 1, 1, 1) * noise\n"
        + "    return ((model(x, t) - noise) ** 2).mean()\n",
        "ddpm_loss",
        "noisy[t + 1]",
        "noisy[t]",
        "differs from the papers in loss: your noise in x_t has sqrt(1 - ab[t - 1])",
    ),
    "a step alone that asks a model": Slip(
        TABLES
        + "\ndef shag_nazad(model, xt, t):\n    b = betas[t].view(-1, 1, 1, 1)\n"
        + "    a = alphas_cumprod[t].view(-1, 1, 1, 1)\n"
        + "    mean = (xt - b / (1 - a).sqrt() * model(xt, t)) / (1 - b).sqrt()\n"
        + "    return mean + (t > 0).view(-1, 1, 1, 1) * b.sqrt() * torch.randn_like(xt)\n",
        "shag_nazad",
        "b / (1 - a).sqrt() *",
        "b / ((1 - a).sqrt() + 0.05) *",
        "your model output has -beta_t / (sqrt(1 - ab_t) + 0.05)",
    ),
    "signals of a batch and a length": Slip(
        TABLES
        + "\ndef generate(net, batch, length, channels=1):\n"
        + f"    model, x = net, torch.randn(batch, channels, length){LOOP}    return x\n",
        "generate",
        *SLIP,
    ),
    "noise by a function of its own": Slip(
        TABLES
        + "\ndef normal(shape, rng):\n    return torch.randn(shape, generator=rng)\n"
        + "\ndef sample_loop(model, shape, rng=None):\n"
        + f"    x = normal(shape, rng){LOOP}    return x\n".replace(
            "torch.randn_like(x)", "normal(x.shape, rng)"
        ),
        "sample_loop",
        "betas[t].sqrt() * normal",
        "0.8 * betas[t].sqrt() * normal",
        "your z has 0.8 * sqrt(beta_t)",
    ),
    "a loop whose coefficients come in a row": Slip(
        TABLES
        + """
def parts(n):
    a, p = alphas_cumprod[n], alphas_cumprod[n - 1] if n else torch.ones(())
    b, rest = betas[n], 1 - alphas_cumprod[n]
    return p.sqrt() * b / rest, (1 - b).sqrt() * (1 - p) / rest, b * (1 - p) / rest

def chain(f, shape):
    x = torch.randn(*shape)
    for n in range(T - 1, -1, -1):
        x0 = f(x, torch.full((shape[0],), n))
        first, second, var = parts(n)
        x = first * x0 + second * x + var.sqrt() * torch.randn_like(x)
    return x
""",
        "chain",
        "return p.sqrt()",
        "return 0.9 * p.sqrt()",
        "your x0-hat has 0.9 *",
    ),
    "a loss whose default word says x0": Slip(
        TABLES
        + '\ndef loss(net, x0, kind="x0"):\n    t = torch.randint(0, T, (len(x0),))\n'
        + "    noise = torch.randn_like(x0)\n    a = alphas_cumprod[t].view(-1, 1, 1, 1)\n"
        + f'    return ((net({MIX}, t) - (x0 if kind == "x0" else noise)) ** 2).mean()\n',
        "loss",
        "(1 - a).sqrt() * noise",
        "(1 - a) * noise",
        "your noise in x_t has 1 - ab_t",
    ),
    "one-dimensional signals": Slip(
        '"""Signals (batch, channels, length)."""\n'
        + TABLES
        + "\ndef contaminate(x0, t, noise):\n    a = alphas_cumprod[t][:, None, None]\n"
        + f"    return {MIX}\n",
        "contaminate",
        *LESS,
    ),
    "an int beside noise that may be none": Slip(
        TABLES
        + "\nfrom typing import Optional\n"
        + "\ndef q_sample(x0: torch.Tensor, t: int, noise: Optional[torch.Tensor] = None):\n"
        + "    if noise is None:\n        noise = torch.randn_like(x0)\n"
        + "    a = alphas_cumprod[t]\n"
        + f"    return {MIX}\n",
        "q_sample",
        *LESS,
    ),
    "a loss that says v": Slip(
        TABLES
        + "\ndef v_loss(model, x0):\n    t = torch.randint(0, T, (len(x0),))\n"
        + "    noise = torch.randn_like(x0)\n    a = alphas_cumprod[t].view(-1, 1, 1, 1)\n"
        + "    wanted = a.sqrt() * noise - (1 - a).sqrt() * x0\n"
        + f"    return ((model({MIX}, t) - wanted) ** 2).mean()\n",
        "v_loss",
        "- (1 - a).sqrt() * x0",
        "- (1 - a) * x0",
        "your x_0 in the target has -(1 - ab_t)",
    ),
}


@pytest.mark.parametrize("what", PROGRAMS)
def test_it_is_right_and_its_slip_is_told(what: str, tmp_path: Path) -> None:
    PROGRAMS[what].judged(tmp_path)


SCHEDULER = (
    TABLES
    + """
class Words:
    def __init__(self, variance_type="fixed_small"):
        self.variance_type, self.alphas_cumprod = variance_type, alphas_cumprod

    def step(self, model_output, timestep, sample):
        t, eps, x = int(timestep), model_output, sample
        b, a = betas[t], alphas_cumprod[t]
        p = alphas_cumprod[t - 1] if t > 0 else torch.tensor(1.0)
        variance = b if self.variance_type == "fixed_large" else b * (1 - p) / (1 - a)
        mean = (x - b / (1 - a).sqrt() * eps) / (1 - b).sqrt()
        return mean + (t > 0) * variance.sqrt() * torch.randn_like(x)
"""
)


def test_words_of_a_variance_that_no_code_has_are_not_judged(tmp_path: Path) -> None:
    """`learned` is taken by a class that takes any word, and means nothing to it."""
    report = judged_file(tmp_path, "Words", SCHEDULER)
    assert report.exit_status == 0, str(report)
    assert "learned_range" in report.conventions["variance_type"]
    wrong = SCHEDULER.replace("variance = b if", "variance = 2 * b if")  # a word that it has
    assert "sqrt(2) * sqrt(beta_t)" in str(judged_file(tmp_path, "Words", wrong))


def test_words_that_mean_what_any_other_means_are_not_judged(tmp_path: Path) -> None:
    """One word is asked for, and whatever else is said is the other."""
    other = SCHEDULER.replace(
        'b if self.variance_type == "fixed_large" else b * (1 - p) / (1 - a)',
        'b * (1 - p) / (1 - a) if self.variance_type == "fixed_small" else b',
    )
    report = judged_file(tmp_path, "Words", other)
    assert report.exit_status == 0, str(report)
    assert "learned_range" in report.conventions["variance_type"]
    wrong = other.replace("variance = b *", "variance = 2 * b *")
    assert judged_file(tmp_path, "Words", wrong).exit_status == 1


OF_X_0 = """
class Lists:
    def __init__(self, T=60):
        self.T, self.alphas_cumprod = T, alphas_cumprod
        self.set_timesteps(T)

    def set_timesteps(self, num_inference_steps):
        self.stride = self.T // num_inference_steps
        self.timesteps = torch.arange(self.T - 1, -1, -self.stride)

    def step(self, model_output, timestep, sample):
        t, out, x = int(timestep), model_output, sample
        before = t - self.stride
        a, p = alphas_cumprod[t], alphas_cumprod[before] if before >= 0 else torch.tensor(1.0)
        eps = (x - a.sqrt() * out) / (1 - a).sqrt()
        return {"prev_sample": p.sqrt() * out + (1 - p).sqrt() * eps, "pred_original_sample": out}
"""


def test_x_0_that_is_shown_says_what_a_wrong_step_takes_the_output_for(tmp_path: Path) -> None:
    """And a list whose number does not divide T is told by the one that it is where it does."""
    wrong = OF_X_0.replace("a.sqrt() * out) /", "0.9 * a.sqrt() * out) /")
    report = judged_file(tmp_path, "Lists", TABLES + wrong)
    assert report.conventions["prediction"].startswith("sample")
    assert "the model output is taken for x0-hat" not in str(report)
    assert "timesteps: trailing: wrong for" in str(report)


def test_a_weighted_loss_of_x_0_draws_no_noise_again(tmp_path: Path) -> None:
    """Both cost as much: the squares of what they compare with are as large."""
    report = judged_file(
        tmp_path,
        "objective",
        TABLES
        + "\nsnr = alphas_cumprod / (1 - alphas_cumprod)\n"
        + "\ndef objective(model, x0):\n    t = torch.randint(0, T, (len(x0),))\n"
        + "    noise = torch.randn_like(x0)\n    a = alphas_cumprod[t].view(-1, 1, 1, 1)\n"
        + f"    off = (model({MIX}, t) - x0) ** 2\n"
        + "    return (snr[t].clamp(max=5.0) * off.mean(dim=(1, 2, 3))).mean()\n",
    )
    assert report.exit_status == 2, str(report)
    assert "with a model that predicts sample it is right" in str(report)
    assert "drawn again" not in str(report)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        pytest.param("x0 = 2 * x0 - 1", "with pictures in [0, 1] it is right", id="maps"),
        pytest.param("x0 = torch.cat([x0, x0])", "each image 2 times, which is not", id="twice"),
    ],
)
def test_a_loss_alone_that_may_be_right_is_left_open(line: str, said: str, tmp_path: Path) -> None:
    """Its pictures may come in [0, 1], or be mapped twice (mistake 36): no loop says."""
    loss = PROGRAMS["a loss beside what else it found"].text.replace(
        "def loss(model, x0):\n", f"def loss(model, x0):\n    {line}\n"
    )
    report = judged_file(tmp_path, "loss", loss)
    assert report.exit_status == 2, str(report)
    assert said in str(report)


def test_a_method_is_no_function_alone(tmp_path: Path) -> None:
    report = judged_file(tmp_path, "Words.step", SCHEDULER)
    assert report.exit_status == 2
    assert "is a method: judge its class, " in str(report)


STRETCHED = """import torch

class Stretched:
    def __init__(self, num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02):
        k = 1000 / num_train_timesteps
        betas = torch.linspace(k * beta_start, k * beta_end, num_train_timesteps)
        self.alphas_cumprod = torch.cumprod(1 - betas, 0)
"""


def test_betas_may_be_as_many_times_larger_as_there_are_fewer_steps(tmp_path: Path) -> None:
    """As in the code of Nichol & Dhariwal; another factor is none that is known."""
    assert judged_file(tmp_path, "Stretched", STRETCHED).exit_status == 0
    other = STRETCHED.replace("k = 1000 /", "k = 1400 /")
    assert judged_file(tmp_path, "Stretched", other).exit_status == 1
