# SPDX-License-Identifier: Apache-2.0
"""A destination's queue has a limit: when it is full the hub pushes back or refuses, by setting, and loses nothing."""

from millrace_test import Failure, Hub, Receiver, adt, control_id_of, eventually, expect, expect_equal, main, scenario


def hub_with(ehr, on_full):
    return Hub(
        listeners={"adt": {"on_full": on_full}},
        destinations={"ehr": {"mllp": ehr, "queue": 200}},
        routes=[{"from": "adt", "to": ["ehr"]}],
        workers=1,
    )


def send_until_full(hub, limit=5000):
    """Returns the acknowledged messages, the last answer (None: the hub waits), the connection and the last message."""
    sender = hub.sender("adt", timeout=2)
    taken = []
    for _ in range(limit):
        msg = adt()
        try:
            ack = sender.exchange(msg)
        except Failure:
            return taken, None, sender, msg
        if ack.code != "AA":
            return taken, ack, sender, msg
        taken.append(msg)
    raise Failure(f"{limit} messages were taken although the queue holds 200")


@scenario("on_full: wait - the sender waits, and is served when the destination takes messages again")
def waits():
    ehr = Receiver()
    ehr.stop()
    with hub_with(ehr, "wait") as hub:
        taken, ack, sender, last = send_until_full(hub)
        expect(ack is None, f"on_full: wait must not answer, but {ack!r} came")
        expect(len(taken) >= 200, f"only {len(taken)} messages fit into a queue of 200")
        ehr.start()
        sender.timeout = 30
        expect_equal(sender.answer().id, control_id_of(last), "the waiting sender's answer")
        ehr.wait_for([*taken, last])
    ehr.stop()


@scenario("on_full: reject - a refusal with a reason; the connection goes on, and later messages are taken")
def rejects():
    ehr = Receiver()
    ehr.stop()
    with hub_with(ehr, "reject") as hub:
        taken, ack, sender, last = send_until_full(hub)
        expect(ack is not None and ack.code in ("AR", "AE") and ack.err, f"wanted a refusal with a reason, got {ack!r}")
        ehr.start()
        eventually(lambda: sender.exchange(last).code == "AA", "nothing is taken although the queue has room", 30, 0.2)
        ehr.wait_for([*taken, last])
    ehr.stop()


if __name__ == "__main__":
    main()
