"""The U-Net: the same function as Diffusers' on the same weights, and what any U-Net must obey."""

import copy
import inspect
import math
from collections.abc import Mapping

import diffusers
import pytest
import torch
from diffusers.models.embeddings import get_timestep_embedding
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from compare.backends.network import TINY
from scratch.unet import UNet2DModel, timestep_embedding

# Outputs and gradients are compared relative to their largest entry: entries near zero are sums of
# large terms and carry those terms' rounding. In float64 both networks are the same operations up
# to the order of sums; 1e-11 is 50,000 roundings, far below the effect of any wrong formula.
SAME_FUNCTION = 1e-11
OUTPUT_FLOAT32 = 1e-5  # 170 roundings of 2**-24 through some 40 layers
GRADIENT_FLOAT32 = 1e-3  # backward passes through the same layers, sums over batch and pixels

THREE_LEVELS = {
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (8, 12, 16),
    "layers_per_block": 2,
}
OPTIONS: dict[str, dict] = {
    "tiny": {},
    "three levels, two layers": THREE_LEVELS,
    "one level": {
        "down_block_types": ("AttnDownBlock2D",),
        "up_block_types": ("UpBlock2D",),
        "block_out_channels": (8,),
    },
    "attention everywhere": {
        "down_block_types": ("AttnDownBlock2D",) * 2,
        "up_block_types": ("AttnUpBlock2D",) * 2,
    },
    "attention nowhere": {
        "down_block_types": ("DownBlock2D",) * 2,
        "up_block_types": ("UpBlock2D",) * 2,
        "add_attention": False,
    },
    "other channels": {"in_channels": 1, "out_channels": 2},
    "centred input": {"center_input_sample": True},
    "sines first": {"flip_sin_to_cos": False},
    "freq_shift 1": {"freq_shift": 1},
    "padding 0": {"downsample_padding": 0},
    "odd width": {"block_out_channels": (9, 15), "norm_num_groups": 3},
    "one head": {"attention_head_dim": None},
    "heads of 4": {"attention_head_dim": 4},
    "heads that do not fill the width": {"attention_head_dim": 6},
    "one group": {"norm_num_groups": 1},
    "large eps": {"norm_eps": 0.1},
    "middle groups": {"attn_norm_num_groups": 2},
    "scale_shift": {"resnet_time_scale_shift": "scale_shift"},
    "scale_shift, middle groups": {
        "resnet_time_scale_shift": "scale_shift",
        "attn_norm_num_groups": 2,
    },
    "middle without attention": {"add_attention": False},
    "middle scaled": {"mid_block_scale_factor": math.sqrt(2)},
    "no middle": {"mid_block_type": None},
    "classes": {"num_class_embeds": 5},
    "dropout": {"dropout": 0.3},
}
every_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())


def tiny(**options) -> UNet2DModel:
    """A small network, every weight away from its initial zeros and ones."""
    torch.manual_seed(0)
    unet = UNet2DModel(**TINY | options)
    with torch.no_grad():
        for weight in unet.parameters():
            weight += 0.1 * torch.randn_like(weight)
    return unet


def pair(**options) -> tuple[UNet2DModel, diffusers.UNet2DModel]:
    ours = tiny(**options)
    theirs = diffusers.UNet2DModel(**TINY | options)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    return ours, theirs


def inputs(unet: UNet2DModel, batch: int = 3, size: int = 8) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    sample = torch.randn(batch, unet.config.in_channels, size, size, generator=generator)
    arguments = {
        "sample": sample.to(unet.dtype),
        "timestep": torch.tensor([0, 499, 999]).repeat(batch)[:batch],
    }
    if unet.config.num_class_embeds:
        arguments["class_labels"] = torch.arange(batch) % unet.config.num_class_embeds
    return arguments


def assert_relative(actual: torch.Tensor, expected: torch.Tensor, bound: float, name="") -> None:
    largest = expected.abs().max().item()
    assert_close(actual, expected, rtol=0, atol=bound * largest, msg=lambda text: f"{name}: {text}")


def gradients(unet: torch.nn.Module, arguments: Mapping) -> dict[str, torch.Tensor]:
    unet.zero_grad()
    unet(**arguments).sample.square().mean().backward()
    return {name: weight.grad for name, weight in unet.named_parameters()}


# --- the same as Diffusers' ---


