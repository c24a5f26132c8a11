"""New objects, open files and descriptors, hook targets."""

from __future__ import annotations

from .. import state as s
from ..state import View
from ..steps import Check, Env, Frame, Param, Step, StepError
from ..values import FD, IDX, LIFE, NONE, OBJ, And, If, Not, Value, eq, ne
from .registry import step


@step("create {reg} {kind}")
def _create(f: Frame, reg: str, kind: str) -> Step:
    """A new object with refcnt 1; the local holds that reference.
    (map_create, bpf_prog_load: kernel/bpf/syscall.c)"""

    def effect(k: View, e: Env) -> None:
        o = k.lowest(OBJ, lambda x: eq(k.get(s.LIFE_OF, x), LIFE.unborn), kind)
        k.need(eq(k.get(f.reg(reg), e["me"]), NONE), f"create {reg} finds the local empty")
        k.set(s.LIFE_OF, (o,), LIFE.live)
        k.set(s.REFCNT, (o,), 1)
        k.set(f.reg(reg), (e["me"],), o)
        if kind == "prog":
            k.set(f.ptype, (o,), e["type"])
        if "processes" in f.parts:
            k.set(s.BY, (o,), e["me"])

    params = (Param("type", f.ptype.range),) if kind == "prog" else ()
    words = f"creates {{{reg}}} with refcnt 1"
    text, regs = f"create {reg} {kind}", {reg: "full"}
    return Step(text, words, effect, params, regs=regs, kinds=(kind,), makes=reg)


@step("open {file} on {reg}")
def _open(f: Frame, file: str, reg: str) -> Step:
    """A new open file takes over the local's reference; for a map it is a user reference.
    (anon_inode_getfd; bpf_map_new_fd, bpf_prog_new_fd)"""

    return _opened(f, file, reg, f"open {file} on {reg}", asked=False)


@step("open {file} on {reg} as asked")
def _open_as(f: Frame, file: str, reg: str) -> Step:
    """The same; if it is a map, in the mode that the caller asks for: to read, to write, or both.
    (bpf_get_file_flag: kernel/bpf/syscall.c)"""
    return _opened(f, file, reg, f"open {file} on {reg} as asked", asked=True)


def _opened(f: Frame, file: str, reg: str, text: str, asked: bool) -> Step:
    access = "access" in f.parts
    params = (Param("mode", s.MODE),) if asked and access else ()

    def effect(k: View, e: Env) -> None:
        new = k.lowest(OBJ, lambda x: eq(k.get(s.LIFE_OF, x), LIFE.unborn), "file")
        o = k.get(f.reg(reg), e["me"])
        k.need(ne(o, NONE), f"open on {reg} finds an object")
        k.need(eq(k.get(f.reg(file), e["me"]), NONE), f"open {file} finds the local empty")
        k.set(s.LIFE_OF, (new,), LIFE.live)
        k.set(s.REFCNT, (new,), 1)
        k.set(f.reg(file), (e["me"],), new)
        k.set(s.FILE_OBJ, (new,), o)
        k.set(f.reg(reg), (e["me"],), NONE)
        f.count_user(k, o, 1)
        if access:  # BTF is for reading only (btf_new_fd), programs are always opened for both
            mode = e["mode"] if params else s.MODE.read_write
            mode = If(k.kind(o, "map"), mode, s.MODE.read_write, s.MODE)
            k.set(s.MODE_OF, (new,), If(k.kind(o, "btf"), s.MODE.read_only, mode))

    words = f"opens {{{file}}}: it takes over the reference"
    regs = {file: "full", reg: "empty"}
    return Step(text, words, effect, params, regs=regs, kinds=("file",))


@step("install {file}")
def _install(f: Frame, file: str) -> Step:
    """The lowest free descriptor takes over the local's reference to the file; exec will close
    it. (fd_install; every descriptor that bpf(2) makes is O_CLOEXEC)"""
    return _installed(f, file, f"install {file}", True)


@step("install {file} for good")
def _install_for_good(f: Frame, file: str) -> Step:
    """The lowest free descriptor takes over the local's reference; it survives exec. (dup)"""
    return _installed(f, file, f"install {file} for good", False)


