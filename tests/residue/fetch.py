"""Fetches a key, uses it, gives it up, says READY and waits to be looked into.

fetch.py keystead CONFIG NAME             with the shared library, through its Python binding
fetch.py resumed CONFIG NAME              the same several times, over a new connection each time
fetch.py space CONFIG NAME                the same with the key of a data space, which is created and then unlocked
fetch.py pykmip SERVER NAME               the control: with PyKMIP's client and the AES-GCM of `cryptography`
fetch.py material DATABASE NAME           prints the key's bytes as the key server stores them, in hex

SERVER is JSON: [host, port, client certificate, client key, CA].
"""

from __future__ import annotations

import gc
import json
import resource
import sqlite3
import sys
import time


def keystead(config: str, name: str) -> None:
    import keystead

    with keystead.Client(config) as client:
        key = client.key(name)
        message = key.encrypt(b"plaintext", b"aad")
        assert key.decrypt(message, b"aad") == b"plaintext"


def resumed(config: str, name: str) -> None:
    import keystead

    with keystead.Client(config) as client:
        for _ in range(3):
            key = client.key(name)
            assert key.decrypt(key.encrypt(b"plaintext", b"aad"), b"aad") == b"plaintext"
            client.purge()
            time.sleep(0.02)  # No connection may be idle for so long, so the next one is a new one.


def space(config: str, name: str) -> None:
    import keystead

    for _ in range(2):  # The second one unlocks what the first one created.
        with keystead.Client(config) as client:
            client.create_kek("master")
            client.create_space(name, f"{name}.dek", kek="master", keep_original=True)
            with open(f"{name}.dek", "rb") as file:
                key = client.unlock_space(file.read(), expect=name)
            assert key.decrypt(key.encrypt(b"plaintext", b"aad"), b"aad") == b"plaintext"


def pykmip(server: str, name: str) -> None:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from kmip.core.attributes import Name
    from kmip.core.enums import AttributeType, NameType
    from kmip.core.factories.attributes import AttributeFactory
    from kmip.pie.client import ProxyKmipClient

    with ProxyKmipClient(*json.loads(server)) as client:
        wanted = AttributeFactory().create_attribute(
            AttributeType.NAME, Name.create(f"{name}/1", NameType.UNINTERPRETED_TEXT_STRING)
        )
        [identifier] = client.locate(attributes=[wanted])
        cipher = AESGCM(client.get(identifier).value)
        nonce = bytes(12)
        assert cipher.decrypt(nonce, cipher.encrypt(nonce, b"plaintext", b"aad"), b"aad") == b"plaintext"


def material(database: str, name: str) -> None:
    query = "SELECT hex(value) FROM managed_objects o JOIN managed_object_names n ON n.mo_uid = o.uid WHERE n.name = ?"
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        [(text,)] = connection.execute(query, (f"{name}/1",)).fetchall()
    print(text.lower())


if __name__ == "__main__":
    mode, where, name = sys.argv[1:]
    {"keystead": keystead, "resumed": resumed, "space": space, "pykmip": pykmip, "material": material}[mode](
        where, name
    )
    if mode != "material":
        _, most = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (most, most))
        gc.collect()
        print("READY", flush=True)
        sys.stdin.read()
