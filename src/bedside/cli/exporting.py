"""`bedside export`: what a run may release, for other tools."""

from pathlib import Path
from typing import Annotated

import typer

import bedside
from bedside.cli.options import OUT, File, Sets, find_run
from bedside.cli.trail import Finished


def export(
    run: Finished = None,
    merge: Annotated[
        Path | None, typer.Option(help="A new folder: the model with the released adapter merged into its weights.")
    ] = None,
    push: Annotated[
        str | None,
        typer.Option(metavar="REPO", help="Upload the release to OWNER/NAME on the hub, private."),
    ] = None,
    inspect: Annotated[
        Path | None, typer.Option(help="A file: the judged answers to the test, as a log for `inspect view`.")
    ] = None,
    token_env: Annotated[
        str, typer.Option(metavar="NAME", help="NAME of the environment variable that holds the hub's token.")
    ] = "HF_TOKEN",
    config: File = None,
    sets: Sets = None,
) -> None:
    """Merge what a run may release, upload it, or write its judged answers for inspect_ai.

    Only --push uploads anything.
    """
    request = bedside.ExportRequest(merge, push, inspect, token_env)
    done = bedside.export(run or find_run(config, sets, None), request)
    for file in done.written:
        OUT.print(f"wrote {file}")
    if done.pushed:
        OUT.print(f"uploaded to {done.pushed}")
