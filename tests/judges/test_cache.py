"""Judgements kept between runs: found again by judge, turns and answer; erased with the person's words."""

import json
import subprocess
import sys
from dataclasses import dataclass, field

import pytest
from tests.support.prompts import ask

from bedside.core.protocols import Choice, Launch
from bedside.core.types import Checkpoint, Message, Response, Stance
from bedside.judges.cache import JudgementFiles
from bedside.judges.rubric import Rubric, RubricJudge
from bedside.run.erasure import erase
from bedside.run.stage_cache import StageCache
from bedside.testing.checks import Scripted


@dataclass
class Far:
    """A model behind an endpoint that says what it is told to, and counts."""

    says: str | None = "refuse"
    revision: str = "1"
    decoding: str = "greedy"
    repeatable: bool = True
    context: int = 1 << 20
    asked: list = field(default_factory=list)

    @property
    def checkpoint(self):
        return Checkpoint(base=f"far-{self.revision}")

    def lengths(self, conversations):
        return [1 for _ in conversations]

    def choose(self, conversations, labels):
        self.asked += conversations
        return [Choice(self.says, "" if self.says else "no reply") for _ in conversations]


def rows(*texts):
    return [Response(ask(f"question {text}"), f"answer {text}", "policy") for text in texts]


def test_another_run_asks_nothing_twice(tmp_path):
    first = RubricJudge(one := Far(), judgement_cache=JudgementFiles(tmp_path)).judge(rows("a", "b"))
    again = RubricJudge(two := Far(), judgement_cache=JudgementFiles(tmp_path)).judge(rows("b", "c", "a"))
    assert len(one.asked) == 6
    assert len(two.asked) == 3, "c alone"
    assert [v.stance for v in [*first, *again]] == [Stance.REFUSE] * 5
    assert {v.judge for v in again} == {first[0].judge}


def test_the_same_words_of_another_checkpoint_are_one_judgement(tmp_path):
    judge = RubricJudge(far := Far(), judgement_cache=JudgementFiles(tmp_path))
    (first,) = judge.judge(rows("a"))
    (other,) = judge.judge([Response(ask("question a"), "answer a", "another policy")])
    assert len(far.asked) == 3
    assert other.stance == first.stance
    assert other.response != first.response, "each verdict is about its own response"


@pytest.mark.parametrize("other", [{"revision": "2"}, {"decoding": "another"}])
def test_another_revision_decoding_or_wording_is_another_judge(other, tmp_path):
    RubricJudge(Far(), judgement_cache=JudgementFiles(tmp_path)).judge(rows("a"))
    RubricJudge(far := Far(**other), judgement_cache=JudgementFiles(tmp_path)).judge(rows("a"))
    assert len(far.asked) == 3
    RubricJudge(far := Far(), "{{ patient }} {{ answer }}?", judgement_cache=JudgementFiles(tmp_path)).judge(rows("a"))
    assert len(far.asked) == 3


def test_what_is_unreadable_or_not_repeatable_is_not_kept(tmp_path):
    RubricJudge(Far(says=None), judgement_cache=JudgementFiles(tmp_path)).judge(rows("a"))
    RubricJudge(Far(repeatable=False), judgement_cache=JudgementFiles(tmp_path)).judge(rows("a"))
    RubricJudge(Far(), judgement_cache=JudgementFiles(tmp_path)).judge([Response(ask("q"), "  ", "policy")])
    assert list(tmp_path.rglob("*.json")) == []


def test_a_model_that_runs_here_is_kept_only_if_asked_and_by_its_bits(tmp_path):
    def judge(**memory):
        scripted = Scripted(weights={"accept": 0.9})
        return Rubric().open(Launch(), model=scripted, judgement_cache=JudgementFiles(tmp_path, **memory))

    (verdict,) = judge().judge(rows("a"))
    assert list(tmp_path.rglob("*.json")) == []
    assert judge(includes_local=True, numerics="cpu").judge(rows("a")) == [verdict]
    assert judge(includes_local=True, numerics="cuda").judge(rows("a")) == [verdict]
    assert len(list(tmp_path.rglob("*.json"))) == 2
    assert judge(includes_local=True, numerics="cpu").judge(rows("a")) == [verdict], "read back, it is the same verdict"


