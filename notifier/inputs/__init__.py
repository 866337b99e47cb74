"""Inputs: watches from message queues, stored before their messages are acknowledged."""

from notifier.inputs.broker import Broker
from notifier.inputs.consumer import OUTCOMES, QueueInput
from notifier.inputs.intake import Intake
from notifier.inputs.message import ParseWatch
from notifier.inputs.running import Input, Inputs, amqp_broker, nats_broker, redis_broker

__all__ = [
    "OUTCOMES",
    "Broker",
    "Input",
    "Inputs",
    "Intake",
    "ParseWatch",
    "QueueInput",
    "amqp_broker",
    "nats_broker",
    "redis_broker",
]
