"""A test at full length, which has to prove it: campaign.py PROOF... -- COMMAND...

Runs the command and shows what it prints. Fails where the command does, and where a line that matches one of the proofs
(regular expressions) is missing: a test that was skipped, or ran at its usual length, is no campaign.
"""

from __future__ import annotations

import re
import subprocess
import sys


def main() -> int:
    end = sys.argv.index("--")
    proofs, command = sys.argv[1:end], sys.argv[end + 1 :]
    missing = {proof: re.compile(proof) for proof in proofs}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace") as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            for proof in [proof for proof, pattern in missing.items() if pattern.search(line)]:
                del missing[proof]
    for proof in missing:
        print(f"no line says {proof!r}: the campaign was not what it should be", file=sys.stderr)
    return process.returncode or (1 if missing else 0)


if __name__ == "__main__":
    sys.exit(main())
