"""The status of a watch as a page and as metrics: everything escaped, every line as Prometheus reads it."""

import re

import pytest

from bedside.core.measures import Measure
from bedside.core.monitor_results import Alarm, LogPlace, ReadFile, SetAside, ShownRow, WatchedRate, WatchStatus
from bedside.report import monitoring

HOSTILE = '<script>alert("1")</script>\n"} 1'
PLACE = LogPlace(HOSTILE, 7)
SAMPLE = re.compile(r'bedside_monitor_[a-z_]+\{([a-z]+="(?:[^"\\\n]|\\.)*",?)+\} -?[0-9.e+-]+')


def status(**changes):
    row = ShownRow(PLACE, HOSTILE, HOSTILE, 3, None)
    alarm = Alarm(HOSTILE, PLACE, PLACE, 12, 9, (row,), f"{HOSTILE} Run `bedside monitor replay`.")
    rate = WatchedRate(HOSTILE, "quality", Measure("x", 0.5, 12, 0, 0.2, 0.8), 0.05, HOSTILE, 3, 2, 1e30, 60.0, alarm)
    quiet = WatchedRate("topic: none", "input", Measure("x", None, 0), 0.1, "b", 0, 0, 1.0, 920.0)
    given = {
        "run": HOSTILE, "judge": HOSTILE, "baseline_made": "2026-01-01", "rows": 14, "judged": 12, "unlabelled": 1,
        "other_judge": 0, "set_aside": (SetAside(HOSTILE, 2, PLACE),), "files": (ReadFile(HOSTILE, 14, 900),),
        "rates": (rate, quiet), "false_alarm": 0.05, "notes": (HOSTILE,),
    }  # fmt: skip
    return WatchStatus(**(given | changes))


def test_a_page_runs_nothing_that_stands_in_the_log():
    page = monitoring.page(status())
    assert "<script" not in page
    assert page.count("&lt;script&gt;alert(&#34;1&#34;)") >= 8
    assert "<code>bedside monitor replay</code>" in page
    assert "1 alarm." in page
    assert "9 of 12 rows counted since then" in page
    assert "src=" not in page
    assert "http" not in page.replace('http-equiv="Content', "")


def test_every_metric_is_a_line_that_prometheus_reads():
    lines = monitoring.prometheus(status()).splitlines()
    samples = [line for line in lines if not line.startswith("#")]
    assert all(SAMPLE.fullmatch(line) for line in samples), samples
    assert any(line.endswith("} 1") and "monitor_alarm" in line for line in samples)
    named = {line.split("{")[0] for line in samples}
    assert {line.split()[2] for line in lines if line.startswith("# TYPE")} == named
    rates = [line for line in samples if line.startswith("bedside_monitor_rate{")]
    assert len(rates) == 1, "no figure for what has no row"
    assert "bedside_monitor_baseline_timestamp_seconds" in named
    assert any(line.endswith("} 1767225600") for line in samples)


@pytest.mark.parametrize(
    ("rates", "words"), [((), "No alarm."), (None, "A limit has no row yet.")], ids=["quiet", "nothing"]
)
def test_the_first_words_say_how_it_stands(rates, words):
    nothing = WatchedRate("err", "quality", Measure("err", None, 0), 0.1, "b", 0, 0, 1.0, 60.0)
    assert words in monitoring.page(status(rates=(nothing,) if rates is None else rates))
