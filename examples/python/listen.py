"""Prints what happens to jobs, a line each, until a job ends that ends in this way: python listen.py URL QUEUE TYPE"""

import json
import os
import sys

import pika

url, queue, last = sys.argv[1:4]

channel = pika.BlockingConnection(pika.URLParameters(url)).channel()
# Durable: what happens while nobody listens is heard later.
channel.queue_declare(queue, durable=True)
channel.queue_bind(queue, os.environ.get("ORK_PREFIX", "ork") + ".events", "job.#")
print("listening", file=sys.stderr, flush=True)

seen = set()
for method, properties, body in channel.consume(queue):
    event = json.loads(body)
    # What is told twice has one id.
    if event["id"] not in seen:
        seen.add(event["id"])
        print(event["type"], event["data"]["task"], event["data"]["state"], flush=True)
    channel.basic_ack(method.delivery_tag)
    if event["type"] == last:
        break
channel.queue_delete(queue)