@every_option
def test_same_outputs_and_gradients_as_diffusers_on_the_same_weights(options):
    ours, theirs = pair(**options)
    with torch.no_grad():
        arguments = inputs(ours)
        actual, expected = ours.eval()(**arguments).sample, theirs.eval()(**arguments).sample
        assert_relative(actual, expected, OUTPUT_FLOAT32)
    ours, theirs = ours.double(), theirs.double()
    arguments = inputs(ours)
    expected_gradients = gradients(theirs, arguments)
    with torch.no_grad():
        assert_relative(ours(**arguments).sample, theirs(**arguments).sample, SAME_FUNCTION)
    largest = max(gradient.abs().max() for gradient in expected_gradients.values())
    for name, gradient in gradients(ours, arguments).items():
        assert_close(
            gradient,
            expected_gradients[name],
            rtol=0,
            atol=SAME_FUNCTION * largest.item(),
            msg=lambda text, name=name: f"gradient of {name}: {text}",
        )


@every_option
def test_same_seed_same_start_as_diffusers(options):
    torch.manual_seed(3)
    ours = UNet2DModel(**TINY | options)
    torch.manual_seed(3)
    theirs = diffusers.UNet2DModel(**TINY | options)
    assert list(ours.state_dict()) == list(theirs.state_dict()), (
        "an optimizer's state goes by order"
    )
    for name, weight in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], weight), name


@every_option
def test_dropout_falls_where_diffusers_puts_it(options):
    networks = [unet.train() for unet in pair(**options | {"dropout": 0.3})]
    outputs = []
    for unet in networks:
        torch.manual_seed(5)
        outputs.append(unet(**inputs(networks[0])).sample)
    assert_relative(*outputs, OUTPUT_FLOAT32)


def test_every_option_matters():
    """Each option, on the same weights where it has the same ones, gives another function."""
    with_same_weights = (
        "centred input",
        "sines first",
        "freq_shift 1",
        "padding 0",
        "one head",
        "heads of 4",
        "one group",
        "large eps",
        "middle groups",
        "middle scaled",
    )
    reference = tiny().eval()
    arguments = inputs(reference)
    expected = reference(**arguments).sample
    for name in with_same_weights:
        unet = UNet2DModel(**TINY | OPTIONS[name]).eval()
        unet.load_state_dict(reference.state_dict(), strict=True)
        difference = (unet(**arguments).sample - expected).abs().max()
        assert difference > 100 * OUTPUT_FLOAT32 * expected.abs().max(), name


def test_arguments_are_diffusers_in_name_order_and_default():
    ours = inspect.signature(UNet2DModel).parameters
    theirs = inspect.signature(diffusers.UNet2DModel.__init__).parameters
    shared = {name: parameter.default for name, parameter in theirs.items() if name in ours}
    assert {name: parameter.default for name, parameter in ours.items()} == shared
    assert list(ours) == list(shared)
    assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in ours.values())
    ours = inspect.signature(UNet2DModel.forward).parameters
    theirs = inspect.signature(diffusers.UNet2DModel.forward).parameters
    assert [(p.name, p.default, p.kind) for p in ours.values()] == [
        (p.name, p.default, p.kind) for p in theirs.values()
    ]


# --- the public architectures ---

