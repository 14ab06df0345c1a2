"""The embedded data set: pixel art of five kinds, any number of them, drawn from a seed.

`sprites.txt` holds the art: colours, recipes and drawings. A recipe stacks drawings (legs, body,
head, hair, hat) and gives each of their colour slots a ramp of three tones; the outline, tinted by
what it surrounds, is added here.
"""

import functools
from collections.abc import Iterator
from importlib import resources
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

KINDS = ("hero", "non-hero", "food", "spell", "side-facing")
"""What label 0, 1, 2, 3 and 4 means."""

_SIZE = 16
_SLOTS = "ABCDEFGHI"
_LAYERS = 8
_CHUNK = 2048  # sprites drawn at a time: bounds the memory, never the pictures
_EMPTY, _CUT, _WHITE, _BLACK, _FIRST_SLOT = range(5)
_CODES = {".": _EMPTY, "x": _CUT, "w": _WHITE, "k": _BLACK} | {
    tone: _FIRST_SLOT + 3 * slot + shade
    for slot, letter in enumerate(_SLOTS)
    for shade, tone in enumerate((letter, letter.lower(), str(slot + 1)))
}
_INK = np.array([20, 14, 30])


class _Recipe(NamedTuple):
    layers: list[tuple[NDArray[np.uint8], float]]  # drawings (m, 16, 16), chance of the layer
    colours: dict[int, NDArray[np.float64]]  # slot -> middle tones (m, 3) in 0..255


