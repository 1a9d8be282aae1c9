# SPDX-License-Identifier: Apache-2.0
"""`millrace hl7 ...` and the library's two examples: what they print for messages written here.

test_commands.py MILLRACE EXAMPLE_FIELDS EXAMPLE_ANSWER
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

MILLRACE, FIELDS, ANSWER = sys.argv[1:4]
ORU = (
    b"MSH|^~\\&|LAB|NORTH|HUB|HIE|20260112||ORU^R01^ORU_R01|id-1|P|2.5.1\r"
    b'PID|1||9^^^N&1.2&ISO~8||SAM\\T\\PLE^ALEX||""|F\r'
    b"OBX|1|NM|G^Glucose||80|mg/dL\rOBX|2|NM|K||4\\.br\\5\r"
)
ADT = b"MSH|^~\\&|A|B|C|D|2026||ADT^A01|id-2|P|2.3\rPID|1||7||M\xc3\xbcller\r"


def hl7(*args, data=b"", code=0):
    done = subprocess.run([MILLRACE, "hl7", *args], input=data, capture_output=True, check=False)
    if done.returncode != code:
        raise AssertionError(f"exit {done.returncode}, not {code}: {done.stderr.decode()}")
    return done.stdout


class Commands(unittest.TestCase):
    def test_get_prints_one_line_per_message(self):
        out = hl7("get", "MSH-10", "PID-5.1", "OBX(*)-5", "PV1-2", data=ORU + ADT)
        self.assertEqual(out, b"id-1\tSAM\\T\\PLE\t80~4\\.br\\5\t\nid-2\tM\xc3\xbcller\t\t\n")

    def test_get_text_resolves_escapes(self):
        self.assertEqual(hl7("get", "--text", "PID-5.1", "OBX(2)-5", data=ORU), b"SAM&PLE\t4 5\n")

    def test_get_without_a_path_is_wrong_use(self):
        hl7("get", "nothing", data=ORU, code=2)

    def test_any_line_ends_framing_and_batches(self):
        for data in (
            ORU.replace(b"\r", b"\n"),
            ORU.replace(b"\r", b"\r\n"),
            b"\x0b" + ORU + b"\x1c\r",
            b"\xef\xbb\xbf" + ORU,
            b"FHS|^~\\&\rBHS|^~\\&\r" + ORU + b"BTS|1\rFTS|1\r",
        ):
            self.assertEqual(hl7("get", "MSH-10", "OBX(2)-3", data=data), b"id-1\tK\n")

    def test_every_path_of_parse_finds_its_value_again(self):
        for raw in (ORU, ADT):
            for path, value in json.loads(hl7("parse", "--json", data=raw)).items():
                self.assertEqual(hl7("get", path, data=raw).decode(), value + "\n")
        self.assertIn(b"PID-3[2]         8\n", hl7("parse", data=ORU))

    def test_format_changes_only_line_ends(self):
        self.assertEqual(hl7("format", "--eol", "cr", data=ORU.replace(b"\r", b"\r\n")), ORU)
        self.assertEqual(hl7("format", data=ORU), ORU.replace(b"\r", b"\n"))
        self.assertEqual(hl7("format", "--mllp", data=ORU + ADT), b"\x0b" + ORU + b"\x1c\r\x0b" + ADT + b"\x1c\r")

    def test_ack_answers_each_message(self):
        out = hl7("ack", "--code", "AE", "--text", "no such ward", data=ORU + ADT).decode().splitlines()
        self.assertTrue(out[0].startswith("MSH|^~\\&|HUB|HIE|LAB|NORTH|"))
        self.assertEqual(out[1], "MSA|AE|id-1|no such ward")
        self.assertEqual(out[4], "MSA|AE|id-2|no such ward")

    def test_split_writes_each_message_unchanged(self):
        with tempfile.TemporaryDirectory() as folder:
            self.assertEqual(hl7("split", "--out", folder, data=ORU + ADT), b"2 messages\n")
            files = sorted(pathlib.Path(folder).iterdir())
            self.assertEqual([f.read_bytes() for f in files], [ORU, ADT])
            hl7("split", "--out", folder, data=ORU, code=1)  # nothing is overwritten

    def test_stat_counts_and_shows_no_values(self):
        out = hl7("stat", "--json", data=ORU + ADT)
        got = json.loads(out)
        self.assertEqual(
            (got["messages"], got["types"], got["versions"]), (2, {"ADT^A01": 1, "ORU^R01": 1}, {"2.3": 1, "2.5.1": 1})
        )
        self.assertEqual(got["segments"], {"MSH": 2, "OBX": 2, "PID": 2})
        for secret in (b"LAB", b"SAM", b"ALEX", b"id-1"):
            self.assertNotIn(secret, out)

    def test_what_cannot_be_read_is_named_and_the_rest_printed(self):
        self.assertEqual(hl7("get", "MSH-10", data=b"MSH|^~^&|A\rPID|1\r" + ADT, code=12), b"id-2\n")


class Examples(unittest.TestCase):
    def test_fields(self):
        done = subprocess.run([FIELDS], input=ORU, capture_output=True, check=True)
        self.assertEqual(done.stdout, b"patient 9\nresult 1: G = 80\nresult 2: K = 4\\.br\\5\n")
        self.assertEqual(subprocess.run([FIELDS], input=b"PID|1", capture_output=True, check=False).returncode, 1)

    def test_answer(self):
        stream = b"\x0b" + ORU + b"\x1c\r" + b"junk" + b"\x0bnot HL7\x1c\r" + b"\x0b" + ADT
        out = subprocess.run([ANSWER], input=stream, capture_output=True, check=True).stdout.split(b"\x1c\r")
        self.assertEqual(len(out), 3)
        self.assertIn(b"\rMSA|AA|id-1\r", out[0])
        self.assertIn(b"\rMSA|AR|", out[1])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
