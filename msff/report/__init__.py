"""From the results store to what the book shows: tables, figures and verdicts, all pure functions of stored runs."""
