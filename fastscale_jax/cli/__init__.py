"""The command line: what is asked for, and what is printed.

A subcommand is a function that Python can call as well. It returns the exit status. A mistake of
the caller raises ValueError; `application` makes one line and status 2 of it.
"""
