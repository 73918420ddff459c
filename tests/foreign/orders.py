"""A buyer's program that survives what it meets: `orders.py HOME SERVICE COUNT`. Prints the outputs, each on its line."""

import sys
import time
from concurrent.futures import ThreadPoolExecutor

import guilder

node, service, count = guilder.Client(sys.argv[1]), sys.argv[2], int(sys.argv[3])


def buy(order: str) -> str:
    while True:
        try:
            return node.hire(service, order, id=f"order-{order}", mode="escrow", retry=9).text
        except guilder.GuilderError as error:
            print(f"{order}: {error!r}", file=sys.stderr)
            if not error.retryable:
                raise
            time.sleep(1)


with ThreadPoolExecutor(5) as pool:
    print(*pool.map(buy, map(str, range(count))), sep="\n")
