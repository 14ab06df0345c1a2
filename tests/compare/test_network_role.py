"""The role `network`: right networks in strangers' words pass, what is wrong in one is named."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import diffusers
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import scratch
from compare import Adapter, run
from compare.backends.network import TINY
from compare.candidate.denoiser.denoiser import find
from compare.candidate.denoiser.lent import lent, vary
from compare.candidate.door.forward import is_network
from compare.candidate.subject import Subject
from compare.candidate.surroundings import Surroundings
from compare.mistakes import BY_ID
from compare.mistakes.network.unet import planted
from compare.oracle import Oracle
from compare.process import judge_in_child
from compare.stages import NETWORK
from compare.verdict.quiet import quiet
from compare.verdict.report import Report
from tests.often import each


def judged(network: Callable[[], nn.Module]) -> Report:
    return run(Adapter(network=network))


def failing(report: Report) -> dict[str, str]:
    return {c.id.removeprefix("network/"): c.message for c in report.checks if not c.passed}


def notes(report: Report) -> dict[str, tuple[str, str]]:
    found = [c for c in report.checks if c.status == "note"]
    return {c.id.removeprefix("network/"): (c.message, c.bug) for c in found}


def named(report: Report) -> list[str | None]:
    return [diagnosis.bug for diagnosis in report.diagnoses]


def waves(t: Tensor, dim: int) -> Tensor:
    angles = t.float()[:, None] * 10000 ** (-torch.arange(dim // 2) / (dim // 2))
    return torch.cat([angles.sin(), angles.cos()], dim=1)


# --- right networks ---


class Plain(nn.Module):
    """Three convolutions; t as a share of 1000, added once."""

    image_size = 8

    def __init__(self, channels=1, width=6):
        super().__init__()
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.last = nn.Conv2d(width, channels, 3, padding=1)
        self.time = nn.Sequential(nn.Linear(1, width), nn.SiLU(), nn.Linear(width, width))

    def told(self, t):
        return self.time(t.float().view(-1, 1) / 1000)[:, :, None, None]

    def forward(self, x, t):
        return self.last(F.silu(self.second(F.silu(self.first(x) + self.told(t)))))


class OfPoints(nn.Module):
    """Points of two numbers, 300 timesteps in a table."""

    def __init__(self, width=12):
        super().__init__()
        self.table = nn.Embedding(300, width)
        self.layers = nn.Sequential(nn.Linear(2 + width, width), nn.GELU(), nn.Linear(width, 2))

    def forward(self, x, t):
        return self.layers(torch.cat([x, self.table(t)], dim=1))


class LinearAttention(nn.Module):
    def __init__(self, width, heads=2, each=4):
        super().__init__()
        self.heads, self.scale = heads, each**-0.5
        self.to_qkv = nn.Conv2d(width, 3 * heads * each, 1, bias=False)
        self.out = nn.Sequential(nn.Conv2d(heads * each, width, 1), nn.GroupNorm(1, width))

    def forward(self, x):
        q, k, v = (
            part.unflatten(1, (self.heads, -1)).flatten(3) for part in self.to_qkv(x).chunk(3, 1)
        )
        q, k = q.softmax(dim=-2) * self.scale, k.softmax(dim=-1)
        context = torch.einsum("bhdn,bhen->bhde", k, v)
        mixed = torch.einsum("bhde,bhdn->bhen", context, q)
        return x + self.out(mixed.flatten(1, 2).unflatten(2, x.shape[2:]))


class ConvNext(nn.Module):
    def __init__(self, of, to, time):
        super().__init__()
        self.time = nn.Sequential(nn.GELU(), nn.Linear(time, of))
        self.deep = nn.Conv2d(of, of, 7, padding=3, groups=of)
        self.net = nn.Sequential(
            nn.GroupNorm(1, of), nn.Conv2d(of, 2 * to, 3, padding=1), nn.GELU(),
            nn.GroupNorm(1, 2 * to), nn.Conv2d(2 * to, to, 3, padding=1),
        )  # fmt: skip
        self.way = nn.Conv2d(of, to, 1) if of != to else nn.Identity()

    def forward(self, x, told):
        return self.net(self.deep(x) + self.time(told)[:, :, None, None]) + self.way(x)


class Annotated(nn.Module):
    """ConvNeXt blocks, linear attention and one skip, called with keywords of its own."""

    def __init__(self, dim=6, channels=3):
        super().__init__()
        self.channels, self.image_size, self.dim = channels, 8, dim
        self.start = nn.Conv2d(channels, dim, 7, padding=3)
        self.time_mlp = nn.Sequential(nn.Linear(dim, 12), nn.GELU(), nn.Linear(12, 12))
        self.down, self.mid = ConvNext(dim, dim, 12), ConvNext(8, 8, 12)
        self.attend, self.less = LinearAttention(dim), nn.Conv2d(dim, 8, 4, 2, 1)
        self.more, self.up = nn.ConvTranspose2d(8, dim, 4, 2, 1), ConvNext(2 * dim, dim, 12)
        self.final = nn.Conv2d(dim, channels, 1)

    def told(self, t):
        return self.time_mlp(waves(t, self.dim))

    def joined(self, x, skip):
        return torch.cat([x, skip], dim=1)

    def forward(self, img, time):
        told = self.told(time)
        skip = self.attend(self.down(self.start(img), told))
        x = self.more(self.mid(self.less(skip), told))
        return self.final(self.up(self.joined(x, skip), told))


class Block(nn.Module):
    """Of a DiT, with adaLN-zero."""

    def __init__(self, dim, batch_first=True):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(dim, elementwise_affine=False) for _ in range(2))
        self.attn = nn.MultiheadAttention(dim, 2, batch_first=batch_first)
        self.mlp = nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, dim))
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(dim, 6 * dim))
        nn.init.zeros_(self.modulation[1].weight)
        nn.init.zeros_(self.modulation[1].bias)

    def forward(self, x, told):
        a, b, c, d, e, f = self.modulation(told)[:, None].chunk(6, dim=2)
        h = self.norms[0](x) * (1 + a) + b
        x = x + c * self.attn(h, h, h, need_weights=False)[0]
        return x + f * self.mlp(self.norms[1](x) * (1 + d) + e)


class DiT(nn.Module):
    """Patches, labels, a learned variance beside; its last layer begins at zero."""

    def __init__(self, dim=12, in_channels=3, input_size=8, patch=2, batch_first=True):
        super().__init__()
        self.in_channels, self.input_size, self.dim = in_channels, input_size, dim
        self.embed = nn.Conv2d(in_channels, dim, patch, patch)
        self.place = nn.Parameter(torch.randn(1, 16, dim), requires_grad=False)
        self.time, self.label = nn.Linear(dim, dim), nn.Embedding(11, dim)
        self.blocks = nn.ModuleList(Block(dim, batch_first) for _ in range(2))
        self.last = nn.Linear(dim, 2 * in_channels * patch**2)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x, t, y):
        x = self.embed(x).flatten(2).mT + self.place
        told = self.time(waves(t, self.dim)) + self.label(y)
        for block in self.blocks:
            x = block(x, told)
        return F.pixel_shuffle(self.last(x).mT.unflatten(2, (4, 4)), 2)


class TimeFirst(Plain):
    """t first and as (b, 1), the answer in a dictionary beside another."""

    def forward(self, timesteps, noisy_image, mask=None):
        told = self.time(timesteps)[:, :, None, None]
        return {"sample": self.last(F.silu(self.first(noisy_image) + told)), "inner": told} | {
            "deep": self.second(F.silu(told.expand(-1, -1, 3, 3)))
        }


def zero_ending() -> nn.Module:
    network = scratch.UNet2DModel(**TINY)
    nn.init.zeros_(network.conv_out.weight)
    nn.init.zeros_(network.conv_out.bias)
    return network


RIGHT = {
    "ours": lambda: scratch.UNet2DModel(**TINY),
    "theirs": lambda: diffusers.UNet2DModel(**TINY),
    "zero ending": zero_ending,
    "once": Plain,
    "points": OfPoints,
    "annotated": Annotated,
    "transformer": DiT,
    "time first": TimeFirst,
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_networks_pass(name):
    report = judged(RIGHT[name])
    assert failing(report) == {}
    assert report.passed
    assert report.diagnoses == []
    assert report.judged == ["network"]
    assert set(report.not_judged.values()) == {"it is a network alone"}
    ids = {check.id.removeprefix("network/") for check in report.checks}
    assert ids >= {"shape", "finite", "eval", "batch", "position", "time", "own-t", "distinct"}
    assert ids >= {"learns"}


def test_its_figures_do_not_hang_on_what_was_drawn_before():
    def measured(drawn: int) -> list[float | None]:
        torch.manual_seed(drawn)
        return [check.measured for check in run(lambda: Adapter(network=Plain)).checks]

    assert measured(1) == measured(2)


def test_what_is_said_of_right_ones():
    once, points, first = (judged(RIGHT[name]) for name in ("once", "points", "time first"))
    assert notes(once) == {}
    assert once.conventions["called"] == "forward(x, t), t int64 (b,) from 0 to 999"
    assert once.conventions["pictures"] == "pictures of shape (1, 8, 8) (that it takes)"
    assert points.conventions["called"].endswith("from 0 to 299")
    assert points.conventions["pictures"] == "points of 2 numbers (that it takes)"
    assert first.conventions["called"].startswith(
        "forward(noisy_image, timesteps), t float32 (b, 1)"
    )
    transformer = notes(judged(DiT))
    assert transformer["shape"][0].startswith("twice the channels")
    assert transformer["unused"] == ("weights: place frozen", "")


# --- wrong ones ---


class Late(nn.Module):
    """Two levels, t added at the upper one alone, no skips."""

    def __init__(self):
        super().__init__()
        self.image_size = 8
        self.down, self.mid = nn.Conv2d(2, 4, 4, 2, 1), nn.Conv2d(4, 4, 3, padding=1)
        self.up, self.last = nn.ConvTranspose2d(4, 4, 4, 2, 1), nn.Conv2d(4, 2, 3, padding=1)
        self.time = nn.Embedding(1000, 4)

    def forward(self, x, t):
        x = self.up(F.silu(self.mid(F.silu(self.down(x)))))
        return self.last(F.silu(x + self.time(t)[:, :, None, None]))


class Blind(Plain):
    def forward(self, x, t):
        return self.last(F.silu(self.second(F.silu(self.first(x)))))


class Whole(Plain):
    def told(self, t):
        return super().told((t / 1000).long())


class Halved(Plain):
    def told(self, t):
        return super().told(t // 2)


class Rounded(Plain):
    def told(self, t):
        return super().told(t.bfloat16())


class First(Plain):
    def told(self, t):
        return super().told(t[:1].expand(len(t)))


class Mean(Plain):
    def told(self, t):
        return super().told(t).mean(0, keepdim=True)


class AlongTheBatch(Annotated):
    def told(self, t):
        even, odd = waves(t, self.dim), waves(t, self.dim).roll(self.dim // 2, 1)
        return self.time_mlp(torch.where(torch.arange(len(t))[:, None] % 2 == 0, even, odd))


class Dropping(Plain):
    def told(self, t):
        return F.dropout(super().told(t), 0.3)


class Normed(Plain):
    tracked = True

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(6, track_running_stats=self.tracked)
        self.second = nn.Sequential(self.norm, self.second)


class Untracked(Normed):
    tracked = False


class OverTheBatch(DiT):
    def __init__(self):
        super().__init__(batch_first=False)


class OverQueries(Annotated):
    """A softmax of attention in full, over the wrong axis of the two."""

    axis = 1

    def joined(self, x, skip):
        weights = torch.einsum("bci,bcj->bij", skip.flatten(2), skip.flatten(2))
        weights = F.dropout(weights.softmax(dim=self.axis), 0.1, self.training)
        mixed = torch.einsum("bij,bcj->bci", weights, skip.flatten(2))
        return torch.cat([x, mixed.unflatten(2, skip.shape[2:])], dim=1)


class OverKeys(OverQueries):
    axis = 2


class OverPictures(OverQueries):
    """The weights of one pixel, over the pictures of the batch."""

    axis = 0


class Normalised(Plain):
    """t is the same at all pixels, and a norm of each channel by itself takes it away."""

    def __init__(self):
        super().__init__()
        self.second = nn.Sequential(nn.InstanceNorm2d(6), self.second)

    def forward(self, x, t):
        return self.last(F.silu(self.second(self.first(x) + self.told(t))))


class Clamped(Plain):
    """A scale that stands where its clamp acts, and a gate that is off: they may come back."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(5.0))
        self.gate = nn.Parameter(torch.tensor([-3.0, -0.5]))

    def forward(self, x, t):
        return super().forward(x, t) * self.scale.clamp(max=4.6).exp() + F.relu(self.gate).sum()


