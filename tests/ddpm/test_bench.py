"""`ddpm bench`: its table, its files, and what it refuses before any time goes by."""

import json
import re
from pathlib import Path

import pytest
import torch

from ddpm.cli import main
from workbench.bench import timing


def test_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "SLICE", 1e-9)
    told: list[int] = []
    json_file, plot = tmp_path / "bench.json", tmp_path / "bench.png"
    words = "bench --device cpu --channels 16,32 --size 8 --batch-size 2 --sample-steps 2"
    monkeypatch.setattr(torch, "set_num_threads", lambda n: told.append(n))
    words += f" --threads 3 --seconds 0.01 --json {json_file} --plot {plot}"
    assert main(words.split()) == 0
    shown = capsys.readouterr().out
    for name in ("the tutorial's loop", "our trainer, scratch", "Diffusers' DDPMPipeline"):
        assert f"\n{name}  " in shown
    assert re.search(r"bf16, sampling: (pays|costs|makes no clear difference), [\d.]+ times", shown)
    assert told == [3]
    said = json.loads(json_file.read_text())
    assert said["setting"]["channels"] == [16, 32]
    assert said["machine"]["torch"] == torch.__version__
    assert plot.exists()
    assert main(words.split()) == 2  # the files are kept
    assert "exists; it is kept unless you add --force" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("--channels 30", "channels must be multiples of norm_num_groups=8, got 30"),
        ("--size 9", "height 9 is not a multiple of 2"),
        ("--plot a.bmp", "a.bmp ends in .bmp"),
        ("--device tpu", "no device 'tpu' on this machine"),
    ],
)
def test_what_cannot_be_measured_is_refused_beforehand(
    words: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", *words.split()]) == 2
    error = capsys.readouterr().err
    assert reason in error
    assert error.count("\n") == 1
