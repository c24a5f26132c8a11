"""The command line as people use it: what it prints, its exit codes, bad input of every kind."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bpflife.app import check as check_command
from bpflife.app import cli, terminal
from bpflife.app import run as run_command
from bpflife.model.documents import Compared, Comparison, Scenario, Settled

Caught = pytest.CaptureFixture[str]
COMMAND = [sys.executable, "-m", "bpflife.app.cli"]
ROOT = Path(__file__).parent.parent
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": ":".join(str(ROOT / layer) for layer in ("model", "proofs", "app")),
}
SCENARIO = """\
scenario: mine
steps:
  - {do: map_create, by: loader, map: counts}
  - {do: close, by: loader, fd: counts}
"""
TAKEN = """\
scenario: taken
cards: [cgroup_legacy]
steps:
  - {do: cgroup_make, by: loader, target: web}
  - {do: prog_load, by: loader, prog: filter}
  - {do: prog_load, by: loader, prog: filter2}
  - {do: attach, by: loader, target: web, prog: filter}
  - {do: detach, by: loader, target: web}
  - {do: detach, by: loader, target: web, errno: ERRNO}
"""


def answer(caught: Caught, *arguments: str) -> tuple[int, str, str]:
    code = cli.answer(arguments)
    out, err = caught.readouterr()
    return code, out, err


def refused(caught: Caught, *arguments: str) -> str:
    """The one line that bad input leaves."""
    code, out, err = answer(caught, *arguments)
    lines = err.splitlines()
    assert (code, out, len(lines)) == (2, "", 1), (code, out, err)
    assert lines[0].startswith("bpflife: ")
    assert lines[0].isprintable()
    return lines[0].removeprefix("bpflife: ")


def written(folder: Path, text: str | bytes, name: str = "mine.yaml") -> str:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


# ---------------------------------------------------------------------------------------------
# run


def test_run_shows_steps_calls_and_the_settled_state(capsys: Caught) -> None:
    code, out, err = answer(capsys, "run", "two_phase_load")
    assert (code, err) == (0, "")
    assert "  2. loader creates map counts" in out
    assert "bpf(BPF_MAP_CREATE, {" in out
    assert "counts [2, 1]" in out
    assert "4 prog filter (1)" in out
    assert "hook web" in out


def test_run_of_several_says_what_is_left(capsys: Caught, tmp_path: Path) -> None:
    code, out, _ = answer(capsys, "run", "create", written(tmp_path, SCENARIO))
    assert code == 0
    assert out.count("nothing is left") == 2
    assert "mine.yaml" in out


def test_run_json_is_one_document_per_line(capsys: Caught) -> None:
    code, out, _ = answer(capsys, "run", "--json", "create", "pin")
    first, second = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert (first["scenario"], second["scenario"]) == ("create", "pin")
    assert [set(step) for step in first["steps"]] == [{"step", "errno", "settled"}] * 2
    assert first["steps"][0]["settled"]["maps"] == {"counts": [1, 1]}
    assert first["steps"][1]["settled"]["maps"] == {}
    assert first["model"] == second["model"]  # no cards, the same rules


@pytest.mark.parametrize(("errno", "code"), [("ENOENT", 0), ("EBUSY", 1), ("0", 1)])
def test_an_errno_in_a_scenario_is_expected(
    capsys: Caught, tmp_path: Path, errno: str, code: int
) -> None:
    path = written(tmp_path, TAKEN.replace("ERRNO", f'"{errno}"'))
    got, out, err = answer(capsys, "run", path)
    assert "ENOENT" in out
    assert got == code
    wanted = {"EBUSY": "EBUSY", "0": "success"}.get(errno)
    assert err == (
        f"bpflife: {path}: step 6: errno: expected {wanted}, got ENOENT\n" if wanted else ""
    )


def test_a_violation_is_printed_and_is_a_finding(capsys: Caught, tmp_path: Path) -> None:
    text = TAKEN.replace("cgroup_legacy", "bad_double_put").replace(", errno: ERRNO", "")
    text = text.replace(
        "do: detach, by: loader, target: web", "do: attach, by: loader, target: web, prog: filter2"
    )
    code, out, err = answer(capsys, "run", written(tmp_path, text))
    assert code == 1
    assert "VIOLATED no-broken-step: " in out
    assert "no-broken-step is violated" in err
    assert answer(capsys, "run", "--kernel", str(tmp_path / "mine.yaml"))[0] == 1


def test_run_writes_trace_and_page(capsys: Caught, tmp_path: Path) -> None:
    trace, page = tmp_path / "trace.json", tmp_path / "page.html"
    code, _, err = answer(capsys, "run", "pin", "--trace", str(trace), "--html", str(page))
    assert code == 0
    assert json.loads(trace.read_text())["version"] == 1
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert len(err.splitlines()) == 2


def test_no_two_outputs_are_one_file_nor_the_input(capsys: Caught, tmp_path: Path) -> None:
    path = written(tmp_path, SCENARIO)
    link = tmp_path / "link.yaml"
    link.symlink_to(path)
    twice = str(tmp_path / "a")
    line = refused(capsys, "run", "pin", "--trace", twice, "--html", f"{tmp_path}/./a")
    assert line.endswith("/a: --html and --trace are the same file")
    for option, file in (("--trace", path), ("--html", str(link))):
        line = refused(capsys, "run", path, option, file)
        assert line == f"{file}: {option} and the input are the same file"
    assert "the input" in refused(capsys, "check", path, "--html", path)
    assert Path(path).read_text() == SCENARIO
    assert not Path(twice).exists()


def test_a_file_is_put_in_place_as_a_whole(
    capsys: Caught, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = tmp_path / "trace.json"
    trace.write_text("old")
    trace.chmod(0o640)

    def killed(self: Path, text: str, **_: Any) -> int:
        self.write_bytes(text[:10].encode())
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", killed)
        assert answer(capsys, "run", "pin", "--trace", str(trace))[0] == 130
    assert trace.read_text() == "old"
    assert list(tmp_path.iterdir()) == [trace]
    assert answer(capsys, "run", "pin", "--trace", str(trace))[0] == 0
    assert json.loads(trace.read_text())["version"] == 1
    assert trace.stat().st_mode & 0o777 == 0o640
    assert answer(capsys, "run", "pin", "--trace", "/dev/null")[0] == 0
    assert Path("/dev/null").is_char_device()


def test_one_file_takes_one_scenario(capsys: Caught, tmp_path: Path) -> None:
    assert "one scenario" in refused(capsys, "run", "pin", "create", "--trace", str(tmp_path / "t"))


def test_a_file_that_cant_be_written_is_one_line(capsys: Caught, tmp_path: Path) -> None:
    assert str(tmp_path) in refused(capsys, "run", "pin", "--html", str(tmp_path))


# ---------------------------------------------------------------------------------------------
# run --kernel, with a kernel of our own making


def compared(scenario: Scenario, **row: Any) -> Comparison:
    model = Settled(maps={"counts": (1, 1)})
    rows = [Compared(step="one", model=model, kernel=model), Compared(step="two", model=model)]
    rows[0] = rows[0].model_copy(update=row)
    return Comparison(scenario=scenario.scenario, kernel="6.12", rows=rows)


def test_kernel_side_by_side(capsys: Caught, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_command, "_compare", lambda one: compared(one.scenario))
    code, out, err = answer(capsys, "run", "create", "--kernel")
    assert (code, err) == (0, "")
    assert "model" in out
    assert "agree\n" in out
    assert "not compared" in out
    assert out.endswith("1 step compared with Linux 6.12: all agree\n")


def test_a_difference_is_a_finding(capsys: Caught, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Settled(maps={"counts": (2, 1)})
    changed = {"kernel": other, "differences": ["counts: refcnt 1 here, 2 there"]}
    monkeypatch.setattr(run_command, "_compare", lambda one: compared(one.scenario, **changed))
    code, out, err = answer(capsys, "run", "create", "--kernel")
    assert code == 1
    assert "DIFFERS: counts: refcnt 1 here, 2 there" in out
    assert err == "bpflife: create: step 1: counts: refcnt 1 here, 2 there\n"
    code, out, err = answer(capsys, "run", "create", "--kernel", "--json")
    document = json.loads(out)
    assert code == 1
    assert document["kernel"]["steps"][0]["settled"]["maps"] == {"counts": [2, 1]}
    assert {frozenset(s) for s in document["kernel"]["steps"]} == {
        frozenset(s) for s in document["steps"]
    }


def test_a_refusing_kernel_is_said_and_is_fine(
    capsys: Caught, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal = Comparison(scenario="create", why_not="bpf(2) is refused here: EPERM")
    monkeypatch.setattr(run_command, "_compare", lambda one: refusal)
    code, out, err = answer(capsys, "run", "create", "--kernel")
    assert code == 0
    assert "loader creates map counts" in out
    assert err == "bpflife: create: not compared with the kernel: bpf(2) is refused here: EPERM\n"


# ---------------------------------------------------------------------------------------------
# list


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["cards"], "cgroup_legacy"),
        (["properties"], "count-equals-holders"),
        (["stories"], "two_phase_load"),
        (["steps"], "do: map_create, by: PROCESS, map: name"),
        (["steps", "--cards", "cgroup_legacy,perf_event"], "do: attach, by: PROCESS"),
        (["vocabulary"], "publish entry <- {reg}"),
    ],
    ids=" ".join,
)
def test_lists(capsys: Caught, arguments: list[str], wanted: str) -> None:
    code, out, err = answer(capsys, "list", *arguments)
    assert code == 0
    assert not [line for line in err.splitlines() if "more than" not in line]  # asking takes time
    assert wanted in out


def test_list_stories_says_that_a_number_is_no_part_of_a_name(capsys: Caught) -> None:
    _, out, _ = answer(capsys, "list", "stories")
    assert out.endswith("\nA name can be given without its number: bpflife run two_phase_load\n")
    assert answer(capsys, "run", "two_phase_load")[0] == 0


def test_list_steps_names_an_unknown_card(capsys: Caught) -> None:
    assert "no card `nope`" in refused(capsys, "list", "steps", "--cards", "nope")


def test_cards_are_only_for_steps(capsys: Caught) -> None:
    assert "--cards" in refused(capsys, "list", "cards", "--cards", "cgroup_legacy")


# ---------------------------------------------------------------------------------------------
# check


def verdict(**fields: Any) -> Any:
    from bpflife.model.documents import Verdict

    defaults: dict[str, Any] = {
        "card": "cgroup_legacy", "property": "no-broken-step", "word": "PROVED", "sentence": "s",
        "obligations": 12, "lemmas": ["a", "b"], "seconds": 1.25,
    }  # fmt: skip
    return Verdict(**{**defaults, **fields})


@pytest.fixture
def verdicts(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The verdicts that `check` gets, instead of asking the solver; SIGINT stays as it is."""
    found: list[Any] = []

    def check_all(card: Any, names: list[str], *, each: Any, progress: Any, **_: Any) -> None:
        for one in found:
            progress("thinking")
            if callable(one):
                one()
            elif one.card == card.api:
                each(one)

    monkeypatch.setattr("bpflife.proofs.check.check_all", check_all)
    monkeypatch.setattr(check_command.Interrupt, "watch", lambda self: None)
    monkeypatch.setenv("COLUMNS", "120")
    return found


