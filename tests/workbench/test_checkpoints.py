"""Checkpoints: whole, bound to their run, and the newest that is both is gone on from."""

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import scratch
from workbench import checkpoints, history, runs, trainer, training_run
from workbench.checkpoints import MANIFEST, STATE, RunFiles
from workbench.config import RunConfig
from workbench.data import Dataset
from workbench.files import write_json
from workbench.one_step import TrainingState

CPU = torch.device("cpu")
Make = Callable[..., RunConfig]
LAST = checkpoints.FOLDER / "step_000004"


def train(config: RunConfig, folder: Path, dataset: Dataset, **options: Any) -> list[float]:
    result = training_run.train(config, folder, dataset, device=CPU, progress=False, **options)
    return result.losses


def fresh(config: RunConfig, dataset: Dataset) -> TrainingState:
    return trainer.new_state(trainer.new_parts(config, dataset)[0], config.train)


def loaded(folder: Path, config: RunConfig, dataset: Dataset) -> tuple[int, list[str]]:
    """The step that a run goes on from, and what was left out."""
    state = fresh(config, dataset)
    found = RunFiles(folder, config, dataset.fingerprint()).load(state)
    return state.step, found.skipped


@pytest.fixture
def config(tiny: Make) -> RunConfig:
    return tiny(save_every=2)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs") / "kept"


@pytest.fixture
def run(kept: Path, config: RunConfig, dataset: Dataset, tmp_path: Path) -> Path:
    """A copy of a run of four steps with checkpoints at 2 and 4."""
    if not kept.exists():
        train(config, kept, dataset)
    return shutil.copytree(kept, tmp_path / "run")


def flip(path: Path, position: int, bit: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)


# --- the newest whole one ---


def test_a_run_goes_on_from_its_newest_checkpoint(
    run: Path, config: RunConfig, dataset: Dataset
) -> None:
    assert loaded(run, config, dataset) == (4, [])


