"""Documents that can't be read: what is said about them, and where."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bpflife.app import inputs
from bpflife.model import documents
from bpflife.model.cards import AttachCard
from bpflife.model.documents import InputError, Scenario, parse_document, read_text
from bpflife.model.system import System

ROOT = Path(__file__).parent.parent
CARD = (ROOT / "model/bpflife/model/cards/cgroup_legacy.yaml").read_text("utf-8")
STORY = (ROOT / "model/bpflife/model/stories/2_two_phase_load.yaml").read_text("utf-8")
HEAD = "scenario: mine\n"
STEPS = f"{HEAD}steps:\n"


def refused(kind: type[documents.Document], text: str) -> str:
    with pytest.raises(InputError) as caught:
        parse_document(kind, text, "f")
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    for word in (
        "Input should",
        "instance of",
        "validation",
        "Value error",
        "pattern",
        "Operation",
    ):
        assert word not in message
    return message


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("stepz: []\n", "f:2: stepz: no such field; did you mean `steps`?"),
        ("titel: x\nsteps: []\n", "f:2: titel: no such field; did you mean `title`?"),
        ("zzz: x\nsteps: []\n", "f:2: zzz: no such field; there are scenario, version, title,"),
        ("title: x\n", "f: steps: this field is missing"),
        ("steps: {a: 1}\n", "f:2: steps: expected a list"),
        ("steps: [exit]\n", "f:2: steps.1: expected fields (`name: value`) (got 'exit')"),
        (f"steps: [{'{do: exit},' * 201}]\n", "f:2: steps: at most 200 entries; there are 201"),
        ("steps: [{do: Exit}]\n", "f:2: steps.1.do: a name is a small letter, then small letters"),
        (f"steps: [{{do: {'a' * 57}}}]\n", "a name has at most 40 characters; this has 57"),
        (f"steps: []\ntitle: {'x' * 301}\n", "f:3: title: at most 300 characters; this has 301"),
        ("steps: []\nversion: 2\n", "f:3: version: expected 1 (got '2')"),
        ("steps: []\nsettle: maybe\n", "f:3: settle: expected true or false (got 'maybe')"),
        ("steps: []\ntitle: a: b\n", "f:3: not YAML: mapping values are not allowed in this "
         "context; put a text with a colon in quotes"),
        ("steps: []\ntitle: !!bool maybe\n", "f: not YAML: a value does not fit its tag"),
        ("steps: []\ntitle: !!timestamp soon\n", "f: not YAML: a value does not fit its tag"),
        ("steps: []\ncards: [pin, cgroup, pin]\n", "f:3: cards: `pin` is there twice"),
    ],
)  # fmt: skip
def test_a_scenario_is_refused_in_plain_words(text: str, wanted: str) -> None:
    assert wanted in refused(Scenario, HEAD + text)


@pytest.mark.parametrize(
    ("errno", "read"), [("0", "0"), ('"0"', "0"), ("EBUSY", "EBUSY"), ("ENOTSUPP", "ENOTSUPP")]
)
def test_an_errno_has_a_name_or_is_0(errno: str, read: str) -> None:
    text = f"{STEPS}  - {{do: exit, by: a, errno: {errno}}}\n"
    assert parse_document(Scenario, text, "f").steps[0].errno == read


@pytest.mark.parametrize(
    ("errno", "wanted"),
    [
        ("EWHATEVER", "expected a name (EBUSY), or 0 for success (got 'EWHATEVER')"),
        ("EBSUY", "did you mean `EBUSY`? (got 'EBSUY')"),
        ("16", "(got '16')"),
        ("no", "(got 'False')"),
        ("[EBUSY]", "expected a name"),
    ],
)
def test_other_errnos_are_refused(errno: str, wanted: str) -> None:
    message = refused(Scenario, f"{STEPS}  - do: exit\n    errno: {errno}\n")
    assert message.startswith("f:4: steps.1.errno: no such errno; ")
    assert message.endswith(wanted) or wanted in message


COLON = "YAML reads this line as a mapping because of its colon: quote it "
REPLACE = "  replace:\n    title: x\n    sentence: y\n    steps:\n      - wait rcu: begin\n"


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ("- lock target", "- wait rcu: begin",
         f'f:25: operations.attach.steps.3: {COLON}("wait rcu: begin"), or an undo list is'),
        ("- lock target", "- wait rcu:", f'f:25: operations.attach.steps.3: {COLON}("wait rcu:")'),
        ("  replace: attach\n", REPLACE, f"f:37: operations.replace.steps.1: {COLON}"),
        ("[unlock target, put new]", "[unlock target, {put new: x}]",
         f'f:26: operations.attach.steps.4.undo.2: {COLON}("put new: x")'),
        ("[unlock target, put new]", "unlock target",
         "f:26: operations.attach.steps.4: the undo list of `expect target live else ENOENT` is a"),
        ("  replace: attach", "  replace: foo",
         "f:33: operations.replace: expected fields (`name: value`) or 'attach' (got 'foo')"),
        ("is: VIOLATED", "is: PROVED", "is: expected 'VIOLATED' or 'DOES NOT APPLY'"),
        ("is: VIOLATED", "iz: VIOLATED", "iz: no such field; did you mean `is`?"),
        ("    title: attach to", "    titel: attach to",
         "f:17: operations.attach.titel: no such field; did you mean `title`?"),
        ("{target: cgroup, prog", "{target: Cgroup, prog",
         "f:19: operations.attach.args.target: a name is a small letter, then small letters and _"),
        ("{target: cgroup, prog", "{Target: cgroup, prog", "operations.attach.args.Target: a name"),
        ("- lock target", "- [lock target]", "f:25: operations.attach.steps.3: "),
    ],
)  # fmt: skip
def test_a_card_is_refused_in_plain_words(old: str, new: str, wanted: str) -> None:
    assert old in CARD
    assert wanted in refused(AttachCard, CARD.replace(old, new, 1))


@pytest.mark.parametrize(("kind", "text"), [(AttachCard, CARD), (Scenario, STORY)])
def test_a_document_that_was_cut_off_is_one_line_or_a_shorter_document(
    kind: type[documents.Document], text: str
) -> None:
    for end in range(0, len(text), 11):
        try:
            document = parse_document(kind, text[:end], "f")
            if isinstance(document, AttachCard):
                System([document])
        except InputError as e:
            assert len(str(e).splitlines()) == 1


# ---------------------------------------------------------------------------------------------
# which step of a card


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [  # the line that is wrong stands once more where it is right, or is part of another one
        ("      - put old\non", "      - put old\n      - unlock target x\non", "detach.steps.9"),
        ("      - clear entry -> old\n", "      - clear entry -> odl\n", "detach.steps.8"),
        ("none else ENOENT: [unlock target]", "none else ENOENT: [unlock target, unlock taget]",
         "detach.steps.5.undo.2"),
        ("      - swap entry", "      - find target\n      - swap entry", "attach.steps.7"),
        ("on_target_death:\n  - lock target", "on_target_death:\n  - look target",
         "on_target_death.1"),
        ("args: {target: cgroup}", "args: {target: cgruop}", "detach.args.target"),
    ],
)  # fmt: skip
def test_a_step_of_a_card_is_found_by_its_place(
    tmp_path: Path, old: str, new: str, place: str
) -> None:
    assert CARD.count(old) == 1
    text = CARD.replace(old, new).replace("api: cgroup_legacy", "api: mine")
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    line = text[: text.index(new)].count("\n") + 1
    line += {"detach.steps.9": 1, "detach.steps.8": 2, "on_target_death.1": 1}.get(place, 0)
    field = place if place.startswith("on_") else f"operations.{place}"
    with pytest.raises(InputError) as caught:
        inputs.card(str(path))
    assert str(caught.value).startswith(f"{path}:{line}: {field}: ")
    assert "args.target: no kind" not in str(caught.value).replace(f"{field}: ", "")


def test_a_card_that_changes_after_it_was_read_gets_no_wrong_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(CARD.replace("- lock target", "- look target", 1).replace("api: ", "api: my_"))
    monkeypatch.setattr(inputs, "_text_again", lambda name: "other: text\n")
    with pytest.raises(InputError, match=r"mine\.yaml: operations\.attach: no such step"):
        inputs.card(str(path))


# ---------------------------------------------------------------------------------------------
# files


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.yaml"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero"), tmp_path):
        with pytest.raises(InputError, match="not a regular file"):
            read_text(path)


def test_a_file_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(STEPS)
    real = os.fstat

    def written_to(fd: int) -> os.stat_result:
        found = real(fd)
        with path.open("a") as file:
            file.write("  - {do: exit}\n")
        return found

    monkeypatch.setattr(os, "fstat", written_to)
    with pytest.raises(InputError, match="somebody wrote to it while it was read"):
        read_text(path)
