"""Changes for `tiny` that the fast path of training is tried with, on a CPU and on a GPU."""

from typing import Any

VARIANTS: dict[str, dict[str, Any]] = {
    "nothing else": {},
    "a rate that changes": {"warmup_steps": 2, "lr_schedule": "cosine", "ema_decay": 0.9},
    "a clip": {"gradient_clip": 0.05},
    "neither clip nor average": {"gradient_clip": None, "ema_decay": None, "optimizer": "adam"},
    "parts with dropout": {"accumulate": 3, "dropout": 0.3},
    "labels": {"class_conditional": True, "label_dropout": 0.5, "flip": True},
    "steps left out": {"skip_nonfinite": True, "weight_decay": 0.1},
    "the device's numbers": {"draw_on": "device"},
    "velocities": {"prediction_type": "v_prediction"},
}
