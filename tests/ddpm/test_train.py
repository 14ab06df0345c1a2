"""`ddpm train`: what its help says, a config on the screen and from a file, grids or none."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ddpm import options
from ddpm.cli import build_parser, main
from ddpm.train import run_config
from workbench import runs
from workbench.config import PRESETS, RunConfig
from workbench.fields import options_of

WORDS = (
    "--channels 8,16 --norm-num-groups 4 --attention no,yes --layers-per-block 1 --steps 2 "
    "--batch-size 4 --num-train-timesteps 4 --class-conditional --flip --learning-rate 0.003"
)
TINY = WORDS.split()
RUN = ["--quiet", "--device", "cpu"]
WEIGHTS = Path("unet", runs.WEIGHTS)


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    """The JSON that `--show` prints."""
    capsys.readouterr()  # what was said before
    assert main(["train", *words, "--show"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    return json.loads(said.out)


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line of a command that fails with status 2."""
    capsys.readouterr()
    assert main(["train", *words]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    return line


def test_help_says_what_each_preset_has(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    words = " ".join(capsys.readouterr().out.split())
    parts = [list(PRESETS.values())]
    parts += [
        [getattr(p, part) for p in PRESETS.values()] for part in ("model", "diffusion", "train")
    ]
    for configs in parts:
        for name, said in options_of(type(configs[0])).items():
            values = [options.as_typed(getattr(config, name)) for config in configs]
            each = "; ".join(f"{p}: {v}" for p, v in zip(PRESETS, values, strict=True))
            brackets = f"(default: {values[0]})" if len(set(values)) == 1 else f"({each})"
            assert f"{said['help']} {brackets}" in words, name


@pytest.mark.parametrize("preset", PRESETS)
def test_what_help_says_of_a_preset_is_that_preset(preset: str) -> None:
    """Typed as it is shown, over another preset: so no value is said in words that mean another."""
    words: list[str] = []
    parts = [
        PRESETS[preset],
        *(getattr(PRESETS[preset], p) for p in ("model", "diffusion", "train")),
    ]
    for config in parts:
        for name in options_of(type(config)):
            flag, value = name.replace("_", "-"), getattr(config, name)
            typed = [f"--{flag}", options.as_typed(value)]
            words += [f"--{'' if value else 'no-'}{flag}"] if isinstance(value, bool) else typed
    for below in PRESETS:
        args = build_parser().parse_args(["train", "--preset", below, *words])
        assert run_config(args) == PRESETS[preset]


def test_show_prints_and_does_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert shown(capsys) == json.loads(json.dumps(RunConfig().to_dict()))
    values = shown(capsys, "--preset", "tutorial", "--epochs", "3", "--ema-decay", "0.9")
    tutorial = PRESETS["tutorial"]
    expected = replace(tutorial, train=replace(tutorial.train, epochs=3, ema_decay=0.9))
    assert RunConfig.from_dict(values) == expected
    assert shown(capsys, "--output", "somewhere", "--force") == shown(capsys)
    assert list(tmp_path.iterdir()) == []
    assert "learning_rate must be at least 1e-12" in refused(
        capsys, "--show", "--learning-rate", "0"
    )


def test_show_is_quick() -> None:
    """Nothing heavy is imported for it."""
    script = (
        "import sys; from ddpm.cli import main; main(['train', '--show']);"
        "print([n for n in ('torch', 'numpy', 'matplotlib') if n in sys.modules], file=sys.stderr)"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stderr.strip() == "[]"


def test_a_config_that_was_shown_trains_the_same_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Byte for byte, and no option is lost: what was said beside `--config` counts too."""
    assert main(["train", *TINY, *RUN, "--output", str(tmp_path / "direct")]) == 0
    for name, said, over in (("whole", [], []), ("over", ["--seed", "5"], ["--seed", "0"])):
        file, output = tmp_path / f"{name}.json", tmp_path / name
        file.write_text(json.dumps(shown(capsys, *TINY, *said)))
        assert main(["train", "--config", str(file), *over, *RUN, "--output", str(output)]) == 0
        (state,) = {
            path.relative_to(output) for path in output.glob("training/checkpoints/*/state.*")
        } - {Path("training/checkpoints/step_000000/state.safetensors")}
        for path in (WEIGHTS, state, runs.CONFIG):
            assert (output / path).read_bytes() == (tmp_path / "direct" / path).read_bytes()
    file = tmp_path / "direct" / runs.CONFIG  # a run's own config is such a file
    assert shown(capsys, "--config", str(file)) == json.loads(file.read_text())
    assert shown(capsys, "--resume", str(tmp_path / "direct")) == json.loads(file.read_text())
    other = ["--seed", "1", *RUN, "--output", str(tmp_path / "other")]
    assert main(["train", "--config", str(file), *other]) == 0
    ours, theirs = ((tmp_path / name / WEIGHTS).read_bytes() for name in ("direct", "other"))
    assert ours != theirs


def test_what_is_typed_goes_over_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "c.json"
    file.write_text(json.dumps(PRESETS["tutorial"].to_dict() | {"labels": "mine.npy"}))
    values = shown(capsys, "--config", str(file), "--steps", "7", "--labels", "none")
    assert (values["train"]["steps"], values["train"]["epochs"]) == (7, None)
    assert values["labels"] is None
    assert values["train"]["batch_size"] == 100


def changed(**changes: Any) -> Callable[[], str]:
    return lambda: json.dumps(RunConfig().to_dict() | changes)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (lambda: "", "c.json is no JSON"),
        (lambda: "not JSON", "c.json is no JSON"),
        (lambda: "[" * 100_000, "c.json is nested too deeply; it is none of ours"),
        (lambda: "[]", "c.json must hold a JSON object, got list"),
        (lambda: "{}", "c.json: this is no config of a run: it has no backend, data, model"),
        (lambda: '{"_class_name": "DDPMScheduler"}', "c.json: this is no config of a run"),
        (changed(extra=1), "c.json: RunConfig has no entry extra"),
        (changed(train={"step": 3}), "c.json: TrainConfig has no entry step;"),
        (changed(train={"steps": "3"}), "c.json: steps must be a whole number or None, got '3'"),
        (changed(train={"steps": 0}), "c.json: steps must be positive and at most 1e+12"),
        (changed(train={"learning_rate": float("nan")}), "c.json: learning_rate must be a number"),
        (changed(model={"dropout": 1.5}), "c.json: dropout must be at least 0 and below 1"),
        (changed(model=None), "c.json: ModelConfig must be an object with entries, got None"),
        (changed(diffusion={"beta_schedule": ["linear"]}), "c.json: beta_schedule must be one of"),
        (changed(backend="jax"), "c.json: backend must be one of scratch, diffusers, got 'jax'"),
        (changed(train={"sample_steps": 501}), "c.json: sample_steps must lie in 1..500"),
    ],
)
def test_a_file_that_holds_no_config(
    content: Callable[[], str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("c.json").write_text(content())
    for words in ([], ["--show"]):
        assert says in refused(capsys, "--config", "c.json", *words)
    assert [path.name for path in tmp_path.iterdir()] == ["c.json"]


def test_a_file_that_cannot_be_a_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("binary").write_bytes(b"\xff\xfe\x00")
    assert "there is no file c.json; `ddpm train --show > c" in refused(
        capsys, "--config", "c.json"
    )
    assert "config.json is missing; is this a run folder?" in refused(capsys, "--config", "folder")
    assert "binary cannot be read" in refused(capsys, "--config", "binary")
    both = refused(capsys, "--config", "c.json", "--preset", "digits")
    assert "c.json says all that a preset says; leave out --preset" in both
    assert "leave out --config" in refused(capsys, "--resume", "nowhere", "--config", "c.json")


@pytest.fixture
def grid(tmp_path: Path) -> Callable[..., Path]:
    """A tiny run in a folder of some name; where its grid would lie."""

    def grid(name: str, *words: str) -> Path:
        output = tmp_path / name
        assert main(["train", *TINY, *RUN, *words, "--output", str(output)]) == 0
        return output / "samples" / "step_000002.png"

    return grid


def test_a_grid_with_fewer_steps_or_none(grid: Callable[..., Path]) -> None:
    """Two steps are another picture than four, and the same weights; no grid is none."""
    whole, few, none = (
        grid("whole"),
        grid("few", "--sample-steps", "2"),
        grid("none", "--no-sample-grid"),
    )
    pictures = [np.asarray(Image.open(path)) for path in (whole, few)]
    assert pictures[0].shape == pictures[1].shape
    assert (pictures[0] != pictures[1]).any()
    assert grid("all", "--sample-steps", "4").read_bytes() == whole.read_bytes()
    assert not none.parent.exists()
    weights = {(path.parents[1] / WEIGHTS).read_bytes() for path in (whole, few, none)}
    assert len(weights) == 1


def test_grids_that_cannot_be_are_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "sample_steps must lie in 1..4" in refused(capsys, *TINY, "--sample-steps", "5")
    for option in ("--sample-steps", "--sample-every"):
        said = refused(capsys, "--no-sample-grid", option, "2")
        assert f"{option[2:].replace('-', '_')} is of grids, and sample_grid is off" in said
    words = "--backend diffusers --timestep-spacing trailing --variance-type fixed_large"
    wrong = [*TINY, *words.split(), "--sample-steps", "2"]  # it adds noise at the last step
    assert "the scratch backend does this right" in refused(capsys, *wrong)
    assert list(tmp_path.iterdir()) == []
