"""Training and sampling of this project as pieces of work, by both backends."""

from functools import partial
from typing import Any, get_args

import torch
from tqdm.auto import tqdm

from workbench import backends, fast, trainer
from workbench.backends import Backend
from workbench.bench.setting import Setting
from workbench.bench.timing import Contestant, Work
from workbench.coefficients import coefficients_of
from workbench.config import Precision
from workbench.precision import in_precision

NAMES: tuple[Backend, ...] = get_args(Backend)
PRECISIONS: tuple[Precision, ...] = ("float32", "bf16")


def training_step(
    setting: Setting,
    backend: Backend,
    memory_format: torch.memory_format = torch.preserve_format,
    **options: Any,
) -> Work:
    """One optimizer step of our trainer; `options` are of `TrainConfig`."""
    config = setting.run_config(backend, gradient_clip=None, ema_decay=None, **options)
    unet, scheduler = setting.parts(backend)
    unet.to(memory_format=memory_format)
    state = trainer.new_state(unet, config.train)
    steps = trainer.training_steps(state, scheduler, setting.dataset(), config.train, 0)
    return lambda: next(steps)


def pipeline(setting: Setting, backend: Backend, unet: Any = None) -> Work:
    """A chain by the backend's own pipeline."""
    made, scheduler = setting.parts(backend)
    drawer = backends.load(backend).DDPMPipeline((made if unet is None else unet).eval(), scheduler)
    drawer.set_progress_bar_config(disable=True)
    draw = torch.Generator().manual_seed(0)
    return lambda: drawer(
        setting.batch_size, draw, num_inference_steps=setting.steps, output_type="np"
    )


def in_other_precision(
    setting: Setting,
    precision: Precision,
    memory_format: torch.memory_format = torch.preserve_format,
) -> Work:
    """scratch's pipeline round a network that computes in another precision."""
    unet, _ = setting.parts("scratch")
    unet.to(memory_format=memory_format)
    return pipeline(setting, "scratch", in_precision(unet, precision))


@torch.no_grad()
def fast_chain(setting: Setting, backend: Backend, precision: Precision) -> Work:
    """A chain by the fast path; what it could not have is said on stderr."""
    unet, scheduler = setting.parts(backend)
    network: Any = fast.laid_out(in_precision(unet.eval(), precision))
    plan = coefficients_of(scheduler, setting.steps)
    shape = (setting.batch_size, *setting.shape)
    chain = fast.make_chain(network, plan, shape, fast.say_it)
    draws = [torch.Generator().manual_seed(i) for i in range(setting.batch_size)]

    def work() -> Any:
        with torch.no_grad(), tqdm(disable=True) as bar:
            return chain.run(draws, bar).float().cpu().numpy()

    return work


def training(setting: Setting) -> list[Contestant]:
    """Our trainer: both backends, what may pay, and, if asked for, the fast path."""
    b = setting.batch_size
    found = [
        Contestant(f"our trainer, {backend}", partial(training_step, setting, backend), b)
        for backend in NAMES
    ]
    found += [
        Contestant(
            "our trainer, scratch, bf16",
            lambda: training_step(setting, "scratch", precision="bf16"),
            b,
            counted=partial(training_step, setting, "scratch"),  # attention in one kernel is not
            dtype="bf16",
        ),
        Contestant(
            "our trainer, scratch, channels-last",
            lambda: training_step(setting, "scratch", torch.channels_last),
            b,
        ),
    ]
    if setting.compiled:
        for backend in NAMES:
            for precision in PRECISIONS:
                found.append(
                    Contestant(
                        f"our trainer, {backend}, fast, {precision}",
                        partial(training_step, setting, backend, fast=True, precision=precision),
                        b,
                        counted=partial(training_step, setting, backend),
                        dtype=precision,
                    )
                )
    return found


def sampling(setting: Setting) -> list[Contestant]:
    """Our samplers: scratch's pipeline, what may pay, and, if asked for, the fast path."""
    images = setting.batch_size * setting.steps

    def plain() -> Work:
        return pipeline(setting, "scratch")

    found = [
        Contestant("scratch's DDPMPipeline", plain, images),
        Contestant(
            "scratch, bf16", lambda: in_other_precision(setting, "bf16"), images, dtype="bf16"
        ),
        Contestant(
            "scratch, channels-last",
            lambda: in_other_precision(setting, "float32", torch.channels_last),
            images,
        ),
    ]
    if setting.compiled:
        for backend in NAMES:
            for precision in PRECISIONS:
                found.append(
                    Contestant(
                        f"fast, {backend}, {precision}",
                        partial(fast_chain, setting, backend, precision),
                        images,
                        counted=plain,
                        dtype=precision,
                    )
                )
    return found
