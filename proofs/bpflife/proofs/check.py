"""Checks one property of one card (or all of them) and answers with verdicts.

First the unbounded induction: what it proves holds for any number of objects, and nothing more is
asked. What it does not prove is looked for by bounded search in a small scope; then two scopes, one
with two threads and one with two processes, are visited as a whole, which finds what was too deep
or proves the property there; then a larger scope is searched as far as the time goes. A path is
replayed by the simulator before it becomes a verdict. What nothing decides is said to be so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bpflife.model.cards import AttachCard
from bpflife.model.documents import InputError, Verdict, scope_words
from bpflife.model.properties import CATALOGUE, Invariant, Property
from bpflife.model.system import System

from . import end
from .alive import never
from .explicit import Explicit
from .induction import Induction
from .replay import replay
from .scopes import LARGER, ROOMY, SMALL, TWO_PROCESSES, TWO_THREADS, Cancelled, Found, fitted
from .search import Search

MICRO = "every call in micro-steps"
MIXED = "calls of the card in micro-steps or whole, all others whole"
UNIT = "steps; a call that nothing interleaves with is one"


FINE = ("PROVED", "PROVED for scope S", "DOES NOT APPLY")  # where the card expects nothing else


@dataclass(frozen=True)
class Rung:
    """One bounded attempt: an engine, its scope, and what it may spend."""

    engine: str  # "search" (Z3) or "explicit" (every state, in the simulator)
    sizes: dict[str, int]
    depth: int
    seconds: float


LADDER = (
    Rung("search", SMALL, 16, 60.0),
    Rung("explicit", TWO_THREADS, 60, 90.0),
    Rung("explicit", TWO_PROCESSES, 60, 90.0),
    Rung("search", LARGER, 9, 20.0),
)

Say = Callable[[str], None]


@dataclass
class Checker:
    """One card under check: the induction is done once and serves all properties."""

    card: AttachCard
    say: Say = lambda _: None
    cancelled: Callable[[], bool] = lambda: False
    ladder: Sequence[Rung] = LADDER
    system: System = field(init=False)

    def __post_init__(self) -> None:
        self.system = System([self.card])
        self.ladder = [replace(r, sizes=fitted(self.system, r.sizes)) for r in self.ladder]
        self.induction: Induction | None = None
        self.idle: list[str] | None = None
        self.broken: list[str] | None = None

    # -- proving -------------------------------------------------------------------------------

    def _induce(self) -> Induction:
        if self.induction is None:
            induction = Induction(self.system, self.say, self.cancelled)
            self.proof = induction.run()
            self.induction = induction
        return self.induction

    def unproved(self, prop: Property) -> list[str]:
        """What is left to show of a property; empty: it is proved."""
        induction = self._induce()
        if prop.form == "state":
            names = [i.name for i in prop.invariants(self.system)]
            broken, kept = self.proof.dropped, set(self.proof.kept)
            return [f"{n} (broken by {broken.get(n, '?')})" for n in names if n not in kept]
        if prop.form == "needs":
            return self._broken()
        if prop.form == "step":
            return induction.gap_unproved(self.system.steps_of(self.card.api, prop.operation))
        return end.unproved(induction, prop.invariants(self.system))

    def _idle(self) -> list[str]:
        if self.idle is None:
            self.idle = never(self.system, self.card.api, self.cancelled)
        return self.idle

    def _provided(self, prop: Property) -> str:
        """What a proof takes for granted: behind a step that breaks there are no states."""
        if prop.form == "needs" or not self._broken():
            return ""
        return "as long as no step breaks: see no-broken-step"

    def _broken(self) -> list[str]:
        if self.broken is None:
            self.broken = self._induce().needs_unproved()
        return self.broken

    def lemmas(self) -> list[Invariant]:
        """The proved lemmas that a search may prune with (not those about single places)."""
        induction = self._induce()
        kept = [induction.lemmas[n].invariant for n in self.proof.kept]
        return [i for i in kept if i.places is None and not i.name.startswith("at ")]

    # -- verdicts ------------------------------------------------------------------------------

    def verdict(self, prop: Property) -> Verdict:
        """The verdict on one property. Raises Cancelled."""
        began = time.monotonic()
        field_ = prop.applies(self.system, self.card.api)
        if field_:
            return self._done(prop, began, word="DOES NOT APPLY", reason=field_)
        idle = self._idle()
        if idle:
            found = self._why_idle(prop, began)
            if found:
                return found
            reason = f"{'; '.join(idle)}: there is nothing to show"
            return self._done(
                prop, began, word="UNDECIDED", reason=reason, scope=fitted(self.system, ROOMY)
            )
        left = self.unproved(prop)
        before = self._induce().obligations
        if not left:
            return self._done(
                prop, began, word="PROVED", granularity=MICRO, obligations=before,
                lemmas=self.proof.kept, reason=self._provided(prop),
            )  # fmt: skip
        return self._search(prop, left, began)

    def _why_idle(self, prop: Property, began: float) -> Verdict | None:
        """A step that breaks may be why an operation never does what it is for."""
        left = self.unproved(prop) if prop.form == "needs" else []
        verdict = self._search(prop, left, began) if left else None
        return verdict if verdict and verdict.word == "VIOLATED" else None

    def _search(self, prop: Property, left: list[str], began: float) -> Verdict:
        """Climb the ladder until somebody finds a violation."""
        whole: list[Rung] = []
        partly = False  # a scope that was to be visited as a whole was not: the time was over
        deepest: tuple[dict[str, int], int] = ({}, 0)
        for rung in self.ladder:
            found, depth, complete = self._climb(rung, prop)
            if found:
                trace = replay(self.system, prop, self.card.api, rung.sizes, found)
                return self._done(
                    prop, began, word="VIOLATED", trace=trace, scope=rung.sizes,
                    depth=len(found.path), unit=UNIT, granularity=MIXED, unproved=left,
                )  # fmt: skip
            whole += [rung] if complete else []
            partly |= rung.engine == "explicit" and not complete
            deepest = (rung.sizes, depth) if depth > 0 and not complete else deepest
        shared: dict[str, Any] = {"unit": UNIT, "granularity": MIXED, "unproved": left}
        scope, depth = deepest
        if whole and not partly:
            more = "every state of the scope was visited"
            others = [scope_words(rung.sizes) for rung in whole[:-1]]
            more += f"; and of scope ({'), ('.join(others)})" if others else ""
            more += f"; {self._provided(prop)}" if self._provided(prop) else ""
            if scope:
                beyond = scope_words(scope)
                more += f"; beyond it, no violation up to depth {depth} in scope ({beyond})"
            return self._done(
                prop, began, word="PROVED for scope S", scope=whole[-1].sizes, reason=more, **shared
            )
        if depth:
            word = "NO VIOLATION up to depth k in scope S"
            why = "the time was over" if partly else ""
            return self._done(
                prop, began, word=word, scope=scope, depth=depth, reason=why, **shared
            )
        reason = "timeout: no search had the time for a single step"
        return self._done(prop, began, word="UNDECIDED", reason=reason, **shared)

    def _climb(self, rung: Rung, prop: Property) -> tuple[Found | None, int, bool]:
        """A violation, or the depth that was searched; and whether that is every state."""
        rules = self.system.search_rules([self.card.api])
        limits = (rung.depth, self.say, self.cancelled, rung.seconds)
        if rung.engine == "explicit":
            seen = Explicit(self.system, rules, rung.sizes, self.card.api).run([prop], *limits)
            return seen.found.get(prop.name), seen.depth, seen.complete
        search = Search(self.system, rules, rung.sizes, self.lemmas(), self.card.api)
        found, depth = search.run([prop], *limits)
        return found.get(prop.name), depth, False

    def _done(self, prop: Property, began: float, **what: object) -> Verdict:
        expectation = self.card.expect.get(prop.name)
        wanted = expectation.is_ if expectation else None
        word = what["word"]
        fine = word == wanted if wanted else word in FINE
        return Verdict(
            card=self.card.api, property=prop.name, sentence=prop.sentence,
            holds_with=[self.card.api], seconds=round(time.monotonic() - began, 3),
            expected=fine, because=expectation.because if expectation else "", **what,
        )  # fmt: skip


def property_named(name: str) -> Property:
    """A property of the catalogue; InputError names those there are."""
    if name not in CATALOGUE:
        raise InputError(f"no property `{name[:60]}`; there are {', '.join(CATALOGUE)}")
    return CATALOGUE[name]


def check(
    card: AttachCard,
    property_name: str,
    *,
    progress: Say = lambda _: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Verdict:
    """The verdict on one property of a card.

    Raises InputError for an unknown property or a card that can't be compiled, Cancelled when
    `cancelled()` becomes true (it is asked between questions to the solver).
    """
    return Checker(card, progress, cancelled).verdict(property_named(property_name))


def check_all(
    card: AttachCard,
    properties: Sequence[str] = (),
    *,
    progress: Say = lambda _: None,
    cancelled: Callable[[], bool] = lambda: False,
    each: Callable[[Verdict], None] = lambda _: None,
) -> list[Verdict]:
    """Verdicts on several properties (all, by default), with one induction; `each` gets every
    verdict as soon as it is there."""
    checker = Checker(card, progress, cancelled)
    found = []
    for name in properties or CATALOGUE:
        found.append(checker.verdict(property_named(name)))
        each(found[-1])
    return found


__all__ = ["Cancelled", "Checker", "check", "check_all"]
