"""Writes the seeds of every target from the test vectors, each into corpus/<target>."""

import base64
import json
import pathlib

here = pathlib.Path(__file__).parent
vectors = here.parent / "tests" / "vectors"


def seed(target, name, data):
    folder = here / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def varint(number):
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out + bytes([number]))


for file in sorted(vectors.glob("wire/*.hex")) + sorted(vectors.glob("later/*.hex")):
    name, data = f"{file.parent.name}-{file.stem}", bytes.fromhex(file.read_text())
    seed("cbor", name, data)
    if file.stem[:2].isdigit():
        seed("frames", name, data)
        if file.stem.startswith("07"):
            seed("locks", name, data)
    elif file.stem.startswith("statement") and not file.stem.endswith(".cid"):
        seed("statements", name, data)
        # The payload alone: after signature and header, behind the tag.
        tag = data.index(b"@1.") if b"@1." in data[:120] else data.index(b"@2.")
        seed("statements", name + "-payload", data[tag + 6 :])
        if "award" in name or "delegation" in name:
            seed("tokens", name, data)
    elif file.stem.startswith("content"):
        seed("content_frames", name, data)
    elif file.stem.startswith("mint"):
        seed("mint_frames", name, data)
    elif file.stem.startswith("bundle"):
        seed("bundles", name, data)

for name, data in {
    "request": bytes.fromhex("0000001702082f76312f737761707b22696e70757473223a5b5d7d"),
    "reply": bytes.fromhex("0000000400c87b7d"),
}.items():
    seed("mint_frames", name, data)

for number, text in enumerate(
    [
        "text.summarize",
        "sat",
        "https://mint.example/Bitcoin",
        "p2p://mint/12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq",
        "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq",
        "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp",
        "/task/award",
        '.a["b"][0][1:2]?[]',
        "/guilder/market/1/text.echo",
        "c7bca20da24fb61f5f9265f0f2e66ebb86688372f218dc73e535d847b9d9e14c:0",
    ]
):
    seed("names", str(number), text.encode())
    seed("content_frames", f"text-{number}", text.encode())

for file in sorted(vectors.glob("ucan/*.json")):
    seed("tokens", file.stem, file.read_bytes()[:200_000])
    try:
        fixtures = json.loads(file.read_text())
    except json.JSONDecodeError:
        continue  # see the README beside it
    cases = fixtures if isinstance(fixtures, list) else [v for k in fixtures.values() if isinstance(k, list) for v in k]
    for number, case in enumerate(cases):
        if isinstance(case, dict):
            seed("tokens", f"{file.stem}-{number}", json.dumps(case).encode())
            for key, value in case.items():
                if isinstance(value, dict) and isinstance(value.get("/"), dict):
                    token = value["/"].get("bytes", "")
                    seed("statements", f"{file.stem}-{number}-{key}", base64.b64decode(token + "=" * (-len(token) % 4)))

# [["==", ".a", 1]], and the same with arguments {"a": 1}.
policy = bytes.fromhex("8183623d3d622e6101")
seed("policies", "equal", policy)
seed("policies", "equal-args", b"\x82" + policy + bytes.fromhex("a1616101"))
