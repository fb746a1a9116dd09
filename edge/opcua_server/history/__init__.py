"""What was: HistoryRead over the historian's store."""
