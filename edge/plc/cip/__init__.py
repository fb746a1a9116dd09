"""EtherNet/IP: a CIP connection, what is asked over it, and what its answers mean."""
