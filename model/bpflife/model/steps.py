"""What a step is: its guards, its effect, and the frame in which it runs.

An operation (a system call, a release path) is a list of steps in words, `get new from prog`.
`vocabulary.py` has every form of step as a Python function over a `View`; `graphs.py` strings
them together.

A step runs in a *frame*: a task inside a system call, or a dying object that gives up what it
holds. Both have registers (locals), a place in their operation, a lock and a grace period to wait
for; `Frame` hides which it is, so the same step serves both.

Three kinds of guard, and the difference is soundness:
  waits   the step can't run yet (a lock, the end of a grace period)
  checks  `errno` when it does not hold: a second transition, with an undo path of its own
  needs   must hold (inside the effect, `View.need`): a state where it is false is a violation
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from . import state as s
from .state import Family, View
from .values import (
    NONE,
    OBJ,
    And,
    If,
    Not,
    Or,
    Sort,
    Value,
    eq,
    ne,
    one_of,
    plus,
)

Env = Mapping[str, Value]
Effect = Callable[[View, Env], None]
Guard = Callable[[View, Env], Value]
Also = Callable[[View, Value, Value], None]  # what changes with slot (process, n): view, both


@dataclass(frozen=True)
class Param:
    """A parameter of a rule: chosen by the caller, or by whoever explores."""

    name: str
    sort: Sort
    kind: str = ""


@dataclass(frozen=True)
class Check:
    """`errno` when `holds` is false."""

    errno: str
    holds: Guard


@dataclass(frozen=True)
class Step:
    """One step, ready to run.

    Facts for the lemma templates: `regs`, what it leaves in registers (empty, full, maybe),
    `kinds`, of which kind, `lock`, whether it takes (+1) or gives (-1) the target's lock.
    """

    text: str
    words: str
    effect: Effect
    params: tuple[Param, ...] = ()
    waits: Guard | None = None
    checks: tuple[Check, ...] = ()
    regs: Mapping[str, str] = field(default_factory=dict)
    kinds: tuple[str, ...] = ()  # of what it leaves in the register it fills
    makes: str = ""  # the register that holds an object which nobody else knows yet
    behind: Mapping[str, str] = field(default_factory=dict)  # register of a file -> kind behind it
    target: str = ""  # the kind of hook target that the call works on from here
    lock: int = 0
    loop: bool = False
    gives: str = ""  # "descriptor" or "mapping": what the caller gets a name for
    turns: str = ""  # of a loop: the argument that lists what each turn is about
    done: Guard | None = None  # of a loop: when it may end
    idle: Guard | None = None  # when there is nothing to do for it: no trace tells of it then
    first: tuple[tuple[Guard, str], ...] = ()  # needed before anything else, waiting included


@dataclass(frozen=True)
class Frame:
    """Where an operation runs: the families of its registers, its position, its grace period.

    `args` maps the operation's arguments to what they are: a kind of object (the argument is a
    descriptor of one), "fd", "path", "maps" or "type". `first` starts release paths.
    """

    owner: Sort  # TASK or OBJ
    at: Family
    gp: Family
    args: Mapping[str, str]
    first: Sequence[tuple[str, int]]
    registers: Mapping[str, Family]
    kinds: Sequence[str]  # that there are
    targets: Sequence[str]  # those of them that are hooks
    parts: frozenset[str]  # of Linux, that the system has
    entry: Family
    dir: Family
    ptype: Family
    own: str = ""  # kind of the dying object
    links: Sequence[str] = ()  # the kinds of link that there are
    records: Sequence[str] = ()  # of attachments that their hook holds
    beside: Sequence[str] = ()  # of attachments to the card's hook, by whatever card
    on_own: Sequence[str] = ()  # those of them that the dying target lets go
    hook: str = ""  # of a card's operations: the kind of its target
    has_entry: bool = False  # the card's hook has an entry, by whatever card
    listed: Family | None = None  # how many attachments the card's hook has, where that is counted
    events: Sequence[str] = ()  # the kinds of perf event that there are
    program_type: int = -1
    mode_at: Family = s.MODE_AT
    mode: int = -1  # in which the card attaches, of those that there are

    def reg(self, name: str) -> Family:
        """The family of a register."""
        if name not in self.registers:
            raise StepError(f"nothing ever puts anything into `{name}`")
        return self.registers[name]

    def target(self, k: View, e: Env) -> Value:
        """The hook target that the operation works on."""
        return e["me"] if self.owner == OBJ else k.get(s.TARGET, e["me"])

    def drop(self, k: View, o: Value, maybe: bool = False) -> None:
        """Decrement, with the start of the release path at zero."""
        k.drop(o, self.first, maybe)

    def count_user(self, k: View, o: Value, n: int) -> None:
        """usercnt +- 1. The last user of a prog array leaves it to a work item to empty it; until
        that has run it holds the array, which may be in use by programs.
        (bpf_map_put_uref, prog_array_map_clear: kernel/bpf/arraymap.c, 6.12)"""
        before = k.get(s.USERCNT, o)
        k.count_user(o, n)
        if n > 0 or "maps" not in self.parts:
            return
        is_array = And(k.kind(o, "map"), one_of(k.get(s.MTYPE, o), s.CLEARED))
        now = And(is_array, k.same(before, 1), eq(k.get(s.FLUSH, o), NONE))
        k.set(s.REFCNT, (o,), If(now, plus(k.get(s.REFCNT, o), 1), k.get(s.REFCNT, o)))
        k.set(s.FLUSH, (o,), If(now, o, k.get(s.FLUSH, o)))

    def put(self, k: View, family: Family, args: tuple[Value, ...], what: str) -> None:
        """drop + clear of a slot that nobody else can read (a register, a dying owner's own)."""
        o = k.get(family, *args)
        k.need(ne(o, NONE), f"put {what} finds a reference to put")
        self.drop(k, o)
        k.set(family, args, NONE)

    def there(self, k: View, target: Value) -> Value:
        """The target can be found: it is live, and its directory (if that is what keeps it) has
        been made and not been removed. (cgroup_is_dead: kernel/cgroup/cgroup.c)"""
        if not self.dir.owners:
            return k.live(target)
        rooted = Or(Not(k.kind(target, *self.dir.owners)), ne(k.get(self.dir, target), NONE))
        return And(k.live(target), rooted)

    def file_of(self, k: View, e: Env, arg: str) -> Value:
        """The open file behind a descriptor argument; none if it is closed."""
        return k.get(s.FD_SLOT, k.get(s.PROC_OF, e["me"]), e[arg])


class StepError(ValueError):
    """The text of a step can't be understood; str() says why."""
