"""Judges against labels that people gave, and against the clinic's payload: does fine-tuning help where it was not?

Keyword, embedded, embedded fine-tuned, and an ensemble of the three, on the held-out groups of each set.
"""

import json

import pytest

pytest.importorskip("torch")

from tests.judge_audit.test_judges_ablation import ROOT, recipe
from tests.support.paths import REAL_DATA

import bedside
from bedside.config.plugins import find
from bedside.core.gates import Constraint
from bedside.core.protocols import SilentProgress
from bedside.data.io import write_jsonl
from bedside.judge_audit import agreement_report, finetune
from bedside.run.context import open_run

pytestmark = [pytest.mark.prove]
JAILBREAK = {
    "path": str(REAL_DATA / "judging" / "jailbreakbench.jsonl"),
    "label": "jailbroken",
    "columns": {"prompt": "goal", "group": "goal"},
    "label_map": {"true": "accept", "false": "not_accept"},
}
SHOWN = ("kappa_stratified", "kappa", "agreement", "accept_sensitivity", "accept_specificity")
TUNING = ["align.batch_size=16", "align.lr_scheduler_type=cosine", "align.warmup_ratio=0.1"]


def clinic(folder, part, n, draw):
    from bedside.config.plugins import open_plugin
    from bedside.core.protocols import Launch

    policy = open_plugin(find("model", "local")(model="embedded"), Launch(), {})
    write_jsonl(folder / "labelled.jsonl", recipe().labelled(n, part, draw, policy))
    return {"path": str(folder / "labelled.jsonl")}


def compared(folder, labels, sets):
    """Audits by judge on held-out groups, and the paired gain of fine-tuning and of the ensemble."""
    config = bedside.load(ROOT / "examples/judges/self-frozen.yaml", [f"runs={folder}", "run=real", *TUNING, *sets])
    run, plugin = open_run(config, SilentProgress()), find("judge", "labels").model_validate(labels)
    done = finetune.train(run, plugin, folder / "tuned", None)
    base, experts = finetune._judge(run, None), run.opener.open(plugin)
    rows, _ = finetune._labelled_answers(base, experts, plugin)
    _, held = finetune.hold_out(rows, finetune.HELD_OUT, 0)
    responses = [row.response for row in held]
    truth = experts.judge(responses)
    tuned = {"kind": "rubric", "model": "target", "adapter": str(folder / "tuned")}
    judges = {
        "keyword": {"kind": "keyword"},
        "embedded": {"kind": "rubric", "model": "target"},
        "fine-tuned": tuned,
        "ensemble": {"kind": "ensemble", "judges": [{"kind": "keyword"}, {"kind": "rubric", "model": "target"}, tuned]},
    }
    told = {
        name: [row.verdict for row in run.stages.judged(responses, run.opener.open(_plugin(fields)), name)]
        for name, fields in judges.items()
    }
    audits = {
        name: agreement_report.audit(
            agreement_report.compare(responses, truth, verdicts, two=experts.two_classes),
            judge=name,
            name=name,
            reference="labels",
            limit=Constraint.parse("kappa >= 0.4"),
        )
        for name, verdicts in told.items()
    }
    gained = agreement_report.kappa_gain(
        responses, truth, (told["embedded"], told["fine-tuned"]), two=experts.two_classes
    )
    return done, audits, gained


def _plugin(fields):
    return find("judge", fields["kind"]).model_validate(fields)


def said(measure):
    if measure is None or measure.value is None:
        return "–"
    return f"{measure.value:.2f} [{measure.low:.2f}, {measure.high:.2f}]"


@pytest.mark.parametrize(
    ("name", "sets"),
    [
        pytest.param("jailbreakbench", [], marks=pytest.mark.real_data),
        ("clinic", ["align.num_train_epochs=3"]),
        ("clinic, wordings of the test part", ["align.num_train_epochs=3"]),
        ("clinic, the same drawn anew", ["align.num_train_epochs=3"]),
    ],
)
def test_fine_tuning_lifts_kappa_on_groups_it_never_saw(name, sets, tmp_path, evidence):
    if name == "jailbreakbench" and not REAL_DATA.is_dir():
        pytest.skip(f"{REAL_DATA} is not here")
    part, n = ("valid", 160) if name == "clinic" else ("test", 800)
    draw = 2 if name.endswith("anew") else 1
    labels = JAILBREAK if name == "jailbreakbench" else clinic(tmp_path, part, n, draw)
    done, audits, gained = compared(tmp_path, labels, sets)
    for judge, found in audits.items():
        measures = {m.name: m for m in found.measures}
        line = {
            "set": name,
            "judge": judge,
            "held out": found.confusion[0].kappa.n + found.measure("unreadable").unreadable,
        }
        line |= {shown: said(measures.get(shown)) for shown in SHOWN}
        line |= {"unreadable": said(measures["unreadable"]), "gate": found.gates[0].state.value}
        line |= {"beats best member": said(found.gain_over_best_member)}
        evidence["judges: on labelled answers"].append(line)
    evidence["judges: gain of fine-tuned ones"].append(
        {"set": name, "taught": done.train_rows, "held out": done.held_out, "kappa gained, paired": said(gained)}
        | {"lower bound": f"{gained.worst_low:.2f}", "temperature": f"{done.temperature:.2f}"}
        | {"log loss at 1 and at it": " and ".join(f"{x:.3f}" for x in done.log_loss)}
        | {"not taught": json.dumps(dict(done.dropped))}
    )
    assert gained.value > 0, "fine-tuning helps; whether its interval is above 0 stands on the page"
