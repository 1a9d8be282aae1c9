# SPDX-License-Identifier: Apache-2.0
"""What a destination refuses is retried, put to the dead letters, or dropped with a record: as its settings say, by
kind of refusal."""

from millrace_test import (
    Hub,
    Receiver,
    adt,
    control_id_of,
    eventually,
    expect,
    expect_ack,
    expect_equal,
    main,
    scenario,
)


def hub_with(ehr, **settings):
    return Hub(
        listeners={"adt": {}},
        destinations={"ehr": {"mllp": ehr} | settings},
        routes=[{"from": "adt", "to": ["ehr"]}],
        workers=1,
    )


def send(hub, count):
    sender = hub.sender("adt")
    sent = [adt() for _ in range(count)]
    sender.send(*sent)
    for ack, msg in zip(sender.answers(count), sent):
        expect_ack(ack, "AA", msg)
    return sent


def refuse_some(code, every=3):
    """Refuses every third message for good, by its control ID."""
    return lambda d: code if int(control_id_of(d.body)[-7:]) % every == 0 else "AA"


@scenario("by default AE, AR, CE and CR are dead letters, and the messages behind go on")
def dead_letters():
    for code in ("AE", "AR", "CE", "CR"):
        with Receiver(refuse_some(code)) as ehr, hub_with(ehr) as hub:
            sent = send(hub, 30)
            ehr.wait_for(sent)
            hub.wait_drained()
            expect_equal(hub.destination("ehr")["dead_letters"], 10, f"dead letters after {code}")
            hub.wait_metric("millrace_messages_delivered_total", 10, destination="ehr", result="dead")
            hub.wait_metric("millrace_messages_delivered_total", 20, destination="ehr", result="delivered")


@scenario("retry: a refused message is sent again, and later ones do not pass it")
def retried():
    refused = {}

    def twice(d):
        n = refused.get(d.body, 0)
        refused[d.body] = n + 1
        return "AE" if n < 2 else "AA"

    with Receiver(twice) as ehr, hub_with(ehr, on_error="retry", retry={"first": "20ms", "max": "50ms"}) as hub:
        sent = send(hub, 10)
        got = ehr.wait_count(30)
        expect(
            got == [m for m in sent for _ in range(3)],
            "each message three times, and none before its forerunner was taken",
        )
        hub.wait_drained()
        expect_equal(hub.destination("ehr")["dead_letters"], 0, "dead letters")


@scenario("retry with an attempts limit ends in the dead letters")
def attempts():
    with (
        Receiver(refuse_some("AE")) as ehr,
        hub_with(ehr, on_error="retry", retry={"first": "10ms", "max": "20ms", "attempts": 3}) as hub,
    ):
        sent = send(hub, 6)
        hub.wait_drained()
        expect_equal(hub.destination("ehr")["dead_letters"], 2, "dead letters")
        for msg in sent:
            wanted = 3 if int(control_id_of(msg)[-7:]) % 3 == 0 else 1
            expect_equal(ehr.bodies.count(msg), wanted, "times a message was sent")


@scenario("drop: counted and recorded, no dead letter")
def dropped():
    with Receiver(refuse_some("AR")) as ehr, hub_with(ehr, on_reject="drop") as hub:
        sent = send(hub, 30)
        ehr.wait_for(sent)
        hub.wait_drained()
        hub.wait_metric("millrace_messages_delivered_total", 10, destination="ehr", result="dropped")
        expect_equal(hub.destination("ehr")["dead_letters"], 0, "dead letters")


@scenario("AE and AR have settings of their own")
def of_their_own():
    def mixed(d):
        n = int(control_id_of(d.body)[-7:]) % 3
        return ("AA", "AE", "AR")[n]

    with Receiver(mixed) as ehr, hub_with(ehr, on_error="drop", on_reject="dead_letter") as hub:
        send(hub, 30)
        ehr.wait_count(30)
        hub.wait_drained()
        expect_equal(hub.destination("ehr")["dead_letters"], 10, "dead letters (AR)")
        hub.wait_metric("millrace_messages_delivered_total", 10, destination="ehr", result="dropped")


@scenario("dead letters survive kill -9 of everything")
def survive():
    with Receiver("AR") as ehr, hub_with(ehr) as hub:
        send(hub, 5)
        hub.wait_drained()
        hub.kill9("all")
        hub.start()
        eventually(lambda: hub.destination("ehr")["dead_letters"] == 5, "the dead letters are gone after a restart")
        expect_equal(len(ehr.deliveries), 5, "times the dead messages were sent")


if __name__ == "__main__":
    main()
