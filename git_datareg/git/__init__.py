"""Git, asked through the git program: the one place that runs it."""
