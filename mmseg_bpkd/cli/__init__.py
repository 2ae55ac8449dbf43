"""The command `bpkd`: one module per command."""
