"""Creates a set of parts, and runs some of them beside ork's workers: python parts.py URL TASK TOTAL OURS first|last

Each part greets a number. The hook of the set arrives once, whichever side is last; the program prints what arrived.
"""

import json
import os
import sys
import uuid

import pika

# The namespace of the job names that other programs choose; see docs/wire.md.
FOREIGN = uuid.UUID("6f726b2d-776f-5264-8a6f-622d6e616d65")

url, task, total, ours, order = sys.argv[1:6]
total, ours = int(total), int(ours)
prefix = os.environ.get("ORK_PREFIX", "ork")

connection = pika.BlockingConnection(pika.URLParameters(url))
channel = connection.channel()
channel.confirm_delivery()

route = f"greeted-{uuid.uuid4()}"
part_queue = f"part.python-{task}-{uuid.uuid4()}"
on_complete = [{"route": route, "inputs": {"set": part_queue}}]
channel.queue_declare(part_queue, durable=True)
hook_queue = channel.queue_declare("", exclusive=True).method.queue
channel.queue_bind(hook_queue, f"{prefix}.hooks", route)


def send(exchange, key, body, **properties):
    properties = pika.BasicProperties(content_type="application/json", delivery_mode=2, **properties)
    channel.basic_publish(exchange, key, json.dumps(body), properties, mandatory=True)


def record(part):
    send("", part_queue, f"hello {part}", headers={"part_id": part, "total_parts": total})


def length():
    """The number of records without a reader; None if the queue is gone."""
    probe = connection.channel()
    try:
        return probe.queue_declare(part_queue, passive=True).method.message_count
    except pika.exceptions.ChannelClosedByBroker:
        return None


def read():
    """Becomes the only reader. Returns whether every part was there; None if there is another reader."""
    reader = connection.channel()
    reader.confirm_delivery()
    mark, held, spare, done = uuid.uuid4().hex, {}, [], False
    try:
        for method, properties, _ in reader.consume(part_queue, exclusive=True):
            headers = properties.headers
            if not held:
                marked = pika.BasicProperties(headers={"ork-record": "mark", "ork-mark": mark})
                reader.basic_publish("", part_queue, b"", marked)
            if headers.get("ork-mark") == mark:
                reader.basic_ack(method.delivery_tag)
                break
            if "part_id" not in headers or headers["part_id"] in held:
                reader.basic_ack(method.delivery_tag)
                continue
            held[headers["part_id"]] = method.delivery_tag
            if len(held) == total:
                done = True
                break
    except pika.exceptions.ChannelClosedByBroker:
        return None
    if done:
        # Under an id that is always the same, so that a second copy is recognized.
        job = uuid.uuid5(FOREIGN, part_queue)
        for at, hook in enumerate(on_complete):
            message_id = str(uuid.uuid5(job, f"on_complete.{at}"))
            send(f"{prefix}.hooks", hook["route"], hook["inputs"], message_id=message_id, type=hook["route"])
        channel.queue_delete(part_queue)
    # Closing the channel requeues the unacknowledged records of a classic queue.
    reader.close()
    return done


def settle(part):
    record(part)
    while (length() or 0) >= total:
        if read() is not False:
            break


def give(part):
    headers = {"part_id": part, "total_parts": total, "part_queue": part_queue, "on_complete": on_complete}
    send(prefix, task, {"name": str(part)}, message_id=f"{part_queue}.{part}", headers=headers)


if order == "first":
    for part in range(ours):
        settle(part)
for part in range(ours, total):
    give(part)
if order == "last":
    while length() < total - ours:
        connection.sleep(0.05)
    for part in range(ours):
        settle(part)

followed = []
for method, properties, body in channel.consume(hook_queue, auto_ack=True, inactivity_timeout=30):
    if method is None:
        break
    followed.append({"id": properties.message_id, "body": json.loads(body)})
    # Whether another message arrives.
    for method, properties, body in channel.consume(hook_queue, auto_ack=True, inactivity_timeout=1):
        if method is None:
            break
        followed.append({"id": properties.message_id, "body": json.loads(body)})
    break
expected = str(uuid.uuid5(uuid.uuid5(FOREIGN, part_queue), "on_complete.0"))
print(json.dumps({"followed": followed, "expected": expected, "set": part_queue, "left": length()}))
connection.close()
