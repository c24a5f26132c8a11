"""Model-based testing of the model: random scenarios on it and on the running kernel.

Worker processes take scenarios one by one, each in a world of its own that is made anew for every
scenario. Where the two sides differ, steps are taken away as long as they still do; what is left
is a small scenario to read. The report says which rules of the model were exercised.
"""

from __future__ import annotations

import itertools
import os
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from multiprocessing import get_context

from bpflife.model.catalogue import system_for
from bpflife.model.documents import Conformance, Disagreement, InputError, Scenario
from bpflife.model.language import Language
from bpflife.model.simulator import play

from .available import lacking, why_not
from .compare import compare_trace, needed, not_on_a_kernel
from .generate import Generator
from .world import World

BATCH = 20  # scenarios that a worker takes at a time
PATIENCE = 0.5  # seconds to settle while a disagreement is made smaller
TRIES = 80  # of taking a step away


@dataclass
class Batch:
    """What a worker found: steps and rules that were taken, and disagreements."""

    scenarios: int = 0
    steps: int = 0
    fired: set[str] = field(default_factory=set)
    pairs: set[tuple[str, str]] = field(default_factory=set)
    wrong: list[Disagreement] = field(default_factory=list)


def conform(
    number: int,
    seed: int,
    cards: Sequence[str],
    length: int = 30,
    jobs: int = 0,
    progress: Callable[[str], None] = lambda _: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Conformance:
    """`number` random scenarios of `length` steps on both sides. The same seed gives the same
    scenarios, however many `jobs` (worker processes) there are."""
    release, began = os.uname().release, time.monotonic()
    system = system_for(list(cards))
    refused = next(filter(None, (not_on_a_kernel(system, api) for api in cards)), "") or why_not()
    if refused:
        return Conformance(kernel=release, why_not=refused, seed=seed)
    total = Batch()
    tasks = [
        (list(range(seed + n, min(seed + n + BATCH, seed + number))), list(cards), length)
        for n in range(0, number, BATCH)
    ]
    for batch in _work(tasks, jobs or os.cpu_count() or 1, cancelled):
        total.scenarios += batch.scenarios
        total.steps += batch.steps
        total.fired |= batch.fired
        total.pairs |= batch.pairs
        total.wrong += batch.wrong
        rate = 60 * total.scenarios / (time.monotonic() - began)
        wrong = f", {len(total.wrong)} DISAGREE" if total.wrong else ""
        progress(f"{total.scenarios} of {number} scenarios, {rate:.0f} a minute{wrong}")
    return _report(total, cards, seed, release, time.monotonic() - began)


def _report(
    total: Batch, cards: Sequence[str], seed: int, release: str, seconds: float
) -> Conformance:
    rules = {rule.name for rule in system_for(list(cards)).rules()}
    names = {spec.do for spec in Language(system_for(list(cards))).specs} - {"fire"}
    return Conformance(
        kernel=release, seed=seed, scenarios=total.scenarios, steps=total.steps,
        seconds=round(seconds, 1), rules=(len(total.fired & rules), len(rules)),
        pairs=(len(total.pairs), len(names) ** 2), not_fired=sorted(rules - total.fired),
        disagreements=total.wrong,
        skipped=[f"{do}: {why}" for do, why in skipped(cards).items()],
    )  # fmt: skip


Task = tuple[list[int], list[str], int]


def _work(tasks: list[Task], jobs: int, cancelled: Callable[[], bool]) -> Iterator[Batch]:
    """The batches as they are done; a few are under way at a time, so that cancel is quick."""
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        waiting = list(reversed(tasks))
        running: set[Future[Batch]] = set()
        while (waiting or running) and not cancelled():
            while waiting and len(running) < 2 * jobs:
                running.add(pool.submit(run_batch, *waiting.pop()))
            done, running = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)


def skipped(cards: Sequence[str]) -> dict[str, str]:
    """The operations that this machine can't play, and why."""
    system = system_for(list(cards))
    specs = [x for x in Language(system).specs if x.actor == "process"]
    found = {x.rule: lacking(needed(system, x.rule)) for x in specs}
    return {rule: why for rule, why in found.items() if why}


def run_batch(seeds: Iterable[int], cards: list[str], length: int) -> Batch:
    """In a worker: these scenarios, one after the other in one world."""
    batch, without = Batch(), frozenset(skipped(cards))
    with World() as world:
        for seed in seeds:
            generator = Generator(cards, random.Random(seed), without=without)
            scenario, trace = generator.scenario(f"random-{seed}", length)
            world.reset()
            compared = compare_trace(scenario, trace, world=world)
            batch.scenarios += 1
            batch.steps += len(compared.rows)
            batch.fired |= generator.fired
            steps = [step.do for step in scenario.steps]
            batch.pairs |= set(itertools.pairwise(steps))
            if compared.differences:
                batch.wrong.append(smaller(scenario, compared.differences, world))
    return batch


def smaller(scenario: Scenario, differences: list[str], world: World) -> Disagreement:
    """The scenario with steps taken away as long as the two sides still differ."""
    best, found = scenario, differences
    last = max((int(d.split()[1].rstrip(":")) for d in differences), default=0)
    best = best.model_copy(update={"steps": best.steps[: max(last, 1)]})
    tries, at = 0, len(best.steps) - 1
    while at >= 0 and tries < TRIES:
        steps = [*best.steps[:at], *best.steps[at + 1 :]]
        shorter = best.model_copy(update={"steps": steps})
        tries, at = tries + 1, at - 1
        still = _differences(shorter, world)
        if still:
            best, found = shorter, still
    return Disagreement(scenario=best, differences=found)


def _differences(scenario: Scenario, world: World) -> list[str]:
    try:
        trace = play(scenario)
    except InputError:
        return []
    world.reset()
    return compare_trace(scenario, trace, settle=PATIENCE, world=world).differences