SIX_LEVELS = {
    "down_block_types": (*4 * ("DownBlock2D",), "AttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "AttnUpBlock2D", *4 * ("UpBlock2D",)),
    "block_out_channels": (128, 128, 256, 256, 512, 512),
}
OF_THE_PAPER = {
    "attention_head_dim": None,
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "norm_eps": 1e-6,
}
ARCHITECTURES: dict[str, dict] = {
    "google/ddpm-cifar10-32": {
        **OF_THE_PAPER,
        "sample_size": 32,
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        "block_out_channels": (128, 256, 256, 256),
    },
    "google/ddpm-celebahq-256": {**OF_THE_PAPER, **SIX_LEVELS, "sample_size": 256},
    "unconditional training example": {**SIX_LEVELS, "sample_size": 64},
}
# Ho et al. 2020, appendix B: 35.7 million for CIFAR10, 114 million for LSUN and CelebA-HQ.
MILLIONS = {"google/ddpm-cifar10-32": 35.7, "google/ddpm-celebahq-256": 114}
each_architecture = pytest.mark.parametrize("name", ARCHITECTURES)


def random_state(unet: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Random values that keep activations near 1: N(0, 1 / fan-in), gains near 1, small biases."""
    generator = torch.Generator().manual_seed(7)
    state = {}
    for name, weight in unet.state_dict().items():
        noise = torch.randn(weight.shape, generator=generator)
        if weight.ndim > 1:
            state[name] = noise / math.sqrt(weight[0].numel())
        else:
            state[name] = 0.1 * noise + ("norm" in name and name.endswith("weight"))
    return state


def full_size_pair(name: str) -> tuple[UNet2DModel, diffusers.UNet2DModel]:
    """Both networks with the very same random tensors, loaded strictly, in either direction."""
    with torch.device("meta"):
        ours = UNet2DModel(**ARCHITECTURES[name])
        theirs = diffusers.UNet2DModel(**ARCHITECTURES[name])
    ours.load_state_dict(random_state(theirs), strict=True, assign=True)
    theirs.load_state_dict(ours.state_dict(), strict=True, assign=True)
    return ours, theirs


@each_architecture
def test_public_architecture_has_diffusers_keys_and_shapes(name):
    with torch.device("meta"):
        ours = UNet2DModel(**ARCHITECTURES[name])
        theirs = diffusers.UNet2DModel(**ARCHITECTURES[name])
    shapes = [(key, weight.shape) for key, weight in ours.state_dict().items()]
    assert shapes == [(key, weight.shape) for key, weight in theirs.state_dict().items()]
    if name in MILLIONS:
        millions = sum(weight.numel() for weight in ours.parameters()) / 1e6
        assert round(millions, 1 if MILLIONS[name] < 100 else 0) == MILLIONS[name]


@each_architecture
def test_public_architecture_gives_diffusers_outputs(name):
    ours, theirs = full_size_pair(name)
    arguments = inputs(ours, batch=1, size=32)  # 32 = 1 * 2**5, the least that six levels take
    with torch.no_grad():
        assert_relative(ours(**arguments).sample, theirs(**arguments).sample, OUTPUT_FLOAT32)


@pytest.mark.long
@each_architecture
def test_public_architecture_gives_diffusers_gradients(name):
    ours, theirs = full_size_pair(name)
    theirs.load_state_dict(copy.deepcopy(ours.state_dict()), assign=True)
    arguments = inputs(ours, batch=2, size=64)
    expected = gradients(theirs, arguments)
    for key, gradient in gradients(ours, arguments).items():
        if not key.endswith("to_k.bias"):  # zero by symmetry: what is there is rounding
            assert_relative(gradient, expected[key], GRADIENT_FLOAT32, key)


@each_architecture
def test_narrow_public_architecture_gives_diffusers_gradients(name):
    options = dict(ARCHITECTURES[name])
    widths = tuple(width // 16 for width in options.pop("block_out_channels"))
    ours, theirs = pair(**options, block_out_channels=widths, norm_num_groups=4, layers_per_block=2)
    arguments = inputs(ours, batch=2, size=64)
    expected = gradients(theirs, arguments)
    for key, gradient in gradients(ours, arguments).items():
        if not key.endswith("to_k.bias"):  # zero by symmetry: what is there is rounding
            assert_relative(gradient, expected[key], GRADIENT_FLOAT32, key)


# --- parts that move between the libraries ---


@every_option
def test_config_moves_both_ways(options):
    ours, theirs = pair(**options)
    arguments = inputs(ours)
    expected = ours.eval()(**arguments).sample
    copies = (
        UNet2DModel.from_config(theirs.config),
        diffusers.UNet2DModel.from_config(ours.config),
    )
    for unet in copies:
        unet.load_state_dict(theirs.state_dict(), strict=True)
        assert_relative(unet.eval()(**arguments).sample, expected, OUTPUT_FLOAT32)


def test_from_config_takes_changes():
    assert UNet2DModel.from_config(tiny().config, dropout=0.5).config.dropout == 0.5


def test_config_holds_every_argument():
    config = tiny(sample_size=8).config
    assert set(inspect.signature(UNet2DModel).parameters) <= set(config)
    assert (config._class_name, config.sample_size, config.norm_num_groups) == ("UNet2DModel", 8, 4)


def test_folders_move_both_ways(tmp_path):
    ours, theirs = pair(num_class_embeds=5)
    arguments = inputs(ours)
    expected = ours.eval()(**arguments).sample
    ours.save_pretrained(tmp_path / "ours" / "unet")
    theirs.save_pretrained(tmp_path / "theirs" / "unet")
    for folder in ("ours", "theirs"):
        for cls in (UNet2DModel, diffusers.UNet2DModel):
            unet = cls.from_pretrained(tmp_path / folder, subfolder="unet")
            assert not unet.training
            assert_relative(unet(**arguments).sample, expected, OUTPUT_FLOAT32)


def test_runs_inside_diffusers_pipeline():
    images = []
    for unet in pair(sample_size=8):
        scheduler = diffusers.DDPMScheduler(num_train_timesteps=20)
        pipeline = diffusers.DDPMPipeline(unet=unet.eval(), scheduler=scheduler).to("cpu")
        pipeline.set_progress_bar_config(disable=True)
        assert (pipeline.device, pipeline.dtype) == (torch.device("cpu"), torch.float32)
        generator = torch.Generator().manual_seed(0)
        result = pipeline(2, generator, num_inference_steps=5, output_type="np")
        images.append(torch.from_numpy(result.images))
    assert images[0].shape == (2, 8, 8, 3)
    # Five steps, each of which passes on the network's rounding at most enlarged tenfold.
    assert_close(*images, rtol=0, atol=50 * OUTPUT_FLOAT32)


def test_deep_copy_is_the_same_network_with_its_own_weights():
    unet = tiny().eval()
    twin = copy.deepcopy(unet)
    arguments = inputs(unet)
    assert torch.equal(unet(**arguments).sample, twin(**arguments).sample)
    twin.conv_out.weight.data.zero_()
    assert not torch.equal(unet(**arguments).sample, twin(**arguments).sample)


# --- what any U-Net must obey ---


def test_shapes_device_dtype_and_return_value():
    unet = tiny(in_channels=2, out_channels=4).eval()
    sample = torch.randn(3, 2, 8, 12)
    result = unet(sample, 7)
    assert result.sample.shape == (3, 4, 8, 12)
    (plain,) = unet(sample, 7, return_dict=False)
    assert torch.equal(plain, result.sample)
    assert (unet.device, unet.dtype) == (torch.device("cpu"), torch.float32)
    assert unet.to("meta", torch.float16).device == torch.device("meta")
    assert unet.dtype == torch.float16


def test_a_timestep_has_many_forms():
    unet = tiny().eval()
    sample = inputs(unet)["sample"]
    expected = unet(sample, torch.tensor([7, 7, 7])).sample
    for t in (7, 7.0, torch.tensor(7), torch.tensor([7]), torch.tensor([7, 7, 7]).int()):
        assert torch.equal(unet(sample, t).sample, expected), f"t = {t!r}"


def test_each_image_sees_its_own_timestep_and_label_and_no_other_image():
    unet = tiny(num_class_embeds=5).double().eval()
    arguments = inputs(unet)
    together = unet(**arguments).sample
    for i in range(len(together)):
        alone = unet(**{name: value[i : i + 1] for name, value in arguments.items()}).sample
        assert_relative(together[i : i + 1], alone, SAME_FUNCTION, f"image {i}")


@pytest.mark.parametrize("time_scale_shift", ["default", "scale_shift"])
def test_time_and_class_change_the_output(time_scale_shift):
    unet = tiny(num_class_embeds=2, resnet_time_scale_shift=time_scale_shift).eval()
    sample = inputs(unet)["sample"]
    outputs = [unet(sample, t, label).sample for t, label in ((0, 0), (1, 0), (999, 0), (0, 1))]
    for i, one in enumerate(outputs):
        for other in outputs[:i]:
            least = 100 * OUTPUT_FLOAT32 * one.abs().max()
            assert ((one - other).abs().amax(dim=(1, 2, 3)) > least).all()


def test_every_parameter_gets_a_gradient():
    unet = tiny(**THREE_LEVELS, num_class_embeds=3).double()
    arguments = inputs(unet, size=16)
    found = gradients(unet, arguments)
    largest = max(gradient.abs().max().item() for gradient in found.values())
    for name, gradient in found.items():
        if name.endswith("to_k.bias"):
            # It adds the same number to every score of a query, and softmax forgets it.
            assert gradient.abs().max() < SAME_FUNCTION * largest, name
        else:
            assert (gradient != 0).any(dim=-1).all(), name
            assert gradient.abs().max() > 1e-9 * largest, name


def test_dropout_acts_in_training_only():
    unet = tiny(dropout=0.5)
    arguments = inputs(unet)
    assert torch.equal(unet.eval()(**arguments).sample, unet(**arguments).sample)
    kept = unet(**arguments).sample
    unet.train()
    first, second = unet(**arguments).sample, unet(**arguments).sample
    least = 100 * OUTPUT_FLOAT32 * kept.abs().max()
    assert (first - second).abs().max() > least
    assert (first - kept).abs().max() > least


def test_bfloat16_stays_near_float32():
    unet = tiny().eval()
    arguments = inputs(unet)
    expected = unet(**arguments).sample
    with torch.autocast("cpu", torch.bfloat16):
        mixed = unet(**arguments).sample
    unet = unet.bfloat16()
    low = unet(**arguments | {"sample": arguments["sample"].bfloat16()}).sample
    assert (low.dtype, mixed.dtype) == (torch.bfloat16, torch.bfloat16)
    # Some 40 roundings of 2**-8 add up in quadrature to 6 of them; a factor 4 above that.
    for actual in (low, mixed):
        assert_relative(actual.float(), expected, 4 * 6 * 2**-8)


def test_float64_computes_in_float64():
    unet = tiny().double()
    assert all(
        gradient.dtype == torch.float64 for gradient in gradients(unet, inputs(unet)).values()
    )
    assert unet(**inputs(unet)).sample.dtype == torch.float64


def test_reads_no_value_from_the_device():
    """On the meta device there are no values to wait for: reading one is an error."""
    unet = tiny(num_class_embeds=5).to("meta")
    sample, labels = torch.empty(2, 3, 8, 8, device="meta"), torch.zeros(2, device="meta").long()
    assert unet(sample, 7, labels).sample.shape == sample.shape
    assert unet(sample, labels, labels[0]).sample.shape == sample.shape


# --- the time embedding ---


@settings(max_examples=50)
@given(
    dim=st.integers(4, 65),
    flip_sin_to_cos=st.booleans(),
    freq_shift=st.integers(0, 1),
    timesteps=st.lists(st.integers(0, 4000), min_size=1, max_size=5),
)
def test_embedding_is_its_formula_and_diffusers(dim, flip_sin_to_cos, freq_shift, timesteps):
    t = torch.tensor(timesteps)
    actual = timestep_embedding(t, dim, flip_sin_to_cos=flip_sin_to_cos, freq_shift=freq_shift)
    assert actual.dtype == torch.float32
    half = dim // 2
    angles = [[n * 10000 ** (-i / (half - freq_shift)) for i in range(half)] for n in timesteps]
    sin, cos = ([[wave(a) for a in row] for row in angles] for wave in (math.sin, math.cos))
    first, second = (cos, sin) if flip_sin_to_cos else (sin, cos)
    expected = torch.tensor([a + b + [0.0] * (dim % 2) for a, b in zip(first, second, strict=True)])
    # An angle of up to 4000 radians has a float32 rounding of 4000 * 2**-24, and its frequency
    # some more: three roundings, and those of sin and cos.
    assert_close(actual, expected, rtol=0, atol=4 * max(*timesteps, 1) * 2**-24 + 2**-22)
    assert torch.equal(actual, get_timestep_embedding(t, dim, flip_sin_to_cos, freq_shift))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("convention", [(True, 0), (False, 1)])
def test_every_timestep_has_its_own_embedding(convention, dtype):
    flip_sin_to_cos, freq_shift = convention
    table = timestep_embedding(
        torch.arange(1000), 32, flip_sin_to_cos=flip_sin_to_cos, freq_shift=freq_shift
    ).to(dtype)
    assert len(table.float().unique(dim=0)) == 1000


def test_the_order_of_sines_and_cosines_is_a_permutation():
    t = torch.arange(1000)
    cosines_first = timestep_embedding(t, 16)
    assert torch.equal(
        cosines_first.roll(8, dims=1), timestep_embedding(t, 16, flip_sin_to_cos=False)
    )
    assert_close(cosines_first.square().sum(1), torch.full((1000,), 8.0))  # cos^2 + sin^2 = 1


def test_embedding_refuses_a_freq_shift_that_leaves_no_waves():
    with pytest.raises(ValueError, match=r"freq_shift must be below dim // 2 = 1, got 1"):
        timestep_embedding(torch.arange(3), 3, freq_shift=1)
