"""Recognition networks, one module a paper, and the pretrained judge of identity."""
