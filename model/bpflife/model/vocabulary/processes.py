"""Processes: what fork copies and exec drops, one slot at a time; descriptors that move."""

from __future__ import annotations

from collections.abc import Callable

from .. import state as s
from ..state import Family, View
from ..steps import Also, Check, Env, Frame, Guard, Param, Step
from ..values import FD, IDX, NONE, PROC, RUN, And, If, Not, Or, Sort, Value, eq, ne
from .registry import nothing, step


@step("move file of {fd} onto {to} -> {reg}")
def _dup2(f: Frame, fd: str, to: str, reg: str) -> Step:
    """The descriptor `to` now leads to the open file of `fd` (+1), not close-on-exec; the local
    gets the file that it led to. Onto itself: nothing happens. EBADF: `fd` is closed.
    One step, under the table's lock. (do_dup2: fs/file.c)"""
    is_open = Check("EBADF", lambda k, e: ne(f.file_of(k, e, fd), NONE))

    def effect(k: View, e: Env) -> None:
        p, file = k.get(s.PROC_OF, e["me"]), f.file_of(k, e, fd)
        same = eq(e[fd], e[to])
        old = k.get(s.FD_SLOT, p, e[to])
        k.need(eq(k.get(f.reg(reg), e["me"]), NONE), "dup2 finds the local empty")
        k.inc(file)
        k.set(s.FD_SLOT, (p, e[to]), file)
        k.set(f.reg(reg), (e["me"],), old)
        k.set(s.CLOEXEC, (p, e[to]), And(same, k.get(s.CLOEXEC, p, e[to])))

    words = "makes the other number a descriptor of the same open file"
    text = f"move file of {fd} onto {to} -> {reg}"
    params = (Param(fd, FD), Param(to, FD))
    return Step(text, words, effect, params, None, (is_open,), {reg: "maybe"}, ("file",))


@step("set cloexec of {fd}")
def _set_cloexec(f: Frame, fd: str) -> Step:
    """The descriptor will be closed by exec. EBADF: closed. (fcntl F_SETFD: fs/fcntl.c)"""
    return _flag(f, fd, True)


@step("clear cloexec of {fd}")
def _clear_cloexec(f: Frame, fd: str) -> Step:
    """The descriptor survives exec. EBADF: closed. (fcntl F_SETFD: fs/fcntl.c)"""
    return _flag(f, fd, False)


def _flag(f: Frame, fd: str, on: bool) -> Step:
    is_open = Check("EBADF", lambda k, e: ne(f.file_of(k, e, fd), NONE))

    def effect(k: View, e: Env) -> None:
        k.set(s.CLOEXEC, (k.get(s.PROC_OF, e["me"]), e[fd]), on)

    text = f"{'set' if on else 'clear'} cloexec of {fd}"
    words = f"says that exec {'closes' if on else 'keeps'} the descriptor"
    return Step(text, words, effect, (Param(fd, FD),), None, (is_open,))


@step("hold {file} from {fd} of {process}")
def _hold_theirs(f: Frame, file: str, fd: str, process: str) -> Step:
    """A counted reference to the open file behind another process's descriptor.
    ESRCH: the process has exited; EBADF: the descriptor is closed.
    (pidfd_getfd -> fget_task: kernel/pid.c)"""

    def theirs(k: View, e: Env) -> Value:
        return k.get(s.FD_SLOT, e[process], e[fd])

    checks = (
        Check("ESRCH", lambda k, e: eq(k.get(s.RUN_OF, e[process]), RUN.running)),
        Check("EBADF", lambda k, e: ne(theirs(k, e), NONE)),
    )

    def effect(k: View, e: Env) -> None:
        o = theirs(k, e)
        k.need(eq(k.get(f.reg(file), e["me"]), NONE), f"hold {file} finds the local empty")
        k.inc(o)
        k.set(f.reg(file), (e["me"],), o)

    words = f"takes a reference on the open file {{{file}}} of another process"
    params = (Param(process, PROC), Param(fd, FD))
    text = f"hold {file} from {fd} of {process}"
    return Step(text, words, effect, params, None, checks, {file: "full"}, ("file",))


# ---------------------------------------------------------------------------------------------
# fork


@step("new process {child}")
def _begin_child(f: Frame, child: str) -> Step:
    """A new process that nobody can see yet, in its parent's namespaces.
    (copy_process: kernel/fork.c, copy_namespaces: kernel/nsproxy.c)"""

    def effect(k: View, e: Env) -> None:
        k.when(eq(k.get(s.RUN_OF, e[child]), RUN.unborn))
        for family in (x for x in (s.NS, s.NET) if x.part in f.parts):
            ns = k.get(family, k.get(s.PROC_OF, e["me"]))
            k.inc(ns, unless=eq(ns, NONE))
            k.set(family, (e[child],), ns)
        k.set(s.RUN_OF, (e[child],), RUN.starting)
        k.set(s.CHILD, (e["me"],), e[child])
        k.set(s.MAKER, (e[child],), e["me"])

    words = "makes a new process, which is not running yet"
    return Step(f"new process {child}", words, effect, (Param(child, PROC),))


