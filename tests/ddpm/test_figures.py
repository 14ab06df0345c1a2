"""The figures of `ddpm plot`: each shows what its arguments ask for."""

import argparse
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ddpm import figures
from workbench import data, training_run
from workbench.config import RunConfig
from workbench.pixels import to_uint8


@pytest.fixture
def run(tiny: Callable[..., RunConfig], tmp_path: Path) -> Path:
    """A run of four steps on digits."""
    digits = data.load("digits", count=16)
    device = torch.device("cpu")
    training_run.train(tiny(), tmp_path / "run", digits, device=device, progress=False)
    return tmp_path / "run"


def figure(name: str, *words: str) -> Any:
    parser = argparse.ArgumentParser()
    figures.add_arguments(parser)
    return figures.FIGURES[name].draw(parser.parse_args([name, *words]))


def images(drawn: Any) -> np.ndarray:
    return np.stack([image.get_array() for axes in drawn.axes for image in axes.images])


def test_data_shows_the_first_images_with_their_labels() -> None:
    drawn = figure("data", "--data", "digits", "--count", "3")
    digits = data.load("digits", count=3)
    np.testing.assert_array_equal(images(drawn)[..., :1], to_uint8(digits.images))
    titles = [text.get_text() for text in drawn.axes[0].texts]
    assert titles == [digits.class_names[label] for label in digits.labels]
    assert len(images(figure("data"))) == figures.FEW_DATA


@pytest.mark.parametrize("name", ["data", "noising"])
def test_a_folders_pictures_are_brought_to_a_size(name: str, tmp_path: Path) -> None:
    for side in (8, 12):
        pixels = np.full((side, side, 3), 10 * side, np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{side}.png")
    chosen = ("--data", str(tmp_path))
    with pytest.raises(ValueError, match=r"expected one size; resize them, or give a size \(--siz"):
        figure(name, *chosen)
    for size in (4, 6):
        assert images(figure(name, *chosen, "--size", str(size))).shape[1:3] == (size, size)


def test_losses_have_a_line_for_each_run(run: Path) -> None:
    other = run.parent / "other" / "run"  # of the same name
    shutil.copytree(run, other)
    (axes,) = figure("losses", str(run), str(other)).axes
    assert [len(line.get_xdata()) for line in axes.lines] == [4, 4]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [str(run), str(other)]


@pytest.mark.parametrize("backend", ["scratch", "diffusers"])
def test_schedules_end_at_their_t(backend: str) -> None:
    for T in (50, 80):
        drawn = figure("schedules", "--num-train-timesteps", str(T), "--backend", backend)
        assert len(drawn.axes[0].lines[0].get_xdata()) == T


def test_noising_is_the_same_for_the_same_seed_and_backend() -> None:
    first, again, other = (
        images(figure("noising", "--count", "2", "--seed", seed)) for seed in ("0", "0", "1")
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    theirs = images(figure("noising", "--count", "2", "--backend", "diffusers"))
    assert np.abs(first.astype(int) - theirs).max() <= 1  # one grey level of float32 tables


def test_trajectory_has_a_row_of_x_t_and_one_of_x_0_for_each_picture(run: Path) -> None:
    drawn = figure("trajectory", str(run), "--count", "2", "--steps", "10")
    columns = len({image.get_extent()[0] for axes in drawn.axes for image in axes.images})
    assert len(images(drawn)) == 2 * 2 * columns > 4


def test_difference_shows_both_backends_alike(run: Path) -> None:
    drawn = images(figure("difference", str(run), "--count", "2", "--steps", "5")).astype(int)
    ours, theirs = drawn[:2], drawn[2:4]
    assert np.abs(ours - theirs).max() <= 1  # one grey level
    assert (ours != drawn[:1]).any()  # two pictures, not one twice


def test_a_chain_that_the_library_gets_wrong_is_not_drawn(
    tiny: Callable[..., RunConfig], tmp_path: Path
) -> None:
    digits = data.load("digits", count=16)
    config = tiny(timestep_spacing="trailing", variance_type="fixed_large")
    training_run.train(config, tmp_path, digits, device=torch.device("cpu"), progress=False)
    chain = (str(tmp_path), "--count", "1", "--steps", "7")
    with pytest.raises(ValueError, match="adds noise in the last step of its 'trailing' list"):
        figure("trajectory", *chain, "--backend", "diffusers")
    assert len(images(figure("trajectory", *chain))) == 2 * 7  # scratch draws it


def test_histograms_count_the_data_and_what_is_drawn(run: Path) -> None:
    drawn = figure("histograms", str(run), "--count", "2", "--steps", "5")
    names = {text.get_text() for text in drawn.axes[0].get_legend().get_texts()}
    assert names == {"digits", "drawn"}
