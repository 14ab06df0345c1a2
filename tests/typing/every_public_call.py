"""A user's script of every public call: a type checker reads it, and a test runs it.

Each answer is named twice: `assert_type` for the checker, which must infer just that, and
`isinstance` or a value for the run. So no annotation says more, or less, than what comes back.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, assert_type, cast

import torch
from torch import Tensor

import compare
import scratch
import with_diffusers
from compare.template import MyScheduler
from scratch import forward, noise, prediction, reverse, schedule, timesteps
from scratch.pipeline import ImagePipelineOutput
from scratch.scheduler import SchedulerOutput
from scratch.unet import UNet2DOutput
from workbench import backends, data, plotting, runs, sampling, trainer, training_run
from workbench.config import DiffusionConfig, ModelConfig, RunConfig, TrainConfig

X = torch.zeros(2, 1, 8, 8)
T = torch.tensor([3, 7])


def formulas() -> None:
    """Each formula of scratch."""
    betas = assert_type(schedule.linear(10, 1e-4, 0.02), Tensor)
    assert_type(schedule.scaled_linear(10, 1e-4, 0.02), Tensor)
    assert_type(schedule.sigmoid(10, 1e-4, 0.02), Tensor)
    assert_type(schedule.zero_terminal_snr(schedule.cosine(10)), Tensor)
    assert len(betas) == 10
    assert_type(forward.add_noise(X, X, 0.5), Tensor)
    assert_type(forward.velocity(X, X, 0.5), Tensor)
    assert_type(reverse.x_0_from_eps(X, X, 0.5), Tensor)
    assert_type(reverse.x_0_from_v(X, X, 0.5), Tensor)
    assert_type(reverse.eps_from_x_0(X, X, 0.5), Tensor)
    assert_type(reverse.eps_from_v(X, X, 0.5), Tensor)
    assert_type(reverse.dynamic_threshold(X, 0.9, 1.5), Tensor)
    assert_type(reverse.posterior_mean(X, X, 0.5, 0.7), Tensor)
    assert isinstance(assert_type(reverse.posterior_variance(0.5, 0.7), float), float)
    assert_type(reverse.posterior_variance(betas, betas), Tensor)
    assert_type(prediction.predict_x_0("epsilon", X, X, 0.5), Tensor)
    assert_type(prediction.predict_eps("v_prediction", X, X, 0.5), Tensor)
    assert_type(timesteps.leading(10, 5), list[int])
    assert_type(timesteps.linspace(10, 5), list[int])
    assert_type(timesteps.trailing(10, 5), list[int])
    assert_type(noise.draw_noise((1, 1, 8, 8), None, X.device, X.dtype), Tensor)
    assert_type(noise.draw_noise_like(X, torch.Generator()), Tensor)


def schedulers(folder: Path) -> None:
    """Both of scratch, with everything that they share."""
    ddpm = scratch.DDPMScheduler(num_train_timesteps=10, prediction_type="v_prediction")
    ddim = assert_type(scratch.DDIMScheduler.from_config(ddpm.config), scratch.DDIMScheduler)
    assert assert_type(len(ddpm), int) == 10
    ddpm.set_timesteps(timesteps=[7, 3, 0])
    ddim.set_timesteps(5, device="cpu")
    assert_type(ddpm.alpha_bar, Tensor)
    assert_type(ddpm.timesteps, Tensor)
    assert_type(ddpm.num_inference_steps, int | None)
    assert assert_type(ddpm.previous_timestep(7), int) == 3
    assert int(assert_type(ddpm.previous_timestep(ddpm.timesteps[0]), Tensor)) == 3
    assert_type(ddpm.scale_model_input(X, 3), Tensor)
    assert_type(ddpm.add_noise(X, X, T), Tensor)
    assert_type(ddpm.get_velocity(X, X, T), Tensor)
    assert_type(ddpm.step(X, 7, X).prev_sample, Tensor)
    assert isinstance(assert_type(ddpm.step(X, 7, X, return_dict=True), SchedulerOutput), tuple)
    plain = assert_type(ddpm.step(X, 7, X, return_dict=False), tuple[Tensor, Tensor])
    assert type(plain) is tuple
    assert_type(ddpm.step(X, 7, X).values(), tuple[Tensor, Tensor])
    assert_type(ddim.step(X, 8, X, eta=0.5).pred_original_sample, Tensor)
    plain = assert_type(ddim.step(X, 8, X, return_dict=False), tuple[Tensor, Tensor])
    assert type(plain) is tuple
    either = ddim.step(X, 8, X, return_dict=bool(folder))
    assert_type(either, SchedulerOutput | tuple[Tensor, Tensor])
    ddpm.save_pretrained(folder)
    ddim.save_config(folder)
    assert_type(scratch.DDPMScheduler.from_pretrained(folder), scratch.DDPMScheduler)
    assert ddpm.compatibles == [type(ddim), type(ddpm)]
    assert scratch.config_problem(ddpm) is None
    assert assert_type(scratch.chain_problem(ddpm, 5), str | None) is None


def network(folder: Path) -> scratch.UNet2DModel:
    """The UNet of scratch."""
    unet = scratch.UNet2DModel(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        block_out_channels=(8,),
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
        norm_num_groups=2,
    )
    assert isinstance(assert_type(unet.forward(X, T), UNet2DOutput), UNet2DOutput)
    assert_type(unet.forward(X, 3).sample, Tensor)
    assert type(assert_type(unet.forward(X, T, return_dict=False), tuple[Tensor])) is tuple
    assert_type(unet(X, T).sample, Tensor)
    assert type(assert_type(unet(X, T, return_dict=False), tuple[Tensor])) is tuple
    assert_type(unet.device, torch.device)
    assert_type(unet.dtype, torch.dtype)
    unet.save_pretrained(folder)
    half = scratch.UNet2DModel.from_pretrained(folder, torch_dtype=torch.float16)
    assert assert_type(half, scratch.UNet2DModel).dtype == torch.float16
    return assert_type(scratch.UNet2DModel.from_config(unet.config), scratch.UNet2DModel)


def pipelines(unet: scratch.UNet2DModel, folder: Path) -> None:
    """The pipeline of either backend: the same call, the same kind of answer."""
    ours = scratch.DDPMPipeline(unet, scratch.DDPMScheduler(num_train_timesteps=4))
    assert assert_type(ours.to("cpu"), scratch.DDPMPipeline) is ours
    ours.set_progress_bar_config(disable=True)
    assert_type(ours(num_inference_steps=2), ImagePipelineOutput)
    assert len(ours(2, num_inference_steps=2, output_type="pt").images) == 2
    assert type(assert_type(ours(1, None, 2, return_dict=False), tuple[Any])) is tuple
    assert_type(ours.device, torch.device)
    assert_type(ours.dtype, torch.dtype)
    ours.save_pretrained(folder)
    assert_type(scratch.DDPMPipeline.from_pretrained(folder), scratch.DDPMPipeline)

    scheduler = with_diffusers.DDPMScheduler(num_train_timesteps=4)
    model = with_diffusers.UNet2DModel(**{n: v for n, v in unet.config.items() if n[0] != "_"})
    theirs = with_diffusers.DDPMPipeline(model.eval(), scheduler)
    theirs.set_progress_bar_config(disable=True)
    assert len(theirs(2, num_inference_steps=2, output_type="np").images) == 2
    assert_type(theirs(1, None, 2, return_dict=False), tuple[Any])
    assert_type(scheduler.add_noise(X, X, T % 4), Tensor)
    scheduler.set_timesteps(2)
    assert_type(scheduler.step(X, 2, X, return_dict=False), tuple[Tensor, Tensor])
    assert scheduler.step(X, 2, X).prev_sample.shape == X.shape
    ddim = with_diffusers.DDIMScheduler(num_train_timesteps=4)
    ddim.set_timesteps(2)
    assert ddim.step(X, 2, X, eta=1.0).prev_sample.shape == X.shape
    assert assert_type(model(X, T % 4).sample, Tensor).shape == X.shape
    assert type(assert_type(model(X, 1, return_dict=False), tuple[Tensor])) is tuple
    assert with_diffusers.config_problem(scheduler) is None
    assert with_diffusers.chain_problem(scheduler, 2) is None


def one_run(folder: Path) -> None:
    """Data, training, sampling and pictures of the workbench."""
    dataset = assert_type(data.load("sprites", count=4), data.Dataset)
    assert assert_type(dataset.num_classes, int) == 5
    assert assert_type(dataset.shape, tuple[int, int, int, int]) == (len(dataset), 3, 16, 16)
    assert assert_type(dataset.batch([0, 2]), Tensor).shape == (2, 3, 16, 16)
    for batch in dataset.batches([torch.tensor([1])]):
        assert torch.equal(assert_type(batch, Tensor), dataset.images[1:2])
    assert assert_type(dataset.bytes_in_memory, int) == 4 * 3 * 16 * 16
    assert assert_type(dataset.fingerprint(progress=False), str)
    assert len(assert_type(dataset.first(2), data.Dataset).to("cpu")) == 2
    config = RunConfig(
        data="sprites",
        model=ModelConfig(channels=(8,), attention=(False,), norm_num_groups=2),
        diffusion=DiffusionConfig(num_train_timesteps=4),
        train=TrainConfig(batch_size=2, steps=2),
    )
    device = assert_type(backends.choose_device("cpu"), torch.device)
    assert backends.load("scratch").DDPMScheduler is scratch.DDPMScheduler
    unet, scheduler = trainer.new_parts(config, dataset)
    state = assert_type(trainer.new_state(unet, config.train), trainer.TrainingState)
    for step in trainer.training_steps(state, scheduler, dataset, config.train, seed=0):
        assert_type(step, trainer.Step)
    result = training_run.train(config, folder, dataset, device=device, progress=False)
    assert len(assert_type(result.losses, list[float])) == 2
    assert_type(runs.load_config(folder), RunConfig)
    assert_type(runs.load_metrics(folder), list[dict[str, float]])
    unet, scheduler = runs.load_parts(folder, "scratch")
    drawn = sampling.sample("scratch", unet, scheduler, 2, seed=0, steps=2, progress=False)
    assert_type(drawn.images, Tensor)
    half = sampling.sample(
        "diffusers", unet, scheduler, 2, seed=0, steps=2, precision="bf16", progress=False
    )
    assert half.images.shape == drawn.images.shape
    plotting.save(plotting.image_grid(drawn.images), folder / "grid.png")
    plotting.save(plotting.noising_strip(dataset.images, scheduler), folder / "noising.png")
    plotting.save(plotting.side_by_side(drawn.images, drawn.images), folder / "both.png")


def verdicts() -> None:
    """The judge."""
    ours = compare.Adapter(alpha_bar=lambda: scratch.DDPMScheduler().alphas_cumprod)
    report = assert_type(compare.run(ours), compare.Report)
    assert assert_type(report.passed, bool)
    assert_type(report.diagnoses, list[compare.Diagnosis])
    assert_type(report.to_dict(), dict[str, Any])
    assert all(assert_type(check, compare.Check).passed for check in compare.checks(ours))
    assert isinstance(compare.as_network(X), torch.nn.Module)


class Net(torch.nn.Module):
    """A network of one's own."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = torch.nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """What it takes for the noise."""
        scale: Tensor = 1 + t.reshape(-1, 1, 1, 1) / 1000
        mixed: Tensor = self.mix(x) * scale
        return mixed


class Own(MyScheduler):
    """The template's class as a whole loop."""

    def sample(self, model: Any, n: int) -> Tensor:
        """All of its steps."""
        x, step = torch.randn(n, 1, 8, 8), cast(Any, self).step
        for t in range(999, -1, -1):
            x = step(model(x, torch.full((n,), t)), t, x)
        return x


def brought() -> None:
    """Parts of one's own in the place of ours."""
    scheduler = compare.as_scheduler(MyScheduler)
    assert scheduler.step(X, 3, X, torch.Generator()).prev_sample.shape == X.shape
    unet = compare.as_unet(Net, (1, 8, 8))
    assert unet(X, T).sample.shape == X.shape
    assert len(compare.as_loop(Own).draw(unet, 2, 0)) == 2


def main() -> None:
    """All of it."""
    with TemporaryDirectory() as place:
        folder = Path(place)
        formulas()
        schedulers(folder / "scheduler")
        pipelines(network(folder / "unet"), folder / "pipeline")
        one_run(folder / "run")
        verdicts()
        brought()


if __name__ == "__main__":
    main()
