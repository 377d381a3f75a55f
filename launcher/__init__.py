"""Launch, supervise and collect vision-transformer training on Ascend NPUs, or on CPU for a rehearsal."""
