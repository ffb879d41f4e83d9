"""What the product means. Rooms stand in one declared order and use only rooms below them."""
