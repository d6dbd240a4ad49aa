"""Conversations with Git as machines without I/O: bytes in, events out, and back.

What they have in common: `receive_data(bytes)` (`b""` is the end of input),
`next_event()`, `send(event)`; literal tables say which event is lawful in
which state. They know no pipes, files, clocks or pointers.
"""
