"""New objects, open files and descriptors, hook targets."""

from __future__ import annotations

from .. import state as s
from ..state import View
from ..steps import Env, Frame, Param, Step
from ..values import BOOL, FD, LIFE, NONE, OBJ, And, If, Value, eq, ne
from .members import WITH_SOCKETS, join_cgroup
from .networks import join_net
from .programs import may_sleep
from .registry import step


def born(f: Frame, k: View, e: Env, o: Value, reg: str) -> None:
    """A new object lives, with the local's reference."""
    k.need(eq(k.get(f.reg(reg), e["me"]), NONE), f"create {reg} finds the local empty")
    k.set(s.LIFE_OF, (o,), LIFE.live)
    k.set(s.REFCNT, (o,), 1)
    k.set(f.reg(reg), (e["me"],), o)
    if "births" in f.parts:
        k.set(s.BY, (o,), e["me"])


@step("create {reg} {kind}")
def _create(f: Frame, reg: str, kind: str) -> Step:
    """A new object with refcnt 1; the local holds that reference.
    (map_create, bpf_prog_load: kernel/bpf/syscall.c)"""
    sleeps = kind == "prog" and "flavours" in f.parts
    in_net = kind in s.SK_NET.owners and "net" in f.parts

    def effect(k: View, e: Env) -> None:
        o = k.lowest(OBJ, lambda x: eq(k.get(s.LIFE_OF, x), LIFE.unborn), kind)
        born(f, k, e, o, reg)
        if kind == "prog":
            k.set(f.ptype, (o,), e["type"])
            if sleeps:
                fine = If(may_sleep(f, e["type"]), s.SLEEP.yes, s.SLEEP.wrong, s.SLEEP)
                k.set(s.SLEEPABLE, (o,), If(e["sleepable"], fine, s.SLEEP.no))
        if in_net:  # sock_net: of whoever makes it, for good (sk_alloc: net/core/sock.c)
            join_net(k, o, k.get(s.NET, k.get(s.PROC_OF, e["me"])))
        if kind in WITH_SOCKETS:
            join_cgroup(f, k, e["me"], o)

    params = [Param("type", f.ptype.range)] if kind == "prog" else []
    params += [Param("sleepable", BOOL)] if sleeps else []
    words = f"creates {{{reg}}} with refcnt 1"
    text, regs = f"create {reg} {kind}", {reg: "full"}
    return Step(text, words, effect, tuple(params), regs=regs, kinds=(kind,), makes=reg)


@step("open {file} on {reg}")
def _open(f: Frame, file: str, reg: str) -> Step:
    """A new open file takes over the local's reference; for a map it is a user reference. From
    here on the object's id can be looked up.
    (anon_inode_getfd; bpf_map_new_fd, bpf_prog_new_fd, bpf_link_settle)"""

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
        if "processes" in f.parts:
            k.set(s.PUBLISHED, (o,), True)
        f.count_user(k, o, 1)
        if access:  # to read only: BTF, links and directories; programs are always for both
            mode = e["mode"] if params else s.MODE.read_write
            mode = If(k.kind(o, "map"), mode, s.MODE.read_write, s.MODE)
            reads = k.kind(o, "btf", "mnt", "netns", *f.links)
            k.set(s.MODE_OF, (new,), If(reads, s.MODE.read_only, mode))

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
