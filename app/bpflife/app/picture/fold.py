"""What a picture leaves out: a file in bpffs that never has a second name is drawn as its pin.

The file (the inode) holds the object, and a name holds the file. As long as there is one name that
is a distinction without a difference; with a second one it is the point.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from bpflife.model.documents import Slot, State, Trace


def folded(trace: Trace) -> Trace:
    """The trace without such files: what they hold is held by their pin. A counterexample stays
    as it is: it may be about the file."""
    if trace.violation:
        return trace
    plain = _files(trace.states) - _of_several_names(trace.states)
    names: dict[str, str] = {}  # of each of them, the last that it had
    states = [_folded(state, plain, names) for state in trace.states]
    return trace.model_copy(update={"states": states})


def _files(states: Iterable[State]) -> set[str]:
    """The files that have a name at some time."""
    return {slot.points for state in states for slot in state.slots if slot.slot == "pin"}


def _of_several_names(states: Iterable[State]) -> set[str]:
    found: set[str] = set()
    for state in states:
        names = Counter(slot.points for slot in state.slots if slot.slot == "pin")
        found |= {file for file, n in names.items() if n > 1}
    return found


def _folded(state: State, plain: set[str], names: dict[str, str]) -> State:
    names |= {x.points: x.owner for x in state.slots if x.slot == "pin" and x.points in plain}
    slots = []
    for slot in state.slots:
        if slot.slot == "inode_obj" and slot.owner in names:
            slots.append(slot.model_copy(update={"slot": "pin", "owner": names[slot.owner]}))
        elif slot.slot != "pin" or slot.points not in plain:
            slots.append(_of_pin(slot, names))
    objects = {name: thing for name, thing in state.objects.items() if name not in plain}
    return state.model_copy(update={"slots": slots, "objects": objects})


def _of_pin(slot: Slot, names: dict[str, str]) -> Slot:
    """A slot that leads to a file leads to its pin."""
    return slot.model_copy(update={"points": names[slot.points]}) if slot.points in names else slot
