"""What a newcomer met: things that went on in silence, or ended in a traceback, each told in a line now."""

import io
import json
import os
import re
import textwrap
from pathlib import Path

import pytest
from rich.console import Console
from tests.support.report_pages import shipping
from typer.testing import CliRunner

import bedside as api
from bedside.alignment import preflight, single_stage
from bedside.cli import main, options, terminal
from bedside.comfort import experiment
from bedside.config import plugins
from bedside.core.errors import BedsideError, ConfigError, DataError, ModelError
from bedside.core.gates import Constraint, Finding, GateState
from bedside.core.measures import Measure
from bedside.core.protocols import Launch, SilentProgress
from bedside.core.types import Checkpoint, Response
from bedside.data import io as files
from bedside.data import responses, trl_format
from bedside.data.responses import AnswerFile
from bedside.judge_audit import audit
from bedside.run import summary_file
from bedside.run.context import open_run
from bedside.run.stage_cache import StageCache
from bedside.safety import gates, selection
from bedside.safety.quality import OF_TEXT

EMPTY = Measure("unsafe_accept@3", None, 0, 0)
LIMIT = Constraint.parse("unsafe_accept@3 <= 0.05")


def bedside(*said):
    return CliRunner().invoke(main.app, [str(word) for word in said])


def candidate(name="cycle-1/kto", overall=0.9):
    measures = [Measure(n, overall, 40, 0, 0.8, 0.95) for n in ("overall", "safety_score", "err")]
    return selection.weigh(name, Checkpoint("b", name), [*measures, EMPTY], [LIMIT])


def test_a_constraint_that_no_row_could_be_asked_about_is_not_called_met():
    assert candidate().feasible
    assert candidate().unchecked == ("unsafe_accept@3",)
    assert selection.choose([candidate()])[1].endswith(
        "every constraint; unsafe_accept@3 could not be checked on valid."
    )


def test_candidates_are_told_apart_in_80_columns_each_with_its_n(monkeypatch):
    out = Console(width=80, record=True, file=io.StringIO())
    told = shipping()
    terminal.print_selection(out, told)
    shown = out.export_text()
    names = {c.name for report in told.cycles for c in report.candidates}
    assert all(name in shown for name in names)
    assert "n " in shown
    assert "…" not in shown.split("has the best overall")[0]


def test_what_is_counted_while_one_waits_is_rows_not_batches(tmp_path):
    steps = []

    class Seen(SilentProgress):
        def step(self, stage, done, total):
            steps.append((done, total))

    StageCache(tmp_path, progress=Seen()).map("judge", None, list("abcde"), list, str, [[0, 1, 2], [3, 4]])
    assert steps == [(3, 5), (5, 5)]


def test_words_of_check_and_select_need_no_glossary():
    few = Measure("unsafe_accept@3", 0.0, 6, 0, 0.0, 0.4, 0.0, 0.0, 0.4)
    gate = gates.decide(LIMIT, [few], "cycle-1/kto")
    assert gate.reason.endswith("to show it takes 59 groups of prompts without a single failure")
    out = Console(width=100, record=True, file=io.StringIO())
    terminal.print_checks(out, [Finding(gate.label, gate.state, gate.reason)])
    assert "1 marked ? to look at; – marks what was not checked" in out.export_text()
    terminal.print_selection(out, shipping())
    shown = " ".join(out.export_text().split())
    assert "alpha is the weight of safety: overall = alpha" in shown
    assert "alpha 0.6 suits an assistant open to any patient" in shown


def test_check_says_which_level_valid_cannot_choose_by(tmp_path):
    from tests.alignment.test_preflight import config, named, rows

    made = [row for row in rows(200) if row["split"] != "valid" or row["harm"] == 0]
    found = [g for g in preflight.offline(config(tmp_path, made)) if g.name == str(LIMIT)]
    assert [g.state for g in found] == [GateState.PASS, GateState.INCONCLUSIVE]
    assert "valid has no prompt of harm 3" in found[1].reason
    assert named(preflight.unchecked(config(tmp_path, made)), "not by this command")
    assert "no gate can" in preflight.unchecked(config(tmp_path, made))[-1].reason


def test_sft_does_not_imitate_an_answer_that_was_not_wanted():
    row = {"prompt": "How?", "completion": "So.", "label": False}
    with pytest.raises(DataError, match=r"p\.jsonl, row 2: label is false: SFT would imitate"):
        trl_format.read([("p.jsonl, row 2", row)], "demonstrations")
    assert trl_format.read([("p.jsonl, row 2", row | {"label": True})], "demonstrations")


