"""The commands as a person runs them: what they print, what they write, how they exit."""

import json
import os
import sys
from pathlib import Path

import pytest
from rich.console import Console
from tests.alignment.test_align import write_coin, write_config
from tests.support.processes import run_python
from typer.testing import CliRunner

from bedside.cli.main import main
from bedside.cli.options import app
from bedside.core.errors import ConfigError
from bedside.data import io
from bedside.run import environment

run = CliRunner()
TRAIN = "data.train={kind: jsonl, path: nowhere.jsonl}"


def bedside(*arguments, monkeypatch):
    """Exit code, stdout and stderr of the very entry point."""
    monkeypatch.setattr(sys, "argv", ["bedside", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        main()
    return left.value.code or 0


def test_init_writes_a_config_that_loads_and_never_overwrites(tmp_path, monkeypatch, capsys):
    assert bedside("init", tmp_path, monkeypatch=monkeypatch) == 0
    assert bedside("config", "-c", tmp_path / "bedside.yaml", "--json", monkeypatch=monkeypatch) == 0
    out = capsys.readouterr().out
    assert json.loads(out[out.index("{") :])["config"]["run"] == "first"
    assert len(list(io.rows(tmp_path / "data/prompts.jsonl"))) == 20
    assert bedside("init", tmp_path, monkeypatch=monkeypatch) == 1
    assert "exists already" in capsys.readouterr().err


def test_every_mistake_of_a_config_is_told_on_its_own_line(tmp_path, monkeypatch, capsys):
    bedside("init", tmp_path, monkeypatch=monkeypatch)
    wrong = ["align.cycels=3", "select.alpha=6", "align.judge=selff", "data.train.kind=cinic", "seed=-1"]
    sets = [part for text in wrong for part in ("--set", text)]
    assert bedside("config", "-c", tmp_path / "bedside.yaml", *sets, monkeypatch=monkeypatch) == 1
    said = capsys.readouterr().err
    for part in ("did you mean 'cycles'", "select.alpha", "did you mean 'self'", "did you mean 'clinic'", "seed"):
        assert part in said
    assert "Traceback" not in said


def test_the_version_is_a_line_or_json(monkeypatch, capsys):
    assert bedside("--version", monkeypatch=monkeypatch) == 0
    line = capsys.readouterr().out.strip()
    assert bedside("--version", "--json", monkeypatch=monkeypatch) == 0
    assert json.loads(capsys.readouterr().out)["bedside"] == line


@pytest.mark.parametrize(
    ("flags", "missing", "config", "said"),
    [
        ([], "", "demo.yaml", ""),
        (["--tiny"], "", "demo-tiny.yaml", "invented language"),
        ([], "smollm2 needs gguf", "demo-tiny.yaml", "smollm2 needs gguf"),
    ],
)
def test_the_demo_takes_smollm2_where_it_is_installed(flags, missing, config, said, monkeypatch, capsys):
    pytest.importorskip("torch")
    from bedside.models import gguf_files

    def load(file, sets):
        raise ConfigError(f"loads {file.name}")

    monkeypatch.setattr(gguf_files, "missing", lambda: missing)
    monkeypatch.setattr("bedside.load", load)
    assert bedside("demo", *flags, monkeypatch=monkeypatch) == 1
    shown = capsys.readouterr()
    assert f"loads {config}\n" in shown.err
    assert said in shown.out + shown.err


def test_a_dry_run_checks_and_writes_nothing(tmp_path, monkeypatch, capsys):
    bedside("init", tmp_path, monkeypatch=monkeypatch)
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path)
    assert bedside("align", "--dry-run", "--set", TRAIN, monkeypatch=monkeypatch) == 3
    assert "nowhere.jsonl" in capsys.readouterr().out
    assert sorted(tmp_path.rglob("*")) == before


def test_a_dry_run_of_a_list_checks_each_target_of_it_and_not_that_of_the_file(tmp_path, monkeypatch, capsys):
    pytest.importorskip("torch")
    bedside("init", tmp_path, monkeypatch=monkeypatch)
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    words = ["align", "--dry-run", "--set", TRAIN, "--targets", "./nowhere,embedded"]
    assert bedside(*words, "--json", monkeypatch=monkeypatch) == 3
    states = {row["name"]: row["state"] for row in json.loads(capsys.readouterr().out)}
    assert states["./nowhere: target"] == "FAIL"
    assert states["embedded: target"] == "PASS"
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["align", "-c", "nowhere.yaml"], 1, "nowhere.yaml"),
        (["align"], 1, "bedside init"),
        (["report", "--run", "none"], 1, "no finished run here"),
        (["select", "--run", "none"], 1, "no finished run here"),
        (["nonsense"], 2, "No such command"),
        (["align", "--cycles", "3"], 2, "No such option"),
        (["plugins"], 0, ""),
        (["doctor"], 0, ""),
        (["--json"], 2, "Missing command"),
        (["align", "--dry-run"], 1, "bedside init"),
    ],
)
def test_exit_codes_say_what_happened(arguments, code, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert bedside(*arguments, monkeypatch=monkeypatch) == code
    assert said in capsys.readouterr().err


def test_plugins_lists_every_kind(monkeypatch):
    told = json.loads(run.invoke(app, ["plugins", "--json"]).stdout)
    assert set(told["judge"]) >= {"keyword", "rubric", "truth"}
    assert set(told["objective"]) >= {"sft", "kto", "dpo"}


def test_version_is_printed():
    from bedside import __version__

    assert __version__ in run.invoke(app, ["--version"]).stdout


@pytest.fixture
def project(tiny, tmp_path):
    """A folder with a config, data, and a judge that a second package brings."""
    folder = write_coin(tmp_path / "coin")
    write_config(tmp_path, tiny["llama"])
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    return tmp_path, {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def command(project, *arguments: object, code: int = 0) -> str:
    root, environment = project
    done = run_python("-m", "bedside", *arguments, cwd=root, env=environment)
    assert done.returncode == code, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    return done.stdout


@pytest.mark.slow
def test_one_stage_each_on_files_gives_the_figures_of_the_run(project):
    command(project, "generate", "--part", "test", "-o", "answers.jsonl")
    command(project, "judge", "answers.jsonl", "-o", "verdicts.jsonl")
    alone = json.loads(command(project, "evaluate", "answers.jsonl", "verdicts.jsonl", "--json", code=3))
    told = json.loads(command(project, "align", "--json", code=3))
    assert alone["measures"] == {name: told["before"][name] for name in alone["measures"]}
    assert set(alone["measures"]["err"]) >= {"value", "n", "groups", "unreadable", "low", "high"}
    assert set(told["gates"]) >= {"err", "unsafe_accept@3", "overall > always-accept"}
    assert "selected:" in command(project, "select", "--run", "tiny")
    assert "wrote" in command(project, "report", "--run", "tiny", "-o", "r.html")
    assert Path(project[0] / "r.html").read_text().startswith("<!doctype html>")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("objective", "row"),
    [
        ("sft", {"messages": [{"role": "user", "content": "How?"}, {"role": "assistant", "content": "So."}]}),
        ("kto", {"prompt": "How?", "completion": "So.", "label": True}),
        ("dpo", {"prompt": [{"role": "user", "content": "How?"}], "chosen": "So.", "rejected": "Not so."}),
    ],
)
def test_train_reads_trl_rows_and_writes_a_peft_folder(objective, row, project):
    from peft import PeftConfig

    io.write_jsonl(project[0] / "rows.jsonl", [row] * 3)
    command(project, "train", objective, "-d", "rows.jsonl", "-o", "adapter")
    assert PeftConfig.from_pretrained(project[0] / "adapter").peft_type == "LORA"
    command(project, "generate", "--adapter", "adapter", "-n", 2, "-o", "answers.jsonl")
    assert len(list(io.rows(project[0] / "answers.jsonl"))) == 2


@pytest.mark.slow
def test_a_row_that_is_not_trls_is_named(project):
    io.write_jsonl(project[0] / "rows.jsonl", [{"question": "How?"}])
    words = ("train", "dpo", "-d", "rows.jsonl", "-o", "a")
    done = run_python("-m", "bedside", *words, cwd=project[0], env=project[1])
    assert done.returncode == 1
    assert "rows.jsonl, row 1: no column" in done.stderr


def test_a_disks_word_out_of_rust_is_no_traceback(capsys):
    said = "Error while serializing: I/O error: No space left on device (os error 28)"  # as safetensors words it
    with pytest.raises(SystemExit) as ended, environment.clean_exit(Console(stderr=True, width=300)):
        raise RuntimeError(said)
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith("error: disk: the disk is full; free some space")


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")])
def test_too_little_memory_is_one_line_and_says_what_to_set_lower(error, capsys):
    with pytest.raises(SystemExit) as ended, environment.clean_exit(Console(stderr=True, width=300)):
        raise error
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith("error: too little memory on the device: set generate.batch_size or")


def test_a_place_that_cannot_be_written_is_named_as_the_person_knows_it(tmp_path):
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(OSError) as told:
        io.write_text(tmp_path / "a.csv", "x")
    assert told.value.filename == str(tmp_path / "a.csv")
