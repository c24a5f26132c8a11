"""What people take home: a scenario as a file that `bpflife run` reads."""

from __future__ import annotations

from typing import Any

import yaml

from bpflife.model.documents import Scenario


def scenario_yaml(scenario: Scenario) -> str:
    """The scenario as YAML, one step per line."""
    head = scenario.model_dump(exclude_defaults=True, exclude={"steps"})
    lines = [yaml.safe_dump(head, sort_keys=False, allow_unicode=True, width=100).rstrip()]
    if not scenario.steps:
        return f"{lines[0]}\nsteps: []\n"
    lines.append("steps:")
    for step in scenario.steps:
        lines.append(f"  - {_flow(step.model_dump(exclude_none=True))}")
    return "\n".join(lines) + "\n"


def _flow(fields: dict[str, Any]) -> str:
    order = sorted(fields, key=lambda name: {"do": 0, "by": 1, "errno": 8, "say": 9}.get(name, 5))
    text: str = yaml.safe_dump(
        {name: fields[name] for name in order},
        default_flow_style=True,
        sort_keys=False,
        allow_unicode=True,
        width=1_000_000,
    )
    return text.strip()
