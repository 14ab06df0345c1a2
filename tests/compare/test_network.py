"""Networks block by block: a mistake is found, its block and its name are told, others pass."""

import copy
import math
import types
from collections.abc import Callable

import diffusers
import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor
from torch import nn
from torch.nn import functional as F

import scratch
from compare.backends import network as unet
from compare.backends.blocks import first_departure
from compare.backends.network import FULL, QUICK, TINY, inputs, judge_network, random_weights
from compare.candidate.denoiser.lent import lent
from compare.candidate.denoiser.record import apart, record
from compare.mistakes import BY_ID, NETWORKS, Mistake
from compare.mistakes.network.unet import planted
from compare.verdict.report import Report
from tests.often import each

DROPPING = {**TINY, "dropout": 0.1}


@pytest.fixture(scope="module")
def reference() -> diffusers.UNet2DModel:
    return diffusers.UNet2DModel(**DROPPING)


def failing(report: Report) -> dict[str, str]:
    return {c.id.removeprefix("unet/"): c.message for c in report.checks if not c.passed}


def named(report: Report) -> list[str | None]:
    return [diagnosis.bug for diagnosis in report.diagnoses]


# --- both backends ---


@pytest.mark.parametrize("seed", range(2))
def test_the_backends_agree_with_any_weights(seed):
    with torch.no_grad():
        checks = list(unet.checks("quick", seed))
    assert [c.line() for c in checks if not c.passed] == []
    assert {c.id.split("/")[1] for c in checks} == set(QUICK)
    for check in checks:
        assert check.stage == "unet"
        assert check.reason
        if check.id.endswith(("blocks", "norms", "gradients", "optimizer-step", "weights")):
            assert check.measured is not None
            assert check.allowed is not None
            assert check.measured <= check.allowed


@pytest.mark.parametrize("name", sorted(FULL.keys() - QUICK.keys()))
def test_the_backends_agree_with_every_option(name, monkeypatch):
    monkeypatch.setattr(unet, "FULL", {name: FULL[name]})
    with torch.no_grad():
        checks = list(unet.checks("full", 0))
    assert [c.line() for c in checks if not c.passed] == []
    assert {c.id.split("/")[2] for c in checks} >= {"weights", "blocks", "gradients"}


# --- the catalogue's mistakes, each planted in one block ---


def places_of(mistake: Mistake, network: nn.Module) -> list[str]:
    """The modules that this mistake can be planted in."""
    return [n for n, m in network.named_modules() if type(m).__name__ in mistake.seams]


@pytest.mark.parametrize("mistake", each(3, NETWORKS), ids=lambda mistake: mistake.id)
def test_a_planted_mistake_is_found_where_it_is_and_named(mistake, reference):
    network = scratch.UNet2DModel(**DROPPING)
    place = places_of(mistake, network)[-1]
    report = judge_network(planted(network, mistake, {place}), reference)
    assert report.exit_status == 1
    assert named(report) == [mistake.id]
    assert report.diagnoses[0].name == mistake.name
    assert mistake.words in report.diagnoses[0].explanation
    assert report.diagnoses[0].fix == mistake.fix
    assert f"`{place}" in " ".join(failing(report).values()) or place == ""


@pytest.mark.parametrize("id", ["90", "91", "92-2", "93-swapped", "96", "97", "97-eps"])
def test_a_mistake_made_everywhere_is_named_by_its_first_block(id, reference):
    mistake, network = BY_ID[id], scratch.UNet2DModel(**DROPPING)
    first = places_of(mistake, network)[0]
    report = judge_network(planted(network, mistake), reference)
    assert named(report) == [id]
    assert f"`{first}" in failing(report)["blocks" if id != "97-eps" else "norms"]


# --- mistakes in other words, in a network of Diffusers' ---


def residual(compute: Callable) -> Callable[[nn.Module], None]:
    """Another forward pass of one residual block."""

    def change(network: nn.Module) -> None:
        block = network.up_blocks[0].resnets[1]
        block.forward = types.MethodType(compute, block)

    return change


def without_second_norm(self, x, temb):
    h = self.conv1(F.silu(self.norm1(x))) + self.time_emb_proj(F.silu(temb))[:, :, None, None]
    return self.conv_shortcut(x) + self.conv2(self.dropout(F.silu(h)))


