"""Reading checkpoints and data, writing files, work directories, files of the package, and the terminal."""
