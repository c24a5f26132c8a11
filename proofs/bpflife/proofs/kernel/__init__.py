"""The kernel runner's low level: act on a real kernel by bpf(2) and read its real counts."""
