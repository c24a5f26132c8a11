"""What a session does differently before its page is there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import panel as pn


@contextmanager
def batch() -> Iterator[None]:
    """All changes inside reach the browser as one message: nothing in between is painted.

    While a session is built nothing is sent anyway. Between the browser's request for the document
    and its word that the page is ready, Panel's hold() drops what it held, in the belief that the
    document is still to be sent as a whole: a page would miss these changes for ever. So until
    the page is ready nothing is held.
    """
    if pn.state.loaded:
        with pn.io.hold():
            yield
    else:
        yield
