"""System services: files written whole, memory, cores, processes, errors."""
