"""What the package asks of the system: files written whole, memory, cores, processes, errors."""