def violated() -> Any:
    from bpflife.model.catalogue import load_scenario
    from bpflife.model.documents import Violation
    from bpflife.model.simulator import play

    trace = play(load_scenario("create"))
    why = Violation(property="no-broken-step", at=2, sentence="something is [bold]wrong[/bold]")
    trace = trace.model_copy(update={"violation": why})
    return verdict(word="VIOLATED", depth=2, unit="steps", trace=trace, expected=False)


def test_check_prints_a_table(capsys: Caught, verdicts: list[Any]) -> None:
    verdicts.append(verdict())
    code, out, err = answer(capsys, "check", "cgroup_legacy")
    assert (code, err) == (0, "")
    row = next(line for line in out.splitlines() if line.startswith("cgroup_legacy"))
    assert row.split() == [
        "cgroup_legacy", "no-broken-step", "PROVED",
        "12", "obligations,", "2", "lemmas,", "1.2", "s", "as", "expected",
    ]  # fmt: skip


def test_rows_are_aligned_and_there_before_the_next_verdict(
    capsys: Caught, verdicts: list[Any]
) -> None:
    seen: list[str] = []
    scope = {"processes": 2, "descriptors": 2, "files": 2, "programs": 1, "hooks": 1}
    verdicts += [
        verdict(), lambda: seen.append(capsys.readouterr().out),
        verdict(property="count-equals-holders", word="PROVED for scope S", scope=scope),
    ]  # fmt: skip
    code, out, _ = answer(capsys, "check", "cgroup_legacy")
    assert code == 0
    heads, _, row = seen[0].splitlines()
    assert row.startswith("cgroup_legacy  no-broken-step ")
    second = out.splitlines()[0]
    for line in (row, second):
        assert line.index("PROVED") == heads.index("verdict")
        assert line.index("as expected") == heads.index("expected")


