"""Pins: files in bpffs. A name leads to an inode, which holds the object as long as it has a name.

A name holds the inode (its count is the kernel's nlink), so a second name is no second reference
to the object. (kernel/bpf/inode.c)
"""

from __future__ import annotations

from .. import state as s
from ..state import View
from ..steps import Check, Env, Frame, Param, Step
from ..values import LIFE, NONE, OBJ, PATH, If, eq, ne
from .registry import step


@step("pin {path} <- {reg}")
def _pin(f: Frame, path: str, reg: str) -> Step:
    """A new file in bpffs takes over the local's reference; for a map it is a user reference.
    The test and the creation are one step under the directory's lock. EEXIST: the name is taken.
    (bpf_obj_do_pin -> vfs_mkobj -> bpf_mkobj_ops: kernel/bpf/inode.c)"""

    def effect(k: View, e: Env) -> None:
        o = k.get(f.reg(reg), e["me"])
        k.need(ne(o, NONE), f"pin finds an object in {reg}")
        inode = k.lowest(OBJ, lambda x: eq(k.get(s.LIFE_OF, x), LIFE.unborn), "inode")
        k.set(s.LIFE_OF, (inode,), LIFE.live)
        k.set(s.REFCNT, (inode,), 1)
        k.set(s.INODE_OBJ, (inode,), o)
        k.set(s.PIN, (e[path],), inode)
        k.set(f.reg(reg), (e["me"],), NONE)
        f.count_user(k, o, 1)

    free = Check("EEXIST", lambda k, e: eq(k.get(s.PIN, e[path]), NONE))
    words = "the new file in bpffs takes over the reference"
    params = (Param(path, PATH),)
    return Step(f"pin {path} <- {reg}", words, effect, params, None, (free,), {reg: "empty"})


@step("link {path} as {new}")
def _link(f: Frame, path: str, new: str) -> Step:
    """The file gets a second name: its object does not notice. ENOENT: there is no such pin;
    EEXIST: the new name is taken. One step, under the locks of file and directory.
    (do_linkat, vfs_link: fs/namei.c, simple_link: fs/libfs.c)"""
    there = Check("ENOENT", lambda k, e: ne(k.get(s.PIN, e[path]), NONE))
    free = Check("EEXIST", lambda k, e: eq(k.get(s.PIN, e[new]), NONE))

    def effect(k: View, e: Env) -> None:
        inode = k.get(s.PIN, e[path])
        k.inc(inode)
        k.set(s.PIN, (e[new],), inode)

    words = "gives the file a second name, which holds it too"
    params = (Param(path, PATH), Param(new, PATH))
    return Step(f"link {path} as {new}", words, effect, params, None, (there, free))


@step("move {path} to {new} -> {reg}")
def _move(f: Frame, path: str, new: str, reg: str) -> Step:
    """A file gets another name; the local gets the reference of what had that name before. To
    itself, or to another name of the same file: nothing happens. ENOENT: there is no such pin.
    One step, under the directory's lock. (vfs_rename, simple_rename: fs/namei.c, fs/libfs.c)"""
    there = Check("ENOENT", lambda k, e: ne(k.get(s.PIN, e[path]), NONE))

    def effect(k: View, e: Env) -> None:
        moved, there_now = k.get(s.PIN, e[path]), k.get(s.PIN, e[new])
        same = eq(moved, there_now)
        k.need(eq(k.get(f.reg(reg), e["me"]), NONE), f"move finds the local {reg} empty")
        k.set(f.reg(reg), (e["me"],), If(same, NONE, there_now, OBJ))
        k.set(s.PIN, (e[new],), moved)
        k.set(s.PIN, (e[path],), If(same, moved, NONE, OBJ))

    words = f"moves the pin; {{{reg}}} had that name before and is held by the call"
    text, params = f"move {path} to {new} -> {reg}", (Param(path, PATH), Param(new, PATH))
    return Step(text, words, effect, params, None, (there,), {reg: "maybe"}, ("inode",))
