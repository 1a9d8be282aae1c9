#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The command line itself: help, exit codes, suggestions, manual pages, completion, a hub that is not there."""

import json
import os
import shutil
import subprocess
import tempfile
import unittest

MILLRACE = os.environ["MILLRACE"]
YAML_PAGE = os.path.dirname(os.path.abspath(__file__)) + "/../../../docs/man/millrace.yaml.5"


def run(*words, **more):
    env = dict(os.environ, **more.pop("env", {}))
    return subprocess.run([MILLRACE, *words], capture_output=True, text=True, timeout=30, env=env, **more)


class Help(unittest.TestCase):
    def commands(self):
        lines = run("help").stdout.splitlines()
        return [line[2:21].strip() for line in lines if line.startswith("  ")]

    def test_every_command_has_help(self):
        self.assertIn("queue list", self.commands())
        for name in self.commands():
            r = run(*name.split(), "--help")
            self.assertEqual(r.returncode, 0, name)
            self.assertIn("usage: millrace " + name, r.stdout)
            self.assertEqual(run("help", *name.split()).stdout, r.stdout)

    def test_version(self):
        self.assertEqual(run("--version").stdout, run("version").stdout)

    def test_nothing_typed(self):
        r = run()
        self.assertEqual(r.returncode, 2)
        self.assertEqual(r.stdout, "")


class Mistakes(unittest.TestCase):
    def expect(self, words, text, code=2):
        r = run(*words)
        self.assertEqual(r.returncode, code, r.stderr)
        self.assertIn(text, r.stderr)
        self.assertEqual(r.stdout, "")

    def test_commands(self):
        self.expect(["qeue"], "did you mean 'queue'?")
        self.expect(["queue", "lst"], "did you mean 'queue list'?")
        self.expect(["queue"], "millrace queue pause DESTINATION")
        self.expect(["xyzzy"], "unknown command 'xyzzy'")

    def test_options(self):
        self.expect(["send", "--conections", "2", "h:1", "f"], "did you mean --connections?")
        self.expect(["send", "-c"], "needs a value")
        self.expect(["send", "-c", "many", "h:1", "f"], "is not a number")
        self.expect(["send", "--quiet=yes", "h:1", "f"], "takes no value")
        self.expect(["send", "--timeout", "1 week", "h:1", "f"], "is not a duration")
        self.expect(["send", "--rate", "fast", "h:1", "f"], "is not a rate")
        self.expect(["sink", "--ack", "YES", "0"], "is not one of auto|AA|AE|AR|CA|CE|CR|none")
        self.expect(["send", "::1:2575", "f"], "is not HOST:PORT")
        self.expect(["bench", "load", "localhost:1"], "choose --rate")
        self.expect(["status", "extra"], "no argument wanted")
        self.expect(["status", "-z"], "unknown option '-z'")

    def test_json_is_refused_where_it_means_nothing(self):
        self.expect(["completion", "--json", "bash"], "unknown option '--json'")

    def test_what_is_not_there(self):
        self.expect(["send", "127.0.0.1:1", "/nowhere/at/all"], "No such file", 4)
        self.expect(["help", "xyzzy"], "no command", 4)
        self.expect(["man", "--source", "xyzzy"], "no page", 4)
        self.expect(["dead", "show", "7"], "JOURNAL:POSITION")
        self.expect(["dead", "discard", "0:1"], "not confirmed", 6)


