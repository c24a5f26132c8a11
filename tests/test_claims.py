"""Every claim has evidence, and the evidence is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from bpflife.model.catalogue import card_names, story_names
from bpflife.model.claims import Claim, claims
from bpflife.model.properties import CATALOGUE

HOOKS = [*range(9, 27), *range(34, 37)]  # what the post says about hooks
SCENARIOS = {file.stem for file in Path(__file__).with_name("scenarios").iterdir()}
STORIES = {name.partition("_")[2] for name in story_names()}


def test_all_that_is_about_hooks_is_there() -> None:
    assert list(claims()) == [f"C{n:02}" for n in HOOKS]


@pytest.mark.parametrize("number", claims())
def test_evidence_is_there(number: str) -> None:
    claim: Claim = claims()[number]
    assert claim.evidence()
    assert set(claim.stories) <= STORIES
    assert set(claim.scenarios) <= SCENARIOS
    assert set(claim.properties) <= set(CATALOGUE)
    assert set(claim.cards) <= set(card_names())
