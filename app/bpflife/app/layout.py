"""How a page is laid out: a side column and the main part, one under the other on a phone."""

from __future__ import annotations

from typing import Final

import panel as pn
from panel.viewable import Viewable

BESIDE: Final = """
:host {
  display: grid !important; grid-template-columns: minmax(260px, %(width)s) minmax(0, 1fr);
  gap: 22px; align-items: start; width: 100%%;
}
:host > .side, :host > .wide { min-width: 0; max-width: 100%%; width: 100%%; }
:host > .wide { position: sticky; top: 8px; }
@media (max-width: 860px) {
  :host > .wide { position: static; }
  :host { grid-template-columns: minmax(0, 1fr); gap: 16px; }
  :host > .side { order: 1; }
}
"""


def beside(side: Viewable, main: Viewable, *, width: str = "300px") -> pn.Column:
    """`side` left of `main`; on a phone below it."""
    side.css_classes = ["side"]
    main.css_classes = ["wide"]
    style = BESIDE % {"width": width}
    return pn.Column(side, main, stylesheets=[style], sizing_mode="stretch_width", margin=0)
