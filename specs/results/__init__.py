"""What became of the specs: the file of each run, how far the learner is, and what that comes to."""
