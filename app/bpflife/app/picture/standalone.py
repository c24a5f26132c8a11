"""The picture as one HTML file: same data, same module, no server and no request."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any, Final

from bpflife.app.picture.picture import picture_data
from bpflife.model.documents import Trace

HERE: Final = Path(__file__).parent
POLICY: Final = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'"


def script_json(data: Any) -> str:
    """JSON that may stand inside a script element: no character there can end or open anything.

    ASCII only (so U+2028 and lone surrogates are escapes), and `<`, `>`, `&` escaped as well.
    """
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def module_text() -> str:
    """The drawing module's source."""
    return (HERE / "picture.js").read_text(encoding="utf-8")


def style_text() -> str:
    """The picture's style sheet."""
    return (HERE / "picture.css").read_text(encoding="utf-8")


def standalone_html(trace: Trace) -> str:
    """A page that plays `trace` from a file or any static server."""
    data = picture_data(trace)
    title = html.escape(data["title"])
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ margin: 0 auto; max-width: 1500px; padding: 8px min(14px, 2vw); }}
body {{ background: #fff; color: #1b2230; }}
h1 {{ font: 600 20px/1.3 system-ui, sans-serif; margin: 6px 3px; overflow-wrap: anywhere; }}
@media (prefers-color-scheme: dark) {{ body {{ background: #14181f; color: #e8ecf2; }} }}
{style_text()}</style>
</head>
<body>
<h1>{title}</h1>
<main id="picture"></main>
<script type="application/json" id="trace">{script_json(data)}</script>
<script type="module">
{module_text()}
const trace = JSON.parse(document.getElementById("trace").textContent);
render({{ model: standalone(trace), el: document.getElementById("picture") }});
</script>
</body>
</html>
"""
