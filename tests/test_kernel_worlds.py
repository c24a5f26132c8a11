"""Several worlds at once, and what is left when the processes of a world are killed: nothing."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from bpflife.proofs.kernel import cgroups
from bpflife.proofs.kernel.available import why_not
from bpflife.proofs.kernel.poll import wait_until
from bpflife.proofs.kernel.refs import Refs
from bpflife.proofs.kernel.world import World, sweep
from kernel_actors import made, ok, settles

RUNNER = Path(__file__).with_name("kernel_runner.py")
MARK = "BPFLIFE_TEST"


@pytest.fixture(autouse=True, scope="module")
def _allowed() -> None:
    if refused := why_not():
        pytest.skip(refused)


def visit(world: World) -> None:
    """A short life with the same names in every world."""
    for _ in range(3):
        actor = world.actor("a")
        cgroup, point = world.cgroup_make("g"), world.mount_path("second")
        map, prog = made(actor, "map_create"), made(actor, "prog_load", maps=[3])
        ok(actor, "prog_attach", target=cgroup, fd=4, attach_type="cgroup_inet_egress")
        ok(actor, "pin", fd=3, path=world.pin_path("pin"))
        ok(actor, "mount", path=point)
        ok(actor, "pin", fd=4, path=f"{point}/pin")
        child = actor.fork("b")
        ok(child, "exec")
        settles(world, maps={map: (3, 2)}, progs={prog: 3})
        assert world.attached("g", "cgroup_inet_egress") == (prog,)
        world.reset()


def test_a_new_beginning_frees_what_holds_itself() -> None:
    """A program in the devmap that it uses would stay in the kernel until it is started again."""
    with World() as world:
        actor = world.actor("a")
        map = made(actor, "map_create", type="devmap")
        made(actor, "prog_load", type="xdp", attach_type="xdp_devmap", maps=[3])
        ok(actor, "map_update", fd=3, key=0, value_fd=4)
        world.reset()
        read = partial(world.snapshot, everything=True)
        assert wait_until(read, lambda found: map not in found.maps)[1]


def test_worlds_side_by_side() -> None:
    """They share the reader here; each sees its own objects only."""
    with Refs() as refs, World(refs) as first, World(refs) as second:
        assert first.cgroups != second.cgroups
        ids = []
        for world in (first, second):
            actor = world.actor("a")
            ids.append(made(actor, "map_create"))
            ok(actor, "pin", fd=3, path=world.pin_path("pin"))
        settles(first, maps={ids[0]: (2, 2)})
        settles(second, maps={ids[1]: (2, 2)})
        first.close()
        settles(second, maps={ids[1]: (2, 2)})
        second.reset()
        visit(second)


def test_worlds_in_threads() -> None:
    def live(_: int) -> None:
        with World() as world:
            visit(world)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(live, range(8)))


def test_worlds_in_processes() -> None:
    program = "import test_kernel_worlds as t\nwith t.World() as world: t.visit(world)"
    command = [sys.executable, "-c", program]
    env = os.environ | {"PYTHONPATH": str(RUNNER.parent)}
    running = [subprocess.Popen(command, env=env, stderr=subprocess.PIPE) for _ in range(4)]
    assert [process.communicate()[1] for process in running] == [b""] * 4
    assert [process.returncode for process in running] == [0] * 4


@pytest.mark.parametrize("everything", [False, True], ids=["the runner", "all its processes"])
def test_a_killed_runner_leaves_nothing(everything: bool) -> None:
    """At whatever moment: no processes, cgroups, mounts or maps after the next sweep."""
    mounts = Path("/proc/self/mountinfo").read_text()
    seed = random.randrange(1 << 32)
    moments = random.Random(seed)
    for _ in range(6):
        mark = f"{MARK}={uuid.uuid4()}"
        pid, maps = run_and_kill(mark, moments.uniform(0.02, 1.2), everything)
        assert goes(partial(marked, mark)), seed
        assert goes(partial(swept, pid)), seed
        with Refs() as refs:
            assert goes(partial(alive, refs, maps)), seed
    assert Path("/proc/self/mountinfo").read_text() == mounts


def goes(left: Callable[[], Collection[object]]) -> bool:
    """Whether what is left becomes nothing in time."""
    return wait_until(left, lambda found: not found, 10)[1]


def swept(pid: int) -> list[str]:
    """The cgroups of a runner that a sweep leaves: those that a dying process still locks."""
    sweep()
    return [name for name in os.listdir(cgroups.top()) if name.startswith(f"bpflife-{pid}-")]


def alive(refs: Refs, maps: set[int]) -> set[int]:
    """Those of some maps that still exist."""
    return maps & set(refs.snapshot().maps)


def run_and_kill(mark: str, after: float, everything: bool) -> tuple[int, set[int]]:
    """Kill a runner in the midst of its life: its pid, and the ids of the maps it made."""
    name, value = mark.split("=")
    command = [sys.executable, str(RUNNER)]
    with subprocess.Popen(command, env=os.environ | {name: value}, stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        time.sleep(after)
        victims = marked(mark) if everything else [run.pid]
        for pid in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        written = run.stdout.read()
    return run.pid, {int(id) for id in written.split()}


def marked(mark: str) -> list[int]:
    """The processes with a mark in their environment."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                environment = Path(f"/proc/{entry}/environ").read_bytes()
            except OSError:  # it has just ended
                continue
            if mark.encode() in environment.split(b"\0"):
                found.append(int(entry))
    return found
