"""Many pictures: what is held, what is read again and in which order, and what is said of them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.workbench import many_pictures
from workbench import data, stream
from workbench.data import Dataset, load
from workbench.pixels import to_uint8
from workbench.trainer import new_parts, new_state, training_steps

N = 24
PIXELS = np.random.default_rng(0).integers(0, 256, (N, 8, 8, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """24 pictures of two classes."""
    for i, pixels in enumerate(PIXELS):
        path = tmp_path / "pictures" / ("one" if i < 10 else "two") / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return tmp_path / "pictures"


@pytest.fixture
def streamed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """The same, read from the disk each time."""
    monkeypatch.setattr(data, "IN_MEMORY", PIXELS.size - 1)
    return load(folder)


def test_a_stream_is_the_same_data_as_in_memory(folder: Path, streamed: Dataset) -> None:
    held = Dataset(torch.from_numpy(PIXELS).permute(0, 3, 1, 2), streamed.labels, ("one", "two"))
    assert isinstance(streamed.stored, stream.Stream)
    assert streamed.fingerprint() == held.fingerprint()
    assert torch.equal(streamed.images, held.images)
    assert torch.equal(streamed.batch([3, 20, 3]), held.images[[3, 20, 3]])
    assert repr(streamed) == "Dataset(24 images 3x8x8 on cpu, 2 classes: one, two)"
    first = load(folder, count=5)
    assert torch.equal(first.images, held.images[:5])
    assert first.labels is not None
    assert first.labels.tolist() == [0] * 5
    assert torch.equal(streamed.first(5).images, held.images[:5])
    moved = streamed.to("cpu")
    assert isinstance(moved.stored, stream.Stream)


def test_batches_come_in_the_order_that_is_asked_for(streamed: Dataset) -> None:
    order = torch.randperm(N, generator=torch.Generator().manual_seed(0)).split(5)
    before = torch.get_rng_state()
    for indices, batch in zip(order, streamed.batches(iter(order)), strict=True):
        np.testing.assert_array_equal(to_uint8(batch), PIXELS[indices])
    assert torch.equal(torch.get_rng_state(), before)  # the loader draws from no one's generator


def test_grey_ones_before_colour_are_held_and_streamed_as_colour(tmp_path: Path) -> None:
    for i, pixels in enumerate(PIXELS[:6]):
        Image.fromarray(pixels if i == 4 else pixels[..., 0]).save(tmp_path / f"{i}.png")
    right = PIXELS[:6].copy()
    right[[0, 1, 2, 3, 5]] = PIXELS[[0, 1, 2, 3, 5], :, :, :1]
    for most in (2**20, 6 * 64 + 1, 1):  # holds all; holds them as long as they are grey; never
        found, chosen = stream.load(data.pictures.folder(tmp_path)[0], "these", in_memory=most)
        assert isinstance(found, torch.Tensor) == (most == 2**20)
        np.testing.assert_array_equal(to_uint8(Dataset(found).images), right)
        assert chosen.tolist() == list(range(6))
        assert Dataset(found).fingerprint() == data.load(right).fingerprint()


def test_a_stream_is_read_once_for_its_checksum(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where what was looked through is what there is; and again, where it is not."""
    read: list[int] = []
    as_before = stream.pictures.read
    monkeypatch.setattr(data, "IN_MEMORY", 1)

    def counted(files, i: int, size: int | None):
        read.append(i)
        return as_before(files, i, size)

    Image.fromarray(PIXELS[7, ..., 0]).save(folder / "one" / "07.png")  # grey among colours
    monkeypatch.setattr(stream.pictures, "read", counted)
    whole, cut = load(folder), load(folder).first(5)
    assert len(read) == 2 * N
    found = whole.fingerprint()
    assert len(read) == 2 * N
    monkeypatch.setattr(stream, "workers", lambda: 0)  # so that this process counts
    cut_found = cut.fingerprint()
    assert len(read) == 2 * N + 5
    (folder / "two" / "23.png").write_bytes(b"")
    left = load(folder, skip_broken=True)
    monkeypatch.setattr(data, "IN_MEMORY", 2**28)
    assert left.fingerprint() == load(folder, skip_broken=True).fingerprint()
    Image.fromarray(PIXELS[23]).save(folder / "two" / "23.png")
    assert found == load(folder).fingerprint()
    assert cut_found == load(folder).first(5).fingerprint()


