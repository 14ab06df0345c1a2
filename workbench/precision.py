"""Computing in another precision than that of the weights: `--precision` of `ddpm sample`.

The network computes in it; x_t, the noise and the steps stay as they are, so that a seed draws the
same numbers in all of them. `--precision` of `ddpm train` is Accelerate's (`processes.py`), but for
the attention of a CPU in bf16.
"""

import copy
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from workbench.config import Precision

DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
CPU_INFO = Path("/proc/cpuinfo")  # of Linux
NATIVE = {"avx512_bf16", "amx_bf16", "bf16"}  # x86 twice, Arm
FEW = 144  # positions, 12 x 12: of more the one kernel is the faster even so


class InPrecision(torch.nn.Module):
    """A copy of a UNet with other weights, which takes and gives what the first one does.

    Args:
        unet: of either backend; left as it is.
        dtype: of the copy's weights.
        memory_format: of them.
    """

    def __init__(
        self,
        unet: Any,
        dtype: torch.dtype,
        memory_format: torch.memory_format = torch.preserve_format,
    ) -> None:
        super().__init__()
        self.config, self.dtype, self.inside = unet.config, unet.dtype, dtype
        self.unet = copy.deepcopy(unet).to(dtype=dtype, memory_format=memory_format)
        self.train(unet.training)

    @property
    def device(self) -> torch.device:
        """Where the UNet is."""
        return self.unet.device

    def forward(self, sample: torch.Tensor, timestep: Any, **labels: Any) -> SimpleNamespace:
        """The prediction for `sample` (b, c, h, w), as an object with `.sample` of its dtype."""
        output = self.unet(sample.to(self.inside), timestep, **labels).sample
        return SimpleNamespace(sample=output.to(sample.dtype))


def attention_of(unet: Any, x_t: torch.Tensor) -> AbstractContextManager[Any]:
    """How attention is computed while a network learns: by torch's one kernel for it, if it pays.

    On a CPU, in bf16 and of few positions, that kernel takes several times as long to go backward
    as two products of matrices and a softmax, and longer than in float32 (docs/speed.md). Inside
    the block these stand in its place there.

    Args:
        unet: of either backend, or one's own, whose attention is left alone.
        x_t: (b, c, h, w) that it is about to be given; autocast says in what it computes.
    """
    kinds = getattr(unet, "config", {}).get("down_block_types", ())
    if x_t.device.type != "cpu" or not torch.is_autocast_enabled("cpu") or not kinds:
        return nullcontext()
    levels = [i for i, kind in enumerate(kinds) if "Attn" in kind] or [len(kinds) - 1]
    positions = (x_t.shape[-2] >> levels[0]) * (x_t.shape[-1] >> levels[0])
    return sdpa_kernel(SDPBackend.MATH) if positions <= FEW else nullcontext()


def check(precision: Precision, device: torch.device) -> None:
    """Refuse what a device does not compute in.

    Raises:
        ValueError: there is no such precision, or this device does not compute in it.
    """
    if precision not in DTYPES:
        raise ValueError(f"precision must be one of {', '.join(DTYPES)}, got {precision!r}")
    if precision == "fp16" and device.type == "cpu":
        raise ValueError("fp16 is for a GPU; on a CPU take bf16 or float32")


def in_precision(unet: Any, precision: Precision) -> Any:
    """`unet` itself in float32, else a copy that computes in `precision`.

    Raises:
        ValueError: as of `check`.
    """
    check(precision, unet.device)
    return unet if precision == "float32" else InPrecision(unet, DTYPES[precision])


def computes_bf16(cpu_info: Path = CPU_INFO) -> bool | None:
    """Whether this processor multiplies in bfloat16 itself; None where it does not say.

    Without it bf16 is right, and slower than float32.
    """
    try:
        words = cpu_info.read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        return None
    return not NATIVE.isdisjoint(words)
