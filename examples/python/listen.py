"""Prints the events of jobs, one per line, until an event of this type arrives: python listen.py URL QUEUE TYPE"""

import json
import os
import sys

import pika

url, queue, last = sys.argv[1:4]

channel = pika.BlockingConnection(pika.URLParameters(url)).channel()
# Durable: events that are published while no program listens are received later.
channel.queue_declare(queue, durable=True)
channel.queue_bind(queue, os.environ.get("ORK_PREFIX", "ork") + ".events", "job.#")
print("listening", file=sys.stderr, flush=True)

seen = set()
for method, properties, body in channel.consume(queue):
    event = json.loads(body)
    # An event that is published twice has the same id.
    if event["id"] not in seen:
        seen.add(event["id"])
        print(event["type"], event["data"]["task"], event["data"]["state"], flush=True)
    channel.basic_ack(method.delivery_tag)
    if event["type"] == last:
        break
channel.queue_delete(queue)