@pytest.mark.parametrize("every", [dict, lambda: {"class_conditional": True, "flip": True}])
def test_a_run_on_a_stream_is_the_run_in_memory_also_when_it_goes_on(
    folder: Path, streamed: Dataset, tiny, every
) -> None:
    """Losses and weights bit for bit; the second half by a loader that was begun there."""
    held = Dataset(torch.from_numpy(PIXELS).permute(0, 3, 1, 2), streamed.labels, ("one", "two"))
    config = tiny(batch_size=5, steps=6, **every())

    def trained(dataset: Dataset, stop: int = 6) -> tuple[list[float], dict[str, torch.Tensor]]:
        unet, scheduler = new_parts(config, dataset)
        state, losses = new_state(unet, config.train), []
        while state.step < 6:
            for step in training_steps(state, scheduler, dataset, config.train, config.seed):
                losses.append(step.loss.item())
                if step.index + 1 == stop:
                    break
        return losses, unet.state_dict()

    right, weights = trained(held)
    for losses, found in (trained(streamed), trained(streamed, stop=3)):
        assert losses == right
        assert all(torch.equal(found[name], weights[name]) for name in weights)


def test_a_picture_that_changes_while_it_trains_is_one_line(
    folder: Path, streamed: Dataset
) -> None:
    Image.new("RGB", (9, 9)).save(folder / "one" / "03.png")
    with pytest.raises(ValueError, match=r"03\.png is no longer what it was when the run began"):
        streamed.batch([3])
    (folder / "one" / "04.png").unlink()
    with pytest.raises(
        ValueError, match=r"04\.png is no longer what it was.*No such file"
    ) as error:
        list(streamed.batches([torch.tensor([0, 4])]))
    assert "\n" not in str(error.value)


def test_a_reader_that_dies_is_one_line(streamed: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(stream.pictures, "read", die)
    with pytest.raises(ValueError, match="a process that reads pictures has died"):
        list(streamed.batches([torch.tensor([0])]))


@pytest.mark.parametrize("many", [1, 2000], ids=["by other processes", "by this one"])
def test_broken_pictures_are_counted_by_name(
    folder: Path, refusal, capsys, monkeypatch: pytest.MonkeyPatch, many: int
) -> None:
    monkeypatch.setattr(stream, "MANY", many)
    for name in ("one/03.png", "one/05.png", "two/12.png", "two/13.png", "two/14.png"):
        (folder / name).write_bytes((folder / name).read_bytes()[:-40])
    message = refusal(folder)
    assert message.startswith(f"5 of 24 pictures of '{folder}' cannot be read: ".replace("'", ""))
    assert message.count("may be cut short") == 3
    assert message.endswith(
        "...; mend or remove them, or leave out what is broken with --skip-broken"
    )

    whole = load(folder, skip_broken=True)
    left = [i for i in range(N) if i not in (3, 5, 12, 13, 14)]
    np.testing.assert_array_equal(to_uint8(whole.images), PIXELS[left])
    assert whole.labels is not None
    assert whole.labels.tolist() == [int(i >= 10) for i in left]
    assert "note: 5 of 24 pictures cannot be read and are left out: " in capsys.readouterr().err
    np.testing.assert_array_equal(  # of 8, so many as there are
        to_uint8(load(folder, count=8, skip_broken=True).images), PIXELS[left[:8]]
    )


def test_nothing_is_left_if_all_are_broken(tmp_path: Path, refusal) -> None:
    (tmp_path / "a.png").touch()
    message = refusal(tmp_path, skip_broken=True)
    assert message.endswith("; mend or remove it")


def test_what_one_would_not_expect_is_said(folder: Path, capsys) -> None:
    frames = [Image.fromarray(pixels) for pixels in PIXELS[:2]]
    frames[0].save(folder / "one" / "00.png", save_all=True, append_images=frames[1:])
    load(folder)
    assert capsys.readouterr().err == (
        "note: 1 of 24 pictures have several frames, of which the first is used: "
        f"{folder / 'one' / '00.png'}\n"
    )


def test_many_are_forecast_and_shown_unless_one_is_quiet(
    folder: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "MANY", 10)
    load(folder)
    assert capsys.readouterr().err == ""
    load(folder, progress=True)
    assert f"{folder}: 24 pictures of 8x8, 4.6 kB of memory\n" in capsys.readouterr().err
    monkeypatch.setattr(data, "IN_MEMORY", 1000)
    load(folder, progress=True)
    assert "4.6 kB unpacked: they stay on the disk" in capsys.readouterr().err


def test_a_core_is_left_for_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, local, right in ((1, 1, 1), (2, 1, 1), (4, 1, 3), (64, 1, 4), (8, 4, 1)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, n=cores: range(n), raising=False)
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(local))
        assert stream.workers() == right


