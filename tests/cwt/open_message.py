"""Opens Keystead messages and protected DEKs with the COSE library `cwt` and raw keys: nothing here is Keystead's.

Reads one JSON object a line from standard input, {"key", "aad", "message"} or {"kek", "mac_key", "protected_dek"} in
hexadecimal, and answers each with {"plaintext": hexadecimal} or {"refused": reason}.
"""

import json
import sys

import cbor2
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7
from cwt import COSE, COSEKey

A256GCM = 3
HMAC_256 = 5
KID = 4
IV = 5


def open_message(key: bytes, aad: bytes, message: bytes) -> bytes:
    recipient_protected: bytes = cbor2.loads(message).value[3][0][0]
    kid: bytes = cbor2.loads(recipient_protected)[KID]
    # RFC 9053 section 5.2: algorithm, party U, party V, [key length in bits, recipient's header, use].
    context = [A256GCM, [None] * 3, [None] * 3, [256, recipient_protected, b"message"]]
    cose_key = COSEKey.new({1: 4, 2: kid, 3: A256GCM, 4: [4], -1: key})
    plaintext: bytes = COSE.new().decode(message, cose_key, context=context, external_aad=aad)
    return plaintext


def unlock(kek: bytes, mac_key: bytes, protected_dek: bytes) -> bytes:
    """What the key manager does with a protected DEK, and the check of its HMAC on the rung that has one."""
    tagged = cbor2.loads(protected_dek)
    kid: bytes = cbor2.loads(tagged.value[0])[KID]
    if tagged.tag == 16:
        dek: bytes = COSE.new().decode(protected_dek, COSEKey.new({1: 4, 2: kid, 3: A256GCM, 4: [4], -1: kek}))
        return dek
    payload = COSE.new().decode(protected_dek, COSEKey.new({1: 4, 2: kid, 3: HMAC_256, 4: [10], -1: mac_key}))
    _, unprotected, ciphertext = cbor2.loads(payload).value
    # AES-CBC is no authenticated cipher, so COSE libraries leave it out (RFC 9459 section 5).
    cbc = Cipher(algorithms.AES(kek), modes.CBC(unprotected[IV])).decryptor()
    padding = PKCS7(128).unpadder()
    return padding.update(cbc.update(ciphertext) + cbc.finalize()) + padding.finalize()


def open_case(case: dict[str, str]) -> bytes:
    fields = ("kek", "mac_key", "protected_dek") if "protected_dek" in case else ("key", "aad", "message")
    first, second, third = (bytes.fromhex(case[name]) for name in fields)
    return unlock(first, second, third) if "protected_dek" in case else open_message(first, second, third)


def main() -> None:
    for line in sys.stdin:
        answer: dict[str, str]
        try:
            answer = {"plaintext": open_case(json.loads(line)).hex()}
        except Exception as error:  # whatever the library raises for bytes that it does not take
            answer = {"refused": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
