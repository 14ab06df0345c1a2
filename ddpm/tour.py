"""The tour: both backends from one start, one model drawn from by both, a verdict, a page."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from workbench import checkpoints, curves, data, page, plotting, runs, trainer
from workbench.config import DIGITS, RunConfig
from workbench.files import write_text
from workbench.metrics import Metrics
from workbench.sampling import Samples, sample

SHARED_STEPS = 150  # trained by both backends, to lay the loss curves over each other
COUNT = 16  # pictures in a grid
SEED = 0
PAGE, MODEL, MOVING = "index.html", "model", "denoising.gif"
FIGURES = ("losses", "whole_run", "digits", "trajectory")
PICTURES = (*(f"{name}.png" for name in FIGURES), MOVING)
CONTENTS = {PAGE, MODEL, *PICTURES}


def run(
    folder: Path,
    config: RunConfig = DIGITS,
    shared_steps: int = SHARED_STEPS,
    judge: Callable[[], Any] | None = None,
) -> Path:
    """Run the whole tour and write `index.html`.

    Args:
        folder: made anew; what an earlier tour left there is replaced.
        config: of the run that goes on to its end, by scratch.
        shared_steps: how many of its steps Diffusers trains too.
        judge: what gives the report; None for `compare.run`.

    Returns:
        The page.

    Raises:
        ValueError: `folder` holds something that no tour wrote.
    """
    prepare(folder)
    dataset = data.load(config.data)
    print(
        f"[1/4] {shared_steps} steps by both backends, from one start, on the same random numbers"
    )
    theirs = losses_of(replace(config, backend="diffusers"), dataset, shared_steps)
    model = folder / MODEL
    total_steps = config.train.total_steps(len(dataset.images))
    ours = losses_of(config, dataset, total_steps, model)
    apart = max(abs(a - b) for a, b in zip(ours, theirs, strict=False))
    print(f"      largest difference of the two losses: {apart:.1e}")

    print(f"[2/4] {COUNT} digits from the trained run, drawn by both backends")
    drawn = {name: draw(model, name) for name in ("scratch", "diffusers")}
    apart_x = (drawn["scratch"].images - drawn["diffusers"].images).abs().max().item()
    difference = apart_x / 2  # of images in [0, 1]
    print(f"      largest difference of a pixel, of 1: {difference:.1e}")

    print("[3/4] ddpm compare")
    import compare

    report = compare.run() if judge is None else judge()
    print(report)

    print("[4/4] the page")
    draw_figures(folder, {"scratch": ours, "Diffusers": theirs}, drawn)
    index = folder / PAGE
    write_text(index, write_page(shared_steps, apart, difference, report, folder))
    return index


def draw_figures(folder: Path, losses: dict[str, list[float]], drawn: dict[str, Samples]) -> None:
    """The pictures of the page: curves of the losses, grids, and the way from noise.

    Args:
        folder: where to write them.
        losses: of scratch, over the whole run, and of Diffusers, over the shared steps.
        drawn: by either backend.
    """
    frames = drawn["scratch"].frames
    shown = [frames[i] for i in sorted({round(i * (len(frames) - 1) / 7) for i in range(8)})]
    shared = len(losses["Diffusers"])
    figures = {
        "losses": curves.loss_curves({name: each[:shared] for name, each in losses.items()}),
        "whole_run": curves.loss_curves({"scratch": losses["scratch"]}),
        "digits": plotting.side_by_side(
            drawn["scratch"].images, drawn["diffusers"].images, ("scratch", "Diffusers")
        ),
        "trajectory": plotting.trajectory_strip(
            [frame.x_prev[:4] for frame in shown],
            [frame.x_0[:4] for frame in shown],
            [frame.timestep for frame in shown],
        ),
    }
    for name, figure in figures.items():
        plotting.save(figure, folder / f"{name}.png")
    plotting.save_gif([frame.x_prev for frame in frames], folder / MOVING)


def prepare(folder: Path) -> None:
    """Empty the folder of an earlier tour, or make it.

    Raises:
        ValueError: it is no folder, or holds something that no tour wrote; nothing is removed then.
    """
    if folder.exists():
        if not folder.is_dir():
            raise ValueError(f"{folder} is a file; give the name of a folder for the tour")
        foreign = sorted(path.name for path in folder.iterdir() if path.name not in CONTENTS)
        if foreign:
            raise ValueError(
                f"{folder} holds {foreign[0]}, which no tour wrote; choose another --output"
            )
        if any(folder.iterdir()):
            try:
                runs.load_config(folder / MODEL)
            except ValueError as error:
                raise ValueError(
                    f"{folder} exists and holds no tour; choose another --output ({error})"
                ) from None
        shutil.rmtree(folder)
    folder.mkdir(parents=True)


def losses_of(
    config: RunConfig, dataset: data.Dataset, steps: int, folder: Path | None = None
) -> list[float]:
    """The losses of the first `steps` steps of a run; with a folder, save it there."""
    from tqdm.auto import tqdm

    unet, scheduler = trainer.new_parts(config, dataset)
    state = trainer.new_state(unet, config.train)
    metrics = Metrics(config.train.batch_size, len(dataset.images))
    training = trainer.training_steps(state, scheduler, dataset, config.train, config.seed)
    for _ in tqdm(range(steps), desc=config.backend):
        metrics.add(next(training))
    metrics.read()
    if folder is not None:
        checkpoints.save(folder, config, state, scheduler, metrics.rows())
    return metrics.losses


def draw(run_folder: Path, backend: str) -> Samples:
    """`COUNT` pictures of a run by one backend, with the way they took."""
    unet, scheduler = runs.load_parts(run_folder, backend)
    steps = scheduler.config.num_train_timesteps
    return sample(
        backend, unet, scheduler, COUNT, seed=SEED, steps=steps, record_every=max(steps // 50, 1)
    )


def write_page(
    shared_steps: int, apart: float, difference: float, report: Any, folder: Path
) -> str:
    """The page of the tour, with the pictures that lie in `folder`."""
    verdict = "They are the same model." if report.passed else "They are not the same: see below."
    return page.render(
        Path(__file__).with_name("tour.html"),
        title="DDPM, side by side: the tour",
        lead=f"One diffusion model, written twice: in plain PyTorch and with Diffusers. {verdict}",
        shared_steps=shared_steps,
        apart=apart,
        difference=difference,
        pictures={name: page.embedded(folder / name) for name in PICTURES},
        verdict=str(report),
        model=folder / MODEL,
    )
