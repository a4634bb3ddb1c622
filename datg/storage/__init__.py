"""What is written so that it survives: files that are whole or absent, checkpoints, leases on folders."""
