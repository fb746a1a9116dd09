"""Who may enter: certificates, trust lists, users and their rights."""
