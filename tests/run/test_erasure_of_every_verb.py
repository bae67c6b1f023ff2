"""Whatever verb wrote a person's words below ``runs``, `bedside erase` finds them, and the adapters that read them.

A verb that is added to the command line belongs into ``VERBS``, or with a reason into ``WRITES_NOTHING``.
"""

import gzip
import html
import json
import shutil
import unicodedata
from random import Random

import pytest
import typer
from tests.alignment.test_align import CONFIG, write_coin
from typer.testing import CliRunner

pytest.importorskip("torch")

import tests.support.careless_writer  # noqa: F401  registers the writer

from bedside.attacks.letters import Substitution
from bedside.cli.main import app
from bedside.data.io import write_csv, write_jsonl

pytestmark = pytest.mark.slow
SECRET = "my neighbour Zoé Ångström & son have gout"
PARTS = ("train", "train", "train", "train", "valid", "test")
COMFORT = """
run: comfort
target: {model}
data:
  train: {{kind: dialogues, path: d.jsonl, split: train}}
  valid: {{kind: dialogues, path: d.jsonl, split: valid}}
  test: {{kind: dialogues, path: d.jsonl, split: test}}
generate: {{max_new_tokens: 8}}
align: {{num_train_epochs: 1, batch_size: 4}}
comfort:
  rewrite: {{model: {{kind: copyist}}, judge: {{kind: emotion}}, parts: answer}}
  judge: {{kind: clinic_comfort}}
  start: sft
  start_rounds: 1
  train: [{{kind: sft}}, {{kind: dpo}}]
"""
OUT = "out/answers.jsonl out/verdicts.jsonl"
VERBS = {
    "align": "align --run align --set report_to=tensorboard",
    "align targets": "align --run list --targets model --set judges.words.kind=keyword --set select.judge=words",
    "attack": "attack --run align --attacks substitution,role-play+pressure",
    "report": "report --run align",
    "select": "select --run align",
    "card": "card align",
    "verify": "verify align",
    "check": "check --set run=check",
    "generate": "generate --part train -o out/answers.jsonl --set run=generate",
    "judge": "judge out/answers.jsonl -o out/verdicts.jsonl --judge coin --set run=judge",
    "evaluate": f"evaluate {OUT} --set run=evaluate",
    "monitor": f"monitor {OUT} --set run=monitor",
    "monitor baseline": "monitor baseline align",
    "monitor watch": "monitor watch out/verdicts.jsonl --baseline align",
    "monitor replay": "monitor replay --baseline align",
    "audit": "audit out/answers.jsonl --judge coin --reference keyword --run audit",
    "train": "train sft --data sft.jsonl -o out/adapter --set run=train",
    "train judge": "train judge --data labels.jsonl -o out/judge --set run=judge-training",
    "chat": "chat --set run=chat",
    "rewrite": "rewrite -c comfort.yaml --run rewrite",
    "comfort": "comfort -c comfort.yaml",
}
WRITES_NOTHING = {
    "init": "a config and examples, in a folder of the user's",
    "demo": "align, on the clinic's prompts alone",
    "doctor": "prints, and reads no data",
    "config": "prints",
    "stopping": "prints",
    "plugins": "prints",
    "label": "the file that the user names",
    "view": "an index of the run of align, that tests/web/test_kept_index.py erases; pages from memory",
    "review": "folders that tests/web/test_review_erased.py erases, and the file of `review draw` that the user names",
    "export": "the files and folders that the user names; of a merge test_exports_killed.py sees that erase names it",
    "approve": "the name of a person who approves, which stays in the log",
    "erase": "what this is about",
}


