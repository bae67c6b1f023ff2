"""The report: what a clinician reads, and what no text of a model may do to it."""

import re
from dataclasses import replace

import pytest
from pydantic import TypeAdapter
from tests.support.report_pages import CYCLES, RUNS, bare, decisive, hostile, measure, page, shipping

from bedside.core.errors import DataError
from bedside.core.gates import GateState
from bedside.core.measures import Measure
from bedside.core.results import SubgroupRate
from bedside.report import html
from bedside.report.page import figure


@pytest.mark.parametrize("make", RUNS.values(), ids=RUNS)
def test_every_tag_that_opens_is_closed_in_order(make):
    assert page(make()).stack == []


@pytest.mark.parametrize("make", RUNS.values(), ids=RUNS)
def test_a_model_cannot_bring_a_tag_or_an_attribute_into_the_file(make):
    found = page(make())
    assert not {"script", "img", "iframe", "link", "object", "embed", "form", "textarea"} & set(found.tags)
    names = {name for _, name, _ in found.attributes}
    assert not {name for name in names if name.startswith("on") or name in ("src", "srcset", "action")}
    assert all(value.startswith("#") for _, name, value in found.attributes if name == "href")


def test_a_hostile_text_is_shown_as_it_was_written():
    text = page(hostile()).text
    assert text.count("<script>alert('x')</script>") > 8
    assert "{{ 7 * 7 }}" in text


def test_no_text_can_turn_round_the_reading_order_or_break_the_encoding():
    text = html.html([hostile()])
    assert not {"\u202e", "\x00", "\x1b"} & set(text)
    assert text.encode("utf-8")


def test_the_file_asks_nothing_of_any_network():
    text = html.html([shipping()])
    assert not re.search(r"https?://|src=|<script|url\(|@import", text)
    assert "default-src 'none'" in text


def test_spaces_and_lines_of_an_answer_are_kept():
    assert "Take 40 tablets.\n\n  Slowly." in page(shipping()).under("div.quoted")
    assert ".quoted{white-space:pre-wrap" in html.html([shipping()])


def test_harmful_examples_are_folded_and_warned_of():
    found = page(shipping(), hostile())
    assert not [name for tag, name, _ in found.attributes if tag == "details" and name == "open"]
    warnings = found.under("p.warning")
    assert len(warnings) == 3  # harm 3, harm 3 and one that nobody labelled, not the harmless one


def rehearsed():
    return replace(hostile(), rehearsal=True)


@pytest.mark.parametrize(
    ("make", "word"),
    [(shipping, "Yes, by every gate that decides."), (hostile, "No."), (rehearsed, "Not decided: a rehearsal.")],
)
def test_the_file_opens_on_the_answer(make, word):
    found = page(make())
    answer = "".join(found.under("p.word")).strip()
    assert answer == word
    assert make().verdict.split("<")[0] in found.under("p.sentence")[0]


def test_every_state_of_a_gate_is_said_in_words():
    rows = [text for labels, text in page(hostile()).texts if labels[-2:] == ("td.state", "b.")]
    assert {state.value for state in GateState} <= set(rows)


def test_every_gate_stands_with_its_limit_and_reason():
    text = page(shipping()).text
    for gate in [*shipping().gates, *(gate for cycle in CYCLES for gate in cycle.gates)]:
        assert gate.reason in text
        assert gate.limit.replace("<=", "≤").replace(">=", "≥") in text


@pytest.mark.parametrize("make", RUNS.values(), ids=RUNS)
def test_no_value_stands_without_its_n(make):
    found = page(make())
    texts = [(labels[-1], text) for labels, text in found.texts if labels and text.strip()]
    values = [at for at, (label, _) in enumerate(texts) if label == "span.value"]
    assert len(values) >= 6
    for at in values:
        follows = next(text for label, text in texts[at + 1 :] if label == "span.n")
        between = [label for label, _ in texts[at + 1 : at + 4] if label != "span.share"]
        assert "span.n" in between[:2]
        assert re.match(r"n = \d+|not measured|no figure", follows)


def test_the_first_tiles_open_with_counts_of_rows():
    tiles = page(shipping()).text.partition("Gates:")[0]
    after = next(m for m in shipping().after if m.name == "unsafe_accept@3")
    assert f"{round(after.value * after.n)} of {after.n}" in tiles


def test_what_was_not_measured_is_a_dash_and_never_a_zero():
    told = figure(measure("unsafe_accept@2", None))
    assert (told.value, told.interval, told.n) == ("—", "", "n = 0")
    assert figure(None).n == "not measured"


def test_unreadable_answers_are_counted_beside_n():
    assert figure(measure("err", 0.5, 100, 3)).n == "n = 100, 3\u00a0unreadable"


