"""Sampling with either backend's pipeline, guided, recorded, by DDPM and DDIM."""

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import diffusers
import pytest
import torch

import scratch
import with_diffusers
from workbench import progress_bar, sampling, trainer
from workbench.config import RunConfig
from workbench.data import Dataset
from workbench.sampling import Guided, Wrapped, in_eval_mode, sample

BACKENDS = ("scratch", "diffusers")
PACKAGES = {"scratch": scratch, "diffusers": with_diffusers}
T = 20
Make = Callable[..., RunConfig]


@pytest.fixture
def parts(tiny: Make, dataset: Dataset) -> Callable[..., tuple[Any, Any]]:
    """A UNet and a scheduler of a backend; the weights are the same for both."""

    def make(backend: str = "scratch", sampler: str = "DDPMScheduler", **changes: Any) -> Any:
        unet, scheduler = trainer.new_parts(tiny(backend=backend, **changes), dataset)
        config = dict(scheduler.config)
        if sampler == "DDIMScheduler":
            config.pop("variance_type")
        return unet, getattr(PACKAGES[backend], sampler).from_config(config)

    return make


def draw(unet: Any, scheduler: Any, backend: str = "scratch", **options: Any) -> torch.Tensor:
    options = {"count": 2, "seed": 0, "steps": 5, "progress": False, **options}
    return sample(backend, unet, scheduler, options.pop("count"), **options).images


# Ten float32 steps on values below 3 differ by a few 1e-7 each; the pictures are halved.
CLOSE = {"rtol": 0, "atol": 1e-5}


@pytest.mark.parametrize(
    ("sampler", "options"),
    [("DDPMScheduler", {}), ("DDIMScheduler", {"eta": 0.0}), ("DDIMScheduler", {"eta": 0.7})],
)
@pytest.mark.parametrize("labelled", [False, True])
def test_any_mix_of_parts_draws_the_same_pictures(
    sampler: str, options: dict[str, Any], labelled: bool, parts: Callable[..., Any]
) -> None:
    """UNet, scheduler and pipeline from either backend, wrapped and guided: eight of eight."""
    if labelled:
        options = {**options, "labels": [0, 2], "guidance": 2.5}
    made = {name: parts(name, sampler, class_conditional=labelled) for name in BACKENDS}
    expected = draw(*made["scratch"], **options)
    assert expected.shape == (2, 1, 8, 8)
    assert -1 <= expected.min() < 0 < expected.max() <= 1
    for unet in BACKENDS:
        for scheduler in BACKENDS:
            for pipeline in BACKENDS:
                drawn = draw(made[unet][0], made[scheduler][1], pipeline, **options)
                torch.testing.assert_close(drawn, expected, **CLOSE)


def test_samplers_and_eta_differ(parts: Callable[..., Any]) -> None:
    ddim = parts(sampler="DDIMScheduler")
    pictures = [draw(*parts()), *(draw(*ddim, eta=eta) for eta in (0.0, 0.5, 1.0))]
    for i, one in enumerate(pictures):
        for other in pictures[:i]:
            assert (one - other).abs().max() > 0.01


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_picture_depends_on_seed_and_index_alone(backend: str, parts: Callable[..., Any]) -> None:
    """Whatever the batches; batches of another size may round otherwise."""
    made = parts(backend)
    five = draw(*made, backend, count=5)
    torch.manual_seed(1)
    torch.testing.assert_close(draw(*made, backend, count=5, batch_size=2), five, **CLOSE)
    torch.testing.assert_close(draw(*made, backend, count=3), five[:3], **CLOSE)
    assert len({picture.numpy().tobytes() for picture in five}) == 5
    assert (draw(*made, backend, count=5, seed=1) - five).abs().max() > 0.01


@pytest.mark.parametrize("backend", BACKENDS)
def test_dropout_is_off_and_the_mode_comes_back(backend: str, parts: Callable[..., Any]) -> None:
    unet, scheduler = parts(backend, dropout=0.5, class_conditional=True)
    for mode in (True, False):
        unet.train(mode)
        first = draw(unet, scheduler, backend, labels=[1])
        assert unet.training is mode
        assert all(module.training is mode for module in unet.modules())
        assert torch.equal(draw(unet, scheduler, backend, labels=[1]), first)


