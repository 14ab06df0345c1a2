"""What the system's kernel says of the memory of this process; only Linux has such an account."""

from pathlib import Path

STATUS = Path("/proc/self/status")


def of_process(entry: str) -> int:
    """Bytes of an entry of the account, such as `VmRSS` (now) or `VmHWM` (the most so far); 0 where
    that is not told."""
    if not STATUS.exists():
        return 0
    for line in STATUS.read_text().splitlines():
        if line.startswith(f"{entry}:"):
            return int(line.split()[1]) * 1024
    return 0
