"""Waiting for the kernel to settle: poll until it is as expected, never sleep a fixed time.

The kernel frees in the background (RCU, workqueues): what a step lets go of disappears within
15-600 ms.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_FIRST, _LONGEST = 0.0001, 0.005  # seconds between two looks; doubled up to the longest


def wait_until(
    read: Callable[[], T], equal: Callable[[T], bool], deadline: float = 3.0
) -> tuple[T, bool]:
    """Read until `equal` says yes, for at most `deadline` seconds: the last value, and the answer.

    It reads at least once; what `read` raises goes through.
    """
    end, pause = time.monotonic() + deadline, _FIRST
    while True:
        last_look = time.monotonic() >= end
        value = read()
        if equal(value):
            return value, True
        if last_look:
            return value, False
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST)
