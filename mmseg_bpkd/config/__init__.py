"""Reading a config: options of the command line, methods, and errors that name the place."""
