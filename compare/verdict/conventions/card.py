"""The card of conventions: what was named, and what was read off."""

import contextlib

from compare.candidate.load import Broken
from compare.candidate.subject import Subject
from compare.oracle.samplers import BY_NAME

CHOICES = ("beta_schedule", "prediction_type", "variance_type", "clip_sample", "timestep_spacing")


def card_of(subject: Subject) -> dict[str, str]:
    """{what: the value and how it is known}, in the order in which it is shown."""
    s = subject.setting

    def said(name: str, value: object, seen_by: str = "") -> str:
        if name in CHOICES and name in subject.named:
            return "each value that it takes (named, so judged)"
        if name in subject.named:
            return f"{value} (named, so judged)"
        if seen_by and not subject.has(seen_by):
            return f"not read, as there is no {seen_by}"
        return f"{value} (read off)"

    ends = f" {s.beta_start:g}..{s.beta_end:g}"
    ends = "" if s.beta_schedule in ("own", "squaredcos_cap_v2") else ends
    spread = BY_NAME[s.sampler].words(s)
    spread = "learned, by a rule of its own" if subject.own_variance else spread
    clip: str | float = s.clip_sample_range if s.clip_sample else "none"
    if s.thresholding:
        clip = f"dynamic, at the {s.dynamic_thresholding_ratio:g} quantile"
    card = {
        "t base": f"{subject.t_base}",
        "T": said("num_train_timesteps", s.num_train_timesteps),
        "betas": said("beta_schedule", s.beta_schedule + ends),
        "prediction": said("prediction_type", s.prediction_type),
        "variance": said("variance_type", spread, "step"),
        "clipping": said("clip_sample", clip, "step"),
        "spacing": said("timestep_spacing", s.timestep_spacing, "set_timesteps"),
        "offset": said("steps_offset", s.steps_offset, "set_timesteps"),
        "data range": subject.door.pictures.value,
    }
    if s.use_clipped_model_output:
        card["direction"] = "eps derived anew from the clipped x0-hat (read off)"
    if subject.own.on_cpu is not None and subject.own.on_cpu.taken:
        card["device"] = f"{' and '.join(sorted(subject.own.on_cpu.taken))} taken for the CPU"
    with contextlib.suppress(Broken):
        table = subject.scheduler().table()
        if table is not None:
            card["terminal SNR"] = f"sqrt(alpha-bar_T) = {float(table[-1].clamp(min=0).sqrt()):.4g}"
    return card