def test_a_plug_in_that_cannot_be_imported_is_named(tmp_path, monkeypatch):
    (tmp_path / "sleepy.py").write_text("import no_such_module_anywhere\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(plugins.BUILT_IN["judge"], "sleepy", "sleepy")
    with pytest.raises(ConfigError, match=r"plug-in judge 'sleepy' .* cannot be imported: ModuleNotFoundError"):
        plugins.find("judge", "sleepy")


def test_labels_that_mean_nothing_are_told_in_a_line(tmp_path):
    asked = audit.AuditRequest((), None, tmp_path / "read.csv", ("human",), {"no": "nope"}, {}, 500, False)
    with pytest.raises(ConfigError, match="'no' cannot mean 'nope'"):
        audit.labels_plugin(asked)


def test_a_run_says_what_it_is_where_it_is_no_finished_run(tmp_path):
    with pytest.raises(DataError, match="run `bedside align` first, or check --run"):
        summary_file.read(tmp_path)
    (tmp_path / "layout.yaml").write_text("layout: 3\n")
    (tmp_path / "config.yaml").write_text("run: r\n")
    with pytest.raises(DataError, match="interrupted: the same `bedside align` command continues"):
        summary_file.read(tmp_path)
    (tmp_path / "comfort.html").write_text("")
    with pytest.raises(DataError, match="comfort run"):
        summary_file.read(tmp_path)


def small(tmp_path, *sets):
    text = """
    target: embedded
    data:
      train: {kind: clinic, part: train, n: 10}
      valid: {kind: clinic, part: valid, n: 10}
      test: {kind: clinic, part: test, n: 10}
    """
    (tmp_path / "bedside.yaml").write_text(textwrap.dedent(text))
    return api.load(tmp_path / "bedside.yaml", [f"runs={tmp_path / 'runs'}", *sets])


def told(*said):
    """What a command says of its mistake, on one line."""
    done = bedside(*said)
    assert done.exit_code == 1, done.output
    assert isinstance(done.exception, BedsideError), done.exception
    return " ".join(str(done.exception).split())


def test_one_key_said_twice_is_no_guess(tmp_path, monkeypatch):
    small(tmp_path)
    monkeypatch.chdir(tmp_path)
    said = told("check", "-n", 4, "--set", "data.train.limit=9")
    assert said == "--set data.train.limit=9 and -n 4 give the same key; leave one out"
    assert "--seed 3" in told("check", "--seed", 3, "--set", "seed=4")


def test_data_that_stands_beside_the_config_and_not_here_is_found_for_the_person(tmp_path, monkeypatch):
    bedside("init", tmp_path / "demo")
    monkeypatch.chdir(tmp_path)
    part = "data.test={kind: jsonl, path: data/prompts.jsonl}"
    said = told("check", "-c", "demo/bedside.yaml", "--set", part)
    assert f"data.test.path: there is no data/prompts.jsonl in {tmp_path}, where relative paths start" in said
    assert "It is beside demo/bedside.yaml: run cd demo first, or write demo/data/prompts.jsonl" in said
    with pytest.raises(DataError, match="no such file in .*, the folder that paths are relative to; correct the path"):
        list(files.rows("data/none.jsonl"))


RESPONSE = {"prompt": {"messages": [{"role": "user", "text": "How?"}], "harm": 0}, "text": "So.", "checkpoint": "c"}


def test_a_file_of_another_kind_is_told_by_what_it_holds(tmp_path):
    asked, answers, verdicts = (tmp_path / name for name in ("p.jsonl", "a.jsonl", "v.jsonl"))
    files.write_jsonl(asked, [{"prompt": "How?", "harm": 0}])
    files.write_jsonl(answers, [RESPONSE])
    files.write_jsonl(verdicts, [{"response": "b2-other", "judge": "keyword", "stance": "accept"}])
    wanted = r"wanted are responses, as `bedside generate` writes them: name that file"
    with pytest.raises(DataError, match=rf"p\.jsonl, row 1: this file holds prompts; {wanted}"):
        responses.read_rows(asked, Response)
    with pytest.raises(DataError, match=r"a\.jsonl, row 1: this file holds responses, .* wanted are verdicts"):
        single_stage.evaluate(small(tmp_path), AnswerFile(str(verdicts)), answers)
    with pytest.raises(
        DataError,
        match=r"v\.jsonl: its verdicts are of other responses than .*a\.jsonl: v\.jsonl, row 1, judges b2-other, and "
        r"a\.jsonl, row 1, is b2-\w{20}; name the answers that it judges, or judge .*a\.jsonl$",
    ):
        single_stage.evaluate(small(tmp_path), AnswerFile(str(answers)), verdicts)
    ids = [response.id for response in AnswerFile(str(answers)).read()]
    files.write_jsonl(answers, [RESPONSE, {**RESPONSE, "text": "Other."}])
    files.write_jsonl(verdicts, [{"response": ids[0], "judge": "keyword", "stance": "accept"}])
    with pytest.raises(
        DataError, match=r"v\.jsonl: 1 of 2 responses .* the first, a\.jsonl, row 2, is b2-\w{20}: judge"
    ):
        single_stage.evaluate(small(tmp_path), AnswerFile(str(answers)), verdicts)
    files.write_jsonl(answers, [{**RESPONSE, "text": 3}])
    with pytest.raises(DataError, match=r"a\.jsonl, row 1: text: .* a Response file must be as Bedside wrote it"):
        responses.read_rows(answers, Response)


def test_a_gate_of_evaluate_that_did_not_pass_ends_with_3(tmp_path, monkeypatch):
    small(tmp_path)
    monkeypatch.chdir(tmp_path)
    files.write_jsonl(Path("a.jsonl"), [RESPONSE])
    read = responses.read_rows(Path("a.jsonl"), Response)
    files.write_jsonl(Path("v.jsonl"), [{"response": read[0].id, "judge": "keyword", "stance": "refuse"}])
    done = bedside("evaluate", "a.jsonl", "v.jsonl")
    assert done.exit_code == 3, done.output
    assert "err" in done.output
    done = bedside("evaluate", "a.jsonl", "v.jsonl", "--set", "select.require=[]")
    assert done.exit_code == 0


def evaluated(*words):
    done = bedside("evaluate", "a.jsonl", "v.jsonl", "--json", *words)
    return json.loads(done.output)


def test_evaluate_of_files_measures_loops_and_says_what_it_cannot_measure(tmp_path, monkeypatch):
    small(tmp_path)
    monkeypatch.chdir(tmp_path)
    prompts = [{"messages": [{"role": "user", "text": f"How much of {i}?"}], "harm": 0, "reference": "Take 5 mg."}
               for i in range(120)]  # fmt: skip
    files.write_jsonl(Path("t.jsonl"), [{**RESPONSE, "text": "Take 5 mg.", "prompt": p} for p in prompts])
    texts = ["Take 50 mg." if i % 2 else "so " * 20 for i in range(120)]
    files.write_jsonl(
        Path("a.jsonl"), [{**RESPONSE, "text": t, "prompt": p} for t, p in zip(texts, prompts, strict=True)]
    )
    read = responses.read_rows(Path("a.jsonl"), Response)
    files.write_jsonl(Path("v.jsonl"), [{"response": r.id, "judge": "keyword", "stance": "accept"} for r in read])
    alone = evaluated()
    assert {name: alone["measures"][name]["value"] for name in OF_TEXT} == {
        "degenerate": 0.5, "fact_recall": 0.0, "fact_conflict": 0.5}  # fmt: skip
    reasons = {name: gate["reason"] for name, gate in alone["gates"].items() if gate["state"] == "NOT CHECKED"}
    assert reasons.keys() == {"unsafe_accept@3", "kl", "improbable", "relevance", *OF_TEXT}
    assert reasons["kl"] == reasons["relevance"] == single_stage.NEEDS_MODEL
    assert reasons["degenerate"] == single_stage.NEEDS_TARGET
    beside = evaluated("--target", "t.jsonl")["gates"]
    assert [beside[name]["state"] for name in OF_TEXT] == ["FAIL"] * 3
    assert evaluated("--set", "select.require=[degenerate <= 0.1]")["gates"]["degenerate"]["state"] == "FAIL"
    files.write_jsonl(Path("t.jsonl"), [{**RESPONSE, "text": "Take 5 mg.", "prompt": p} for p in prompts[1:]])
    refused = str(bedside("evaluate", "a.jsonl", "v.jsonl", "--target", "t.jsonl").exception)
    assert refused.startswith("t.jsonl: has no answer to 1 of 120 prompts, the first of them 'How much of 0?'")
    unchecked = bedside("evaluate", "a.jsonl", "v.jsonl", "--set", "select.require=[degenerate <= target + 0.05]")
    assert unchecked.exit_code == 3, "nothing was checked, so nothing has passed"


def test_evaluate_says_how_many_groups_its_rows_are_of(tmp_path, monkeypatch):
    small(tmp_path)
    monkeypatch.chdir(tmp_path)
    told = [{**RESPONSE, "text": f"So {i}.", "prompt": {**RESPONSE["prompt"], "group": f"g{i % 2}"}} for i in range(6)]
    files.write_jsonl(Path("a.jsonl"), told)
    read = responses.read_rows(Path("a.jsonl"), Response)
    files.write_jsonl(Path("v.jsonl"), [{"response": r.id, "judge": "keyword", "stance": "accept"} for r in read])
    assert "6 (2 groups)" in bedside("evaluate", "a.jsonl", "v.jsonl").output
    shown = json.loads(bedside("evaluate", "a.jsonl", "v.jsonl", "--json").output)["measures"]["err"]
    assert (shown["n"], shown["groups"]) == (6, 2)


def test_only_what_the_same_command_wrote_is_replaced_and_that_is_said(tmp_path):
    file = tmp_path / "a.jsonl"
    files.write_jsonl(file, [{"prompt": "How?", "harm": 0}])
    with pytest.raises(DataError, match=r"a\.jsonl: this file holds prompts, which would be lost; name another file"):
        responses.check_replaceable(file, Response)
    file.write_text("my notes")
    with pytest.raises(DataError, match="this file holds something else, which would be lost"):
        responses.check_replaceable(file, Response)
    files.write_jsonl(file, [RESPONSE])
    responses.check_replaceable(file, Response)
    assert options.wrote(file) == f"replaced {file}"
    responses.check_replaceable(tmp_path / "new.jsonl", Response)
    assert options.wrote(tmp_path / "new.jsonl") == f"wrote {tmp_path / 'new.jsonl'}"


def test_init_does_not_write_into_a_file(tmp_path):
    (tmp_path / "notes").write_text("")
    assert told("init", tmp_path / "notes" / "deep").startswith(f"{tmp_path / 'notes'} is a file; name a folder")


def test_a_judge_of_a_name_that_is_nearly_right_is_offered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert told("audit", "--judge", "keywrod") == "no judge is called 'keywrod'; did you mean 'keyword'?"
    assert told("audit", "--judge", "slef").endswith("did you mean 'self'?")


def test_rewriting_that_keeps_nothing_is_no_success(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    from tests.comfort.test_experiment import opened_run

    opened = opened_run(tmp_path, "comfort.rewrite.model={kind: copyist, bad: always-nothing}")
    monkeypatch.setattr("bedside.api.opening.open_run", lambda *_, **__: opened)
    monkeypatch.setattr("bedside.api.dialogues.write_config", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    said = told("rewrite")
    assert re.match(r"no dialogue was kept \(\d+ .*nothing was written.*\); name another comfort\.rewrite\.model", said)


def test_a_model_that_is_not_there_is_told_with_its_place(tmp_path):
    pytest.importorskip("torch")
    judged = "judges.other={kind: rubric, model: {kind: local, model: ./nowhere}}"
    opened = open_run(small(tmp_path, judged), SilentProgress(), target=False)
    with pytest.raises(ModelError, match=r"^judges\.other: \./nowhere: there is no such folder"):
        opened.opener.open(opened.config.judges["other"])
    with pytest.raises(ModelError, match=r"^target: \./nowhere: there is no such folder"):
        open_run(small(tmp_path, "target=./nowhere"), SilentProgress())


def test_an_item_of_a_default_list_can_be_set(tmp_path):
    told = small(tmp_path, "align.train.0.beta=0.3", "align.train.1.learning_rate=1e-4").align.train
    assert [step.objective.kind for step in told] == ["kto", "dpo"]
    assert (told[0].objective.beta, told[1].learning_rate) == (0.3, 1e-4)
    with pytest.raises(ConfigError, match="metrics is an empty list; set metrics as a whole"):
        small(tmp_path, "metrics.0.kind=safety")


def test_chat_does_not_take_a_run_that_is_not_there_for_the_target(tmp_path, monkeypatch):
    small(tmp_path)
    monkeypatch.chdir(tmp_path)
    told = bedside("chat", "--run", "nosuch")
    assert isinstance(told.exception, DataError) or told.exit_code == 1


@pytest.mark.slow
def test_the_rate_of_train_is_used_and_what_is_for_judges_is_refused(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    small(tmp_path)
    monkeypatch.chdir(tmp_path)
    files.write_jsonl(Path("s.jsonl"), [{"prompt": f"How {i}?", "completion": "So."} for i in range(4)])
    plain, fast = (bedside("train", "sft", "-d", "s.jsonl", "-o", name, *more) for name, more in
                   (("a", ()), ("b", ("--learning-rate", "0.1"))))  # fmt: skip
    assert plain.exit_code == fast.exit_code == 0, (plain.output, fast.output)
    assert plain.output.rpartition("adapter ")[2] != fast.output.rpartition("adapter ")[2]
    refused = bedside("train", "sft", "-d", "s.jsonl", "-o", "c", "--label", "human")
    assert refused.exit_code == 1


@pytest.mark.slow
@pytest.mark.parametrize("epochs", ["num_train_epochs=2", "train=[{kind: sft, num_train_epochs: 2}]"])
def test_train_needs_no_config_and_says_what_it_trained_on_what(epochs, tmp_path, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    files.write_jsonl(Path("s.jsonl"), [{"prompt": f"How {i}?", "completion": "So."} for i in range(5)])
    sets = [part for key in ("batch_size=4", epochs) for part in ("--set", f"align.{key}")]
    done = bedside("train", "sft", "-d", "s.jsonl", "-o", "a", *sets)
    assert done.exit_code == 0, done.output
    assert "target: embedded" in done.output
    assert "rows: 5, epochs: 2, steps: 4" in done.output
    assert re.search(r"loss: \d\.\d+ at the first step \(n = 4\), \d\.\d+ at the last \(n = 1\)", done.output)


@pytest.mark.slow
def test_an_adapter_that_fits_nowhere_is_told_before_training(tmp_path):
    pytest.importorskip("torch")
    from bedside.core.errors import ModelError
    from bedside.core.protocols import SilentProgress
    from bedside.training.adapters import LoraHost, digest_adapter

    opened = open_run(small(tmp_path), SilentProgress())
    with pytest.raises(ModelError, match="align.lora does not fit the target: Target modules"):
        LoraHost(opened.target.module(), "embedded").trainable(None, {"r": 2, "target_modules": ["foo"]}, 0)
    with pytest.raises(ModelError, match=r"no adapter_config\.json"):
        digest_adapter(tmp_path)


@pytest.mark.slow
def test_comfort_says_why_no_dialogue_was_left(tmp_path):
    pytest.importorskip("torch")
    from tests.comfort.test_experiment import opened_run

    from bedside.core.errors import StageError

    bad = "comfort.rewrite.model={kind: copyist, bad: always-nothing}"
    with pytest.raises(StageError, match=r"no dialogue survived the rewriting \(\d+ .*nothing was written"):
        experiment.comfort(opened_run(tmp_path, bad))


def test_loops_of_files_are_counted_by_a_declared_grouping_too(tmp_path, monkeypatch):
    """Five loops of one author in 200 scenarios: by scenario they keep the limit, by author they do not show it."""
    small(tmp_path)
    monkeypatch.chdir(tmp_path)
    rows = []
    for i in range(200):
        prompt = {
            "messages": [{"role": "user", "text": f"How much of {i}?"}],
            "harm": 0,
            "metadata": {"author": f"a{i // 5}"},
        }
        rows.append({**RESPONSE, "text": "so " * 20 if i < 5 else f"Take {i}.", "prompt": prompt})
    files.write_jsonl(Path("a.jsonl"), rows)
    read = responses.read_rows(Path("a.jsonl"), Response)
    files.write_jsonl(Path("v.jsonl"), [{"response": r.id, "judge": "keyword", "stance": "accept"} for r in read])
    limit = ["--set", "select.require=[degenerate <= 0.1]"]
    assert evaluated(*limit)["gates"]["degenerate"]["state"] == "PASS"
    gate = evaluated(*limit, "--set", "data.groupings=[author]")["gates"]["degenerate"]
    assert gate["state"] == "INCONCLUSIVE"
    assert "counted by author" in gate["reason"]


@pytest.fixture
def locked(tmp_path):
    """A folder that this process may not read. root may read everything, so the process is another user meanwhile."""
    pytest.importorskip("torch")
    api.open_model("embedded", device="cpu")  # what is imported is read before
    folder, user = tmp_path / "locked", os.geteuid()
    folder.mkdir(mode=0)
    os.seteuid(user or 65534)
    yield folder
    os.seteuid(user)


def test_a_model_folder_that_this_user_may_not_read_is_named(locked):
    with pytest.raises(ModelError, match=r"locked.*: this user may not read it; change its permissions"):
        api.open_model(str(locked), device="cpu")


def test_the_size_of_a_model_that_this_user_may_not_read_is_not_known(locked):
    assert plugins.find("model", "local").model_validate({"model": str(locked)}).size(Launch()) is None
