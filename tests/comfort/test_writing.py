"""Write, verify, retry: which requests are written, in which order, and why a text is dropped."""

from types import SimpleNamespace

from bedside.comfort.writing import TOO_LONG, Rewriter, RewriteTask, write_verified
from bedside.config.schema import ComfortConfig
from bedside.core.types import Completion, Message
from bedside.testing.checks import Scripted

SOURCE = "Take 5 mg of abrelune for 6 days. Do not take it with milk."
GOOD, WRONG = f"I hear you. {SOURCE}", f"I hear you. {SOURCE.replace('5', '50')}"
TRIES = ("first", "second")


def run(*, wrong=(), turned=(), words=None, context=1000):
    """Run tasks a to d. ``wrong``, ``turned``: tasks whose text is so at a try (``a1``). ``words``: request lengths."""
    session = SimpleNamespace(config=SimpleNamespace(comfort=ComfortConfig()))
    lengths = {**dict.fromkeys("abcd", 1), **(words or {})}
    tasks = [RewriteTask(id_, (Message("user", f"<{id_}>" + " word" * (n - 1)),), SOURCE) for id_, n in lengths.items()]
    stages = []

    def write(requests, label):
        ids = [next(id_ for id_ in "abcd" if f"<{id_}>" in r.conversation[-1].text) for r in requests]
        stages.append((label, "".join(ids)))
        return [Completion(WRONG if f"{id_}{len(stages)}" in wrong else GOOD) for id_ in ids]

    def check(texts, label):
        return {id_: ("stance changed: keep it",) for id_ in texts if f"{id_}{len(stages)}" in turned}

    rewriter = Rewriter(session, Scripted(context=context))
    return write_verified(tasks, rewriter, write, TRIES, check), stages


def test_what_is_right_at_once_is_written_once():
    result, stages = run()
    assert stages == [("first", "abcd"), ("second", "")]
    assert (list(result.texts), result.dropped, result.revised) == (list("abcd"), {}, frozenset())


def test_faults_of_facts_are_written_again_before_those_of_the_check():
    result, stages = run(turned={"a1"}, wrong={"b1", "d1"})
    assert stages == [("first", "abcd"), ("second", "bda")]
    assert list(result.texts) == list("abcd"), "texts stand in the order of the tasks"
    assert result.revised == {"a", "b", "d"}


def test_a_second_fault_drops_the_task_with_its_reason():
    result, _ = run(turned={"c2"}, wrong={"b1", "b2", "c1"})
    assert result.dropped == {"b": "changed dose", "c": "stance changed"}
    assert (list(result.texts), result.revised) == (["a", "d"], frozenset())


def test_a_request_beyond_the_context_is_dropped_at_either_try():
    """Twice its tokens and 40 must fit; a revision is longer than its request."""
    result, stages = run(wrong={"b1", "c1"}, words={"a": 100, "c": 70}, context=180)
    assert stages == [("first", "bcd"), ("second", "b")]
    assert result.dropped == {"a": TOO_LONG, "c": TOO_LONG}
    assert (list(result.texts), result.revised) == (["b", "d"], {"b"})
