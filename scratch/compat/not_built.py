"""Attributes of Diffusers' classes that are not built here: a sentence says what to use.

`hasattr` stays False, so that code which asks first goes its other way.
"""

from typing import Any, NoReturn

_ATTENTION = (
    "attention is torch's scaled_dot_product_attention already, which takes the fastest kernel "
    "of the device and keeps no matrix of all pixels; leave the call out"
)
_OFFLOAD = (
    "the network is the only part with weights: pipeline.to('cuda') before a draw and "
    "pipeline.to('cpu') after it, or torch_dtype=torch.float16, or a smaller batch_size"
)
_READ_ONLY = "a config is read-only here; make a new object with from_config(config, name=value)"

SENTENCES: dict[str, dict[str, str]] = {
    "DDPMPipeline": {
        "enable_xformers_memory_efficient_attention": _ATTENTION,
        "disable_xformers_memory_efficient_attention": _ATTENTION,
        "enable_attention_slicing": _ATTENTION,
        "disable_attention_slicing": _ATTENTION,
        "enable_model_cpu_offload": _OFFLOAD,
        "enable_sequential_cpu_offload": _OFFLOAD,
        "enable_group_offload": _OFFLOAD,
        "components": "there are two: pipeline.unet and pipeline.scheduler",
        "from_pipe": "make one of the same parts: DDPMPipeline(pipeline.unet, pipeline.scheduler)",
        "progress_bar": "set_progress_bar_config(disable=True) switches it off; to watch the "
        "steps, loop over scheduler.timesteps yourself",
        "register_modules": "set pipeline.unet or pipeline.scheduler",
        "register_to_config": _READ_ONLY,
    },
    "UNet2DModel": {
        "enable_xformers_memory_efficient_attention": _ATTENTION,
        "disable_xformers_memory_efficient_attention": _ATTENTION,
        "set_use_memory_efficient_attention_xformers": _ATTENTION,
        "set_attention_backend": _ATTENTION,
        "enable_gradient_checkpointing": "all activations are kept here; take a smaller batch, or "
        "Diffusers' UNet2DModel, which has the same weights by name",
        "disable_gradient_checkpointing": "no gradient checkpointing is built here, so that there "
        "is none to switch off; leave the call out",
        "enable_group_offload": "move it as a whole, by unet.to(device)",
        "enable_layerwise_casting": "cast it as a whole, by unet.to(torch.float16)",
        "num_parameters": "use sum(p.numel() for p in unet.parameters())",
        "register_to_config": _READ_ONLY,
    },
    "DDPMScheduler": {
        "register_to_config": _READ_ONLY,
        "_get_variance": "use scratch.reverse.posterior_variance(alpha_bar, alpha_bar_prev)",
        "_threshold_sample": "use scratch.reverse.dynamic_threshold(x_0, ratio, max_value)",
    },
    "DDIMScheduler": {
        "register_to_config": _READ_ONLY,
        "_get_variance": "use scratch.reverse.posterior_variance(alpha_bar, alpha_bar_prev)",
        "_threshold_sample": "use scratch.reverse.dynamic_threshold(x_0, ratio, max_value)",
    },
}


def sentence(owner: Any, name: str) -> str | None:
    """What an object, or a subclass of ours, says of a name that it lacks; None for any other."""
    for cls in type(owner).__mro__:  # a plain loop: torch.compile reads it, even that of 2.6
        if found := SENTENCES.get(cls.__name__, {}).get(name):
            return f"{type(owner).__name__!r} object has no attribute {name!r}: {found}"
    return None


def missing(self: Any, name: str) -> NoReturn:
    """A class's `__getattr__`, which Python asks for a name that is not there."""
    plain = f"{type(self).__name__!r} object has no attribute {name!r}"
    raise AttributeError(sentence(self, name) or plain, name=name, obj=self)
