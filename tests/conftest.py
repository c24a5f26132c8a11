"""What the tests share: the mark of each phase, from the file's name, and a Chromium."""

from __future__ import annotations

import pytest

import find_chromium

PHASES = ("proofs", "kernel", "notebook", "browser")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """tests/test_kernel_compare.py has the mark `kernel`, and so on; `make kernel` selects it."""
    for item in items:
        words = ["notebook"] if item.path.suffix == ".ipynb" else item.path.stem.split("_")
        for phase in set(PHASES) & set(words):
            item.add_marker(phase)


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium that runs; the test is skipped where there is none."""
    path = find_chromium.find()
    if path is None:
        pytest.skip(find_chromium.MISSING)
    return path
