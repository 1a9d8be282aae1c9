# SPDX-License-Identifier: Apache-2.0
"""A destination that is taken out of the configuration while messages wait for it: they are kept until it is back."""

import copy

from millrace_test import Hub, Receiver, adt, expect, expect_ack, expect_equal, main, scenario


@scenario("two destinations are removed, one of them had everything: the other one gets its messages when it is back")
def removed():
    served, waiting = Receiver(), Receiver()
    waiting.stop()
    small = {"segment": "1MiB", "tail": "1MiB", "free_min": "1MiB", "retain": "0s", "retain_max": "1MiB"}
    with Hub(
        listeners={"adt": {"max_frame": "64KiB"}},
        destinations={"served": served, "waiting": waiting},
        routes=[{"from": "adt", "to": ["served", "waiting"]}],
        workers=1,
        journal=small,
    ) as hub:
        messages = [adt() for _ in range(50)]
        sender = hub.sender("adt")
        for msg in messages:
            expect_ack(sender.exchange(msg), "AA", msg)
        served.wait_count(len(messages))
        hub.stop()
        whole = copy.deepcopy(hub.config)
        hub.config["destinations"], hub.config["routes"] = {}, []
        hub.write_config()
        hub.start()
        expect("MR3003" in hub.log().decode(), "the log says that deliveries wait for a destination that is gone")
        other = hub.sender("adt")
        for _ in range(60):  # enough to use every segment again that is not held
            msg = adt(size=60000)
            expect_ack(other.exchange(msg), "AA", msg)
        hub.stop()
        hub.config.clear()
        hub.config.update(whole)
        hub.write_config()
        waiting.start()
        hub.start()
        waiting.wait_count(len(messages))
        hub.wait_drained()
        expect_equal(waiting.bodies, messages, "what the destination gets when it is back")
        expect_equal(len(served.bodies), len(messages), "deliveries to the one that had everything")


if __name__ == "__main__":
    main()
