"""What others' code does in the same setting: the first line of each contest is the usual one."""

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader

from workbench import backends
from workbench.bench.ours import pipeline
from workbench.bench.setting import Setting
from workbench.bench.timing import Contestant, Work

DDP = "denoising-diffusion-pytorch"


def tutorial_loop(setting: Setting) -> Work:
    """One step of the loop that tutorials have, with Diffusers' parts: nothing of ours in it."""
    library = backends.load("diffusers")
    arguments = setting.run_config("diffusers").model.unet_arguments(setting.shape, None)
    unet = library.UNet2DModel(**arguments).to(setting.device)
    scheduler = library.DDPMScheduler(num_train_timesteps=500)
    optimizer = torch.optim.Adam(unet.parameters(), lr=1e-4)
    images: Any = list(setting.dataset().images.cpu())
    loader: DataLoader[torch.Tensor] = DataLoader(
        images, batch_size=setting.batch_size, shuffle=True, drop_last=True
    )

    def steps() -> Any:
        while True:
            for batch in loader:
                x_0 = batch.to(setting.device)
                noise = torch.randn_like(x_0)
                t = torch.randint(0, 500, (len(x_0),), device=setting.device)
                prediction = unet(scheduler.add_noise(x_0, noise, t), t).sample
                loss = mse_loss(prediction, noise)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                yield loss

    endless = steps()
    return lambda: next(endless)


def compiled_pipeline(setting: Setting) -> Work:
    """Diffusers' pipeline whose user wrote `torch.compile(unet)`."""
    unet, _ = setting.parts("diffusers")
    unet.eval()
    unet.forward = torch.compile(unet.forward, dynamic=False)  # the pipeline asks for its config
    return pipeline(setting, "diffusers", unet)


def ddp_diffusion(setting: Setting, timesteps: int) -> Any:
    """That package's diffusion, with a network of its own as wide as ours."""
    from denoising_diffusion_pytorch import GaussianDiffusion, Unet

    first, *_ = widths = setting.channels
    network = Unet(first, dim_mults=tuple(width // first or 1 for width in widths), channels=3)
    made = GaussianDiffusion(network, image_size=setting.size, timesteps=timesteps)
    return made.to(setting.device)


def ddp_training(setting: Setting) -> Work:
    """One step of that package's trainer, without its folder of files: loss, clip, Adam, EMA."""
    from ema_pytorch import EMA

    diffusion = ddp_diffusion(setting, 500)
    optimizer = torch.optim.Adam(diffusion.parameters(), lr=1e-4, betas=(0.9, 0.99))
    ema = EMA(diffusion, beta=0.995, update_every=10)
    images = (setting.dataset().images + 1) / 2

    def work() -> Any:
        chosen = torch.randint(len(images), (setting.batch_size,), device=setting.device)
        loss = diffusion(images[chosen])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(diffusion.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        ema.update()
        return loss

    return work


def ddp_sampling(setting: Setting) -> Work:
    """A chain of that package, of as many steps."""
    import denoising_diffusion_pytorch.denoising_diffusion_pytorch as package

    diffusion = ddp_diffusion(setting, setting.steps).eval()
    package.tqdm = lambda steps, **_: steps  # it draws a bar whatever one says

    def work() -> Any:
        with torch.no_grad():
            return diffusion.sample(setting.batch_size).cpu()

    return work


def why_no_ddp() -> str | None:
    """Why that package cannot be measured here, or None."""
    try:
        import denoising_diffusion_pytorch  # noqa: F401
        import ema_pytorch  # noqa: F401
    except (ImportError, RuntimeError, OSError) as error:
        return f"{DDP} is not measured: {error}; pip install '{DDP}' torchvision"
    return None


def training(setting: Setting, ddp: bool) -> list[Contestant]:
    """The tutorial's loop first."""
    b = setting.batch_size
    found = [Contestant("the tutorial's loop", lambda: tutorial_loop(setting), b)]
    return found + _of_ddp(ddp, lambda: ddp_training(setting), b)


def sampling(setting: Setting, ddp: bool) -> list[Contestant]:
    """Diffusers' pipeline first, as it is; compiled by its user, if asked for."""
    images = setting.batch_size * setting.steps

    def as_it_is() -> Work:
        return pipeline(setting, "diffusers")

    found = [Contestant("Diffusers' DDPMPipeline", as_it_is, images)]
    if setting.compiled:
        name = "Diffusers' DDPMPipeline, compiled"
        found.append(Contestant(name, lambda: compiled_pipeline(setting), images, counted=as_it_is))
    return found + _of_ddp(ddp, lambda: ddp_sampling(setting), images)


def _of_ddp(here: bool, make: Callable[[], Work], images: int) -> list[Contestant]:
    return [Contestant(f"{DDP}, its own network", make, images)] if here else []
