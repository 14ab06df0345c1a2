"""The end of a candidate's own loop: its pictures against the last step."""

import torch
from torch import Tensor

from compare.measure.ledger import Ledger
from compare.measure.step import rounding
from compare.measure.tolerances import of_a_step
from compare.oracle import F64, Level, Oracle


def judge_pictures(
    ledger: Ledger,
    result: Tensor,
    far: Tensor | None,
    last: Tensor,
    sigma: float,
    end: Level,
    oracle: Oracle,
) -> None:
    """The result against the last step: as it is, clamped, in [0, 1], or as bytes.

    Args:
        ledger: where to write the checks.
        result: (b, c, h, w) what the loop returned, of any dtype.
        far: bytes from a model that is sure of a left half at 1.3 and a right half at -1.3, if the
            loop returns bytes.
        last: (b, c, h, w) float64 the mean of the last step.
        sigma: std of the noise that is looked for after it; 0 where none should be.
        end: where the last step stands.
        oracle: right, or with a mistake in its `loop`.
    """
    got = result.to(F64)
    if sigma > 0:  # noise is looked for
        spreads = [float((got - last).std()), float((2 * got - 1 - last).std())]
        off = min(abs(spread / sigma - 1) for spread in spreads)
        ledger.add("loop/pictures", "close" if off <= of_a_step(last.numel()) else "differs",
                   f"the result is {min(spreads):.3g} away from the last step's mean, should be "
                   f"{sigma:.3g}", measured=off, allowed=of_a_step(last.numel()))  # fmt: skip
        return
    grey = (last + 1) * 127.5
    if result.dtype == torch.uint8:
        clamped = grey.clamp(0, 255)
        made = {"round": clamped.round(), "floor": clamped.floor(), "wrap": grey.round() % 256}
        if far is not None:
            white, black = far[..., :4].float().mean(), far[..., 4:].float().mean()
            wraps = not (float(white) > 250 and float(black) < 5)
            ledger.judge("loop/clamp", wraps == (oracle.loop.codec == "wrap"),
                         "values outside [-1, 1] become white and black",
                         f"brighter than white becomes {float(white):.0f}, darker than black "
                         f"{float(black):.0f}", catches="mistake 69")  # fmt: skip
        off = float(((got - made[oracle.loop.codec]).abs() > 0.5).double().mean())
        ledger.judge("loop/pictures", off < 0.01, "the bytes are those of the last step",
                     f"{off:.0%} of the bytes are not (x + 1) * 127.5, rounded and clamped",
                     measured=off, allowed=0.01, reason="ties and float32 rounding",
                     catches="mistake 69")  # fmt: skip
        return
    unit = (last + 1) / 2
    forms = {"as it is": last, "clamped": last.clamp(-1, 1), "in [0, 1]": unit.clamp(0, 1),
             "in [0, 1], not clamped": unit}  # fmt: skip
    away = {name: float((got - value).abs().max()) for name, value in forms.items()}
    best = min(away, key=lambda name: away[name])
    # beta and 1 - alpha-bar may be rounded each by itself
    allowed = 1e-4 + float(rounding(last.abs().max()) / (1 - end.alpha_bar).min())
    ledger.judge("loop/pictures", away[best] < allowed, f"the result is the last step, {best}",
                 f"the result is {away[best]:.3g} away from the last step's mean: noise or a step "
                 "at the end", measured=away[best], allowed=allowed,
                 reason="float32 rounding of one step", catches="mistakes 56, 69, 79")  # fmt: skip
