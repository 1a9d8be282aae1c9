# SPDX-License-Identifier: Apache-2.0
"""A hub started again with fewer workers, or more, adopts every journal: what waits there is delivered."""

from millrace_test import Hub, Receiver, adt, control_id_of, expect, expect_ack, expect_equal, main, scenario


@scenario("3 workers, then 1, then 2: everything acknowledged is delivered, in order per connection", seconds=120)
def fewer():
    ehr, other = Receiver(), Receiver()
    ehr.stop()
    other.stop()
    with Hub(
        listeners={"adt": {}},
        destinations={"ehr": ehr, "other": other},
        routes=[{"from": "adt", "to": ["ehr", "other"]}],
        workers=3,
    ) as hub:
        groups = []
        for workers in (3, 1, 2):
            if workers != 3:
                hub.config["workers"] = workers
                hub.write_config()
                hub.start()
            for _ in range(8):
                sender = hub.sender("adt")
                mine = [adt() for _ in range(10)]
                sender.send(*mine)
                for ack, msg in zip(sender.answers(10), mine):
                    expect_ack(ack, "AA", msg)
                groups.append(mine)
            expect_equal(len(hub.status()["workers"]), workers, "workers")
            hub.kill9("all")
        ehr.start()
        other.start()
        hub.config["workers"] = 1
        hub.write_config()
        hub.start()
        hub.wait_drained()
        for receiver in (ehr, other):
            got = list(dict.fromkeys(receiver.bodies))
            place = {m: i for i, m in enumerate(got)}
            for mine in groups:
                missing = [control_id_of(m) for m in mine if m not in place]
                expect(not missing, f"never delivered: {missing}")
                at = [place[m] for m in mine]
                expect(at == sorted(at), "messages of one connection came out of order")
            expect_equal(len(got), 240, "different messages")
    ehr.stop()
    other.stop()


if __name__ == "__main__":
    main()
