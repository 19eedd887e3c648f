"""What a run would stumble over, found before its directory is touched."""
