"""The stall behind load balancers: a lab that shows it, and that measures its absence."""
