"""One door for all data, and what it refuses."""

import hashlib
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workbench import data
from workbench.data import Dataset, load
from workbench.digits import read_digits
from workbench.pixels import from_uint8, to_uint8
from workbench.sprites import KINDS, draw_sprites

rng = np.random.default_rng(0)


def pixels(*shape):
    return rng.integers(0, 256, shape, dtype=np.uint8)


# The names


def test_sprites():
    dataset = load("sprites", count=30)
    drawn, kinds = draw_sprites(30)
    np.testing.assert_array_equal(to_uint8(dataset.images), drawn)
    np.testing.assert_array_equal(dataset.labels, kinds)
    assert dataset.class_names == KINDS
    assert dataset.num_classes == 5
    assert dataset.images.dtype == torch.float32


def test_sprites_are_ten_thousand_by_default(monkeypatch):
    asked = []
    monkeypatch.setattr("workbench.data.draw_sprites", lambda n: asked.append(n) or draw_sprites(2))
    load("sprites")
    assert asked == [10_000]


def test_digits():
    dataset = load("digits")
    assert dataset.images.shape == (1797, 1, 8, 8)
    assert (dataset.images.min(), dataset.images.max()) == (-1, 1)
    assert dataset.labels.dtype == torch.int64
    assert dataset.class_names == tuple("0123456789")
    pixels, labels = read_digits()
    # x = v / 8 - 1 is exact in float32 for v in 0..16
    np.testing.assert_array_equal((dataset.images[:, 0].numpy() + 1) * 8, pixels)
    np.testing.assert_array_equal(dataset.labels, labels)


def test_digits_need_no_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert len(load("digits").images) == 1797


@pytest.mark.parametrize(
    ("name", "near"), [("sprits", "sprites"), ("digit", "digits"), ("celeba", None)]
)
def test_unknown_name(name, near, refusal):
    message = refusal(name)
    assert repr(name) in message
    assert ("did you mean" in message) == (near is not None)
    assert near is None or message.endswith(f"did you mean {near}?")


def test_a_file_with_a_similar_name_is_suggested(save, refusal):
    path = save("faces.npy", pixels(1, 2, 2, 3))
    assert refusal(path.with_name("face.npy")).endswith(f"did you mean {path}?")


def test_a_file_of_another_kind(tmp_path, refusal):
    path = tmp_path / "notes.txt"
    path.write_text("hello")
    assert "expected a .npy or .npz file or a folder" in refusal(path)


# Options, and the data set itself


def test_count_takes_the_first(save, refusal):
    array = pixels(5, 2, 2)
    path, labels = save("a.npy", array), save("l.npy", np.array([0, 1, 2, 3, 4]))
    dataset = load(path, labels, count=2)
    np.testing.assert_array_equal(to_uint8(dataset.images)[..., 0], array[:2])
    assert dataset.labels.tolist() == [0, 1]
    assert dataset.num_classes == 5
    assert len(load(path, count=5).images) == 5
    assert "has only 5 images" in refusal(path, count=6)


@pytest.mark.parametrize("option", ["count", "size"])
def test_options_below_one(tmp_path, option, refusal):
    expected = {"count": "at least 1", "size": "1 to 4096 pixels"}[option]
    assert refusal(tmp_path, **{option: 0}) == f"{option} is 0; expected {expected}"


def test_more_sprites_than_a_machine_holds_are_refused() -> None:
    with pytest.raises(ValueError, match=r"count is 10+; expected at most 10000000 sprites"):
        load("sprites", count=10**20)


@pytest.mark.parametrize("name", ["sprites", "digits"])
def test_size_is_for_folders(name, refusal):
    assert "size is for a folder of pictures" in refusal(name, size=8)


def test_a_size_does_not_hide_that_there_is_no_folder(tmp_path, refusal):
    nowhere = str(tmp_path / "pictures")
    assert refusal(nowhere, size=8) == refusal(nowhere)
    assert "no data set, file or folder" in refusal(nowhere, size=8)
    assert refusal(tmp_path, size=5000) == "size is 5000; expected 1 to 4096 pixels"


def test_a_data_set_is_shown_in_one_line():
    """Never its pixels."""
    images = torch.zeros(1200, 3, 8, 16)
    assert repr(Dataset(images)) == "Dataset(1,200 images 3x8x16 on cpu, no labels)"
    labels = torch.arange(1200) % 12
    assert repr(Dataset(images, labels % 2, ("cat", "dog"))).endswith("2 classes: cat, dog)")
    assert repr(Dataset(images, labels)).endswith("12 classes: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ...)")


