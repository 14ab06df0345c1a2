"""In the child process: watches the parent, judges, prints, writes the files."""

import contextlib
import gc
import json
import os
import shlex
import signal
import sys
from pathlib import Path
from typing import Any, TextIO

from compare.candidate.door.reading import told_by
from compare.expected import as_expected, with_expected
from compare.measure.check import Check
from compare.process import refuse, say
from compare.verdict.report import Report, stage_line
from workbench.files import NO_ROOM, write_text


class Child:
    """One comparison, in a process that it may not survive.

    Args:
        spec: candidate, run, only, level, seed, reading, expect, and the files to write.
        log: where it says what it is at, for a parent that waits.
    """

    def __init__(self, spec: dict[str, Any], log: Path):
        self.spec, self.log = spec, log
        # Taken before the candidate may close or replace them; what it prints itself goes nowhere.
        self.out, self.screen = _copy(sys.stdout), _copy(sys.stderr)
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)

    def run(self) -> int:
        """The exit status, after all is printed and written."""
        try:
            report = with_expected(self._report(), self.spec["expect"])
            self._show(report)
            status = self._write(report)
        except BaseException as error:
            from compare.candidate.load import our_line

            text = f"compare itself failed ({our_line(error)}); please report it"
            status = refuse(text, self.screen)
        self.at(f"done {status}")
        return status

    def at(self, line: str) -> None:
        """Says what it is at."""
        with self.log.open("a") as stream:
            stream.write(line + "\n")

    def _progress(self, stage: str, checks: list[Check]) -> None:
        told = [as_expected(check, self.spec["expect"]) for check in checks]
        say(stage_line(stage, told), self.screen)
        self.at(f"past stage {stage}")

    def _report(self) -> Report:
        candidate, run, level, seed = (self.spec[n] for n in ("candidate", "run", "level", "seed"))
        if run:
            from compare.backends.organ_swap import judge_run

            self.at(f"drawing from {run}")
            return judge_run(run, level, seed)
        from compare.verdict.elsewhere import begun
        from compare.verdict.judge import judge

        gc.freeze()  # what is imported stays: no collection need look at it again
        self.at("loading the candidate and reading its conventions")
        command = "ddpm compare" + (f" --candidate {candidate}" if candidate else "")
        command += " --level full" if level == "full" else ""
        command += f" --seed {seed}" if seed else ""
        command += "".join(f" --reading {shlex.quote(word)}" for word in self.spec["reading"])
        only, told = self.spec["only"], told_by(self.spec["reading"])
        return judge(
            candidate,
            level,
            seed,
            only,
            self._progress,
            command=command,
            beside=self._is_shown_beside(),
            begin=begun,
            reading=told,
        )

    def _is_shown_beside(self) -> bool:
        """True if the backends are judged too: files show them beside the candidate, a screen does
        only without one."""
        return bool(not self.spec["candidate"] or self.spec["json"] or self.spec["html"])

    def _show(self, report: Report) -> None:
        judged = any(c.status not in ("error", "note") for c in report.checks)
        if report.exit_status == 2 and not judged:
            refuse(report.verdict, self.screen)
        else:
            say(str(report), self.out)

    def _write(self, report: Report) -> int:
        files = {}
        if self.spec["json"]:
            files[self.spec["json"]] = json.dumps(report.to_dict(), indent=1) + "\n"
        if self.spec["html"]:
            from compare.verdict.page import page

            files[self.spec["html"]] = page(report)
        for name, text in files.items():
            try:
                write_text(Path(name), text)
            except OSError as error:
                if error.errno in NO_ROOM:  # as every verb says it
                    refuse(f"no room to write {name}: {error.strerror}", self.screen)
                    return 1
                return refuse(f"{name} cannot be written: {error.strerror}", self.screen)
        return report.exit_status


def _copy(stream: TextIO) -> TextIO:
    return open(os.dup(stream.fileno()), "w", encoding=stream.encoding, errors=stream.errors)


def end_with_parent(pipe: int) -> None:
    """Leaves a watcher in this group that kills it once the parent has closed its end of the pipe.

    A process, as a thread may wait for ever for a candidate that holds the interpreter; and no
    child of ours, as a candidate may wait for all of its children.
    """
    first = os.fork()
    if first:
        os.waitpid(first, 0)
        return
    if os.fork():
        os._exit(0)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.read(pipe, 1)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    end_with_parent(int(sys.argv[3]))  # first of all: nothing runs beside it yet
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is the parent's business
    child = Child(json.loads(sys.argv[1]), Path(sys.argv[2]))
    sys.path.append(os.getcwd())
    sys.argv = [child.spec["candidate"] or "ddpm compare"]  # not a candidate's business
    os._exit(child.run())  # a candidate's threads and exit handlers do not change the answer
