"""The vectors of this folder, and key servers that hold their keys.

Vectors give keys as bytes, and key bytes never come into the library. So PyKMIP's own client gives the keys to a key
server first, and from there they are fetched or decrypted with.
"""

from __future__ import annotations

import atexit
import json
import logging
from functools import cache
from pathlib import Path
from typing import Any

import keystead
from keyservers import KeyServers
from kmip.core.attributes import Name
from kmip.core.enums import AttributeType, CryptographicAlgorithm, CryptographicUsageMask, NameType, ObjectType
from kmip.core.objects import TemplateAttribute
from kmip.pie.client import ProxyKmipClient
from kmip.pie.objects import SymmetricKey

FOLDER = Path(__file__).resolve().parent
Vector = dict[str, Any]
Usage = CryptographicUsageMask
CIPHER = [Usage.ENCRYPT, Usage.DECRYPT]


def load(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


MESSAGES: list[Vector] = load("message")
STREAMS: list[Vector] = load("stream")["vectors"]
_PIECES: dict[str, str] = load("stream")["pieces"]
PROTECTED_DEKS: list[Vector] = load("protected_dek")
# A key server shows each identity its own objects only, so that two keys of one name are two identities'.
IDENTITIES = {vector["key"]: "client" for vector in MESSAGES if vector["result"] == "valid"}
IDENTITIES |= {vector["key"]: "client-other" for vector in MESSAGES if vector["key"] not in IDENTITIES}


@cache
def configuration(key: str) -> Path:
    """For a client whose named keys are all of these bytes, and whose KEKs are those of the vectors with this KEK."""
    servers = key_servers()
    material = servers.issuer.material(IDENTITIES[key])
    logging.disable()
    with ProxyKmipClient(
        hostname="127.0.0.1",
        port=servers.server("primary").port,
        cert=str(material.certificate),
        key=str(material.key),
        ca=str(material.ca),
        ssl_version="PROTOCOL_TLS",
    ) as server:
        for name, (bytes_of_key, usage) in objects(key).items():
            give(server, name, bytes.fromhex(bytes_of_key), usage)
    logging.disable(logging.NOTSET)
    config = servers.folder / f"{IDENTITIES[key]}.conf"
    config.touch(mode=0o600)
    text = servers.config.read_text(encoding="utf-8").replace(
        str(servers.client.certificate), str(material.certificate)
    )
    config.write_text(text.replace(str(servers.client.key), str(material.key)), encoding="utf-8")
    return config


def give(server: Any, name: str, key: bytes, usage: list[CryptographicUsageMask]) -> None:
    """PyKMIP's simpler call leaves the group out, by which the versions of a name are found."""
    attribute = server.attribute_factory.create_attribute
    attributes = [
        attribute(AttributeType.NAME, Name.create(name, NameType.UNINTERPRETED_TEXT_STRING)),
        attribute(AttributeType.OBJECT_GROUP, f"keystead:{name.rpartition('/')[0]}"),
        attribute(AttributeType.CRYPTOGRAPHIC_USAGE_MASK, usage),
    ]
    value = server.object_factory.convert(SymmetricKey(CryptographicAlgorithm.AES, 256, key))
    registered = server.proxy.register(ObjectType.SYMMETRIC_KEY, TemplateAttribute(attributes=attributes), value)
    server.activate(registered.uuid)


@cache
def key_servers() -> KeyServers:
    servers = KeyServers(1)
    atexit.register(servers.finish)
    return servers


def objects(key: str) -> dict[str, tuple[str, list[CryptographicUsageMask]]]:
    """What the key server is to hold: also the KEKs that altered vectors name, whose absence must not refuse them."""
    found = {vector["key_id"]: (key, CIPHER) for vector in [*MESSAGES, *STREAMS] if vector["key"] == key}
    for vector in PROTECTED_DEKS:
        if vector["kek"] == key and (kek := kek_of(bytes.fromhex(vector["protected_dek"]))) is not None:
            found[f"kek-gcm:{kek}"] = found[f"kek-cbc:{kek}"] = (key, CIPHER)
            found[f"kek-mac:{kek}"] = (vector["mac_key"], [Usage.MAC_GENERATE, Usage.MAC_VERIFY])
    return found


def kek_of(protected_dek: bytes) -> str | None:
    """The KEK that a protected DEK names; `None` for what is not even of the right form."""
    try:
        return str(keystead.inspect_protected_dek(protected_dek)["kek"])
    except keystead.NotAuthentic:
        return None


def stream_of(vector: Vector) -> bytes:
    """The bytes of a vector of a stream, some of which are named."""
    return bytes.fromhex("".join(_PIECES[part[1:]] if part.startswith("@") else part for part in vector["stream"]))
