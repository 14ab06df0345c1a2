"""What is not built says what to use, and is not there for whoever asks first."""

import copy
import pickle
from typing import Any

import diffusers
import pytest
import torch

import scratch
from scratch.compat.not_built import SENTENCES

TINY = {
    "sample_size": 8,
    "in_channels": 1,
    "out_channels": 1,
    "block_out_channels": (8,),
    "down_block_types": ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",),
    "norm_num_groups": 2,
}
NAMES = [(cls, name) for cls, words in SENTENCES.items() for name in words]


def made(cls: str) -> Any:
    unet = scratch.UNet2DModel(**TINY)
    if cls == "UNet2DModel":
        return unet
    if cls == "DDPMPipeline":
        return scratch.DDPMPipeline(unet, scratch.DDPMScheduler())
    return getattr(scratch, cls)()


@pytest.mark.parametrize(("cls", "name"), NAMES)
def test_what_diffusers_has_and_we_do_not_has_a_sentence(cls: str, name: str) -> None:
    assert hasattr(getattr(diffusers, cls), name), "no longer there: the sentence can go"
    ours = made(cls)
    assert not hasattr(ours, name)
    assert getattr(ours, name, None) is None
    with pytest.raises(AttributeError) as refused:
        getattr(ours, name)
    said = str(refused.value)
    assert said == f"'{cls}' object has no attribute '{name}': {SENTENCES[cls][name]}"
    assert "\n" not in said


@pytest.mark.parametrize("cls", SENTENCES)
def test_any_other_name_is_missing_as_usual(cls: str) -> None:
    with pytest.raises(AttributeError, match=f"'{cls}' object has no attribute 'prev_smaple'$"):
        _ = made(cls).prev_smaple


def test_a_class_of_yours_that_builds_on_ours_says_it_too() -> None:
    class Mine(scratch.UNet2DModel):
        pass

    with pytest.raises(AttributeError, match="'Mine' object has no attribute 'num_parameters': u"):
        _ = Mine(**TINY).num_parameters


def test_copies_and_pickles_do_not_stumble_over_it() -> None:
    pipeline = made("DDPMPipeline")
    for twin in (copy.deepcopy(pipeline), pickle.loads(pickle.dumps(pipeline))):
        assert twin.scheduler.config == pipeline.scheduler.config
        weights = zip(twin.unet.parameters(), pipeline.unet.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in weights)


def test_a_network_still_compiles_in_one_graph() -> None:
    unet = made("UNet2DModel").eval()
    x = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    compiled = torch.compile(unet, backend="eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x, 5).sample, unet(x, 5).sample)


def test_the_sentences_lead_somewhere() -> None:
    """What three of them advise gives what the library's own method gives."""
    unet = made("UNet2DModel")
    theirs = diffusers.UNet2DModel(**TINY)
    assert sum(p.numel() for p in unet.parameters()) == theirs.num_parameters()
    from scratch.reverse import posterior_variance

    ours, library = scratch.DDPMScheduler(), diffusers.DDPMScheduler()
    alpha_bar, alpha_bar_prev = ours.alpha_bar[[487, 486]].tolist()
    variance = posterior_variance(alpha_bar, alpha_bar_prev)
    assert variance == pytest.approx(float(library._get_variance(487)), rel=1e-4)  # float32 tables
    pipeline = made("DDPMPipeline")
    assert pipeline.to(torch.float16).dtype == torch.float16
