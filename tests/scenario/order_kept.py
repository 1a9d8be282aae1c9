# SPDX-License-Identifier: Apache-2.0
"""Messages of one connection reach each destination in their order: across reconnects, retries, several connections
and restarts."""

import random
import threading

from millrace_test import Hub, Receiver, adt, control_id_of, expect, expect_ack, main, scenario


def firsts(receiver):
    return list(dict.fromkeys(receiver.bodies))


def in_order(receiver, per_sender, what):
    got = firsts(receiver)
    place = {m: i for i, m in enumerate(got)}
    for mine in per_sender:
        missing = [m for m in mine if m not in place]
        expect(
            not missing, lambda: f"{what}: {len(missing)} messages never arrived, the first {control_id_of(missing[0])}"
        )
        at = [place[m] for m in mine]
        expect(at == sorted(at), f"{what}: messages of one connection came out of order")


def send_all(hub, messages, pause=None):
    sender = hub.sender("adt")
    for at in range(0, len(messages), 10):
        part = messages[at : at + 10]
        sender.send(*part)
        for ack, msg in zip(sender.answers(len(part)), part):
            expect_ack(ack, "AA", msg)
        if pause:
            pause()
    return sender


@scenario("a destination that breaks its connections all the time: order of first occurrences kept")
def reconnects():
    rng = random.Random(11)

    def moody(_):
        return "close" if rng.random() < 0.05 else "AA"

    with (
        Receiver(moody) as ehr,
        Hub(
            listeners={"adt": {}},
            routes=[{"from": "adt", "to": ["ehr"]}],
            destinations={"ehr": {"mllp": ehr, "connections": 3, "retry": {"first": "10ms", "max": "50ms"}}},
        ) as hub,
    ):
        messages = [[adt() for _ in range(200)] for _ in range(5)]
        threads = [threading.Thread(target=send_all, args=(hub, m)) for m in messages]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        hub.wait_drained()
        in_order(ehr, messages, "breaking destination")


@scenario("refusals that are retried: nothing of the same sender passes the refused message")
def retries():
    rng = random.Random(12)

    def moody(_):
        return "AE" if rng.random() < 0.1 else "AA"

    with (
        Receiver(moody) as ehr,
        Hub(
            listeners={"adt": {}},
            routes=[{"from": "adt", "to": ["ehr"]}],
            destinations={
                "ehr": {"mllp": ehr, "connections": 2, "on_error": "retry", "retry": {"first": "5ms", "max": "20ms"}}
            },
        ) as hub,
    ):
        messages = [[adt() for _ in range(100)] for _ in range(4)]
        for mine in messages:
            send_all(hub, mine)
        hub.wait_drained()
        accepted = [d.body for d in ehr.deliveries if d.answer == "AA"]
        place = {m: i for i, m in enumerate(accepted)}
        for mine in messages:
            at = [place[m] for m in mine]
            expect(at == sorted(at), "a later message was accepted before an earlier one of the same sender")


@scenario("order_by: listener - one order for all connections of a listener")
def by_listener():
    with (
        Receiver() as ehr,
        Hub(
            listeners={"adt": {"order_by": "listener"}},
            routes=[{"from": "adt", "to": ["ehr"]}],
            workers=1,
            destinations={"ehr": {"mllp": ehr, "connections": 8}},
        ) as hub,
    ):
        senders = [hub.sender("adt") for _ in range(6)]
        sent = []
        for _ in range(40):
            for sender in senders:
                msg = adt()
                expect_ack(sender.exchange(msg), "AA", msg)
                sent.append(msg)
        ehr.wait_for(sent)


@scenario("order_by a field: the messages of one patient keep their order over all connections")
def by_field():
    with (
        Receiver() as ehr,
        Hub(
            listeners={"adt": {"order_by": "PID-5.1"}},
            routes=[{"from": "adt", "to": ["ehr"]}],
            workers=1,
            destinations={"ehr": {"mllp": ehr, "connections": 4}},
        ) as hub,
    ):
        senders = [hub.sender("adt") for _ in range(6)]
        patients = {f"Patient{n}": [] for n in range(10)}
        for n in range(300):
            who = f"Patient{n * 7 % 10}"
            msg = adt(name=who + "^X")
            expect_ack(senders[n % 6].exchange(msg), "AA", msg)
            patients[who].append(msg)
        ehr.wait_count(300)
        in_order(ehr, patients.values(), "by patient")


@scenario("workers are killed while messages pass through: first occurrences in order, nothing lost", seconds=150)
def crashes():
    with (
        Receiver() as ehr,
        Hub(
            listeners={"adt": {}},
            destinations={"ehr": {"mllp": ehr, "connections": 2}},
            routes=[{"from": "adt", "to": ["ehr"]}],
        ) as hub,
    ):
        messages = []
        for n in range(6):
            mine = [adt() for _ in range(100)]
            messages.append(mine)
            send_all(hub, mine)
            who = f"worker {n % 2}"
            old = hub.pids().get(who)
            hub.kill9(who)
            hub.wait_process(who, not_pid=old)
        hub.wait_drained()
        in_order(ehr, messages, "with crashes")


if __name__ == "__main__":
    main()
