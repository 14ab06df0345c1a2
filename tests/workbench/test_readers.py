"""What NumPy files and folders of pictures give, and what is refused in them."""

import pickle
import sys

import numpy as np
import pytest
from PIL import Image

from workbench import data, readers
from workbench.data import load
from workbench.pixels import to_uint8
from workbench.sprites import draw_sprites

rng = np.random.default_rng(0)


def pixels(*shape):
    return rng.integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("shape", [(5, 4, 6), (5, 4, 6, 1), (5, 4, 6, 3)])
def test_npy(save, shape):
    array = pixels(*shape)
    dataset = load(save("images.npy", array))
    np.testing.assert_array_equal(to_uint8(dataset.images), array.reshape(5, 4, 6, -1))
    assert dataset.labels is None
    assert dataset.num_classes == 0


def test_the_sets_of_the_tutorial_load_as_they_are(save):
    """89,400 images (16, 16, 3) uint8 and their one-hot labels, (89400, 5) float64."""
    sprites, kinds = draw_sprites(50)
    array = np.resize(sprites, (89_400, 16, 16, 3))
    images = save("sprites_1788_16x16.npy", array)
    labels = save("sprite_labels_nc_1788_16x16.npy", np.resize(np.eye(5)[kinds], (89_400, 5)))
    dataset = load(images, labels)
    assert dataset.images.shape == (89_400, 3, 16, 16)
    np.testing.assert_array_equal(to_uint8(dataset.images[:50]), sprites)
    np.testing.assert_array_equal(dataset.labels[-50:], np.resize(kinds, 89_400)[-50:])
    assert dataset.num_classes == 5


@pytest.mark.parametrize(
    ("names", "labelled"),
    [(("images",), False), (("x",), False), (("images", "labels"), True), (("x", "labels"), True)],
)
def test_npz(tmp_path, names, labelled):
    arrays = dict(zip(names, (pixels(4, 2, 2, 3), np.array([0, 2, 1, 2])), strict=False))
    np.savez(tmp_path / "set.npz", **arrays)
    dataset = load(str(tmp_path / "set.npz"))
    np.testing.assert_array_equal(to_uint8(dataset.images), arrays[names[0]])
    assert (dataset.labels is not None) == labelled
    if labelled:
        assert dataset.labels.tolist() == [0, 2, 1, 2]


def test_labels_may_come_from_an_npz_too(save, tmp_path):
    np.savez(tmp_path / "labels.npz", labels=np.array([1, 0]))
    assert load(save("a.npy", pixels(2, 2, 2)), tmp_path / "labels.npz").labels.tolist() == [1, 0]


def test_npz_with_several_candidates(tmp_path, refusal):
    np.savez(tmp_path / "two.npz", train=pixels(4, 2, 2), test=pixels(1, 2, 2))
    message = refusal(tmp_path / "two.npz")
    assert "train, test" in message
    assert "expected one named images" in message


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.uint64])
def test_integer_labels(save, dtype):
    labels = save("labels.npy", np.array([3, 0, 1], dtype))
    dataset = load(save("images.npy", pixels(3, 2, 2)), labels)
    assert dataset.labels.tolist() == [3, 0, 1]
    assert dataset.num_classes == 4


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float32, np.float64])
def test_one_hot_labels_count_classes_without_images(save, dtype):
    labels = save("labels.npy", np.eye(4, dtype=dtype)[[2, 0]])
    dataset = load(save("images.npy", pixels(2, 2, 2)), labels)
    assert dataset.labels.tolist() == [2, 0]
    assert dataset.num_classes == 4


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (np.array([0, 1]), "(2,) for 3 images"),
        (np.zeros((2, 5)), "(2, 5) for 3 images"),
        (np.array(1), "() for 3 images"),
        (np.array([0.0, 1.0, 0.5]), "float64; expected (n,) integers or (n, k) one-hot"),
        (np.array([0, -1, 2]), "from -1 to 2; expected 0..k-1"),
        (np.array([0, 1, 10**9]), "numbers them anew"),
        (np.array([[0.0, 1], [0.5, 0.5], [1, 0]]), "row 1 of the labels is not one-hot"),
        (np.array([[0, 1], [1, 0], [1, 1]]), "row 2 of the labels is not one-hot"),
        (np.array([[0, 1], [0, 0], [1, 0]]), "row 1 of the labels is not one-hot"),
        (np.array([[0, 1], [np.nan, 1], [1, 0]]), "row 1 of the labels is not one-hot"),
        (np.array(["a", "b", "c"]), "<U1; expected (n,) integers"),
        (np.zeros((3, 2, 2)), "(3, 2, 2) float64; expected"),
    ],
)
def test_labels_that_do_not_fit(save, labels, says, refusal):
    path = save("labels.npy", labels)
    message = refusal(save("images.npy", pixels(3, 2, 2)), path)
    assert says in message
    assert str(path) in message