def test_a_narrow_terminal_says_the_card_once(
    capsys: Caught, verdicts: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    verdicts += [verdict(), verdict(property="crash-cleans-up"), verdict(card="perf_event")]
    _, out, _ = answer(capsys, "check", "all")
    assert [line for line in out.splitlines() if "cgroup" in line] == ["card cgroup_legacy"]
    assert out.count("card perf_event") == 1
    assert max(len(line) for line in out.splitlines()) <= 80


def test_an_errno_stands_once(capsys: Caught, verdicts: list[Any]) -> None:
    found = violated()
    said = ("x is refused: EBUSY", "EBUSY"), ("x closes it", "EBADF")
    steps = [
        step.model_copy(update={"sentence": sentence, "errno": errno})
        for step, (sentence, errno) in zip(found.trace.steps, said, strict=False)
    ]
    trace = found.trace.model_copy(update={"steps": steps})
    verdicts.append(found.model_copy(update={"trace": trace}))
    _, out, _ = answer(capsys, "check", "cgroup_legacy")
    assert "1. x is refused: EBUSY\n" in out
    assert "2. x closes it (EBADF)\n" in out


def test_after_ctrl_c_what_was_found_stays(
    capsys: Caught, verdicts: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    watched: list[check_command.Interrupt] = []
    monkeypatch.setattr(check_command.Interrupt, "watch", lambda self: watched.append(self))

    def ctrl_c() -> None:
        watched[0].set.set()
        raise RuntimeError("what an interrupted solver raises")

    verdicts += [violated(), ctrl_c, verdict(property="crash-cleans-up")]
    code, out, err = answer(capsys, "check", "cgroup_legacy")
    assert code == 130
    assert out.count("VIOLATED") == 1
    assert "=> something is [bold]wrong[/bold]" in out
    assert "crash-cleans-up" not in out
    assert err.splitlines() == [
        "bpflife: cancelled; nothing was concluded about what was still being checked"
    ]


def test_a_log_gets_one_line_for_each_property_that_takes_long(
    capsys: Caught, verdicts: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "LONG", 0.3)
    wait = lambda: time.sleep(0.6)  # noqa: E731
    verdicts += [wait, verdict(), verdict(property="crash-cleans-up"), wait]
    code, _, err = answer(
        capsys, "check", "cgroup_legacy",
        *("--property", "no-broken-step", "--property", "crash-cleans-up"),
    )  # fmt: skip
    assert code == 0
    assert err == "bpflife: checking cgroup_legacy, no-broken-step: more than 0 s; thinking\n"


@pytest.mark.parametrize("piped", [False, True])
def test_progress_on_a_terminal_leaves_stdout_alone(piped: bool) -> None:
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [*COMMAND, "check", "perf_event", "--property", "replace-never-empty", "--json"],
        env={**ENVIRONMENT, "TERM": "xterm"}, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if piped else theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    shown = os.read(ours, 1 << 20).decode()
    os.close(ours)
    assert done.returncode == 0
    assert "0:00:0" in shown
    if piped:
        assert json.loads(done.stdout)["word"] == "DOES NOT APPLY"
        assert "DOES NOT APPLY" not in shown
    else:
        assert '"word":"DOES NOT APPLY"' in shown


def test_check_shows_a_counterexample(capsys: Caught, verdicts: list[Any], tmp_path: Path) -> None:
    verdicts.append(violated())
    page = tmp_path / "page.html"
    code, out, err = answer(capsys, "check", "cgroup_legacy", "--html", str(page))
    assert code == 1
    assert "NOT EXPECTED" in out
    assert "1. loader creates map counts" in out
    assert "=> something is [bold]wrong[/bold]" in out
    assert err == f"bpflife: wrote {page}\n"
    assert page.read_text().startswith("<!DOCTYPE html>")


def test_several_counterexamples_are_files_of_their_own(
    capsys: Caught, verdicts: list[Any], tmp_path: Path
) -> None:
    other = violated().model_copy(update={"property": "crash-cleans-up"})
    verdicts += [violated(), other]
    answer(capsys, "check", "cgroup_legacy", "--trace", str(tmp_path / "t.json"))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["t-crash-cleans-up.json", "t-no-broken-step.json"]


def test_counterexamples_of_several_cards_have_the_card_in_their_name(
    capsys: Caught, verdicts: list[Any], tmp_path: Path
) -> None:
    verdicts += [violated(), violated().model_copy(update={"card": "perf_event"})]
    answer(capsys, "check", "all", "--html", str(tmp_path / "c05.html"))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "c05-cgroup_legacy-no-broken-step.html", "c05-perf_event-no-broken-step.html",
    ]  # fmt: skip


def test_check_json_is_one_verdict_per_line(capsys: Caught, verdicts: list[Any]) -> None:
    verdicts += [verdict(), violated()]
    code, out, _ = answer(capsys, "check", "cgroup_legacy", "--json")
    assert code == 1
    assert [json.loads(line)["word"] for line in out.splitlines()] == ["PROVED", "VIOLATED"]


def test_check_names_unknown_things(capsys: Caught) -> None:
    assert "no card `nope`" in refused(capsys, "check", "nope")
    assert "no property `nope`" in refused(capsys, "check", "all", "--property", "nope")


def test_ctrl_c_in_the_solver_is_one_line() -> None:
    process = subprocess.Popen(
        [*COMMAND, "check", "all"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT,
    )  # fmt: skip
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err.startswith("bpflife: cancelled")
    assert len(err.splitlines()) == 1


# ---------------------------------------------------------------------------------------------
# bad input

ALIASES = "a: &a [x, x]\n" + "\n".join(
    f"{new}: &{new} [*{old}, *{old}, *{old}]"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
STEPS = "scenario: mine\nsteps:\n"
BAD: dict[str, tuple[str | bytes, str]] = {
    "unknown field": ("scenario: mine\ntitel: x\nsteps: []\n", ":2: titel: no such field"),
    "unknown argument": (
        STEPS + "  - {do: exit, by: other}\n  - {do: exit, by: loader, colour: red}\n",
        ":4: step 2: colour: no such field",
    ),
    "missing argument": (STEPS + "  - {do: close, by: loader}\n", ":3: step 1: fd: "),
    "meant otherwise": (
        "scenario: mine\nstepz: []\n", ":2: stepz: no such field; did you mean `steps`?"
    ),
    "unknown errno": (STEPS + "  - {do: exit, by: a, errno: EWHATEVER}\n", ":3: steps.1.errno: "),
    "a card twice": ("scenario: mine\nsteps: []\ncards: [a, a]\n", ":3: cards: `a` is there"),
    "a long name": (
        STEPS + f"  - {{do: exit, by: a, fd: {'a' * 41}}}\n", ":3: step 1: fd: no such field"
    ),
    "a long argument": (
        STEPS + f"  - {{do: close, by: a, fd: {'a' * 41}}}\n",
        ":3: step 1: fd: a name of at most 40 characters",
    ),
    "missing field": ("scenario: mine\n", "steps: this field is missing"),
    "unknown object": (STEPS + "  - {do: close, by: loader, fd: m}\n", ":3: step 1: fd: "),
    "unknown card": ("scenario: mine\nsteps: []\ncards: [nope]\n", ":3: cards: no card `nope`"),
    "wrong type": ("scenario: mine\nsteps: 7\n", ":2: steps: "),
    "wrong type in a step": (STEPS + "  - do: exit\n    by: 7\n", ":4: steps.1.by: "),
    "unknown step": (STEPS + "  - {do: explode, by: x}\n", ":3: step 1: do: no step `explode`"),
    "binary": (b"\x7fELF\x00\xff\xfe" * 100, ": not a text file"),
    "zeros": (b"\x00" * 100, ": not YAML"),
    "too long": (b"nonsense " * 1_200_000, "10,800,000 bytes"),
    "aliases": (ALIASES, ":1: anchors and aliases"),
    "a cycle": ("a: &a [*a]\n", ":1: anchors and aliases"),
    "merge": ("<<: {scenario: mine}\nsteps: []\n", ":1: <<: "),
    "deep nesting": ("steps: " + "[" * 5000, ":1: n"),
    "deep fields": ("steps: " + "{a: " * 100, ":1: nested"),
    "script in a name": ("scenario: <script>alert(1)</script>\nsteps: []\n", ":1: scenario: "),
    "control characters": ('scenario: mine\n"\\e[31m\\u202e": 1\nsteps: []\n', ":2: "),
    "markup": ('scenario: "[red]x[/red]"\nsteps: []\n', "[red]x[/red]"),
    "empty": ("", "found nothing"),
    "a list": ("- scenario: mine\n", "found a list"),
    "text": ("just text\n", "found text"),
    "a field twice": (SCENARIO + "scenario: other\n", ":5: scenario: this field is there twice"),
    "a step's field twice": (STEPS + "  - {do: exit, do: exit}\n", ":3: do: this field is there"),
    "not YAML": ("scenario: mine\nsteps: [\n", ": not YAML"),
    "two documents": ("scenario: mine\nsteps: []\n---\nsteps: []\n", ":3: not YAML"),
    "a Python object": ("scenario: !!python/object:os.system x\nsteps: []\n", ":1: not YAML"),
    "a number as a field": ("scenario: mine\nsteps: []\n7: x\n", ":3: 7: "),
    "a huge number": (f"scenario: mine\nsteps: 0x{'f' * 5000}\n", ":2: a value of 5,002"),
    "a large number": (f"scenario: mine\nsteps: 0x{'f' * 2900}\n", ":2: steps: "),
    "no date": ("scenario: 2024-99-99\nsteps: []\n", ": not YAML"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_scenarios_are_one_line(capsys: Caught, tmp_path: Path, case: str) -> None:
    text, wanted = BAD[case]
    path = written(tmp_path, text)
    line = refused(capsys, "run", path)
    assert line.startswith(path)
    assert wanted in line
    assert len(line) < 600


@pytest.mark.parametrize("case", ["unknown field", "aliases", "deep nesting", "empty", "binary"])
def test_bad_cards_are_one_line(capsys: Caught, tmp_path: Path, case: str) -> None:
    path = written(tmp_path, BAD[case][0])
    assert refused(capsys, "check", path).startswith(path)


CARD = (ROOT / "model/bpflife/model/cards/cgroup_legacy.yaml").read_text("utf-8")


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ("- lock target", "- lock the target", "no such step: `lock the target`"),
        ("held_by: directory", "held_by: magic", "target.held_by: "),
        ("program: cgroup_skb", "program: [cgroup_skb]", "program: "),
    ],
)
def test_a_card_with_a_wrong_field_is_one_line_with_its_number(
    capsys: Caught, tmp_path: Path, old: str, new: str, wanted: str
) -> None:
    text = CARD.replace(old, new, 1).replace("api: cgroup_legacy", "api: mine")
    path = written(tmp_path, text)
    number = next(n for n, line in enumerate(text.splitlines(), 1) if new in line)
    line = refused(capsys, "check", path)
    assert line.startswith(f"{path}:{number}: ")
    assert wanted in line


def test_cards_and_scenarios_are_told_apart(capsys: Caught, tmp_path: Path) -> None:
    card, scenario = written(tmp_path, CARD, "card.yaml"), written(tmp_path, SCENARIO)
    assert refused(capsys, "run", card) == f"{card}: this is a card: bpflife check {card}"
    line = refused(capsys, "check", scenario)
    assert line == f"{scenario}: this is a scenario: bpflife run {scenario}"
    assert refused(capsys, "run", "perf_event").endswith("a card: bpflife check perf_event")
    assert refused(capsys, "check", "pin").endswith("this is a scenario: bpflife run pin")


def test_a_pipe_is_not_waited_for(capsys: Caught, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.yaml"
    os.mkfifo(pipe)
    for command in ("run", "check"):
        assert refused(capsys, command, str(pipe)) == f"{pipe}: not a regular file"


def test_files_that_are_none(capsys: Caught, tmp_path: Path) -> None:
    assert "No such file" in refused(capsys, "run", str(tmp_path / "none.yaml"))
    assert "directory" in refused(capsys, "run", f"{tmp_path}/")
    assert "not a regular file" in refused(capsys, "run", "/dev/zero")
    assert "no story `nope`" in refused(capsys, "run", "nope")
    assert "no story" in refused(capsys, "run", "\x1b[31m[red]\n")


def test_a_plain_name_of_a_file_gets_a_hint(
    capsys: Caught, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, SCENARIO, "mine")
    monkeypatch.chdir(tmp_path)
    assert refused(capsys, "run", "mine").endswith("the file here is ./mine")
    assert answer(capsys, "run", "./mine")[0] == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["explode"], ["run"], ["run", "pin", "--loud"], ["list", "nothing"], ["check"],
        ["app", "--port", "many"], ["app", "--port", "70000"], ["check", "a", "b"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_wrong_usage_is_one_line(capsys: Caught, arguments: list[str]) -> None:
    assert "--help" in refused(capsys, *arguments)


def test_help_and_version(capsys: Caught) -> None:
    code, out, err = answer(capsys, "--help")
    assert (code, err) == (0, "")
    assert "bpflife run two_phase_load" in out
    assert answer(capsys)[1] == out
    assert answer(capsys, "--version")[1].startswith("bpflife")


# ---------------------------------------------------------------------------------------------
# the process around it


def test_a_taken_port_is_one_line(capsys: Caught) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = refused(capsys, "app", "--port", str(port))
    assert line.startswith(f"port {port} on 127.0.0.1 is taken")


def test_an_address_that_is_none_is_one_line(capsys: Caught) -> None:
    assert "can't listen" in refused(capsys, "app", "--address", "999.1.1.1")
    assert "an IPv4 address" in refused(capsys, "app", "--address", "::1")


def test_a_reader_that_goes_away_is_no_error() -> None:
    process = subprocess.Popen(
        [*COMMAND, "run", "create", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT,
    )  # fmt: skip
    assert process.stdout and process.stderr
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 128 + signal.SIGPIPE


@pytest.mark.parametrize(
    "arguments",
    [["run", "two_phase_load"], ["run", "pin", "--json"], ["list", "steps"], ["--help"]],
)
def test_a_full_disk_under_stdout_is_one_line(arguments: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*COMMAND, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
        )
    assert (done.returncode, done.stderr) == (2, "bpflife: stdout: No space left on device\n")


def test_a_closed_stdout_is_fine() -> None:
    line = " ".join([*COMMAND, "run", "pin", ">&-"])
    done = subprocess.run(["sh", "-c", line], capture_output=True, env=ENVIRONMENT)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("module", ["argparse", "pydantic", "rich", "yaml"])
def test_ctrl_c_while_it_still_imports_is_one_line(tmp_path: Path, module: str) -> None:
    early = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n"
    written(tmp_path, early, f"{module}.py")
    environment = {**ENVIRONMENT, "PYTHONPATH": f"{tmp_path}:{ENVIRONMENT['PYTHONPATH']}"}
    done = subprocess.run([*COMMAND, "run", "pin"], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "bpflife: interrupted\n")


@pytest.mark.parametrize("arguments", [["run", "pin"], ["list", "vocabulary"], ["--help"]])
def test_a_reader_of_tables_goes_away(arguments: list[str]) -> None:
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT
    )
    assert process.stdout and process.stderr
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() in (0, 128 + signal.SIGPIPE)  # argparse's help keeps it to itself


def test_a_poor_locale_gets_question_marks() -> None:
    poor = {**ENVIRONMENT, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run([*COMMAND, "list", "stories"], env=poor, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "cgroup_legacy" in done.stdout


@pytest.mark.parametrize("arguments", [["--help"], ["run", "two_phase_load"]], ids=" ".join)
def test_it_answers_at_once(arguments: list[str]) -> None:
    """Half a second is the promise: of processor time here, as other tests run beside this one."""
    took = []
    for _ in range(3):
        process = subprocess.Popen(
            [*COMMAND, *arguments], env=ENVIRONMENT, stdout=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        took.append(usage.ru_utime + usage.ru_stime)
    assert min(took) < 0.5, took


def test_a_terminal_gets_its_width_and_no_control_character_of_ours(tmp_path: Path) -> None:
    path = written(tmp_path, SCENARIO.replace("mine", 'mine\ntitle: "a\\e]0;title\\a [red]b"', 1))
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [*COMMAND, "run", path], env={**ENVIRONMENT, "NO_COLOR": "1", "TERM": "xterm"},
        stdout=theirs, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert (done.returncode, done.stderr) == (0, b"")
    assert "a\ufffd]0;title\ufffd [red]b" in shown
