"""What an administrator does at a key server by other means than Keystead: with PyKMIP's client."""

from __future__ import annotations

import logging
from pathlib import Path

from certificates import Material
from server import HOST

__all__ = ["make_pre_active"]


def make_pre_active(port: int, client: Material, authority: Path, key_id: str) -> str:
    """Makes the AES-256 key of that name and version, "customer-42/1", and does not activate it: it has no Activation
    Date. Returns its identifier."""
    logging.getLogger("kmip").addHandler(logging.NullHandler())  # It tells of files that nobody needs.
    # They take a second to load.
    from kmip.core.attributes import Name
    from kmip.core.enums import AttributeType, CryptographicAlgorithm, CryptographicUsageMask, NameType, ObjectType
    from kmip.core.factories.attributes import AttributeFactory
    from kmip.core.objects import TemplateAttribute
    from kmip.services.kmip_client import KMIPProxy

    attribute = AttributeFactory().create_attribute
    usage = [CryptographicUsageMask.ENCRYPT, CryptographicUsageMask.DECRYPT]
    name = Name(Name.NameValue(key_id), Name.NameType(NameType.UNINTERPRETED_TEXT_STRING))
    template = TemplateAttribute(
        attributes=[
            attribute(AttributeType.CRYPTOGRAPHIC_ALGORITHM, CryptographicAlgorithm.AES),
            attribute(AttributeType.CRYPTOGRAPHIC_LENGTH, 256),
            attribute(AttributeType.CRYPTOGRAPHIC_USAGE_MASK, usage),
            attribute(AttributeType.NAME, name),
            attribute(AttributeType.OBJECT_GROUP, f"keystead:{key_id.rpartition('/')[0]}"),
        ]
    )
    proxy = KMIPProxy(
        host=HOST,
        port=port,
        certfile=str(client.certificate),
        keyfile=str(client.key),
        ca_certs=str(authority),
        ssl_version="PROTOCOL_TLS",
    )
    proxy.open()
    try:
        made = proxy.create(ObjectType.SYMMETRIC_KEY, template)
    finally:
        proxy.close()
    return str(made.uuid)
