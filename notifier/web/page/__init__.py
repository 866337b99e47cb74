"""The status page: files as they are sent, and the two handlers that send them. No build step, nothing from outside."""
