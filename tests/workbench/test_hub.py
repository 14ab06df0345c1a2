"""Names of the Hub: the real library on a data set that it wrote, and what is said without it."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from workbench import data, hub

needs_datasets = pytest.mark.skipif(
    find_spec("datasets") is None, reason="needs the extra hub: pip install datasets"
)

SCRIPT = """
import sys
import datasets, numpy as np
from pathlib import Path
from PIL import Image

pixels = np.random.default_rng(0).integers(0, 256, (12, 8, 8), dtype=np.uint8)

def save(name, **columns):
    Path(name).mkdir(parents=True)
    kinds = {
        "image": datasets.Image(), "img": datasets.Image(), "word": datasets.Value("string"),
        **dict.fromkeys(("label", "fine", "coarse"), datasets.ClassLabel(names=["cat", "dog"])),
    }
    features = datasets.Features({key: kinds[key] for key in columns})
    datasets.Dataset.from_dict(columns, features=features).to_parquet(f"{name}/train.parquet")

images = [Image.fromarray(levels) for levels in pixels]
save("user/labelled", image=images, label=[i % 2 for i in range(12)])
save("user/two", img=images, fine=[0] * 12, coarse=[1] * 12)
save("user/words", word=["a", "b"])
save("user/holes", image=[*images[:3], None])

from workbench import data
from workbench.stream import Stream

for most in (2**20, 100):  # held, and read again each time
    data.IN_MEMORY = most
    found = data.load("hub:user/labelled", progress=True)
    assert isinstance(found.stored, Stream) == (most == 100)
    np.testing.assert_array_equal(to_uint8(found.images)[..., 0], pixels)
    assert found.class_names == ("cat", "dog")
    assert found.labels.tolist() == [0, 1] * 6
    assert len(data.load("hub:user/labelled", count=5)) == 5
    assert data.load("hub:user/labelled", size=4).shape == (12, 1, 4, 4)
two = data.load("hub:user/two")
assert two.labels is None and two.shape == (12, 1, 8, 8)
assert len(data.load("hub:user/holes", skip_broken=True)) == 3
for name in ("hub:user/words", "hub:user/holes", "mnist"):
    try:
        data.load(name)
    except ValueError as error:
        print(error)
"""


@needs_datasets
def test_data_sets_of_the_library(tmp_path: Path) -> None:
    """In a process of its own, with a cache of its own, and told that there is no network."""
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=tmp_path,
        env={**os.environ, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    words, holes, mnist = run.stdout.splitlines()
    assert words == "hub:user/words has no column of pictures; it has word"
    assert holes.startswith("picture 3 of hub:user/holes cannot be read as a picture (")
    assert re.match(r"'mnist' cannot be had from the Hub as ylecun/mnist, split train: ", mnist)
    assert mnist.endswith("; the first time it needs the network")


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar10", "hub:user/name"])
def test_without_the_library_one_line_says_what_to_install(
    name: str, refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert refusal(name) == (
        f"'{name}' comes by the library datasets, which is not installed: pip install datasets"
    )


def test_a_folder_of_that_name_is_meant_by_its_path(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", np.zeros((1, 2, 2), np.uint8))
    assert not hub.is_name("./mnist")
    assert hub.is_name("mnist")
    assert set(hub.KNOWN) < set(data.NAMES)
