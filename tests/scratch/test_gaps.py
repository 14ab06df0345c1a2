"""`scratch` says that it has no gap: measured here by what finds those of Diffusers."""

import pytest

import scratch
import with_diffusers

T = 100


@pytest.mark.parametrize("kind", ["DDPMScheduler", "DDIMScheduler"])
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_no_chain_has_a_problem(kind: str, spacing: str) -> None:
    scheduler = getattr(scratch, kind)(num_train_timesteps=T, timestep_spacing=spacing)
    assert scratch.config_problem(scheduler) is None
    assert with_diffusers.config_problem(scheduler) is None
    for n in (1, 2, 7, 61, T):
        assert scratch.chain_problem(scheduler, n) is None
        assert with_diffusers.chain_problem(scheduler, n) is None, n


@pytest.mark.parametrize("variance", ["fixed_small", "fixed_small_log", "fixed_large"])
def test_no_variance_has_a_problem(variance: str) -> None:
    """Also in a `trailing` chain, at whose end the library draws noise."""
    for spacing in ("leading", "trailing"):
        options = {"variance_type": variance, "timestep_spacing": spacing}
        scheduler = scratch.DDPMScheduler(num_train_timesteps=T, **options)
        assert scratch.chain_problem(scheduler, 10) is None
        assert with_diffusers.chain_problem(scheduler, 10) is None
    theirs = with_diffusers.DDPMScheduler(num_train_timesteps=T, **options)
    found = with_diffusers.chain_problem(theirs, 10)
    assert (found is None) == (variance != "fixed_large"), "what measures must be able to find it"


def test_options_that_the_library_takes_in_silence_are_refused_when_made() -> None:
    for wrong in ({"variance_type": "fixed_largo"}, {"beta_end": 2.0}):
        assert with_diffusers.config_problem(with_diffusers.DDPMScheduler(**wrong)) is not None
        with pytest.raises(ValueError, match=next(iter(wrong))):
            scratch.DDPMScheduler(**wrong)
