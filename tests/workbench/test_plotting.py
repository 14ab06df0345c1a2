"""What the figures show is what was given: line data, pixels, numbers and words."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from workbench import backends, curves, plotting
from workbench.data import load
from workbench.pixels import to_uint8
from workbench.sheets import tiled


def some_images(n=4, c=3, h=8, w=8, seed=0):
    """(n, c, h, w) whose values are whole grey levels."""
    levels = torch.randint(0, 256, (n, c, h, w), generator=torch.Generator().manual_seed(seed))
    return levels / 127.5 - 1


def shown(figure):
    """The pixels of every image of a figure, in the order in which they were drawn."""
    (axes,) = figure.axes
    return [image.get_array() for image in axes.images]


def texts(figure):
    (axes,) = figure.axes
    return [text.get_text() for text in axes.texts]


def positions(figure):
    """(left, right, bottom, top) of every image, in screen pixels."""
    (axes,) = figure.axes
    return [image.get_extent() for image in axes.images]


def scheduler(T=50, **options):
    return backends.load("scratch").DDPMScheduler(num_train_timesteps=T, **options)


# The grid


@pytest.mark.parametrize(
    ("n", "asked", "columns", "rows"),
    [(1, None, 1, 1), (4, None, 2, 2), (5, None, 3, 2), (6, 6, 6, 1), (6, 4, 4, 2), (3, 9, 3, 1)],
)
def test_grid_has_rows_and_columns(n, asked, columns, rows):
    figure = plotting.image_grid(some_images(n), columns=asked)
    lefts = {left for left, *_ in positions(figure)}
    tops = {top for *_, top in positions(figure)}
    assert (len(lefts), len(tops), len(positions(figure))) == (columns, rows, n)


def test_grid_reads_from_left_to_right_and_down():
    places = [(top, left) for left, _, _, top in positions(plotting.image_grid(some_images(6)))]
    assert places == sorted(places)


def test_titles_stand_above_their_images():
    figure = plotting.image_grid(some_images(3), titles=["a", "b", "c"], columns=2)
    (axes,) = figure.axes
    for text, (left, right, _, top), name in zip(axes.texts, positions(figure), "abc", strict=True):
        assert text.get_text() == name
        x, y = text.get_position()
        assert x == (left + right) / 2
        assert top - 20 < y < top


@pytest.mark.parametrize(("c", "h", "w"), [(3, 16, 16), (1, 8, 8), (3, 5, 12), (3, 100, 100)])
def test_a_saved_grid_is_crisp(tmp_path, c, h, w):
    """In the file every pixel of an image is a square of equal screen pixels, and nothing else."""
    images = some_images(3, c, h, w)
    figure = plotting.image_grid(images, titles=["x", "y", "z"])
    plotting.save(figure, tmp_path / "grid.png")
    page = np.asarray(Image.open(tmp_path / "grid.png").convert("RGB"))
    for (left, right, bottom, top), pixels in zip(positions(figure), to_uint8(images), strict=True):
        zoom = round((right - left) / w)
        part = page[round(top) : round(bottom), round(left) : round(right)]
        expected = pixels.repeat(zoom, axis=0).repeat(zoom, axis=1)
        np.testing.assert_array_equal(part, np.broadcast_to(expected, part.shape))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"titles": ["a"]}, "1 titles for 4 images"),
        ({"columns": 0}, "columns is 0; expected at least 1"),
    ],
)
def test_grid_refuses(options, says):
    with pytest.raises(ValueError, match=says):
        plotting.image_grid(some_images(4), **options)


# Strips


def test_noising_strip_adds_one_noise_per_image_at_growing_t():
    images, one = some_images(2), scheduler()
    figure = plotting.noising_strip(images, one, [0, 20, 49], torch.Generator().manual_seed(7))
    eps = torch.randn(images.shape, generator=torch.Generator().manual_seed(7))
    expected = []
    for i in range(2):
        expected.append(images[i : i + 1])
        for t in (0, 20, 49):
            expected.append(one.add_noise(images[i : i + 1], eps[i : i + 1], torch.tensor([t])))
    np.testing.assert_array_equal(shown(figure), to_uint8(torch.cat(expected)))
    assert texts(figure) == ["$x_0$", "t = 0", "t = 20", "t = 49"]


def test_noising_strip_shows_both_ends_unless_told_otherwise():
    figure = plotting.noising_strip(some_images(1), scheduler(T=36))
    assert texts(figure) == ["$x_0$", *(f"t = {t}" for t in range(0, 36, 5))]


def test_noising_strip_is_the_same_for_the_same_generator():
    def strip(seed):
        generator = torch.Generator().manual_seed(seed)
        return np.stack(shown(plotting.noising_strip(some_images(1), scheduler(), [30], generator)))

    np.testing.assert_array_equal(strip(1), strip(1))
    assert (strip(1) != strip(2)).any()


def test_trajectory_strip_goes_from_left_to_right():
    frames = [some_images(2, seed=i) for i in range(3)]
    figure = plotting.trajectory_strip(frames)
    expected = [to_uint8(frames[k])[i] for i in range(2) for k in range(3)]
    np.testing.assert_array_equal(shown(figure), expected)
    assert texts(figure) == []


def test_trajectory_strip_with_predictions_and_timesteps():
    frames = [some_images(2, seed=i) for i in range(3)]
    beliefs = [some_images(2, seed=i) for i in range(3, 6)]
    figure = plotting.trajectory_strip(frames, beliefs, [40, 20, 0])
    expected = [
        to_uint8(row[k])[i] for i in range(2) for row in (frames, beliefs) for k in range(3)
    ]
    np.testing.assert_array_equal(shown(figure), expected)
    titles = [text for text in texts(figure) if text.startswith("t")]
    assert titles == ["t = 40", "t = 20", "t = 0"]
    names = [text for text in texts(figure) if text.startswith("$")]
    assert names == [r"$x_t$", r"$\hat{x}_0$"] * 2


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"timesteps": [1]}, "1 of timesteps for 2 frames"),
        ({"x_0": [torch.zeros(1, 1, 2, 2)]}, "1 of x_0 for 2 frames"),
    ],
)
def test_trajectory_strip_refuses(options, says):
    with pytest.raises(ValueError, match=says):
        plotting.trajectory_strip([torch.zeros(1, 1, 2, 2)] * 2, **options)


# Side by side


def test_side_by_side_shows_the_difference_and_states_it():
    a = torch.zeros(2, 1, 4, 4)
    b = a.clone()
    b[1, 0, 2, 3] = 0.003  # 0.0015 of 1
    figure = plotting.side_by_side(a, b, ("ours", "theirs"))
    ours, theirs, difference = np.split(np.stack(shown(figure)), 3)
    np.testing.assert_array_equal(ours, to_uint8(a).repeat(3, axis=3))
    np.testing.assert_array_equal(theirs, to_uint8(b).repeat(3, axis=3))
    expected = np.zeros((2, 4, 4, 3), np.uint8)
    expected[1, 2, 3] = round(255 * 0.0015 * 100)
    np.testing.assert_array_equal(difference, expected)
    assert texts(figure) == [
        "ours",
        "theirs",
        "difference × 100",
        "largest difference 1.5e-03 (black is 0, white is 1)",
    ]


def test_side_by_side_amplifies_as_told():
    a, b = torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), 0.2)
    figure = plotting.side_by_side(a, b, amplify=4)
    assert "difference × 4" in texts(figure)
    assert (shown(figure)[2] == round(255 * 0.1 * 4)).all()


def test_side_by_side_of_equal_images():
    a = some_images()
    figure = plotting.side_by_side(a, a)
    assert "difference × 1" in texts(figure)
    assert any(text.startswith("largest difference 0.0e+00") for text in texts(figure))
    assert (np.stack(shown(figure)[8:]) == 0).all()


def test_side_by_side_of_arrays_and_pictures():
    levels = to_uint8(some_images())
    other = levels.copy()
    other[0, 0, 0, 0] ^= 255
    figure = plotting.side_by_side(levels / 255, [Image.fromarray(x) for x in other])
    largest = abs(int(levels[0, 0, 0, 0]) - int(other[0, 0, 0, 0])) / 255
    assert f"largest difference {largest:.1e} (black is 0, white is 1)" in texts(figure)


def test_side_by_side_lays_both_out_alike():
    figure = plotting.side_by_side(some_images(6), some_images(6), columns=2)
    places = np.array(positions(figure)).reshape(3, 6, 4)
    shift = places[1:, :, 0] - places[:-1, :, 0]
    assert (shift == shift[0, 0]).all()
    np.testing.assert_array_equal(places[0, :, 3], places[2, :, 3])
    assert len(set(places[0, :, 0])) == 2


@pytest.mark.parametrize(
    ("b", "options", "says"),
    [
        (torch.zeros(1, 1, 2, 3), {}, "expected one shape"),
        (torch.zeros(1, 1, 2, 2), {"amplify": 0}, "amplify is 0; expected a positive factor"),
    ],
)
def test_side_by_side_refuses(b, options, says):
    with pytest.raises(ValueError, match=says):
        plotting.side_by_side(torch.zeros(1, 1, 2, 2), b, **options)


# Files


@pytest.mark.parametrize(
    ("name", "start"), [("a.png", b"\x89PNG"), ("a.svg", b"<?xml"), ("a.PDF", b"%PDF")]
)
def test_save_by_suffix(tmp_path, name, start):
    path = tmp_path / "new folder" / name
    plotting.save(plotting.image_grid(some_images(1)), path)
    assert path.read_bytes().startswith(start)
    assert [p.name for p in path.parent.iterdir()] == [name]


def test_the_same_figure_gives_the_same_png(tmp_path):
    for name in "ab":
        plotting.save(curves.loss_curves({"run": [1.0, 0.5]}), tmp_path / f"{name}.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize("name", ["grid", "grid.jpg", "grid.gif"])
def test_save_refuses_another_suffix(tmp_path, name):
    with pytest.raises(ValueError, match=r"expected \.png, \.svg, \.pdf"):
        plotting.save(plotting.image_grid(some_images(1)), tmp_path / name)
    assert not any(tmp_path.iterdir())


def test_a_failing_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "grid.png"
    path.write_text("old")
    figure = plotting.image_grid(some_images(1))

    def fail(whole, **_):
        whole.write_text("half")
        raise OSError("disk full")

    monkeypatch.setattr(figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        plotting.save(figure, path)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["grid.png"]


def test_gif_shows_every_frame(tmp_path):
    # 4 images of 4 x 4 pixels have at most 64 colours, so that the palette of a GIF loses none
    frames = [some_images(4, 3, 4, 4, seed=i) for i in range(5)]
    path = tmp_path / "way.gif"
    plotting.save_gif(frames, path, columns=4, seconds=0.1, hold=0.5)
    with Image.open(path) as gif:
        assert gif.n_frames == 5
        assert gif.info["loop"] == 0
        durations = []
        for k, frame in enumerate(frames):
            gif.seek(k)
            durations.append(gif.info["duration"])
            np.testing.assert_array_equal(gif.convert("RGB"), tiled(to_uint8(frame), 4))
    assert durations == [100] * 4 + [500]
    assert [p.name for p in tmp_path.iterdir()] == ["way.gif"]


@pytest.mark.parametrize(
    ("name", "count", "says"),
    [("a.png", 1, "expected a name in .gif"), ("a.gif", 0, "of 0 frames")],
)
def test_gif_refuses(tmp_path, name, count, says):
    with pytest.raises(ValueError, match=says):
        plotting.save_gif([some_images()] * count, tmp_path / name)
    assert not any(tmp_path.iterdir())


# The look


def test_a_users_own_settings_change_nothing(tmp_path):
    import matplotlib

    before = tmp_path / "before.png"
    plotting.save(curves.loss_curves({"run": [1.0, 0.5, 0.2]}), before)
    dark = {"axes.facecolor": "black", "text.color": "white", "font.size": 20, "savefig.dpi": 30}
    with matplotlib.rc_context(dark):
        after = tmp_path / "after.png"
        plotting.save(curves.loss_curves({"run": [1.0, 0.5, 0.2]}), after)
    assert before.read_bytes() == after.read_bytes()


def test_texts_lie_inside_the_figure():
    dataset = load("sprites", count=6)
    titles = [dataset.class_names[label] for label in dataset.labels]
    frames = [dataset.images] * 3
    figures = [
        plotting.image_grid(dataset.images, titles),
        plotting.trajectory_strip(frames, frames, [499, 250, 0]),
        plotting.side_by_side(dataset.images[:1], -dataset.images[:1], ("scratch", "Diffusers")),
    ]
    for figure in figures:
        figure.draw_without_rendering()
        (axes,) = figure.axes
        width, height = figure.get_size_inches() * figure.dpi
        for text in axes.texts:
            box = text.get_window_extent()
            assert box.x0 >= 0, text
            assert box.x1 <= width, text
            assert box.y0 >= 0, text
            assert box.y1 <= height, text


def test_nothing_opens_pyplot_and_importing_does_not_load_matplotlib():
    code = (
        "import sys, torch; from workbench import curves, plotting;"
        "assert 'matplotlib' not in sys.modules;"
        "plotting.image_grid(torch.zeros(1, 1, 2, 2)); curves.loss_curves({'a': [1.0]});"
        "assert 'matplotlib.figure' in sys.modules; assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