KILLED = """
import os, signal, sys
import torch
from pathlib import Path
from workbench import data
data.IN_MEMORY = 1
batches = data.load(sys.argv[1]).batches(torch.arange(24).repeat(100) for _ in range(100))
next(batches)
print(Path(f"/proc/self/task/{os.getpid()}/children").read_text(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_no_reader_outlives_a_run_that_is_killed(folder: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", KILLED, str(folder)], stdout=subprocess.PIPE, text=True
    )
    readers = [Path("/proc", number) for number in run.stdout.split()]
    assert readers
    until = time.monotonic() + 60
    while any(path.exists() for path in readers) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(path.exists() for path in readers)


MEASURE = """
import resource, sys
import torch
from workbench import data
data.IN_MEMORY = 2**20
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
data.load("digits").fingerprint()
before = peak()
dataset = data.load(sys.argv[1])
dataset.fingerprint()
for batch in dataset.batches(torch.randint(len(dataset), (4,)) for _ in range(20)):
    assert len(batch) == 4
print(peak() - before)
"""


def growth(source: Path) -> int:
    """How many bytes a process comes to need for a data set, its checksum and some batches."""
    run = subprocess.run(
        [sys.executable, "-c", MEASURE, str(source)], capture_output=True, text=True, check=True
    )
    return int(run.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems count ru_maxrss otherwise")
def test_a_mapped_file_needs_no_memory_of_its_own(tmp_path: Path) -> None:
    """100 MB of zeros that the disk does not hold either; as float32 they were 500 MB and more.

    What is mapped and was read counts as the process's, though the system may take it back."""
    size, path = 100_000_000, tmp_path / "a.npy"
    np.lib.format.open_memmap(path, "w+", np.uint8, (size // 7500, 50, 50, 3))
    assert growth(path) < size + 120_000_000


@pytest.mark.skipif(sys.platform != "linux", reason="other systems count ru_maxrss otherwise")
def test_a_streamed_folder_needs_hardly_any_memory(tmp_path: Path) -> None:
    """300 pictures of 0.5 MB each: 160 MB unpacked, 640 MB as float32."""
    Image.new("RGB", (420, 420)).save(tmp_path / "000.png")
    for i in range(1, 300):
        os.link(tmp_path / "000.png", tmp_path / f"{i:03}.png")
    assert growth(tmp_path) < 120_000_000


def test_the_measure_of_many_pictures_trains_on_a_stream_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the book's figure of a million is measured by; here of a hundred."""
    for name, number in (("STEPS", 2), ("DRAWN", 40)):
        monkeypatch.setattr(many_pictures, name, number)
    monkeypatch.setattr(data, "IN_MEMORY", 1)
    many_pictures.write(tmp_path, 100)
    pixels = load(tmp_path).images
    assert len(pixels.flatten(1).unique(dim=0)) == 100
    told = many_pictures.measured(tmp_path)
    assert told[0].startswith("100 pictures looked through, checksum and all, in ")
    assert told[1].startswith("2 steps of 64 in ")