class Detached(Annotated):
    def told(self, t):
        return super().told(t).detach()


class Dropped(Annotated):
    """A layer whose result is thrown away; labels that are dropped at random, as for guidance."""

    def __init__(self):
        super().__init__()
        self.extra, self.null = nn.Linear(12, 12), nn.Parameter(torch.randn(12))

    def forward(self, img, time, classes, cond_drop_prob=0.5):
        self.extra(self.told(time))
        drop = torch.rand(len(img), 1) < cond_drop_prob
        return super().forward(img + 0 * torch.where(drop, self.null, 0.0).sum(), time)


class Unjoined(Annotated):
    def joined(self, x, skip):
        return torch.cat([x, torch.zeros_like(skip)], dim=1)


class Grey(Plain):
    def __init__(self):
        super().__init__(channels=3)
        self.last = nn.Conv2d(6, 1, 3, padding=1)


class NotANumber(Plain):
    def forward(self, x, t):
        return super().forward(x, t) / (x - x)


class Nothing(Plain):
    def forward(self, x, t):
        super().forward(x, t)


WRONG = {  # what fails first, and its name
    Blind: ("time", "90"),
    Whole: ("time", "89-integer"),
    Halved: ("distinct", None),
    Rounded: ("distinct", "89"),
    First: ("own-t", "90-first"),
    Mean: ("own-t", None),
    AlongTheBatch: ("position", "88-batch"),
    Dropping: ("eval", "94"),
    Untracked: ("batch", "96"),
    OverTheBatch: ("batch", "96-attention"),
    OverQueries: ("attention", "91"),
    OverPictures: ("batch", None),
    Normalised: ("time", None),
    Detached: ("learns", None),
    Grey: ("shape", None),
    NotANumber: ("finite", None),
}


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.__name__)
def test_what_is_wrong_is_found_and_named(wrong):
    report = judged(wrong)
    check, bug = WRONG[wrong]
    assert report.exit_status == 1
    assert next(iter(failing(report))) == check
    assert set(named(report)) == {bug}
    assert report.diagnoses[0].stage == "network"
    assert report.diagnoses[0].fix
    if bug is not None:
        assert BY_ID[bug].words in report.verdict
    assert failing(report)[check] in report.verdict


