"""Cron patterns, and when PyPI's cronsim (Debian's rules) says that they come: `cron.py COUNT` prints COUNT lines of
PATTERN|ZONE|AFTER|MOMENT MOMENT ..., all moments in Unix seconds. They begin shortly before a zone's clocks change. Where clocks change
by half an hour, cronsim walks from hour to hour past moments that a pattern of real time has, and where they change at midnight it gives a midnight that isn't
there: those patterns are left out."""

import random
import sys
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

from cronsim import CronSim

ZONES = [
    "Europe/Berlin", "America/New_York", "America/St_Johns", "Australia/Lord_Howe", "Pacific/Auckland", "America/Santiago",
    "Asia/Kathmandu", "Africa/Cairo", "UTC",
]
rng = random.Random(20261129)


def field(low, high, star):
    kind = rng.random()
    if kind < star:
        return "*"
    if kind < star + 0.12:
        return f"*/{rng.randint(2, max(2, (high - low) // 2))}"
    if kind < star + 0.2:
        first = rng.randint(low, high - 1)
        return f"{first}-{rng.randint(first + 1, high)}"
    if kind < star + 0.25:
        first = rng.randint(low, high - 1)
        return f"{first}-{rng.randint(first + 1, high)}/{rng.randint(1, 5)}"
    if kind < star + 0.4:
        return ",".join(str(n) for n in sorted(rng.sample(range(low, high + 1), rng.randint(2, 4))))
    return str(rng.randint(low, high))


def pattern():
    # Many in the small hours, when clocks change.
    hour = field(0, 4, 0.15) if rng.random() < 0.6 else field(0, 23, 0.3)
    weekday = rng.choice(["*", "*", "*", "*", "*", "1-5", "0", "7", "sun", "MON,WED", "*/2", "5#2", "5L", "6"])
    day = rng.choice(["L", "LW", "1-7"]) if rng.random() < 0.05 else field(1, 28, 0.75)
    return " ".join([field(0, 59, 0.15), hour, day, field(1, 12, 0.8), weekday])


def changes(zone, year):
    """The days on which the zone's offset changes."""
    at = datetime(year, 1, 1, 12, tzinfo=timezone.utc)
    found = []
    for _ in range(366):
        after = at + timedelta(days=1)
        if at.astimezone(zone).utcoffset() != after.astimezone(zone).utcoffset():
            found.append(at)
        at = after
    return found


days = {name: [day for year in (2024, 2025, 2026) for day in changes(ZoneInfo(name), year)] for name in ZONES}
count = int(sys.argv[1])
while count:
    name = rng.choice(ZONES)
    near = rng.choice(days[name]) if days[name] else datetime(2026, 2, 27, tzinfo=timezone.utc)
    after = near - timedelta(seconds=rng.randint(0, 86_400))
    text, moments, last = pattern(), [], int(after.timestamp())
    if name == "Australia/Lord_Howe" and any(field.startswith("*") for field in text.split()[:2]):
        continue
    for due in CronSim(text, after.astimezone(ZoneInfo(name)) if name != "UTC" else after):
        moment = int(due.timestamp())
        if due.astimezone(timezone.utc).astimezone(due.tzinfo).replace(tzinfo=None) != due.replace(tzinfo=None):
            break
        # Several times in a gap are due at its end, once.
        if moment > last:
            moments.append(moment)
            last = moment
        if len(moments) == 6:
            break
    if len(moments) == 6:
        print(f"{text}|{name}|{int(after.timestamp())}|{' '.join(map(str, moments))}")
        count -= 1
