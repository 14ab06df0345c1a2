"""What `with_diffusers.gaps` answers for the library, answered for `scratch`: it has no such gap.

Whoever runs either backend asks both questions, and need not know which one it runs.
"""

from typing import Any


def config_problem(scheduler: Any) -> str | None:
    """Why no chain of a scheduler can be right: None, as its constructor refuses such options.

    Args:
        scheduler: a DDPMScheduler or DDIMScheduler.
    """
    return None


def chain_problem(scheduler: Any, num_inference_steps: int) -> str | None:
    """Why a chain of `num_inference_steps` goes wrong: None, for every spacing and count.

    Args:
        scheduler: a DDPMScheduler or DDIMScheduler.
        num_inference_steps: n in 1..T.
    """
    return None
