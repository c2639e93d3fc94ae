"""Images and audio: found, read, checked and described, before any model sees them."""
