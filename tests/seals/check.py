"""Checks the seals of a log or an audit trail as docs/LOG.md describes them, with the COSE library `cwt`, `hmac` and
the auditor's private key: nothing here is Keystead's.

    check.py keygen PRIVATE PUBLIC
    check.py check PRIVATE FILE...        the files in their order

prints one JSON object: the seals, in their order, and how many checkpoints fit and do not.
"""

import base64
import hashlib
import hmac
import json
import re
import struct
import sys
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cwt import COSE, COSEKey

# The names of the fields in key=value pairs, CEF, LEEF and CSV.
SEALED_KEY = re.compile(r"(?:sealed_key[= ]|keysteadSealedKey=)([\w-]+)")
CHECKPOINT = re.compile(
    r"(?:seal[= ]|keysteadSeal=)(?P<seal>[0-9a-f]{16})(?: |\t|, )(?:index[= ]|keysteadIndex=)(?P<index>\d+)"
    r"(?: |\t|, )(?:proof[= ]|keysteadProof=)(?P<proof>[0-9a-f]{64})"
)
LINKS = [
    re.compile(r"serial=(?P<serial>\d+)[ \t]stream=(?P<stream>[0-9a-f]{16}).*\bprev=(?P<prev>[0-9a-f]{64})"),
    re.compile(r"externalId=(?P<serial>\d+) deviceExternalId=(?P<stream>[0-9a-f]{16}).* cs2=(?P<prev>[0-9a-f]{64})"),
    re.compile(r",(?P<stream>[0-9a-f]{16}),(?P<serial>\d+),(?P<prev>[0-9a-f]{64}),[0-9a-f]{64}\r?$"),
]


def keygen(private: Path, public: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    private.write_bytes(key.private_bytes(pem, pkcs8, serialization.NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))


def open_sealed(private: bytes, sealed: bytes, stream: int) -> bytes:
    public = serialization.load_pem_private_key(private, None).public_key()
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    kid = hashlib.sha256(der).digest()[:8]
    key = COSEKey.from_pem(private, kid=kid, alg="ECDH-ES+HKDF-256")
    aad = b"keystead/seal/1" + struct.pack(">Q", stream)
    opened: bytes = COSE.new().decode(sealed, key, context={"alg": "A256GCM"}, external_aad=aad)
    return opened


def check(private: bytes, files: list[Path]) -> dict[str, object]:
    seals: dict[str, tuple[bytes, int]] = {}
    order: list[str] = []
    fits = misfits = unknown = 0
    for line in (line for file in files for line in file.read_bytes().decode().split("\n")):
        links = next((found for pattern in LINKS if (found := pattern.search(line))), None)
        if links is None:
            continue
        stream, serial = int(links["stream"], 16), int(links["serial"])
        if found := SEALED_KEY.search(line):
            sealed = base64.urlsafe_b64decode(found[1] + "=" * (-len(found[1]) % 4))
            name = hashlib.sha256(sealed).hexdigest()[:16]
            seals[name] = (open_sealed(private, sealed, stream), 0)
            order.append(name)
        if found := CHECKPOINT.search(line):
            if found["seal"] not in seals:
                unknown += 1
                continue
            key, at = seals[found["seal"]]
            index = int(found["index"])
            while at < index:
                key, at = hmac.digest(key, b"keystead/next/1", "sha256"), at + 1
            seals[found["seal"]] = (key, at)
            claim = struct.pack(">QQQQ", int(found["seal"], 16), index, stream, serial) + bytes.fromhex(links["prev"])
            proof = hmac.digest(key, b"keystead/checkpoint/1" + claim, "sha256").hex()
            fits, misfits = (fits + 1, misfits) if proof == found["proof"] else (fits, misfits + 1)
    return {"seals": order, "fits": fits, "misfits": misfits, "unknown": unknown}


def main() -> None:
    command, private, *files = sys.argv[1:]
    if command == "keygen":
        keygen(Path(private), Path(files[0]))
    else:
        print(json.dumps(check(Path(private).read_bytes(), [Path(file) for file in files])))


if __name__ == "__main__":
    main()
