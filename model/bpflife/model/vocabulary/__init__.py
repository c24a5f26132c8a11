"""The vocabulary: every kernel step that an operation can be made of, each written once.

`bpflife list vocabulary` prints the forms with what their docstrings say. A new form is in all
three views at once, because it only uses what every `View` has.
"""

from . import (
    access,
    hooks,
    maps,
    objects,
    passing,
    pins,
    processes,
    programs,
    references,
    sockmaps,
    waiting,
)
from .registry import OWN_SLOTS, VOCABULARY, make_step, part_of, registers_of
from .waiting import WAITS

__all__ = ["OWN_SLOTS", "VOCABULARY", "WAITS", "make_step", "part_of", "registers_of"]

MODULES = (
    references,
    objects,
    programs,
    pins,
    hooks,
    waiting,
    processes,
    passing,
    maps,
    sockmaps,
    access,
)  # each registers its own
