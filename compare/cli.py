"""`ddpm compare`: arguments, the child process that runs a candidate, the report.

Nothing here imports torch before a comparison runs, so that `--help` is quick. The candidate runs
in a child process: it may hang, crash or end the interpreter, and the answer is still one line.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TextIO

from compare.measure.check import Check
from compare.verdict.report import Report, stage_line

BACKENDS = {"scratch": "scratch:DDPMScheduler", "diffusers": "diffusers:DDPMScheduler"}
EXAMPLES = """examples:
  ddpm compare                                     both backends against the papers and each other
  ddpm compare --candidate mine.py:MyScheduler     which formula of mine is wrong?
  ddpm compare --candidate mine.py:M --only mean   one stage alone
  ddpm compare --template > mine.py                a scheduler to start from
  ddpm compare --run runs/NAME --level full        a trained run, drawn by parts of both backends
exit status: 0 right, 1 differs, 2 could not be run"""
TEMPLATE = '''"""A DDPM scheduler to be judged: ddpm compare --candidate mine.py:MyScheduler

Replace the bodies by your own code. Add a keyword to __init__ (beta_schedule, variance_type,
clip_sample, prediction_type, timestep_spacing, ...) and it is judged with every value it takes.
"""

import torch


class MyScheduler:
    def __init__(self, num_train_timesteps=1000, beta_start=0.0001, beta_end=0.02):
        betas = torch.linspace(beta_start, beta_end, num_train_timesteps, dtype=torch.float64)
        self.alphas_cumprod = torch.cumprod(1 - betas, dim=0)  # (T,)
        self.set_timesteps(num_train_timesteps)

    def set_timesteps(self, n):
        T = len(self.alphas_cumprod)
        self.timesteps = torch.arange(n).flip(0) * (T // n)  # (n,), falling: `leading`

    def add_noise(self, x0, noise, t):
        alpha_bar = self.alphas_cumprod[t].reshape(-1, 1, 1, 1)  # (b, 1, 1, 1)
        signal, noise_level = alpha_bar.sqrt().to(x0.dtype), (1 - alpha_bar).sqrt().to(x0.dtype)
        return signal * x0 + noise_level * noise

    def step(self, model_output, t, x_t, generator=None):
        """x_t -> x_{t-1}; the model predicts the noise."""
        after = self.timesteps[self.timesteps < t]
        alpha_bar = float(self.alphas_cumprod[t])
        alpha_bar_prev = float(self.alphas_cumprod[after.max()]) if len(after) else 1.0
        alpha = alpha_bar / alpha_bar_prev
        beta = 1 - alpha
        x_0 = (x_t - (1 - alpha_bar) ** 0.5 * model_output) / alpha_bar**0.5
        mean = alpha_bar_prev**0.5 * beta / (1 - alpha_bar) * x_0
        mean = mean + alpha**0.5 * (1 - alpha_bar_prev) / (1 - alpha_bar) * x_t
        if not len(after):
            return mean
        variance = (1 - alpha_bar_prev) / (1 - alpha_bar) * beta
        z = torch.randn(x_t.shape, generator=generator, dtype=x_t.dtype)
        return mean + variance**0.5 * z
'''


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `ddpm compare`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    whose = parser.add_mutually_exclusive_group()
    whose.add_argument("--candidate", metavar="SPEC", help="FILE.py:NAME or package.module:NAME")
    whose.add_argument("--backend", choices=sorted(BACKENDS), help="judge one backend alone")
    whose.add_argument(
        "--run", metavar="RUN", help="draw from a trained run with every combination of both"
    )
    parser.add_argument(
        "--only", metavar="STAGE", help="one stage of --list, or the id of one check"
    )
    parser.add_argument("--level", choices=("quick", "full"), default="quick")
    parser.add_argument("--seed", type=int, default=0, help="of the probes (default 0)")
    parser.add_argument(
        "--timeout", type=_seconds, default=300.0, metavar="S", help="seconds (default 300)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report as JSON")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the report as a page")
    parser.add_argument("--force", action="store_true", help="overwrite files that exist")
    parser.add_argument("--list", action="store_true", help="say what each stage judges")
    parser.add_argument("--template", action="store_true", help="print a scheduler to start from")


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if (value := float(text)) > 0:
            return value
    raise argparse.ArgumentTypeError(f"expected more than 0 seconds, got {text!r}")


def _stages() -> list:
    """Every stage, in order; torch is imported here."""
    from compare import backends, stages

    return [*stages.ALL, *backends.ALL]


def _no_stage(only: str | None) -> str:
    names = [] if only is None else [stage.name for stage in _stages()]
    if only is None or only.partition("/")[0] in names:
        return ""
    return f"no stage {only!r}; stages are {', '.join(names)}"


def main(args: argparse.Namespace) -> int:
    """Runs the comparison; returns 0 right, 1 differs, 2 could not be run."""
    if args.template:
        print(TEMPLATE, end="")
        return 0
    if args.list:
        for stage in _stages():
            print(f"{stage.name:10} {stage.looks_at}")
        return 0
    problem = _no_stage(args.only)
    if problem:
        return _fail(problem)
    for path in (args.json, args.html):
        problem = _not_writable(path, args.force)
        if problem:
            return _fail(problem)
    if args.run and args.only not in (None, "pipeline"):
        return _fail(f"--run judges the stage pipeline alone; leave --only {args.only} out")
    return _in_child(args)


def _not_writable(path: Path | None, force: bool) -> str:
    if path is None:
        return ""
    if path.exists() and not force:
        return f"{path} exists; give another name, or --force to overwrite it"
    if not path.resolve().parent.is_dir():
        return f"no such folder: {path.resolve().parent}"
    return ""


def _fail(text: str) -> int:
    _print(f"ddpm compare: {text}", sys.stderr)
    return 2


def _in_child(args: argparse.Namespace) -> int:
    spec = {
        "candidate": args.candidate or BACKENDS.get(args.backend or ""),
        "run": args.run,
        "only": args.only,
        "level": args.level,
        "seed": args.seed,
        "json": str(args.json) if args.json else None,
        "html": str(args.html) if args.html else None,
    }
    here = str(Path(__file__).resolve().parent.parent)
    path = os.pathsep.join(p for p in (here, os.environ.get("PYTHONPATH", "")) if p)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        log.touch()
        command = [sys.executable, "-P", "-m", "compare.cli", json.dumps(spec), str(log)]
        child = subprocess.Popen(
            command, env=os.environ | {"PYTHONPATH": path}, start_new_session=True
        )
        try:
            status = child.wait(args.timeout)
        except subprocess.TimeoutExpired:
            _kill(child)
            doing = (log.read_text().splitlines() or ["starting"])[-1]
            return _fail(f"no answer within {args.timeout:g} s; it was {doing} (--timeout)")
        except KeyboardInterrupt:
            _kill(child)
            return _fail("interrupted")
        lines = log.read_text().splitlines()
    if lines and lines[-1] == f"done {status}":
        return status
    name = spec["candidate"] or "the comparison"
    return _fail(f"{name} ended the process (exit status {status}) before the verdict")


def _kill(child: subprocess.Popen) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def child(spec: dict, log: Path) -> int:
    """In the child process: judges, prints, writes; says in `log` what it is at."""
    sys.path.append(os.getcwd())
    from compare.verdict.judge import judge

    def say(line: str) -> None:
        with log.open("a") as stream:
            stream.write(line + "\n")

    def progress(stage: str, checks: list[Check]) -> None:
        _print(stage_line(stage, checks), screen)
        say(f"past stage {stage}")

    screen = sys.stderr
    say("loading the candidate and reading its conventions")
    command = "ddpm compare" + (f" --candidate {spec['candidate']}" if spec["candidate"] else "")
    command += " --level full" if spec["level"] == "full" else ""
    command += f" --seed {spec['seed']}" if spec["seed"] else ""
    if spec["run"]:
        from compare.backends.organ_swap import judge_run

        say(f"drawing from {spec['run']}")
        report = judge_run(spec["run"], spec["level"], spec["seed"])
    else:
        report = judge(
            spec["candidate"], spec["level"], spec["seed"], spec["only"], progress, command=command
        )
    if report.exit_status == 2:
        _fail(report.verdict)
    else:
        _print(str(report), sys.stdout)
    _write(report, spec)
    say(f"done {report.exit_status}")
    return report.exit_status


def _print(text: str, stream: TextIO) -> None:
    """Prints, unless nobody reads on: `| head` has seen enough."""
    with contextlib.suppress(BrokenPipeError):
        print(text, file=stream, flush=True)


def _write(report: Report, spec: dict) -> None:
    if spec["json"]:
        _whole(Path(spec["json"]), json.dumps(report.to_dict(), indent=1) + "\n")
    if spec["html"]:
        from compare.verdict.page import page

        _whole(Path(spec["html"]), page(report))


def _whole(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


if __name__ == "__main__":
    spec, log = json.loads(sys.argv[1]), Path(sys.argv[2])
    sys.argv = [spec["candidate"] or "ddpm compare"]  # not a candidate's business
    status = child(spec, log)
    os._exit(status)  # a candidate's threads and exit handlers do not get to change the answer
