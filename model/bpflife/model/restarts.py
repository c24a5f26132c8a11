"""The incident of 2018 as one procedure for every card: a loader that is started again and again.

A loader attaches its program and exits (or crashes), and the next one begins where it began: it
loads the program again, attaches it, exits. Nobody cleans up. What is left at the hook after n
starts depends on what the attachment lives with; the last loader is still there.

The steps are those of the card's example: what makes the hook is done once, by somebody who stays;
loading and attaching by each loader, a child of that process. (A hook that an open file keeps is
opened by each loader.)
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from .cards import AttachCard
from .catalogue import load_card, system_for
from .concrete import Blocked
from .documents import InputError, Scenario, Settled, Step
from .language import Language, StepSpec
from .values import OBJ
from .world import World, network_of

MOST = 30  # starts that fit into a scenario
STAYS = "admin"


@dataclass(frozen=True)
class Left:
    """What is at the hook: attachments, and those of them whose program (or link) a process still
    has a descriptor of."""

    attachments: int
    behind: int


def restarted(api: str, times: int) -> Scenario:
    """The loader of a card, started so many times. InputError: the card has no example."""
    card = load_card(api)
    if not card.example:
        raise InputError(f"{api}: example: without one nobody knows how its loader begins")
    language = Language(system_for([api]))
    once, each = _parts(card, language)
    steps = [step.model_copy(update={"by": STAYS}) for step in once]
    for number in range(1, times + 1):
        loader = f"loader{number}"
        steps.append(Step(do="fork", by=STAYS, child=loader))
        steps += [_renamed(step, language, loader, str(number)) for step in each]
        steps += [Step(do="exit", by=loader)] if number < times else []
    title = f"{card.title}: a loader is started {times} times"
    return Scenario(scenario=f"{api}_restarts", title=title, cards=[api], steps=steps)


def left(state: Settled) -> Left:
    """Counted in a settled state, the model's or the kernel's."""
    seen = {name: progs for name, progs in state.hooks.items() if not _again(name)}
    programs = [prog for progs in seen.values() for prog in progs]
    held = {(kind, name) for files in state.fds.values() for kind, name, _ in files.values()}
    by_link = {prog for name, (_, prog, _) in state.links.items() if ("link", name) in held}
    behind = [prog for prog in programs if ("prog", prog) in held or prog in by_link]
    return Left(len(programs), len(behind))


def runs_per_event(world: World) -> int:
    """The programs that one event at each hook runs, one after the other: so many ways to enter one
    do the rules allow."""
    rules, number = {rule.name: rule for rule in world.system.rules()}, 0
    for hook in world.scope.domain(OBJ, "|".join(world.system.targets)):
        ways = [("enter", "hook", hook)]
        ways += [("enter_link", "link", n) for n in world.attachments_of(hook)]
        for name, what, n in ways:
            rule = rules.get(name)
            kinds = next((p.kind for p in rule.params if p.name == what), "") if rule else ""
            if rule is None or world.scope.kinds[n - 1] not in kinds.split("|"):
                continue
            with contextlib.suppress(Blocked):
                world.fire(rule, {"c": 1, what: n})
                number += 1
    return number


def _again(hook: str) -> bool:
    """The network namespace of a loader is that of who stays."""
    return hook.startswith(network_of("")) and not hook.startswith(network_of(STAYS))


def _parts(card: AttachCard, language: Language) -> tuple[list[Step], list[Step]]:
    """Of the example: what makes the hook, and what every loader does, up to its attach."""
    own = {spec.do for spec in language.specs if spec.api == card.api}
    attach = next(n for n, step in enumerate(card.example) if step.do in own)
    before = card.example[:attach]
    load = next(step for step in before if step.do == "prog_load")
    opened = [step for step in before if _is_loaders(card, language, step)]
    others = [step for step in before if step not in opened and step.do != "prog_load"]
    return others, [*opened, load, card.example[attach]]


def _is_loaders(card: AttachCard, language: Language, step: Step) -> bool:
    """Each loader opens for itself what the attachment needs a descriptor of."""
    returns = any(arg.kind == "newfd" for arg in language.spec(step, card.api).args)
    return returns and step.do != "prog_load"


def _renamed(step: Step, language: Language, by: str, number: str) -> Step:
    """The step as a loader's own: what is new has a name of this start."""
    spec = language.spec(step, "example")
    args = {name: _own(spec, name, value, by, number) for name, value in step.args.items()}
    return Step(do=step.do, by=by, **args)


def _own(spec: StepSpec, name: str, value: object, by: str, number: str) -> object:
    arg = next((a for a in spec.args if a.name == name), None)
    if arg is None or not isinstance(value, str):
        return value
    if arg.kind == "process":
        return by
    return f"{value}{number}" if arg.kind in ("name", "fd", "newfd") else value