PLANTED = ("88-batch", "89", "89-integer", "90", "90-first", "91", "94", "96-attention")


@pytest.mark.parametrize("id", each(4, PLANTED))
def test_a_mistake_of_the_catalogue_is_named_in_our_own_network_too(id):
    assert named(judged(lambda: planted(scratch.UNet2DModel(**TINY), BY_ID[id]))) == [id]


def test_where_it_is_is_told():
    assert "first in `blocks.0.attn` (MultiheadAttention)" in failing(judged(OverTheBatch))["batch"]
    assert "first in `second.0` (BatchNorm2d)" in failing(judged(Untracked))["batch"]
    assert "time_mlp.0.weight" in failing(judged(Detached))["learns"]
    assert "it enters at 8 x 8, and what is behind takes it" in failing(judged(Normalised))["time"]
    assert failing(judged(Halved))["distinct"].startswith("1000 timesteps have only 500 different")
    assert (
        "of shape (5, 64, 64) over axis 1, should be 2" in failing(judged(OverQueries))["attention"]
    )


def test_what_may_be_a_choice_is_a_note():
    """BatchNorm, t at one level, no skips, weights that nothing is computed of, or are clamped."""
    networks = (Normed, Late, Unjoined, OverKeys, Dropped)
    normed, late, unjoined, keys, dropped = (judged(network) for network in networks)
    for report in (normed, late, unjoined, keys, dropped):
        assert report.passed, str(report)
    assert notes(normed)["training"][1] == "96"
    assert "first in `second.0` (BatchNorm2d)" in notes(normed)["training"][0]
    assert notes(late)["levels"][0].startswith("t enters at 8 x 8 (1 time), not at 4 x 4")
    assert notes(late)["skips"][1] == "93-missing"
    assert "64 numbers for the 128 of a picture" in notes(late)["skips"][0]
    assert notes(unjoined)["skips"][1] == "93-missing"
    assert notes(keys) == {}
    idle = "null, extra.weight, extra.bias reach nothing here"
    assert notes(dropped) == {"unused": (f"weights: {idle}", "")}

    class Spare(Plain):
        def __init__(self):
            super().__init__()
            self.spare = nn.Linear(2, 2)

    text = notes(judged(Spare))["unused"][0]
    assert text == "weights: spare.weight, spare.bias never used here"
    text = notes(judged(Clamped))["unused"][0]
    assert text == "weights: scale, gate without a gradient where they stand, as if clamped"


