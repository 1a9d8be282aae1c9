# SPDX-License-Identifier: Apache-2.0
"""/metrics is OpenMetrics that Prometheus takes, counts what happened, and never goes backwards; /livez and /readyz
tell the truth."""

import re
import shutil
import subprocess

from millrace_test import Hub, Receiver, Skip, adt, eventually, expect, expect_ack, expect_equal, main, oru, scenario

PROMISED = [
    "millrace_messages_received_total",
    "millrace_acks_sent_total",
    "millrace_messages_delivered_total",
    "millrace_queue_messages",
    "millrace_ack_latency_seconds_bucket",
    "millrace_duplicates_total",
    "millrace_wal_bytes",
    "millrace_wal_fsync_seconds_bucket",
    "millrace_build_info",
    "millrace_connections",
    "millrace_worker_up",
    "millrace_process_resident_memory_bytes",
    "millrace_commit_durable",
]


def hub_with(ehr, **settings):
    return Hub(
        listeners={"adt": {}, "lab": {}}, destinations={"ehr": ehr}, routes=[{"from": "*", "to": ["ehr"]}], **settings
    )


@scenario("counters say what happened")
def counted():
    with Receiver() as ehr, hub_with(ehr) as hub:
        text = hub.metrics_text()
        for name in PROMISED:
            expect(re.search(rf"^{name}[ {{]", text, re.M), f"{name} is not there from the start")
        adts, orus = [adt() for _ in range(40)], [oru(accept="AL", application="NE") for _ in range(25)]
        for listener, messages in (("adt", adts), ("lab", orus)):
            sender = hub.sender(listener)
            sender.send(*messages)
            sender.answers(len(messages))
        ehr.wait_count(65)
        hub.wait_metric("millrace_messages_received_total", 40, listener="adt")
        hub.wait_metric("millrace_messages_received_total", 25, listener="lab")
        hub.wait_metric("millrace_acks_sent_total", 40, listener="adt", code="AA")
        hub.wait_metric("millrace_acks_sent_total", 25, listener="lab", code="CA")
        hub.wait_metric("millrace_received_bytes_total", sum(map(len, adts)), listener="adt")
        hub.wait_metric("millrace_messages_delivered_total", 65, destination="ehr", result="delivered")
        hub.wait_metric("millrace_sent_bytes_total", sum(map(len, adts + orus)), destination="ehr")
        hub.wait_metric("millrace_ack_latency_seconds_count", 40, listener="adt")
        hub.wait_metric("millrace_queue_messages", 0, destination="ehr")
        expect_equal(hub.metric("millrace_commit_durable"), 2, "millrace_commit_durable, 1 per worker")


@scenario("both text forms pass; histogram buckets only grow; no label holds anything of a message")
def promtool():
    if not shutil.which("promtool"):
        raise Skip("promtool is not installed")
    with Receiver() as ehr, hub_with(ehr) as hub:
        sender = hub.sender("adt")
        for _ in range(20):
            sender.exchange(adt())
        status, text = hub.http("/metrics", accept="application/openmetrics-text; version=1.0.0")
        expect_equal(status, 200, "status")
        expect(text.endswith("# EOF\n"), "OpenMetrics ends with # EOF")
        status, plain = hub.http("/metrics", accept="text/plain; version=0.0.4")
        expect("# EOF" not in plain, "the older form has no # EOF")
        r = subprocess.run(
            ["promtool", "check", "metrics"], input=plain, capture_output=True, text=True, timeout=60, check=False
        )
        expect(r.returncode == 0 and not r.stderr.strip(), f"promtool: {r.stdout}{r.stderr}")
        series = {}
        for line in text.splitlines():
            m = re.match(r'(\w+_bucket)\{(.*?),?le="([^"]+)"\} (\S+)', line)
            if m:
                series.setdefault((m[1], m[2]), []).append((float(m[3].replace("+Inf", "inf")), float(m[4])))
        expect(series, "there is no histogram")
        for key, buckets in series.items():
            expect(
                buckets == sorted(buckets) and [b for _, b in buckets] == sorted(b for _, b in buckets),
                f"{key}: buckets shrink",
            )
            expect(buckets[-1][0] == float("inf"), f"{key}: no +Inf bucket")
        labels = set(re.findall(r'(\w+)="', text))
        expect(
            labels
            <= {
                "listener",
                "destination",
                "code",
                "reason",
                "result",
                "action",
                "worker",
                "process",
                "le",
                "version",
                "commit",
                "io",
                "state",
                "kind",
                "name",
            },
            f"unexpected labels: {labels}",
        )


@scenario("counters do not go backwards when a worker dies and comes back")
def monotonic():
    with Receiver() as ehr, hub_with(ehr) as hub:
        for round_number in range(1, 4):
            sender = hub.sender("adt")
            for _ in range(20):
                sender.exchange(adt())
            ehr.wait_count(20 * round_number)
            hub.wait_metric("millrace_messages_received_total", 20 * round_number, listener="adt")
            for who in ("worker 0", "worker 1"):
                old = hub.pids()[who]
                hub.kill9(who)
                hub.wait_process(who, not_pid=old)
            eventually(lambda: hub.http("/readyz")[0] == 200, "not ready after the workers' death")
        hub.wait_metric("millrace_messages_received_total", 60, listener="adt")
        expect_equal(hub.metric("millrace_process_restarts_total"), 6, "restarts counted")


@scenario("/livez and /readyz: 200 while it works; /readyz is not while a worker is away")
def health():
    with Receiver() as ehr, hub_with(ehr) as hub:
        expect_equal((hub.http("/livez")[0], hub.http("/readyz")[0]), (200, 200), "livez, readyz")
        expect_equal(hub.http("/nothing")[0], 404, "an unknown page")
        hub.kill9("worker 0")
        eventually(lambda: hub.http("/readyz")[0] == 200, "not ready again after a worker's death")
        expect_equal(hub.http("/livez")[0], 200, "livez")


@scenario("metrics: off - no port is opened")
def off():
    with Hub(listeners={"adt": {}}, metrics="off") as hub:
        try:
            hub.http("/metrics", timeout=2)
        except ConnectionRefusedError:
            pass
        else:
            raise AssertionError("somebody answers at the metrics port")
        expect_ack(hub.sender("adt").exchange(adt()), "AA")


if __name__ == "__main__":
    main()
