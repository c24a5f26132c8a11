"""Who may import whom, and what is in the wheel.

The model knows nobody; proofs know the model; the app knows both. What a run or the help imports
is kept small, so that they answer at once.
"""

from __future__ import annotations

import ast
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEAVY = {"panel", "panel_material_ui", "bokeh", "param", "z3", "cvc5"}
FORBIDDEN = {
    "model": {"bpflife.proofs", "bpflife.app", "rich", *HEAVY},
    "proofs": {"bpflife.app", "rich", "panel", "panel_material_ui", "bokeh", "param"},
    "app": {"z3", "cvc5"},
}
DATA = {".yaml", ".js", ".css"}


def sources(layer: str) -> list[Path]:
    return sorted((ROOT / layer / "bpflife").rglob("*.py"))


def imported(path: Path, layer: str) -> set[str]:
    """Every module that a file imports, anywhere in it, by its full name."""
    package = path.relative_to(ROOT / layer).parts[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            stem = ".".join([*base, *([node.module] if node.module else [])])
            found |= {stem, *(f"{stem}.{alias.name}" for alias in node.names)}
    return found


@pytest.mark.parametrize("layer", FORBIDDEN)
def test_a_layer_imports_only_what_is_below_it(layer: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in sources(layer)
        for module in imported(path, layer)
        if any(module == name or module.startswith(f"{name}.") for name in FORBIDDEN[layer])
    ]
    assert sources(layer)
    assert wrong == []


def test_every_file_says_what_it_is_for() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for layer in FORBIDDEN
        for path in sources(layer)
        if not ast.get_docstring(ast.parse(path.read_text("utf-8")))
    ]
    assert silent == []


COMMANDS = (
    ["--help"],
    ["run", "create"],
    ["run", "create", "--json"],
    ["list", "cards"],
    ["list", "steps", "--cards", "cgroup_legacy"],
    ["run", "no_such_story"],
)


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_light_commands_import_nothing_heavy(arguments: list[str]) -> None:
    program = (
        "import sys\n"
        "from bpflife.app.cli import answer\n"
        f"answer({arguments!r})\n"
        f"print(sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)\n"
    )
    paths = ":".join(str(ROOT / layer) for layer in FORBIDDEN)
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, env={"PYTHONPATH": paths, "PATH": ""}, check=True,
    )  # fmt: skip
    assert done.stderr.splitlines()[-1] == "[]"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names in the built wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(zipfile.ZipFile(next(folder.glob("*.whl"))).namelist())


def test_the_wheel_holds_the_one_package_with_its_three_layers(wheel: set[str]) -> None:
    metadata = {name for name in wheel if name.split("/")[0].endswith(".dist-info")}
    parts = {tuple(name.split("/")[:2]) for name in wheel - metadata}
    assert parts == {("bpflife", layer) for layer in FORBIDDEN}
    assert any(name.endswith("licenses/LICENSE") for name in metadata)


@pytest.mark.parametrize("layer", FORBIDDEN)
def test_the_wheel_holds_every_source_and_data_file(wheel: set[str], layer: str) -> None:
    wanted = {
        str(path.relative_to(ROOT / layer))
        for path in (ROOT / layer / "bpflife").rglob("*")
        if path.suffix in {".py", *DATA}
    }
    assert wanted
    assert wanted <= wheel
