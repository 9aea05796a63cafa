"""Reads log lines from standard input, one a line, and writes what each says as JSON.

Everything comes twice: from a parser of PyPI (`theirs`), and from a reader that unescapes as the format's
specification says (`ours`), because those parsers do not unescape, or stop at the message.
"""

from __future__ import annotations

import json
import re
import sys

import pycef
import syslogmp
from syslog_rfc5424_parser import SyslogMessage

PAIR = re.compile(r' ?([a-z0-9_]+)=(?:"((?:[^"\\]|\\.)*)"|([^ "\\=]+))')
CEF_PAIR = re.compile(r"(\w+)=((?:[^\\=]|\\.)*?)(?= \w+=|$)", re.DOTALL)


def unescape(text: str, escapes: dict[str, str]) -> str:
    return re.sub(r"\\(.)", lambda found: escapes.get(found[1], found[1]), text)


def key_value(text: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    end = 0
    while end < len(text):
        pair = PAIR.match(text, end)
        if pair is None:
            raise ValueError(f"no pair at {text[end:]!r}")
        name, quoted, bare = pair.groups()
        if name in fields:
            raise ValueError(f"{name} stands there twice")
        # What is invisible stays in its visible form.
        fields[name] = bare if quoted is None else re.sub(r'\\(["\\])', r"\1", quoted)
        end = pair.end()
    return fields


def cef(text: str) -> dict[str, str]:
    columns = re.split(r"(?<!\\)\|", text, maxsplit=7)
    names = ["version", "vendor", "product", "product_version", "event", "name", "severity"]
    fields = dict(zip(names, columns[:7], strict=True))
    pairs = CEF_PAIR.findall(columns[7])
    if " ".join(f"{key}={value}" for key, value in pairs) != columns[7]:
        raise ValueError(f"not pairs alone: {columns[7]!r}")
    fields.update((key, unescape(value, {"n": "\n", "r": "\r"})) for key, value in pairs)
    return fields


def leef(text: str) -> dict[str, str]:
    names = ["version", "vendor", "product", "product_version", "event"]
    *columns, delimiter, rest = text.split("|", 6)
    fields = dict(zip(names, columns, strict=True))
    for pair in rest.split(chr(int(delimiter.removeprefix("x"), 16))):
        name, _, value = pair.partition("=")
        fields[name] = value
    return fields


def read(line: str) -> dict[str, dict[str, str]]:
    if re.match(r"<\d+>1 ", line):
        message = SyslogMessage.parse(line)
        theirs = {
            "severity": message.severity.name,
            "facility": message.facility.name,
            "timestamp": message.timestamp,
            "host": message.hostname,
            "app": message.appname,
            "pid": str(message.procid),
            "event": message.msgid,
        }
        return {"theirs": theirs, "ours": key_value(message.msg)}
    packet = syslogmp.parse(line.encode())
    theirs = {
        "severity": packet.severity.name,
        "facility": packet.facility.name,
        "time": packet.timestamp.strftime("%H:%M:%S"),
        "host": packet.hostname,
    }
    text = packet.message.decode()
    if text.startswith("CEF:"):
        theirs.update({key: str(value) for key, value in pycef.parse(text).items()})
        return {"theirs": theirs, "ours": cef(text.removeprefix("CEF:"))}
    if text.startswith("LEEF:"):
        return {"theirs": theirs, "ours": leef(text.removeprefix("LEEF:"))}
    tag, _, body = text.partition(": ")
    return {"theirs": theirs | {"tag": tag}, "ours": key_value(body)}


for entry in sys.stdin.buffer.read().decode().removesuffix("\n").split("\n"):
    print(json.dumps(read(entry)))
