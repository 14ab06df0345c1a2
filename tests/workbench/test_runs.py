"""Run folders: both libraries read them, damaged ones are refused, and what is written is whole."""

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import safetensors.torch
import torch

import scratch
from workbench import backends, checkpoints, runs, trainer, training_run
from workbench.checkpoints import RunFiles
from workbench.config import RunConfig
from workbench.data import Dataset

CPU = torch.device("cpu")
BACKENDS = ("scratch", "diffusers")
Make = Callable[..., RunConfig]


@pytest.fixture
def trained(tiny: Make, dataset: Dataset, tmp_path: Path) -> Callable[..., Path]:
    """Train a tiny run into a folder."""

    def train(name: str = "run", **changes: Any) -> Path:
        config = tiny(**{"steps": 2, **changes})
        training_run.train(config, tmp_path / name, dataset, device=CPU, progress=False)
        return tmp_path / name

    return train


@pytest.fixture
def log() -> Iterator[list[str]]:
    """What Diffusers logs: its logger does not hand records on, so pytest does not see them."""
    messages: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    handler = Keep()
    logging.getLogger("diffusers").addHandler(handler)
    yield messages
    logging.getLogger("diffusers").removeHandler(handler)


def drawn(pipeline: Any) -> np.ndarray:
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(3)
    return pipeline(2, generator, num_inference_steps=5, output_type="np").images


# Both libraries read them


@pytest.mark.parametrize("backend", BACKENDS)
def test_either_librarys_pipeline_loads_a_run_whoever_trained_it(
    backend: str, trained: Callable[..., Path]
) -> None:
    """All three ways of loading draw the same pictures, up to float32 rounding in five steps."""
    run = trained(backend=backend, class_conditional=False)
    theirs = diffusers.DDPMPipeline.from_pretrained(run)
    ours = scratch.DDPMPipeline.from_pretrained(run)
    assert type(theirs.unet) is diffusers.UNet2DModel
    assert type(ours.unet) is scratch.UNet2DModel
    assert dict(theirs.scheduler.config)["num_train_timesteps"] == 20
    by_parts = backends.load(backend).DDPMPipeline(*runs.load_parts(run, backend))
    torch.testing.assert_close(drawn(ours), drawn(theirs), rtol=0, atol=1e-5)
    torch.testing.assert_close(drawn(by_parts), drawn(theirs), rtol=0, atol=1e-5)


def test_the_index_names_diffusers_classes_whoever_trained(trained: Callable[..., Path]) -> None:
    indices = [
        json.loads((trained(backend, backend=backend) / "model_index.json").read_text())
        for backend in BACKENDS
    ]
    assert indices[0] == indices[1]
    assert indices[0]["unet"] == ["diffusers", "UNet2DModel"]
    assert indices[0]["scheduler"] == ["diffusers", "DDPMScheduler"]


def test_what_a_run_holds(trained: Callable[..., Path]) -> None:
    run = trained()
    files = sorted(p.relative_to(run).as_posix() for p in run.rglob("*") if p.is_file())
    assert files == [
        "model_index.json",
        "scheduler/scheduler_config.json",
        "training/checkpoints/step_000000/manifest.json",
        "training/checkpoints/step_000000/state.safetensors",
        "training/checkpoints/step_000002/manifest.json",
        "training/checkpoints/step_000002/state.safetensors",
        "training/config.json",
        "training/files.json",
        "training/history.json",
        "training/lock",
        "training/metrics.jsonl",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
    ]


@pytest.mark.parametrize("decay", [None, 0.9])
def test_the_unet_is_the_average_and_training_holds_the_raw_weights(
    decay: float | None, tiny: Make, dataset: Dataset, tmp_path: Path
) -> None:
    config = tiny(ema_decay=decay)
    unet, scheduler = trainer.new_parts(config, dataset)
    state = trainer.new_state(unet, config.train)
    for _ in trainer.training_steps(state, scheduler, dataset, config.train, 0):
        pass
    raw = {name: value.clone() for name, value in unet.state_dict().items()}
    rows = [{"step": k, "loss": 1.0, "learning_rate": 1.0} for k in range(state.step)]
    RunFiles(tmp_path, config, "data").save(state, scheduler, rows)
    torch.testing.assert_close(unet.state_dict(), raw, rtol=0, atol=0)
    saved = safetensors.torch.load_file(tmp_path / "unet" / runs.WEIGHTS)
    expected = raw if state.ema is None else state.ema.average
    torch.testing.assert_close(saved, dict(expected), rtol=0, atol=0)
    if state.ema is not None:
        assert not torch.equal(saved["conv_in.weight"], raw["conv_in.weight"])
    last = tmp_path / checkpoints.FOLDER / f"step_{state.step:06d}"
    training = safetensors.torch.load_file(last / checkpoints.STATE)
    for name, value in raw.items():
        assert torch.equal(training[f"weights.{name}"], value)


