"""The commands of `git datareg`: a module each, with `add_arguments` and `run`."""
