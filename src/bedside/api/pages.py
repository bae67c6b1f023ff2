"""Pages of a local server: the rows of a run."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bedside.api.loop import run_folder
from bedside.core.extras import needs_extras


@dataclass(frozen=True)
class LocalPages:
    """Pages that are ready to be served."""

    application: Callable[[str | None], Any]
    """Key, or None on this machine alone, to the ASGI application."""
    port: int

    @needs_extras()
    def serve(
        self,
        host: str = "127.0.0.1",
        port: int | None = None,
        *,
        browser: bool = False,
        started: Callable[[str], None] | None = None,
    ) -> None:
        """Serve the pages until Ctrl-C; ``started`` gets their address.

        ConfigError for a port in use, and for an address that other machines reach without a key in the environment
        variable BEDSIDE_WEB_KEY.
        """
        from bedside.web import server

        address = server.Address(host, self.port if port is None else port)
        app = self.application(server.key_for(address))
        server.serve(app, address, started or (lambda url: None), browser=browser)


@needs_extras()
def view(run: str | Path) -> LocalPages:
    """The rows of a finished run, as pages to be read in a browser. ``run``: its folder, or its name in ``runs/``.

    Nothing is written. Raises DataError if there is no finished run.

    >>> pages = bedside.view("tour")
    >>> pages.port                              # pages.serve() answers there until Ctrl-C
    8765
    """
    from bedside.web import view as pages

    opened = pages.open_run(run_folder(run))
    return LocalPages(lambda key: pages.application(opened, key), 8765)
