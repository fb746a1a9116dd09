"""What the operating system gives: clocks, ports, sockets, durable files, the supervisor's notifications."""
