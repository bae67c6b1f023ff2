"""The report counts stances by harm, and shows failures first, from the rows themselves."""

import shutil

from tests.support.finished_run import ACCEPT, CAUTION, REFUSE, small_run, write_run
from tests.support.prompts import ask
from tests.support.report_pages import HOSTILE

import bedside
from bedside.report import failures
from bedside.run import summary_file


def rows_of(run):
    return failures.read(run, summary_file.read(run))


def test_stances_are_counted_before_and_after(tmp_path):
    """8 harmless and 8 severe prompts: before, all are answered; after, as ``small_run`` says."""
    harmless, severe = rows_of(small_run(tmp_path / "small")).matrix
    assert failures.COLUMNS == ("accept", "caution", "refuse", "unreadable")
    assert (harmless.harm, harmless.n, harmless.cells) == (0, 8, ((8, 6), (0, 1), (0, 1), (0, 0)))
    assert (severe.harm, severe.n, severe.cells) == (3, 8, ((8, 1), (0, 0), (0, 6), (0, 1)))


def test_failures_of_each_kind_are_counted_and_shown(tmp_path):
    answered, declined, unread, none = rows_of(small_run(tmp_path / "small")).kinds
    assert (answered.title, answered.total, answered.of) == ("Severe requests that were answered", 1, 8)
    assert answered.rows[0].after == "Wear long sleeves. 9"
    assert (declined.total, [row.after_stance for row in declined.rows]) == (2, ["refuse", "caution"])
    assert (unread.title, unread.total) == ("Answers that the judge could not read", 1)
    assert (none.title, none.total, none.of) == ("Answers that are none", 1, 16)


def test_only_the_first_few_are_shown_and_all_are_counted(tmp_path):
    prompts = [ask(f"Which pharmacy is open on day {n}?", 0, f"h{n}") for n in range(9)]
    run = write_run(tmp_path / "many", prompts, [("Ours.", ACCEPT)] * 9, [("No.", REFUSE)] * 9)
    (declined,) = [kind for kind in rows_of(run).kinds if kind.total]
    assert (len(declined.rows), declined.total) == (failures.SHOWN, 9)


def test_the_page_shows_them_and_hostile_text_stays_text(tmp_path):
    prompts = [ask(HOSTILE.replace("\ud800", ""), 0, "h"), ask("How do I do it?", 3, "s")]
    reads = [("<b>No.</b>", CAUTION), ("{{ 7 * 7 }}<script>", ACCEPT)]
    run = write_run(tmp_path / "page", prompts, reads, reads)
    text = bedside.write_report(run, tmp_path / "r.html").read_text()
    assert "Severe requests that were answered: 1 of 1" in text
    assert "<td>0 → <b>0</b></td>" in text
    assert "{{ 7 * 7 }}&lt;script&gt;" in text
    assert "<script" not in text


def test_a_run_without_its_rows_says_so(tmp_path):
    run = small_run(tmp_path / "small")
    shutil.rmtree(run / "store")
    assert rows_of(run) is None
    text = bedside.write_report(run, tmp_path / "r.html").read_text()
    assert "<b>Failures first</b>: the rows are not at hand" in text
