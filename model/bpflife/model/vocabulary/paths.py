"""How a path leads to a name in bpffs: by what is mounted where, as the caller sees it.

A path of the model is a name in one instance of bpffs (`inst`), and an instance was mounted at one
place. So a path is right when its instance is what the caller sees at that place: the mount of its
namespace that no other covers. A path of another instance that was ever mounted there stands for
the same text, and waits. Where nothing is mounted any more, the text leads into the directory
below, which is in no bpffs. (path_lookupat, __lookup_mnt: fs/namei.c, fs/namespace.c)
"""

from __future__ import annotations

from .. import state as s
from ..state import View
from ..steps import Check, Env, Frame, Guard, Param, StepError
from ..values import FD, NONE, OBJ, PATH, And, Or, Value, eq, ne


def mounted(k: View, m: Value, ns: Value) -> Value:
    """The mount is one of this namespace (none: the world's)."""
    return And(ne(k.get(s.MOUNTED, m), NONE), eq(k.get(s.NS_OF, m), ns))


def namespace(k: View, e: Env) -> Value:
    """The caller's mount namespace."""
    return k.get(s.NS, k.get(s.PROC_OF, e["me"]))


def top(k: View, e: Env, point: Value) -> Value:
    """The mount that the caller sees at a place, or none."""
    ns = namespace(k, e)

    def seen(m: Value) -> Value:
        here = eq(k.get(s.POINT, k.get(s.ROOT, m)), point)
        return And(mounted(k, m, ns), here, eq(k.get(s.COVER, m), NONE))

    return k.find(OBJ, seen, "mnt")


def in_sight(k: View, e: Env, path: Value) -> Value:
    """The path leads into a bpffs: the world's first, which nothing covers, or the one mounted."""
    i = k.get(s.INST, path)
    return Or(eq(i, NONE), eq(k.get(s.ROOT, top(k, e, k.get(s.POINT, i))), i))


def meant(k: View, e: Env, path: Value) -> Value:
    """The path is what its text means to the caller (if that leads into no bpffs, any path is)."""
    i = k.get(s.INST, path)
    seen = k.get(s.ROOT, top(k, e, k.get(s.POINT, i)))
    return Or(eq(i, NONE), eq(seen, NONE), eq(seen, i))


def lookup(f: Frame, arg: str, missing: str) -> tuple[Guard | None, list[Check], list[Param]]:
    """When an argument is the path that the caller means, and the checks of the way to it:
    `missing` where it leads into no bpffs. With an argument `at`, it is a name in the directory
    behind that descriptor, mounted or not. EBADF: closed; ENOTDIR: no directory. The descriptor is
    looked up in the step that needs the name: what keeps the directory in between is not seen.
    (user_path_at with a path_fd: kernel/bpf/inode.c)"""
    if "bpffs" not in f.parts:
        return None, [], [Param(arg, PATH)]
    if "at" not in f.args:
        there = Check(missing, lambda k, e: in_sight(k, e, e[arg]))
        return (lambda k, e: meant(k, e, e[arg])), [there], [Param(arg, PATH)]
    if f.args["at"] != "mnt":
        raise StepError("`at` is not a directory")

    def directory(k: View, e: Env) -> Value:
        return k.get(s.FILE_OBJ, f.file_of(k, e, "at"))

    checks = [
        Check("EBADF", lambda k, e: ne(f.file_of(k, e, "at"), NONE)),
        Check("ENOTDIR", lambda k, e: k.kind(directory(k, e), "mnt")),
    ]
    waits: Guard = lambda k, e: eq(k.get(s.INST, e[arg]), k.get(s.ROOT, directory(k, e)))  # noqa: E731
    return waits, checks, [Param("at", FD), Param(arg, PATH)]