def test_to_keeps_everything():
    dataset = load("sprites", count=4)
    moved = dataset.to("cpu")
    torch.testing.assert_close(moved.images, dataset.images, rtol=0, atol=0)
    torch.testing.assert_close(moved.labels, dataset.labels, rtol=0, atol=0)
    assert moved.class_names == KINDS
    assert Dataset(dataset.images).to(torch.device("cpu")).labels is None


def test_bytes_stay_bytes_and_a_batch_is_what_they_were_as_floats(save):
    array = pixels(9, 4, 6, 3)
    dataset, floats = load(save("a.npy", array)), Dataset(from_uint8(array))
    assert dataset.stored.dtype == torch.uint8
    assert (len(dataset), dataset.shape) == (9, (9, 3, 4, 6))
    assert torch.equal(dataset.images, floats.images)
    order = [torch.tensor([8, 0, 8]), torch.tensor([3])]
    for which, batch in zip(order, dataset.batches(iter(order)), strict=True):
        assert torch.equal(batch, floats.images[which])
        assert batch.is_contiguous()
        assert torch.equal(dataset.batch(which.tolist()), batch)
        assert torch.equal(floats.batch(which), batch)


@given(st.integers(1, 7), st.integers(1, 40))
def test_a_fingerprint_is_that_of_all_images_as_floats_however_they_are_read(n, at_once):
    """As every checkpoint that was ever written has it."""
    array = np.random.default_rng(n).integers(0, 256, (n, 2, 3, 3), np.uint8)
    images, labels = from_uint8(array), torch.arange(n)
    right = hashlib.sha256(str(tuple(images.shape)).encode())
    right.update(images.numpy().data)
    right.update(labels.numpy().data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "AT_ONCE", at_once)
        for stored in (images, torch.from_numpy(array).permute(0, 3, 1, 2)):
            assert Dataset(stored, labels).fingerprint() == right.hexdigest()


def test_what_is_large_stays_where_it_is(save, monkeypatch, capsys):
    monkeypatch.setattr(data, "IN_MEMORY", 100)
    dataset = load(save("a.npy", pixels(5, 4, 6, 3)), progress=True)
    assert capsys.readouterr().err.endswith("5 pictures, 360 bytes, it stays on the disk, mapped\n")
    moved = dataset.to("meta")
    assert (moved.stored.device.type, moved.device.type) == ("cpu", "meta")
    assert moved.batch([0]).device.type == "meta"
    monkeypatch.setattr(data, "IN_MEMORY", 1000)
    assert dataset.to("meta").stored.device.type == "meta"
    assert "5 images 3x4x6 on meta" in repr(moved)


@pytest.mark.gpu
def test_to_a_gpu():
    moved = load("sprites", count=4).to("cuda")
    assert moved.images.is_cuda
    assert moved.labels.is_cuda


@pytest.mark.parametrize(
    ("images", "labels", "says"),
    [
        (torch.zeros(2, 4, 4), None, r"expected \(n, c, h, w\) torch.float32"),
        (torch.zeros(2, 1, 4, 4, dtype=torch.int64), None, "torch.int64; expected"),
        (torch.zeros(2, 1, 4, 4, dtype=torch.float64), None, "torch.float64; expected"),
        (torch.zeros(0, 1, 4, 4), None, "none of them 0"),
        (torch.full((2, 1, 4, 4), torch.nan), None, "from nan to nan; expected values in"),
        (torch.full((2, 1, 4, 4), 255.0), None, "from 255 to 255; expected values in"),
        (torch.zeros(2, 1, 4, 4), torch.zeros(3, dtype=torch.int64), "each of the 2 images"),
        (torch.zeros(2, 1, 4, 4), torch.zeros(2), "torch.float32; expected one torch.int64"),
        (torch.zeros(2, 1, 4, 4), torch.tensor([0, -1]), "from -1 to 0"),
    ],
)
def test_dataset_refuses_what_the_trainer_could_not_use(images, labels, says):
    with pytest.raises(ValueError, match=says):
        Dataset(images, labels)


def test_dataset_needs_a_name_for_every_class():
    with pytest.raises(ValueError, match=r"from 0 to 2; expected 0\.\.1"):
        Dataset(torch.zeros(2, 1, 4, 4), torch.tensor([0, 2]), ("cat", "dog"))
