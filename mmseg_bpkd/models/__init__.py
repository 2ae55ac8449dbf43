"""Networks, losses, and the algorithm that distils one into another."""