def test_the_mode_comes_back_after_an_error() -> None:
    net = torch.nn.Dropout()
    with pytest.raises(KeyError), in_eval_mode(net):
        raise KeyError
    assert net.training


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_callers_generator_is_left_alone(backend: str, parts: Callable[..., Any]) -> None:
    made = parts(backend, "DDIMScheduler")
    before = torch.get_rng_state()
    draw(*made, backend, eta=1.0)
    assert torch.equal(torch.get_rng_state(), before)


# Guidance


class Told(torch.nn.Module):
    """Says its label, and 10 for "no label" (3)."""

    config = SimpleNamespace(num_class_embeds=4, sample_size=8, in_channels=1)
    device, dtype = torch.device("cpu"), torch.float32

    def forward(self, x: torch.Tensor, t: Any, class_labels: torch.Tensor) -> Any:
        said = torch.where(class_labels == 3, 10, class_labels).to(x.dtype)
        return SimpleNamespace(sample=said.reshape(-1, 1, 1, 1).expand_as(x))


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 3.0])
def test_guidance_is_equation_6(scale: float) -> None:
    """(1 + w) told - w untold with 1 + w = scale."""
    labels = torch.tensor([0, 2])
    said = Guided(Told(), labels, scale)(torch.zeros(2, 1, 8, 8), 5).sample
    expected = (scale * labels - (scale - 1) * 10).reshape(2, 1, 1, 1).expand(2, 1, 8, 8)
    torch.testing.assert_close(said, expected.float())


@pytest.mark.parametrize("backend", BACKENDS)
def test_labels_decide(backend: str, parts: Callable[..., Any]) -> None:
    made = parts(backend, class_conditional=True)
    one, two, none = (draw(*made, backend, labels=labels) for labels in ([0], [1], None))
    assert (one - two).abs().max() > 1e-3
    assert (one - none).abs().max() > 1e-3
    assert torch.equal(draw(*made, backend, labels=[0, 0]), one)
    torch.testing.assert_close(draw(*made, backend, labels=[0], guidance=0.0), none, **CLOSE)
    assert (draw(*made, backend, labels=[0], guidance=5.0) - one).abs().max() > 1e-3


def test_a_guided_unet_follows_its_unet_to_a_device(parts: Callable[..., Any]) -> None:
    unet, scheduler = parts("diffusers", class_conditional=True)
    guided = Guided(unet, torch.tensor([0]))
    assert (guided.device, guided.dtype) == (torch.device("cpu"), torch.float32)
    pipeline = diffusers.DDPMPipeline(guided, Wrapped(scheduler))
    pipeline.to("meta")
    assert guided.device == guided.labels.device == pipeline.device == torch.device("meta")
    pipeline.to(torch.float16)
    assert guided.dtype == torch.float16
    assert guided.labels.dtype == torch.int64
    assert "labels" not in guided.state_dict()


# Wrapping


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("every", "expected"), [(1, [16, 12, 8, 4, 0]), (2, [12, 4, 0]), (0, [])])
def test_recording(
    backend: str, every: int, expected: list[int], parts: Callable[..., Any]
) -> None:
    drawn = sample(
        backend, *parts(backend), 3,
        seed=0, steps=5, batch_size=2, record_every=every, progress=False,
    )  # fmt: skip
    assert [frame.timestep for frame in drawn.frames] == expected
    for frame in drawn.frames:
        assert frame.x_prev.shape == frame.x_0.shape == (2, 1, 8, 8)  # of the first batch
    if every:
        torch.testing.assert_close(drawn.frames[-1].x_prev.clamp(-1, 1), drawn.images[:2])
        torch.testing.assert_close(drawn.frames[-1].x_0, drawn.frames[-1].x_prev)  # t = 0: no noise


def test_a_wrapped_scheduler_is_the_scheduler(parts: Callable[..., Any]) -> None:
    _, scheduler = parts("diffusers", "DDIMScheduler")
    wrapped = Wrapped(scheduler, eta=0.3)
    wrapped.set_timesteps(4)
    assert wrapped.config is scheduler.config
    assert torch.equal(wrapped.timesteps, scheduler.timesteps)
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = wrapped.no_such_thing
    x, out = torch.randn(2, 1, 1, 8, 8)
    given = [{"generator": torch.Generator().manual_seed(1)} for _ in range(2)]
    one = wrapped.step(out, 15, x, **given[0]).prev_sample
    two = scheduler.step(out, 15, x, eta=0.3, **given[1]).prev_sample
    assert torch.equal(one, two)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_bar_is_shown_unless_it_is_not(
    backend: str,
    parts: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress_bar, "EVERY", 0.0)  # each time that it is drawn
    made = parts(backend)
    draw(*made, backend, progress=True)
    shown = capsys.readouterr().err
    assert f"sampling with {backend}" in shown
    assert "5/5" in shown
    draw(*made, backend)
    assert capsys.readouterr().err == ""


