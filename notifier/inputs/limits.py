"""The limits that all brokers share."""

POLL = 1.0  # seconds that `receive` waits for a first message
BATCH = 200  # messages that are unacknowledged and stored together: bounds memory
CONNECT = 10.0  # seconds to connect
ANSWER = 10.0  # seconds for any answer of the broker
CLOSE = 3.0  # seconds to close a connection in order
MAX_REASON = 1000  # characters of the reason that is kept with a refused message
