"""From checks to a verdict: conventions, diagnosis, what is known of Diffusers, the report."""
