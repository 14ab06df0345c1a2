"""Mistakes in the list of timesteps, and in which of them a step goes to.

Right: the n timesteps of Lin et al. table 2, in integers; each step goes to the next of the list.
"""

import math
from functools import partial

import torch
from torch import Tensor

from compare import oracle as right
from compare.mistakes.entry import answer, entry
from compare.oracle import Setting

mistake = partial(entry, stage="timesteps")


@mistake(
    "70",
    "previous",
    fix="take alpha_bar_prev at the next timestep of the list",
    effect="right with all steps; with few, samples stay noise, since each step removes too little",
    seen_in=("huggingface/diffusers#2076",),
)
def step_to_t_minus_one(following: Tensor, t: Tensor, n: int, setting: Setting) -> Tensor:
    """in a strided chain the step goes to t-1, should go to the next timestep of the list"""
    return t - 1


@mistake(
    "72",
    "previous",
    fix="take the next timestep of the list",
    effect="right where n divides T; with other n, or another spacing, a few-step sample is off",
    seen_in=(
        "huggingface/diffusers#9261",
        "huggingface/diffusers#11347",
        "huggingface/diffusers#12633",
        "filipbasara0/simple-diffusion",
    ),
)
def step_off_the_list(following: Tensor, t: Tensor, n: int, setting: Setting) -> Tensor:
    """the step goes to t - T//n, which is off the list"""
    return (t - setting.num_train_timesteps // n).clamp(min=-1)


@mistake(
    "73",
    "timesteps",
    fix="round(T - i T/n) - 1 for i = 0..n-1",
    effect="for some n (61 of T = 1000) one step too many, which reads the table at -1: a ruined "
    "picture",
    seen_in=("openvinotoolkit/openvino.genai#4161",),
)
def range_of_floats(setting: Setting, n: int) -> tuple[Tensor, int]:
    """trailing steps come from a range of floats: for some n there is an extra step -1"""
    if setting.timestep_spacing != "trailing":
        return right.timesteps(setting, n)
    T = setting.num_train_timesteps
    count = math.ceil(T / (T / n))  # in floats, one more than n for some n
    return T * n - torch.arange(count) * T - n, n


@mistake(
    "74",
    "timesteps",
    fix="i * (T // n) for i = 0..n-1",
    effect="for an n that does not divide T there are more steps than asked for, or an IndexError",
    seen_in=(
        "huggingface/diffusers#444",
        "huggingface/diffusers#466",
        "Project-MONAI/GenerativeModels#162",
        "filipbasara0/simple-diffusion",
    ),
)
def too_many_leading_steps(setting: Setting, n: int) -> tuple[Tensor, int]:
    """leading steps come from range(0, T, T//n), which has more than n entries where n does not
    divide T"""
    if setting.timestep_spacing != "leading":
        return right.timesteps(setting, n)
    T = setting.num_train_timesteps
    listed = torch.arange(0, T, max(T // n, 1))
    return listed.flip(0) + setting.steps_offset, 1


@mistake(
    "76",
    "refuses_past_end",
    fix="refuse it, or hold the list inside 0..T-1",
    effect="an IndexError in the first step, or, with a padded table, a step of its own",
    seen_in=(
        "huggingface/diffusers#10003",
        "CompVis/latent-diffusion#136",
    ),
    made=answer,
    right="compare.oracle:timesteps",
)
def offset_past_the_end() -> bool:
    """an offset that passes T-1 is accepted: the table has no such t"""
    return False