@pytest.mark.parametrize("backend", BACKENDS)
def test_loading_is_quiet_and_changes_no_logging(
    backend: str,
    trained: Callable[..., Path],
    log: list[str],
    capfd: pytest.CaptureFixture[str],
) -> None:
    run = trained(backend="scratch")
    capfd.readouterr()
    level = logging.getLogger("diffusers").level
    for scheduler in ("DDPMScheduler", "DDIMScheduler"):
        unet, made = runs.load_parts(run, backend, scheduler)
        assert type(made).__name__ == scheduler
        assert not unet.training
    shown = capfd.readouterr()
    assert shown.out == shown.err == ""
    assert log == []
    assert logging.getLogger("diffusers").level == level


@pytest.mark.parametrize("backend", BACKENDS)
def test_changes_to_the_scheduler(backend: str, trained: Callable[..., Path]) -> None:
    _, made = runs.load_parts(trained(), backend, changes={"timestep_spacing": "trailing"})
    made.set_timesteps(4)
    assert made.timesteps.tolist() == [19, 14, 9, 4]


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_oldest_folders_are_read_too(backend: str, trained: Callable[..., Path]) -> None:
    """Everything at the root, and attention's weights by their names of 2022."""
    run = trained()
    expected = runs.load_parts(run, backend)[0].state_dict()
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    weights = {}
    for name, value in safetensors.torch.load_file(run / "unet" / runs.WEIGHTS).items():
        for new, before in old.items():
            name = name.replace(f".{new}.", f".{before}.")
        weights[name] = value
    assert any(".query." in name for name in weights)
    safetensors.torch.save_file(weights, run / runs.WEIGHTS, {"format": "pt"})
    shutil.move(run / "unet" / "config.json", run)
    shutil.move(run / "scheduler" / "scheduler_config.json", run)
    shutil.rmtree(run / "unet")
    shutil.rmtree(run / "training")
    unet, scheduler = runs.load_parts(run, backend)
    torch.testing.assert_close(unet.state_dict(), expected, rtol=0, atol=0)
    assert scheduler.config.num_train_timesteps == 20


# Damaged ones are refused


