"""What is in memory as a data set: pictures as from files, and one line for what is none."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from workbench import data
from workbench.pixels import from_uint8

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (6, 4, 5, 3), dtype=np.uint8)
GREY = PIXELS[..., :1]
RIGHT = from_uint8(PIXELS)  # (6, 3, 4, 5) in [-1, 1]
LABELS = [0, 1, 2, 0, 1, 2]


class Listed(Dataset):
    """Items of a list."""

    def __init__(self, items: list[Any], **more: Any) -> None:
        self.items = items
        vars(self).update(more)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int) -> Any:
        return self.items[i]


class Stream(IterableDataset):
    """Pictures without an end."""

    def __iter__(self) -> Iterator[Any]:
        while True:
            yield torch.from_numpy(PIXELS[0]).movedim(2, 0)


def same(found: data.Dataset, right: torch.Tensor = RIGHT) -> None:
    torch.testing.assert_close(found.images, right, rtol=0, atol=1e-6)  # a rounding of float32
    assert found.images.is_contiguous()


FLOATS = RIGHT.movedim(1, 3).double().numpy()  # (n, h, w, c)


@pytest.mark.parametrize(
    "source",
    [
        PIXELS,
        FLOATS,
        FLOATS.astype(np.float32),
        torch.from_numpy(PIXELS).movedim(3, 1),
        RIGHT,
        RIGHT.double(),
        TensorDataset(RIGHT, torch.tensor(LABELS)),
        Listed(list(RIGHT)),
        Listed([(Image.fromarray(p), label) for p, label in zip(PIXELS, LABELS, strict=True)]),
        Listed(list(PIXELS)),
        Listed([[picture, 0] for picture in FLOATS]),
    ],
    ids=lambda source: type(source).__name__,
)
def test_each_way_gives_the_pictures_of_a_file(source: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", PIXELS)
    same(data.load(source))
    same(data.load(source), data.load(tmp_path / "a.npy").images)
    same(data.load(source, count=2), RIGHT[:2])


def test_grey_pictures_have_one_channel() -> None:
    right = from_uint8(GREY)
    for source in (
        GREY,
        GREY[..., 0],
        torch.from_numpy(GREY[..., 0]),
        right,
        right[:, 0],
        Listed([Image.fromarray(p[..., 0]) for p in GREY]),
        Listed(list(right[:, 0])),
    ):
        same(data.load(source), right)


def test_labels_come_with_the_items_or_beside() -> None:
    items = [(picture, label) for picture, label in zip(RIGHT, LABELS, strict=True)]
    for found in (
        data.load(Listed(items)),
        data.load(PIXELS, labels=LABELS),
        data.load(PIXELS, labels=np.eye(3)[LABELS]),
        data.load(RIGHT, labels=torch.tensor(LABELS)),
    ):
        assert found.labels is not None
        assert found.labels.tolist() == LABELS
        assert found.num_classes == 3
    named = data.load(Listed(items, classes=["a", "b", "c", "d"]))
    assert named.class_names == ("a", "b", "c", "d")


def test_a_stream_ends_at_the_count_and_pil_pictures_are_resized() -> None:
    assert data.load(Stream(), count=3).images.shape == (3, 3, 4, 5)
    mixed = Listed([Image.new("RGB", (9, 7)), Image.new("L", (8, 8))])
    assert data.load(mixed, size=4).images.shape == (2, 3, 4, 4)


def test_nothing_of_the_callers_is_changed() -> None:
    before, kept = FLOATS.copy(), RIGHT.clone()
    data.load(FLOATS).images.zero_()
    data.load(RIGHT).images.zero_()
    np.testing.assert_array_equal(FLOATS, before)
    torch.testing.assert_close(RIGHT, kept)


@pytest.mark.parametrize(
    ("source", "options", "said"),
    [
        ((RIGHT + 1) / 2, {}, "looks like [0, 1]; expected floats in [-1, 1]: images * 2 - 1"),
        (RIGHT * 2, {}, "reaches from -2 to 2; expected floats in [-1, 1], or uint8"),
        (PIXELS.astype(np.float32), {}, "[-1, 1], or uint8 from 0 to 255: images / 127.5 - 1"),
        (RIGHT * torch.nan, {}, "reaches from nan to nan"),
        (PIXELS.astype(np.int64), {}, "the array holds int64; expected uint8"),
        (PIXELS[0, 0], {}, "the array has the shape (5, 3); expected (n, h, w)"),
        (torch.from_numpy(PIXELS), {}, "(n, 3, h, w); try images.permute(0, 3, 1, 2)"),
        (PIXELS[:0], {}, "none of them 0"),
        ([1, 2], {}, "a list is no data set; expected a name, a path, an array, a tensor"),
        (Listed([]), {}, "the Listed is empty"),
        (Listed([RIGHT[0], (RIGHT[1], 0)]), {}, "item 1 is not as item 0"),
        (Listed([RIGHT[0], RIGHT[1, :, :2]]), {}, "item 1 is (3, 2, 5) torch.float32"),
        (Listed([RIGHT[0], PIXELS[1]]), {}, "item 1 is a ndarray, item 0 a Tensor"),
        (Listed(["a", "b"]), {}, "item 0 is a str; expected a picture"),
        (Listed([Image.new("L", (2, 2)), Image.new("L", (3, 2))]), {}, "item 1 is 3x2, item 0"),
        (Listed([Image.new("F", (2, 2))]), {}, "item 0 has pixels of mode F; expected 8 bits"),
        (Stream(), {}, "a Stream does not say how many items it has; give a count"),
        (PIXELS, {"count": 9}, "count is 9, but this has only 6 images"),
        (PIXELS, {"size": 4}, "size is for pictures that can be resized"),
        (PIXELS, {"labels": [0, 1]}, "labels of shape (2,) for 6 images"),
        (PIXELS, {"labels": [[0], [1, 2]]}, "labels of shape (0,) for 6 images"),
        (Listed([(p, 0) for p in RIGHT]), {"labels": LABELS}, "this brings its own labels"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_ones_cost_a_line(source: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)) as error:
        data.load(source, **options)
    assert "\n" not in str(error.value)
