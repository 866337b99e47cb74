"""The ground floor beside the core: clock, logs, metrics, systemd, threads, TLS."""
