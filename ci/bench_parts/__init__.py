"""The parts of ``ci/bench``; each measures one thing and says which rows it puts into the table."""
