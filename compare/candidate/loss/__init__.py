"""What a loss was seen to do.

calls   what its model is given, and what comes out, for models of known answers
inside  the image and the noise in what the model is given, by an oracle's coefficients
slopes  the same without an oracle, and what it compares with: by what it drew and its gradient
table   the alpha-bars that its x_t shows
variance  how it trains a learned variance: by its slope at v
"""