def test_labels_for_data_that_bring_their_own(save, refusal):
    labels = save("labels.npy", np.zeros(5, int))
    assert "brings its own labels; leave out" in refusal("sprites", labels, count=5)


def test_missing_labels(save, tmp_path, refusal):
    message = refusal(save("images.npy", pixels(1, 2, 2)), tmp_path / "labels.npy")
    assert message == f"there is no file {tmp_path / 'labels.npy'}"


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.linspace(0, 1, 12).reshape(3, 2, 2), "(images * 255).round()"),
        (np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 2, 2), "((images + 1) * 127.5)"),
        (np.full((3, 2, 2), 255.0), "reaches from 255.0 to 255.0"),
        (np.full((3, 2, 2), 300), "reaches from 300 to 300"),
        (np.full((3, 2, 2), np.nan), "NaN or infinity"),
        (np.zeros((0, 2, 2)), "float64; expected uint8"),
        (np.full((3, 2, 2), "x"), "<U1; expected uint8"),
        (pixels(3, 2), "shape (3, 2); expected (n, h, w)"),
        (pixels(3, 2, 2, 4), "shape (3, 2, 2, 4)"),
        (pixels(3, 3, 8, 8), "try images.transpose(0, 2, 3, 1)"),
        (pixels(0, 8, 8, 3), "shape (0, 8, 8, 3)"),
        (pixels(2, 0, 8, 3), "none of them 0"),
    ],
)
def test_arrays_that_are_no_images(save, array, says, refusal):
    path = save("images.npy", array)
    message = refusal(path)
    assert says in message
    assert message.startswith(str(path))


@pytest.mark.parametrize("formula", ["images * 255", "(images + 1) * 127.5"])
def test_the_advice_for_floats_gives_the_right_levels(save, formula, refusal):
    levels = pixels(2, 4, 4, 3)
    floats = {"images * 255": levels / 255, "(images + 1) * 127.5": levels / 127.5 - 1}[formula]
    advice = refusal(save("images.npy", floats)).partition(": ")[2]
    assert f"({formula}).round().astype('uint8')" in advice
    mended = eval(advice[advice.index("(") :], {"images": floats})
    np.testing.assert_array_equal(mended, levels)


class Bomb:
    """Leaves a mark when unpickled."""

    def __reduce__(self):
        return exec, ("import sys; sys.modules['bomb_went_off'] = sys",)


@pytest.mark.parametrize("kind", ["object array", "bare pickle"])
def test_pickle_is_never_read(tmp_path, kind, refusal):
    path = tmp_path / "images.npy"
    if kind == "object array":
        np.save(path, np.array([Bomb()], dtype=object), allow_pickle=True)
    else:
        path.write_bytes(pickle.dumps(Bomb()))
    message = refusal(path)
    assert "pickle can run foreign code and is never read" in message
    assert "bomb_went_off" not in sys.modules


@pytest.mark.parametrize("keep", [0, 5, 60, 127, 140, 0.5, -1])
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_truncated_file(tmp_path, suffix, keep, refusal):
    path = tmp_path / f"images.{suffix}"
    (np.save if suffix == "npy" else np.savez)(path, pixels(20, 8, 8, 3))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole)) if keep == 0.5 else keep])
    assert str(path) in refusal(path)