def _installed(f: Frame, file: str, text: str, cloexec: bool) -> Step:
    def effect(k: View, e: Env) -> None:
        p = k.get(s.PROC_OF, e["me"])
        n = k.lowest(FD, lambda x: eq(k.get(s.FD_SLOT, p, x), NONE))
        o = k.get(f.reg(file), e["me"])
        k.need(ne(o, NONE), f"install {file} finds a file")
        k.set(s.FD_SLOT, (p, n), o)
        if "processes" in f.parts:
            k.set(s.CLOEXEC, (p, n), cloexec)
        k.set(f.reg(file), (e["me"],), NONE)

    words = "gets the lowest free descriptor number"
    return Step(text, words, effect, regs={file: "empty"}, gives="descriptor")


@step("use {maps}")
def _use(f: Frame, maps: str) -> Step:
    """One map descriptor of the instructions becomes a reference that the program `new` holds;
    once per distinct map. EBADF: closed; EINVAL: not a map.
    (resolve_pseudo_ldimm64 -> bpf_map_inc: kernel/bpf/verifier.c)"""
    if f.args.get(maps) != "maps":
        raise StepError(f"`{maps}` is not a list of maps")

    def behind(k: View, e: Env) -> Value:
        return k.get(s.FILE_OBJ, f.file_of(k, e, "map"))

    def effect(k: View, e: Env) -> None:
        prog, new = k.get(f.reg("new"), e["me"]), behind(k, e)
        known = Not(k.all(IDX, lambda i: ne(k.get(s.USED, prog, i), new)))
        place = k.lowest(IDX, lambda i: eq(k.get(s.USED, prog, i), NONE))
        k.inc(new, unless=known)
        k.set(s.USED, (prog, place), If(known, NONE, new))

    checks = (
        Check("EBADF", lambda k, e: ne(f.file_of(k, e, "map"), NONE)),
        Check("EINVAL", lambda k, e: k.kind(behind(k, e), "map")),
    )
    words = "the descriptor of a map becomes a reference of the program"
    params = (Param("map", FD),)
    return Step(f"use {maps}", words, effect, params, None, checks, loop=True, turns="maps")


@step("bind {reg} to {prog}")
def _bind(f: Frame, reg: str, prog: str) -> Step:
    """The program of one local holds the map of another as if its instructions used it; where it
    holds it already, the local keeps its reference. (bpf_prog_bind_map: kernel/bpf/syscall.c)"""

    def effect(k: View, e: Env) -> None:
        p, new = k.get(f.reg(prog), e["me"]), k.get(f.reg(reg), e["me"])
        k.need(And(ne(p, NONE), ne(new, NONE)), "bind finds a program and a map")
        known = Not(k.all(IDX, lambda i: ne(k.get(s.USED, p, i), new)))
        place = k.lowest(IDX, lambda i: eq(k.get(s.USED, p, i), NONE))
        k.set(s.USED, (p, place), If(known, NONE, new))
        k.set(f.reg(reg), (e["me"],), If(known, new, NONE))

    words = f"{{{prog}}} holds {{{reg}}} from now on, if it did not already"
    regs = {reg: "maybe"}
    return Step(f"bind {reg} to {prog}", words, effect, regs=regs, kinds=("map",))


@step("give {reg} to {owner}")
def _give(f: Frame, reg: str, owner: str) -> Step:
    """The object of one local takes over the type information (BTF) that another holds."""

    def effect(k: View, e: Env) -> None:
        o, new = k.get(f.reg(owner), e["me"]), k.get(f.reg(reg), e["me"])
        k.need(And(ne(o, NONE), ne(new, NONE)), "give finds an object and its BTF")
        k.need(eq(k.get(s.BTF_OF, o), NONE), "give finds an object without BTF")
        k.set(s.BTF_OF, (o,), new)
        k.set(f.reg(reg), (e["me"],), NONE)

    words = f"{{{owner}}} holds {{{reg}}} from now on"
    return Step(f"give {reg} to {owner}", words, effect, regs={reg: "empty"})


@step("make {kind}")
def _make(f: Frame, kind: str) -> Step:
    """A new hook target with its directory, which holds the only reference: it lives until it is
    removed. One step: nobody can find it before. (cgroup_mkdir under cgroup_mutex)"""

    def effect(k: View, e: Env) -> None:
        o = k.lowest(OBJ, lambda x: eq(k.get(s.LIFE_OF, x), LIFE.unborn), kind)
        k.set(s.LIFE_OF, (o,), LIFE.live)
        k.set(s.REFCNT, (o,), 1)
        k.set(f.dir, (o,), o)

    return Step(f"make {kind}", f"makes a {kind}; its directory keeps it alive", effect)
