"""Opens Keystead messages with the COSE library `cwt` and the raw key: nothing here is Keystead's.

Reads one JSON object a line from standard input, {"key", "aad", "message"} in hexadecimal, and answers each with
{"plaintext": hexadecimal} or {"refused": reason}.
"""

import json
import sys

import cbor2
from cwt import COSE, COSEKey

A256GCM = 3
KID = 4


def open_message(key: bytes, aad: bytes, message: bytes) -> bytes:
    recipient_protected: bytes = cbor2.loads(message).value[3][0][0]
    kid: bytes = cbor2.loads(recipient_protected)[KID]
    # RFC 9053 section 5.2: algorithm, party U, party V, [key length in bits, recipient's header, use].
    context = [A256GCM, [None] * 3, [None] * 3, [256, recipient_protected, b"message"]]
    cose_key = COSEKey.new({1: 4, 2: kid, 3: A256GCM, 4: [4], -1: key})
    plaintext: bytes = COSE.new().decode(message, cose_key, context=context, external_aad=aad)
    return plaintext


def main() -> None:
    for line in sys.stdin:
        case = json.loads(line)
        key, aad, message = (bytes.fromhex(case[name]) for name in ("key", "aad", "message"))
        answer: dict[str, str]
        try:
            answer = {"plaintext": open_message(key, aad, message).hex()}
        except Exception as error:  # whatever the library raises for bytes that it does not take
            answer = {"refused": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
