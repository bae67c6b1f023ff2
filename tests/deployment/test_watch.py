"""`bedside monitor watch`: new rows alone, a past that cannot change, the same status however it was stopped."""

import json
import os
import signal
from functools import partial
from random import Random

import pytest
from tests.support import watched

import bedside
from bedside.core.errors import DataError
from bedside.deployment import watch
from bedside.deployment.monitor import check_limits
from bedside.deployment.seen_groups import GroupKey, SeenGroups
from bedside.safety.metrics import Safety

FILES = ("status.json", "status.html", "status.prom", "state.json")


@pytest.fixture(scope="module")
def ward(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ward")
    return watched.make(folder)


def written(folder):
    return {name: (folder / name).read_bytes() for name in FILES}


def by_name(status):
    return {rate.name: rate for rate in status.rates}


def test_only_new_rows_are_read_and_the_result_is_that_of_one_reading(ward, tmp_path):
    some = [*watched.rows(130, 1), *watched.rows(400, 2, bad=0.4)]
    log = watched.write(tmp_path / "log.jsonl", some)
    bedside.monitor_watch([log], ward, tmp_path / "once")
    log.unlink()
    for start in range(0, len(some), 37):
        watched.write(log, some[start : start + 37])
        status = bedside.monitor_watch([log], ward, tmp_path / "often")
    assert status.judged == 530
    bedside.monitor_watch([log], ward, tmp_path / "often")
    assert written(tmp_path / "once") == written(tmp_path / "often"), "with nothing new it is the same again"


def test_it_counts_as_the_monitor_of_one_file_does(ward, tmp_path):
    some = [*watched.rows(300, 3), *watched.rows(300, 4, bad=0.5)]
    log = watched.write(tmp_path / "log.jsonl", some)
    status = bedside.monitor_watch([log], ward, tmp_path / "w")
    judged = list(judged_rows(log))
    limits = {"unsafe_accept@3": 0.05, "err": 0.15, "unreadable": 0.02}
    for old in check_limits(judged, limits, Safety().open(None).failures, false_alarm=0.05):
        new = by_name(status)[old.name]
        assert (new.measure.value, new.measure.n) == (old.measure.value, old.measure.n)
        assert new.evidence == pytest.approx(old.evidence, rel=1e-9)
        assert (new.alarm and new.alarm.at.row) == old.alarm
        assert (new.alarm and new.alarm.since.row) == old.since


def judged_rows(log):
    from bedside.deployment.baseline import read_judged

    return read_judged(log)


def test_an_alarm_says_since_when_shows_ten_rows_and_what_to_do(ward, tmp_path):
    log = watched.write(tmp_path / "log.jsonl", [*watched.rows(400, 5), *watched.rows(200, 6, bad=0.6)])
    status = bedside.monitor_watch([log], ward, tmp_path / "w")
    assert not status.quiet
    alarm = by_name(status)["unsafe_accept@3 <= 0.05"].alarm
    assert 390 < alarm.since.row <= 440 < 460 > alarm.at.row > 400
    assert alarm.among <= alarm.counted
    assert 1 <= len(alarm.examples) <= 10
    assert all((row.harm, row.stance) == (3, "accept") for row in alarm.examples)
    assert alarm.examples[-1].place == alarm.at
    assert "bedside monitor replay" in alarm.advice
    later = bedside.monitor_watch([watched.write(log, watched.rows(900, 7))], ward, tmp_path / "w")
    assert by_name(later)["unsafe_accept@3 <= 0.05"].alarm == alarm


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data.replace(b"accept", b"refuse", 1), "is no longer what was read"),
        (lambda data: data[: len(data) // 2], "is shorter than what was read"),
    ],
)
def test_a_changed_past_is_one_clear_error(ward, tmp_path, change, said):
    log = watched.write(tmp_path / "log.jsonl", watched.rows(50, 8))
    other = watched.write(tmp_path / "other.jsonl", watched.rows(50, 9))
    bedside.monitor_watch([log, other], ward, tmp_path / "w")
    before = written(tmp_path / "w")
    log.write_bytes(change(log.read_bytes()))
    for named in ([log], [other]):  # also where the log is not named this time
        with pytest.raises(DataError, match=said):
            bedside.monitor_watch(named, ward, tmp_path / "w")
    assert written(tmp_path / "w") == before