@step("copy descriptors")
def _copy_descriptors(f: Frame) -> Step:
    """The child's descriptor table gets one descriptor of the parent: the open file is shared
    (+1). (dup_fd: fs/file.c)"""
    return _copied(f, "copy descriptors", s.FD_SLOT, FD, _copy_flag, lambda k, file: True)


@step("copy mappings")
def _copy_mappings(f: Frame) -> Step:
    """The child gets one mapping of the parent: its open file is shared (+1). Of a perf event it
    gets none. (dup_mmap: mm/mmap.c; perf_mmap sets VM_DONTCOPY: kernel/events/core.c)"""

    def goes(k: View, file: Value) -> Value:
        return Not(k.kind(k.get(s.FILE_OBJ, file), *f.events))

    return _copied(f, "copy mappings", s.VMA, IDX, _copy_writer, goes)


def _copy_flag(k: View, p: Value, child: Value, n: Value) -> None:
    k.set(s.CLOEXEC, (child, n), k.get(s.CLOEXEC, p, n))


def _copy_writer(k: View, p: Value, child: Value, n: Value) -> None:
    """(bpf_map_mmap_open: kernel/bpf/syscall.c)"""
    k.tally(s.WRITES, (child, n), k.get(s.WRITES, p, n))


def _copied(
    f: Frame, text: str, family: Family, sort: Sort,
    also: Callable[[View, Value, Value, Value], None], goes: Callable[[View, Value], Value],
) -> Step:  # fmt: skip
    def ends(k: View, e: Env) -> tuple[Value, Value]:
        return k.get(s.PROC_OF, e["me"]), k.get(s.CHILD, e["me"])

    def effect(k: View, e: Env) -> None:
        p, child = ends(k, e)
        file = k.get(family, p, e["n"])
        k.when(And(ne(file, NONE), goes(k, file), eq(k.get(family, child, e["n"]), NONE)))
        k.inc(file)
        k.set(family, (child, e["n"]), file)
        also(k, p, child, e["n"])

    def done(k: View, e: Env) -> Value:
        p, child = ends(k, e)

        def copied(n: Value) -> Value:
            file = k.get(family, p, n)
            stays = Or(eq(file, NONE), Not(goes(k, file)))
            return Or(stays, ne(k.get(family, child, n), NONE))

        return k.all(sort, copied)

    words = "the child shares one more open file with its parent"
    return Step(text, words, effect, (Param("n", sort),), loop=True, done=done)


@step("start child")
def _start_child(f: Frame) -> Step:
    """The child runs, a member of its parent's cgroup. (wake_up_new_task, cgroup_post_fork)"""

    def effect(k: View, e: Env) -> None:
        child = k.get(s.CHILD, e["me"])
        if "membership" in f.parts:
            k.set(s.MEMBER, (child,), k.get(s.MEMBER, k.get(s.PROC_OF, e["me"])))
        k.set(s.RUN_OF, (child,), RUN.running)
        k.set(s.MAKER, (child,), NONE)
        k.set(s.CHILD, (e["me"],), NONE)

    return Step("start child", "starts the new process", effect)


# ---------------------------------------------------------------------------------------------
# exec


@step("begin exec")
def _begin_exec(f: Frame) -> Step:
    """The point of no return of exec. (begin_new_exec: fs/exec.c)"""
    return Step("begin exec", "replaces its program by another", nothing)


@step("drop mappings")
def _drop_mappings(f: Frame) -> Step:
    """One mapping of the old program goes: its open file loses a reference. (exec_mmap)"""

    def gone(k: View, e: Env, n: Value) -> Value:
        return eq(k.get(s.VMA, k.get(s.PROC_OF, e["me"]), n), NONE)

    words = "its old mapping is gone"
    no_writer: Also = lambda k, p, n: k.tally(s.WRITES, (p, n), NONE)  # noqa: E731
    return _dropped(f, "drop mappings", s.VMA, IDX, gone, words, no_writer)


@step("close on exec")
def _close_on_exec(f: Frame) -> Step:
    """One descriptor that is close-on-exec is closed. (do_close_on_exec: fs/file.c)"""

    def gone(k: View, e: Env, n: Value) -> Value:
        p = k.get(s.PROC_OF, e["me"])
        return Or(eq(k.get(s.FD_SLOT, p, n), NONE), Not(k.get(s.CLOEXEC, p, n)))

    words = "exec closes a descriptor"
    return _dropped(f, "close on exec", s.FD_SLOT, FD, gone, words, lambda k, p, n: None)


