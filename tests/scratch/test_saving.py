"""Folders: both ways with Diffusers, old checkpoints, whole or not at all, and damaged ones."""

import json
import os
import pickle
import re
import shutil
from pathlib import Path

import diffusers
import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import load_file, save_file

import scratch
from scratch.compat import saving
from tests.scratch.small import SMALL

WEIGHTS = saving.MODEL_FILE


def pipeline(package=scratch, scheduler: str = "DDPMScheduler"):
    torch.manual_seed(0)
    unet = package.UNet2DModel(**SMALL)
    kind = getattr(package, scheduler)(num_train_timesteps=20, beta_end=0.3)
    return package.DDPMPipeline(unet, kind)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A pipeline folder that our own `save_pretrained` wrote."""
    pipeline().save_pretrained(tmp_path / "run")
    return tmp_path / "run"


def same_weights(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    mine, others = a.state_dict(), b.state_dict()
    return list(mine) == list(others) and all(torch.equal(mine[k], others[k]) for k in mine)


@pytest.mark.parametrize("scheduler", ["DDPMScheduler", "DDIMScheduler"])
@pytest.mark.parametrize("writer", [scratch, diffusers], ids=["we write", "diffusers writes"])
def test_a_pipeline_folder_is_read_by_both(writer, scheduler: str, tmp_path: Path) -> None:
    written = pipeline(writer, scheduler)
    written.save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    assert index == {
        "_class_name": "DDPMPipeline",
        "_diffusers_version": diffusers.__version__ if writer is diffusers else "0.42.1",
        "scheduler": ["diffusers", scheduler],
        "unet": ["diffusers", "UNet2DModel"],
    }
    for reader in (scratch, diffusers):
        read = reader.DDPMPipeline.from_pretrained(tmp_path)
        assert type(read.unet) is reader.UNet2DModel
        assert type(read.scheduler) is getattr(reader, scheduler)
        assert same_weights(read.unet, written.unet)
        assert not read.unet.training
        assert read.scheduler.config.beta_end == 0.3


@pytest.mark.parametrize("writer", [scratch, diffusers], ids=["we write", "diffusers writes"])
def test_parts_are_read_alone_and_from_subfolders(writer, tmp_path: Path) -> None:
    written = pipeline(writer)
    written.unet.save_pretrained(tmp_path / "run" / "unet")
    written.scheduler.save_pretrained(tmp_path / "run" / "scheduler")
    for reader in (scratch, diffusers):
        for where in (tmp_path / "run", str(tmp_path / "run")):
            unet = reader.UNet2DModel.from_pretrained(where, subfolder="unet")
            assert same_weights(unet, written.unet)
            scheduler = reader.DDIMScheduler.from_pretrained(where, subfolder="scheduler")
            assert len(scheduler) == 20
        unet = reader.UNet2DModel.from_pretrained(tmp_path / "run" / "unet")
        assert same_weights(unet, written.unet)


def test_what_is_written_is_what_was_saved(folder: Path) -> None:
    files = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert files == {
        "model_index.json",
        "scheduler/scheduler_config.json",
        "unet/config.json",
        f"unet/{WEIGHTS}",
    }
    assert [p.name for p in folder.parent.iterdir()] == ["run"]  # no temporary left
    read = scratch.DDPMPipeline.from_pretrained(folder)
    assert read.unet.config == pipeline().unet.config
    assert read.scheduler.config == pipeline().scheduler.config


def test_a_checkpoint_of_2022_everything_at_the_root_with_old_names(folder: Path) -> None:
    root = folder.parent / "old"
    root.mkdir()
    for part in ("unet", "scheduler"):
        for file in (folder / part).iterdir():
            shutil.copy(file, root)
    shutil.copy(folder / "model_index.json", root)
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    old = {}
    for key, value in load_file(root / WEIGHTS).items():
        for new, before in names.items():
            key = key.replace(f".{new}.", f".{before}.")
        old[key] = value
    assert "mid_block.attentions.0.proj_attn.bias" in old
    assert "down_blocks.1.attentions.0.query.weight" in old
    save_file(old, root / WEIGHTS)
    read = scratch.DDPMPipeline.from_pretrained(root)
    assert same_weights(read.unet, pipeline().unet)
    assert len(read.scheduler) == 20
    assert same_weights(diffusers.UNet2DModel.from_pretrained(root), pipeline().unet)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def edited(**entries):
    def edit(path: Path) -> None:
        path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))

    return edit


def only(text: str):
    return lambda path: path.write_text(text)


def pickled(path: Path) -> None:
    path.with_suffix(".bin").write_bytes(pickle.dumps(os.system))
    path.unlink()


DAMAGE = [
    ("model_index.json", Path.unlink, "model_index.json is missing; is this a folder that save"),
    ("model_index.json", truncate, "model_index.json cannot be read as JSON"),
    ("model_index.json", only("[]"), "model_index.json must hold a JSON object, got list"),
    (
        "model_index.json",
        edited(_class_name="StableDiffusionPipeline"),
        "run is a StableDiffusionPipeline, expected one of DDPMPipeline, DDIMPipeline; load",
    ),
    ("scheduler/scheduler_config.json", Path.unlink, "scheduler_config.json is missing"),
    ("scheduler/scheduler_config.json", truncate, "cannot be read as JSON"),
    (
        "scheduler/scheduler_config.json",
        edited(_class_name="PNDMScheduler"),
        "scheduler holds a PNDMScheduler, expected one of DDPMScheduler, DDIMScheduler",
    ),
    (
        "scheduler/scheduler_config.json",
        edited(skip_prk_steps=True),
        "scheduler_config.json is no config of a DDPMScheduler built here: DDPMScheduler has no "
        "argument 'skip_prk_steps' (value True); remove it",
    ),
    (
        "scheduler/scheduler_config.json",
        edited(num_train_timesteps="many"),
        "scheduler_config.json is no config of a DDPMScheduler built here: num_train_timesteps",
    ),
    ("unet", shutil.rmtree, "run/unet' here; check the path"),
    ("unet/config.json", Path.unlink, "config.json is missing"),
    ("unet/config.json", truncate, "config.json cannot be read as JSON"),
    ("unet/config.json", lambda path: path.write_bytes(b"\xff\xfe\x00"), "cannot be read as JSON"),
    (
        "unet/config.json",
        edited(cross_attention_dim=768),
        "config.json is no config of a UNet2DModel built here: UNet2DModel has no argument",
    ),
    (
        "unet/config.json",
        edited(block_out_channels=[16, 16]),
        f"{WEIGHTS} does not hold the model that config.json describes",
    ),
    ("unet/config.json", edited(block_out_channels=3), "is no config of a UNet2DModel built here"),
    (f"unet/{WEIGHTS}", Path.unlink, f"{WEIGHTS} is missing"),
    (f"unet/{WEIGHTS}", truncate, f"{WEIGHTS} cannot be read as safetensors"),
    (f"unet/{WEIGHTS}", only("no tensors"), f"{WEIGHTS} cannot be read as safetensors"),
    (f"unet/{WEIGHTS}", only(""), f"{WEIGHTS} cannot be read as safetensors"),
    (
        f"unet/{WEIGHTS}",
        lambda path: save_file({"weight": torch.zeros(2)}, path),
        "does not hold the model that config.json describes",
    ),
    (
        f"unet/{WEIGHTS}",
        pickled,
        "diffusion_pytorch_model.bin is a pickle and is never read: convert it",
    ),
]


@pytest.mark.parametrize(("file", "damage", "message"), DAMAGE)
def test_a_damaged_folder_is_named(folder: Path, file: str, damage, message: str) -> None:
    damage(folder / file)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        scratch.DDPMPipeline.from_pretrained(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("/nowhere/run", "no folder '/nowhere/run' here; check the path"),
        ("runs/of/mine", "no folder 'runs/of/mine' here"),
        ("nothing", "no folder 'nothing' here"),
        ("here/typo", "no folder 'here/typo' here"),
        ("somebody/model", "'somebody/model' is neither a folder here nor a Hub repository"),
    ],
)
def test_a_folder_that_is_not_there(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path)
    offline(monkeypatch, tmp_path / "cache")
    for load in (
        scratch.DDPMPipeline.from_pretrained,
        scratch.UNet2DModel.from_pretrained,
        scratch.DDPMScheduler.from_pretrained,
    ):
        with pytest.raises(ValueError, match=message):
            load(name)


def offline(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """What `HF_HUB_OFFLINE` and `HF_HOME` in the environment do."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))


