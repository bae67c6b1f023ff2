"""`bedside review`: people read and rate answers. Without a verb such as ``pack`` it draws a file to be filled in."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

import bedside
from bedside.cli import review_screen, terminal
from bedside.cli.options import (
    OUT,
    Columns,
    File,
    Json,
    Name,
    Sets,
    app,
    load_config_or_default,
    overrides,
    pairs,
    require,
    show,
)
from bedside.cli.terminal import print_lines
from bedside.core.errors import ConfigError
from bedside.core.gates import passed

DRAW = "draw"


class ReviewVerbs(TyperGroup):
    """`bedside review --sample 160` and `bedside review ANSWERS VERDICTS` are `bedside review draw`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        named = bool(args) and (args[0] in self.commands or args[0] in ctx.help_option_names)
        return super().parse_args(ctx, args if named else [DRAW, *args])


review_app = typer.Typer(
    cls=ReviewVerbs,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Have people read answers: pack, serve, lock, adjudicate, unblind, agreement. Or draw a file to fill in.",
)
app.add_typer(review_app, name="review")

Host = Annotated[
    str, typer.Option(help="The address to listen at. One that others reach needs a key in BEDSIDE_WEB_KEY.")
]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Where to listen; 0 takes a free one.")]
Browser = Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")]
Folder = Annotated[Path, typer.Argument(help="The review that `bedside review pack` wrote.")]


def print_links(console: Console, links: Mapping[str, str]) -> None:
    """Print one line per page with its address. The pages are served until somebody ends the command."""
    width = max(map(len, links))
    print_lines(console, *(f"{name:{width}}  {url}" for name, url in links.items()), "Ctrl-C ends")


@review_app.command()
def draw(
    responses: Annotated[
        Path | None, typer.Argument(help="Answers; by default those of the run's selected checkpoint to test.")
    ] = None,
    verdicts: Annotated[Path | None, typer.Argument(help="Their verdicts, as `bedside judge` wrote them.")] = None,
    sample: Annotated[int, typer.Option(min=2, help="How many answers to draw.")] = 160,
    out: Annotated[Path, typer.Option("--out", "-o", help="The file for people to fill in: .csv or .jsonl.")] = Path(
        "labels.csv"
    ),
    level: Annotated[
        list[int] | None, typer.Option(min=0, max=3, help="A harm level to draw from; 3 by default. May be repeated.")
    ] = None,
    column: Columns = None,
    config: File = None,
    sets: Sets = None,
    run: Name = None,
    json_: Json = False,
) -> None:
    """Draw answers into a file for people to label. A limit on severe harm is decided on such labels."""
    files = [file for file in (responses, verdicts) if file is not None]
    if len(files) == 1:
        raise ConfigError("give a file of answers and the file of its verdicts, or neither, to draw from the run")
    both = (bedside.AnswerFile(str(files[0]), pairs(column)), files[1]) if files else None
    settled = load_config_or_default(config, overrides(sets, run=run), "review")
    result = bedside.review(sample, out, answers=both, levels=level or (3,), config=settled)
    show(json_, result.records, terminal.print_label_sample, result)


@review_app.command()
def pack(
    runs: Annotated[
        list[str], typer.Argument(help="A finished run, or two to be compared: folders, or names in runs/.")
    ],
    rater: Annotated[list[str], typer.Option(help="A rater's name, as in anna. May be repeated.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write.")] = Path("review"),
    preset: Annotated[str, typer.Option(help="release, expert-100, comfort-ab or accuracy.")] = "release",
    rater_kind: Annotated[
        str, typer.Option(help="person, or model: by labels of models nothing is released.")
    ] = "person",
    sample: Annotated[int | None, typer.Option(min=1, help="How many items to draw.")] = None,
    level: Annotated[
        list[int] | None, typer.Option(min=0, max=3, help="A harm level to draw from. May be repeated.")
    ] = None,
    controls: Annotated[int | None, typer.Option(min=0, help="How many controls with a known answer.")] = None,
    repeats: Annotated[int | None, typer.Option(min=0, help="How many items are shown twice.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="The seed of every random draw.")] = 0,
    json_: Json = False,
) -> None:
    """Draw answers for raters to read in a browser, blind, by a preset."""
    given = {"sample": sample, "levels": tuple(level) if level else None, "controls": controls, "repeats": repeats}
    result = bedside.pack_review(runs, out, rater, preset, {**given, "rater_kind": rater_kind, "seed": seed})
    show(json_, result.records, review_screen.print_packed_review, result)


@review_app.command()
def serve(
    folder: Folder = Path("review"), host: Host = "127.0.0.1", port: Port = 8766, browser: Browser = False
) -> None:
    """Serve the pages of a review, and print a link for each rater and one for its leader."""
    pages = bedside.serve_review(folder)
    pages.serve(host, port, browser=browser, started=lambda links: print_links(OUT, links))


@review_app.command()
def export(
    folder: Folder = Path("review"),
    form: Annotated[str, typer.Option("--format", help="html (one file per rater), label-studio or argilla.")] = "html",
) -> None:
    """Write a review for raters without the server: files that they send back, or tasks for another tool."""
    for file in bedside.export_review(folder, form):
        OUT.print(f"wrote {file}")
    OUT.print(f"next: send them, and bedside review import {folder} FILE")


@review_app.command("import")
def import_(
    folder: Folder,
    files: Annotated[list[Path], typer.Argument(help="What raters sent back, or an export of the other tool.")],
    rater: Annotated[
        list[str] | None, typer.Option(help="THEIRS=OURS: a rater of the other tool, as in 1=anna. May be repeated.")
    ] = None,
) -> None:
    """Read the ratings from files that raters sent back."""
    OUT.print(f"{bedside.import_review(folder, files, pairs(rater))} new ratings in {folder}")


@review_app.command()
def lock(
    folder: Folder = Path("review"),
    incomplete: Annotated[bool, typer.Option("--incomplete", help="Lock it even if raters have items left.")] = False,
) -> None:
    """Close a review: it accepts no more ratings."""
    locked = bedside.lock_review(folder, incomplete=incomplete)
    OUT.print(f"locked {folder}: {locked.events} ratings, skips and undos, digest {locked.digest}")
    OUT.print(f"next: bedside review agreement {folder}; bedside review adjudicate {folder} --by NAME")


@review_app.command()
def adjudicate(
    by: Annotated[str, typer.Option(help="Who decides.")],
    folder: Folder = Path("review"),
    host: Host = "127.0.0.1",
    port: Port = 8766,
    browser: Browser = True,
) -> None:
    """Decide the items on which raters differ. The review must be locked."""
    pages = bedside.adjudicate_review(folder, by)
    pages.serve(host, port, browser=browser, started=lambda links: print_links(OUT, links))


@review_app.command()
def unblind(folder: Folder = Path("review"), json_: Json = False) -> None:
    """Write the labels of a locked review, with the model of each answer. Audit, evaluate and align read them."""
    result = bedside.unblind_review(folder)
    show(json_, result.records, review_screen.print_unblinded, result)
    require(passed(result.accuracy.gates if result.accuracy else ()))


@review_app.command()
def agreement(folder: Folder = Path("review"), json_: Json = False) -> None:
    """Show the raters' progress, consistency and agreement."""
    result = bedside.review_agreement(folder)
    show(json_, result.as_json, review_screen.print_agreement, result)
    require(passed(result.accuracy.gates if result.accuracy else ()))