def test_what_a_norm_takes_away_of_t_is_told():
    class Erased(Annotated):
        def __init__(self):
            super().__init__()
            self.mid.net[0] = nn.GroupNorm(8, 8)
            self.mid.way = nn.Conv2d(8, 8, 1)

        def forward(self, img, time):
            told = self.told(time)
            skip = self.attend(self.down(self.start(img), told))
            low = self.less(skip)
            told = self.mid.time(told)[:, :, None, None]
            x = self.more(self.mid.net(self.mid.deep(low) + told) + self.mid.way(low))
            return self.final(self.up(self.joined(x, skip), self.told(time)))

    report = judged(Erased)
    assert report.passed
    assert "what enters at 4 x 4 changes nothing" in notes(report)["levels"][0]


# --- the door ---


class Diffusion(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = Plain()

    def p_losses(self, x_start, t):
        return self.net(x_start, t).mean()

    def forward(self, x, t):
        return self.p_losses(x, t)


class Needy(Plain):
    def __init__(self, dim, channels):
        super().__init__(channels, dim)


def test_a_diffusion_is_no_network():
    for kind in (Plain, DiT, TimeFirst, OfPoints):
        assert is_network(kind)
        assert is_network(kind())
    for kind in (Diffusion, LinearAttention, scratch.DDPMScheduler):
        assert not is_network(kind)
        assert not is_network(kind(2) if kind is LinearAttention else kind())
    assert "network" not in run(Diffusion).judged


def test_a_class_an_instance_and_a_function_that_builds_one():
    assert run(Plain).passed
    assert run(Plain()).passed
    assert run(lambda: Plain()).passed
    assert run(Adapter(network=Plain())).passed
    assert run(torch.nn.DataParallel(Plain())).passed


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (lambda: Needy(), "network() raises TypeError: "),
        (lambda: 3, "network() returned int, not an nn.Module"),
        (lambda: nn.Linear(2, 2), "forward does not ask for a picture and a time"),
        (Nothing, "forward(x, t) returned NoneType, not a tensor"),
    ],
)
def test_what_cannot_be_judged_is_one_line(network, said):
    report = judged(network)
    assert not report.passed
    assert said in report.verdict
    assert "\n" not in report.verdict


