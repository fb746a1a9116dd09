"""Who did what: which events say so, and who is told that somebody was refused."""
