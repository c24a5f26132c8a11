"""What the state is made of (families of cells) and what a rule may do with it (`View`).

A *family* is a function from arguments to a value: `fd: process x descriptor -> object`. A family
whose values are objects is a family of **slots**, places that hold a pointer. The state is, above
all, "which slot points where"; `refcnt` is kept beside it as a number of its own, so that a rule
that forgets to count is a bug that the model can have and a checker can find.

A `View` is the state as one engine sees it. `Base` has the operations that are the same
everywhere; each engine defines the reading and writing of cells, choice, and quantifiers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .values import (
    BOOL,
    CPU,
    FD,
    IDX,
    LIFE,
    NAT,
    NONE,
    OBJ,
    PATH,
    PROC,
    RUN,
    TASK,
    And,
    If,
    Not,
    Or,
    Sort,
    Value,
    at_least,
    eq,
    plus,
)


@dataclass(frozen=True)
class Family:
    """One function of the state.

    `counted`: every member holds a reference on the object it points at. `user`: it also counts
    for a map's usercnt. `into`: the members hold no reference, the object counts them in a number
    of its own, this one. `owners`/`targets`: the kinds of object that its first argument and its
    value can be (empty: any). `rigid`: never changes (the kind of an object, a task's process).
    `part`: of Linux; a system without that part has no such cells.
    """

    name: str
    args: tuple[Sort, ...]
    range: Sort
    counted: bool = False
    user: bool = False
    into: Family | None = None
    owners: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    rigid: bool = False
    part: str = "core"

    @property
    def slot(self) -> bool:
        """True when the values are pointers to objects."""
        return self.range == OBJ and not self.rigid

    @property
    def tallied(self) -> bool:
        """True when some number must equal how many of these slots point at an object."""
        return self.counted or self.into is not None


ELEMENTS = {  # map type -> what an element of it can hold, by the kind behind the descriptor
    "array": "", "hash": "", "ringbuf": "", "prog_array": "prog", "array_of_maps": "map",
    "hash_of_maps": "map", "devmap": "prog", "cpumap": "prog", "perf_event_array": "perf_event",
    "sockmap": "socket",
}  # fmt: skip
MAP_TYPE = Sort("map type", tuple(ELEMENTS))
HOLDS_PROGS = tuple(getattr(MAP_TYPE, t) for t, kind in ELEMENTS.items() if kind == "prog")
HOLDS_MAPS = tuple(getattr(MAP_TYPE, t) for t, kind in ELEMENTS.items() if kind == "map")
REDIRECTS = (MAP_TYPE.devmap, MAP_TYPE.cpumap)  # to a device, a CPU: an element has more to say
CLEARED = (MAP_TYPE.prog_array, MAP_TYPE.sockmap)  # by the last user that goes

LIFE_OF = Family("life", (OBJ,), LIFE)
REFCNT = Family("refcnt", (OBJ,), NAT)
USERCNT = Family("usercnt", (OBJ,), NAT)
RUN_OF = Family("run", (PROC,), RUN)
PROC_OF = Family("proc_of", (TASK,), PROC, rigid=True)
FD_SLOT = Family("fd", (PROC, FD), OBJ, counted=True, targets=("file",))
FILE_OBJ = Family("file_obj", (OBJ,), OBJ, counted=True, user=True, owners=("file",))
USED = Family("used", (OBJ, IDX), OBJ, counted=True, owners=("prog",), targets=("map", "btf"))
PIN = Family("pin", (PATH,), OBJ, counted=True, targets=("inode",))  # a name of a file in bpffs
INODE_OBJ = Family(  # the file holds the object, however many names it has
    "inode_obj", (OBJ,), OBJ, counted=True, user=True, owners=("inode",), targets=("map", "prog")
)
CLOEXEC = Family("cloexec", (PROC, FD), BOOL, part="processes")  # closed by exec
VMA = Family("vma", (PROC, IDX), OBJ, counted=True, targets=("file",), part="processes")
CHILD = Family("on.child", (TASK,), PROC, part="processes")  # the process that a fork is making
MAKER = Family("maker", (PROC,), TASK, part="processes")  # and which task makes it
BY = Family("by", (OBJ,), TASK, part="births")  # who created it: for proofs (lemmas_graphs.py)
MMAPABLE = Family("mmapable", (OBJ,), BOOL, owners=("map",), part="maps")
PEER = Family("peer", (OBJ,), OBJ, owners=("socket",), targets=("socket",), part="passing")
SOCKET_TYPE = Sort("socket type", ("dgram", "stream"))
SOCKET_STATE = Sort(  # waiting: for accept; parted: a datagram socket that gave up on its peer
    "socket state", ("unconnected", "listening", "waiting", "connected", "parted")
)
STYPE = Family("stype", (OBJ,), SOCKET_TYPE, owners=("socket",), part="passing")
SSTATE = Family("sstate", (OBJ,), SOCKET_STATE, owners=("socket",), part="passing")
BOUND = Family("bound", (OBJ,), BOOL, owners=("socket",), part="passing")  # it has an address
RESET = Family("reset", (OBJ,), BOOL, owners=("socket",), part="passing")  # to be reported once
SENT = Family(  # a message, a connection: held by the queue that it stands in
    *("sent", (OBJ,), OBJ),
    counted=True,
    owners=("message", "socket"),
    targets=("message", "socket"),
    part="passing",
)
QUEUE = Family(
    "queue", (OBJ,), OBJ, owners=("message", "socket"), targets=("socket",), part="passing"
)
CARGO = Family(
    "cargo", (OBJ, IDX), OBJ, counted=True, owners=("message",), targets=("file",), part="passing"
)
MTYPE = Family("mtype", (OBJ,), MAP_TYPE, owners=("map",), part="maps")
ELEM = Family(
    "elem", (OBJ, IDX), OBJ, counted=True, owners=("map",), part="maps",
    targets=("prog", "map", "file", "psock"),
)  # fmt: skip
VIA = Family(  # it takes the element along: the file by which a perf event array got it, the
    "via", (OBJ, IDX), OBJ, owners=("map",), targets=("file", "netns"), part="maps"
)  # network namespace whose device a devmap redirects to
PRESERVE = Family("preserve", (OBJ,), BOOL, owners=("map",), part="maps")  # so that it doesn't
FLUSH = Family(  # the work item that empties a prog array holds the array until it has run
    "flush", (OBJ,), OBJ, counted=True, owners=("map",), targets=("map",), part="maps"
)
OWNED = Family("owned", (OBJ,), BOOL, owners=("map",), part="maps")  # a prog array has its type
INNER = Family("inner", (OBJ,), MAP_TYPE, owners=("map",), part="maps")
SLEEP = Sort("sleepable", ("no", "yes", "wrong"))  # wrong: asked for, and its type can't
SLEEPABLE = Family("sleepable", (OBJ,), SLEEP, owners=("prog",), part="flavours")
SLEEPERS = Family("sleepable_refcnt", (OBJ,), NAT, owners=("map",), part="flavours")
USED_ASLEEP = Family(  # `used` of a sleepable program
    "used_asleep", (OBJ, IDX), OBJ, into=SLEEPERS, owners=("prog",), targets=("map",),
    part="flavours",
)  # fmt: skip
IN_RCU = Family("in_rcu", (CPU,), BOOL, part="flavours")  # readers, by flavour (readers.py)
IN_TRACE = Family("in_trace", (CPU,), BOOL, part="flavours")
INSIDE = Family("inside", (CPU,), OBJ, part="flavours")  # the hook that was entered
CALLED_BY = Family("called_by", (CPU,), OBJ, part="traced links")  # whose program it is, for proofs
SEES = Family("sees", (CPU,), OBJ, targets=("map",), part="maps")  # an inner map, not counted
SEEN_BY = Family("seen_by", (CPU,), IDX, part="maps")  # in which of the used maps, for proofs
SEEN_AT = Family("seen_at", (CPU,), IDX, part="maps")  # and in which element
AFTER_RCU = Family("free_after_rcu_gp", (OBJ,), BOOL, owners=("map",), part="maps")
AFTER_MULT = Family("free_after_mult_rcu_gp", (OBJ,), BOOL, owners=("map",), part="maps")
MODE = Sort("mode", ("read_write", "read_only", "write_only"))
MODE_OF = Family("mode", (OBJ,), MODE, owners=("file",), part="access")  # f_mode
FROZEN = Family("frozen", (OBJ,), BOOL, owners=("map",), part="access")
WRITECNT = Family("writecnt", (OBJ,), NAT, owners=("map",), part="access")
WRITES = Family(  # a writable mapping: the map is its vm_private_data
    "writes", (PROC, IDX), OBJ, into=WRITECNT, targets=("map",), part="access"
)
BTF_OF = Family(
    "btf", (OBJ,), OBJ, counted=True, owners=("map", "prog"), targets=("btf",), part="btf"
)
SOCKMAP_HOOK = Sort("sockmap hook", ("sk_skb_verdict", "sk_msg_verdict"))
VERDICTS = tuple(  # a sockmap's programs by hook; a socket's own are held by its psock
    Family(
        name, (OBJ,), OBJ, counted=True, owners=("map", "psock"), targets=("prog",), part="sockmap"
    )
    for name in ("skb_verdict", "msg_parser")
)
PSOCK = Family("psock", (OBJ,), OBJ, owners=("socket",), targets=("psock",), part="sockmap")
SOCK = Family("sock", (OBJ,), OBJ, owners=("psock",), targets=("socket",), part="sockmap")
INST = Family("inst", (PATH,), OBJ, rigid=True, part="bpffs")  # whose name it is; none: the first's
POINT = Family("point", (OBJ,), PATH, owners=("bpffs",), part="bpffs")  # where it was mounted
ROOT = Family("root", (OBJ,), OBJ, counted=True, owners=("mnt",), targets=("bpffs",), part="bpffs")
MOUNTED = Family(  # a mount is held by being mounted
    "mounted", (OBJ,), OBJ, counted=True, owners=("mnt",), targets=("mnt",), part="bpffs"
)
NS_OF = Family("ns_of", (OBJ,), OBJ, owners=("mnt",), targets=("mntns",), part="bpffs")
COVER = Family("cover", (OBJ,), OBJ, owners=("mnt",), targets=("mnt",), part="bpffs")
BELOW = Family("below", (OBJ,), OBJ, owners=("mnt",), targets=("mnt",), part="bpffs")
COPY = Family("copy", (OBJ,), OBJ, owners=("mnt",), targets=("mnt",), part="bpffs")  # the last
NS = Family("ns", (PROC,), OBJ, counted=True, targets=("mntns",), part="bpffs")  # none: the world's
NET = Family("net", (PROC,), OBJ, counted=True, targets=("netns",), part="net")  # none: the world's
SK_NET = Family(
    *("sk_net", (OBJ,), OBJ), counted=True, owners=("socket", "tap"), targets=("netns",), part="net"
)
ND_NET = Family("nd_net", (OBJ,), OBJ, owners=("netdev",), targets=("netns",), part="net")
CABLE = Family(  # where what a device sends comes out: at another device, or at a tap's open file
    *("cable", (OBJ,), OBJ), owners=("netdev", "tap"), targets=("netdev", "tap"), part="net"
)
QDISC = Family("qdisc", (OBJ,), OBJ, owners=("netdev",), targets=("clsact",), part="tc")
QDISC_OF = Family("qdisc_of", (OBJ,), OBJ, owners=("clsact",), targets=("netdev",), part="tc")
UP = Family("up", (OBJ,), BOOL, owners=("netdev",), part="routes")  # the device is switched on
# An attachment that is an object (vocabulary/attachments.py) holds its program until it is freed,
# and stands in the list of its target until it is detached. A record is held by that list, a link
# by files and pins.
LINK_PROG = Family("link_prog", (OBJ,), OBJ, counted=True, targets=("prog",), part="attachments")
LISTED = Family("listed", (OBJ,), OBJ, part="attachments")
RECORDED = Family("recorded", (OBJ,), OBJ, counted=True, part="records")
MODE_AT = Family("attach_mode", (OBJ,), Sort("attach mode"), part="modes")  # of the hook's entry
HOLDS = Family(  # what a link is attached to, where it keeps that
    *("holds", (OBJ,), OBJ), counted=True, user=True, targets=("file", "map", "netns"), part="holds"
)
ENTRY_BY = Family("entry_by", (OBJ,), OBJ, part="entry_by")  # the link that the entry is of
PRIORITY = Family(  # of an attachment that says when it runs
    *("priority", (OBJ,)), Sort("priority", ("first", "second", "third")), part="priorities"
)
RUNS_BEFORE = Family("runs_before", (OBJ, OBJ), BOOL, part="order")  # of attachments of one hook
PUBLISHED = Family("published", (OBJ,), BOOL, part="processes")  # its id can be looked up
XDP_STATE = Family(  # dev->xdp_state; what runs is another pointer, the hook's entry
    "xdp_state", (OBJ,), OBJ, counted=True, owners=("netdev",), targets=("prog",), part="xdp_state"
)
DISPATCHED = Family(  # the machine's dispatcher jumps to it: held while any device runs it
    "dispatched", (OBJ,), OBJ, counted=True, owners=("prog",), targets=("prog",), part="xdp"
)
MEMBER = Family("member", (PROC,), OBJ, targets=("cgroup",), part="membership")
BORN, PEER_BORN = (  # where a socket, a message was made; where a closed socket was, by its peer
    Family(name, (OBJ,), OBJ, counted=True, owners=owners, targets=("cgroup",), part="membership")
    for name, owners in (
        ("born", ("socket", "message", "netns", "tap")), ("peer_born", ("socket",)),
    )
)  # fmt: skip
RUNNING = Family("running", (CPU,), OBJ, targets=("prog",))
GP_OBJ = Family("gp", (OBJ, CPU), BOOL)
GP_CALL = Family("call_gp", (TASK, CPU), BOOL)
LOCK = Family("lock", (OBJ,), TASK)
LOCK_SELF = Family("lock_self", (OBJ,), BOOL)
TARGET = Family("on.target", (TASK,), OBJ)  # the hook target that a call is inside of: not counted


PLACE = Sort("place")  # where a task is in its call; 0 is idle
RELEASE_PLACE = Sort("release place")  # where a dying object is in its release path; 0 is none
PC = Family("pc", (TASK,), PLACE)
AT = Family("at", (OBJ,), RELEASE_PLACE)


MORE = (  # the families of the parts of Linux beyond the core
    *(CLOEXEC, VMA, CHILD, MAKER, BY, MMAPABLE, PUBLISHED),
    *(PEER, STYPE, SSTATE, BOUND, RESET, SENT, QUEUE, CARGO),
    *(MTYPE, ELEM, VIA, PRESERVE, FLUSH, OWNED, INNER),
    *(MODE_OF, FROZEN, WRITECNT, WRITES),
    *(SLEEPABLE, SLEEPERS, USED_ASLEEP, IN_RCU, IN_TRACE, INSIDE, CALLED_BY),
    *(SEES, SEEN_BY, SEEN_AT, AFTER_RCU, AFTER_MULT),
    *(BTF_OF, *VERDICTS, PSOCK, SOCK),
    *(INST, POINT, ROOT, MOUNTED, NS_OF, COVER, BELOW, COPY, NS),
    *(NET, SK_NET, ND_NET, CABLE),
    *(QDISC, QDISC_OF, UP),
    *(XDP_STATE, DISPATCHED),
    *(MEMBER, BORN, PEER_BORN),
)


class Broken(Exception):
    """A step needs something that is not so; str() says what. A violation, never a wait."""


class View(ABC):
    """The state as one engine sees it, while a rule runs on it."""

    kind_names: Sequence[str]

    # -- cells ---------------------------------------------------------------------------------

    @abstractmethod
    def get(self, family: Family, *args: Value) -> Value:
        """The value of a cell, with the updates that this rule has made; at none the default."""

    @abstractmethod
    def set(self, family: Family, args: Sequence[Value], value: Value) -> None:
        """Point update; at none it is ignored."""

    @abstractmethod
    def each(self, family: Family, new: Callable[..., Value]) -> None:
        """Every cell at once: `new(old, *args)`, reading the state before the update."""

    @abstractmethod
    def kind(self, o: Value, *kinds: str) -> Value:
        """The object is of one of these kinds (none is of no kind)."""

    @abstractmethod
    def by_kind(self, o: Value, table: Sequence[tuple[str, int]], sort: Sort) -> Value:
        """The literal that stands beside the object's kind in the table, else 0."""

    # -- guards --------------------------------------------------------------------------------

    @abstractmethod
    def when(self, guard: Value) -> None:
        """The rule can only fire when this holds (it waits)."""

    @abstractmethod
    def need(self, guard: Value, what: str) -> None:
        """This must hold here; a state in which it does not is a violation (see Broken)."""

    # -- choice and quantifiers ----------------------------------------------------------------

    @abstractmethod
    def lowest(self, sort: Sort, pred: Callable[[Value], Value], kind: str = "") -> Value:
        """The lowest entity (of a kind, for objects) for which pred holds; the rule waits if
        there is none. Unbounded: any such entity, which covers the lowest."""

    @abstractmethod
    def find(self, sort: Sort, pred: Callable[[Value], Value], kind: str = "") -> Value:
        """The lowest entity (of a kind, for objects) for which pred holds, or none. Unbounded: any
        such entity; none only if there is none."""

    @abstractmethod
    def all(self, sort: Sort, pred: Callable[[Value], Value], kind: str = "") -> Value:
        """pred holds for every entity of the sort (of the kind, for objects)."""

    @abstractmethod
    def holders(self, families: Sequence[Family], o: Value) -> Value:
        """How many slots of these families point at the object: real counting where the state
        is finite, ghost cardinalities where it is not."""

    @abstractmethod
    def same(self, value: Value, number: Value) -> Value:
        """Two counts are equal."""

    # -- what all views share: the counting rules ----------------------------------------------

    def live(self, o: Value) -> Value:
        """The object can be found and used: its count has not reached zero."""
        return eq(self.get(LIFE_OF, o), LIFE.live)

    def inc(self, o: Value, unless: Value = False) -> None:
        """refcnt + 1. The caller must hold or see a reference: from zero nothing comes back.
        (bpf_map_inc, bpf_prog_inc: kernel/bpf/syscall.c, 6.12)"""
        count = self.get(REFCNT, o)
        self.need(Or(unless, at_least(count, 1)), "an increment finds a count above zero")
        self.set(REFCNT, (o,), If(unless, count, plus(count, 1)))

    def drop(self, o: Value, first: Sequence[tuple[str, int]], maybe: bool = False) -> None:
        """refcnt - 1, and nothing else: the pointer that held it stays. At zero the object is
        dying and its release path starts at `first[kind]`. `maybe`: none is fine.
        (bpf_map_put, __bpf_prog_put, fput: kernel/bpf/syscall.c, fs/file_table.c, 6.12)"""
        count = self.get(REFCNT, o)
        fine = at_least(count, 1)
        fine = Or(eq(o, NONE), fine) if maybe else fine
        self.need(fine, "a decrement finds a count above zero")
        self.set(REFCNT, (o,), plus(count, -1))
        last = self.same(count, 1)
        self.set(LIFE_OF, (o,), If(last, LIFE.dying, self.get(LIFE_OF, o)))
        start = self.by_kind(o, first, RELEASE_PLACE)
        self.set(AT, (o,), If(last, start, self.get(AT, o)))

    def count_user(self, o: Value, n: int) -> None:
        """usercnt +- 1 if the object is a map; nothing else has one.
        (bpf_map_inc_with_uref, bpf_map_put_uref: kernel/bpf/syscall.c, 6.12)"""
        old, is_map = self.get(USERCNT, o), self.kind(o, "map")
        if n < 0:
            self.need(Or(Not(is_map), at_least(old, 1)), "a user that goes finds a user count")
        self.set(USERCNT, (o,), If(is_map, plus(old, n), old))

    def tally(self, family: Family, args: Sequence[Value], o: Value) -> None:
        """The slot points at `o` from now on (none: at nothing), and the objects that it points and
        pointed at know by a number of their own how many such slots there are.
        (bpf_map_write_active_inc, sleepable_refcnt: kernel/bpf/syscall.c, verifier.c, 6.12)"""
        assert family.into is not None
        for x, n in ((self.get(family, *args), -1), (o, 1)):
            count = self.get(family.into, x)
            if n < 0:
                self.need(Or(eq(x, NONE), at_least(count, 1)), "what goes was counted")
            self.set(family.into, (x,), plus(count, n))
        self.set(family, args, o)

    def start_grace_period(
        self, waits: Family, owner: Value, inside: Callable[[Value], Value]
    ) -> None:
        """Wait for the CPUs that are inside now; later readers are not waited for.
        (call_rcu, synchronize_rcu: kernel/rcu/tree.c)"""

        def snapshot(old: Value, who: Value, cpu: Value) -> Value:
            return If(eq(who, owner), inside(cpu), old)

        self.each(waits, snapshot)

    def grace_period_over(self, waits: Family, owner: Value) -> Value:
        """Every reader that the grace period waits for has left."""
        return self.all(CPU, lambda cpu: eq(self.get(waits, owner, cpu), False))

    def unlocked(self, target: Value) -> Value:
        """Nobody holds the target's lock."""
        return And(eq(self.get(LOCK, target), NONE), eq(self.get(LOCK_SELF, target), False))
