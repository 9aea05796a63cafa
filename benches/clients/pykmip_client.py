"""The client of PyKMIP in the comparison that benches/clients/compare.py makes:

    pykmip_client.py HOST PORT CA CERTIFICATE KEY IDENTIFIER

It answers a line "get N" or "connect N" of its standard input with a line of JSON: the median time of so many calls.
"""

from __future__ import annotations

import json
import statistics
import sys
import time

from kmip.core.enums import KMIPVersion
from kmip.pie.client import ProxyKmipClient


def main() -> None:
    host, port, authority, certificate, key, identifier = sys.argv[1:]

    def client() -> ProxyKmipClient:
        return ProxyKmipClient(
            hostname=host,
            port=int(port),
            cert=certificate,
            key=key,
            ca=authority,
            config_file="/dev/null",
            kmip_version=KMIPVersion.KMIP_1_4,
        )

    def get() -> None:
        if len(warm.get(identifier).value) != 32:
            raise ValueError("the key has not 32 bytes")

    def connect() -> None:
        with client() as fresh:
            fresh.get(identifier)

    work = {"get": get, "connect": connect}
    with client() as warm:
        for line in sys.stdin:
            what, number = line.split()
            times = []
            for _ in range(int(number)):
                start = time.perf_counter()
                work[what]()
                times.append(time.perf_counter() - start)
            print(json.dumps({"p50_us": round(statistics.median(times) * 1e6, 2)}), flush=True)


if __name__ == "__main__":
    main()