# Bad input


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": T + 1}, r"steps must lie in 1\.\.20, as the model has 20 timesteps, got 21"),
        ({"steps": 0}, r"steps must lie in 1\.\.20"),
        ({"count": 0}, "count and batch_size must lie in 1..1000000, got 0 and 64"),
        ({"batch_size": 0}, "count and batch_size must lie in 1..1000000"),
        ({"eta": 1.5}, r"eta must lie in \[0, 1\]"),
        ({"eta": -0.1}, r"eta must lie in \[0, 1\]"),
        ({"labels": [0, 1, 2]}, "give one label, or one for each of the 2 pictures, not 3"),
        ({"labels": [3]}, r"labels must lie in 0\.\.2, got \[3\]"),
        ({"labels": [-1]}, r"labels must lie in 0\.\.2, got \[-1\]"),
        ({"labels": [0], "guidance": math.nan}, "guidance must be a finite number, .* got nan"),
        ({"guidance": 2.0}, "guidance leads towards a label: give labels, or leave out 2.0"),
    ],
)
def test_bad_arguments_are_refused(
    backend: str, options: dict[str, Any], message: str, parts: Callable[..., Any]
) -> None:
    made = parts(backend, "DDIMScheduler", class_conditional=True)
    with pytest.raises(ValueError, match=message):
        draw(*made, backend, **options)


def test_labels_for_a_model_without_are_refused(parts: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="trained without labels; leave them out"):
        draw(*parts(), labels=[0])


def ddim(backend: str, spacing: str, T: int = 1000) -> Any:
    made = PACKAGES[backend].DDIMScheduler
    return made(num_train_timesteps=T, timestep_spacing=spacing)


@pytest.mark.parametrize(
    ("spacing", "steps"), [("leading", 50), ("leading", 600), ("trailing", 50), ("linspace", 1000)]
)
def test_chains_that_the_library_gets_right_are_not_refused(spacing: str, steps: int) -> None:
    sampling.refuse_wrong_steps("diffusers", ddim("diffusers", spacing), steps)


@pytest.mark.parametrize(
    ("spacing", "steps", "reason"),
    [("linspace", 50, "t=979 .* does not step to t=958"), ("trailing", 61, "-1")],
)
def test_chains_that_the_library_gets_wrong_are_refused_with_the_reason(
    spacing: str, steps: int, reason: str
) -> None:
    with pytest.raises(
        ValueError, match=f"{reason}.*; the scratch backend does this right"
    ) as refused:
        sampling.refuse_wrong_steps("diffusers", ddim("diffusers", spacing), steps)
    assert "\n" not in str(refused.value)
    sampling.refuse_wrong_steps("scratch", ddim("scratch", spacing), steps)


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_refused_is_what_differs_and_nothing_else(spacing: str) -> None:
    """For every count, walk the whole chain with both: ours takes the list's own next timestep."""
    x = torch.linspace(-1, 1, 8, dtype=torch.float64).reshape(1, 1, 2, 4)
    refused = []
    for n in range(1, T + 1):
        ends = []
        for backend in BACKENDS:
            scheduler, end = ddim(backend, spacing, T), x
            scheduler.set_timesteps(n)
            for t in scheduler.timesteps:
                end = scheduler.step(end.cos(), t, end).prev_sample
            ends.append(end)
        try:
            sampling.refuse_wrong_steps("diffusers", ddim("diffusers", spacing, T), n)
        except ValueError:
            refused.append(n)
        # float32 tables: alpha_bar is off by 1e-7 at most; a wrong timestep by a whole beta, 1e-3.
        assert ((ends[0] - ends[1]).abs().max() > 1e-4) == (n in refused), n
    assert (refused == []) == (spacing == "leading")


def test_ddpms_own_trailing_list_is_refused_too() -> None:
    made = with_diffusers.DDPMScheduler(timestep_spacing="trailing")
    with pytest.raises(ValueError, match="-1"):
        sampling.refuse_wrong_steps("diffusers", made, 61)
    sampling.refuse_wrong_steps("diffusers", made, 50)
    linspace = with_diffusers.DDPMScheduler(timestep_spacing="linspace")
    sampling.refuse_wrong_steps("diffusers", linspace, 50)  # DDPM looks its list up
