"""Checks outside the server: one spawned process per job, with progress and a real cancel.

The server stays answerable while Z3 thinks, and cancel means that the process ends at once, even
in the middle of a question to the solver. A process takes one job and goes: a solver that ran
away leaves nothing behind. Verdicts are kept per (card, property) for everybody who is served;
cards are told apart by content, so that two uploads of one name don't mix.
"""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Final

from bpflife.model.cards import AttachCard
from bpflife.model.documents import InputError, Verdict
from bpflife.model.properties import CATALOGUE

LONGEST: Final = 900.0  # seconds; then a job is stopped and says so
MAX_KEPT: Final = 2000  # verdicts; the oldest go first
MAX_WAITING: Final = 60

Key = tuple[str, str]  # digest of the card, property


def digest(card: AttachCard) -> str:
    """What tells cards apart: their content."""
    return hashlib.sha256(card.model_dump_json(by_alias=True).encode()).hexdigest()


# ---------------------------------------------------------------------------------------------
# in the worker


def work(card: AttachCard, properties: list[str], out: Connection) -> None:
    """The worker's main function: sends ("say" | "verdict" | "failed", text), and receives names
    of properties that nobody waits for any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which ends us
    parent = os.getppid()
    dropped: set[str] = set()

    def say(text: str) -> None:
        if os.getppid() != parent:  # the server is gone: nobody waits for this
            os._exit(1)
        out.send(("say", text[:200]))

    try:
        from bpflife.proofs.check import Checker

        checker = Checker(card, say)
        for name in properties:
            while out.poll():
                dropped.add(out.recv())
            if name not in dropped:
                out.send(("verdict", checker.verdict(CATALOGUE[name]).model_dump_json()))
    except InputError as e:
        out.send(("failed", str(e)))
    except Exception as e:
        out.send(("failed", f"the check stopped: {type(e).__name__}: {str(e)[:200]}"))


# ---------------------------------------------------------------------------------------------
# in the server


@dataclass
class Job:
    """A card and the properties that are still to be decided, in order, with who waits for each."""

    card: AttachCard
    digest: str
    wants: dict[str, set[str]]
    progress: str = "waiting for its turn"
    process: BaseProcess | None = None
    pipe: Connection | None = None
    stopped: bool = False
    began: float = 0.0

    @property
    def first(self) -> str:
        """The property that is being decided, or will be first."""
        return next(iter(self.wants), "")


class Checks:
    """All verdicts, and the jobs that make them. Safe to use from any thread."""

    def __init__(self, workers: int | None = None) -> None:
        self._workers = workers or max(1, min(4, os.cpu_count() or 1))
        self._context = multiprocessing.get_context("spawn")
        self._lock = threading.RLock()
        self._waiting: deque[Job] = deque()
        self._running: list[Job] = []
        self._verdicts: dict[Key, Verdict] = {}
        self._failed: dict[Key, str] = {}
        self.version = 0  # goes up with every change: who has seen this one has seen all

    # -- what pages ask --------------------------------------------------------------------------

    def verdict(self, card: AttachCard, prop: str) -> Verdict | None:
        """The verdict, if there is one already."""
        with self._lock:
            return self._verdicts.get((digest(card), prop))

    def failure(self, card: AttachCard, prop: str) -> str:
        """Why the last check of this cell gave no verdict, in one line."""
        with self._lock:
            return self._failed.get((digest(card), prop), "")

    def progress(self, card: AttachCard, prop: str) -> str:
        """What the check of this cell does at the moment; empty when none is under way."""
        with self._lock:
            job = self._job(digest(card), prop)
            if job is None:
                return ""
            return job.progress if job.first == prop else "after the one before"

    def wanted(self, card: AttachCard, prop: str, owner: str) -> bool:
        """Whether the check that is under way for this cell was asked for by `owner` too."""
        with self._lock:
            job = self._job(digest(card), prop)
            return job is not None and owner in job.wants[prop]

    @property
    def busy(self) -> bool:
        """Whether anything runs or waits."""
        with self._lock:
            return bool(self._running or self._waiting)

    def start(self, card: AttachCard, properties: Iterable[str], owner: str = "") -> None:
        """Check these properties, but for those that are decided or under way."""
        known = digest(card)
        with self._lock:
            self.version += 1
            wanted = []
            for name in properties:
                job = self._job(known, name)
                if job is not None:
                    job.wants[name].add(owner)
                elif name in CATALOGUE and (known, name) not in self._verdicts:
                    wanted.append(name)
                    self._failed.pop((known, name), None)
            if not wanted:
                return
            if len(self._waiting) >= MAX_WAITING:
                raise InputError("too many checks are waiting; try again when some are done")
            self._waiting.append(Job(card, known, {name: {owner} for name in wanted}))
            self._next()

    def cancel(self, card: AttachCard, properties: Iterable[str], owner: str) -> None:
        """`owner` does not wait for these any more. What nobody waits for is stopped now."""
        known = digest(card)
        with self._lock:
            for job in [job for job in self._jobs() if job.digest == known]:
                self._withdraw(job, list(properties), owner)
            self._next()

    def leave(self, owner: str) -> None:
        """Somebody closed the page: stop what only they had asked for."""
        with self._lock:
            for job in self._jobs():
                self._withdraw(job, list(job.wants), owner)
            self._next()

    def close(self) -> None:
        """Stop everything."""
        with self._lock:
            for job in self._jobs():
                self._stop(job)

    # -- jobs ------------------------------------------------------------------------------------

    def _jobs(self) -> list[Job]:
        return [*self._running, *self._waiting]

    def _job(self, known: str, prop: str) -> Job | None:
        for job in self._jobs():
            if job.digest == known and prop in job.wants:
                return job
        return None

    def _withdraw(self, job: Job, properties: list[str], owner: str) -> None:
        """Forget that `owner` waits for these properties of a job."""
        self.version += 1
        first = job.first
        unwanted = []
        for name in properties:
            if name in job.wants:
                job.wants[name].discard(owner)
                if not job.wants[name]:
                    unwanted.append(name)
                    del job.wants[name]
        if not job.wants:
            self._stop(job)
        elif first in unwanted and job.process is not None:
            # only its end stops a solver in the middle of a question; the rest stays next
            self._stop(job)
            self._waiting.appendleft(Job(job.card, job.digest, job.wants))
        elif job.pipe is not None:
            with contextlib.suppress(OSError):  # it may have come to its end by itself
                for name in unwanted:
                    job.pipe.send(name)

    def _next(self) -> None:
        while self._waiting and len(self._running) < self._workers:
            job = self._waiting.popleft()
            job.pipe, theirs = self._context.Pipe()
            job.process = self._context.Process(
                target=work, args=(job.card, list(job.wants), theirs), daemon=True
            )
            job.progress, job.began = "starting", time.monotonic()
            job.process.start()
            theirs.close()
            self._running.append(job)
            threading.Thread(target=self._listen, args=(job, job.pipe), daemon=True).start()

    def _listen(self, job: Job, reader: Connection) -> None:
        """Take what a worker sends, until it ends."""
        with reader, contextlib.suppress(EOFError, OSError):
            while True:
                left = job.began + LONGEST - time.monotonic()
                if not reader.poll(max(left, 0)):
                    self._fail(job, f"stopped after {LONGEST / 60:.0f} minutes without an answer")
                    break
                what, text = reader.recv()
                with self._lock:
                    if job.stopped:
                        break
                    self._take(job, what, text)
        with self._lock:
            if not job.stopped:
                self._fail(job, "the check ended without an answer")
            self._stop(job)
            self._next()

    def _take(self, job: Job, what: str, text: str) -> None:
        self.version += 1
        if what == "say":
            job.progress = text
        elif what == "verdict":
            verdict = Verdict.model_validate_json(text)
            self._verdicts[job.digest, verdict.property] = verdict
            while len(self._verdicts) > MAX_KEPT:
                self._verdicts.pop(next(iter(self._verdicts)))
            job.wants.pop(verdict.property, None)
        else:
            self._fail(job, text)

    def _fail(self, job: Job, text: str) -> None:
        with self._lock:
            self.version += 1
            for name in job.wants:
                self._failed.setdefault((job.digest, name), text)
            job.wants = {}

    def _stop(self, job: Job) -> None:
        """End the process, if any, and forget the job."""
        job.stopped = True
        if job in self._waiting:
            self._waiting.remove(job)
        if job in self._running:
            self._running.remove(job)
        if job.process is not None and job.process.is_alive():
            job.process.terminate()
            threading.Thread(target=_reap, args=(job.process,), daemon=True).start()


def _reap(process: BaseProcess) -> None:
    """Wait for a process that was told to end; one that does not listen is killed."""
    process.join(2)
    if process.is_alive():
        process.kill()
        process.join()


__all__ = ["Checks", "Job", "digest", "work"]
