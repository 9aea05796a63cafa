"""Certificates for key servers and their clients, made on the spot: P-256, valid for a day.

PyKMIP picks CBC cipher suites for RSA certificates, which modern clients refuse, hence P-256. It wants clientAuth in
a client's certificate and takes the client's identity from its common name.
"""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = timedelta(days=1)
LIFETIME = 365 * DAY
LOOPBACK_NAMES: tuple[x509.GeneralName, ...] = (
    x509.DNSName("localhost"),
    x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    x509.IPAddress(ipaddress.ip_address("::1")),
)


@dataclass(frozen=True)
class Kind:
    """What makes one certificate differ from another."""

    server: bool
    common_name: str
    names: tuple[x509.GeneralName, ...] = ()
    usage: bool = True
    expired: bool = False
    stranger: bool = False
    renewed: bool = False


KINDS = {
    "server": Kind(server=True, common_name="localhost", names=LOOPBACK_NAMES),
    "server-expired": Kind(server=True, common_name="localhost", names=LOOPBACK_NAMES, expired=True),
    "server-wrong-ca": Kind(server=True, common_name="localhost", names=LOOPBACK_NAMES, stranger=True),
    "server-wrong-name": Kind(server=True, common_name="elsewhere.example", names=(x509.DNSName("elsewhere.example"),)),
    "server-renewed": Kind(server=True, common_name="localhost", names=LOOPBACK_NAMES, renewed=True),
    "client": Kind(server=False, common_name="keystead-test"),
    "client-renewed": Kind(server=False, common_name="keystead-test", renewed=True),
    "client-other": Kind(server=False, common_name="keystead-other"),
    "client-expired": Kind(server=False, common_name="keystead-test", expired=True),
    "client-wrong-ca": Kind(server=False, common_name="keystead-test", stranger=True),
    "client-no-usage": Kind(server=False, common_name="keystead-test", usage=False),
}


@dataclass(frozen=True)
class Material:
    """Where one certificate, its key and the CA that issued it lie."""

    certificate: Path
    key: Path
    ca: Path


class Authority:
    """A certificate authority that writes what it issues into one folder."""

    def __init__(self, folder: Path, file_stem: str, common_name: str) -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = _name(common_name)
        self.certificate = folder / f"{file_stem}.pem"
        now = datetime.now(timezone.utc)
        certificate = (
            _builder(self.name, self.name, self.key.public_key(), now - DAY, now + LIFETIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(ca=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        _write(self.certificate, certificate.public_bytes(serialization.Encoding.PEM), 0o644)

    def issue(self, file_stem: str, kind: Kind) -> Material:
        """Issues a certificate of this kind, as FILE_STEM.pem and FILE_STEM.key (PKCS#8, mode 0600)."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(timezone.utc)
        ends = now - timedelta(hours=1) if kind.expired else now + LIFETIME
        builder = (
            _builder(_name(kind.common_name), self.name, key.public_key(), now - DAY, ends)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(ca=False), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        if kind.names:
            builder = builder.add_extension(x509.SubjectAlternativeName(kind.names), critical=False)
        if kind.usage:
            usage = ExtendedKeyUsageOID.SERVER_AUTH if kind.server else ExtendedKeyUsageOID.CLIENT_AUTH
            builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        certificate = builder.sign(self.key, hashes.SHA256())
        material = Material(self.folder / f"{file_stem}.pem", self.folder / f"{file_stem}.key", self.certificate)
        _write(material.certificate, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
        _write(material.key, _private_pem(key), 0o600)
        return material


class Issuer:
    """Issues each kind of `KINDS` on first demand."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder, "ca", "Keystead test CA")
        self._folder = folder
        self._stranger: Authority | None = None
        self._renewed: Authority | None = None
        self._issued: dict[str, Material] = {}

    def material(self, kind: str) -> Material:
        if kind not in KINDS:
            raise ValueError(f"no certificate of kind {kind!r}; there are {', '.join(KINDS)}")
        if kind not in self._issued:
            authority = self._authority_of(KINDS[kind])
            self._issued[kind] = authority.issue(kind, KINDS[kind])
        return self._issued[kind]

    def client_of(self, server: Material) -> Material:
        """A client that a server with this certificate takes: a server of the renewed CA takes clients of that one."""
        is_renewed = self._renewed is not None and server.ca == self._renewed.certificate
        return self.material("client-renewed" if is_renewed else "client")

    def _authority_of(self, kind: Kind) -> Authority:
        if kind.stranger:
            self._stranger = self._stranger or Authority(self._folder, "stranger-ca", "A CA that nobody configured")
            return self._stranger
        if kind.renewed:
            self._renewed = self._renewed or Authority(self._folder, "renewed-ca", "Keystead test CA of next year")
            return self._renewed
        return self.authority


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, begins: datetime, ends: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
    )


def _key_usage(ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, content: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