class Output(unittest.TestCase):
    def test_a_reader_that_had_enough(self):
        with tempfile.TemporaryDirectory() as folder:
            path = folder + "/many.hl7"
            with open(path, "w") as f:
                for i in range(5000):
                    f.write("MSH|^~\\&|A|B|C|D|20260101||ADT^A01|%d|P|2.5\nPID|1||%d\n" % (i, i))
            r = subprocess.run(
                f"'{MILLRACE}' hl7 parse '{path}' | head -n 1", shell=True, capture_output=True, text=True, timeout=60
            )
            self.assertEqual((r.stderr, len(r.stdout.splitlines())), ("", 1))

    def test_a_full_disk_is_told(self):
        with open("/dev/full", "w") as full:
            r = subprocess.run([MILLRACE, "help"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=30)
        self.assertEqual(r.returncode, 1)
        self.assertIn("standard output", r.stderr)


class NoHub(unittest.TestCase):
    def test_not_reachable(self):
        with tempfile.TemporaryDirectory() as folder:
            for words in (
                ["status"],
                ["top", "-b", "-n", "1"],
                ["queue", "list"],
                ["queue", "show", "x"],
                ["dead", "list"],
                ["dead", "retry", "-d", "x"],
            ):
                r = run(*words, "--run", folder)
                self.assertEqual(r.returncode, 8, words)
                self.assertIn(folder, r.stderr)
                # the three ways to name the hub
                self.assertEqual(run("--run=" + folder, *words).stderr, r.stderr)
                self.assertEqual(run(*words, env={"MILLRACE_RUN": folder}).stderr, r.stderr)


class Manual(unittest.TestCase):
    def test_every_page_is_built(self):
        for page in run("man", "--list").stdout.split():
            with open(YAML_PAGE if page == "millrace.yaml" else os.path.dirname(MILLRACE) + "/" + page + ".1") as f:
                self.assertEqual(f.read(), run("man", "--source", page).stdout)

    def test_pages(self):
        pages = run("man", "--list").stdout.split()
        self.assertIn("millrace-send", pages)
        for page in pages:
            r = run("man", "--source", page)
            self.assertEqual(r.returncode, 0)
            if shutil.which("mandoc"):
                lint = subprocess.run(
                    ["mandoc", "-Tlint", "-W", "style"], input=r.stdout, capture_output=True, text=True
                )
                bad = [l for l in lint.stdout.splitlines() if "referenced manual not found" not in l]
                self.assertEqual(bad, [], page)
        main = run("man", "--source", "millrace").stdout
        for page in pages[1:]:
            self.assertIn(page.replace("-", "\\-"), main)


class Completion(unittest.TestCase):
    def words(self, *typed):
        return [line.split("\t")[0] for line in run("__complete", *typed).stdout.splitlines()]

    def test_words(self):
        self.assertIn("queue", self.words(""))
        self.assertEqual(sorted(self.words("queue", "")), ["list", "pause", "resume", "show"])
        self.assertIn("--connections", self.words("send", "--"))
        self.assertIn("none", self.words("sink", "--ack", ""))
        self.assertEqual(self.words("sink", "--out", ""), [":dirs"])
        self.assertEqual(self.words("send", "localhost:2575", ""), [":files"])
        self.assertEqual(self.words("completion", ""), ["bash", "zsh", "fish"])
        self.assertEqual(self.words("xyzzy", ""), [])
        self.assertIn("show", self.words("help", "queue", ""))

    def test_bash(self):
        if not shutil.which("bash"):
            self.skipTest("no bash")
        script = (
            'export PATH="%s:$PATH"; source <(millrace completion bash); COMP_WORDS=(millrace que); COMP_CWORD=1; '
            '_millrace; echo "${COMPREPLY[@]}"' % os.path.dirname(MILLRACE)
        )
        r = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
        self.assertEqual((r.stdout.strip(), r.stderr), ("queue", ""))

    def test_other_shells_parse_it(self):
        for shell in ("zsh", "fish"):
            text = run("completion", shell).stdout
            self.assertIn("millrace __complete", text)
            if shutil.which(shell):
                subprocess.run([shell, "-n"], input=text, text=True, check=True)


class FakeHub(unittest.TestCase):
    """The control socket's client against answers as a control process gives them."""

    def ask(self, words, status, body, chunked=False):
        import socket
        import threading

        with tempfile.TemporaryDirectory() as folder:
            server = socket.socket(socket.AF_UNIX)
            server.bind(folder + "/ctl.sock")
            server.listen(8)
            seen = []

            def serve():
                for _ in range(8):
                    try:
                        c, _ = server.accept()
                    except OSError:
                        return
                    data = b""
                    while b"\r\n\r\n" not in data:
                        data += c.recv(65536)
                    seen.append(data.decode())
                    text = json.dumps(body).encode()
                    head = b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\n" % status
                    if chunked:
                        c.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
                        for i in range(0, len(text), 5):
                            c.sendall(b"%x\r\n%s\r\n" % (len(text[i : i + 5]), text[i : i + 5]))
                        c.sendall(b"0\r\n\r\n")
                    else:
                        c.sendall(head + b"Content-Length: %d\r\n\r\n" % len(text) + text)
                    c.close()

            t = threading.Thread(target=serve, daemon=True)
            t.start()
            r = run(*words, "--run", folder)
            server.shutdown(socket.SHUT_RDWR)
            server.close()
            t.join()
            return r, seen

    def test_json_is_passed_on(self):
        body = {
            "schema": "millrace.queue.list/1",
            "queues": [{"destination": "ehr", "waiting": 1234567, "state": "up"}],
        }
        for chunked in (False, True):
            r, seen = self.ask(["queue", "list", "--json"], 200, body, chunked)
            self.assertEqual(json.loads(r.stdout), body)
            self.assertIn("GET /v1/queue HTTP/1.1", seen[0])
        r, _ = self.ask(["queue", "list"], 200, body)
        self.assertIn("1,234,567", r.stdout)

    def test_errors(self):
        error = {"error": {"code": "not_found", "text": 'no destination "erh"; did you mean "ehr"?'}}
        r, seen = self.ask(["queue", "pause", "erh x"], 404, error)
        self.assertEqual(r.returncode, 4)
        self.assertIn('did you mean "ehr"?', r.stderr)
        self.assertIn("POST /v1/queue/erh%20x/pause", seen[0])
        self.assertEqual(self.ask(["queue", "list"], 403, error)[0].returncode, 5)
        self.assertEqual(self.ask(["queue", "list"], 500, error)[0].returncode, 1)

    def test_status_codes(self):
        for state, code in (("running", 0), ("degraded", 11), ("starting", 10), ("draining", 10)):
            self.assertEqual(self.ask(["status"], 200, {"state": state})[0].returncode, code)

    def test_dead_letters(self):
        r, seen = self.ask(["dead", "retry", "-d", "ehr", "3:4096"], 200, {"count": 1})
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertEqual(
            json.loads(seen[0].split("\r\n\r\n", 1)[1]), {"destination": "ehr", "journal": 3, "position": 4096}
        )
        r, seen = self.ask(["dead", "discard", "-d", "ehr", "--yes"], 200, {"count": 12})
        self.assertEqual(json.loads(seen[0].split("\r\n\r\n", 1)[1]), {"destination": "ehr"})
        self.assertIn("12 dead letters discarded", r.stdout)
        r, _ = self.ask(["dead", "retry", "-d", "ehr"], 200, {"count": 1})
        self.assertEqual(r.stdout, "1 dead letter put back into the queue of ehr\n")


if __name__ == "__main__":
    unittest.main(verbosity=2)
