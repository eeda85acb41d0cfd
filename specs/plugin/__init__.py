"""What pytest does with the katas: hooks, limits, whose doing a failure is, where to look, what is reported."""
