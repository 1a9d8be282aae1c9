# SPDX-License-Identifier: Apache-2.0
"""A full disk: the hub acknowledges nothing that it cannot keep, says so, goes on delivering, and goes on by itself
when there is room."""

import contextlib
import os
import subprocess
import tempfile

from mt_base import MILLRACE
from mt_peers import free_port

from millrace_test import (
    Failure,
    Hub,
    Receiver,
    Skip,
    adt,
    control_id_of,
    eventually,
    expect,
    expect_equal,
    main,
    scenario,
)


def fill(hub, size=100_000, limit=3000):
    """Send until the hub acknowledges no more. Returns what was acknowledged, the refusal, the connection, the last."""
    sender = hub.sender("adt", timeout=4)
    taken = []
    for _ in range(limit):
        msg = adt(size=size)
        try:
            sender.send(msg)
            ack = sender.answer()
        except (Failure, OSError):
            return taken, None, sender, msg
        if ack.code != "AA":
            return taken, ack, sender, msg
        taken.append(msg)
    raise Failure(f"{limit} messages of {size} bytes were acknowledged: where are they kept?")


def arrived(ehr, taken):
    got = list(dict.fromkeys(ehr.bodies))
    missing = [control_id_of(m) for m in taken if m not in set(got)]
    expect(not missing, f"{len(missing)} acknowledged messages never arrived, the first {missing[:3]}")
    expect_equal([g for g in got if g in set(taken)], taken, "order")


@scenario(
    "journal.max reached, on_full: wait - the sender waits, and is served when the destination takes messages again",
    seconds=120,
)
def waits():
    ehr = Receiver()
    ehr.stop()
    with Hub(
        listeners={"adt": {}},
        destinations={"ehr": ehr},
        routes=[{"from": "adt", "to": ["ehr"]}],
        workers=1,
        journal={
            "segment": "8MiB",
            "tail": "8MiB",
            "free_min": "1MiB",
            "max": "32MiB",
            "retain": "0",
            "on_full": "wait",
        },
    ) as hub:
        taken, ack, sender, last = fill(hub)
        expect(ack is None, f"on_full: wait must not answer, but {ack!r} came")
        expect(len(taken) > 50, f"only {len(taken)} messages fit into 32 MiB")
        eventually(lambda: hub.http("/readyz")[0] != 200, "/readyz must say that nothing can be kept")
        expect(hub.metric("millrace_wal_full") == 1, "millrace_wal_full must be 1")
        ehr.start()
        sender.timeout = 40
        expect_equal(sender.answer().id, control_id_of(last), "the waiting sender's answer")
        ehr.wait_count(len(taken) + 1, 40)
        arrived(ehr, taken + [last])
        hub.wait_drained()
        eventually(lambda: hub.http("/readyz")[0] == 200, "/readyz must be well again")
    ehr.stop()


@scenario(
    "journal.max reached, on_full: reject - AR with a reason, nothing kept of it; taken again when there is room",
    seconds=120,
)
def rejects():
    ehr = Receiver()
    ehr.stop()
    with Hub(
        listeners={"adt": {}},
        destinations={"ehr": ehr},
        routes=[{"from": "adt", "to": ["ehr"]}],
        workers=1,
        journal={
            "segment": "8MiB",
            "tail": "8MiB",
            "free_min": "1MiB",
            "max": "32MiB",
            "retain": "0",
            "on_full": "reject",
        },
    ) as hub:
        taken, ack, sender, last = fill(hub)
        expect(ack is not None and ack.code in ("AR", "AE"), f"on_full: reject must answer AR, got {ack!r}")
        expect(ack.err, "the refusal does not say why")
        ehr.start()

        def taken_again():
            if sender.exchange(last).code == "AA":
                return True
            return False

        eventually(taken_again, "nothing is taken although the queue is empty", 40, 0.3)
        ehr.wait_count(len(taken) + 1, 40)
        arrived(ehr, taken + [last])
        expect_equal(len(set(ehr.bodies)), len(taken) + 1, "refused messages must not be delivered")
    ehr.stop()


@contextlib.contextmanager
def small_disk(size):
    if os.geteuid() != 0:
        raise Skip("mounting a small tmpfs needs root")
    folder = tempfile.mkdtemp(prefix="millrace-test-disk-")
    r = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "millrace-test", folder], capture_output=True, check=False
    )
    if r.returncode:
        os.rmdir(folder)
        raise Skip("mounting a tmpfs is not allowed here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=False)
        os.rmdir(folder)


@scenario(
    "the disk itself is full, with restarts in between: nothing acknowledged is lost, it recovers",
    seconds=150,
)
def real_disk():
    ehr = Receiver()
    ehr.stop()
    with (
        small_disk("96M") as folder,
        Hub(
            listeners={"adt": {}},
            destinations={"ehr": ehr},
            routes=[{"from": "adt", "to": ["ehr"]}],
            workers=1,
            folder=folder,
            journal={"segment": "8MiB", "tail": "8MiB", "free_min": "2MiB", "retain": "0", "on_full": "reject"},
        ) as hub,
    ):
        taken, ack, _, _ = fill(hub)
        expect(ack is not None and ack.code in ("AR", "AE"), f"wanted a refusal, got {ack!r}")
        expect(
            hub.status()["state"] != "running" or hub.http("/readyz")[0] != 200,
            "the status says nothing of the full disk",
        )
        hub.kill9("all")
        hub.start()
        ehr.start()
        ehr.wait_count(len(taken), 60)
        hub.wait_drained(40)
        arrived(ehr, taken)

        def taken_again():
            with hub.sender("adt") as sender:
                msg = adt(size=1000)
                return sender.exchange(msg).code == "AA"

        eventually(taken_again, "nothing is taken although all was delivered", 40, 0.3)
    ehr.stop()


@scenario(
    "two destinations down until the journal is full of small messages, then one comes back, then the other: both get all",
    seconds=180,
)
def two_down():
    ports = {"first": free_port(), "second": free_port()}
    sinks = []
    with Hub(
        listeners={"adt": {"max_frame": "64KiB", "on_full": "reject"}},
        destinations={
            name: {"mllp": f"127.0.0.1:{port}", "window": 200, "retry": {"first": "100ms", "max": "500ms"}}
            for name, port in ports.items()
        },
        routes=[{"from": "adt", "to": ["first", "second"]}],
        workers=1,
        journal={"segment": "1MiB", "tail": "1MiB", "free_min": "0", "max": "24MiB", "on_full": "reject"},
    ) as hub:
        port = str(hub.config["listeners"]["adt"]["port"])
        load = [str(MILLRACE), "bench", "load", f"127.0.0.1:{port}", "-s", "256", "-c", "16", "-w", "16", "--closed"]
        eventually(
            lambda: (
                subprocess.run([*load, "-d", "1s", "--warmup", "100ms"], capture_output=True)
                and hub.metric("millrace_wal_full", worker="0")
            ),
            "the journal must get full",
            seconds=60,
        )
        waiting = hub.destination("second")["queue"]
        try:
            for name in ("first", "second"):
                sinks.append(
                    subprocess.Popen(
                        [str(MILLRACE), "bench", "sink", f"127.0.0.1:{ports[name]}", "-q"], stdout=subprocess.DEVNULL
                    )
                )
                eventually(lambda: hub.destination(name)["queue"] == 0, f"{name} must get all of {waiting}", seconds=60)
            expect_equal(hub.destination("second")["delivered"], hub.destination("first")["delivered"], "deliveries")
            hub.wait_drained()
        finally:
            for sink in sinks:
                sink.kill()
                sink.wait()


if __name__ == "__main__":
    main()