def test_a_log_that_was_put_away_stops_nothing(ward, tmp_path):
    log = watched.write(tmp_path / "log.jsonl", watched.rows(50, 8))
    bedside.monitor_watch([log], ward, tmp_path / "w")
    log.unlink()
    other = watched.write(tmp_path / "other.jsonl", watched.rows(50, 9))
    assert bedside.monitor_watch([other], ward, tmp_path / "w").judged == 100


def test_a_line_without_its_end_waits(ward, tmp_path):
    log = watched.write(tmp_path / "log.jsonl", watched.rows(5, 8))
    whole = log.read_bytes()
    log.write_bytes(whole[:-1])
    assert bedside.monitor_watch([log], ward, tmp_path / "w").rows == 4
    log.write_bytes(whole)
    assert bedside.monitor_watch([log], ward, tmp_path / "w").rows == 5


def test_of_a_conversation_the_first_answer_that_a_limit_is_about_counts(ward, tmp_path):
    log = watched.write(tmp_path / "log.jsonl", watched.rows(90, 10, bad=1.0, group=lambda n: f"talk {n // 30}"))
    status = bedside.monitor_watch([log], ward, tmp_path / "w")
    rates = by_name(status)
    assert rates["err <= 0.15"].measure.n == 3
    assert rates["unreadable <= 0.02"].repeated == 87
    again = watched.write(tmp_path / "more.jsonl", watched.rows(90, 11, bad=1.0, group=lambda n: f"talk {n // 30}"))
    assert by_name(bedside.monitor_watch([again], ward, tmp_path / "w"))["err <= 0.15"].measure.n == 3


def test_a_state_of_another_baseline_is_refused(ward, tmp_path):
    log = watched.write(tmp_path / "log.jsonl", watched.rows(20, 12))
    bedside.monitor_watch([log], ward, tmp_path / "w")
    state = json.loads((tmp_path / "w" / "state.json").read_text())
    (tmp_path / "w" / "state.json").write_text(json.dumps(state | {"baseline": "b2-other"}))
    with pytest.raises(DataError, match="belongs to another baseline"):
        bedside.monitor_watch([log], ward, tmp_path / "w")
    (tmp_path / "w" / "state.json").write_text("{}")
    with pytest.raises(DataError, match="is not what `bedside monitor watch` wrote"):
        bedside.monitor_watch([log], ward, tmp_path / "w")


@pytest.mark.parametrize("name", ["log.csv", "log.jsonl.gz"])
def test_a_file_that_does_not_grow_by_lines_is_refused(ward, tmp_path, name):
    (tmp_path / name).write_text("prompt,harm\n")
    with pytest.raises(DataError, match="grows by a line: JSON Lines"):
        bedside.monitor_watch([tmp_path / name], ward, tmp_path / "w")


# Killed


def killed(at, events, work):
    """``work`` in a process that is killed when ``events`` of the watch have happened ``at`` times; whether it was."""
    child = os.fork()
    if child == 0:
        count = iter(range(at, -1, -1))

        def before(function):
            def stops(*given, **named):
                if next(count) == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*given, **named)

            return stops

        for owner, name in events:
            setattr(owner, name, before(getattr(owner, name)))
        try:
            work()
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1] != 0


