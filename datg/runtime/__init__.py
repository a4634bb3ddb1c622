"""What a process needs: random streams, precision, memory, signals and exit codes."""
