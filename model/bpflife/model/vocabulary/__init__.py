"""The vocabulary: every kernel step that an operation can be made of, each written once.

`bpflife list vocabulary` prints the forms with what their docstrings say. A new form is in all
three views at once, because it only uses what every `View` has.
"""

from . import (
    access,
    attachments,
    disciplines,
    dispatcher,
    hooks,
    links,
    maps,
    members,
    mounts,
    named,
    networks,
    objects,
    passing,
    pins,
    processes,
    programs,
    references,
    routes,
    sockets,
    sockmaps,
    waiting,
)
from .passing import MAX_CARGO
from .registry import OWN_SLOTS, VOCABULARY, make_step, part_of, registers_of
from .waiting import WAITS

__all__ = ["MAX_CARGO", "OWN_SLOTS", "VOCABULARY", "WAITS", "make_step", "part_of", "registers_of"]

MODULES = (
    references,
    objects,
    programs,
    pins,
    hooks,
    dispatcher,
    waiting,
    processes,
    passing,
    sockets,
    maps,
    sockmaps,
    members,
    access,
    mounts,
    networks,
    disciplines,
    attachments,
    named,
    routes,
    links,
)  # each registers its own
