"""What is known of each kind of app: how to recognise it, and how to make an image of it. One file each, pure."""
