"""Where Diffusers is wrong or silent: measured, with a command, a value and an effect each.

A finding that is a wrong formula also says which field of the oracle it replaces: a candidate whose
failing check fits that formula shares the finding, and gets the status `known`.
"""

import contextlib
import io
import logging
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import torch

from compare import mistakes
from compare.measure.step import OWN
from compare.oracle import Level, Oracle, Setting


@dataclass(frozen=True)
class Finding:
    """A defect of the library.

    Attributes:
        id: a short name.
        title: what is wrong, in one line.
        right: the value of the oracle, or what should happen.
        effect: what a user sees.
        command: a minimal program that prints `shows` while the finding holds.
        shows: what the command prints.
        versions: the range in which the command printed `shows`, the last patch of each minor
            release.
        bug: its number in the catalogue of mistakes, if it has one.
        seams: {field of `Oracle`: Diffusers' formula}, where it is one.
        only: `"ddim"` or `"ddpm"` if it is a fault of one scheduler.
    """

    id: str
    title: str
    right: str
    effect: str
    command: str
    shows: str
    versions: str = "0.30.3 to 0.42.1"
    bug: str | None = None
    seams: dict[str, Any] = field(default_factory=dict)
    only: str = ""

    def oracle(self, base: Oracle | None = None) -> Oracle:
        """The oracle with Diffusers' formula in this place."""
        return replace(base or Oracle(), **self.seams)

    def plain(self) -> dict[str, str]:
        """The finding as strings, for reports."""
        names = ("id", "title", "right", "effect", "command", "shows", "versions")
        return {name: getattr(self, name) for name in names} | {"bug": self.bug or ""}


def _while_t_above_0(level: Level) -> torch.Tensor:
    return level.t > 0


def _large_log(kind: str, level: Level, out: torch.Tensor | None = None) -> torch.Tensor:
    wrong = kind == "fixed_large_log"
    formula = mistakes.BY_ID["51"].seams["std"] if wrong else Oracle().std
    return formula(kind, level, out)


def _off_the_list(
    following: torch.Tensor, t: torch.Tensor, n: int, setting: Setting
) -> torch.Tensor:
    """Of the library's own lists: another list that a stride misses is its author's mistake."""
    formula = Oracle().previous if setting.timestep_spacing == OWN else _BY_STRIDE
    return formula(following, t, n, setting)


_BY_STRIDE = mistakes.BY_ID["72"].seams["previous"]
_START = "from diffusers import DDPMScheduler, DDIMScheduler; import torch; "

_UNET = (
    "from diffusers import UNet2DModel; import torch; torch.manual_seed(0); "
    "small = dict(sample_size=8, block_out_channels=(8, 16), norm_num_groups=4, "
    "layers_per_block=1, down_block_types=('DownBlock2D',) * 2, "
    "up_block_types=('UpBlock2D',) * 2); "
)

