"""EdgeFlowNAS: train one weight-sharing supernet of tiny optical-flow networks, rank its subnets, ship one."""
