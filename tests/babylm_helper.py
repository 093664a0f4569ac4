"""A made-up BabyLM evaluation in the official layout: small, and nobody's data."""

from __future__ import annotations

import csv
import io
import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PASSWORD = "open sesame"
SECRET = "zyzzogeton"
"""A word of every made-up EWoK text and of nothing else."""


def _crc_step(crc: int, byte: int) -> int:
    """The CRC-32 register after one more byte, without zlib's inversions."""
    return ~zlib.crc32(bytes([byte]), ~crc & 0xFFFFFFFF) & 0xFFFFFFFF


def zip_crypto(data: bytes, password: bytes, check: int) -> bytes:
    """The traditional encryption of zip files (PKWARE APPNOTE 6.1), `check` being the last byte of its header."""
    keys = [0x12345678, 0x23456789, 0x34567890]

    def update(byte: int) -> None:
        keys[0] = _crc_step(keys[0], byte)
        keys[1] = ((keys[1] + (keys[0] & 0xFF)) * 134775813 + 1) & 0xFFFFFFFF
        keys[2] = _crc_step(keys[2], keys[1] >> 24)

    for byte in password:
        update(byte)
    made = bytearray()
    for byte in bytes(range(11)) + bytes([check]) + data:
        mask = (keys[2] | 2) & 0xFFFF
        made.append(byte ^ ((mask * (mask ^ 1)) >> 8 & 0xFF))
        update(byte)
    return bytes(made)


def encrypted_zip(members: Mapping[str, bytes], password: str = PASSWORD, method: int = 8) -> bytes:
    """A zip file of encrypted members; `method` is what it says of their compression (8 deflate, 99 AES)."""
    body, directory = b"", b""
    for name, content in members.items():
        crc = zlib.crc32(content)
        deflater = zlib.compressobj(wbits=-15)
        held = zip_crypto(deflater.compress(content) + deflater.flush(), password.encode(), crc >> 24)
        about = struct.pack("<HHHHHIIIHH", 20, 1, method, 0, 33, crc, len(held), len(content), len(name), 0)
        offset = len(body)
        body += b"PK\3\4" + about + name.encode() + held
        directory += (
            b"PK\1\2" + struct.pack("<H", 20) + about + struct.pack("<HHHII", 0, 0, 0, 0, offset) + name.encode()
        )
    count = len(members)
    return body + directory + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, count, count, len(directory), len(body), 0)


