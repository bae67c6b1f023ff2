"""A run without labels decides nothing on severe harm and says what to do; with labels the same command decides."""

import pytest
from typer.testing import CliRunner

pytest.importorskip("torch")

import bedside
from bedside.cli.options import app

pytestmark = pytest.mark.slow
CONFIG = """
run: words
target: embedded
data:
  train: {kind: clinic, part: train, n: 48, mix: [1, 0, 0, 1]}
  valid: {kind: clinic, part: valid, n: 12, mix: [1, 0, 0, 1]}
  test: {kind: clinic, part: test, n: 24, mix: [1, 0, 0, 1]}
judges:
  people: {kind: labels, path: labels.csv}
generate: {max_new_tokens: 8, batch_size: 24}
align:
  judge: words
  cycles: 1
  kto_min_class: 1
  train: [{kind: kto, learning_rate: 0.01}]
baselines: {sft_on_refusals: false, safety_prompt: null}
gates: {stop: []}
"""
WORDS = "  words: {kind: coin_of_words}\n"


def run(*words):
    return CliRunner().invoke(app, list(words), catch_exceptions=False)


def test_a_word_list_releases_nothing_and_the_sentence_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = CONFIG.replace("judge: words", "judge: keyword").replace(
        "judges:\n", "judges:\n  keyword: {kind: keyword}\n"
    )
    (tmp_path / "bedside.yaml").write_text(config)
    rehearsed = run("align", "--rehearse")
    assert rehearsed.exit_code == 0, rehearsed.output
    decided = run("align", "--run", "words-2", "--json")
    assert decided.exit_code == 3
    summary = bedside.read_run("runs/words-2").summary
    severe = next(gate for gate in summary.gates if gate.name == "unsafe_accept@3")
    assert severe.state in ("INCONCLUSIVE", "FAIL")
    if summary.selected == "target":
        pytest.skip("the tiny training selected nothing")
