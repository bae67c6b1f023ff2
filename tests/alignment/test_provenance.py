"""What a report says of where its figures come from."""

from bedside.run import provenance


def at(second: int, event: str, **more: object) -> dict[str, object]:
    return {"time": f"2026-01-01T00:00:{second:02d}.000+00:00", "event": event, **more}


def test_time_counts_finished_work_once_and_not_what_a_kill_interrupted():
    told = provenance.events(
        [
            at(0, "start", stage="judge", what="a"),  # killed
            at(10, "start", stage="judge", what="a"),
            at(14, "done", stage="judge", what="a"),
            at(14, "start", stage="train", what="kto"),
            at(20, "done", stage="train", what="kto"),
            at(20, "start", stage="judge", what="b"),
            at(23, "done", stage="judge", what="b"),
        ]
    )
    assert told["time"].endswith("judge 7 s, train 6 s")
    assert told["time"].startswith("2026-01-01T00:00:00 to 2026-01-01T00:00:23 UTC")
    assert told["held-out test opened"] == "never"


def test_the_first_opening_of_the_held_out_test_counts_for_each_checkpoint():
    told = provenance.events([at(s, "held-out test opened", candidate="target", checkpoint="b2-1") for s in (3, 9)])
    assert told["held-out test opened"] == "2026-01-01T00:00:03 UTC for target (b2-1)"
