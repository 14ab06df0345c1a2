"""What is measured of each part of a program: a step, a loop, a loss, the table itself."""
