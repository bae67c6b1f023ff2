"""Text from files, models and endpoints is shown and never acts: no escape sequence, no markup, no reversed line."""

import io
import json
import re
import sys
from types import SimpleNamespace

import pytest
from rich.table import Table

from bedside.cli import main
from bedside.core.text import visible
from bedside.run.environment import Terminal, TerminalProgress

ACTS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
HOSTILE = "\x1b[31mRED\x1b]0;title\x07 \x9b2J \u202eevil\u202c \u2066x\u2069 [red]markup[/] [/] :boom: \ra\x00b\x08\x7f"
ROWS = [{"prompt": f"{n} {HOSTILE}", "harm": n % 4, "response": HOSTILE, "style": HOSTILE[:40]} for n in range(12)]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return tmp_path


@pytest.fixture
def shown(here, monkeypatch, capsys):
    """``shown("judge", ...)``: what that command writes to stdout and stderr."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["bedside", *words])
        with pytest.raises(SystemExit):
            main.main()
        return "".join(capsys.readouterr())

    return run


@pytest.mark.parametrize("text", ["\x1b[31m", "\x9b", "\r", "\u202e", "\u2066", "\ud800", "\x00", "\x7f"])
def test_a_character_that_acts_is_written_out_and_stays_the_same_value_in_json(text):
    assert not ACTS.search(visible(text))
    assert json.loads(visible(json.dumps(text, ensure_ascii=False))) == text


def test_other_text_stays_as_it_is():
    text = "Zwei\tTabletten\nשלום é 😀 \u200b [red] \\u001b"
    assert visible(text) == text


@pytest.mark.parametrize("stderr", [False, True])
def test_a_terminal_shows_hostile_text_in_lines_tables_and_json_without_acting_on_it(capsys, stderr):
    terminal = Terminal(stderr=stderr, soft_wrap=True)
    table = Table("[red]\x1b[1m[/]", title="[red]\x1b[1m[/]")
    table.add_row("[red]\x1b[1m[/]")
    terminal.print(HOSTILE)
    terminal.print(table)
    terminal.print_json(json.dumps({HOSTILE: HOSTILE}, ensure_ascii=False))
    terminal.print("\ud800 half a pair")
    out = "".join(capsys.readouterr())
    assert not ACTS.search(out)
    assert out.count("[red]markup[/] [/] :boom:") == 3
    assert out.count("[red]\\u001b[1m[/]") == 3
    assert "\\u001b[31mRED" in out


def test_json_is_the_same_value_for_the_program_that_reads_it(capsys):
    value = {"a": HOSTILE, "b": "\u202e\ud800"}
    Terminal(soft_wrap=True).print_json(json.dumps(value, ensure_ascii=False))
    assert json.loads(capsys.readouterr().out) == value


def test_the_name_of_a_stage_is_no_markup(capsys):
    with TerminalProgress(Terminal(stderr=True)) as progress:
        progress.step(HOSTILE, 1, 2)
        progress.step(HOSTILE, 2, 2)
    err = capsys.readouterr().err
    assert not ACTS.search(err)
    assert "[red]markup[/] [/] :boom:" in err


@pytest.mark.parametrize(
    "words",
    [
        ("judge", "rows.jsonl", "--judge", "keyword", "-o", "verdicts.jsonl"),
        ("judge", "rows.jsonl", "--judge", HOSTILE, "-o", "verdicts.jsonl"),
        ("judge", HOSTILE, "--judge", "keyword", "-o", "verdicts.jsonl"),
        ("label", "rows.jsonl", "-o", f"{HOSTILE[:4]}.csv"),
        ("config", "--set", f"run={HOSTILE[:4]}"),
        ("select", "--run", HOSTILE[:4]),
        ("audit", "rows.jsonl", "--label", HOSTILE, "--judge", "keyword"),
    ],
)
def test_no_verb_lets_hostile_text_act_on_the_terminal(shown, words):
    out = shown(*words)
    assert out.strip()
    assert not ACTS.search(out)


def test_a_file_of_hostile_columns_and_labels_is_refused_without_acting(here, shown):
    (here / "columns.jsonl").write_text(json.dumps({HOSTILE: "x", "harm": HOSTILE, "prompt": "x"}) + "\n")
    for verb in (("judge", "--judge", "keyword", "-o", "v.jsonl"), ("label", "-o", "l.csv")):
        out = shown(*verb, "columns.jsonl")
        assert "error: columns.jsonl" in out
        assert not ACTS.search(out)


def test_evaluate_shows_measures_of_hostile_rows(shown):
    shown("judge", "rows.jsonl", "--judge", "keyword", "-o", "verdicts.jsonl")
    for more in ((), ("--json",)):
        out = shown("evaluate", "rows.jsonl", "verdicts.jsonl", *more)
        assert "unsafe_accept@3" in out
        assert not ACTS.search(out)


def test_check_names_hostile_files_and_texts(here, shown):
    data = "{kind: jsonl, path: 'rows.jsonl', share: 0.3, by: group}"
    parts = ", ".join(f"{part}: {data}" for part in ("train", "valid", "test"))
    (here / "[red]c.yaml").write_text(f"target: {{model: './[red]'}}\ndata: {{{parts}}}\n")
    out = shown("check", "-c", "[red]c.yaml")
    assert "[red]" in out
    assert not ACTS.search(out)


def test_what_a_model_answers_in_chat_does_not_act(shown, monkeypatch):
    talk = SimpleNamespace(who=HOSTILE, answer=lambda line: f"answered {line} {HOSTILE}", split=False)
    monkeypatch.setattr(main.bedside, "chat", lambda *given, **more: talk, raising=False)
    monkeypatch.setattr(sys, "stdin", io.StringIO("hello\n"))
    shown("init")
    out = shown("chat")
    assert "answered hello \\u001b[31mRED" in out
    assert not ACTS.search(out)
