"""The command line: it parses arguments, calls the library and prints results.

A subcommand is a function that Python can call as well. It returns the exit status. A mistake of
the caller raises ValueError; `application` makes one line and status 2 of it.
"""
