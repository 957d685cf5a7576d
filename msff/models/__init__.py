"""MS-FF (one file per section of the paper), the methods it is compared with, and the auxiliary networks."""