def draw_sprites(n: int, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Draw n pixel-art sprites on white, each of one of the five `KINDS`.

    Sprite i depends on `seed` and i only: a longer set starts with the shorter one.

    Args:
        n: how many, at least 1.
        seed: an integer, at least 0.

    Returns:
        images: (n, 16, 16, 3) uint8, RGB.
        labels: (n,) int64, an index into `KINDS`; the kinds are equally likely.

    Raises:
        ValueError: n or seed is too small.

    >>> images, labels = draw_sprites(4)
    >>> images.shape, [KINDS[label] for label in labels]
    ((4, 16, 16, 3), ['spell', 'food', 'spell', 'side-facing'])
    """
    if n < 1 or seed < 0:
        raise ValueError(f"n is {n} and seed {seed}; expected n of at least 1, seed of at least 0")
    rng = np.random.default_rng(seed)
    images = np.empty((n, _SIZE, _SIZE, 3), np.uint8)
    labels = np.empty(n, np.int64)
    for start in range(0, n, _CHUNK):
        part = slice(start, min(start + _CHUNK, n))
        u = rng.random((part.stop - start, 3 + _LAYERS + 5 * len(_SLOTS)))
        images[part], labels[part] = _draw(u)
    return images, labels


def _draw(u: NDArray[np.float64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Sprites from rows of uniform numbers: kind, recipe, ink, layers, then five per slot."""
    n = len(u)
    labels = (u[:, 0] * len(KINDS)).astype(np.int64)
    layer_u, slot_u = u[:, 3 : 3 + _LAYERS], u[:, 3 + _LAYERS :].reshape(n, len(_SLOTS), 5)
    canvas = np.zeros((n, _SIZE, _SIZE), np.uint8)
    palette = np.zeros((n, len(_CODES), 3))
    palette[:, _WHITE], palette[:, _BLACK] = (250, 250, 255), (34, 28, 44)
    for label, recipes in enumerate(_book()):
        which = (u[:, 1] * len(recipes)).astype(int)
        for number, recipe in enumerate(recipes):
            rows = np.flatnonzero((labels == label) & (which == number))
            for i, (drawings, chance) in enumerate(recipe.layers):
                choice = (layer_u[rows, i] / chance * len(drawings)).astype(int)
                here = choice < len(drawings)
                drawn, below = drawings[choice[here]], canvas[rows[here]]
                canvas[rows[here]] = np.where(drawn == _EMPTY, below, drawn)
            for slot, tones in recipe.colours.items():
                choice = (slot_u[rows, slot, 0] * len(tones)).astype(int)
                hue = 0.92 + 0.16 * slot_u[rows, slot, 1:2] + 0.1 * (slot_u[rows, slot, 2:] - 0.5)
                at = _FIRST_SLOT + 3 * slot
                palette[rows, at : at + 3] = _ramp(np.minimum(tones[choice] * hue, 255))
    canvas[canvas == _CUT] = _EMPTY
    colours = np.take_along_axis(palette, canvas.reshape(n, -1, 1).astype(np.intp), axis=1)
    return _outline(colours.reshape(n, _SIZE, _SIZE, 3), canvas > 0, 0.1 + 0.4 * u[:, 2]), labels


def _ramp(middle: NDArray[np.float64]) -> NDArray[np.float64]:
    """Light, middle and dark tone (..., 3, 3) of (..., 3)."""
    light = 0.8 * np.sqrt(255 * middle) + 0.2 * middle  # mixing with white would turn it grey
    dark = middle * np.array([0.66, 0.58, 0.68]) + np.array([4, 0, 14])  # leans to violet
    return np.stack([light, middle, dark], axis=-2)


def _outline(
    colours: NDArray[np.float64], solid: NDArray[np.bool_], tint: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """Put the shapes on white, inked round where one of the four neighbours is solid."""
    mask = solid[..., None].astype(np.float64)  # (n, h, w, 1)
    shapes = np.concatenate([colours * mask, mask], axis=-1)  # (n, h, w, 4)
    padded = np.pad(shapes, ((0, 0), (1, 1), (1, 1), (0, 0)))
    near = padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1] + padded[:, 1:-1, :-2] + padded[:, 1:-1, 2:]
    count = near[..., 3:]
    ink = _INK + tint[:, None, None, None] * near[..., :3] / np.maximum(count, 1)
    picture = np.where(solid[..., None], colours, np.where(count > 0, ink, 255.0))
    return picture.round().clip(0, 255).astype(np.uint8)


@functools.cache
def _book() -> list[list[_Recipe]]:
    """The recipes of each kind; one of weight w stands w times."""
    text = resources.files(__package__).joinpath("sprites.txt").read_text("utf-8")
    _, colour_lines, recipe_lines, _, *blocks = text.split("\n\n")
    colours: dict[str, list[tuple[int, ...]]] = {}
    for line in colour_lines.splitlines()[1:]:
        name, *tones = line.split()
        colours.setdefault(name, []).extend(tuple(bytes.fromhex(tone)) for tone in tones)
    drawings = {name: pixels for block in blocks for name, pixels in _drawings(block)}
    book: list[list[_Recipe]] = [[] for _ in KINDS]
    for line in recipe_lines.replace("\n    ", " ").splitlines()[1:]:
        kind, weight, *words = line.split()
        layers, slots = [], {}
        for word in words:
            if "=" in word:
                slot, name = word.split("=")
                slots[_SLOTS.index(slot)] = np.array(colours[name], np.float64)
            else:
                group, _, chance = word.partition("?")
                names = [name for name in drawings if f"{name}.".startswith(f"{group}.")]
                stack = np.stack([drawings[name] for name in names])
                layers.append((stack, float(chance or 1)))
        book[KINDS.index(kind)] += [_Recipe(layers, slots)] * int(weight)
    return book


def _drawings(block: str) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Name and palette indices (16, 16) of the drawings that stand side by side in a block."""
    for name, *column in zip(*(row.split() for row in block.splitlines()), strict=True):
        name, _, first_row = name.partition("@")
        half = np.array([[_CODES[tone] for tone in row] for row in column], np.uint8)
        top = int(first_row)
        pixels = np.zeros((_SIZE, _SIZE), np.uint8)
        whole = half if half.shape[1] == _SIZE else np.hstack([half, half[:, ::-1]])
        pixels[top : top + len(whole)] = whole[: _SIZE - top]  # beside a taller one: empty rows
        yield name, pixels
