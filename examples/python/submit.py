"""Submits a job over RabbitMQ and waits for its outcome: python submit.py URL TASK INPUT [NAME]"""

import json
import os
import sys
import uuid

import pika

url, task, body = sys.argv[1:4]
# With a name, it is one job, however often it is sent.
name = sys.argv[4] if len(sys.argv) > 4 else str(uuid.uuid4())

connection = pika.BlockingConnection(pika.URLParameters(url))
channel = connection.channel()
channel.confirm_delivery()
answers = channel.queue_declare("", exclusive=True).method.queue

channel.basic_publish(
    exchange=os.environ.get("ORK_PREFIX", "ork"),
    routing_key=task,
    body=body,
    properties=pika.BasicProperties(
        content_type="application/json",
        delivery_mode=2,
        message_id=name,
        reply_to=answers,
        correlation_id=name,
    ),
    mandatory=True,
)
for method, properties, answer in channel.consume(answers, auto_ack=True, inactivity_timeout=30):
    if method is None:
        sys.exit("no answer within 30 s")
    if properties.correlation_id == name:
        break
connection.close()

outcome = json.loads(answer)
print(json.dumps(outcome))
sys.exit(0 if outcome["state"] == "succeeded" else 1)
