"""The embedded data set: seeded, many, of five kinds, drawn inside its frame."""

from importlib import resources

import numpy as np
import pytest

from workbench.sprites import KINDS, draw_sprites


def test_shapes_dtypes_and_kinds():
    images, labels = draw_sprites(500)
    assert images.shape == (500, 16, 16, 3)
    assert images.dtype == np.uint8
    assert labels.shape == (500,)
    assert labels.dtype == np.int64
    assert KINDS == ("hero", "non-hero", "food", "spell", "side-facing")
    # 100 of each expected, standard deviation 9: five of them on either side
    assert (abs(np.bincount(labels, minlength=5) - 100) < 45).all()


@pytest.mark.parametrize("n", [1, 10, 2047, 2049])
def test_a_longer_set_starts_with_the_shorter_one(n):
    long_images, long_labels = draw_sprites(2100, seed=3)  # longer than one chunk
    images, labels = draw_sprites(n, seed=3)
    np.testing.assert_array_equal(images, long_images[:n])
    np.testing.assert_array_equal(labels, long_labels[:n])


def test_another_seed_draws_other_sprites():
    first, _ = draw_sprites(50, seed=0)
    second, _ = draw_sprites(50, seed=1)
    assert (first != second).any(axis=(1, 2, 3)).all()


def test_the_global_random_state_is_left_alone():
    np.random.seed(5)  # noqa: NPY002 - the legacy state is what must not move
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    draw_sprites(3)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_they_differ_visibly():
    """Two count as alike when fewer than 8 of 256 pixels differ by more than 24 of 255 levels."""
    images, _ = draw_sprites(2000)
    pixels = images.reshape(2000, 256, 3).astype(np.int16)
    assert len(np.unique(pixels.reshape(2000, -1), axis=0)) == 2000
    alike = 0
    for i in range(1, 1000):
        differing = (abs(pixels[:i] - pixels[i]) > 24).any(axis=2).sum(axis=1)
        alike += differing.min() < 8
    assert alike < 50


def test_white_paper_and_a_drawing_with_ink_round_it():
    images, _ = draw_sprites(300)
    paper = (images == 255).all(axis=3)  # (n, h, w)
    assert paper.mean() > 0.2
    assert (~paper).mean(axis=(1, 2)).min() > 0.15
    # Whoever leaves the paper does so over dark ink: that is the outline.
    sums = images.sum(axis=3, dtype=int)
    border = ~paper[:, :, 1:] & paper[:, :, :-1]
    assert (sums[:, :, 1:][border] < 450).all()


def test_front_facing_heroes_are_symmetric_but_for_what_they_hold():
    images, labels = draw_sprites(400)
    heroes = images[labels == KINDS.index("hero")]
    profile = images[labels == KINDS.index("side-facing")]

    def unlike(sprites):
        return (sprites != sprites[:, :, ::-1]).any(axis=3).mean(axis=(1, 2))

    assert (unlike(heroes) == 0).mean() > 0.3  # 4 of 10 hold nothing
    assert unlike(heroes).max() < 0.4
    assert unlike(profile).min() > 0.3


def sheet():
    """Colours, recipes and drawings of the sheet, as words."""
    text = resources.files("workbench").joinpath("sprites.txt").read_text("utf-8")
    _, colours, recipes, _, *blocks = text.split("\n\n")
    drawings = {}
    for block in blocks:
        names, *rows = block.splitlines()
        columns = zip(*(row.split() for row in rows), strict=True)
        drawings |= dict(zip(names.split(), columns, strict=True))
    lines = recipes.replace("\n    ", " ").splitlines()[1:]
    return {line.split()[0] for line in colours.splitlines()[1:]}, lines, drawings


def test_every_drawing_and_colour_of_the_sheet_is_used():
    colours, recipes, drawings = sheet()
    words = [word for line in recipes for word in line.split()[2:]]
    groups = tuple(word.partition("?")[0] + "." for word in words if "=" not in word)
    for name in drawings:
        assert (name.partition("@")[0] + ".").startswith(groups), name
    assert colours == {word.partition("=")[2] for word in words if "=" in word}


def test_every_slot_that_a_recipe_draws_has_a_colour():
    _, recipes, drawings = sheet()
    for line in recipes:
        words = line.split()[2:]
        given = {word[0] for word in words if "=" in word}
        for word in (word for word in words if "=" not in word):
            group = word.partition("?")[0] + "."
            for name, rows in drawings.items():
                if (name.partition("@")[0] + ".").startswith(group):
                    tones = set("".join(rows)) - set(".xwk")
                    slots = {"ABCDEFGHI"[int(t) - 1] if t.isdigit() else t.upper() for t in tones}
                    assert slots <= given, f"{line}: {name} uses {slots - given}"


def test_drawings_leave_room_for_their_outline():
    _, _, drawings = sheet()
    for name, rows in drawings.items():
        first = int(name.partition("@")[2])
        for y, row in enumerate(rows, first):
            assert len(row) in (8, 16), name
            if y not in range(1, 15):
                assert set(row) <= set(".x"), f"{name} draws in row {y}"
            edge = row[0] + (row[-1] if len(row) == 16 else "")
            assert set(edge) <= set(".x"), f"{name} draws in an outer column of row {y}"


@pytest.mark.parametrize(("n", "seed"), [(0, 0), (-1, 0), (1, -1)])
def test_refuses_what_cannot_be_drawn(n, seed):
    with pytest.raises(ValueError, match="expected n of at least 1, seed of at least 0"):
        draw_sprites(n, seed)
