# SPDX-License-Identifier: Apache-2.0
"""A paused destination gets nothing while its messages are taken in and kept; resumed, it gets them all in order."""

import json
import time

from millrace_test import Hub, Receiver, adt, eventually, expect, expect_ack, expect_equal, main, scenario


def hub_with(**destinations):
    return Hub(listeners={"adt": {}}, destinations=destinations, routes=[{"from": "adt", "to": list(destinations)}])


@scenario("pause and resume an MLLP destination and a file destination")
def pause_and_resume():
    with Receiver() as ehr, Receiver() as other:
        hub = Hub(
            listeners={"adt": {}},
            destinations={"ehr": ehr, "other": other, "archive": {"file": ""}},
            routes=[{"from": "adt", "to": ["ehr", "other", "archive"]}],
            start=False,
        )
        folder = hub.folder / "archive"
        hub.config["destinations"]["archive"]["file"] = str(folder)
        hub.write_config()
        hub.start()
        with hub:
            sender = hub.sender("adt")
            before = adt()
            expect_ack(sender.exchange(before), "AA", before)
            ehr.wait_for([before])
            eventually(lambda: len(list(folder.glob("*.hl7"))) == 1, "the file of the first message")
            hub.cli("queue", "pause", "ehr")
            hub.cli("queue", "pause", "archive")
            sent = [adt() for _ in range(50)]
            sender.send(*sent)
            for ack, msg in zip(sender.answers(50), sent):
                expect_ack(ack, "AA", msg)
            other.wait_for([before, *sent])
            time.sleep(0.5)
            expect_equal((len(ehr.deliveries), len(list(folder.glob("*.hl7")))), (1, 1), "delivered while paused")
            shown = json.loads(hub.cli("queue", "show", "ehr", "--json").stdout)
            expect_equal((shown["paused"], shown["waiting"]), (True, 50), "queue show: paused, waiting")
            expect_equal(hub.destination("ehr")["state"], "paused", "state")
            hub.cli("queue", "resume", "ehr")
            hub.cli("queue", "resume", "archive")
            ehr.wait_for([before, *sent])
            eventually(lambda: len(list(folder.glob("*.hl7"))) == 51, "the files of the messages that waited")
            hub.wait_drained()


@scenario("a pause survives a worker's death and a restart of the hub")
def survives():
    with Receiver() as ehr, hub_with(ehr=ehr) as hub:
        hub.cli("queue", "pause", "ehr")
        sender = hub.sender("adt")
        sent = [adt() for _ in range(20)]
        sender.send(*sent)
        sender.answers(20)
        old = hub.pids()
        for who in ("worker 0", "worker 1"):
            hub.kill9(who)
        for who in ("worker 0", "worker 1"):
            hub.wait_process(who, not_pid=old[who])
        eventually(lambda: hub.destination("ehr")["queue"] == 20, "20 messages must wait after the workers' death")
        hub.kill9("all")
        hub.start()
        eventually(lambda: hub.destination("ehr")["queue"] == 20, "20 messages must wait after the restart")
        expect_equal(hub.destination("ehr")["state"], "paused", "state after the restart")
        ehr.expect_nothing()
        hub.cli("queue", "resume", "ehr")
        ehr.wait_for(sent)


@scenario("unknown names are told, with what was probably meant; exit status 4")
def unknown():
    with Receiver() as ehr, hub_with(ehr_main=ehr) as hub:
        r = hub.cli("queue", "pause", "ehr_mian", check=False)
        expect_equal(r.returncode, 4, "exit status")
        expect("ehr_main" in r.stderr + r.stdout, f"the message does not say what was meant: {r.stderr}")


if __name__ == "__main__":
    main()
