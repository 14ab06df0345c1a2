"""Many pictures: looked through once, then held in memory, or read again whenever they are needed.

The reading is that of PyTorch's `DataLoader`, which everybody has who has PyTorch: processes beside
this one unpack what comes next. Which pictures come next is not its choice: it is told.
"""

import hashlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from workbench import pictures, processes, progress_bar
from workbench.pictures import Files, Pixels, Seen
from workbench.pixels import image_of_each_level

MANY = 2000  # pictures; fewer are read by this process, and without a word
AT_ONCE = 64  # pictures that a process looks through before it says what it saw
MOST_WORKERS = 4
FEW = 3  # names in a message

Indices = Sequence[int] | NDArray[np.int64]


@dataclass(frozen=True)
class Stream:
    """Pictures on the disk, read when they are asked for.

    Attributes:
        files: where they lie.
        chosen: (n,) int64, which of them are meant.
        shape: (n, c, h, w).
        size: what `load` was told.
        checksum: the SHA-256 of their shape and pixels, as `Dataset.fingerprint` begins; None where
            they were not all seen in this shape.
    """

    files: Files
    chosen: NDArray[np.int64]
    shape: tuple[int, int, int, int]
    size: int | None = None
    checksum: "hashlib._Hash | None" = None

    def __len__(self) -> int:
        return len(self.chosen)

    def first(self, count: int) -> "Stream":
        """The first `count` of them."""
        return Stream(self.files, self.chosen[:count], (count, *self.shape[1:]), self.size)

    def batches(self, order: Iterable[Indices]) -> Iterator[Pixels]:
        """Batches of pictures, unpacked by other processes while one works on the last.

        Args:
            order: which pictures are in each batch; it is asked a few batches ahead.

        Yields:
            (b, c, h, w) uint8.

        Raises:
            ValueError: a picture is not any more what it was.
        """
        told = (self.chosen[np.asarray(indices)] for indices in order)
        for numbers, seen in _in_order(self.files, told, self.size):
            yield np.stack([self._as_before(*each) for each in zip(numbers, seen, strict=True)])

    def batch(self, indices: Indices) -> Pixels:
        """The pictures of `indices`, read by this process: (b, c, h, w) uint8.

        Raises:
            ValueError: a picture is not any more what it was.
        """
        chosen = self.chosen[np.asarray(indices)].tolist()
        read = (pictures.read(self.files, i, self.size) for i in chosen)
        return np.stack([self._as_before(i, seen) for i, seen in zip(chosen, read, strict=True)])

    def _as_before(self, i: int, seen: Seen) -> Pixels:
        """The pixels of a picture that was looked through: (c, h, w)."""
        _, c, h, w = self.shape
        if seen.pixels is None or seen.pixels.shape not in ((h, w, 1), (h, w, c)):
            raise ValueError(
                f"{self.files.name(i)} is no longer what it was when the run began"
                f"{f' ({seen.problem})' if seen.problem else ''}; pictures must stay as they are"
            )
        return np.broadcast_to(seen.pixels, (h, w, c)).transpose(2, 0, 1)


def load(
    files: Files,
    what: str,
    *,
    count: int | None = None,
    size: int | None = None,
    in_memory: int,
    skip_broken: bool = False,
    progress: bool = False,
) -> tuple[torch.Tensor | Stream, NDArray[np.int64]]:
    """Look through pictures, and hold them in memory if they fit.

    There is one channel if all are stored in grey, else there are three.

    Args:
        files: where they lie.
        what: how they are called, all together.
        count: look only at so many; None for all, as there are if some may be left out.
        size: take the middle square of each, resized to size x size; None: they are of one size.
        in_memory: how many bytes of pixels may be held.
        skip_broken: leave out those that cannot be read.
        progress: whether to show a bar, and before it say how much there is, if it is much.

    Returns:
        (n, c, h, w) uint8 or a stream of the same; (n,) int64, which of the files it holds.

    Raises:
        ValueError: the pictures differ in size, or one cannot be read; says which.
    """
    n = len(files) if count is None or skip_broken else min(count, len(files))
    held, found = _Held(in_memory), _Found()
    chosen: list[int] = []
    shown = progress and n >= MANY and processes.is_first()
    ahead = (np.arange(i, min(i + AT_ONCE, n)) for i in range(0, n, AT_ONCE))
    with progress_bar.of(n, f"reading {what}", shown) as bar:
        for numbers, seen in _in_order(files, ahead, size, n >= MANY):
            for i, one in zip(numbers, seen, strict=True):
                found.note(files, i, one)
                if one.pixels is None:
                    continue
                if not chosen:
                    first = i
                    held.begin(n, one.pixels)
                    if shown:
                        progress_bar.say(_forecast(what, n, one.pixels, in_memory), sys.stderr)
                h, w, _ = one.pixels.shape
                pictures.refuse_other_size(files.name(i), (h, w), files.name(first), held.side)
                held.add(len(chosen), one.pixels)
                chosen.append(i)
            bar.update(len(numbers))
    found.refuse(what, n, skip_broken)
    found.say(n)
    which = np.array(chosen, np.int64)
    shape = (len(chosen), held.channels, *held.side)
    if held.pixels is None:
        whole = held.checksum if len(chosen) == n else None
        return Stream(files, which, shape, size, whole), which
    return torch.from_numpy(held.pixels[: len(chosen)]).permute(0, 3, 1, 2), which


def _forecast(what: str, n: int, pixels: Pixels, in_memory: int) -> str:
    h, w, _ = pixels.shape
    size = n * pixels.size
    where = f"{said_bytes(size)} of memory"
    if size > in_memory:
        where = f"{said_bytes(size)} unpacked: they stay on the disk, and are read batch by batch"
    return f"{what}: {n:,} pictures of {w}x{h}, {where}"