def _dropped(
    f: Frame, text: str, family: Family, sort: Sort, gone: Callable[[View, Env, Value], Value],
    words: str, also: Also,
) -> Step:  # fmt: skip
    def effect(k: View, e: Env) -> None:
        p = k.get(s.PROC_OF, e["me"])
        k.when(Not(gone(k, e, e["n"])))
        also(k, p, e["n"])
        f.put(k, family, (p, e["n"]), "file")

    def done(k: View, e: Env) -> Value:
        return k.all(sort, lambda n: gone(k, e, n))

    return Step(text, words, effect, (Param("n", sort),), loop=True, done=done)


# ---------------------------------------------------------------------------------------------
# mappings


@step("map {file}")
def _map(f: Frame, file: str) -> Step:
    """A new mapping takes over the local's reference to the file: it holds the file, not the map,
    which counts its writable mappings only. A ring buffer and a perf event can always be mapped.
    EACCES: not in the file's mode; ENODEV: no map; ENOTSUPP: no array; EINVAL: a read-only file
    (its mappings are not shared), or not made to be mapped; EPERM: it is frozen.
    (do_mmap: mm/mmap.c, bpf_map_mmap: kernel/bpf/syscall.c, array_map_mmap: kernel/bpf/arraymap.c,
    perf_mmap: kernel/events/core.c)"""

    def behind(k: View, e: Env) -> Value:
        return k.get(s.FILE_OBJ, k.get(f.reg(file), e["me"]))

    def always(k: View, e: Env) -> Value:
        o = behind(k, e)
        return Or(k.kind(o, *f.events), eq(k.get(s.MTYPE, o), s.MAP_TYPE.ringbuf))

    def is_array(k: View, e: Env) -> Value:
        return Or(always(k, e), eq(k.get(s.MTYPE, behind(k, e)), s.MAP_TYPE.array))

    def is_of(mode: int) -> Guard:
        return lambda k, e: eq(k.get(s.MODE_OF, k.get(f.reg(file), e["me"])), mode)

    def writes(k: View, e: Env) -> Value:
        return ne(e["prot"], s.MODE.read_only)

    read_only, write_only = is_of(s.MODE.read_only), is_of(s.MODE.write_only)
    checks = (
        Check("EACCES", lambda k, e: Not(write_only(k, e))),
        Check("EACCES", lambda k, e: Not(And(writes(k, e), read_only(k, e)))),
        Check("ENODEV", lambda k, e: k.kind(behind(k, e), "map", *f.events)),
        Check("ENOTSUPP", is_array),
        Check("EINVAL", lambda k, e: Not(read_only(k, e))),
        Check("EPERM", lambda k, e: Not(And(writes(k, e), k.get(s.FROZEN, behind(k, e))))),
        Check("EINVAL", lambda k, e: Or(always(k, e), k.get(s.MMAPABLE, behind(k, e)))),
    )

    def effect(k: View, e: Env) -> None:
        p = k.get(s.PROC_OF, e["me"])
        i = k.lowest(IDX, lambda x: eq(k.get(s.VMA, p, x), NONE))
        k.set(s.VMA, (p, i), k.get(f.reg(file), e["me"]))
        o = behind(k, e)
        k.tally(s.WRITES, (p, i), If(And(writes(k, e), k.kind(o, "map")), o, NONE))
        k.set(f.reg(file), (e["me"],), NONE)

    words = "maps it into its memory: the mapping holds the open file"
    text, regs = f"map {file}", {file: "empty"}
    params = (Param("prot", s.MODE),)
    return Step(text, words, effect, params, None, checks, regs, gives="mapping")


@step("unmap {mapping} -> {file}")
def _unmap(f: Frame, mapping: str, file: str) -> Step:
    """The mapping goes; the local holds its reference to the file. (munmap -> remove_vma)"""

    def effect(k: View, e: Env) -> None:
        p = k.get(s.PROC_OF, e["me"])
        k.when(ne(k.get(s.VMA, p, e[mapping]), NONE))
        k.need(eq(k.get(f.reg(file), e["me"]), NONE), f"unmap finds the local {file} empty")
        k.tally(s.WRITES, (p, e[mapping]), NONE)
        k.set(f.reg(file), (e["me"],), k.get(s.VMA, p, e[mapping]))
        k.set(s.VMA, (p, e[mapping]), NONE)

    text, params = f"unmap {mapping} -> {file}", (Param(mapping, IDX),)
    words = "takes the mapping away"
    return Step(text, words, effect, params, None, (), {file: "full"}, ("file",))
