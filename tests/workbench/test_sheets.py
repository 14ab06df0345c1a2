"""The three forms of images are one; sheets and tiles lay them out pixel by pixel."""

import numpy as np
import pytest
import torch
from PIL import Image

from workbench.pixels import to_uint8
from workbench.sheets import GAP, Block, as_tensor, sheet, square, tiled, zoom_of


def whole_levels(c: int = 3) -> torch.Tensor:
    """(4, c, 8, 8) whose values are whole grey levels."""
    levels = torch.randint(0, 256, (4, c, 8, 8), generator=torch.Generator().manual_seed(0))
    return levels / 127.5 - 1


@pytest.mark.parametrize("c", [1, 3])
def test_every_form_is_the_same_images(c: int) -> None:
    images = whole_levels(c)
    levels = to_uint8(images)  # (n, h, w, c)
    forms = [images, images.double(), levels, levels / 255]
    forms.append([Image.fromarray(level.squeeze()) for level in levels])
    if c == 1:
        forms.append(levels[..., 0])
    for form in forms:
        tensor = as_tensor(form)
        assert (tensor.dtype, tensor.shape) == (torch.float32, (4, c, 8, 8))
        # one float32 rounding of a level on its way to [-1, 1]
        torch.testing.assert_close(tensor, images, rtol=0, atol=2**-23)


def test_a_tensor_keeps_what_lies_outside_the_range() -> None:
    assert as_tensor(torch.full((1, 1, 1, 1), 3.0)).item() == 3


@pytest.mark.parametrize(
    ("images", "says"),
    [
        (torch.zeros(3, 8, 8), r"tensor \(3, 8, 8\) torch.float32; expected \(n, 1 or 3, h, w\)"),
        (
            torch.zeros(1, 5, 8, 8),
            r"tensor \(1, 5, 8, 8\) torch.float32; expected \(n, 1 or 3, h, w\)",
        ),
        (torch.zeros(0, 3, 8, 8), "n at least 1"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "torch.uint8; expected"),
        (torch.full((1, 3, 8, 8), torch.nan), "NaN"),
        (np.full((1, 8, 8, 3), np.nan), "from nan to nan; expected"),
        (np.full((1, 8, 8, 3), -1.0), r"from -1.0 to -1.0; expected \[0, 1\] or uint8"),
        (np.zeros((1, 8, 8, 3), int), "array of int64"),
        (np.zeros((8, 8)), r"the shape \(8, 8\)"),
        (np.zeros((1, 8, 8, 2), np.uint8), r"the shape \(1, 8, 8, 2\)"),
        ([], "no images"),
        ([np.zeros((2, 2)), np.zeros((3, 3))], "of different sizes"),
    ],
)
def test_images_of_no_form(images, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        as_tensor(images)


@pytest.mark.parametrize(("n", "asked", "columns"), [(9, None, 3), (10, None, 4), (2, 5, 2)])
def test_columns(n: int, asked: int | None, columns: int) -> None:
    assert square(n, asked) == columns


def test_no_columns_are_refused() -> None:
    with pytest.raises(ValueError, match="columns is 0; expected at least 1"):
        square(4, 0)


def test_a_pixel_is_a_whole_number_of_screen_pixels() -> None:
    for side, zoom in ((8, 11), (16, 6), (88, 1), (256, 1)):
        assert zoom_of(np.zeros((1, side, side, 3), np.uint8)) == zoom


def test_tiles_are_laid_on_white() -> None:
    page = tiled(to_uint8(torch.full((3, 1, 44, 44), -1.0)), 2)
    assert page.shape == (2 * (88 + GAP) + GAP, 2 * (88 + GAP) + GAP, 3)
    black = (page == 0).all(axis=2)
    assert black.sum() == 3 * 88 * 88
    assert ((page == 255).all(axis=2) | black).all()
    assert black[GAP : GAP + 88, GAP : GAP + 88].all()


def test_blocks_stand_side_by_side_with_their_texts() -> None:
    levels = to_uint8(whole_levels())
    blocks = [Block(levels[:2], 1, heading="left"), Block(levels[2:], 1, ("a", "b"), "right")]
    (axes,) = sheet(blocks, row_names=("first", "second"), caption="below").axes
    drawn = [image.get_array() for image in axes.images]
    np.testing.assert_array_equal(drawn, levels)
    lefts = [image.get_extent()[0] for image in axes.images]
    assert lefts[0] == lefts[1] < lefts[2] == lefts[3]
    texts = {text.get_text() for text in axes.texts}
    assert texts == {"left", "right", "a", "b", "first", "second", "below"}
