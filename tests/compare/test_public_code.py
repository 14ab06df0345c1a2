"""What public code and further strangers wrote, each as its smallest program: right ones with what
is said of them, and slips with what names them."""

from pathlib import Path

import pytest

from compare import run
from compare.candidate.text.listed import told
from tests.compare.written import judged_file

HEAD = """
import torch
from torch.nn import functional as F

T = 60
betas = torch.linspace(1e-3, 0.2, T)
alpha_bar = (1 - betas).cumprod(0)
"""
TABLES = """
class Sched:
    def __init__(self):
        self.betas = betas
        self.alphas_cumprod = alpha_bar
"""
SPREAD = (
    TABLES
    + """
    def add_noise(self, x0, noise, timesteps):
        a = self.alphas_cumprod[timesteps].view(-1, AXES)
        return a**0.5 * x0 + (1 - a) ** 0.5 * noise
"""
)
OF_BETA = (
    TABLES
    + """
        self.posterior_variance = VARIANCE

    def step(self, eps, t, x):
        b, a = self.betas[t], self.alphas_cumprod[t]
        mean = (x - b / (1 - a) ** 0.5 * eps) / (1 - b) ** 0.5
        return mean + (t > 0) * self.posterior_variance[t] ** 0.5 * torch.randn_like(x)
"""
)
COSINE = """
class Sched:
    def __init__(self, num_train_timesteps=1000, beta_schedule="cosine"):
        u = torch.linspace(0, num_train_timesteps, num_train_timesteps + 1) / num_train_timesteps
        f = torch.cos((u + 0.008) / 1.008 * torch.pi / 2) ** 2
        self.betas = (1 - f[1:] / f[:-1]).clamp(KEPT)
        self.alphas_cumprod = (1 - self.betas).cumprod(0)
"""
WORDS = (
    TABLES.replace("(self)", '(self, prediction_type="epsilon")')
    + """
        self.prediction_type = prediction_type

    def step(self, out, t, x):
        b, a = self.betas[t], self.alphas_cumprod[t]
        p = self.alphas_cumprod[t - 1] if t > 0 else torch.tensor(1.0)
        if self.prediction_type == "epsilon":
            x0 = (x - (1 - a) ** 0.5 * out) / a**0.5
        elif self.prediction_type == "x0":
            x0 = RETURNED
        else:
            raise NotImplementedError(f"Unknown prediction_type: {self.prediction_type}")
        mean = p**0.5 * b / (1 - a) * x0 + (1 - b) ** 0.5 * (1 - p) / (1 - a) * x
        return mean + (b * (1 - p) / (1 - a)) ** 0.5 * torch.randn_like(x)
"""
)
LOSS = """
def loss(model, x0):
    t, noise = torch.randint(0, T, (len(x0),)), torch.randn_like(x0)
    a = alpha_bar[t].view(-1, 1, 1, 1)
    return COST(model(a.sqrt() * x0 + (1 - a).sqrt() * noise, t), noise)
"""
LOOP = """
@torch.no_grad()
def sample(model, n):
    model.MODE()
    x = torch.randn(n, 3, 8, 8)
    for i in reversed(range(T)):
        b, a = betas[i], alpha_bar[i]
        p = alpha_bar[i - 1] if i else torch.ones(())
        x = (x - b / (1 - a).sqrt() * model(x, torch.full((n,), i))) / (1 - b).sqrt()
        x = x + SIZE * (b * (1 - p) / (1 - a)).sqrt() * torch.randn_like(x) if i else x
    return x
"""
LIMITED = """
def loss(model, x0):
    t, noise = torch.randint(0, T, (len(x0),)), torch.randn_like(x0)
    a = alpha_bar[t].view(-1, 1, 1, 1)
    x_start = model(a.sqrt() * x0 + (1 - a).sqrt() * noise, t).clamp(-1, 1)
    return F.mse_loss(x_start, x0)
"""
FACTORY = """
def make(T=60):
    alphas_cumprod = (1 - torch.linspace(1e-3, 0.2, T)).cumprod(0)

    def at(t):
        return alphas_cumprod[t].view(-1, 1, 1, 1)

    def loss_fn(model, x0):
        t, noise = torch.randint(0, T, (len(x0),)), torch.randn(DRAWN)
        x_t = at(t).sqrt() * x0 + (1 - at(t)).sqrt() * noise
        return F.mse_loss(model(x_t, t), noise.expand_as(x0))

    return loss_fn, T

loss, steps = make()
"""
TRAINER = """
class EMA:
    def __init__(self, model): self.shadow = model
    def update(self, model): ...

class Trainer:
    def __init__(self, model):
        self.model, self.ema, self.alpha_bar = model, EMA(model), alpha_bar

    def compute_loss(self, x0, y):
        drop = torch.rand(len(y)) < 0.1
        y = torch.where(drop, DROPPED)
        t, noise = torch.randint(0, T, (len(x0),)), torch.randn_like(x0)
        a = self.alpha_bar[t].view(-1, 1, 1, 1)
        return F.mse_loss(self.model(a.sqrt() * x0 + (1 - a).sqrt() * noise, t, y), noise)

    @torch.no_grad()
    def sample(self, n, y=None, cfg_scale=0.0):
        x = torch.randn(n, 3, 8, 8)
        for i in reversed(range(T)):
            t = torch.full((n,), i)
            eps = self.model(x, t, y)
            if cfg_scale > 0 and y is not None:
                eps = (1 + cfg_scale) * eps - cfg_scale * self.model(x, t, None)
            x = (x - betas[i] / (1 - alpha_bar[i]).sqrt() * eps) / (1 - betas[i]).sqrt()
            x = x + betas[i].sqrt() * torch.randn_like(x) if i else x
        return x
"""
BETAS_AS_B = """
def compute_alpha(beta, t):
    beta = torch.cat([torch.zeros(1), beta])
    return (1 - beta).cumprod(0).index_select(0, t + 1).view(-1, 1, 1, 1)

def generalized_steps(x, seq, model, b):
    xs, after = [x], [-1] + list(seq[:-1])
    for i, j in zip(reversed(seq), reversed(after)):
        t, s = (torch.ones(len(x)) * i).long(), (torch.ones(len(x)) * j).long()
        at, at_next = compute_alpha(b, t), compute_alpha(b, s)
        with torch.no_grad():
            et = model(xs[-1], t)
        x0 = (xs[-1] - et * (1 - at).sqrt()) / at.sqrt()
        xs.append(at_next.sqrt() * x0 + (ALONG).sqrt() * et)
    return xs
"""
COSINE_IN_FLOAT32 = """
def cosine(T, s=0.008):
    at = (torch.arange(T + 1, dtype=torch.float64) / T + s) / (1 + s)
    f = torch.cos(at * torch.pi / 2) ** POWER
    return (1 - f[1:] / f[:-1]).clip(0.0001, 0.9999)


class Sched:
    def __init__(self):
        betas = cosine(1000)
        ab = (1 - betas).cumprod(0)
        self.betas, self.alphas_cumprod = betas.float(), ab.float()
        self.variance = (betas * (1 - F.pad(ab[:-1], (1, 0), value=1.0)) / (1 - ab)).float()

    def step(self, eps, t, x):
        mean = x - self.betas[t] / (1 - self.alphas_cumprod[t]) ** 0.5 * eps
        z = torch.randn_like(x) if t > 0 else 0
        return mean / (1 - self.betas[t]) ** 0.5 + self.variance[t] ** 0.5 * z
"""
POINTS = """
def loss(model, x0):
    t = torch.randint(0, T, (len(x0),))
    eps = torch.randn_like(x0)
    xt = alpha_bar[t][:, None] ** 0.5 * x0 + (1 - alpha_bar[t])[:, None] ** 0.5 * eps
    return F.mse_loss(model(xt, t)ONE, eps)
"""
BY_PAST_LOSSES = """
class Trainer:
    def __init__(self):
        self.alphas_cumprod = alpha_bar
        self.past = torch.ones(T)

    def loss(self, model, x0):
        t = torch.multinomial(LAW, len(x0), replacement=True)
        a = self.alphas_cumprod[t].view(-1, 1, 1, 1)
        eps = torch.randn_like(x0)
        each = (model(a**0.5 * x0 + (1 - a) ** 0.5 * eps, t) - eps).square().mean(dim=(1, 2, 3))
        self.past[t] = each.detach().clamp(min=0.1, max=10)
        return (each / (T * LAW[t])).mean()
"""
BY_WORD = """
class Sched:
    def __init__(self, MODELnum_train_timesteps=60, beta_schedule="linear"):
        if beta_schedule == "linear":
            betas = torch.linspace(1e-4, 0.02, num_train_timesteps)
        elif beta_schedule == "cosine":
            u = torch.linspace(0, 1, num_train_timesteps + 1)
            f = torch.cos((u + 0.008) / 1.008 * torch.pi / 2) ** 2
            betas = (1 - f[1:] / f[:-1]).clamp(max=0.999)
        else:
            raise ValueError(beta_schedule)
        self.alphas_cumprod = (1 - betas).cumprod(0)

    def q_sample(self, x_start, t, noise):
        a = self.alphas_cumprod[t].view(-1, 1, 1, 1)
        return a**0.5 * x_start + (1 - a) ** 0.5 * noise
"""
NULL = "torch.full_like(y, 10), y"
RIGHT = {  # {what it is: (text, name, what is said)}
    "actions": (SPREAD.replace("AXES", "1, 1") + "\n# robot actions", "Sched", "sequences (b, l"),
    "volumes": (SPREAD.replace("AXES", "1, 1, 1, 1"), "Sched", "volumes (b, c, d, h, w)"),
    "beta in the table of the variance": (
        OF_BETA.replace("VARIANCE", "betas"),
        "Sched",
        "posterior_variance is beta_t, the other variance",
    ),
    "a cosine kept in a range": (
        COSINE.replace("KEPT", "1e-4, 0.9999"),
        "Sched",
        "kept in [0.0001",
    ),
    "a cosine of which float32 keeps the betas": (
        COSINE_IN_FLOAT32.replace("POWER", "2"),
        "Sched",
        "is right",
    ),
    "a model called ddpm": (
        LOOP.replace("MODE", "eval").replace("SIZE", "1").replace("model", "ddpm"),
        "sample",
        "is right",
    ),
    "a word of which another was not taken": (
        BY_WORD.replace("MODEL", "model, "),
        "Sched",
        "; beta_schedule='cosine' was not judged",
    ),
    "words that are asked for": (
        BY_WORD.replace("MODEL", "").replace("q_sample", "add_noise").replace("x_start", "x0"),
        "Sched",
        "checks agree with the papers",
    ),
    "points": (POINTS.replace("ONE", ""), "loss", "loss is right"),
    "t by a law that stays": (
        BY_PAST_LOSSES.replace("LAW", "(torch.ones(T) / T)"),
        "Trainer",
        "is right",
    ),
    "words of its own": (WORDS.replace("RETURNED", "out"), "Sched", "is right"),
    "a root of the mean square": (
        LOSS.replace("COST", "(lambda a, b: F.mse_loss(a, b).sqrt())"),
        "loss",
        "the loss is the root of the mean square of a batch",
    ),
    "a factory": (FACTORY.replace("DRAWN", "x0.shape"), "loss", "loss is right"),
    "what is not run": (
        TRAINER.replace("DROPPED", NULL),
        "Trainer",
        "; EMA was not judged; guidance (cfg_scale) was not judged.",
    ),
    "labels mostly dropped": (
        TRAINER.replace("DROPPED", "y, torch.full_like(y, 10)"),
        "Trainer",
        "% of the labels are told as 10, so as none",
    ),
    "betas called b": (BETAS_AS_B.replace("ALONG", "1 - at_next"), "generalized_steps", "is right"),
}
WRONG = {
    "beta where beta-tilde is meant": (
        OF_BETA.replace("VARIANCE", "0.9 * betas"),
        "Sched",
        "should have",
    ),
    "a cosine kept below 1 alone": (COSINE.replace("KEPT", "1e-4, 1.0"), "Sched", "schedule"),
    "a cosine without its square, kept in a range": (
        COSINE_IN_FLOAT32.replace("POWER", "1"),
        "Sched",
        "mistake 10-square",
    ),
    "points of one number, their axis taken off one side": (
        POINTS.replace("ONE", ".squeeze(-1)"),
        "loss",
        "points of one number, (b, 1), are compared with all others of the batch",
    ),
    "x0 of another size": (WORDS.replace("RETURNED", "0.5 * out"), "Sched", "0.5"),
    "a factory whose noise is one for all": (
        FACTORY.replace("DRAWN", "x0[0].shape"),
        "loss",
        "one noise is drawn for all images of the batch",
    ),
    "noise of 0.9 times its size": (
        LOOP.replace("MODE", "eval").replace("SIZE", "0.9"),
        "sample",
        "your z has 0.9 * sqrt(beta_t",
    ),
    "noise brought to one size": (
        LOSS.replace("torch.randn_like(x0)\n", "SAME(torch.randn_like(x0))\n")
        .replace("SAME", "(lambda z: z / z.std(dim=(1, 2, 3), keepdim=True))")
        .replace("COST", "F.mse_loss"),
        "loss",
        "the noise of every image is brought to one size",
    ),
    "half of the noise mirrored": (
        LOOP.replace("MODE", "eval")
        .replace("SIZE", "1")
        .replace("torch.randn_like(x) if i", "PAIRS(torch.randn(n // 2 + 1, 3, 8, 8))[:n] if i")
        .replace("PAIRS", "(lambda z: torch.cat([z, z.flip(-1)]))"),
        "sample",
        ", mirrored",
    ),
    "put in training mode": (
        LOOP.replace("MODE", "train").replace("SIZE", "1"),
        "sample",
        "samples-in-training-mode",
    ),
    "an output limited in the loss": (
        LIMITED,
        "loss",
        "costs no more, as if the output were limited",
    ),
    "another direction": (
        BETAS_AS_B.replace("ALONG", "1 - at"),
        "generalized_steps",
        "should have sqrt(1 - ab_prev",
    ),
}