def without_time(self, x, temb):
    h = self.conv2(self.dropout(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x)))))))
    return self.conv_shortcut(x) + h


def time_of_the_batch(self, x, temb):
    h = self.conv1(F.silu(self.norm1(x)))
    h = h + self.time_emb_proj(F.silu(temb)).mean(0)[None, :, None, None]
    return self.conv_shortcut(x) + self.conv2(self.dropout(F.silu(self.norm2(h))))


def always_dropping(self, x, temb):
    h = self.conv1(F.silu(self.norm1(x))) + self.time_emb_proj(F.silu(temb))[:, :, None, None]
    return self.conv_shortcut(x) + self.conv2(F.dropout(F.silu(self.norm2(h)), 0.1))


def with_gelu(self, x, temb):
    h = self.conv1(F.gelu(self.norm1(x))) + self.time_emb_proj(F.silu(temb))[:, :, None, None]
    return self.conv_shortcut(x) + self.conv2(self.dropout(F.silu(self.norm2(h))))


class OverQueries:
    """Attention by hand, its softmax over the wrong axis."""

    def __call__(self, attn, hidden_states, *others, **given):
        b, c, h, w = hidden_states.shape
        rows = attn.group_norm(hidden_states.reshape(b, c, h * w)).transpose(1, 2)
        q, k, v = (attn.head_to_batch_dim(f(rows)) for f in (attn.to_q, attn.to_k, attn.to_v))
        weights = torch.softmax(torch.einsum("bid,bjd->bij", q, k) * attn.scale, dim=1)
        out = attn.to_out[0](attn.batch_to_head_dim(weights @ v))
        return hidden_states + out.transpose(1, 2).reshape(b, c, h, w)


def change_attention(network: nn.Module) -> None:
    network.mid_block.attentions[0].set_processor(OverQueries())


def reverse_skips(network: nn.Module) -> None:
    block, right = network.up_blocks[1], type(network.up_blocks[1]).forward

    def forward(self, x, skips, temb=None, upsample_size=None):
        return right(self, x, tuple(reversed(skips)), temb, upsample_size)

    block.forward = types.MethodType(forward, block)


def batch_norm(network: nn.Module) -> None:
    old = network.down_blocks[1].resnets[0].norm2
    network.down_blocks[1].resnets[0].norm2 = nn.BatchNorm2d(old.num_channels)


def half_timesteps(network: nn.Module) -> None:
    network.time_proj.register_forward_pre_hook(lambda module, args: (args[0].to(torch.bfloat16),))


def other_eps(network: nn.Module) -> None:
    network.mid_block.attentions[0].group_norm.eps = 1e-6


def eight_heads(network: nn.Module) -> None:
    network.down_blocks[1].attentions[0].heads = 8


MUTANTS = {
    "91": (change_attention, "mid_block.attentions.0"),
    "92-2": (residual(without_second_norm), "up_blocks.0.resnets.1"),
    "90": (residual(without_time), "up_blocks.0.resnets.1"),
    "93": (reverse_skips, "up_blocks.1"),
    "94": (residual(always_dropping), "up_blocks.0.resnets.1"),
    "96": (batch_norm, "down_blocks.1.resnets.0.norm2"),
    "89": (half_timesteps, ""),
    "97-eps": (other_eps, "mid_block.attentions.0.group_norm"),
    "97-count": (eight_heads, "down_blocks.1.attentions.0"),
}


@pytest.mark.parametrize("id", MUTANTS)
def test_a_mistake_in_other_words_is_found_and_named(id):
    change, place = MUTANTS[id]
    network = diffusers.UNet2DModel(**DROPPING)
    change(network)
    package = diffusers if place else scratch  # either may be the measure
    report = judge_network(network, package.UNet2DModel(**DROPPING))
    assert report.exit_status == 1
    assert named(report) == [id]
    assert place in " ".join(failing(report).values())


def test_a_norm_that_is_never_called_is_told():
    network = diffusers.UNet2DModel(**DROPPING)
    residual(without_second_norm)(network)
    report = judge_network(network, scratch.UNet2DModel(**DROPPING))
    assert "it never calls norm2" in failing(report)["blocks"]
    assert "up_blocks.0.resnets.1.norm2.weight" in failing(report)["learns"]


