# SPDX-License-Identifier: Apache-2.0
"""An answer counts for the message whose control ID it carries, and for no other: late, unknown and swapped ones are
never credited."""

from millrace_test import Hub, Receiver, adt, expect, expect_ack, expect_equal, main, scenario


def hub_with(ehr, **settings):
    settings = {"ack_timeout": "700ms", "retry": {"first": "20ms", "max": "100ms"}} | settings
    return Hub(
        listeners={"adt": {}},
        destinations={"ehr": {"mllp": ehr} | settings},
        routes=[{"from": "adt", "to": ["ehr"]}],
        workers=1,
    )


def send(hub, count):
    sender = hub.sender("adt")
    sent = [adt() for _ in range(count)]
    for msg in sent:
        expect_ack(sender.exchange(msg), "AA", msg)
    return sent


def first_time(behaviour):
    """Misbehaves at the first sight of a message, answers well at the second."""
    seen = set()

    def choose(d):
        if d.body in seen:
            return "AA"
        seen.add(d.body)
        return behaviour

    return choose


def sent_twice_in_order(ehr, sent):
    firsts = list(dict.fromkeys(ehr.bodies))
    expect(firsts == sent, "every message arrives, first occurrences in order")
    for msg in sent:
        expect(ehr.bodies.count(msg) >= 2, "a message whose answer was wrong must be sent again")


@scenario("an answer for another control ID is not credited: the message is sent again")
def swapped():
    with Receiver(first_time("swap")) as ehr, hub_with(ehr) as hub:
        sent = send(hub, 5)
        hub.wait_drained()
        sent_twice_in_order(ehr, sent)
        expect(hub.metric("millrace_ack_mismatch_total", destination="ehr") >= 5, "swapped answers must be counted")


@scenario("a late answer is not credited to the message that is outstanding then")
def late():
    with Receiver(first_time("late:1.2")) as ehr, hub_with(ehr, ack_timeout="300ms") as hub:
        sent = send(hub, 3)
        hub.wait_drained(40)
        sent_twice_in_order(ehr, sent)
        expect(hub.metric("millrace_ack_timeouts_total", destination="ehr") >= 3, "time-outs must be counted")
        hub.wait_metric("millrace_messages_delivered_total", 3, destination="ehr", result="delivered")


@scenario("no answer: the connection is poisoned, closed and made anew, and the message sent again on the new one")
def silent():
    with Receiver(first_time("none")) as ehr, hub_with(ehr, ack_timeout="200ms") as hub:
        sent = send(hub, 5)
        hub.wait_drained(40)
        sent_twice_in_order(ehr, sent)
        for d in ehr.deliveries:
            if d.answer == "AA":
                first = next(e for e in ehr.deliveries if e.body == d.body)
                expect(
                    d.connection != first.connection,
                    "a message was sent again on a connection whose answer is still open",
                )


@scenario("an answer that is no acknowledgement is counted and not credited")
def garbage():
    with Receiver(first_time("garbage")) as ehr, hub_with(ehr) as hub:
        sent = send(hub, 3)
        hub.wait_drained(40)
        sent_twice_in_order(ehr, sent)
        expect(
            hub.metric("millrace_ack_unreadable_total", destination="ehr") >= 3, "unreadable answers must be counted"
        )


@scenario("window 8: answers in any order are credited each to its own message")
def window():
    with Receiver() as ehr, hub_with(ehr, window=8, ack_timeout="10s") as hub:
        sender = hub.sender("adt")
        sent = [adt() for _ in range(300)]
        sender.send(*sent)
        for ack, msg in zip(sender.answers(300), sent):
            expect_ack(ack, "AA", msg)
        ehr.wait_for(sent)
        hub.wait_drained()
        expect_equal(hub.destination("ehr")["delivered"], 300, "delivered")


if __name__ == "__main__":
    main()
