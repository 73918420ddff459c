#!/usr/bin/env python3
"""Text in, JSON out. What goes to standard error is for you: guilder task show. A non-zero exit code says that it failed."""

import json
import os
import sys


def progress(percent: float, note: str) -> None:
    """Tells the buyer how far it is. Nothing depends on it."""
    descriptor = os.environ.get("GUILDER_PROGRESS_FD")
    if descriptor:
        os.write(int(descriptor), (json.dumps({"percent": percent, "note": note}) + "\n").encode())


def main() -> None:
    text = sys.stdin.buffer.read()
    print(f"counting {len(text)} bytes for {os.environ['GUILDER_BUYER']}", file=sys.stderr)
    progress(50, "counting")
    json.dump({"lines": text.count(b"\n"), "words": len(text.split()), "bytes": len(text)}, sys.stdout)
    print()


main()