@pytest.mark.parametrize(
    ("options", "id"),
    [
        ({"flip_sin_to_cos": False}, "88"),
        ({"freq_shift": 1}, "88-shift"),
        ({"flip_sin_to_cos": False, "freq_shift": 1}, "88-both"),
        ({"attention_head_dim": None}, "97"),
        ({"norm_eps": 1e-6}, "97-eps"),
        ({"norm_eps": 0.1}, "97-eps"),
        ({"downsample_padding": 0}, "97-padding"),
    ],
    ids=lambda value: str(value),
)
def test_another_option_than_the_weights_were_trained_with_is_named(options, id, reference):
    report = judge_network(diffusers.UNet2DModel(**DROPPING | options), reference)
    assert named(report) == [id]


def test_a_mistake_that_is_not_in_the_table_is_found_where_it_is(reference):
    network = diffusers.UNet2DModel(**DROPPING)
    residual(with_gelu)(network)
    report = judge_network(network, reference)
    assert named(report) == [None]
    assert "`up_blocks.0.resnets.1` is the first block" in report.diagnoses[0].explanation
    assert "`conv1`" in report.diagnoses[0].explanation


def test_images_that_see_each_other_are_found(reference):
    network = diffusers.UNet2DModel(**DROPPING)
    residual(time_of_the_batch)(network)
    assert "`up_blocks.0.resnets.1`" in failing(judge_network(network, reference))["blocks"]


@pytest.mark.parametrize("cut", ["skip", "frozen"])
def test_a_gradient_that_is_cut_is_found_although_the_outputs_agree(cut, reference):
    network = scratch.UNet2DModel(**DROPPING)
    if cut == "skip":
        network.conv_in.register_forward_hook(lambda module, given, out: out.detach())
        lost = "conv_in.weight"
    else:
        network.conv_out.bias.requires_grad_(False)
        lost = "conv_out.bias"
    report = judge_network(network, reference)
    assert set(failing(report)) == {"learns", "gradients", "optimizer-step"}
    assert lost in failing(report)["learns"]
    assert report.diagnoses[0].bug is None


def test_the_dropout_that_never_acts_is_found(reference):
    network = scratch.UNet2DModel(**TINY)
    assert failing(judge_network(network, reference)) == {"dropout": "dropout never acts"}


# --- right networks in other words ---


def by_functions(self, x, temb):
    """A residual block without one call of its own parts."""

    def normed(norm: nn.GroupNorm, h: torch.Tensor) -> torch.Tensor:
        groups = h.unflatten(1, (norm.num_groups, -1))
        mean, axes = groups.mean(dim=(2, 3, 4), keepdim=True), (2, 3, 4)
        variance = groups.var(dim=axes, correction=0, keepdim=True)
        h = ((groups - mean) / (variance + norm.eps).sqrt()).flatten(1, 2)
        return h * norm.weight[:, None, None] + norm.bias[:, None, None]

    def convolved(conv: nn.Conv2d | None, h: torch.Tensor) -> torch.Tensor:
        return h if conv is None else F.conv2d(h, conv.weight, conv.bias, padding=conv.padding)

    def swish(h: torch.Tensor) -> torch.Tensor:
        return h * torch.sigmoid(h)

    time = swish(temb) @ self.time_emb_proj.weight.T + self.time_emb_proj.bias
    h = convolved(self.conv1, swish(normed(self.norm1, x))) + time[:, :, None, None]
    h = F.dropout(swish(normed(self.norm2, h)), self.dropout.p, self.training)
    return convolved(self.conv_shortcut, x) + convolved(self.conv2, h)


def test_a_right_network_in_other_words_passes(reference):
    network = diffusers.UNet2DModel(**DROPPING)
    for module in network.modules():
        if type(module).__name__ == "ResnetBlock2D":
            module.forward = types.MethodType(by_functions, module)
        if type(module).__name__ == "Attention":
            module.set_processor(AttnProcessor())
    report = judge_network(network, reference, name="mine")
    assert failing(report) == {}
    assert report.passed
    assert report.diagnoses == []
    assert "mine is right" in str(report)


def test_either_backend_may_be_the_measure():
    networks = diffusers.UNet2DModel(**DROPPING), scratch.UNet2DModel(**DROPPING)
    assert failing(judge_network(*networks, seed=3)) == {}
    assert failing(judge_network(*reversed(networks), seed=4)) == {}