@pytest.mark.slow
def test_killed_at_any_of_20_points_and_run_again_it_writes_the_same_bytes(ward, tmp_path, monkeypatch):
    from bedside.data import io

    monkeypatch.setattr(watch, "BATCH", 40)
    monkeypatch.setattr(watch, "_SAVED_EVERY", 80)
    groups = lambda n: f"talk {n // 2}"  # noqa: E731
    some = [*watched.rows(300, 20, group=groups), *watched.rows(500, 21, bad=0.5, group=groups)]
    logs = [watched.write(tmp_path / f"{n}.jsonl", some[n * 400 : n * 400 + 400]) for n in range(2)]
    bedside.monitor_watch(logs, ward, tmp_path / "whole")
    events = [(watch._Watcher, "_count"), (watch, "_write_bytes"), (os, "fsync"), (io.Path, "replace")]
    points = range(0, 80, 4)
    for at in points:
        assert killed(at, events, partial(bedside.monitor_watch, logs, ward, tmp_path / f"k{at}"))
    for at in points:
        bedside.monitor_watch(logs, ward, tmp_path / f"k{at}")
        assert written(tmp_path / f"k{at}") == written(tmp_path / "whole"), at
        assert len([*(tmp_path / f"k{at}").glob("seen-*.bin")]) == 1
    assert len(points) == 20


# Conversations


def test_a_group_that_was_added_is_never_new_again_and_few_new_ones_are_taken_for_it():
    rng, seen = Random(0), SeenGroups()
    names = [f"{rng.random()}" for _ in range(20_000)]
    assert sum(seen.add(GroupKey.of(name), 1) for name in names) > 19_990
    assert not any(seen.add(GroupKey.of(name), 1) for name in names)
    assert seen.add(GroupKey.of(names[0]), 2), "each rate counts a conversation once"
    again = SeenGroups.unpacked(seen.packed(), seen.keys)
    assert (again.layers, again.keys) == (seen.layers, seen.keys)
    with pytest.raises(ValueError, match="another number of layers"):
        SeenGroups.unpacked(seen.packed(), 1 << 24)


def test_an_alarm_says_the_time_where_the_log_does(ward, tmp_path):
    some = [row | {"time": f"day {n}"} for n, row in enumerate(watched.rows(100, 35, bad=0.9), start=1)]
    log = watched.write(tmp_path / "log.jsonl", some)
    alarm = bedside.monitor_watch([log], ward, tmp_path / "w").alarms[0]
    assert alarm.at.time == f"day {alarm.at.row}"
    assert alarm.since.time == f"day {alarm.since.row}"
    assert str(alarm.at) == f"log.jsonl, row {alarm.at.row} (day {alarm.at.row})"


def ticks(rng):
    return f"A tick bit {rng.choice(('me', 'my son'))} while hiking, is it lyme?"


def test_an_alarm_of_an_input_begins_where_the_new_prompts_do(ward, tmp_path):
    both = zip(watched.rows(150, 31), watched.rows(150, 34, topic=ticks), strict=True)
    some = [*watched.rows(400, 30), *(row for pair in both for row in pair)]  # a block begins with another prompt
    log = watched.write(tmp_path / "log.jsonl", some)
    alarm = by_name(bedside.monitor_watch([log], ward, tmp_path / "w"))["topic: unlike every topic"].alarm
    assert abs(alarm.since.row - 401) <= 50
    assert alarm.counted == alarm.at.row - alarm.since.row + 1
    assert alarm.among <= alarm.counted


def test_no_example_is_from_before_the_start_of_the_alarm(ward, tmp_path):
    some = [*watched.rows(400, 32, bad=0.02), *watched.rows(200, 33, bad=1.0)]
    log = watched.write(tmp_path / "log.jsonl", some)
    alarms = bedside.monitor_watch([log], ward, tmp_path / "w").alarms
    assert any(alarm.among < 10 for alarm in alarms)
    for alarm in alarms:
        assert len(alarm.examples) == min(10, alarm.among)
        assert all(row.place.row >= alarm.since.row for row in alarm.examples)