def test_a_network_that_needs_arguments_is_told_how():
    report = run(Needy)
    assert report.exit_status == 2
    assert "it asks for dim, channels" in report.verdict
    assert "Adapter(network=lambda: Needy(dim=..., channels=...))" in report.verdict


def test_the_size_that_works_is_found_and_the_channels_that_it_declares():
    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.in_channels, self.out_channels = 4, 3
            self.layer, self.time = nn.Linear(784, 588), nn.Embedding(50, 588)

        def forward(self, x, sigma):
            return (self.layer(x.flatten(2)[:, :3].flatten(1)[:, :784]) + self.time(sigma))[
                :, :588
            ].unflatten(1, (3, 14, 14))

    with quiet():
        one = find(Plain(), Surroundings())
        assert one.shape == (5, 1, 8, 8)
        assert find(Fixed(), Surroundings()).T == 50
    assert failing(judged(Fixed))["shape"].startswith("the output has shape (5, 3, 14, 14)")

    class Conditioned(Plain):
        """Six channels in, three of them the picture's."""

        def __init__(self):
            super().__init__(channels=6)
            self.in_channels, self.out_channels = 6, 3
            self.last = nn.Conv2d(6, 3, 3, padding=1)

    report = judged(Conditioned)
    assert report.passed
    assert notes(report)["shape"][0] == "it declares 3 channels, its picture has 6"


