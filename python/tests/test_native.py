"""The native parts below the package: the reader of a loop and the sessions of connections."""

import json
import select

import coulis
import pytest
from coulis._coulis import LoopReader, Session
from messages import bare

QUERY = "subscription { user { id } }"
SUBSCRIBE = json.dumps({"type": "subscribe", "id": "1", "payload": {"query": QUERY}})


@pytest.fixture
def reader():
    return LoopReader()


def ready_session(executor, reader, token):
    session = Session(executor, reader, token)
    assert session.receive('{"type":"connection_init"}') == ("authenticate", None)
    assert session.accept(coulis.SecurityContext("u")) is None
    assert session.take(9) == ['{"type":"connection_ack"}']
    assert session.receive(SUBSCRIBE) is None
    return session


def rung(reader):
    return bool(select.select([reader.fileno()], [], [], 0)[0])


def wait(reader):
    select.select([reader.fileno()], [], [])
    return reader.poll()


def test_a_text_is_made_once_for_all_connections_that_use_the_same_id(executor, reader):
    sessions = [ready_session(executor, reader, token) for token in (1, 2, 3)]
    assert executor.publish_event("t", "user", {"id": 7}) == 3
    first, *others = [session.take(9) for session in sessions]
    assert bare(first[0])["payload"] == {"data": {"user": {"id": 7}}}
    assert all(other[0] is first[0] for other in others)


def test_the_bell_rings_once_until_it_is_answered(executor, reader):
    sessions = {token: ready_session(executor, reader, token) for token in (1, 2)}
    reader.poll()
    assert not rung(reader)
    for number in range(5):
        executor.publish_event("t", "user", {"id": number})
    tokens, finished, jobs = wait(reader)
    assert (sorted(tokens), finished, jobs) == ([1, 2], [], False)
    assert not rung(reader)
    assert [len(session.take(9)) for session in sessions.values()] == [5, 5]
    executor.publish_event("t", "user", {"id": 5})
    assert sorted(wait(reader)[0]) == [1, 2]


def test_what_is_left_after_a_take_is_told_again(executor, reader):
    session = ready_session(executor, reader, 1)
    for number in range(5):
        executor.publish_event("t", "user", {"id": number})
    wait(reader)
    assert len(session.take(2)) == 2
    assert wait(reader)[0] == [1]
    assert len(session.take(9)) == 3


def test_a_closed_session_does_nothing_and_holds_nothing(executor, reader):
    session = ready_session(executor, reader, 1)
    assert executor.get_metrics()["subscriptions"] == 1
    session.close()
    session.close()
    assert executor.get_metrics()["subscriptions"] == 0
    assert session.receive(SUBSCRIBE) is None
    assert session.take(9) == []
    assert (session.init_timed_out(), session.keep_alive(), session.refuse()) == (None, None, None)


def test_a_server_that_goes_away_says_so(executor, reader):
    session = ready_session(executor, reader, 1)
    assert session.go_away() == ("close", 1001, "Going away")


def test_a_message_with_a_lone_surrogate_closes_4400(executor, reader):
    session = Session(executor, reader, 1)
    assert session.receive("\ud800")[:2] == ("close", 4400)


def test_a_closed_executor_gives_no_session(reader):
    executor = coulis.SubscriptionExecutor()
    executor.close()
    with pytest.raises(coulis.EngineClosed):
        Session(executor, reader, 1)


def test_jobs_of_a_reader_that_is_gone_are_answered_with_an_error(executor):
    async def resolver(event, variables):
        return {"user": event}

    reader = LoopReader()
    executor.register_subscription(
        "c", "s", "subscription { user { id } }", resolver=resolver, wake=(reader, 1)
    )
    executor.publish_event("t", "user", {"id": 1})
    reader.close()
    # The answer is in the shard's inbox, in front of the next event.
    executor.publish_event("t", "user", {"id": 2})
    messages = [json.loads(message)["payload"] for message in executor.next_events("s")]
    assert all(message["data"] is None for message in messages)
    assert "errors" in messages[0]


def test_a_job_is_answered_once(executor):
    async def resolver(event, variables):
        return {"user": event}

    reader = LoopReader()
    executor.register_subscription(
        "c", "s", "subscription { user { id } }", resolver=resolver, wake=(reader, 1)
    )
    executor.publish_event("t", "user", {"id": 1})
    assert wait(reader)[2]
    (job,) = reader.take_jobs(9)
    assert (job.resolver, job.arguments()) == (resolver, ({"id": 1}, {}))
    with pytest.raises(TypeError, match=r"`result\.user` is a `set`"):
        job.answer({"user": {1}})
    job.answer({"user": {"id": 1}})
    for again in (lambda: job.answer(None), lambda: job.fail("x"), job.arguments):
        with pytest.raises(coulis.CoulisError, match="answered already"):
            again()
