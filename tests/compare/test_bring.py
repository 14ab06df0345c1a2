"""Somebody's parts put to use: the pictures of scratch's own, and one line for what cannot be."""

import random
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import compare
import scratch
from compare import Adapter
from compare.bring.warning import warning
from compare.template import MyScheduler
from workbench.sampling import sample as draw

T = 40
OURS = scratch.DDPMScheduler(T, clip_sample=False)
LEVELS = {"down_block_types": ["DownBlock2D"], "up_block_types": ["UpBlock2D"]}
ROUNDED = 1e-5  # float32, over a chain of T steps that shrinks errors


class Short(MyScheduler):
    """The template's, of T steps."""

    def __init__(self) -> None:
        super().__init__(num_train_timesteps=T)


class Strange:
    """t from 1, the picture first, a tuple returned, noise of the global state, a longer table."""

    def __init__(self) -> None:
        self.alphas_cumprod = torch.cat([torch.ones(1).double(), OURS.alpha_bar])  # (T + 1,)
        self.timesteps = list(range(T, 0, -1))

    def set_timesteps(self, n: int) -> None:
        self.timesteps = [1 + i * (T // n) for i in reversed(range(n))]

    def add_noise(self, t: Tensor, noise: Tensor, x_0: Tensor) -> Tensor:
        alpha_bar = self.alphas_cumprod[t].reshape(-1, 1, 1, 1)  # (b, 1, 1, 1)
        return (alpha_bar.sqrt() * x_0 + (1 - alpha_bar).sqrt() * noise).float()

    def step(self, x_t: Tensor, t: int, eps: Tensor) -> tuple[Tensor, Tensor]:
        after = [s for s in self.timesteps if s < t]
        here, prev = (float(self.alphas_cumprod[s]) for s in (t, after[0] if after else 0))
        x_0 = (x_t - (1 - here) ** 0.5 * eps) / here**0.5
        alpha = here / prev
        mean = prev**0.5 * (1 - alpha) / (1 - here) * x_0
        mean = mean + alpha**0.5 * (1 - prev) / (1 - here) * x_t
        if not after:
            return mean, x_0
        return mean + ((1 - prev) / (1 - here) * (1 - alpha)) ** 0.5 * torch.randn_like(x_t), x_0


def formula(out: Tensor, t: int, x: Tensor, z: Tensor) -> Tensor:
    """x_{t-1} by Ho et al.'s Algorithm 2."""
    here, prev = float(OURS.alpha_bar[t]), float(OURS.alpha_bar[t - 1]) if t else 1.0
    beta = 1 - here / prev
    mean = (x - beta / (1 - here) ** 0.5 * out) / (1 - beta) ** 0.5
    return mean + ((1 - prev) / (1 - here) * beta) ** 0.5 * z * (t > 0)


ADAPTED = Adapter(alpha_bar=lambda: OURS.alpha_bar, step=formula, name="adapted")


@pytest.fixture(scope="module")
def unet() -> scratch.UNet2DModel:
    torch.manual_seed(0)
    size = {"sample_size": 8, "in_channels": 1, "out_channels": 1}
    return scratch.UNet2DModel(**size, **LEVELS, block_out_channels=[8], norm_num_groups=2).eval()


def pictures(pipeline: Any, unet: Any, scheduler: Any, steps: int, listed: bool) -> Tensor:
    pipe = pipeline(unet, scheduler)
    pipe.set_progress_bar_config(disable=True)
    generators = [torch.Generator().manual_seed(i) for i in range(3)]
    generator = generators if listed else generators[0]
    drawn = pipe(
        batch_size=3, generator=generator, num_inference_steps=steps, output_type="np"
    ).images
    return torch.as_tensor(drawn)


@pytest.mark.parametrize("pipeline", [scratch.DDPMPipeline, diffusers.DDPMPipeline])
@pytest.mark.parametrize("own", [Short, Strange], ids=["template", "strange"])
@pytest.mark.parametrize(("steps", "listed"), [(T, True), (T, False), (10, True)])
def test_a_right_one_draws_the_pictures_of_scratch(
    own: Any, pipeline: Any, unet: Any, steps: int, listed: bool
) -> None:
    found = pictures(pipeline, unet, compare.as_scheduler(own), steps, listed)
    right = pictures(pipeline, unet, OURS, steps, listed)
    torch.testing.assert_close(found, right, rtol=0, atol=ROUNDED)
    others = pictures(pipeline, unet, OURS, 20, listed)
    assert (others - right).abs().max() > 100 * ROUNDED  # another chain would be seen


def test_an_adapters_step_takes_the_noise_that_scratch_draws(unet: Any) -> None:
    scheduler = compare.as_scheduler(ADAPTED)
    for listed in (True, False):
        found = pictures(scratch.DDPMPipeline, unet, scheduler, T, listed)
        right = pictures(scratch.DDPMPipeline, unet, OURS, T, listed)
        torch.testing.assert_close(found, right, rtol=0, atol=ROUNDED)
    with pytest.raises(ValueError, match="has no set_timesteps"):
        scheduler.set_timesteps(10)


@pytest.mark.parametrize("own", [Short, Strange, ADAPTED], ids=["template", "strange", "adapter"])
def test_it_has_the_face_of_a_backends(own: Any, tmp_path: Path) -> None:
    scheduler = compare.as_scheduler(own)
    x, eps, t = torch.randn(3, 1, 4, 4), torch.randn(3, 1, 4, 4), torch.tensor([0, 7, T - 1])
    for method in ("add_noise", "get_velocity"):
        found, right = (getattr(s, method)(x, eps, t) for s in (scheduler, OURS))
        torch.testing.assert_close(found, right, rtol=0, atol=1e-6)  # roundings of float32
        assert found.dtype == torch.float32
    assert len(scheduler) == scheduler.config.num_train_timesteps == T
    assert scheduler.config["prediction_type"] == scheduler.config.prediction_type == "epsilon"
    assert scheduler.timesteps.tolist() == list(reversed(range(T)))
    assert [scheduler.previous_timestep(t) for t in (5, 0)] == [4, -1]
    assert scheduler.scale_model_input(x, 3) is x
    assert (scheduler.init_noise_sigma, scheduler.order) == (1, 1)
    OURS.set_timesteps(T)
    step = scheduler.step(eps, 7, x, generator=torch.Generator().manual_seed(0))
    right = OURS.step(eps, 7, x, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(step.pred_original_sample, right.pred_original_sample)
    torch.testing.assert_close(step.prev_sample, right.prev_sample)
    pair = scheduler.step(eps, 0, x, return_dict=False)
    torch.testing.assert_close(pair[0], OURS.step(eps, 0, x).prev_sample)

    scheduler.save_pretrained(tmp_path)
    loaded = diffusers.DDPMScheduler.from_pretrained(tmp_path)
    torch.testing.assert_close(loaded.alphas_cumprod, OURS.alphas_cumprod)
    assert len(loaded.config.trained_betas) == T


def test_what_departs_from_the_contract_is_said() -> None:
    assert compare.as_scheduler(Short).words == ()
    assert compare.as_scheduler(Strange).words == (
        "called as step(x_t, t, model_output)",
        "called as add_noise(t, noise, x_0)",
        "t counts from 1",
    )


def test_it_is_built_by_its_defaults_and_what_is_told() -> None:
    assert len(compare.as_scheduler(MyScheduler)) == 1000
    told = compare.as_scheduler(MyScheduler, keywords={"num_train_timesteps": 7, "beta_end": 0.5})
    assert len(told) == 7
    torch.testing.assert_close(float(told.betas[-1]), 0.5)
    with pytest.raises(ValueError, match="MyScheduler has no keyword 'variance_type'"):
        compare.as_scheduler(MyScheduler, keywords={"variance_type": "fixed_large"})


class OfX0(Short):
    """The template's for a network that predicts x_0."""

    def __init__(self, prediction_type: str = "x_0") -> None:
        super().__init__()
        assert prediction_type == "x_0"

    def step(self, model_output: Tensor, t: int, x_t: Tensor, generator: Any = None) -> Tensor:
        alpha_bar = float(self.alphas_cumprod[t])
        eps = (x_t - alpha_bar**0.5 * model_output) / (1 - alpha_bar) ** 0.5
        return super().step(eps, t, x_t, generator)


def test_what_its_network_predicts_is_read() -> None:
    scheduler = compare.as_scheduler(OfX0)
    assert scheduler.config.prediction_type == "sample"
    out, x = torch.randn(2, 1, 1, 4, 4)
    torch.testing.assert_close(scheduler.step(out, 3, x).pred_original_sample, out)


def test_the_callers_random_numbers_are_left_alone() -> None:
    def states() -> tuple[Any, ...]:
        numpy = np.random.get_state()[1]  # noqa: NPY002 (what a candidate may draw from)
        return torch.get_rng_state().tolist(), numpy.tolist(), random.getstate()

    net = Net()
    before = states()
    scheduler = compare.as_scheduler(Strange)
    compare.as_unet(net, (1, 8, 8))
    x = torch.ones(1, 1, 2, 2)
    scheduler.add_noise(x, x, torch.tensor([3]))
    first, again = (
        scheduler.step(x, 9, x, generator=torch.Generator().manual_seed(5))[0] for _ in "12"
    )
    assert torch.equal(first, again)
    assert states() == before
    scheduler.step(x, 9, x)  # without a generator it draws from the global one, as ours does
    assert states() != before


class NoStep:
    alphas_cumprod = OURS.alpha_bar


class Nameless(Short):
    def step(self, a: Any, b: Any, c: Any, generator: Any = None) -> Any:
        return super().step(c, a, b, generator)


class NoTable:
    def step(self, model_output: Tensor, t: int, x_t: Tensor) -> Tensor:
        return x_t - model_output


class Rising(Short):
    def __init__(self) -> None:
        super().__init__()
        self.alphas_cumprod = self.alphas_cumprod.flip(0)


class Raises(Short):
    def step(self, model_output: Tensor, t: int, x_t: Tensor, generator: Any = None) -> Tensor:
        raise RuntimeError("boom")


class OtherShape(Short):
    def step(self, model_output: Tensor, t: int, x_t: Tensor, generator: Any = None) -> Tensor:
        return x_t[..., :1]


class NaN(Short):
    def add_noise(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        return x0 * torch.nan


class Infinite(Short):
    def step(self, model_output: Tensor, t: int, x_t: Tensor, generator: Any = None) -> Tensor:
        return x_t * torch.inf


class Secret(Short):
    def __init__(self, secret: str) -> None:
        super().__init__()


class Learned(Short):
    def step(self, model_output: Tensor, t: int, x_t: Tensor, generator: Any = None) -> Tensor:
        assert model_output.shape[1] == 2 * x_t.shape[1]
        return super().step(model_output[:, : x_t.shape[1]], t, x_t, generator)


@pytest.mark.parametrize(
    ("own", "said"),
    [
        (NoStep, "NoStep has no step(model_output, t, x_t); add one"),
        (Nameless, "neither names nor calls say what step(a, b, c) is given; call its arguments"),
        (NoTable, "NoTable shows no table; add alphas_cumprod"),
        (Rising, "the table of Rising cannot be that of a DDPM: every beta must lie between"),
        (Raises, "Raises: step(model_output, t, x_t) raises RuntimeError: boom (test_bring.py, li"),
        (OtherShape, "OtherShape: step returned shape (2, 3, 4, 1)"),
        (NaN, "add_noise of NaN gives what is no number, first at t=0"),
        (Infinite, f"step of Infinite gives what is no number at t={T - 1}"),
        (Secret, "Secret cannot be built: TypeError"),
        (Learned, "the step of Learned wants twice the channels"),
        ("nowhere.py:Mine", "no such file: nowhere.py"),
        ("mine", "'mine' must be FILE.py:NAME or package.module:NAME"),
        (Adapter(loss=lambda model, x_0: 0), "adapter has no step(model_output, t, x_t) (it has l"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_used_costs_a_line(own: Any, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)) as error:
        compare.as_scheduler(own)
    assert "\n" not in str(error.value)


def test_words_decide_a_nameless_one(unet: Any) -> None:
    found = compare.as_scheduler(Nameless, reading="step=t,x,out")
    torch.testing.assert_close(
        pictures(scratch.DDPMPipeline, unet, found, T, True),
        pictures(scratch.DDPMPipeline, unet, OURS, T, True),
        rtol=0,
        atol=ROUNDED,
    )


class Faulty(Short):
    """A step whose result is a little too large."""

    def step(self, model_output: Tensor, t: int, x_t: Tensor, generator: Any = None) -> Tensor:
        return super().step(model_output, t, x_t, generator) * 1.01


def test_a_wrong_one_is_used_with_a_line() -> None:
    x = torch.ones(1, 1, 4, 4)
    wrong, right = (compare.as_scheduler(own).step(x, 0, x)[0] for own in (Faulty, Short))
    torch.testing.assert_close(wrong, 1.01 * right)
    said = warning(Faulty, "mine.py:Faulty", ("t=0",))
    assert re.fullmatch(
        r"compare finds Faulty wrong in \d+ checks, first mean/\w+; it is used all the same; "
        r"see: ddpm compare --candidate mine.py:Faulty --reading t=0",
        said,
    )
    assert warning(Short, "mine.py:Short") == ""


# Networks


class Net(nn.Module):
    """Small, and told t."""

    def __init__(self, in_channels: int = 1, width: int = 8) -> None:
        super().__init__()
        self.first = nn.Conv2d(in_channels, width, 3, padding=1)
        self.time = nn.Linear(2, width)
        self.last = nn.Conv2d(width, in_channels, 3, padding=1)

    def forward(self, x: Tensor, t: Tensor) -> Any:
        angle = t.float()[:, None] / 30  # (b, 1)
        time = self.time(torch.cat([angle.sin(), angle.cos()], 1))[:, :, None, None]
        return self.last(torch.relu(self.first(x) + time))


class Otherwise(Net):
    """The same: time first, t a float (b, 1), a dict returned, and labels that it may be given."""

    def forward(self, timesteps: Tensor, img: Tensor, y: Any = None) -> Any:  # type: ignore[override]
        assert timesteps.is_floating_point() or timesteps.dim() == 2
        return {"sample": super().forward(img, timesteps.reshape(-1))}


def test_networks_of_other_manners_give_the_same(tmp_path: Path) -> None:
    x, t = torch.randn(4, 3, 8, 6), torch.tensor([0, 1, 5, 9])
    own = Net(3)
    one, other = (compare.as_unet(kind, (3, 8, 6)) for kind in (Net, Otherwise))
    for unet in (one, other):
        unet.network.load_state_dict(own.state_dict())
        torch.testing.assert_close(unet(x, t).sample, own(x, t))
        torch.testing.assert_close(unet(x, 5, return_dict=False)[0], own(x, torch.full((4,), 5)))
        assert (unet.config.sample_size, unet.config.in_channels) == ((8, 6), 3)
    assert one.words == ("forward(x, t)", "t is int64 (b,)")
    one.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="Net has other weights than the run"):
        compare.as_unet(Net(3, width=4), (3, 8, 6)).load_weights({"first.weight": torch.ones(1)})


def test_diffusers_and_the_trainer_take_it_for_a_unet() -> None:
    torch.manual_seed(0)
    unet = compare.as_unet(Net, (1, 8, 8), T)
    found = [
        pictures(pipeline, unet, OURS, 5, True)
        for pipeline in (scratch.DDPMPipeline, diffusers.DDPMPipeline)
    ]
    torch.testing.assert_close(*found, rtol=0, atol=ROUNDED)
    unet(torch.ones(2, 1, 8, 8), torch.tensor([1, 2])).sample.sum().backward()
    assert all(p.grad is not None for p in unet.parameters())


def changed(**methods: Any) -> type[nn.Module]:
    return type("Mine", (Net,), methods)


class Bare(nn.Module):
    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return x


def after(change: Callable[[Tensor], Any]) -> type[nn.Module]:
    def forward(self: Any, x: Tensor, t: Tensor) -> Any:
        return change(Net.forward(self, x, t))

    return changed(forward=forward)


def with_int(self: Any, x: Tensor, t: Tensor) -> Tensor:
    return Net.forward(self, x, torch.full((len(x),), int(t)))


def with_table(self: Any, x: Tensor, t: Tensor) -> Tensor:
    return Net.forward(self, x, torch.arange(10)[t])


@pytest.mark.parametrize(
    ("own", "said"),
    [
        (after(lambda out: out[..., :4]), "Mine returns (5, 1, 8, 4) for pictures (5, 1, 8, 8)"),
        (after(lambda out: None), "Mine: forward(x, t) returned NoneType, not a tensor"),
        (after(lambda out: out * torch.nan), "Mine returns what is no finite number at t=0"),
        (after(Tensor.detach), "no gradient leads from to its parameters"),
        (Bare, "Bare has no parameter that a gradient could change"),
        (changed(forward=lambda self, x: x), "forward does not ask for a picture and a time"),
        (changed(forward=with_int), "Mine takes one t for all pictures"),
        (changed(forward=with_table), "raises IndexError"),
        (Net(3), "to have 3 channels, but got 1"),
        (Net().double(), "Net has parameters of torch.float64"),
        (type("Mine", (), {}), "Mine makes a Mine; expected an nn.Module"),
        (ADAPTED, "adapted has no role `network`; it has alpha_bar, step"),
        ("nowhere.py:Net", "no such file: nowhere.py"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_network_that_cannot_be_trained_costs_a_line(own: Any, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)) as error:
        compare.as_unet(own, (1, 8, 8), T)
    assert "\n" not in str(error.value)


# Loops


def sample(model: Any, n: int) -> Tensor:
    """A loop of the T steps, its noise from the global state, as an old script writes it."""
    x = torch.randn(n, 1, 8, 8)
    for t in reversed(range(T)):
        eps = model(x, torch.full((n,), t))
        x = formula(eps, t, x, torch.randn_like(x) if t else torch.zeros_like(x))
    return x


def test_a_loop_draws_what_scratch_draws(unet: Any) -> None:
    loop = compare.as_loop(sample, table=OURS.alpha_bar)
    assert loop.config == {"num_train_timesteps": T, "prediction_type": "epsilon"}
    pipe = scratch.DDPMPipeline(unet, OURS)
    pipe.set_progress_bar_config(disable=True)
    right = pipe(3, torch.Generator().manual_seed(7), T, output_type="pt").images * 2 - 1
    torch.testing.assert_close(loop.draw(unet, 3, seed=7), right, rtol=0, atol=10 * ROUNDED)
    assert not torch.equal(loop.draw(unet, 3, seed=8), right)


def test_loops_that_cannot_draw_cost_a_line(unet: Any) -> None:
    with pytest.raises(ValueError, match="tells its model t up to 39; the table has 20 entries"):
        compare.as_loop(sample, table=OURS.alpha_bar[:20])
    with pytest.raises(ValueError, match=r"NoStep has neither step\(out, t, x\) nor sample"):
        compare.as_loop(NoStep)
    other = SimpleNamespace(config=SimpleNamespace(sample_size=16, in_channels=1))
    with pytest.raises(ValueError, match=r"draws pictures of shape \(1, 8, 8\) alone; the netw"):
        compare.as_loop(sample, table=OURS.alpha_bar).draw(other, 2)


def test_the_workbench_draws_with_it(unet: Any) -> None:
    found, right = (
        draw("scratch", unet, scheduler, 3, seed=1, steps=T, record_every=10, progress=False)
        for scheduler in (compare.as_scheduler(Strange), OURS)
    )
    torch.testing.assert_close(found.images, right.images, rtol=0, atol=10 * ROUNDED)
    for one, other in zip(found.frames, right.frames, strict=True):
        torch.testing.assert_close(one.x_0, other.x_0, rtol=0, atol=10 * ROUNDED)
