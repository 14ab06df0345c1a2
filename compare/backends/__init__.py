"""Both backends without a candidate: networks block by block, training, the organ swap."""
