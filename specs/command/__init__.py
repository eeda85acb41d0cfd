"""What `kata` does: the map and the next step, hints, the stub again."""
