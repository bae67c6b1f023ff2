"""Hooks of mkdocs.yml: pages of the site that no folder under docs holds.

A link of a page that leaves docs brings its target along: README, the card of `consult`, a config under examples. The
commands are written by Typer, the Python names from those that ``bedside`` offers.
"""

import importlib
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from posixpath import dirname, normpath, relpath

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

import bedside

ROOT = Path(__file__).parents[1]
EXAMPLE = re.compile(r"^>>> (?:.+\n?)+", re.M)
FIRST_WORDS = re.compile(r"^##+ `bedside ([^`]+)`\n\n(.+?)(?:\n\n)", re.M | re.S)
CUT_SHORT = re.compile(r"^\* `(\w+)`: .*\.\.\.$", re.M)
"""Typer cuts the list of commands after 45 characters."""
LINK = re.compile(r"(?<=\]\()(?!https?:|#|mailto:)([^)#\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    generated = {"reference/commands.md": _commands(), "reference/python.md": _python()}
    for name, text in generated.items():
        files.append(File.generated(config, name, content=text))
    for name in sorted(_outside_docs()):
        inclusion = InclusionLevel.INCLUDED if _in_nav(name, config.nav) else InclusionLevel.NOT_IN_NAV
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name), inclusion=inclusion))
    return files


def on_page_markdown(text: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The links of a page, which hold in the checkout, as they hold in the site."""
    here = page.file.src_uri
    source = here if (ROOT / here).is_file() else f"docs/{here}"
    return LINK.sub(lambda link: _in_site(link[1], source, here), text)


def _in_site(link: str, source: str, here: str) -> str:
    target = normpath(f"{dirname(source)}/{link}") if dirname(source) else normpath(link)
    return relpath(target.removeprefix("docs/"), dirname(here) or ".")


def _outside_docs() -> set[str]:
    """README and every file outside docs that a page leads to, as paths from the root."""
    found, waiting = (
        set(),
        ["README.md", "CHANGELOG.md", *(str(p.relative_to(ROOT)) for p in ROOT.glob("docs/**/*.md"))],
    )
    while waiting:
        page = waiting.pop()
        if not page.startswith("docs/"):
            found.add(page)
        if page.endswith(".md"):
            links = {
                normpath(f"{dirname(page)}/{link}".lstrip("/")) for link in LINK.findall((ROOT / page).read_text())
            }
            waiting += [link for link in links if not link.startswith("docs/") and link not in found]
    return found


def _in_nav(name: str, nav: object) -> bool:
    return f"'{name}'" in repr(nav)


def _commands() -> str:
    written = [sys.executable, "-m", "typer", "bedside.cli.main", "utils", "docs", "--name", "bedside"]
    text = subprocess.run(written, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    first = {name: " ".join(words.split()) for name, words in FIRST_WORDS.findall(text)}
    whole = "".join(_in_full(section, first) for section in re.split(r"^(?=##+ )", text, flags=re.M))
    return whole.replace("# `bedside`", "# Commands", 1)


def _in_full(section: str, first: Mapping[str, str]) -> str:
    """``section`` with the whole first sentence of each of its commands."""
    found = re.match(r"##+ `bedside ([^`]+)`", section)
    of = f"{found[1]} " if found else ""
    return CUT_SHORT.sub(lambda line: f"* `{line[1]}`: {first[of + line[1]]}", section)


def _python() -> str:
    verbs_first = sorted(bedside._NAMES.items(), key=lambda item: not item[0].startswith("api."))
    sections = [_section(module, names.split()) for module, names in verbs_first]
    return "\n".join(["# Python", "", "Everything is imported from `bedside`.", "", *sections])


def _section(module: str, names: list[str]) -> str:
    title = (importlib.import_module(f"bedside.{module}").__doc__ or module).splitlines()[0].rstrip(".")
    return "\n".join([f"## {title}", "", *(f"::: bedside.{module}.{name}\n" for name in sorted(names))])


class Doctests(griffe.Extension):
    """Examples of docstrings, lines that begin with ``>>>`` and what they print, are shown as code."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        if obj.docstring:
            obj.docstring.value = EXAMPLE.sub(
                lambda example: f"```pycon\n{example[0].strip()}\n```\n", obj.docstring.value
            )
