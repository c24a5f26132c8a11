"""What is attached to devices: with the devices themselves, which a check of a card leaves out."""

from __future__ import annotations

import pytest

from bpflife.model.catalogue import load_card
from bpflife.model.properties import counts, reachable
from bpflife.model.system import CORE, System
from bpflife.proofs.induction import Induction


@pytest.mark.whole
@pytest.mark.parametrize(("part", "card"), [("tc", "tc_filter"), ("routes", "lwt_route")])
def test_what_is_attached_goes_with_its_device(part: str, card: str) -> None:
    """A device takes its routes along, and its discipline, and that its filters, whatever calls are
    inside."""
    system = System([load_card(card)], (*CORE, "net", part))
    induction = Induction(system)
    proof = induction.run()
    wanted = {i.name for i in (*counts(system), *reachable(system))}
    assert wanted <= set(proof.kept), {n: proof.dropped.get(n) for n in wanted - set(proof.kept)}
    assert induction.needs_unproved() == []