@pytest.mark.parametrize("what", RIGHT)
def test_it_is_right_and_said_how(what: str, tmp_path: Path) -> None:
    text, name, said = RIGHT[what]
    report = judged_file(tmp_path, name, HEAD + text)
    assert report.exit_status == 0, str(report)
    assert said in str(report)


@pytest.mark.parametrize("what", WRONG)
def test_a_slip_is_told(what: str, tmp_path: Path) -> None:
    text, name, said = WRONG[what]
    report = judged_file(tmp_path, name, HEAD + text)
    assert report.exit_status == 1, str(report)
    assert said in str(report)


def test_what_a_factory_makes_is_listed(tmp_path: Path) -> None:
    shown, any_ = told(tmp_path / "made.py", HEAD + FACTORY.replace("DRAWN", "x0.shape"))
    assert any_
    assert "made.py:loss  function: loss" in shown


def test_whose_words_are_the_usual_ones_is_asked_for_every_kind() -> None:
    report = run("scratch:DDPMScheduler")
    asked = {check.id for check in report.checks}
    assert "schedule/zero-snr-linear" in asked
    assert any("v_prediction" in id for id in asked)


def test_a_loss_that_goes_by_what_it_was_asked_is_not_judged(tmp_path: Path) -> None:
    """Of importance sampling by past losses, the law of t changes from call to call."""
    text = BY_PAST_LOSSES.replace("LAW", "(self.past / self.past.sum())")
    report = judged_file(tmp_path, "Trainer", HEAD + text)
    assert report.exit_status == 2
    assert "draws other t when a seed comes again" in report.verdict