def said_bytes(number: float) -> str:
    """A number of bytes in words.

    >>> said_bytes(2_400_000_000), said_bytes(768)
    ('2.4 GB', '768 bytes')
    """
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= factor:
            return f"{number / factor:.1f} {unit}"
    return f"{number:.0f} bytes"


class _Held:
    """The pixels of pictures as they come, (n, h, w, c), or, if they are too many, their checksum;
    neither if only the colour of a later one shows that they are."""

    def __init__(self, most: int) -> None:
        self.most, self.channels = most, 0
        self.side: tuple[int, int] = (0, 0)
        self.pixels: Pixels | None = None
        self.checksum: hashlib._Hash | None = None

    def begin(self, n: int, first: Pixels) -> None:
        h, w, self.channels = first.shape
        self.side = h, w
        if n * first.size <= self.most:
            self.pixels = np.empty((n, *first.shape), np.uint8)
        else:
            self.checksum = checksum((n, self.channels, h, w))

    def add(self, at: int, pixels: Pixels) -> None:
        if pixels.shape[2] > self.channels:  # the first in colour after grey ones
            self.channels, self.checksum = pixels.shape[2], None
            if self.pixels is not None:
                fits = self.pixels.size * self.channels <= self.most
                self.pixels = np.repeat(self.pixels, self.channels, axis=3) if fits else None
        if self.pixels is not None:
            self.pixels[at] = pixels
        if self.checksum is not None:
            full = np.broadcast_to(pixels, (*self.side, self.channels))
            image_of_level = image_of_each_level(torch.device("cpu")).numpy()
            self.checksum.update(image_of_level[full.transpose(2, 0, 1)].tobytes())


def checksum(shape: tuple[int, int, int, int]) -> "hashlib._Hash":
    """A SHA-256 that has seen the shape (n, c, h, w) of images, and takes their float32 next."""
    return hashlib.sha256(str(shape).encode())


SAID = {
    "broken": "cannot be read and are left out",
    "deep": "have 16 bits a channel, of which the upper 8 are used",
    "moves": "have several frames, of which the first is used",
}


class _Found:
    """What there is to say of pictures that were looked through: how many, and the first names."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys(SAID, 0)
        self.names: dict[str, list[str]] = {kind: [] for kind in SAID}

    def note(self, files: Files, i: int, seen: Seen) -> None:
        """Count what was seen in file i."""
        for kind, true in zip(SAID, (seen.pixels is None, seen.deep, seen.moves), strict=True):
            if true:
                self.counts[kind] += 1
                if len(self.names[kind]) < FEW:
                    why = f" ({seen.problem})" if seen.problem else ""
                    self.names[kind].append(files.name(i) + why)

    def refuse(self, what: str, n: int, skip_broken: bool) -> None:
        """Refuse what is broken, unless it may be left out.

        Raises:
            ValueError: there is some, or nothing else.
        """
        broken = self.counts["broken"]
        if not broken or (skip_broken and broken < n):
            return
        cure = f"mend or remove {'it' if broken == 1 else 'them'}"
        if broken < n:
            cure += ", or leave out what is broken with --skip-broken"
        if broken == 1:
            who = self.names["broken"][0].replace(" (", " cannot be read as a picture (", 1)
            raise ValueError(f"{who}; {cure}")
        who = f"{broken:,} of {n:,} pictures of {what} cannot be read: {self._first('broken')}"
        raise ValueError(f"{who}; {cure}")

    def say(self, n: int) -> None:
        """Say on stderr what a user would not expect, a line for each kind."""
        for kind, words in SAID.items():
            if self.counts[kind] and processes.is_first():
                told = f"note: {self.counts[kind]:,} of {n:,} pictures {words}: {self._first(kind)}"
                progress_bar.say(told, sys.stderr)

    def _first(self, kind: str) -> str:
        return ", ".join(self.names[kind]) + ", ..." * (self.counts[kind] > FEW)


class _Reads(torch.utils.data.Dataset[Any]):
    """What a worker does: told numbers, it gives them back with what it saw."""

    def __init__(self, files: Files, size: int | None) -> None:
        self.files, self.size = files, size

    def __getitems__(self, numbers: list[int]) -> tuple[list[int], list[Seen]]:
        return numbers, [pictures.read(self.files, i, self.size) for i in numbers]


def _in_order(
    files: Files, order: Iterable[NDArray[np.int64]], size: int | None, beside: bool = True
) -> Iterator[tuple[list[int], list[Seen]]]:
    """Each batch of numbers with what was seen there; `beside` this process, others read ahead.

    What is broken is no error here: one that a worker raises comes back as a page of text.
    """
    reads, told = _Reads(files, size), (numbers.tolist() for numbers in order)
    if not beside:
        yield from map(reads.__getitems__, told)
        return
    loader = torch.utils.data.DataLoader(
        reads,
        batch_sampler=told,
        num_workers=workers(),
        collate_fn=_as_it_is,
        worker_init_fn=_let_the_run_end_it,
        generator=torch.Generator(),  # else it draws from the global one
    )
    try:
        yield from loader
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        reason = str(error).splitlines()[0]
        raise ValueError(f"a process that reads pictures has died, of memory? ({reason})") from None


def workers() -> int:
    """How many processes read pictures for this one: a core is left for what is done with them."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = here // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, min(MOST_WORKERS, share - 1))


def _as_it_is(batch: Any) -> Any:
    """No tensors: those would go through shared memory, of which a container has little."""
    return batch


def _let_the_run_end_it(worker: int) -> None:
    """A signal that asks the run to end reaches all processes of a terminal; the run's own last
    step still needs its pictures, and ends this one then. If the run was killed, nobody takes what
    is written for it, and this process would wait for that for ever."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
