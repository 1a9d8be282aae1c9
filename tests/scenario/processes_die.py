# SPDX-License-Identifier: Apache-2.0
"""One process crashing does not stop the others: it is restarted, takes up its work, and only its own connections
break."""

from millrace_test import Failure, Hub, Receiver, adt, eventually, expect, expect_ack, expect_equal, main, scenario


def connected_to(hub, worker, kept):
    """A sender connected to this worker. The others stay open in `kept`: closing ones would upset the count."""
    for _ in range(200):
        before = connections(hub)
        sender = hub.sender("adt")
        msg = adt()
        expect_ack(sender.exchange(msg), "AA", msg)
        after = eventually(lambda b=before: (c := connections(hub)) != b and c, "the new connection is not counted")
        kept.append(sender)
        if after[worker] > before[worker]:
            return sender
    raise Failure(f"no connection came to worker {worker}")


def connections(hub):
    return [w["connections"] for w in hub.status()["workers"]]


@scenario("a worker dies: the other worker's connections go on, its own senders can connect again at once", seconds=120)
def worker():
    with (
        Receiver() as ehr,
        Hub(listeners={"adt": {}}, destinations={"ehr": ehr}, routes=[{"from": "adt", "to": ["ehr"]}]) as hub,
    ):
        kept = []
        first, second = connected_to(hub, 0, kept), connected_to(hub, 1, kept)
        old = hub.pids()["worker 0"]
        hub.kill9("worker 0")
        first.expect_closed("the connection of the dead worker must break")
        for _ in range(20):
            msg = adt()
            expect_ack(second.exchange(msg), "AA", msg)
        for _ in range(20):
            msg = adt()
            expect_ack(hub.sender("adt").exchange(msg), "AA", msg)
        hub.wait_process("worker 0", not_pid=old)
        eventually(lambda: hub.http("/readyz")[0] == 200, "not ready again")
        hub.wait_drained()
        expect_equal(hub.status()["workers"][0]["restarts"], 1, "restarts of worker 0 in the status")


@scenario("a destination's own worker dies: it is served again, nothing is lost, order is kept", seconds=120)
def owner():
    with (
        Receiver() as one,
        Receiver() as two,
        Hub(
            listeners={"adt": {}}, destinations={"one": one, "two": two}, routes=[{"from": "adt", "to": ["one", "two"]}]
        ) as hub,
    ):
        sent = []
        for who in ("worker 0", "worker 1", "worker 0"):
            sender = hub.sender("adt")
            old = hub.pids()[who]
            batch = [adt() for _ in range(100)]
            acknowledged = []
            sender.send(*batch[:50])
            try:
                for msg in batch[:50]:
                    expect_ack(sender.answer(), "AA", msg)
                    acknowledged.append(msg)
                hub.kill9(who)
                for msg in batch[50:]:
                    expect_ack(sender.exchange(msg), "AA", msg)
                    acknowledged.append(msg)
            except (Failure, OSError):
                pass  # the dead worker was this sender's own
            sent.append(acknowledged)
            hub.wait_process(who, not_pid=old)
        hub.wait_drained()
        for receiver in (one, two):
            got = list(dict.fromkeys(receiver.bodies))
            place = {m: i for i, m in enumerate(got)}
            for mine in sent:
                expect(all(m in place for m in mine), "an acknowledged message was lost")
                at = [place[m] for m in mine]
                expect(at == sorted(at), "order was lost")


@scenario("a worker that dies again and again is restarted with back-off, and the hub says it is degraded")
def again_and_again():
    with (
        Receiver() as ehr,
        Hub(listeners={"adt": {}}, destinations={"ehr": ehr}, routes=[{"from": "adt", "to": ["ehr"]}]) as hub,
    ):
        for _ in range(4):
            old = hub.wait_process("worker 1")
            hub.kill9("worker 1")
            hub.wait_process("worker 1", not_pid=old)
        eventually(lambda: hub.http("/readyz")[0] == 200, "not ready again", 30)
        for _ in range(10):
            msg = adt()
            expect_ack(hub.sender("adt").exchange(msg), "AA", msg)
        ehr.wait_count(10)


if __name__ == "__main__":
    main()
