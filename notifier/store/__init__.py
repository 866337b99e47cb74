"""The durable memory: watches, events and the outbox."""
