"""Serves the app on one address of this machine. Everything a page needs comes from here."""

from __future__ import annotations

import logging
from typing import Any, Final

import panel as pn
from tornado.websocket import WebSocketClosedError

from bpflife.app.jobs import Checks
from bpflife.app.shell import Shell

PORT: Final = 5006
ADDRESS: Final = "127.0.0.1"
MAX_HEADER: Final = 512 * 1024  # an address that is much too long gets an answer in words


def session(checks: Checks) -> Any:
    """One visitor's page."""
    shell = Shell(checks)
    shell.start(pn.state.location.search if pn.state.location else "")
    pn.state.on_session_destroyed(lambda _: shell.left())
    return shell.page


def _origins(address: str, port: int) -> list[str]:
    """Whose pages may open a session: this server's own, under every name that it has. Who
    serves on all interfaces has names that we can't know."""
    if address == "0.0.0.0":
        return ["*"]
    own = ("localhost", "127.0.0.1")
    return [f"{name}:{port}" for name in (own if address in own else (address,))]


class _Gone(logging.Filter):
    """A visitor who closes the page in the middle of an animation is no error."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        closed = isinstance(error, WebSocketClosedError)
        return not closed and "connection was closed" not in record.getMessage()


def main(port: int = PORT, address: str = ADDRESS) -> None:
    """Serve until Ctrl-C. OSError where the port is taken: the command line asks before."""
    checks = Checks()
    for name in ("asyncio", "bokeh.server.views.ws"):
        logging.getLogger(name).addFilter(_Gone())
    try:
        server = pn.serve(  # type: ignore[no-untyped-call]
            {"/": lambda: session(checks)},
            port=port,
            address=address,
            websocket_origin=_origins(address, port),
            title="bpflife",
            show=False,
            start=False,
            verbose=False,
            http_server_kwargs={"max_header_size": MAX_HEADER},
        )
        print(f"bpflife is served at http://{address}:{port}/ (Ctrl-C ends it)", flush=True)
        server.run_until_shutdown()
    finally:
        checks.close()


if __name__ == "__main__":
    main()
