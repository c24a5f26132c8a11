"""The picture as a Panel component; the browser has the whole trace, only `step` is shared."""

from __future__ import annotations

from typing import Any, ClassVar

import param
from panel.custom import JSComponent

from bpflife.app.picture.picture import picture_data
from bpflife.app.picture.standalone import module_text, style_text
from bpflife.model.documents import Trace


class LifetimePicture(JSComponent):
    """Draws a trace and steps through it.

    `step` is the index of the shown state and may be set from either side. `clicked` is the node
    that the user chose last (Python only); theme "auto" follows the browser's preference.
    """

    picture = param.Dict(default={}, doc="what picture_data() returns")
    step = param.Integer(default=0, bounds=(0, None), doc="index of the shown state")
    playing = param.Boolean(default=False)
    theme: param.Selector[str] = param.Selector(default="auto", objects=["auto", "light", "dark"])
    clicked = param.String(default="", doc="id of the node chosen last")

    _esm = module_text()
    _stylesheets: ClassVar[list[str]] = [style_text()]
    _rename: ClassVar[dict[str, str | None]] = {"clicked": None}

    def __init__(self, trace: Trace | None = None, **params: Any) -> None:
        if trace is not None:
            params.setdefault("picture", picture_data(trace))
        params.setdefault("sizing_mode", "stretch_width")
        super().__init__(**params)  # type: ignore[no-untyped-call]

    def load(self, trace: Trace, step: int = 0) -> None:
        """Show another trace in the same place."""
        self.param.update(playing=False, step=0)
        self.param.update(picture=picture_data(trace))
        self.step = min(max(step, 0), len(trace.states) - 1)

    def _handle_msg(self, data: Any) -> None:
        """A click on a node; anything that isn't one of our nodes is ignored."""
        name = data.get("node") if isinstance(data, dict) else None
        if any(node["id"] == name for node in self.picture.get("nodes", [])):
            self.param.update(clicked=name)
            self.param.trigger("clicked")
