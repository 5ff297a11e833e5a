"""What people upload: archives, scripts and their contents."""
