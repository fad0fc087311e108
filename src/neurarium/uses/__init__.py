"""What a finished run can be asked: to name images, to write, to play. A file a question."""