FINDINGS: tuple[Finding, ...] = (
    Finding(
        "trailing-extra-step",
        "`trailing` gives n+1 timesteps, the last of them -1, for 62 step counts of T=1000",
        "61 timesteps from 999 to 15",
        "the last step reads alpha_bar[-1], that of pure noise, and spoils the finished picture",
        _START + "s = DDPMScheduler(timestep_spacing='trailing'); s.set_timesteps(61); "
        "print(len(s.timesteps), int(s.timesteps[-1]))",
        "62 -1",
        bug="73",
        seams={"timesteps": mistakes.BY_ID["73"].seams["timesteps"]},
    ),
    Finding(
        "noise-at-the-end",
        "`trailing` with `fixed_large` or a learned variance adds noise at the last step, as t > 0",
        "no noise where no previous step exists (Ho et al., algorithm 2, line 3)",
        "noise of std 0.32 stays in a 10-step picture",
        _START + "s = DDPMScheduler(timestep_spacing='trailing', variance_type='fixed_large'); "
        "s.set_timesteps(10); z = torch.zeros(1, 1, 256, 256); torch.manual_seed(0); "
        "print(round(float(s.step(z, s.timesteps[-1], z).prev_sample.std()), 2))",
        "0.32",
        bug="56",
        seams={"noisy": _while_t_above_0},
        only="ddpm",
    ),
    Finding(
        "fixed-large-log-nan",
        "`fixed_large_log` takes the square root of a log-variance: NaN",
        "the same noise as `fixed_large`",
        "every picture is NaN",
        _START + "s = DDPMScheduler(variance_type='fixed_large_log'); z = torch.zeros(1, 1, 2, 2); "
        "print(bool(s.step(z, 500, z).prev_sample.isnan().all()))",
        "True",
        bug="51",
        seams={"std": _large_log},
        only="ddpm",
    ),
    Finding(
        "learned-nan",
        "`learned` with twice the channels takes the square root of the model's second half: NaN",
        "a variance or log-variance that a network can give; a log-variance has exp(0.5 v)",
        "NaN wherever the second half is negative, as half of its values are at the start",
        _START + "s = DDPMScheduler(variance_type='learned'); z = torch.zeros(1, 1, 2, 2); "
        "print(bool(s.step(torch.full((1, 2, 2, 2), -1.0), 500, z).prev_sample.isnan().all()))",
        "True",
        bug="51-learned",
        seams={"std": mistakes.BY_ID["51-learned"].seams["std"]},
        only="ddpm",
    ),
    Finding(
        "half-precision-noise",
        "add_noise in half precision computes 1 - alpha_bar after the cast: no noise at small t",
        "0.0100 at t=0",
        "training in float16 or bfloat16 sees clean images at t=0 and wrong noise up to t=10",
        _START + "s = DDPMScheduler(); x = torch.zeros(1, 1, 2, 2, dtype=torch.float16); "
        "print(float(s.add_noise(x, x + 1, torch.tensor([0])).max()))",
        "0.0",
        bug="31",
        seams={"add_noise": mistakes.BY_ID["31"].seams["add_noise"]},
    ),
    Finding(
        "ddim-previous-step",
        "DDIM steps to t - T//n, which is not the next timestep of `linspace` and `trailing` lists",
        "the next timestep of the list: 888 after 999 (linspace, n=10)",
        "the noise level of x and the one that the model is told drift apart",
        _START + "s = DDIMScheduler(timestep_spacing='linspace', clip_sample=False); "
        "s.set_timesteps(10); x = torch.ones(1, 1, 1, 1); p = s.step(0 * x, 999, x).prev_sample; "
        "a = s.alphas_cumprod; print(int((a.sqrt() / a[999].sqrt() - p.flatten()).abs().argmin()))",
        "899",
        bug="72",
        seams={"previous": _off_the_list},
        only="ddim",
    ),
    Finding(
        "offset-past-the-table",
        "`steps_offset` that passes T-1 is accepted; the first step then has no entry in the table",
        "a refusal",
        "IndexError from the first step, not from the setting that caused it",
        _START + "s = DDPMScheduler(steps_offset=1); s.set_timesteps(1000); "
        "print(int(s.timesteps[0]), len(s.alphas_cumprod))",
        "1000 1000",
        bug="76",
        seams={"refuses_past_end": False},
    ),
    Finding(
        "unknown-variance-type",
        "an unknown `variance_type` is accepted and silently means `fixed_small`",
        "a refusal",
        "a misspelt option changes nothing and nobody is told",
        _START + "s = DDPMScheduler(variance_type='fixed_largo'); z = torch.zeros(1, 1, 2, 2); "
        "a = s.step(z, 500, z, torch.Generator().manual_seed(0)).prev_sample; "
        "b = DDPMScheduler().step(z, 500, z, torch.Generator().manual_seed(0)).prev_sample; "
        "print(bool((a == b).all()))",
        "True",
        only="ddpm",
    ),
    Finding(
        "negative-timestep",
        "negative t is accepted by add_noise: -1 means T-1",
        "a refusal",
        "an off-by-one in the training loop trains on pure noise instead of failing",
        _START + "s = DDPMScheduler(); x = torch.ones(1, 1, 1, 1); "
        "print(round(float(s.add_noise(x, 0 * x, torch.tensor([-1]))), 4))",
        "0.0064",
    ),
    Finding(
        "beta-outside-range",
        "beta_end=2 is accepted: alphas become negative",
        "a refusal: betas lie in (0, 1)",
        "NaN pictures much later",
        _START + "print(bool((DDPMScheduler(beta_end=2.0).alphas < 0).any()))",
        "True",
    ),
    Finding(
        "positional-T-lost",
        "DDPMScheduler(500) loses its T through from_config",
        "T stays 500",
        "DDIM samples a model trained with T=500 by a table of 1000 entries",
        _START + "print(DDIMScheduler.from_config(DDPMScheduler(500).config)"
        ".config.num_train_timesteps)",
        "1000",
    ),
    Finding(
        "leading-starts-late",
        "`leading` with n > T/2 starts at t = n-1, far below T",
        "a note: at t=500 a root of alpha-bar of 0.28 is left, 28 % of the image's amplitude",
        "x_T is pure noise but the first step is told that it is not: washed-out pictures",
        _START + "s = DDPMScheduler(); s.set_timesteps(501); t = s.timesteps[0]; "
        "print(int(t), round(float(s.alphas_cumprod[t].sqrt()), 2))",
        "500 0.28",
        bug="75",
    ),
    Finding(
        "one-channel-per-group",
        "a UNet level with one channel per group erases the time embedding",
        "a warning: the group norm after the embedding subtracts it again",
        "with the default 32 groups a 32-wide level cannot see t",
        "import torch; from diffusers.models.resnet import ResnetBlock2D; torch.manual_seed(0); "
        "b = ResnetBlock2D(in_channels=32, out_channels=32, temb_channels=64, groups=32); "
        "x = torch.randn(1, 32, 8, 8); "
        "d = b(x, torch.randn(1, 64)) - b(x, torch.randn(1, 64)); "
        "print(bool(d.abs().max() < 1e-4))",
        "True",
    ),
    Finding(
        "zero-snr-epsilon",
        "zero terminal SNR is accepted with epsilon prediction, which divides by alpha_bar_T = 0",
        "a refusal: it needs v or x_0 (Lin et al., section 3.2)",
        "x0-hat is infinite at T-1; with clipping on, silently +-1",
        _START + "s = DDPMScheduler(rescale_betas_zero_snr=True, clip_sample=False); "
        "x = torch.ones(1, 1, 1, 1); "
        "print(bool(s.step(0 * x, 999, x).pred_original_sample.isinf().all()))",
        "True",
        bug="15",
    ),
    Finding(
        "laplace-not-squared",
        "`laplace` takes the signal's coefficient, sqrt(SNR / (1 + SNR)), for alpha_bar",
        "SNR / (1 + SNR), the coefficient's square; log-SNR crosses 0 in the middle of the chain "
        "(Hang et al. 2024, arXiv:2407.03297)",
        "the noise level that the schedule is to visit most comes far too late",
        _START + "a = DDPMScheduler(beta_schedule='laplace').alphas_cumprod[499]; "
        "print(round(float(a / (1 - a)), 2))",
        "2.42",
        versions="0.37.0 to 0.42.1",
        only="ddpm",
    ),
    Finding(
        "given-betas-of-another-length",
        "`trained_betas` of another length than `num_train_timesteps` are accepted",
        "a refusal, or T taken from the betas",
        "the timesteps run past the table: IndexError from the first step",
        _START + "s = DDPMScheduler(trained_betas=[0.1] * 10); "
        "print(int(s.timesteps[0]), len(s.alphas_cumprod))",
        "999 10",
    ),
    Finding(
        "foreign-parts-saved-as-null",
        "`DDPMPipeline.save_pretrained` writes `null` for a part that is not the library's own",
        "an error before anything is written, or the part's own `save_pretrained`",
        "the call returns as if all went well, the log prints the whole network before it says "
        "that it cannot be saved, the weights are not in the folder, and `from_pretrained` refuses "
        "it",
        _START + "import json, tempfile; from pathlib import Path; "
        "from diffusers import DDPMPipeline; d = tempfile.TemporaryDirectory(); "
        "DDPMPipeline(torch.nn.Identity(), DDPMScheduler()).save_pretrained(d.name); "
        "print(json.loads(Path(d.name, 'model_index.json').read_text())['unet']); d.cleanup()",
        "[None, None]",
    ),
    Finding(
        "float-timestep-cut",
        "`UNet2DModel` cuts a timestep that is a Python float to a whole number",
        "the embedding of 0.9, or a refusal",
        "a continuous time, such as t / T in [0, 1], reaches the network as 0",
        _UNET + "x = torch.randn(1, 3, 8, 8); u = UNet2DModel(**small); "
        "print(bool((u(x, 0.9).sample == u(x, 0).sample).all()))",
        "True",
    ),
    Finding(
        "any-mid-block",
        "`UNet2DModel` takes any string for `mid_block_type` and builds the usual middle block",
        "a refusal",
        "a misspelt option changes nothing and nobody is told",
        _UNET + "print(type(UNet2DModel(mid_block_type='None', **small).mid_block).__name__)",
        "UNetMidBlock2D",
        versions="0.33.0 to 0.42.1",
    ),
    Finding(
        "freq-shift-nan",
        "`freq_shift` of half the first width divides 0 by 0 in the time embedding",
        "a refusal: no frequency is left",
        "every output is NaN",
        _UNET + "u = UNet2DModel(freq_shift=4, **small); "
        "print(bool(u(torch.randn(1, 3, 8, 8), 5).sample.isnan().all()))",
        "True",
    ),
)


def shared(kind: str) -> list[Finding]:
    """The findings that are formulas, of a `"ddpm"` or `"ddim"` step."""
    return [f for f in FINDINGS if f.seams and f.only in ("", kind)]


@lru_cache
def gone() -> tuple[str, ...]:
    """The titles of the findings that the installed Diffusers no longer shows."""
    return tuple(f"{f.id}: {f.title}" for f in FINDINGS if not holds(f))


def holds(finding: Finding) -> bool:
    """Runs the command with the installed library: True while it prints what it showed."""
    said, logger = io.StringIO(), logging.getLogger("diffusers")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # what a command is to show is what it prints
    try:
        with contextlib.redirect_stdout(said):
            exec(finding.command, {})
    except Exception:
        return False
    finally:
        logger.setLevel(level)
    return said.getvalue().strip() == finding.shows
