"""The organ swap: network, scheduler and pipeline of either backend make the same pictures."""
