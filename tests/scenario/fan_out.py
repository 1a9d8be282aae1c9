# SPDX-License-Identifier: Apache-2.0
"""One message to many destinations, each at its own pace: one that is down or slow holds up neither the others nor
the taking in."""

from millrace_test import Hub, Receiver, adt, eventually, expect, expect_ack, expect_equal, main, scenario


@scenario("four destinations get every message, byte for byte and in order")
def four():
    receivers = {name: Receiver() for name in ("ehr", "lab", "billing", "registry")}
    with Hub(listeners={"adt": {}}, destinations=receivers, routes=[{"from": "adt", "to": list(receivers)}]) as hub:
        sent = [adt() for _ in range(200)]
        sender = hub.sender("adt")
        sender.send(*sent)
        for ack, msg in zip(sender.answers(200), sent):
            expect_ack(ack, "AA", msg)
        for receiver in receivers.values():
            receiver.wait_for(sent)
        for name in receivers:
            hub.wait_metric("millrace_messages_delivered_total", 200, destination=name, result="delivered")
    for receiver in receivers.values():
        receiver.stop()


@scenario(
    "dead, hanging, silent and closing destinations hold up nobody else; the dead one gets everything when it is back",
    seconds=120,
)
def troubled():
    good, dead = Receiver(), Receiver()
    dead.stop()
    troubled_ones = {"hanging": Receiver("hang"), "silent": Receiver("none"), "closing": Receiver("close")}
    with Hub(
        listeners={"adt": {}},
        destinations={"good": good, "dead": dead} | troubled_ones,
        routes=[{"from": "adt", "to": ["hanging", "dead", "silent", "closing", "good"]}],
    ) as hub:
        sent = [adt() for _ in range(1000)]
        sender = hub.sender("adt")
        for at in range(0, 1000, 100):
            sender.send(*sent[at : at + 100])
            for ack, msg in zip(sender.answers(100), sent[at : at + 100]):
                expect_ack(ack, "AA", msg)
        good.wait_for(sent)
        for name in ["dead", *troubled_ones]:
            eventually(
                lambda n=name: hub.destination(n)["queue"] == 1000, f"{name} must have all 1,000 messages waiting", 5
            )
        expect_equal(hub.destination("good")["queue"], 0, "waiting for the good destination")
        dead.start()
        dead.wait_for(sent, 40)
        for receiver in troubled_ones.values():
            receiver.behaviour = "AA"
            receiver.break_connections()
        for name, receiver in troubled_ones.items():
            eventually(
                lambda n=name: hub.destination(n)["queue"] == 0, f"{name} recovered but its queue does not empty", 40
            )
            firsts = list(dict.fromkeys(d.body for d in receiver.deliveries))
            expect(firsts == sent, f"{name}: not every message arrived, or not in order")
    for receiver in [good, dead, *troubled_ones.values()]:
        receiver.stop()


@scenario("a message to nobody: a route with no destination takes it, acknowledges it and keeps it")
def nobody():
    with Hub(listeners={"adt": {}}, routes=[{"from": "adt", "to": []}]) as hub:
        msg = adt()
        expect_ack(hub.sender("adt").exchange(msg), "AA", msg)
        expect_equal(hub.metric("millrace_messages_unrouted_total", listener="adt"), 0, "unrouted messages")


if __name__ == "__main__":
    main()