def truncate(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def cut_in_line_2(path: Path) -> None:
    path.write_text(path.read_text().splitlines(keepends=True)[0] + "{")


def without(name: str) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        weights = safetensors.torch.load_file(path)
        weights.pop(name)
        safetensors.torch.save_file(weights, path, {"format": "pt"})

    return damage


def with_a_renamed_weight(path: Path) -> None:
    weights = safetensors.torch.load_file(path)
    weights["conv_out.offset"] = weights.pop("conv_out.bias")
    safetensors.torch.save_file(weights, path, {"format": "pt"})


def with_a_wrong_shape(path: Path) -> None:
    weights = safetensors.torch.load_file(path)
    weights["conv_out.bias"] = torch.zeros(2)
    safetensors.torch.save_file(weights, path, {"format": "pt"})


def as_pickle(path: Path) -> None:
    path.rename(path.with_suffix(".bin"))


def text(content: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_text(content)

    return write


UNET = f"unet/{runs.WEIGHTS}"
DAMAGE: list[tuple[str, Callable[[Path], Any], str]] = [
    (UNET, os.remove, r"safetensors is missing, and other kinds are never read"),
    (UNET, as_pickle, r"safetensors is missing, and other kinds are never read"),
    (UNET, truncate, r"unet cannot be used"),
    (UNET, text("not weights"), r"unet cannot be used"),
    (UNET, without("conv_out.bias"), r"unet cannot be used|does not hold the model"),
    (UNET, without("mid_block.attentions.0.to_q.bias"), r"unet cannot be|does not hold the model"),
    (UNET, with_a_renamed_weight, r"unet cannot be used|does not hold the model"),
    (UNET, with_a_wrong_shape, r"unet cannot be used"),
    ("unet", shutil.rmtree, r"unet/config\.json is missing; is this a run folder"),
    ("unet/config.json", os.remove, r"config\.json is missing; is this a run folder"),
    ("unet/config.json", truncate, r"config\.json is no JSON .*it may be truncated"),
    ("unet/config.json", text("[]"), r"config\.json must hold a JSON object, got list"),
    ("unet/config.json", text('{"in_channels": "x"}'), r"unet cannot be used"),
    ("scheduler/scheduler_config.json", os.remove, r"scheduler_config\.json is missing"),
    ("scheduler/scheduler_config.json", truncate, r"scheduler_config\.json is no JSON"),
    ("scheduler/scheduler_config.json", text('{"beta_schedule": "x"}'), r"scheduler cannot be"),
    ("model_index.json", os.remove, r"model_index\.json is missing; is this a run folder"),
    ("model_index.json", text('{"_class_name": "VQModel"}'), r"is a VQModel; expected one of"),
]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that tests copy before they damage it."""
    return tmp_path_factory.mktemp("runs") / "sound"


def copied(sound: Path, trained: Callable[..., Path], folder: Path) -> Path:
    if not sound.exists():
        shutil.move(trained("made"), sound)
    return shutil.copytree(sound, folder / "copy")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("name", "damage", "message"), DAMAGE)
def test_a_damaged_run_is_refused_by_both(
    backend: str,
    name: str,
    damage: Callable[[Path], Any],
    message: str,
    sound: Path,
    trained: Callable[..., Path],
    tmp_path: Path,
    log: list[str],
) -> None:
    run = copied(sound, trained, tmp_path)
    os.remove(run / runs.LIST)  # as of a folder that somebody else wrote
    damage(run / name)
    with pytest.raises(ValueError, match=message) as refused:
        runs.load_parts(run, backend)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 700
    assert log == []


@pytest.mark.parametrize(("name", "damage", "message"), DAMAGE)
def test_a_run_that_knows_its_checksums_says_what_to_do(
    name: str,
    damage: Callable[[Path], Any],
    message: str,
    sound: Path,
    trained: Callable[..., Path],
    tmp_path: Path,
) -> None:
    run = copied(sound, trained, tmp_path)
    damage(run / name)
    for load in (
        lambda: runs.load_parts(run, "scratch"),
        lambda: runs.load_scheduler(run, "scratch"),
    ):
        with pytest.raises(ValueError, match=r"`ddpm train --resume .*` makes it again") as refused:
            load()
        assert "\n" not in str(refused.value)


def test_a_list_of_checksums_that_is_damaged(
    sound: Path, trained: Callable[..., Path], tmp_path: Path
) -> None:
    run = copied(sound, trained, tmp_path)
    truncate(run / runs.LIST)
    with pytest.raises(ValueError, match=r"its files\.json is missing or damaged; remove it, and"):
        runs.load_parts(run, "scratch")


def test_what_the_librarys_sampler_lacks_is_refused(trained: Callable[..., Path]) -> None:
    """Diffusers' DDIM has no sigmoid schedule; ours has."""
    run = trained(beta_schedule="sigmoid")
    assert runs.load_parts(run, "scratch", "DDIMScheduler")
    with pytest.raises(ValueError, match="scheduler cannot be used: sigmoid"):
        runs.load_parts(run, "diffusers", "DDIMScheduler")


def test_a_folder_that_is_not_there() -> None:
    for read in (runs.load_config, runs.load_metrics, lambda f: runs.load_parts(f, "scratch")):
        with pytest.raises(ValueError, match="no run 'nowhere' here; `ddpm train` makes one"):
            read(Path("nowhere"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (os.remove, r"config\.json is missing; is this a run folder\?"),
        (truncate, r"config\.json is no JSON"),
        (text("{}"), r"config\.json: this is no config of a run"),
    ],
)
def test_a_damaged_config_is_refused(
    damage: Callable[[Path], Any], message: str, sound: Path, trained: Callable, tmp_path: Path
) -> None:
    run = copied(sound, trained, tmp_path)
    os.remove(run / runs.LIST)
    damage(run / runs.CONFIG)
    with pytest.raises(ValueError, match=message):
        runs.load_config(run)


def test_the_config_comes_back(trained: Callable[..., Path], tiny: Make) -> None:
    assert runs.load_config(trained(dropout=0.25)) == tiny(steps=2, dropout=0.25)


# What may be replaced


def test_an_empty_or_absent_folder_is_ready(tmp_path: Path) -> None:
    runs.check_new(tmp_path / "new", force=False)
    assert not (tmp_path / "new").exists()  # nothing is written yet
    runs.check_new(tmp_path, force=False)


def test_a_run_is_kept_unless_forced_and_until_the_new_one_is_there(
    trained: Callable[..., Path],
) -> None:
    run = trained()
    with pytest.raises(ValueError, match="holds a run; go on with --resume, or replace it with"):
        runs.check_new(run, force=False)
    (run / "notes.txt").write_text("mine")
    before = {p.relative_to(run): p.read_bytes() for p in run.rglob("*") if p.is_file()}
    runs.check_new(run, force=True)
    assert runs.make_room(run)
    (old,) = runs.aside(run)
    assert {p.relative_to(old): p.read_bytes() for p in old.rglob("*") if p.is_file()} == before
    assert list(run.iterdir()) == []
    with pytest.raises(ValueError, match=r"no run .*: it was being replaced, and lies whole in"):
        runs.load_config(run)
    with pytest.raises(ValueError, match=r"its run lies whole in .*: move it back, or add --force"):
        runs.check_new(run, force=False)
    runs.drop_replaced(run)
    assert [path.name for path in run.iterdir()] == ["notes.txt"]
    assert not old.exists()


def test_what_no_run_wrote_is_never_overwritten(trained: Callable[..., Path]) -> None:
    run = trained()
    (run / "notes.txt").write_text("mine")
    runs.make_room(run)
    (run / "notes.txt").write_text("another")
    runs.drop_replaced(run)
    (old,) = runs.aside(run)
    assert [path.name for path in old.iterdir()] == ["notes.txt"]
    assert (run / "notes.txt").read_text() == "another"


def test_the_folder_one_is_in_is_not_moved(
    trained: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trained() / "training")
    with pytest.raises(ValueError, match="is the folder you are in; replace the run from outside"):
        runs.check_new(Path(".."), force=True)


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(
    "foreign", ["thesis.tex", "training/config.json", "model_index.json", "unet/config.json"]
)
def test_a_folder_that_is_no_run_is_never_touched(
    foreign: str, force: bool, tmp_path: Path
) -> None:
    """Other projects have a training/config.json too."""
    (tmp_path / foreign).parent.mkdir(exist_ok=True)
    (tmp_path / foreign).write_text('{"learning_rate": 1}')
    with pytest.raises(ValueError, match="is no run that could be replaced, so nothing was writt"):
        runs.check_new(tmp_path, force=force)
    assert (tmp_path / foreign).read_text() == '{"learning_rate": 1}'


def test_what_a_process_left_that_was_killed_is_no_run(tmp_path: Path) -> None:
    for left in ("training/lock", "training/.0123456789ab.new.config.json"):
        (tmp_path / left).parent.mkdir(exist_ok=True)
        (tmp_path / left).write_text("half")
    runs.check_new(tmp_path, force=False)
    runs.clean(tmp_path)
    assert [path.name for path in (tmp_path / "training").iterdir()] == ["lock"]


@pytest.mark.parametrize("part", ["training", "samples", "unet", "training/checkpoints"])
def test_a_link_in_a_run_is_not_written_through(
    part: str, trained: Callable[..., Path], tmp_path: Path
) -> None:
    run = trained()
    elsewhere = tmp_path / "elsewhere"
    if (run / part).exists():
        shutil.move(run / part, elsewhere)
    (run / part).symlink_to(elsewhere)
    with pytest.raises(ValueError, match=r"is a link to .*, through which nothing is written"):
        runs.clean(run)


def test_a_replaced_link_is_removed_and_not_followed(
    trained: Callable[..., Path], tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("mine")
    run = trained()
    (run / "samples").symlink_to(elsewhere)
    runs.make_room(run)
    runs.drop_replaced(run)
    assert (elsewhere / "precious").read_text() == "mine"
    assert list(run.iterdir()) == []


def test_a_file_in_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="is a file; give the name of a folder for the run"):
        runs.check_new(tmp_path / "file", force=True)


def test_metrics_rows(trained: Callable[..., Path]) -> None:
    """One JSON object on each line: a step's, or an epoch's after its last step."""
    run = trained(steps=3)
    lines = (run / runs.METRICS).read_text().splitlines()
    assert [sorted(json.loads(line)) for line in lines] == [
        *3 * [["learning_rate", "loss", "step"]],
        ["epoch", "mean_loss"],
    ]