EXCHANGED = """
@torch.no_grad()
def sample(model, n):
    model.eval()
    x = torch.randn(n, 1, 8, 8)
    c = torch.arange(n) % 10
    for i in range(T, 0, -1):
        t = torch.full((n,), i / T)
        one, two = model(x, t, torch.full_like(c, 10)), model(x, t, c)
        eps = 2.5 * one - 1.5 * two
        x = (x - betas[i] / (1 - alpha_bar[i]) ** 0.5 * eps) / (1 - betas[i]) ** 0.5
        x = x + betas[i] ** 0.5 * torch.randn_like(x) if i > 1 else x
    return x
"""


def test_no_mistake_is_named_that_explains_nothing_more(tmp_path: Path) -> None:
    """One beta too many is in the product, and conditional and unconditional are exchanged, which
    has no number: of the pictures, which the first puts right, no second mistake is to blame."""
    report = judged_file(tmp_path, "sample", HEAD.replace("0.2, T", "0.2, T + 1") + EXCHANGED)
    assert "the two are exchanged" in str(report)
    assert [diagnosis.bug for diagnosis in report.diagnoses] == ["1"]


QUADRATIC = """
@torch.no_grad()
def sample(model, n):
    model.eval()
    x = torch.randn(n, 3, 8, 8)
    places = torch.linspace(0, (SHARE * T) ** 0.5, 10, dtype=torch.float64)
    listed = [int(s) for s in places**POWER]
    for t, s in zip(listed[::-1], listed[-2::-1] + [-1]):
        a, b = alpha_bar[t], alpha_bar[s] if s >= 0 else torch.tensor(1.0)
        eps = model(x, torch.full((n,), t))
        x = b**0.5 * (x - (1 - a) ** 0.5 * eps) / a**0.5 + (1 - b) ** 0.5 * eps
    return x
"""


@pytest.mark.parametrize(
    ("share", "power", "status"),
    [("0.8", "2", 0), ("0.7", "2", 1), ("0.8", "1 * 2.4", 1)],
    ids=["of DDIM's code", "one that begins earlier", "steeper"],
)
def test_a_quadratic_list_may_begin_where_ddims_code_does(
    share: str, power: str, status: int, tmp_path: Path
) -> None:
    """At 0.8 T, wherever the picture is by then; others have to begin where nothing is left."""
    table = HEAD.replace("T = 60", "T = 100").replace("0.2, T", "0.02, T")
    text = table + QUADRATIC.replace("SHARE", share).replace("POWER", power)
    report = judged_file(tmp_path, "sample", text)
    assert report.exit_status == status
    assert ("loop/visits" in report.verdict.splitlines()[0]) is bool(status)
