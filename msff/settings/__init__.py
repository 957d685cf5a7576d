"""The settings that a profile varies and a run's configuration hash covers; none of them imports torch."""
