"""The role `sample`: a candidate's own loop, judged call by call as its model sees it."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from compare.candidate.load import raised
from compare.candidate.scheduler import Broken
from compare.candidate.spy import Spy, exact_denoiser, exact_output
from compare.candidate.subject import Subject
from compare.measure.ledger import Ledger
from compare.measure.loop_steps import Run
from compare.measure.noise_law import SIX
from compare.measure.probe import alpha_bars
from compare.measure.replay import drawn
from compare.measure.tolerances import TOLERANCES
from compare.oracle import F64, Loop, Oracle
from compare.stages.transitions import transitions

SHAPE = (32, 2, 8, 8)


def _ask(subject: Subject, table: Tensor) -> Run:
    assert subject.adapter is not None
    role: Any = subject.adapter.sample
    kind = subject.setting.prediction_type
    answer = exact_denoiser(kind, table)
    seed = 11 + 1000 * subject.seed

    def call(model: Spy, shape: tuple[int, ...], generator: Any) -> Tensor:
        torch.default_generator.manual_seed(seed)
        try:
            result = torch.as_tensor(role(model, shape, generator))
        except (Exception, SystemExit) as error:
            raise Broken(f"sample raises {raised(error)}") from None
        if tuple(result.shape) != shape:
            text = f"sample returned shape {tuple(result.shape)}, asked for {shape}"
            raise Broken(text, raised=False)
        if not model.seen:
            raise Broken("sample never calls the model", raised=False)
        return result.detach()

    model = Spy(_restless(kind, table), table)
    result = call(model, SHAPE, torch.Generator().manual_seed(seed))
    again = call(Spy(_restless(kind, table), table), SHAPE, torch.Generator().manual_seed(seed))
    few = (3, 1, 2, 2)
    try:
        streams = [torch.Generator().manual_seed(s) for s in (1, 2, 3)]
        many = call(Spy(answer, table), few, streams)
        alone = [
            call(Spy(answer, table), (1, 1, 2, 2), [torch.Generator().manual_seed(s)])
            for s in (1, 2, 3)
        ]
        apart = (many, torch.cat(alone))
    except Broken:
        apart = None
    far = None
    if result.dtype == torch.uint8:
        far = call(
            Spy(_far_outside(subject, table), table), SHAPE, torch.Generator().manual_seed(1)
        )
    x = torch.stack([x for x, *_ in model.seen])
    out = torch.stack([out for _, _, out, _ in model.seen])
    return Run(
        x,
        torch.stack([t[0] for _, t, *_ in model.seen]),
        out,
        any(training for *_, training in model.seen),
        model.training,
        result,
        again,
        apart,
        far,
        model.unit > 1,
        drawn(x, out, seed),
    )


def _restless(kind: str, table: Tensor) -> Any:
    """The exact denoiser of "sample", off by something else at each call, as what it is asked for.

    So the output is no function of x_t, and each has a coefficient of its own in x_{t-1}.
    """
    exact, stream = exact_denoiser("sample", table), torch.Generator().manual_seed(3)

    def answer(x: Tensor, t: Tensor) -> Tensor:
        off = 0.6 * torch.rand(x.shape, generator=stream, dtype=F64) - 0.3
        return exact_output(kind, table, x, t, (exact(x, t) + off).clamp(-0.95, 0.95))

    return answer


def _far_outside(subject: Subject, table: Tensor) -> Any:
    """A denoiser sure of a picture half brighter than white and half darker than black."""

    def answer(x: Tensor, t: Tensor) -> Tensor:
        x_0 = torch.full_like(x, 1.3)
        x_0[..., x.shape[-1] // 2 :] = -1.3
        return exact_output(subject.setting.prediction_type, table, x, t, x_0)

    return answer


def judge_loop(ledger: Ledger, subject: Subject, oracle: Oracle) -> None:
    """What the model was asked, from call to call, and the pictures at the end."""
    setting, loop = subject.setting, oracle.loop
    table = alpha_bars(subject, Oracle(), setting)
    run = subject.remember(("sample",), lambda: _ask(subject, table))
    n = len(run.t)
    told, visited, after = _visited(ledger, subject, run, oracle, table)
    ledger.judge("loop/eval", run.training != loop.evaluates,
                 "the model is in the mode looked for", "the model samples in training mode",
                 catches="mistake 95")  # fmt: skip
    if not run.left_training and loop.evaluates:
        ledger.add("loop/mode", "note", "the model is left in eval mode")
    _start(ledger, run, oracle)
    if told and n > 1:
        stepping = replace(oracle.stepping(), loop=loop)
        path = tuple(zip(visited, after, strict=True))
        for check in transitions(subject, ledger.strict, run, stepping, table, path):
            ledger.put(check)
    ledger.judge(
        "loop/replay",
        bool((run.result == run.again).all()),
        "the same seed gives the same pictures",
        "the same seed gives other pictures",
    )
    if run.apart is not None:
        own = bool((run.apart[0] == run.apart[1]).all())
        ledger.judge("loop/generators", own == loop.own_streams,
                     "one generator for each image: as looked for",
                     "with one generator for each image, an image depends on its batch-mates",
                     catches="mistake 106")  # fmt: skip


def _visited(
    ledger: Ledger, subject: Subject, run: Run, oracle: Oracle, table: Tensor
) -> tuple[bool, list[int], list[int]]:
    """Whether the model was told right, the steps that it stands at, and the step after each."""
    n, T, loop = len(run.t), subject.setting.num_train_timesteps, oracle.loop
    full = n >= T - 1
    told = [int(t) for t in run.t]
    base = int(max(told) == T)
    counted = [t - base for t in told]
    count = T if full else n + (loop.stops_at > 0)
    paths: dict[str, tuple[list[int], list[int]]] = {}
    for spacing in ("leading",) if full else ("leading", "trailing", "linspace"):
        exact, unit = oracle.timesteps(replace(subject.setting, timestep_spacing=spacing), count)
        listed = (exact.to(F64) / unit).round().long().tolist()
        visited, after = listed, [*listed[1:], -1]
        if loop.stops_at:
            visited, after = visited[:-1], after[:-1]
        paths[spacing] = (visited, after) if loop.falls else (visited[::-1], after[::-1])
    found = next((s for s, (visited, _) in paths.items() if counted == visited), None)
    if loop.tells == "index":
        places = [*range(n)]
        found = "leading" if not full and counted in (places, places[::-1]) else None
    if base:
        ledger.add("loop/t-base", "note", "the model is told t from 1")
    if run.scaled:
        ledger.add("loop/t-scale", "note", "the model is told t / T")
    if found is None and not full and loop == Loop() and _may_visit(counted, table):
        ledger.add("loop/visits", "close", f"the model is asked at {_ends(told)}, a list of its "
                   "own (a convention)", measured=float(n))  # fmt: skip
        return True, counted, [*counted[1:], -1]
    right, _ = next(iter(paths.values()))
    ledger.judge("loop/visits", found is not None, f"the model is asked at {_ends(told)}",
                 f"the model is asked at {_ends(told)}, should be {_ends(right)}",
                 measured=float(n), catches="mistakes 78-80")  # fmt: skip
    # A model that is told another t answers for it: a clip may act, and no step can be judged.
    return (found is not None and loop.tells == "t", *paths[found or "leading"])


def _may_visit(listed: list[int], table: Tensor) -> bool:
    """True if a list falls from where nothing is left of the image to near t = 0."""
    stride = -(-len(table) // len(listed))
    starts = listed[0] >= len(table) - stride or float(table[listed[0]].sqrt()) < 0.05
    falls = all(a > b for a, b in pairwise(listed))
    return starts and falls and 0 <= listed[-1] <= stride


def _ends(listed: list[int]) -> str:
    return str(listed) if len(listed) < 6 else f"{listed[0]}, {listed[1]}, ..., {listed[-1]}"


def _start(ledger: Ledger, run: Run, oracle: Oracle) -> None:
    x = run.x[0]
    uniform = oracle.loop.start == "uniform"
    centre, spread = (0.5, 12**-0.5) if uniform else (0.0, 1.0)
    allowed = SIX * x.numel() ** -0.5
    off = max(abs(float(x.mean()) - centre), abs(float(x.std()) - spread))
    ledger.judge("loop/start", off <= allowed, "x_T has the law looked for",
                 f"x_T has mean {float(x.mean()):.3f}, std {float(x.std()):.3f}, should be 0, 1",
                 measured=off, allowed=allowed, reason=TOLERANCES["law"].reason,
                 catches="mistake 63")  # fmt: skip