def test_a_large_file_is_mapped_and_the_same(save, monkeypatch):
    array = pixels(20, 8, 8, 3)
    small = load(save("images.npy", array))
    monkeypatch.setattr(data, "IN_MEMORY", array.size)
    mapped = load(save("images.npy", array))
    assert mapped.fingerprint() == small.fingerprint()
    np.testing.assert_array_equal(to_uint8(mapped.batch([3, 1])), array[[3, 1]])
    mapped.stored[0] = 0  # a private copy of the page: the file stays
    np.testing.assert_array_equal(np.load(tmp := save("b.npy", array), allow_pickle=False), array)
    monkeypatch.setattr(data, "IN_MEMORY", 1)
    load(tmp).stored.zero_()
    np.testing.assert_array_equal(np.load(tmp, allow_pickle=False), array)


@pytest.mark.parametrize("keep", [60, 200, -1])
def test_a_large_file_that_is_cut_short(save, refusal, monkeypatch, keep):
    path = save("images.npy", pixels(20, 8, 8, 3))
    path.write_bytes(path.read_bytes()[:keep])
    monkeypatch.setattr(data, "IN_MEMORY", 1)
    assert refusal(path).startswith(f"{path} cannot be read as a NumPy file")


def test_a_large_file_of_python_objects(tmp_path, refusal, monkeypatch):
    path = tmp_path / "images.npy"
    np.save(path, np.array([Bomb()], dtype=object), allow_pickle=True)
    monkeypatch.setattr(data, "IN_MEMORY", 1)
    assert "pickle can run foreign code and is never read" in refusal(path)


def test_a_small_file_that_would_fill_the_memory_is_not_unpacked(tmp_path, refusal, monkeypatch):
    """A file says beforehand what it will unpack to."""
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, images=np.zeros((1000, 10, 10), np.uint8))
    assert path.stat().st_size < 1000
    monkeypatch.setattr(readers, "MOST_UNPACKED", 100_000)
    assert refusal(path) == (
        f"{path} would unpack to 100,128 bytes; expected at most 100,000, as a .npz file is "
        "unpacked into memory; a .npy file is not: numpy.save(path, images)"
    )
    monkeypatch.setattr(readers, "MOST_UNPACKED", 100_128)
    assert len(load(path)) == 1000


def test_a_file_that_lies_of_what_it_will_unpack_to(tmp_path, refusal):
    path = tmp_path / "liar.npz"
    np.savez_compressed(path, images=np.zeros((1000, 10, 10), np.uint8))
    whole = path.read_bytes()
    at = whole.index(b"PK\x01\x02") + 24  # in the directory at its end
    path.write_bytes(whole[:at] + (1000).to_bytes(4, "little") + whole[at + 4 :])
    assert refusal(path).startswith(f"{path} cannot be read as a NumPy file")


def test_a_header_that_promises_more_than_there_is(tmp_path, refusal):
    path = tmp_path / "images.npy"
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (%d, 16, 16, 3), }"
    body = (header % 10**15).ljust(117) + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(body).to_bytes(2, "little") + body)
    assert "cannot be read as a NumPy file" in refusal(path)


