"""Image pairs with exact flow, made from nothing but a seed, in the manner of FlyingChairs.

``geometry`` (draws, motions, outlines), ``textures`` (surfaces), ``generate`` (a pair, a set on disk).
"""
