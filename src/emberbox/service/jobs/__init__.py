"""Jobs: submitted, put in line, run, and what they leave."""
