"""Inputs: watches from message queues, stored before their messages are acknowledged.

`redis`, `nats` and `amqp` are brokers with the interface in `broker` and the `limits` of all; `running` creates and
runs those of the configuration. `consumer` is the loop that all share, `message` reads their messages, `intake` stores
the watches.
"""

from notifier.inputs.broker import Broker
from notifier.inputs.consumer import QueueInput
from notifier.inputs.intake import Intake
from notifier.inputs.running import Inputs, amqp_broker, nats_broker, redis_broker

__all__ = [
    "Broker",
    "Inputs",
    "Intake",
    "QueueInput",
    "amqp_broker",
    "nats_broker",
    "redis_broker",
]
