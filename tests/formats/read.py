"""Reads log lines from standard input, one a line, and writes what each says as JSON.

Parsers of PyPI say what stands in the header (`syslog`) and in CEF (`pycef`, which leaves unescaping to its users).
They stop at the message of every other format, so a reader of our own follows that unescapes as the specification
says (`ours`).
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping

import pycef
import syslogmp
from syslog_rfc5424_parser import SyslogMessage

# RFC 3164 §4.1 allows no longer messages, nor does syslogmp. What it leaves out can only be message.
LONGEST = 1024

PAIR = re.compile(r' ?([a-z0-9_]+)=(?:"((?:[^"\\]|\\.)*)"|([^ "\\=]+))')
CEF_PAIR = re.compile(r"(\w+)=((?:[^\\=]|\\.)*?)(?= \w+=|$)", re.DOTALL)
ESCAPE = re.compile(r"\\(?:u\{([0-9a-f]+)\}|(.))")


def unescape(text: str) -> str:
    """A quoted value of the log's own pairs, as docs/LOG.md defines it."""
    named = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}
    return ESCAPE.sub(lambda found: chr(int(found[1], 16)) if found[1] else named[found[2]], text)


def cef_value(text: str) -> str:
    named = {"n": "\n", "r": "\r", "=": "=", "\\": "\\"}
    return re.sub(r"\\(.)", lambda found: named[found[1]], text)


def put(fields: dict[str, str], name: str, value: str) -> None:
    if name in fields:
        raise ValueError(f"{name} stands there twice")
    fields[name] = value


def key_value(text: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    end = 0
    while end < len(text):
        pair = PAIR.match(text, end)
        if pair is None:
            raise ValueError(f"no pair at {text[end:]!r}")
        name, quoted, bare = pair.groups()
        put(fields, name, bare if quoted is None else unescape(quoted))
        end = pair.end()
    return fields


def cef(text: str) -> dict[str, str]:
    columns = re.split(r"(?<!\\)\|", text, maxsplit=7)
    names = ["version", "vendor", "product", "product_version", "event", "name", "severity"]
    fields = dict(zip(names, columns[:7], strict=True))
    pairs = CEF_PAIR.findall(columns[7])
    if " ".join(f"{key}={value}" for key, value in pairs) != columns[7]:
        raise ValueError(f"not pairs alone: {columns[7]!r}")
    for key, value in pairs:
        put(fields, key, cef_value(value))
    return fields


def leef(text: str) -> dict[str, str]:
    names = ["version", "vendor", "product", "product_version", "event"]
    *columns, delimiter, rest = text.split("|", 6)
    fields = dict(zip(names, columns, strict=True))
    for pair in rest.split(chr(int(delimiter.removeprefix("x"), 16))):
        name, _, value = pair.partition("=")
        put(fields, name, value)
    return fields


def read(line: str) -> dict[str, Mapping[str, object]]:
    if re.match(r"<\d+>1 ", line):
        message = SyslogMessage.parse(line)
        return {"syslog": message.as_dict(), "ours": key_value(message.msg)}
    raw = line.encode()
    packet = syslogmp.parse(raw[:LONGEST])
    text = (packet.message + raw[LONGEST:]).decode()
    header: dict[str, object] = {
        "facility": packet.facility.name,
        "severity": packet.severity.name,
        "timestamp": packet.timestamp.strftime("%b %e %H:%M:%S"),
        "hostname": packet.hostname,
        "message": text,
    }
    if text.startswith("CEF:"):
        of_pycef = {key: cef_value(value) for key, value in pycef.parse(text).items()}
        return {"syslog": header, "pycef": of_pycef, "ours": cef(text.removeprefix("CEF:"))}
    if text.startswith("LEEF:"):
        return {"syslog": header, "ours": leef(text.removeprefix("LEEF:"))}
    return {"syslog": header, "ours": key_value(text.partition(": ")[2])}


for entry in sys.stdin.buffer.read().decode().removesuffix("\n").split("\n"):
    print(json.dumps(read(entry)))
