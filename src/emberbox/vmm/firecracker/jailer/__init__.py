"""What Firecracker's jailer needs and makes: its folder, the program that it starts, its rights."""
