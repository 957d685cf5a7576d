"""The networks: one module per section of the paper, and the methods it is compared with."""