def write_project(root, model):
    said = [f"May I take {n} of it, {SECRET}, since {n} days?" for n in range(24)]
    rows = [
        {"prompt": text, "harm": n % 2 * 3, "group": f"g{n}", "split": PARTS[n // 2 % 6]} for n, text in enumerate(said)
    ]
    write_jsonl(root / "prompts.jsonl", rows)
    answers = [f"Take {n} ml a day, as {SECRET}." for n in range(24)]
    dialogues = [
        {"question": text, "answer": answer, "group": f"g{n}", "split": PARTS[n % 6]}
        for n, (text, answer) in enumerate(zip(said, answers, strict=True))
    ]
    write_jsonl(root / "d.jsonl", dialogues)
    write_jsonl(root / "sft.jsonl", [{"prompt": text, "completion": "Yes."} for text in said[:4]])
    labels = ("accept", "caution", "refuse")
    write_jsonl(
        root / "labels.jsonl",
        [{"prompt": t, "response": f"{n}.", "label": labels[n % 3], "group": f"g{n}"} for n, t in enumerate(said)],
    )
    shutil.copytree(model, root / "model")
    (root / "bedside.yaml").write_text(CONFIG.format(root=root, model=model).replace('["kappa >= 0.40", "un', '["un'))
    (root / "comfort.yaml").write_text(COMFORT.format(model=model))


def bedside(command, **more):
    done = CliRunner().invoke(app, command if isinstance(command, list) else command.split(), **more)
    assert done.exit_code in (0, 3), (command, done.output, done.exception)
    return done.stdout


@pytest.fixture(scope="module")
def project(tiny, tmp_path_factory):
    """A folder in which every verb has been run on rows that hold the secret."""
    root = tmp_path_factory.mktemp("every-verb")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(write_coin(root / "coin")))
        patch.chdir(root)
        write_project(root, tiny["llama"])
        for command in VERBS.values():
            bedside(command, input=f"{SECRET}\n")
        pack = root / "runs" / "comfort" / "ab" / "pack.jsonl"
        filled = [json.loads(line) for line in pack.read_text(encoding="utf-8").splitlines()]
        write_csv(
            pack.with_name("pack-anna.csv"), [*filled, {"id": "other", "question": "another\nrow", "kinder": "a"}]
        )
        yield root


@pytest.fixture
def copy(project, tmp_path, monkeypatch):
    for folder in ("runs", "cache", "out"):
        if (project / folder).is_dir():
            shutil.copytree(project / folder, tmp_path / folder)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files_with_the_secret(root):
    """Files below ``root`` that hold it in any of the ways in which a program may have written it."""
    spellings = [unicodedata.normalize(form, SECRET) for form in ("NFC", "NFD")]
    spellings += [Substitution().text(SECRET, Random(0))]  # as `bedside attack` puts it
    spellings += [json.dumps(text)[1:-1] for text in spellings] + [html.escape(text) for text in spellings]
    sought = [text.encode(code) for text in spellings for code in ("utf-8", "utf-16-le", "utf-16-be")]
    found = []
    for file in (path for path in root.rglob("*") if path.is_file()):
        data = file.read_bytes()
        data += gzip.decompress(data) if file.suffix == ".gz" else b""
        found += [file.relative_to(root).as_posix()] if any(text in data for text in sought) else []
    return found


def test_every_verb_is_listed():
    names = {verb.split()[0] for verb in VERBS} | WRITES_NOTHING.keys()
    assert set(typer.main.get_command(app).commands) == names


def test_nothing_is_left_below_runs_and_in_the_cache(copy):
    held = files_with_the_secret(copy / "runs")
    assert {file.split("/")[0] for file in held} >= {
        "align",
        "list-model",
        "generate",
        "train",
        "judge-training",
        "rewrite",
        "comfort",
    }
    bedside(["erase", "zoé ångström & son"])
    assert files_with_the_secret(copy / "runs") == []
    assert not (copy / "cache").exists() or files_with_the_secret(copy / "cache") == []


def test_the_adapters_of_every_training_verb_are_named_and_go_on_request(copy):
    out = bedside(["erase", "zoé ångström & son", "--dry-run"])
    for run in ("align", "list-model", "train", "judge-training", "comfort"):
        adapters = [
            f.parent.relative_to(copy / "runs" / run) for f in (copy / "runs" / run).rglob("adapter_config.json")
        ]
        assert adapters
        assert all(f"{adapter}" in out for adapter in adapters)
    bedside(["erase", "zoé ångström & son", "--adapters"])
    assert list((copy / "runs").rglob("adapter_config.json")) == []


def test_an_adapter_that_was_written_elsewhere_is_named(copy, project):
    out = bedside(["erase", "zoé ångström & son"])
    assert f"copies of such adapters, to be removed by hand: {project / 'out' / 'adapter'}" in out


def test_a_file_that_it_does_not_know_is_named_and_left(copy):
    (copy / "runs" / "align" / "mine.txt.gz").write_bytes(gzip.compress(SECRET.encode()))
    (copy / "runs" / "notes.txt").write_text(f"ask {SECRET}")
    out = bedside(["erase", "zoé ångström & son"])
    assert "the text stays in these files, edit or remove them by hand: mine.txt.gz" in out
    assert "the text stays in these files, edit or remove them by hand: notes.txt" in out
    assert files_with_the_secret(copy / "runs") == ["notes.txt", "align/mine.txt.gz"]


def test_a_table_that_people_filled_keeps_its_other_rows(copy):
    file = copy / "runs" / "comfort" / "ab" / "pack-anna.csv"
    last = file.read_text().splitlines(keepends=True)[-2:]
    bedside(["erase", "zoé ångström & son"])
    assert file.read_text().splitlines(keepends=True)[1:] == last