@pytest.mark.parametrize("name", [STATE, MANIFEST])
def test_every_flipped_bit_is_noticed(
    name: str, run: Path, config: RunConfig, dataset: Dataset
) -> None:
    """At forty places of a file, tensors among them."""
    path = run / LAST / name
    size = path.stat().st_size
    for place in range(40):
        position, bit = place * size // 40, place % 8
        flip(path, position, bit)
        step, (told,) = loaded(run, config, dataset)
        assert step == 2
        assert told.startswith("step_000004 is left out: its ")
        flip(path, position, bit)
    assert loaded(run, config, dataset) == (4, [])


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda path: os.truncate(path / STATE, 1000), r"its state\.safetensors has 1000 bytes of"),
        (lambda path: os.remove(path / STATE), r"its state\.safetensors cannot be read: No such"),
        (lambda path: os.remove(path / MANIFEST), r"its manifest\.json is missing or damaged"),
        (lambda path: (path / MANIFEST).write_text("[1]"), "is missing or damaged"),
        (lambda path: (path / MANIFEST).write_text("[" * 60_000), "is missing or damaged"),
    ],
)
def test_a_damaged_checkpoint_is_left_out_with_the_reason(
    damage: Callable[[Path], Any],
    says: str,
    run: Path,
    config: RunConfig,
    dataset: Dataset,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = train(config, run.parent / "whole", dataset)
    damage(run / LAST)
    assert train(config, run, dataset, resume=True) == whole
    told = capsys.readouterr().err
    assert told.startswith("step_000004 is left out: ")
    assert told.count("\n") == 1
    with pytest.raises(ValueError, match=says):
        raise ValueError(told)
    assert loaded(run, config, dataset) == (4, [])  # written anew


def test_rows_that_are_not_there_leave_a_checkpoint_out(
    run: Path, config: RunConfig, dataset: Dataset
) -> None:
    path = run / runs.METRICS
    flip(path, path.stat().st_size - 20)  # a row after step 2
    assert loaded(run, config, dataset)[0] == 2
    flip(path, 20)
    with pytest.raises(ValueError, match=r"step_000002 is left out: .*metrics\.jsonl is damaged"):
        loaded(run, config, dataset)


def test_none_is_whole(run: Path, config: RunConfig, dataset: Dataset) -> None:
    for path in (run / checkpoints.FOLDER).iterdir():
        os.remove(path / STATE)
    with pytest.raises(ValueError, match="has no whole checkpoint of this run: step_000004 is lef"):
        loaded(run, config, dataset)
    shutil.rmtree(run / checkpoints.FOLDER)
    with pytest.raises(ValueError, match="holds no checkpoint to resume from; train it anew"):
        loaded(run, config, dataset)


def test_a_damaged_one_takes_no_place_of_those_that_stay(
    tiny: Make, dataset: Dataset, tmp_path: Path
) -> None:
    """With one that stays, the one that was just written is it, and not a later one of before."""
    config = tiny(save_every=1, keep=2)
    train(config, tmp_path, dataset)
    os.truncate(tmp_path / LAST / STATE, 10)
    short = tiny(save_every=1, keep=1, steps=4)
    state = fresh(short, dataset)
    files = RunFiles(tmp_path, short, dataset.fingerprint())
    rows = files.load(state).rows
    assert state.step == 3
    files.metrics.go_on(rows)
    state.step = 3
    files.save(state, trainer.new_parts(short, dataset)[1], rows)
    assert [path.name for path in (tmp_path / checkpoints.FOLDER).iterdir()] == ["step_000003"]
    assert loaded(tmp_path, short, dataset) == (3, [])


@pytest.fixture
def every_part(run: Path) -> list[Path]:
    """Every file that is read again; the lock only says who held it last."""
    files = [path for path in run.rglob("*") if path.is_file() and path.name != "lock"]
    assert len(files) == 12
    return files


def test_a_flipped_bit_in_any_file_is_noticed(
    every_part: list[Path],
    run: Path,
    config: RunConfig,
    dataset: Dataset,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """By who samples, or by who goes on: refused with what to do, or left out with the reason."""
    for path in every_part:
        size, noticed = path.stat().st_size, 0
        for place in range(3):
            position, bit = (2 * place + 1) * size // 6, (3 * place + 1) % 8
            flip(path, position, bit)
            if path.relative_to(run) == runs.METRICS or checkpoints.FOLDER.name in path.parts:
                noticed += told_by_load(run, config, dataset)
            else:
                with pytest.raises(ValueError, match=r"damaged.*; .*(makes it again|as it is)$"):
                    runs.load_parts(run, "scratch")
                noticed += 1
            flip(path, position, bit)
        assert noticed == 3, path
    assert runs.load_parts(run, "scratch")
    assert told_by_load(run, config, dataset) == 0


def told_by_load(run: Path, config: RunConfig, dataset: Dataset) -> int:
    try:
        return len(loaded(run, config, dataset)[1])
    except ValueError as error:
        return "damaged" in str(error)


def test_what_one_samples_with_is_made_again(
    run: Path, config: RunConfig, dataset: Dataset
) -> None:
    """Byte for byte, by `--resume` of a run that has nothing left to do."""
    paths = [*(run / "unet").iterdir(), *(run / "scheduler").iterdir(), run / "model_index.json"]
    paths.append(run / runs.LIST)
    before = [path.read_bytes() for path in paths]
    for path in paths:
        flip(path, 30, 2)
    with pytest.raises(ValueError, match="damaged"):
        runs.load_parts(run, "scratch")
    (run / runs.LIST).unlink()  # as its own line says
    train(config, run, dataset, resume=True)
    assert [path.read_bytes() for path in paths] == before


def test_an_older_checkpoint_that_is_damaged_is_told_too(
    run: Path, config: RunConfig, dataset: Dataset
) -> None:
    flip(run / checkpoints.FOLDER / "step_000002" / STATE, 2000)
    step, (told,) = loaded(run, config, dataset)
    assert step == 4
    assert told.startswith("step_000002, which is not needed now, could not be gone back to: its")


# --- bound to its run ---


def test_the_checkpoint_of_another_run_is_left_out(
    run: Path, config: RunConfig, tiny: Make, dataset: Dataset
) -> None:
    other = tiny(save_every=2, seed=5)
    train(other, run.parent / "other", dataset)
    shutil.rmtree(run / LAST)
    shutil.copytree(run.parent / "other" / LAST, run / LAST)
    step, (told,) = loaded(run, config, dataset)
    assert step == 2
    assert told == (
        "step_000004 is left out: it is of another run: its seed is 5, and here it is 0"
    )


def test_other_data_and_another_dtype_are_left_out(
    run: Path, config: RunConfig, dataset: Dataset
) -> None:
    other = Dataset(-dataset.images, dataset.labels)
    with pytest.raises(ValueError, match="step_000004 is left out: it learned from other data"):
        loaded(run, config, other)
    state = fresh(config, dataset)
    state.unet.double()
    with pytest.raises(ValueError, match="is the checkpoint of another model"):
        RunFiles(run, config, dataset.fingerprint()).load(state)


def test_when_something_is_written_is_no_other_run(run: Path, tiny: Make, dataset: Dataset) -> None:
    assert loaded(run, tiny(save_every=1, steps=9), dataset) == (4, [])


# --- which ones stay ---


@pytest.mark.parametrize("keep", [1, 3])
def test_so_many_of_the_last_stay(keep: int, tiny: Make, dataset: Dataset, tmp_path: Path) -> None:
    train(tiny(save_every=1, keep=keep), tmp_path, dataset)
    names = sorted(path.name for path in (tmp_path / checkpoints.FOLDER).iterdir())
    assert names == [f"step_{k:06d}" for k in range(5 - keep, 5)]


def test_an_older_one_that_a_killed_run_did_not_come_to_remove_goes(
    tiny: Make, dataset: Dataset, tmp_path: Path
) -> None:
    config = tiny(save_every=1, keep=2)
    train(config, tmp_path, dataset)
    folder = tmp_path / checkpoints.FOLDER
    stays = sorted(path.name for path in folder.iterdir())
    shutil.copytree(folder / "step_000003", folder / "step_000002")
    train(config, tmp_path, dataset, resume=True)
    assert sorted(path.name for path in folder.iterdir()) == stays == ["step_000003", "step_000004"]


def test_the_best_one_stays_if_asked(tiny: Make, dataset: Dataset, tmp_path: Path) -> None:
    """The losses of two steps each: 4 and 2, then 1 and 1, then 3 and 3."""
    losses = [4.0, 2.0, 1.0, 1.0, 3.0, 3.0]
    rows = [{"step": k, "loss": loss, "learning_rate": 1.0} for k, loss in enumerate(losses)]
    for keep_best, expected in ((True, [4, 6]), (False, [6])):
        config = tiny(steps=6, keep=1, keep_best=keep_best, ema_decay=None)
        unet, scheduler = trainer.new_parts(config, dataset)
        state = trainer.new_state(unet, config.train)
        files = RunFiles(tmp_path / str(keep_best), config, "")
        for step in (2, 4, 6):
            state.step = step
            files.save(state, scheduler, rows[:step])
        kept = sorted((tmp_path / str(keep_best) / checkpoints.FOLDER).iterdir())
        assert [int(path.name[5:]) for path in kept] == expected


def test_files_have_the_mode_that_new_files_have(run: Path) -> None:
    """So that a colleague can sample."""
    plain = run / "plain"
    plain.write_text("")
    for path in run.rglob("*"):
        if path.is_file():
            assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode), path


# --- runs of an older version: one state.safetensors, no manifest ---


@pytest.fixture
def old(run: Path) -> Path:
    """The same run as an older version wrote it."""
    shutil.move(run / LAST / STATE, run / runs.STATE)
    shutil.rmtree(run / checkpoints.FOLDER)
    os.remove(run / runs.LIST)
    os.remove(run / history.HISTORY)
    return run


def test_an_old_run_goes_on_and_its_next_checkpoint_is_new(
    old: Path, tiny: Make, dataset: Dataset
) -> None:
    longer = tiny(steps=6, save_every=2, lr_schedule="constant")
    write_json(old / runs.CONFIG, longer.to_dict())
    assert loaded(old, longer, dataset) == (4, [])
    assert len(train(longer, old, dataset, resume=True)) == 6
    assert [p.name for p in (old / checkpoints.FOLDER).iterdir()] == ["step_000006"]
    assert loaded(old, longer, dataset) == (6, [])
    assert [entry["from_step"] for entry in history.read(old)] == [4]
    assert runs.load_parts(old, "scratch")


def text(content: str) -> Callable[[Path], Any]:
    return lambda path: path.write_text(content)


def cut_in_line_2(path: Path) -> None:
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], "{", *lines[2:]]))


