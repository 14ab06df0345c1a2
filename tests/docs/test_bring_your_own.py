"""The examples of the page: they run, and what the page says of them holds."""

import re
import subprocess
import sys
from pathlib import Path

import compare
from compare.bring.warning import warning

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs" / "examples"
PAGE = (ROOT / "docs" / "bring-your-own.md").read_text(encoding="utf-8")


def test_all_three_in_one_script(tmp_path: Path) -> None:
    """Six steps and a chain of twelve: the script itself, with smaller numbers put in."""
    source = (EXAMPLES / "bring_your_own.py").read_text(encoding="utf-8")
    for long, short in (
        ("steps=600", "steps=6"),
        ("% 100 == 99", "% 2 == 1"),
        ('"num_train_timesteps": 300', '"num_train_timesteps": 12'),
        ("num_inference_steps=300", "num_inference_steps=12"),
    ):
        assert long in source
        source = source.replace(long, short)
    script = tmp_path / "script.py"
    script.write_text(source)
    (tmp_path / "my_unet.py").write_text((EXAMPLES / "my_unet.py").read_text())
    run = subprocess.run(
        [sys.executable, "-W", "ignore", str(script)],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    losses = [float(line.split()[-1]) for line in run.stdout.splitlines()]
    assert len(losses) == 3
    assert losses[-1] < losses[0]
    assert (tmp_path / "squares.png").stat().st_size > 1000


def test_the_network_of_the_page_is_right() -> None:
    spec = f"{EXAMPLES / 'my_unet.py'}:MyUNet"
    unet = compare.as_unet(spec, (3, 16, 16))
    assert warning(compare.Adapter(network=lambda: unet.network), spec) == ""
    factory = re.search(r"`(def made\(\): return (\w+)\(width=64\))`", PAGE)
    assert factory is not None
    made: dict = {factory[2]: type(unet.network)}
    exec(factory[1], made)
    assert compare.as_unet(made["made"], (3, 16, 16)).network.last.in_channels == 64


def test_the_cells_of_the_page_hold() -> None:
    cells = re.findall(r"```\{code-cell\} ipython3\n(.*?)```", PAGE, re.DOTALL)
    assert len(cells) == 3
    names: dict = {}
    for cell in cells:
        exec(compile(cell, "bring-your-own.md", "exec"), names)
    assert names["furthest"] < 1e-5