def test_a_hub_name_that_is_in_the_cache(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "cache" / "models--somebody--digits"
    shutil.copytree(folder, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    offline(monkeypatch, tmp_path / "cache")
    read = scratch.DDPMPipeline.from_pretrained("somebody/digits")
    assert same_weights(read.unet, pipeline().unet)
    unet = scratch.UNet2DModel.from_pretrained("somebody/digits", subfolder="unet")
    assert same_weights(unet, pipeline().unet)
    scheduler = scratch.DDIMScheduler.from_pretrained("somebody/digits", subfolder="scheduler")
    assert len(scheduler) == 20


def test_saving_again_replaces_and_leaves_other_files_alone(folder: Path) -> None:
    (folder / "training").mkdir()
    (folder / "training" / "config.json").write_text("{}")
    torch.manual_seed(1)
    other = scratch.DDPMPipeline(scratch.UNet2DModel(**SMALL), pipeline().scheduler)
    other.save_pretrained(folder)
    assert (folder / "training" / "config.json").read_text() == "{}"
    assert same_weights(scratch.DDPMPipeline.from_pretrained(folder).unet, other.unet)


@pytest.mark.parametrize("part", ["pipeline", "unet"])
def test_what_fails_half_way_leaves_everything_as_it_was(
    part: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def everything() -> dict[Path, bytes | None]:
        return {p: p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}

    before = everything()
    saved = pipeline()
    with torch.no_grad():
        saved.unet.conv_in.bias.add_(1)

    def full(*args: object, **kwargs: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    target = folder if part == "pipeline" else folder / "unet"
    for where in (target, folder.parent / "new"):
        with pytest.raises(OSError, match="No space left"):
            (saved if part == "pipeline" else saved.unet).save_pretrained(where)
    assert everything() == before
    assert [p.name for p in folder.parent.iterdir()] == ["run"]


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="file is a file; give the name of a folder"):
        pipeline().save_pretrained(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_half_precision_weights_are_saved_as_they_are(tmp_path: Path) -> None:
    unet = pipeline().unet.half()
    unet.save_pretrained(tmp_path)
    assert all(value.dtype == torch.float16 for value in load_file(tmp_path / WEIGHTS).values())
    read = scratch.UNet2DModel.from_pretrained(tmp_path)
    assert read.dtype == torch.float32
    assert same_weights(read.half(), unet)


def test_weights_come_in_the_dtype_that_is_asked_for(folder: Path) -> None:
    """As Diffusers' do; the pictures are drawn in it."""
    pipeline().save_pretrained(folder)
    plain = scratch.DDPMPipeline.from_pretrained(folder)
    assert (plain.dtype, plain.device) == (torch.float32, torch.device("cpu"))
    ours = scratch.DDPMPipeline.from_pretrained(folder, torch_dtype=torch.bfloat16)
    theirs = diffusers.UNet2DModel.from_pretrained(folder / "unet", torch_dtype=torch.bfloat16)
    assert ours.dtype == theirs.dtype == torch.bfloat16
    assert same_weights(ours.unet, theirs)
    ours.set_progress_bar_config(disable=True)
    images = ours(num_inference_steps=2, output_type="pt").images
    assert images.dtype == torch.bfloat16
    assert images.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.int8, "float16", 16])
def test_a_dtype_that_weights_cannot_have(folder: Path, dtype) -> None:
    pipeline().save_pretrained(folder)
    with pytest.raises(ValueError, match=r"torch_dtype must be a float dtype such as torch\.float"):
        scratch.DDPMPipeline.from_pretrained(folder, torch_dtype=dtype)


def test_save_config_is_save_pretrained_of_a_scheduler(tmp_path: Path) -> None:
    scheduler = scratch.DDPMScheduler(num_train_timesteps=20)
    scheduler.save_config(tmp_path)
    assert scratch.DDPMScheduler.from_pretrained(tmp_path).config == scheduler.config
    assert len(diffusers.DDPMScheduler.from_pretrained(tmp_path)) == 20


def test_the_librarys_pipeline_loses_parts_of_ours_and_ours_loses_none(
    folder: Path, tmp_path: Path
) -> None:
    """The finding `foreign-parts-saved-as-null`, and what the README says to do."""
    ours = pipeline()
    lost = tmp_path / "lost"
    diffusers.DDPMPipeline(ours.unet, ours.scheduler).save_pretrained(lost)
    index = json.loads((lost / saving.PIPELINE_INDEX).read_text())
    assert index["unet"] == index["scheduler"] == [None, None]
    assert [path.name for path in lost.iterdir()] == [saving.PIPELINE_INDEX]
    with pytest.raises(ValueError, match="expected"):
        diffusers.DDPMPipeline.from_pretrained(lost)
    for number, unet in enumerate((ours.unet, diffusers.UNet2DModel(**SMALL))):
        kept = folder / str(number)
        scratch.DDPMPipeline(unet, ours.scheduler).save_pretrained(kept)
        for package in (scratch, diffusers):
            assert same_weights(package.DDPMPipeline.from_pretrained(kept).unet, unet)