def state_without(part: str) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        tensors = safetensors.torch.load_file(path)
        kept = {name: value for name, value in tensors.items() if part not in name}
        assert len(kept) < len(tensors)
        safetensors.torch.save_file(kept, path, {"step": "4"})

    return damage


def state_with(metadata: dict[str, str] | None) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        safetensors.torch.save_file(safetensors.torch.load_file(path), path, metadata)

    return damage


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        (runs.STATE, os.remove, "holds no checkpoint to resume from; train it anew"),
        (runs.STATE, lambda path: os.truncate(path, 1000), r"state\.safetensors cannot be read .*"),
        (runs.STATE, text("foreign"), r"state\.safetensors cannot be read"),
        (runs.STATE, state_without("conv_out"), "is the checkpoint of another model than"),
        (runs.STATE, state_without("ema."), "is the checkpoint of another model than"),
        (runs.STATE, state_without("optimizer.3."), "not hold the whole state of the optimizer"),
        (runs.STATE, state_without("exp_avg_sq"), "not hold the whole state of the optimizer"),
        (runs.STATE, state_with(None), "does not say at which step it was saved"),
        (runs.STATE, state_with({"step": "two"}), "does not say at which step it was saved"),
        (runs.STATE, state_with({"step": "5"}), r"has 4 steps, but the checkpoint is at step 5"),
        (runs.METRICS, os.remove, r"metrics\.jsonl is missing"),
        (runs.METRICS, cut_in_line_2, r"line 2 of .*metrics\.jsonl is damaged: '{'"),
        (runs.METRICS, text('{"step": 0, "x": 1}\n'), r"line 1 of .* is damaged: "),
        (runs.METRICS, text("[1]\n"), r"line 1 of .*metrics\.jsonl is damaged: '\[1\]'"),
    ],
)
def test_a_damaged_old_checkpoint_is_refused_and_changes_nothing(
    name: Path,
    damage: Callable[[Path], Any],
    message: str,
    old: Path,
    config: RunConfig,
    dataset: Dataset,
) -> None:
    damage(old / name)
    state = fresh(config, dataset)
    before = {key: value.clone() for key, value in state.unet.state_dict().items()}
    with pytest.raises(ValueError, match=message) as refused:
        RunFiles(old, config, dataset.fingerprint()).load(state)
    assert "\n" not in str(refused.value)
    assert state.step == 0
    torch.testing.assert_close(dict(state.unet.state_dict()), before, rtol=0, atol=0)


