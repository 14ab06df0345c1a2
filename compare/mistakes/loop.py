"""Mistakes of a sampling loop, apart from those of its steps.

Right: x_T ~ N(0, 1), then t = T-1, ..., 1, 0, at each a step with the output of the model, in eval
mode, at that t (Ho et al. algorithm 2); pictures are rounded and clamped.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from compare.mistakes.entry import answer, entry
from compare.oracle import Loop
from compare.oracle.algorithms import Law

UNIFORM = Law(torch.rand, 0.5, 12**-0.5)  # in [0, 1)


def one_for_the_batch(
    shape: Any, generator: torch.Generator | None = None, dtype: torch.dtype = torch.float32
) -> Tensor:
    """The same normal numbers for every image."""
    return torch.randn((1, *shape[1:]), generator=generator, dtype=dtype).expand(shape)


mistake = partial(
    entry,
    stage="sampling",
    made=answer,
    right="scratch.pipeline:DDPMPipeline._sample",
)


@mistake(
    "61-loop",
    "loop",
    fix="make the generator once, before the loop, and draw z anew in each step",
    effect="one pattern burnt into all pictures: the same z adds up over the steps",
    only="sample",
)
def generator_made_again_in_the_loop() -> Loop:
    """every step of the loop adds the same z: it is drawn before the loop, or the generator is made
    again in it"""
    return Loop(reseeds=True)


@mistake(
    "61-seed",
    "loop",
    fix="set the seed once, outside sample, or draw from the generator that is given",
    effect="every batch is the same: 64 calls for a thousand pictures give those of one",
    only="sample",
)
def seed_set_inside_sample() -> Loop:
    """a seed is set inside sample: x_T is the same at every call, whatever the seed outside"""
    return Loop(fixed="x_T")


@mistake(
    "61-seed-z",
    "loop",
    fix="set the seed once, outside sample, or draw from the generator that is given",
    effect="every batch gets the same noise in its steps: pictures of two batches resemble each "
    "other",
    only="sample",
)
def seed_set_after_the_start() -> Loop:
    """a seed is set inside sample, after x_T is drawn: the noise of the steps is the same at every
    call, whatever the seed outside"""
    return Loop(fixed="noise")


@mistake(
    "62-start",
    "loop",
    fix="x_T = randn(shape), of the whole shape",
    effect="with DDIM all pictures of a batch are one; with DDPM they resemble each other",
    only="sample",
)
def start_shared_by_the_batch() -> Loop:
    """all images of the batch start from the same x_T, should each from its own (Ho et al.
    algorithm 2)"""
    return Loop(start=Law(one_for_the_batch, 0.0, 1.0))


@mistake(
    "62-loop",
    "loop",
    fix="z = randn(shape), of the whole shape",
    effect="the images of a batch resemble each other; each by itself looks right",
    only="sample",
)
def steps_noise_shared_by_the_batch() -> Loop:
    """at each step all images of the batch get the same z, should each get its own (Ho et al.
    algorithm 2)"""
    return Loop(noise=one_for_the_batch)


@mistake(
    "63-start",
    "loop",
    fix="x_T = randn(shape)",
    effect="blind with a thousand steps; with ten, brighter pictures of less contrast",
    only="sample",
)
def uniform_start() -> Loop:
    """x_T is uniform (rand), should be normal (randn)"""
    return Loop(start=UNIFORM)


@mistake(
    "69",
    "loop",
    fix="((x + 1) * 127.5).round().clamp(0, 255)",
    effect="every picture is half a grey level darker: nobody sees it, and FID moves",
    only="uint8",
)
def pictures_cut_off() -> Loop:
    """pictures are cut off to integers, not rounded: half a grey level darker"""

    def codec(x: Tensor) -> Tensor:
        return ((x + 1) * 127.5).clamp(0, 255).floor()

    return Loop(codec=codec)


@mistake(
    "69-clamp",
    "loop",
    fix="clamp to [0, 255] first",
    effect="black specks in the brightest places, white ones in the darkest",
    only="uint8",
)
def pictures_not_clamped() -> Loop:
    """pictures are not clamped before they become bytes: 256 wraps to 0"""

    def codec(x: Tensor) -> Tensor:
        return ((x + 1) * 127.5).round() % 256

    return Loop(codec=codec)


@mistake(
    "78",
    "loop",
    fix="model(x, t) with the t of the list",
    effect="right with all steps; with few, blurred or noisy: the model denoises for the wrong "
    "noise level",
    seen_in=("Stability-AI/stablediffusion#226",),
    only="strided",
)
def model_told_the_position() -> Loop:
    """the model is told the position in the list, not the timestep"""
    return Loop(tells="index")


@mistake(
    "79",
    "loop",
    fix="visit t = T-1, ..., 1, 0",
    effect="the pictures look right, with the noise of the last step left in them",
    seen_in=("cloneofsimo/minDiffusion mindiffusion/ddim.py",),
    only="sample",
)
def last_step_missing() -> Loop:
    """the loop stops before t = 0: the last step is missing; or, if t counts from 1 (say --reading
    t=1), the first beta of the table is in the product and no step's (mistake 1)"""
    return Loop(stops_at=1)


@mistake(
    "79-thrown",
    "loop",
    fix="return what the step at t = 0 gives",
    effect="the pictures look right, with noise of size sqrt(beta_0) = 0.01 left in them",
    seen_in=("junyeong-nero/DDPM reverse_decoder.py",),
    only="sample",
    twin="3",  # which needs a step that reads alpha-bar at t-1, as DDIM's does
)
def last_update_thrown_away() -> Loop:
    """the last update is thrown away: what is returned is what the model was given at t = 0, not
    what the step there gives (Ho et al. algorithm 2)"""
    return Loop(keeps_last=False)


@mistake(
    "80",
    "loop",
    fix="for t in reversed(range(T))",
    effect="samples are noise",
    seen_in=("nathan-barry/tiny-diffusion#2",),
    only="sample",
)
def loop_runs_up() -> Loop:
    """the loop runs from t = 0 up, should run from T-1 down (Ho et al. algorithm 2)"""
    return Loop(falls=False)


@mistake(
    "95",
    "loop",
    fix="model.eval() before sampling, and back after it",
    effect="a little grain, and another picture at each run of one seed: dropout is on",
    seen_in=(
        "labmlai/annotated_deep_learning_paper_implementations",
        "Kitsunetic/SDF-Diffusion#4",
    ),
    only="sample",
)
def samples_in_training_mode() -> Loop:
    """the model samples in training mode: dropout is on"""
    return Loop(evaluates=False)


@mistake(
    "106",
    "loop",
    fix="draw image i from generator i",
    effect="the same seed gives another picture in another batch",
    seen_in=("huggingface/diffusers#6222",),
    only="sample",
)
def generators_not_kept_apart() -> Loop:
    """with one generator for each image, the noise of an image still depends on its
    batch-mates"""
    return Loop(own_streams=False)
