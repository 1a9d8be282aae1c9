#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""docs/errors.md and docs/metrics.md say what the tables say. argv: millrace-tables, the docs folder."""

import os
import subprocess
import sys
import unittest

TABLES, DOCS = sys.argv[1], sys.argv[2]


class Test(unittest.TestCase):
    def check(self, page):
        made = subprocess.run([TABLES, page], capture_output=True, text=True, check=True).stdout
        with open(os.path.join(DOCS, page + ".md")) as f:
            self.assertEqual(f.read(), made, f"run: millrace-tables {page} > docs/{page}.md")

    def test_errors(self):
        self.check("errors")

    def test_metrics(self):
        self.check("metrics")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