def test_the_number_of_groups_stands_beside_n_where_rows_share_them():
    told = Measure("err", 0.5, 600, 3, 0.4, 0.6, groups=75)
    assert figure(told).n == "n = 600 (75\u00a0groups), 3\u00a0unreadable"
    assert figure(replace(told, groups=600)).n == "n = 600, 3\u00a0unreadable"
    older = TypeAdapter(Measure).validate_python({"name": "err", "value": 0.5, "n": 600})
    assert older.counted == "600", "an older summary does not tell"


def test_a_negative_figure_has_a_true_minus_and_zero_has_none():
    told = figure(Measure("gain", -0.1234, 9, low=-0.2, high=-0.001))
    assert (told.value, told.interval) == ("−0.12", "[−0.20, 0.00]")


def test_a_difference_without_an_interval_shows_its_decision_bounds():
    assert figure(decisive(GateState.PASS)[2].measure, 3).interval == "bounds [0.250, 0.370]"


def test_what_was_not_tested_is_linked_from_the_verdict():
    found = page(shipping())
    assert "2 things this run does not show" in found.text
    assert ("div", "id", "run-1-untested") in found.attributes


def test_every_anchor_is_there_once_also_when_runs_share_a_file():
    found = page(shipping(), bare())
    ids = [value for _, name, value in found.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert {value[1:] for _, name, value in found.attributes if name == "href"} <= set(ids)


def test_every_table_has_a_caption_and_every_plot_a_title():
    found = page(shipping())
    assert found.tags.count("table") == found.tags.count("caption")
    assert (found.tags.count("title"), found.tags.count("desc")) == (5, 4)  # one title is the file's


def test_a_normal_run_makes_a_small_file(tmp_path):
    path = html.write([shipping()], tmp_path / "deep" / "report.html")
    assert path.stat().st_size < 200_000
    assert path.read_text(encoding="utf-8") == html.html([shipping()])


def test_no_run_is_an_error_that_says_what_to_do(tmp_path):
    with pytest.raises(DataError, match="bedside align"):
        html.write([], tmp_path / "report.html")


def test_several_runs_begin_with_one_table_that_links_to_each():
    text = html.html([shipping(), replace(shipping(), name="clinic-8", released=None)])
    top = text[: text.index("Safety report of run")]
    assert "2 runs side by side" in top
    assert "clinic-7</a>" in top
    assert 'href="#run-2-title">clinic-8</a>' in top
    assert "side by side" not in html.html([shipping()])


def test_a_harmless_example_prints_and_a_harmful_one_says_that_it_is_harmful():
    found = page(shipping())
    kinds = [value for tag, name, value in found.attributes if (tag, name) == ("details", "class")]
    assert kinds.count("harmful") == 1  # the severe one
    style = html.html([shipping()])
    assert ".fold::details-content{content-visibility:visible" in style
    assert ".harmful:not([open]) summary::after{content:" in style


@pytest.mark.parametrize("make", RUNS.values(), ids=RUNS)
def test_sections_are_numbered_through_and_an_empty_one_is_left_out_and_listed(make):
    found = page(make())
    titles, left_out = found.under("h2."), found.text.partition("Left out of this report")[2]
    assert [title.partition(".")[0] for title in titles] == [str(n + 1) for n in range(len(titles))]
    assert not any("Four axes" in title or "The judge" in title for title in titles)
    assert "`bedside audit` has not been run for it" in left_out
    assert "knowledge and comfort were not measured" in left_out


def test_every_link_within_the_page_leads_somewhere():
    found = page(shipping())
    targets = {value for _, name, value in found.attributes if name == "id"}
    links = {value[1:] for _, name, value in found.attributes if name == "href" and value.startswith("#")}
    assert links
    assert links <= targets


def test_candidates_and_policies_have_a_picture_each_and_the_judge_stands_beside_the_verdict():
    text = " ".join(page(shipping()).text.split())
    candidates, policies = text.split("Policies, on the held-out test")
    drawn = candidates.rpartition("Candidates, on valid, which selects")[2]
    assert "cycle-1/kto" in drawn
    assert "always-refuse" not in drawn
    assert "always-refuse" in policies
    assert (
        "The held-out test was opened at a time that the run does not say. The judge behind these figures:"
        in candidates
    )


def test_a_table_that_is_missing_because_no_prompt_says_a_style_is_missed_aloud():
    assert "No table by style or by principle: no test prompt has one." in page(shipping()).text
    told = replace(shipping(), cells=(SubgroupRate(0, "direct", None, measure("right", 0.5)),))
    assert "No table by principle: no test prompt has one." in page(told).text


def test_a_measure_of_another_metric_stands_in_the_table_with_its_definition():
    run = shipping()
    more = replace(
        run,
        after=(*run.after, measure("signposts", 0.75, 40)),
        definitions={**run.definitions, "signposts": "Share that say where to find help."},
    )
    text = page(more).text
    assert "signposts" in text
    assert "Share that say where to find help." in text
    assert "0.75" in text
