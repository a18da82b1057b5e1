"""One file a set: how its official layout becomes a table, and where the face is in its images."""