# --- what is lent is given back; the contract of a stage ---


def test_everything_lent_is_given_back():
    network = Normed()
    network(torch.randn(2, 1, 8, 8), torch.tensor([0, 5])).mean().backward()
    network.norm.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    slopes = [weight.grad.clone() for weight in network.parameters()]
    assert judged(lambda: network).passed
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name
    for weight, slope in zip(network.parameters(), slopes, strict=True):
        assert torch.equal(weight.grad, slope)
    assert [m.training for m in (network, network.norm, network.first)] == [True, False, True]


def test_only_weights_that_are_all_alike_are_varied():
    network = DiT()
    drawn = network.embed.weight.clone()
    with lent(network):
        vary(network, 0)
        assert torch.equal(network.embed.weight, drawn)
        spread = float(network.last.weight.detach().std()) * math.sqrt(12)
        assert 0.5 < spread < 2
        assert network.blocks[0].modulation[1].bias.detach().abs().max() < 1
    assert not network.last.weight.any()


def test_a_second_reading_asks_the_network_no_more():
    calls = []

    class Counted(Plain):
        def forward(self, x, t):
            calls.append(len(x))
            return super().forward(x, t)

    with quiet():
        subject = Subject(Adapter(network=Counted), "counted")
        first = [c.plain() for c in NETWORK.of(subject, Oracle())]
        asked = len(calls)
        assert [c.plain() for c in NETWORK.of(subject, BY_ID["5"].oracle())] == first
    assert len(calls) == asked > 10


# --- the command line ---

FILE = """
import torch
from torch import nn


class Mine(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.first, self.last = nn.Conv2d(1, width, 3, 1, 1), nn.Conv2d(width, 1, 3, 1, 1)
        self.time = nn.Embedding(1000, width)

    def forward(self, x, t):
        return self.last(torch.relu(self.first(x) + self.time(t)[:, :, None, None]))


class Blind(Mine):
    def forward(self, x, t):
        return self.last(torch.relu(self.first(x)))
"""


@pytest.mark.parametrize(("name", "status"), each(2, [("Blind", 1), ("Mine", 0)]))
def test_the_command_line_judges_a_network(name, status, tmp_path: Path):
    file, out = tmp_path / "mine.py", tmp_path / "report.json"
    file.write_text(FILE)
    spec = {"candidate": f"{file}:{name}", "run": None, "only": None, "level": "quick", "seed": 0}
    spec |= {"reading": [], "expect": {}, "json": str(out), "html": str(tmp_path / "page.html")}
    assert judge_in_child(spec, 300) == status
    report = json.loads(out.read_text())
    assert report["judged"] == ["network"]
    assert report["conventions"]["called"] == "forward(x, t), t int64 (b,) from 0 to 999"
    assert [d["bug"] for d in report["diagnoses"]] == ["90"] * status
    checks = {check["id"]: check for check in report["checks"]}
    assert checks["network/time"]["passed"] == (status == 0)
    assert "network/time" in (tmp_path / "page.html").read_text()
