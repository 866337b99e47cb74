"""Where watches come from: files, queues."""