@pytest.mark.parametrize(
    "broken", ["", "{", "[]", '{"reading": 1}', '{"reading": {"stance": "safe", "probabilities": {}}}', "\ud800"]
)
def test_a_broken_file_is_asked_anew(broken, tmp_path):
    judge = RubricJudge(far := Far(), judgement_cache=JudgementFiles(tmp_path))
    judge.judge(rows("a"))
    (file,) = tmp_path.rglob("*.json")
    file.write_bytes(broken.encode("utf-8", "surrogatepass"))
    (verdict,) = judge.judge(rows("a"))
    assert verdict.stance is Stance.REFUSE
    assert len(far.asked) == 6
    assert json.loads(file.read_text())["reading"]["stance"] == "refuse", "and mended"


def test_a_judgement_that_was_changed_is_asked_anew(tmp_path):
    judge = RubricJudge(far := Far(), judgement_cache=JudgementFiles(tmp_path))
    judge.judge(rows("a"))
    (file,) = tmp_path.rglob("*.json")
    file.write_text(file.read_text().replace('"stance":"refuse"', '"stance":"accept"'))
    (verdict,) = judge.judge(rows("a"))
    assert verdict.stance is Stance.REFUSE
    assert len(far.asked) == 6


WRITER = """
import sys
from pathlib import Path
from bedside.core.types import Message
from bedside.judges.cache import JudgementFiles
kept = JudgementFiles(Path(sys.argv[1]))
for n in range(150):
    turns = (Message("user", f"question {n}"),)
    kept.keep("judge", turns, "answer", {"stance": "accept", "probabilities": {}})
    assert kept.recall("judge", turns, "answer") is not None
"""


@pytest.mark.slow
def test_two_processes_may_keep_the_same_at_once(tmp_path):
    both = [subprocess.Popen([sys.executable, "-c", WRITER, tmp_path], stderr=subprocess.PIPE) for _ in range(2)]
    for one in both:
        _, said = one.communicate()
        assert one.returncode == 0, said.decode()
    files = list(tmp_path.rglob("*.json"))
    assert len(files) == 150
    assert all(json.loads(file.read_text())["reading"]["stance"] == "accept" for file in files)
    assert list(tmp_path.rglob(".*")) == []


@pytest.mark.parametrize("where", ["cache", "elsewhere"])
def test_forget_erases_a_persons_words_from_the_cache(where, tmp_path):
    run = tmp_path / "runs" / "one"
    StageCache(run).log_event("start")
    if where == "elsewhere":
        (run / "config.yaml").write_text(f"cache: {{folder: {tmp_path / where}}}\n")
    kept = JudgementFiles(tmp_path / where)
    for text in ("My neighbour Ottilie\nBergmann has gout", "Is tea safe?"):
        kept.keep("judge", (Message("user", text),), "Rest.", {"stance": "accept", "probabilities": {}})
        kept.keep("judge", (Message("user", "And?"),), f"You said: {text}", {"stance": "accept", "probabilities": {}})
    (erased,) = erase(tmp_path / "runs", "ottilie bergmann", adapters=False)
    assert (erased.run, erased.rows) == (tmp_path / where, 2)
    left = "".join(file.read_text() for file in (tmp_path / where).rglob("*") if file.is_file())
    assert "ottilie" not in left.lower()
    assert left.count("tea") == 2
    assert StageCache(tmp_path / where).events()[-1]["judgements"] == 2
    assert erase(tmp_path / "runs", "ottilie bergmann", adapters=False) == []
