"""What a bench measures: on which device, with which network, on which pictures."""

import os
import platform
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from workbench import trainer
from workbench.backends import Backend
from workbench.config import DiffusionConfig, ModelConfig, RunConfig, TrainConfig
from workbench.data import Dataset

CPU_INFO = Path("/proc/cpuinfo")  # of Linux


@dataclass(frozen=True)
class Setting:
    """The same for everybody who is measured.

    Attributes:
        device: where.
        channels: width of each level of the UNet; attention in the middle alone.
        size: side of the pictures, which have three channels.
        batch_size: b.
        steps: of a chain that is drawn.
        compiled: whether what is compiled is measured as well.
    """

    device: torch.device
    channels: tuple[int, ...] = (32, 64)
    size: int = 16
    batch_size: int = 32
    steps: int = 4
    compiled: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """(c, h, w) of a picture."""
        return (3, self.size, self.size)

    def run_config(self, backend: Backend, **train: Any) -> RunConfig:
        """The run that stands for it."""
        model = ModelConfig(self.channels, attention=(False,) * len(self.channels))
        settings = TrainConfig(batch_size=self.batch_size, steps=10**6, learning_rate=1e-4)
        return RunConfig(
            backend=backend,
            model=model,
            diffusion=DiffusionConfig(num_train_timesteps=500),
            train=replace(settings, **train),
        )

    def dataset(self) -> Dataset:
        """Pictures of uniform noise: what they show makes no time."""
        draw = torch.Generator().manual_seed(0)
        n = max(1000, 2 * self.batch_size)
        return Dataset(torch.rand(n, *self.shape, generator=draw) * 2 - 1).to(self.device)

    def parts(self, backend: Backend) -> tuple[Any, Any]:
        """A UNet on the device, and a scheduler; the same weights for both backends."""
        unet, scheduler = trainer.new_parts(self.run_config(backend), self.dataset())
        return unet.to(self.device), scheduler


def machine(device: torch.device) -> dict[str, Any]:
    """What one must know of a machine to read its times."""
    facts = {
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "diffusers": version("diffusers"),
    }
    if device.type == "cuda":
        facts["gpu"] = torch.cuda.get_device_name(device)
    return facts


def _processor() -> str:
    lines = CPU_INFO.read_text(encoding="utf-8").splitlines() if CPU_INFO.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
