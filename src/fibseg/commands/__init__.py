"""What a user types: one module per command.

Here: arguments in, the library called, text out; no work of its own.
Not here: anything that a notebook would want to call.
"""
