"""Work in a process of its own, begun now and asked for later: two cores judge two schedulers."""

import json
import os
import sys
from collections.abc import Callable

from compare.verdict.report import Report

Work = Callable[[], Report]


def begun(work: Work) -> Work:
    """Begins the work in a fork of this process; where that fails, it is done when asked for.

    Only for a process that has no threads yet, and no thread pool: a fork has none of them.
    """
    if sys.platform != "linux":  # what macOS's own libraries start does not outlive a fork
        return work
    reading, writing = os.pipe()
    if os.fork() == 0:
        try:
            os.close(reading)
            with open(writing, "w") as stream:
                json.dump(work().to_dict(), stream)
        finally:
            os._exit(0)
    os.close(writing)

    def answer() -> Report:
        with open(reading) as stream:
            text = stream.read()
        return Report.of_dict(json.loads(text)) if text else work()

    return answer
