"""One JSON form for every result."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from bedside.core.audit_results import AuditReport
from bedside.core.gates import Constraint, Gate, GateKind, GateState
from bedside.core.measures import Measure
from bedside.core.serialize import to_json

ERR = Measure("err", 0.5, 4, 1, 0.2, 0.8)


@dataclass(frozen=True)
class Result:
    measures: tuple[Measure, ...]
    gates: tuple[Gate, ...]
    folder: Path


def test_measures_stand_under_their_names_and_the_rest_under_its_fields():
    limit = Constraint.parse("err <= target + 0.1")
    gate = Gate(GateKind.CONSTRAINT, "cycle-1/kto", limit, GateState.FAIL, ERR, "too many")
    result = Result((ERR,), (gate,), Path("a/b"))
    json_form = to_json(result)
    assert json_form["measures"]["err"]["value"] == 0.5
    assert json_form["measures"]["err"]["high"] == 0.8
    assert json_form["gates"][0]["state"] == "FAIL"
    assert json_form["gates"][0]["kind"] == "constraint"
    assert json_form["gates"][0]["constraint"] == "err <= target + 0.1"
    assert json_form["gates"][0]["measure"]["name"] == "err"
    assert json_form["folder"] == "a/b"
    assert json.loads(json.dumps(json_form)) == json_form


def test_no_measures_are_an_empty_object_and_no_gates_an_empty_list():
    json_form = to_json(Result((), (), Path()))
    assert (json_form["measures"], json_form["gates"]) == ({}, [])
    report = to_json(AuditReport())
    assert (report["rater_agreement"], report["audits"]) == ({}, [])


def test_measures_inside_a_table_stand_under_their_names_too():
    assert to_json({"by": {"clinic": (ERR,)}})["by"]["clinic"]["err"]["n"] == 4


def test_two_measures_of_one_name_are_never_merged():
    with pytest.raises(ValueError, match="two measures are called err"):
        to_json((ERR, ERR))


def test_a_value_without_a_json_form_is_refused():
    with pytest.raises(TypeError):
        to_json({"x": object()})