def draw(path, mode="RGB", size=(6, 4), colour=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = {"RGB": 3, "RGBA": 4, "LA": 2}.get(mode)
    shape = (size[1], size[0], channels) if channels else (size[1], size[0])
    array = pixels(*shape) if colour is None else np.broadcast_to(np.uint8(colour), shape)
    image = Image.fromarray(np.ascontiguousarray(array))
    assert image.mode == mode
    image.save(path)
    return array


def test_folder(tmp_path):
    second = draw(tmp_path / "b.PNG")
    first = draw(tmp_path / "a.png")
    third = draw(tmp_path / "c.bmp")
    draw(tmp_path / ".hidden.png", size=(1, 1))
    (tmp_path / "README").write_text("about these pictures")
    dataset = load(tmp_path)
    np.testing.assert_array_equal(to_uint8(dataset.images), [first, second, third])
    assert dataset.labels is None


def test_sub_folders_are_labels(tmp_path):
    drawn = [draw(tmp_path / p) for p in ("cat/1.png", "cat/deep/2.png", "dog/0.png")]
    (tmp_path / "empty").mkdir()
    dataset = load(tmp_path)
    np.testing.assert_array_equal(to_uint8(dataset.images), drawn)
    assert dataset.labels.tolist() == [0, 0, 1]
    assert dataset.class_names == ("cat", "dog")


def test_labels_of_a_flat_folder_from_a_file(tmp_path, save):
    for name in "ab":
        draw(tmp_path / "flat" / f"{name}.png")
    labels = save("labels.npy", np.array([1, 0]))
    assert load(tmp_path / "flat", labels).labels.tolist() == [1, 0]


def test_grey_pictures_keep_one_channel(tmp_path):
    grey = draw(tmp_path / "a.png", "L")
    assert load(tmp_path).images.shape == (1, 1, 4, 6)
    np.testing.assert_array_equal(to_uint8(load(tmp_path).images)[0, :, :, 0], grey)


def test_grey_beside_colour_becomes_colour(tmp_path):
    grey = draw(tmp_path / "a.png", "L")
    colour = draw(tmp_path / "b.png", "RGB")
    expected = [np.repeat(grey[..., None], 3, axis=2), colour]
    np.testing.assert_array_equal(to_uint8(load(tmp_path).images), expected)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_is_laid_on_white(tmp_path, mode):
    for name, alpha in (("clear", 0), ("full", 255)):
        ink = [40] * (len(mode) - 1)
        draw(tmp_path / f"{name}.png", mode, colour=[*ink, alpha])
    clear, full = to_uint8(load(tmp_path).images)
    assert clear.shape[2] == len(mode) - 1
    assert (clear == 255).all()
    assert (full == 40).all()


def test_pictures_are_turned_as_the_camera_says(tmp_path):
    array = pixels(4, 6, 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn a quarter clockwise
    Image.fromarray(array).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(to_uint8(load(tmp_path).images)[0], np.rot90(array, -1))


def test_size_takes_the_middle_square(tmp_path):
    array = draw(tmp_path / "a.png", size=(10, 4))
    draw(tmp_path / "b.png", size=(8, 20))
    dataset = load(tmp_path, size=4)
    assert dataset.images.shape == (2, 3, 4, 4)
    np.testing.assert_array_equal(to_uint8(dataset.images)[0], array[:, 3:7])
    assert load(tmp_path, size=2).images.shape == (2, 3, 2, 2)


def test_pictures_of_different_sizes(tmp_path, refusal):
    draw(tmp_path / "a.png", size=(6, 4))
    draw(tmp_path / "b.png", size=(6, 5))
    message = refusal(tmp_path)
    assert f"{tmp_path / 'b.png'} is 6x5, {tmp_path / 'a.png'} is 6x4" in message
    assert "give a size (--size)" in message


def test_folder_without_pictures(tmp_path, refusal):
    assert "holds no pictures; expected files .png" in refusal(tmp_path)


def test_pictures_beside_sub_folders(tmp_path, refusal):
    draw(tmp_path / "loose.png")
    draw(tmp_path / "cat" / "a.png")
    assert "move loose.png into one, or the rest out" in refusal(tmp_path)


@pytest.mark.parametrize("keep", [0, 20, 50, -30])
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_truncated_picture(tmp_path, suffix, keep, refusal):
    path = tmp_path / f"a.{suffix}"
    draw(path, size=(32, 32))
    path.write_bytes(path.read_bytes()[:keep])
    assert refusal(tmp_path).startswith(f"{path} cannot be read as a picture")


def test_sixteen_bits(tmp_path, refusal):
    Image.fromarray(np.full((2, 2), 40_000, np.uint16)).save(tmp_path / "a.png")
    assert "expected 8 bits" in refusal(tmp_path)
