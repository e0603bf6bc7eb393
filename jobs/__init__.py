"""What one worker does. Only jobs read and write the store."""