# --- a network by itself ---


def test_the_invariants_need_no_other_network():
    network = scratch.UNet2DModel(**DROPPING, num_class_embeds=3)
    report = judge_network(network)
    assert report.passed
    assert {c.id for c in report.checks} == {
        f"unet/{name}" for name in ("weights", "time", "distinct", "eval", "batch", "learns")
    }


@pytest.mark.parametrize(
    ("id", "check"),
    [
        ("90", "time"),
        ("89", "distinct"),
        ("89-integer", "distinct"),
        ("94", "eval"),
        ("96", "batch"),
    ],
)
def test_an_invariant_alone_shows_a_mistake(id, check):
    network = planted(scratch.UNet2DModel(**TINY), BY_ID[id])
    report = judge_network(network)
    assert check in failing(report)
    assert BY_ID[id].id.split("-")[0] in named(report)


def test_the_count_of_embeddings_is_told():
    report = judge_network(planted(scratch.UNet2DModel(**TINY), BY_ID["89"]))
    words = "1000 timesteps have only 507 different embeddings: t = 256 and t = 257 are the same"
    assert failing(report)["distinct"] == words


# --- what cannot be judged ---


def test_other_weights_are_listed(reference):
    network = diffusers.UNet2DModel(**DROPPING | {"add_attention": False})
    report = judge_network(network, reference)
    assert report.exit_status == 1
    assert "10 weights have another name" in str(report)
    assert "mid_block.attentions.0.group_norm.weight is missing, should be (16,)" in str(report)
    report = judge_network(reference, network)
    assert "mid_block.attentions.0.group_norm.weight is (16,), should be missing" in str(report)
    report = judge_network(diffusers.UNet2DModel(**DROPPING | {"out_channels": 1}), reference)
    assert "conv_out.weight is (1, 8, 3, 3), should be (3, 8, 3, 3)" in report.verdict


def test_a_network_that_raises_is_an_error_in_one_line(reference):
    network = scratch.UNet2DModel(**DROPPING)
    network.mid_block.forward = lambda x, emb: x @ x[0, :, :3]
    report = judge_network(network, reference)
    assert report.exit_status == 2
    assert "cannot be run: RuntimeError" in report.verdict
    assert "\n" not in report.verdict


def test_nan_departs(reference):
    network = scratch.UNet2DModel(**DROPPING)
    network.up_blocks[0].register_forward_hook(lambda module, given, out: out * math.nan)
    assert "`up_blocks.0` is the first" in failing(judge_network(network, reference))["blocks"]


def test_both_networks_are_left_as_they_were(reference):
    network = scratch.UNet2DModel(**DROPPING)
    network(torch.randn(1, 3, 8, 8), 5).sample.mean().backward()
    network.mid_block.eval()
    before = copy.deepcopy(network)
    slopes = [weight.grad.clone() for weight in network.parameters()]
    random = torch.get_rng_state()
    judge_network(network, reference)
    assert torch.equal(torch.get_rng_state(), random)
    for one, other, slope in zip(network.parameters(), before.parameters(), slopes, strict=True):
        assert torch.equal(one, other)
        assert torch.equal(one.grad, slope)
    assert [m.training for m in network.modules()] == [m.training for m in before.modules()]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


# --- the instruments ---


def test_another_arrangement_inside_an_agreeing_block_is_no_departure():
    """Diffusers divides inside the middle's layers, scratch outside: their outputs agree."""
    options = {**TINY, "mid_block_scale_factor": 2.0}
    networks = [kind(**options).eval() for kind in (scratch.UNet2DModel, diffusers.UNet2DModel)]
    arguments = inputs(networks[0].config, 0)
    for network in networks:
        network.load_state_dict(random_weights(networks[0], 0))
    calls, others = (record(network, arguments) for network in networks)
    inner = "mid_block.resnets.0"
    assert apart(calls[inner].made[0], others[inner].made[0]) > 0.1
    assert first_departure(networks[0], calls, others, 1e-5) is None


def test_weights_come_back_after_an_exception():
    network = nn.Linear(2, 2)
    before = network.weight.clone()

    def fail() -> None:
        with lent(network), torch.no_grad():
            network.eval().weight.zero_()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert torch.equal(network.weight, before)
    assert network.training