def test_an_old_checkpoint_of_another_model_is_refused(
    old: Path, tiny: Make, dataset: Dataset
) -> None:
    for changes in ({"layers_per_block": 2}, {"channels": (16, 16)}, {"ema_decay": None}):
        with pytest.raises(ValueError, match="is the checkpoint of another model"):
            loaded(old, tiny(**changes), dataset)


# --- what is written is whole ---


@pytest.mark.parametrize("fails", ["save_file", "save_pretrained", "write_text"])
def test_a_disk_that_fills_up_leaves_a_run_that_works(
    fails: str,
    config: RunConfig,
    dataset: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each kind of write fails in the last checkpoint, after half of its bytes."""

    def half(path: Path, *_: Any, **__: Any) -> None:
        (path / "config.json" if path.is_dir() else path).write_bytes(b"half")
        raise OSError("disk full")

    real = RunFiles.save

    def save(self: RunFiles, state: Any, *rest: Any) -> None:
        with monkeypatch.context() as patched:
            if state.step == 4:
                if fails == "save_pretrained":
                    patched.setattr(scratch.UNet2DModel, fails, lambda self, path: half(path))
                elif fails == "write_text":
                    patched.setattr(Path, fails, half)
                else:
                    patched.setattr(
                        safetensors.torch, fails, lambda tensors, path, metadata: half(path)
                    )
            real(self, state, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(RunFiles, "save", save)
        with pytest.raises(OSError, match="disk full"):
            train(config, tmp_path, dataset)
    assert list(tmp_path.rglob(".*")) == []  # no half file is left behind
    unet, _ = runs.load_parts(tmp_path, "scratch")
    assert unet.conv_in.weight.isfinite().all()
    resumed = train(config, tmp_path, dataset, resume=True)
    assert resumed == train(config, tmp_path / "whole", dataset)
