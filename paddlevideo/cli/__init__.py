"""The command ``paddlevideo``; ``main`` has its table."""
