"""From network outputs to numbers: lifting to 3D, protocols, metrics and their intervals."""
