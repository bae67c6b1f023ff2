"""Any verb may be killed before any change that it makes to a file, again and again, and ends with the same bytes."""

import os
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.paths import ROOT, SUPPORT
from tests.support.processes import run_python

pytest.importorskip("torch")

from tests.alignment.test_align import write_coin, write_config
from tests.data.test_labelling import rows as labelled

from bedside.config.rendering import path as template
from bedside.data import io

pytestmark = pytest.mark.slow
WITH_TIMES = (
    "events.jsonl",
    "log_heads.json",
    "spend.jsonl",
    "summary.json",
    "comfort.json",
    "report.html",
    "comfort.html",
    "ledger.jsonl",
)
"""Files of a run that carry times, or the order of calls: docs/how-to/resume.md lists them."""


def align(root: Path, tiny: dict[str, Path]) -> list[str]:
    config = write_config(root, tiny["llama"])
    config.write_text(config.read_text().replace(str(root), "."))
    return ["align", "-c", "bedside.yaml"]


def align_targets(root: Path, tiny: dict[str, Path]) -> list[str]:
    for name in ("one", "two"):
        shutil.copytree(tiny["llama"], root / name)
    judge = ["--set", "judges.words.kind=keyword", "--set", "select.judge=words"]
    return [*align(root, tiny), *judge, "--targets", "one,two"]


def comfort(root: Path, tiny: dict[str, Path]) -> list[str]:
    small = [f"data.{part}.n={n}" for part, n in (("train", 6), ("valid", 4), ("test", 4))]
    quick = ["align.num_train_epochs=1", "comfort.start_rounds=1", "generate.max_new_tokens=8"]
    sets = [*small, *quick, "comfort.rewrite.model={kind: copyist}", "run=small"]
    return ["comfort", "-c", str(template("comfort.yaml")), *(word for s in sets for word in ("--set", s))]


def label(root: Path, tiny: dict[str, Path]) -> list[str]:
    io.write_jsonl(root / "known.jsonl", labelled())
    io.write_jsonl(root / "new.jsonl", labelled(9, labelled=False))
    return ["label", "new.jsonl", "--learn-from", "known.jsonl", "-o", "made.csv"]


def train(root: Path, tiny: dict[str, Path]) -> list[str]:
    told = [{"prompt": f"How much {i}?", "completion": f"Take {i}.", "label": i % 2 == 0} for i in range(24)]
    io.write_jsonl(root / "rows.jsonl", told)
    sets = [f"target={tiny['llama']}", "align.batch_size=4", "align.save_steps=2"]
    return ["train", "kto", "-d", "rows.jsonl", "-o", "out", *(word for s in sets for word in ("--set", s))]


def attack(root: Path, tiny: dict[str, Path]) -> list[str]:
    """The run that is attacked is made first, and nothing is killed in it."""
    if not (root / "runs").is_dir():
        code, stderr = bedside(root, 0, align(root, tiny))
        assert code in (0, 3), stderr[-2000:]
    return ["attack", "tiny", "--attacks", "role-play,homoglyphs+pressure"]


VERBS = [align, align_targets, attack, comfort, label, train]


def bedside(root: Path, at: int, words: list[str]) -> tuple[int, str]:
    """Exit code and stderr of the command line in ``root``, killed before its change ``at`` unless that is 0."""
    path = os.pathsep.join(filter(None, [str(ROOT), str(root / "coin"), os.environ.get("PYTHONPATH")]))
    done = run_python(SUPPORT / "killed_verb.py", root, at, *words, cwd=root, env={**os.environ, "PYTHONPATH": path})
    return done.returncode, done.stderr


def result_files(root: Path) -> dict[str, bytes]:
    """Without the index of the rows, whose folder is named by a file with times."""
    files = (path for path in sorted(root.rglob("*")) if path.is_file() and not {"coin", "view"} & {*path.parts})
    kept = (path for path in files if path.name not in WITH_TIMES and path.suffix != ".lock")
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in kept}


def prepared(verb: Callable[..., list[str]], root: Path, tiny: dict[str, Path]) -> list[str]:
    write_coin(root / "coin")
    return verb(root, tiny)


@pytest.fixture(params=VERBS, ids=lambda verb: verb.__name__)
def calm(request, tiny, made_once):
    """The verb, the folder that it left when nothing was killed, and the number of its changes."""
    told = {}

    def make(root):
        code, stderr = bedside(root, 0, prepared(request.param, root, tiny))
        assert code in (0, 3), stderr[-2000:]
        (root.parent / f"{root.name}.changes").write_text(stderr.rpartition("changes ")[2])

    root = made_once(f"calm-{request.param.__name__}", make)
    told["changes"] = int((root.parent / f"{root.name}.changes").read_text())
    return request.param, result_files(root), told["changes"]


def killed_and_resumed(calm, tiny, root: Path, seed: int, kills: int) -> tuple[int, int]:
    """How many times it was killed, and how many files were compared. It is started again after each kill."""
    verb, expected, changes = calm
    words, draw, killed = prepared(verb, root, tiny), random.Random(seed), 0
    for at in [*(draw.randint(1, max(1, changes // left)) for left in range(kills, 0, -1)), 0]:
        code, stderr = bedside(root, at, words)
        whole = "made.csv already exists" in stderr  # `label` was killed when all was written
        assert whole or code in (0, 3, -signal.SIGKILL), stderr[-2000:]
        killed += code == -signal.SIGKILL
        if code != -signal.SIGKILL:
            break
    found = result_files(root)
    assert found.keys() == expected.keys(), "nothing is left over, nothing is missing"
    assert [name for name in expected if found[name] != expected[name]] == []
    return killed, len(found)


def test_a_verb_that_is_killed_twice_ends_with_the_same_bytes(calm, tiny, tmp_path):
    assert killed_and_resumed(calm, tiny, tmp_path, seed=0, kills=2)[0] > 0


@pytest.mark.prove
@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_a_verb_that_is_killed_again_and_again_ends_with_the_same_bytes(seed, calm, tiny, tmp_path, evidence):
    killed, compared = killed_and_resumed(calm, tiny, tmp_path, seed, kills=4)
    verb = calm[0].__name__
    evidence["kills"].append(
        {"killed at": f"{verb}, seed {seed}", "step": f"{killed} times", "files compared": compared, "differing": 0}
    )
