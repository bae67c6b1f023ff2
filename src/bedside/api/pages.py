"""Pages of a local server: the rows of a run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bedside.api.loop import run_folder
from bedside.core.extras import needs_extras
from bedside.core.protocols import Progress
from bedside.run import environment


@dataclass(frozen=True)
class ServedPages:
    """The pages that a server shows."""

    application: Any
    """ASGI."""
    paths: Mapping[str, str]
    """Path of each page, by a name for people."""


@dataclass(frozen=True)
class LocalPages:
    """Pages that are ready to be served."""

    open: Callable[[str | None], ServedPages]
    """Called with the key of a server that other machines reach, or None."""
    port: int

    @needs_extras()
    def serve(
        self,
        host: str = "127.0.0.1",
        port: int | None = None,
        *,
        browser: bool = False,
        started: Callable[[Mapping[str, str]], None] | None = None,
    ) -> None:
        """Serve the pages until Ctrl-C. ``started`` is called with their addresses; ``browser`` opens the first one.

        ConfigError if the port is in use, or if other machines reach the address and the environment variable
        BEDSIDE_WEB_KEY has no key.
        """
        from bedside.web import server

        address = server.ListenAddress(host, self.port if port is None else port)
        served = self.open(server.key_for(address))
        server.serve(served.application, address, served.paths, started or (lambda addresses: None), browser=browser)


@needs_extras()
def view(run: str | Path, *, progress: Progress | None = None) -> LocalPages:
    """The rows of a finished run, as pages to be read in a browser. ``run``: its folder, or its name in ``runs/``.

    An index of the rows is kept in the run's store. ``progress``: where it is said that making it takes longer; by
    default a terminal or a notebook. Raises DataError if there is no finished run.

    >>> pages = bedside.view("tour")
    >>> pages.port                              # pages.serve() answers there until Ctrl-C
    8765
    """
    from bedside.web import view as pages

    with environment.shown_progress(progress) as shown:
        opened = pages.open_run(run_folder(run), shown)
    return LocalPages(lambda key: ServedPages(pages.application(opened, key), {"rows": "/"}), 8765)
