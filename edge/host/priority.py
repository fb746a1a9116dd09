"""The scheduling class of a thread (Linux, sched(7))."""

from __future__ import annotations

import contextlib
import os


def step_back() -> None:
    """Let a helping thread of a real-time process run below the broker and the line, but above ordinary work.

    It must not be ordinary work itself: a thread that is preempted while it holds the interpreter stops the line.
    """
    if os.sched_getscheduler(os.getpid()) & ~os.SCHED_RESET_ON_FORK == os.SCHED_FIFO:
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
