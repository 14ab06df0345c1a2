"""The command line: what it does, and that bad input costs one line, status 2, and no file."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ddpm.cli import build_parser, main
from workbench import precision, runs

TINY = [
    "--channels",
    "8,16",
    "--norm-num-groups",
    "4",
    "--attention",
    "no,no",
    "--layers-per-block",
    "1",
    "--steps",
    "2",
    "--batch-size",
    "4",
    "--num-train-timesteps",
    "4",
    "--quiet",
    "--device",
    "cpu",
]


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps on digits, trained once for this file."""
    run = tmp_path_factory.mktemp("runs") / "tiny"
    assert main(["train", *TINY, "--output", str(run)]) == 0
    return run


def refused(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of a command that must fail with status 2."""
    try:
        status = main(argv)
    except SystemExit as exit_:
        status = exit_.code
    error = capsys.readouterr().err
    assert status == 2, error
    assert error.count("\n") == 1, error
    assert "Traceback" not in error
    return error


def test_help_answers_within_half_a_second() -> None:
    """Timed by the interpreter itself, best of three: the machine may be busy."""
    script = (
        "import time; start = time.process_time()\n"
        "from ddpm.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print('CPU', time.process_time() - start)"
    )
    times = []
    for _ in range(3):
        run = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True
        )
        assert "examples:" in run.stdout
        times.append(float(run.stdout.split()[-1]))
    assert min(times) < 0.5


@pytest.mark.parametrize(
    "verb", ["train", "sample", "compare", "explain", "exercise", "plot", "bench", "tour"]
)
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([verb, "--help"])
    assert exit_.value.code == 0
    shown = capsys.readouterr().out
    assert "usage: ddpm" in shown
    assert f"examples:\n  ddpm {verb}" in shown


def test_train_writes_a_run_that_both_backends_sample_alike(tiny_run: Path, tmp_path: Path) -> None:
    pictures = []
    for backend in ("scratch", "diffusers"):
        output = tmp_path / f"{backend}.png"
        words = f"sample {tiny_run} --backend {backend} --count 4 --quiet --output {output}"
        assert main(words.split()) == 0
        pictures.append(np.asarray(Image.open(output).convert("RGB")).astype(int))
    assert np.abs(pictures[0] - pictures[1]).max() <= 1


def test_how_pictures_are_computed_is_said_by_options(
    tiny_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The fast path draws the same, bf16 nearly the same under a name of its own."""
    told: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", told.append)
    monkeypatch.setattr(torch, "compile", lambda network, **_: network)
    monkeypatch.setattr(precision, "computes_bf16", lambda: False)
    pictures = {}
    for words in ("", "--fast --threads 2", "--precision bf16"):
        output = tmp_path / f"{len(pictures)}.png"
        said = f"sample {tiny_run} --count 4 --device cpu --quiet {words} --output {output}"
        assert main(said.split()) == 0
        pictures[words] = np.asarray(Image.open(output).convert("RGB")).astype(int)
    plain, fast, rounded = pictures.values()
    assert np.abs(fast - plain).max() <= 1
    assert 0 < np.abs(rounded - plain).max() <= 8
    assert told == [2]
    assert "does not compute in bf16 itself: float32 is faster here\n" in capsys.readouterr().err
    assert main(f"sample {tiny_run} --count 4 --quiet --precision bf16".split()) == 0
    assert "precision-bf16.png" in capsys.readouterr().out
    assert refused(f"sample {tiny_run} --device cpu --precision fp16".split(), capsys).endswith(
        "fp16 is for a GPU; on a CPU take bf16 or float32\n"
    )


def test_how_a_run_is_computed_is_said_by_options_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In its config, by which it goes on; --no-fast leaves the fast path, and is told so."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch, "compile", lambda network, **_: network)
    steps, folder = str(int(TINY[TINY.index("--steps") + 1]) + 2), "run"
    words = ["--fast", "--threads", "1", "--deterministic", "--output", folder]
    assert main(["train", *TINY, *words]) == 0
    train = runs.load_config(Path(folder)).train
    assert (train.fast, train.threads, train.deterministic) == (True, 1, True)
    assert main(["train", "--resume", folder, "--steps", steps, "--no-fast", "--quiet"]) == 0
    assert "on by the plain path: equal up to rounding" in capsys.readouterr().err
    assert not runs.load_config(Path(folder)).train.fast
    said = refused(["train", "--resume", folder, "--threads", "2"], capsys)
    assert said.endswith("goes on as the run's own config says; leave out --threads\n")


def test_ctrl_c_keeps_the_run_and_says_how_to_go_on(tmp_path: Path) -> None:
    words = [*TINY, "--output", "run", "--save-every", "5"]
    words[words.index("--steps") + 1] = "100000"
    with subprocess.Popen(
        [sys.executable, "-m", "ddpm.cli", "train", *words],
        cwd=tmp_path, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # pytest may ignore it
    ) as training:  # fmt: skip
        saved = tmp_path / "run" / "training" / "checkpoints" / "step_000005"
        while not saved.exists():
            assert training.poll() is None
            time.sleep(0.05)
        training.send_signal(signal.SIGINT)
        assert training.wait(60) == 130
        assert training.stderr is not None
        said = training.stderr.read()
    assert said == "stopped and saved; go on with: ddpm train --resume run\n"
    steps = (tmp_path / "run" / "training" / "metrics.jsonl").read_text().splitlines()
    assert 5 <= len(steps) < 100_000


def test_ddim_seed_and_count_change_the_picture(tiny_run: Path, tmp_path: Path) -> None:
    drawn = {}
    for name, extra in {
        "ddpm": "",
        "ddim": "--sampler ddim --steps 2",
        "ddim_eta": "--sampler ddim --steps 2 --eta 1",
        "trailing": "--sampler ddim --steps 2 --spacing trailing",
        "other_seed": "--seed 1",
    }.items():
        output = tmp_path / f"{name}.png"
        assert main(f"sample {tiny_run} --count 4 --quiet --output {output} {extra}".split()) == 0
        drawn[name] = output.read_bytes()
    assert len(set(drawn.values())) == len(drawn)


def test_a_gif_of_the_way(tiny_run: Path, tmp_path: Path) -> None:
    gif = tmp_path / "way.gif"
    words = f"sample {tiny_run} --count 4 --quiet --output {tmp_path / 'a.png'} --gif {gif}"
    assert main(words.split()) == 0
    with Image.open(gif) as moving:
        assert moving.n_frames == 4  # one for each of the four steps


def test_the_tutorials_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--preset tutorial` with an array and one-hot labels, cut to one step."""
    rng = np.random.default_rng(0)
    np.save(tmp_path / "sprites.npy", rng.integers(0, 256, (200, 16, 16, 3), dtype=np.uint8))
    np.save(tmp_path / "labels.npy", np.eye(5)[rng.integers(0, 5, 200)])
    run = tmp_path / "run"
    words = f"train --preset tutorial --data {tmp_path / 'sprites.npy'} --quiet --steps 1"
    words += f" --labels {tmp_path / 'labels.npy'} --output {run} --batch-size 2"
    words += " --num-train-timesteps 3"  # for the sample grid; the rest is the tutorial's
    assert main(words.split()) == 0
    assert "note: no label reaches the network; --class-conditional" in capsys.readouterr().err
    config = json.loads((run / "training" / "config.json").read_text())
    assert config["model"]["channels"] == [128, 64]
    assert config["model"]["layers_per_block"] == 2
    assert config["train"]["optimizer"] == "adam"
    assert config["train"]["learning_rate"] == 1e-4
    preset = build_parser().parse_args(["train", "--preset", "tutorial"])
    from ddpm.train import run_config

    train = run_config(preset).train
    assert (train.epochs, train.batch_size) == (32, 100)
    assert run_config(preset).diffusion.num_train_timesteps == 500


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("train --backend jax", "invalid choice: 'jax'"),
        ("train --data cifar100", "no data set, file or folder 'cifar100'"),
        ("train --data missing.npy", "no data set, file or folder 'missing.npy'"),
        ("train --learning-rte 1", "ddpm train: unknown argument --learning-rte; see `ddpm train"),
        ("plot losses a --log", "ddpm plot losses: unknown argument --log"),
        ("sample a b", "ddpm sample: unknown argument b"),
        ("train --steps 0", "above 0, got '0'"),
        ("train --steps 5 --epochs 2", "give steps or epochs"),
        ("train --learning-rate -1", "learning_rate must be at least 1e-12"),
        ("train --dropout 1.5", "dropout must be"),
        ("train --channels 32,64,128,256,512 --attention no,no,no,no,no", "not a multiple of 16"),
        ("train --channels 30,60", "multiples of norm_num_groups=8, got 30"),
        ("train --beta-end 2", "beta_end"),
        ("train --rescale-betas-zero-snr", "rescale_betas_zero_snr"),
        ("train --resume nowhere", "no run 'nowhere'"),
        ("train --resume nowhere --seed 0", "leave out --seed"),
        ("train --resume nowhere --backend scratch", "leave out --backend"),
        ("train --resume nowhere --preset digits", "leave out --preset"),
        ("train --resume nowhere --force", "leave out --force"),
        ("train --device tpu", "no device 'tpu'"),
        ("sample nowhere", "no run 'nowhere'"),
        ("sample . --guidance x", "expected a number, got 'x'"),
        ("sample . --sampler euler", "invalid choice: 'euler'"),
        ("sample . --count 0", "above 0"),
        ("sample . --eta 0.5", "--eta is DDIM's"),
        ("sample . --output a.txt", "ends in .txt; expected .png"),
        ("sample . --output a.png --gif a.png", "ends in .png; expected .gif"),
        ("sample . --class-labels a", "from 0, got 'a'"),
        ("plot bars", "invalid choice: 'bars'"),
        ("plot data --data nothing", "no data set"),
        ("plot losses nowhere", "nowhere"),
        ("plot data --data digits --count 1798", "has only 1797 images"),
        ("plot data --output picture", "ends in nothing; expected .png"),
        ("fly", "invalid choice: 'fly'"),
    ],
)
def test_bad_input_costs_one_line(
    words: str,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert says in refused(words.split(), capsys)
    assert list(tmp_path.iterdir()) == []


def test_bad_arrays_and_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    images = np.zeros((6, 8, 8, 3), np.uint8)
    np.save("good.npy", images)
    np.save("floats.npy", images.astype(np.float32))
    np.save("nan.npy", np.full((6, 8, 8, 3), np.nan))
    np.save("flat.npy", images.reshape(6, -1))
    np.save("pickled.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.save("few.npy", np.zeros(5, np.int64))
    Path("cut.npy").write_bytes(Path("good.npy").read_bytes()[:200])
    before = sorted(p.name for p in tmp_path.iterdir())
    for words, says in {
        "floats.npy": "uint8",
        "nan.npy": "NaN",
        "flat.npy": "(6, 192)",
        "pickled.npy": "pickle",
        "cut.npy": "cut short",
        "good.npy --labels few.npy": "5",
        "good.npy --labels none.npy": "none.npy",
        "good.npy --class-conditional": "needs labels",
    }.items():
        assert says in refused(f"train --data {words}".split(), capsys), words
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_more_steps_than_t(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for backend in ("scratch", "diffusers"):
        words = f"sample {tiny_run} --steps 5 --backend {backend} --output {tmp_path / 'a.png'}"
        assert "steps must lie in 1..4" in refused(words.split(), capsys)
    assert list(tmp_path.iterdir()) == []


def test_diffusers_ddim_refuses_lists_it_gets_wrong(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = f"sample {tiny_run} --sampler ddim --steps 3 --spacing linspace --quiet --output"
    wrong = [*words.split(), str(tmp_path / "a.png")]
    assert "does not step to t=0, the next timestep" in refused(
        [*wrong, "--backend", "diffusers"], capsys
    )
    assert list(tmp_path.iterdir()) == []
    assert main(wrong) == 0  # ours takes the true previous step


def test_what_exists_is_kept(
    tiny_run: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    kept = tmp_path / "kept.png"
    kept.write_bytes(b"mine")
    sample = f"sample {tiny_run} --count 1 --quiet --output {kept}".split()
    assert "--force" in refused(sample, capsys)
    assert kept.read_bytes() == b"mine"
    assert main([*sample, "--force"]) == 0
    assert kept.read_bytes() != b"mine"

    before = (tiny_run / "training" / "config.json").read_bytes()
    assert "--force" in refused(["train", *TINY, "--output", str(tiny_run)], capsys)
    assert (tiny_run / "training" / "config.json").read_bytes() == before

    stranger = tmp_path / "photos"
    stranger.mkdir()
    (stranger / "cat.txt").write_text("meow")
    assert "no run" in refused(["train", *TINY, "--output", str(stranger), "--force"], capsys)
    assert (stranger / "cat.txt").read_text() == "meow"


def test_a_place_where_nothing_can_be_written_is_refused_before_the_work(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, folder = tmp_path / "file", tmp_path / "folder.png"
    file.write_text("mine")
    folder.mkdir()
    for words in (
        f"train --output {file / 'run'}",  # a whole run of the preset, if it were not refused
        f"sample {tiny_run} --output {file / 'deep' / 'a.png'}",
        f"plot data --output {file / 'a.png'}",
    ):
        assert f"{file} is a file" in refused(words.split(), capsys)
    assert "is a folder" in refused(f"sample {tiny_run} --output {folder} --force".split(), capsys)
    assert file.read_text() == "mine"
    assert list(folder.iterdir()) == []


def test_a_place_that_takes_no_file_is_refused_before_the_work(
    tiny_run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Tried, not asked: what `os.access` allows, a file system may still refuse."""

    def full(**options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    for words in (
        f"train --output {tmp_path / 'run'}",
        f"sample {tiny_run} --output {tmp_path / 'deep' / 'a.png'}",
    ):
        capsys.readouterr()
        assert main(words.split()) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert f"no room to write {tmp_path}: No space left on device" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["missing", "truncated", "foreign"])
@pytest.mark.parametrize(
    "name",
    [
        "model_index.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "scheduler/scheduler_config.json",
    ],
)
@pytest.mark.parametrize("backend", ["scratch", "diffusers"])
def test_damaged_runs(
    backend: str,
    name: str,
    damage: str,
    tiny_run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    if damage == "missing":
        (run / name).unlink()
    elif damage == "truncated":
        (run / name).write_bytes((run / name).read_bytes()[:20])
    else:
        (run / name).write_bytes(b"[1, 2, 3]")
    words = f"sample {run} --backend {backend} --quiet --output {tmp_path / 'a.png'}"
    assert str(run) in refused(words.split(), capsys)
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize("name", ["scratch", "compare"])
def test_a_module_that_hides_ours(name: str, tmp_path: Path) -> None:
    (tmp_path / f"{name}.py").write_text("x = 1\n")
    shown = subprocess.run(
        [sys.executable, "-m", "ddpm.cli", "train", *TINY, "--output", "run"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert shown.returncode == 2
    assert shown.stderr.count("\n") == 1
    assert f"hides this project's package '{name}'" in shown.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "words",
    [
        "data --data sprites --count 12",
        "data --data FEW",
        "losses RUN RUN",
        "schedules --num-train-timesteps 50",
        "noising --data digits",
        "trajectory RUN",
        "difference RUN",
        "histograms RUN --count 4",
    ],
)
def test_every_figure_is_drawn(words: str, tiny_run: Path, tmp_path: Path) -> None:
    output, few = tmp_path / "figure.png", tmp_path / "few.npy"
    np.save(few, np.arange(3 * 64, dtype=np.uint8).reshape(3, 8, 8))  # fewer than are shown
    argv = ["plot", *words.replace("RUN", str(tiny_run)).replace("FEW", str(few)).split()]
    argv += ["--output", str(output)]
    assert main(argv) == 0
    with Image.open(output) as picture:
        low, high = picture.convert("L").getextrema()
    assert (low, high) != (255, 255)


@pytest.mark.parametrize("prefix", ["", "hub:"])
def test_a_name_of_the_hub_is_told_how_it_becomes_a_folder(
    prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refused(["sample", f"{prefix}google/ddpm-cifar10-32"], capsys)
    assert error.startswith(f"ddpm sample: no folder '{prefix}google/ddpm-cifar10-32' here; ")
    assert "hub:google/ddpm-cifar10-32 is not read by name yet" in error
    assert "`hf download google/ddpm-cifar10-32 --local-dir ddpm-cifar10-32`" in error


@pytest.mark.parametrize("run", ["runs/none", "none", "/none/at-all", "../none"])
def test_a_run_that_is_not_there_is_no_name_of_the_hub(
    run: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(["sample", run], capsys) == (
        f"ddpm sample: no run '{run}' here; `ddpm train` makes one\n"
    )


@pytest.mark.parametrize("own", [None, "7"])
def test_threads_spin_a_little_unless_the_user_says_how_long(own: str | None) -> None:
    program = (
        "import os; from ddpm.cli import main; main(['explain', '5']);"
        "print(os.environ['OMP_WAIT_POLICY'], os.environ['GOMP_SPINCOUNT'])"
    )
    taken = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    kept = {name: value for name, value in os.environ.items() if name not in taken}
    shown = subprocess.run(
        [sys.executable, "-c", program], env=kept | ({"GOMP_SPINCOUNT": own} if own else {}),
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert shown.splitlines()[-1] == f"passive {own or 1000}"