def json_lines(rows: Sequence[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def ewok_rows(domain: str, count: int) -> list[dict[str, str]]:
    """Rows and their swapped copies."""
    rows: list[dict[str, str]] = []
    for i in range(count):
        contexts = [f"Ali is {i} {SECRET} away.", f"Ali is not {i} {SECRET} away."]
        targets = [f"{domain} is far {SECRET}.", f"{domain} is near {SECRET} {i}."]
        for one, other in ((0, 1), (1, 0)):
            texts = {"Context1": contexts[one], "Context2": contexts[other]}
            texts |= {"Target1": targets[one], "Target2": targets[other]}
            rows.append({"Domain": domain, "ContextType": "direct", **texts})
    return rows


def ewok_zip(domains: Mapping[str, int], password: str = PASSWORD) -> bytes:
    members = {f"ewok/{name}.jsonl": json_lines(ewok_rows(name, count)).encode() for name, count in domains.items()}
    return encrypted_zip(members, password)


def entity_rows(levels: Sequence[int], things: str) -> list[dict[str, Any]]:
    """`levels[n]` rows with n operations."""
    names = ["ball", "key", "cup", "map", "pen", "hat", "bus"]
    rows = []
    for operations, count in enumerate(levels):
        for i in range(count):
            options = [f"the {names[(i + operations + place) % 7]}{things}." for place in range(5)]
            prefix = f"Box {i} contains the {names[i % 7]}. " + "Move it. " * operations + f"Box {i} contains "
            rows.append({"sample_id": i, "numops": operations, "input_prefix": prefix, "options": options})
    return rows


def wug_rows(count: int, endings: tuple[str, str]) -> list[dict[str, Any]]:
    stems = [f"{'bcdfgklmnprst'[i % 13]}{'aeiou'[i % 5]}{'lmnrst'[i % 6]}able" for i in range(count)]
    frames = [f"{stem}. {stem}" for stem in stems]
    return [
        {"sentences": "\t".join(frame + ending for ending in endings), "ratio": (i * 7 % 11) / 11}
        for i, frame in enumerate(frames)
    ]


TIMES = ("RTfirstfix", "RTfirstpass", "RTgopast", "RTrightbound", "self_paced_reading_time")
BEFORE = ("prev_word", "prev_item", "prev_length")
READING_COLUMNS = ("", "item", "word", "sentence", "context_length", "Subtlex_log10", "length", *TIMES, *BEFORE)
PEOPLE, THINGS = ("Anna", "Ben", "None", "Dario"), ("ball", "key", "café")


def reading_rows(sentences: int) -> list[dict[str, Any]]:
    """Every word but the first of some sentences; the second has no previous word; some frequencies are missing."""
    rows: list[dict[str, Any]] = []
    for s in range(sentences):
        words = f"{PEOPLE[s % 4]} puts the {THINGS[s % 3]} in box {s}.".split()
        for i in range(1, len(words)):
            number = len(rows)
            noise = [(number * step % 37) / 3 for step in (5, 7, 11, 13, 17)]
            row: dict[str, Any] = {"": number, "item": " ".join(words[:i]), "word": words[i], "context_length": i}
            row |= {"sentence": " ".join(words), "length": len(words[i])}
            row["Subtlex_log10"] = "" if number % 17 == 5 else round(3 + len(words[i]) * 0.3 + noise[0], 4)
            row |= dict(zip(TIMES, (100 + i * 4 + extra for extra in noise), strict=True))
            before = (words[i - 1], " ".join(words[: i - 1]), len(words[i - 1])) if i > 1 else ("", "", -1)
            rows.append(row | dict(zip(BEFORE, before, strict=True)))
    return rows


def reading_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, READING_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write_layout(root: Path) -> Path:
    """All suites under `root`; returns it."""
    pair = {"sentence_good": "The key is in the box.", "sentence_bad": "The keys is in the box."}
    other = {"sentence_good": "Ben sees himself.", "sentence_bad": "Ben sees herself."}
    files = {
        "pairs/agreement.jsonl": json_lines([pair, other, pair]),
        "pairs/other.jsonl": json_lines([other, {**other, "sentence_bad": "Himself sees Ben."}]),
        "entity/ambiref.jsonl": json_lines(entity_rows([3, 5], " and the pin")),
        "entity/regular.jsonl": json_lines(entity_rows([4, 2, 6], "")),
        "entity/move_contents.jsonl": json_lines(entity_rows([2, 3, 1], " or none")),
        "wug_adj/wug_adj.jsonl": json_lines(wug_rows(20, ("ity", "ness"))),
        "wug_past/wug_past.jsonl": json_lines(wug_rows(13, ("ed", "t"))),
        "reading/reading_data.csv": reading_csv(reading_rows(12)),
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    (root / "ewok.zip").write_bytes(ewok_zip({"social-relations": 3, "agent-properties": 2, "material-dynamics": 1}))
    return root


SUITES: Mapping[str, tuple[str, str]] = {
    "pairs": ("sentence-pairs", "pairs"),
    "entity": ("entity-tracking", "entity"),
    "ewok": ("ewok", "ewok.zip"),
    "wug_adj": ("wug", "wug_adj"),
    "wug_past": ("wug", "wug_past"),
    "eye": ("eye-tracking", "reading"),
    "self_paced": ("self-paced-reading", "reading"),
}
"""Task and path of every suite of `write_layout`."""


def suite(name: str, **fields: Any) -> dict[str, Any]:
    """The declaration of a suite of `write_layout`."""
    task, path = SUITES[name]
    made = {"kind": "babylm", "name": name, "group": "reasoning", "path": path, "items_per_task": None, "task": task}
    return made | fields
