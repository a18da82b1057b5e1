"""Recognition networks, one file a paper or a pretrained judge."""
